/* place - how a file that was brought back gets its name: made without one (or under a temporary
 * one) beside its place, and named only when all of it is there; what is at the place already is
 * not replaced, unless a person says so, and the segment that zdb writes never.
 * Blocks on the disk. */
#ifndef ZSTOR_OBJECT_PLACE_H
#define ZSTOR_OBJECT_PLACE_H

#include "common/err.h"
#include "zstor/format/types.h"

enum place_rule {
    PLACE_NEW,   /* nothing is replaced */
    PLACE_FILL,  /* an empty file may be */
    PLACE_FORCE, /* whatever is there, but the active segment */
};

struct place {
    char *path, *dir, *tmp;
    int fd;     /* the new content, to be written; -1: not open */
    bool named; /* tmp exists; else the file has no name yet, and a crash leaves nothing */
    enum place_rule rule;
};

/* The place `target`; its directory is made.  A target that is a symbolic link stays one.
 * -EEXIST: a file is there that the rule keeps; -EBUSY: it is the segment with the highest number
 * of a directory below data_dir (may be NULL), which zdb may be writing; -EISDIR, -EINVAL: it is no
 * regular file. */
int place_open(struct place *p, const char *target, enum place_rule rule, const char *data_dir,
               struct err *e);
/* On stable storage under its name.  -EEXIST: something came there meanwhile that the rule keeps.
 */
int place_publish(struct place *p, struct err *e);
void place_fini(struct place *p); /* what was not published is gone */

/* 1: the regular file at path has this content; 0: other content; -errno. */
int place_same(const char *path, const uint8_t checksum[ZSTOR_DIGEST_LEN]);

#endif
