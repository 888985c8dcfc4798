/* listing - see object/listing.h. */
#include "zstor/object/listing.h"

#include <errno.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/parse.h"

#define N          ZSTOR_META_COPIES
#define DIGEST_HEX (2 * ZSTOR_DIGEST_LEN)
#define MAX_PAGES  10000000 /* of one backend: a listing that goes on for ever is none */

struct key_set { /* digests of all keys, with duplicates until sorted */
    uint8_t (*key)[ZSTOR_DIGEST_LEN];
    size_t n, cap;
};

static int key_set_add(struct key_set *s, const uint8_t *digest)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 1024;
        void *p = realloc(s->key, cap * sizeof s->key[0]);
        if (!p)
            return -ENOMEM;
        s->key = p;
        s->cap = cap;
    }
    memcpy(s->key[s->n++], digest, ZSTOR_DIGEST_LEN);
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, ZSTOR_DIGEST_LEN);
}

static int take_row(struct slice key, struct slice prefix, struct key_set *s)
{
    uint8_t digest[ZSTOR_DIGEST_LEN];

    if (key.len != prefix.len + DIGEST_HEX || memcmp(key.p, prefix.p, prefix.len) != 0 ||
        parse_hex(slice_of(key.p + prefix.len, DIGEST_HEX), digest, sizeof digest) < 0)
        return 0;
    return key_set_add(s, digest);
}

/* One page; 1: more, cursor filled; 0: the end. */
static int take_page(const struct backend_op *op, struct slice prefix, struct key_set *s,
                     struct buf *cursor)
{
    for (size_t i = 0; i < op->nrows; i++) {
        int r = take_row(op->rows[i], prefix, s);
        if (r < 0)
            return r;
    }
    buf_clear(cursor);
    buf_put_slice(cursor, op->out);
    return op->out.len > 0;
}

static int scan_backend(const struct metastore *ms, unsigned i, struct slice prefix,
                        struct key_set *s, struct err *e)
{
    CLEANUP(buf_fini) struct buf cursor = BUF_INIT, sent = BUF_INIT;
    size_t before = s->n;
    uint64_t pages = 0;
    int r = 1;

    while (r == 1) {
        struct exchange ask = {0};
        r = pool_get(ms->pool, &ms->conf->meta[i], HEALTH_READ, &ask.conn, e);
        if (r < 0)
            break;
        buf_clear(&sent);
        buf_put_slice(&sent, buf_slice(&cursor));
        quorum_command(&ask, BACKEND_LIST, buf_slice(&sent), quorum_nothing());
        exchange_run(&ask, 1, 0, 0, NULL);
        r = ask.op.rc;
        if (r == 0)
            r = take_page(&ask.op, prefix, s, &cursor);
        if (r == 1 && ++pages > MAX_PAGES)
            r = -EPROTO;
        if (r < 0)
            err_sys(e, -r, "backend %s: listing", ms->conf->meta[i].address);
        exchange_done(&ask, 1);
    }
    if (r < 0 && r != -ENOMEM) {
        char name[192];
        backend_addr_name(&ms->conf->meta[i], name, sizeof name);
        log_warn("metadata: %s cannot be listed to the end (%zu keys seen)", name, s->n - before);
    }
    return r;
}

int listing_each(const struct metastore *ms, listing_fn *fn, void *arg, struct err *e)
{
    CLEANUP(base_free) char *prefix = xasprintf("/%s/meta/", ms->conf->prefix);
    struct key_set s = {0};
    unsigned listed = 0;
    int r = 0;

    for (unsigned i = 0; i < N && r != -ENOMEM; i++) {
        r = scan_backend(ms, i, slice_str(prefix), &s, e);
        listed += r == 0;
    }
    if (r != -ENOMEM)
        r = listed >= ZSTOR_META_DATA
                ? 0
                : err_set(e, EHOSTUNREACH, "metadata: only %u of %u backends could be listed",
                          listed, N);
    if (r == 0 && s.n)
        qsort(s.key, s.n, sizeof s.key[0], by_bytes);
    for (size_t i = 0; i < s.n && r == 0; i++) {
        char hex[DIGEST_HEX + 1], *key;
        if (i && by_bytes(s.key[i], s.key[i - 1]) == 0)
            continue;
        parse_to_hex(s.key[i], ZSTOR_DIGEST_LEN, hex);
        key = xasprintf("%s%s", prefix, hex);
        r = fn(arg, key);
        free(key);
    }
    free(s.key);
    return r;
}
