/* reach - what a recovery asks before it begins: which object is there, could it be read now, who
 * has the volume.  Reads notes and records, no shard.  Blocks its thread. */
#ifndef ZSTOR_OBJECT_REACH_H
#define ZSTOR_OBJECT_REACH_H

#include "zstor/object/object.h"

struct object_reach {
    unsigned needed;    /* shards that a read needs */
    unsigned stored;    /* shards that the record tells of */
    unsigned reachable; /* of these: on backends that are not known to be down */
    uint64_t size;      /* of the file, 0 when the record does not tell */
    uint64_t time_ns;   /* of the store; 0: not told */
};

/* 1: *out; 0: there is no such object; -EHOSTUNREACH: too few answers to tell; -EBADMSG. */
int object_reach(struct objects *o, const char *path, struct object_reach *out, struct err *e);
/* Has the volume no owner, or one that has given it back in order?  A crash gives nothing back. */
bool object_is_free(struct objects *o);

#endif
