/* names - see cache/names.h. */
#include "zdbfs/cache/names.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "zdbfs/format/inode.h"
#include "zdbfs/format/list.h"

#define COOKIE_MAX (((uint64_t)1 << DLIST_COOKIE_BITS) - 1)

void dlist_init(struct dlist *l, uint64_t seed)
{
    *l = (struct dlist){.seed = seed, .bytes = sizeof *l};
}

static size_t dent_bytes(size_t len)
{
    return sizeof(struct dent) + len + 1 + 16 + 2 * sizeof(void *);
}

void dlist_fini(struct dlist *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->by_name[i]);
    free(l->by_name);
    free(l->by_cookie);
    dlist_init(l, l->seed);
}

static int compare(struct slice a, struct slice b)
{
    int c = memcmp(a.p, b.p, MIN(a.len, b.len));
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* First position whose name is not smaller (past_equal: is greater). */
static size_t name_position(const struct dlist *l, struct slice name, bool past_equal)
{
    size_t lo = 0, hi = l->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = compare(dent_name(l->by_name[mid]), name);
        if (c < 0 || (c == 0 && past_equal))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static size_t cookie_position(const struct dlist *l, uint64_t cookie) /* first that is not smaller
                                                                       */
{
    size_t lo = 0, hi = l->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (l->by_cookie[mid]->cookie < cookie)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* FNV-1a with a seed, then mixed (the finalizer of MurmurHash3), cut to the bits of a cookie. */
static uint64_t hash(uint64_t seed, struct slice s)
{
    uint64_t h = seed ^ 0xcbf29ce484222325ull;

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ s.p[i]) * 0x100000001b3ull;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ull;
    h ^= h >> 33;
    h &= COOKIE_MAX;
    return h ? h : 1;
}

struct dent *dlist_find(const struct dlist *l, struct slice name)
{
    size_t i = name_position(l, name, false);

    if (i < l->n && slice_eq(dent_name(l->by_name[i]), name))
        return l->by_name[i];
    return NULL;
}

struct dent *dlist_find_one(const struct dlist *l, struct slice name, bool *twice)
{
    size_t i = name_position(l, name, false);
    bool found = i < l->n && slice_eq(dent_name(l->by_name[i]), name);

    *twice = found && i + 1 < l->n && slice_eq(dent_name(l->by_name[i + 1]), name);
    return found ? l->by_name[i] : NULL;
}

static void grow(struct dlist *l)
{
    if (l->n < l->cap)
        return;
    size_t cap = l->cap ? 2 * l->cap : 4;
    struct dent **by_name = xcalloc(cap, sizeof *by_name);
    if (l->n)
        memcpy(by_name, l->by_name, l->n * sizeof *by_name);
    free(l->by_name);
    l->by_name = by_name;
    if (l->by_cookie) {
        struct dent **by_cookie = xcalloc(cap, sizeof *by_cookie);
        memcpy(by_cookie, l->by_cookie, l->n * sizeof *by_cookie);
        free(l->by_cookie);
        l->by_cookie = by_cookie;
    }
    l->cap = cap;
}

static void insert_at(struct dent **a, size_t n, size_t i, struct dent *d)
{
    memmove(a + i + 1, a + i, (n - i) * sizeof *a);
    a[i] = d;
}

static void remove_at(struct dent **a, size_t n, size_t i)
{
    memmove(a + i, a + i + 1, (n - i - 1) * sizeof *a);
}

/* Into by_cookie (which has n entries); the next free cookie when it is taken. */
static void insert_by_cookie(struct dlist *l, struct dent *d)
{
    for (;;) {
        size_t i = cookie_position(l, d->cookie);
        if (i == l->n || l->by_cookie[i]->cookie != d->cookie) {
            insert_at(l->by_cookie, l->n, i, d);
            return;
        }
        d->cookie = d->cookie == COOKIE_MAX ? 1 : d->cookie + 1;
    }
}

struct dent *dlist_add(struct dlist *l, struct slice name, uint64_t ino, uint8_t type)
{
    struct dent *d = xcalloc(1, sizeof *d + name.len + 1);

    d->ino = ino;
    d->type = type;
    d->len = (uint16_t)name.len;
    memcpy(d->name, name.p, name.len);
    d->cookie = hash(l->seed, name);
    grow(l);
    if (l->by_cookie)
        insert_by_cookie(l, d);
    insert_at(l->by_name, l->n, name_position(l, name, true), d);
    l->n++;
    l->bytes += dent_bytes(name.len);
    return d;
}

void dlist_remove(struct dlist *l, struct dent *d)
{
    size_t i = name_position(l, dent_name(d), false);

    while (l->by_name[i] != d)
        i++;
    remove_at(l->by_name, l->n, i);
    if (l->by_cookie) {
        size_t c = cookie_position(l, d->cookie);
        remove_at(l->by_cookie, l->n, c);
    }
    l->n--;
    l->bytes -= dent_bytes(d->len);
    free(d);
}

static int by_cookie_order(const void *a, const void *b)
{
    const struct dent *x = *(struct dent *const *)a, *y = *(struct dent *const *)b;
    if (x->cookie != y->cookie)
        return x->cookie < y->cookie ? -1 : 1;
    return compare(dent_name(x), dent_name(y));
}

static int by_name_order(const void *a, const void *b)
{
    const struct dent *x = *(struct dent *const *)a, *y = *(struct dent *const *)b;
    return compare(dent_name(x), dent_name(y));
}

static void build_by_cookie(struct dlist *l)
{
    bool again;

    l->by_cookie = xcalloc(l->cap ? l->cap : 1, sizeof(struct dent *));
    if (l->n == 0)
        return;
    memcpy(l->by_cookie, l->by_name, l->n * sizeof *l->by_cookie);
    do { /* equal cookies, if there ever are any, move up until all differ */
        qsort(l->by_cookie, l->n, sizeof *l->by_cookie, by_cookie_order);
        again = false;
        for (size_t i = 1; i < l->n; i++) {
            struct dent *d = l->by_cookie[i];
            if (d->cookie > l->by_cookie[i - 1]->cookie)
                continue;
            d->cookie = d->cookie == COOKIE_MAX ? 1 : d->cookie + 1;
            again = true;
        }
    } while (again);
}

size_t dlist_after(struct dlist *l, uint64_t cookie)
{
    if (!l->by_cookie)
        build_by_cookie(l);
    return cookie >= COOKIE_MAX ? l->n : cookie_position(l, cookie + 1);
}

int dlist_load(struct dlist *l, struct slice value, uint64_t key)
{
    struct list_reader in;
    struct slice name;
    uint64_t ino;
    bool sorted = true;

    int r = list_format_open(&in, value, key);
    while (r == 0 && (r = list_format_next(&in, &name, &ino)) == 1) {
        struct dent *d = xcalloc(1, sizeof *d + name.len + 1);
        d->ino = ino;
        d->type = DT_UNKNOWN;
        d->len = (uint16_t)name.len;
        memcpy(d->name, name.p, name.len);
        d->cookie = hash(l->seed, name);
        grow(l);
        if (l->n && compare(dent_name(l->by_name[l->n - 1]), name) > 0)
            sorted = false;
        l->by_name[l->n++] = d;
        l->bytes += dent_bytes(name.len);
        r = 0;
    }
    if (r < 0) {
        dlist_fini(l);
        return r;
    }
    if (!sorted)
        qsort(l->by_name, l->n, sizeof *l->by_name, by_name_order);
    return 0;
}

size_t dlist_stored_bytes(const struct dlist *l)
{
    size_t bytes = LIST_HEAD_BYTES;

    for (size_t i = 0; i < l->n; i++)
        bytes += list_format_entry_bytes(l->by_name[i]->len);
    return bytes;
}

int dlist_store(const struct dlist *l, uint64_t key, struct buf *b)
{
    size_t bytes = dlist_stored_bytes(l);

    if (bytes > INODE_MAX_VALUE || !buf_reserve(b, bytes))
        return -EFBIG;
    list_format_put_head(b, key, (uint32_t)l->n);
    for (size_t i = 0; i < l->n; i++)
        list_format_put_entry(b, dent_name(l->by_name[i]), l->by_name[i]->ino);
    return 0;
}
