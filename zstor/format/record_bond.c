/* record_bond - see format/record_bond.h. */
#include "zstor/format/record_bond.h"

#include <stdlib.h>

#include "common/digest.h"
#include "common/parse.h"
#include "zstor/format/object_name.h"

static bool hashes_to(const char *name, const uint8_t want[DIGEST_LEN])
{
    uint8_t got[DIGEST_LEN];

    digest_of(slice_str(name), got);
    return memcmp(got, want, DIGEST_LEN) == 0;
}

static bool key_digest(const char *key, uint8_t out[DIGEST_LEN])
{
    size_t len = strlen(key), hex = 2 * DIGEST_LEN;

    return len > hex && key[len - hex - 1] == '/' &&
           parse_hex(slice_of(key + len - hex, hex), out, DIGEST_LEN) == 0;
}

/* Does the path, with any root cut off, hash to the key? */
static bool some_root_fits(const char *path, const uint8_t want[DIGEST_LEN])
{
    if (hashes_to(path, want))
        return true;
    for (const char *p = strchr(path, '/'); p; p = strchr(p, '/'))
        if (hashes_to(++p, want))
            return true;
    return false;
}

enum record_bond record_bond(const struct meta_record *m, const char *key, const char *root)
{
    CLEANUP(base_free) char *clean = NULL, *name = NULL;
    uint8_t want[DIGEST_LEN];

    if (!key_digest(key, want))
        return BOND_FOREIGN;
    if (!m->has_tail || (!m->name && !m->path))
        return BOND_NONE;
    if (m->name)
        return hashes_to(m->name, want) ? BOND_PROVED : BOND_FOREIGN;
    clean = keypath_clean(m->path);
    name = keypath_strip(clean, root);
    if (name && hashes_to(name, want))
        return BOND_PROVED;
    return some_root_fits(clean, want) ? BOND_NONE : BOND_FOREIGN;
}

const char *record_title(const struct meta_record *m, const char *key)
{
    return m->has_tail && m->name ? m->name : m->has_tail && m->path ? m->path : key;
}
