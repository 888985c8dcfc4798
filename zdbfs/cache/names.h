/* names - one name list of a directory in memory.  Owner: its directory.  Thread: under the owner's
 * lock. Entries are kept in the order of their names (what is stored, what lookups search) and,
 * once somebody reads the directory, in the order of their cookies.  A cookie is a hash of the
 * name: it stays while other entries come and go. */
#ifndef ZDBFS_CACHE_NAMES_H
#define ZDBFS_CACHE_NAMES_H

#include "common/buf.h"

#define DLIST_COOKIE_BITS 55

struct dent {
    uint64_t ino;
    uint64_t cookie; /* 1 .. 2^55-1, unique in its list */
    uint16_t len;
    uint8_t type; /* DT_*, DT_UNKNOWN until the inode was seen */
    char name[];  /* NUL-terminated */
};

struct dlist {
    size_t n, cap;
    struct dent **by_name;
    struct dent **by_cookie; /* NULL until dlist_after */
    uint64_t seed;
    size_t bytes; /* of memory, about */
};

void dlist_init(struct dlist *l, uint64_t seed);
void dlist_fini(struct dlist *l);

static inline struct slice dent_name(const struct dent *d)
{
    return slice_of(d->name, d->len);
}

struct dent *dlist_find(const struct dlist *l, struct slice name); /* first of that name, or NULL */
/* The same; *twice: another one has that name too. */
struct dent *dlist_find_one(const struct dlist *l, struct slice name, bool *twice);
/* A second entry of the same name goes behind the first. */
struct dent *dlist_add(struct dlist *l, struct slice name, uint64_t ino, uint8_t type);
void dlist_remove(struct dlist *l, struct dent *d); /* frees d */
/* Position in by_cookie of the first entry whose cookie is greater. */
size_t dlist_after(struct dlist *l, uint64_t cookie);

/* The stored form (list_format).  Load: into an empty list; 0, or -EUCLEAN with the list empty
 * again. */
int dlist_load(struct dlist *l, struct slice value, uint64_t key);
/* Appended to b; 0, or -EFBIG when it would be too large for one value. */
int dlist_store(const struct dlist *l, uint64_t key, struct buf *b);
size_t dlist_stored_bytes(const struct dlist *l);

#endif
