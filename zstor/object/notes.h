/* notes - the sealed notes (format/note.h) at the four metadata backends.  Blocks its thread. */
#ifndef ZSTOR_OBJECT_NOTES_H
#define ZSTOR_OBJECT_NOTES_H

#include "zstor/format/note.h"
#include "zstor/object/quorum.h"

struct notes { /* what the four hold; notes_fini */
    struct buf body[ZSTOR_META_COPIES];
    int rc[ZSTOR_META_COPIES]; /* 0 body is there; -ENOENT; -EKEYREJECTED, -EBADMSG of note_open;
                                  else it did not answer */
    unsigned opened, absent, sealed, answers; /* how many of each; sealed: of another key */
};

/* All four are asked, also those that are marked down. */
void notes_read(const struct metastore *ms, enum note_kind kind, struct notes *out);
void notes_fini(struct notes *n);
/* The same note at all four; how many have it on stable storage, or -errno. */
int notes_write(const struct metastore *ms, enum note_kind kind, struct slice body);

#endif
