/* record_bond - does a record belong to the key that it was found under?  The metadata backends are
 * hostile: one may answer a key with the (intact, authentic) value of another.  Bytes only.
 *
 * Our records carry the name that was hashed to the key.  Records before that carry the whole path,
 * from which some root was cut; records of the original carry nothing and prove nothing. */
#ifndef ZSTOR_FORMAT_RECORD_BOND_H
#define ZSTOR_FORMAT_RECORD_BOND_H

#include "zstor/format/record.h"

enum record_bond {
    BOND_FOREIGN, /* of another object: never an object under this key */
    BOND_NONE,    /* nothing in the record tells; only the backends' word stands for it */
    BOND_PROVED,
};

/* key: "/<prefix>/meta/<32 hex digits>"; a key without such an end is BOND_FOREIGN to all. */
enum record_bond record_bond(const struct meta_record *m, const char *key, const char *root);

/* The object's name for messages: name, else path, else the key; borrowed. */
const char *record_title(const struct meta_record *m, const char *key);

#endif
