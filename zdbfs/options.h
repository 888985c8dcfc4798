/* options - the command line of zdbfs: the original's options (spec zdbfs-behaviour 1) and ours.
 * What is not ours goes to libfuse.  Read once at start, then const. */
#ifndef ZDBFS_OPTIONS_H
#define ZDBFS_OPTIONS_H

#include "zdbfs/store/kv.h"

struct fuse_args;

struct options {
    struct kv_conf kv;
    uint64_t size_bytes; /* limit of the data, when it was given */
    bool size_given;
    uint64_t memory_bytes; /* of all caches together */
    uint64_t flush_ms;     /* unsynced changes are stored after this time at most */
    uint64_t idle_ms;      /* so long after the last change all is stored; 0: not for that */
    uint64_t point_ms; /* a point is made so long after the first change since the last; 0: not */
    bool nocache;      /* store every change at once */
    bool noacl;        /* the kernel asks for no ACLs and takes none */
    bool sync_close;   /* close() waits for stable storage */
    bool autons, background, foreground, check;
    bool points, json; /* --points: list them, and end */
    bool point;        /* --point: ask the mount for one, and end */
    bool takeover;     /* from whoever has the volume mounted */
    bool read_only;    /* -o ro */
    bool debug;        /* libfuse's */
    bool clone_fd;
    unsigned max_threads;
    char *logfile;    /* operation log */
    char *mountpoint; /* NULL with check */
    char *text[32];   /* owned strings, freed by options_fini */
    unsigned ntext;
};

enum options_action { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_SHOW_VERSION };

/* argv in *args (struct fuse_args of libfuse); afterwards *args holds what libfuse gets.  0 or
 * -errno with one line (empty when libfuse has printed one). */
int options_parse(struct options *o, struct fuse_args *args, enum options_action *action,
                  struct err *e);
void options_fini(struct options *o);
void options_help(void); /* to stdout */

#endif
