/* cli - the command line: upstream's options, subcommands, output and exit codes (spec
 * zstor-behaviour 1), and ours. */
#ifndef ZSTOR_DAEMON_CLI_H
#define ZSTOR_DAEMON_CLI_H

#define CLI_VERSION "0.1.0"

/* The exit code. */
int cli_main(int argc, char **argv);

#endif
