/* cli_output - where `retrieve` writes to: opened here, by who asked, never by the daemon.  The
 * content comes into a file without a name; when all of it is right the file gets its name, or is
 * copied to what is no regular file (standard output, a fifo, a device). */
#ifndef ZSTOR_DAEMON_CLI_OUTPUT_H
#define ZSTOR_DAEMON_CLI_OUTPUT_H

#include "zstor/object/place.h"

struct cli_output {
    struct place place;
    int fd;           /* a regular file for the content; -1: the object's own path */
    int to;           /* where it is copied to then; -1: not open */
    const char *name; /* borrowed */
};

/* path: "-" is standard output, NULL the object's own path.  data_dir: of the local zdb, may be
 * NULL.  cli_output_fini also after a failure. */
int cli_output_open(struct cli_output *out, const char *path, bool force, const char *data_dir,
                    struct err *e);
int cli_output_publish(struct cli_output *out, struct err *e); /* the content is whole */
void cli_output_fini(struct cli_output *out);

#endif
