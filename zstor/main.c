/* main - zstor. */
#include <signal.h>

#include "common/daemon.h"
#include "zstor/daemon/cli.h"

int main(int argc, char **argv)
{
    daemon_no_core(); /* keys are in memory from the first command on */
    signal(SIGPIPE, SIG_IGN);
    return cli_main(argc, argv);
}
