/* cli - the command line: upstream's options, subcommands, output and exit codes (spec
 * zstor-behaviour 1), and ours. */
#ifndef ZSTOR_DAEMON_CLI_H
#define ZSTOR_DAEMON_CLI_H

/* The exit code. */
int cli_main(int argc, char **argv);

#endif
