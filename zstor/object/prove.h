/* prove - is an object there now?  Every byte of its shards is read and checked: what the record
 * says is what was true once. */
#ifndef ZSTOR_OBJECT_PROVE_H
#define ZSTOR_OBJECT_PROVE_H

#include "zstor/object/object.h"

struct object_proof {
    uint8_t checksum[ZSTOR_DIGEST_LEN]; /* of the content, as the record says */
    unsigned total, data;               /* shards of the geometry; that a read needs */
    unsigned good;                      /* that are there, on backends that are up, byte for byte */
    unsigned lost;      /* that are not there or wrong, though their backend answers */
    unsigned meta_good; /* metadata backends that hold this record */
};

/* The number of good shards.  Nothing is read when the backends that are up cannot hold `need` of
 * them (good is then below it).  1: *out; 0: there is no such object; -EHOSTUNREACH, -EBADMSG,
 * -ECANCELED. */
int object_prove(struct objects *o, const char *path, unsigned need, const struct object_ctl *ctl,
                 struct object_proof *out, struct err *e);

#endif
