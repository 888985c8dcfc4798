/* listing - see object/listing.h. */
#include "zstor/object/listing.h"

#include <errno.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/parse.h"

#define N          ZSTOR_META_COPIES
#define DIGEST_HEX (2 * ZSTOR_DIGEST_LEN)

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

static int take_row(const redisReply *row, struct slice prefix, struct key_set *s)
{
    uint8_t digest[ZSTOR_DIGEST_LEN];
    struct slice key;

    if (row->type != REDIS_REPLY_ARRAY || row->elements < 1)
        return -EPROTO;
    key = zclient_bulk(row->element[0]);
    if (key.len != prefix.len + DIGEST_HEX || memcmp(key.p, prefix.p, prefix.len) != 0 ||
        parse_hex(slice_of(key.p + prefix.len, DIGEST_HEX), digest, sizeof digest) < 0)
        return 0;
    return key_set_add(s, digest);
}

/* One page; 1: more, cursor filled; 0: the end. */
static int take_page(const redisReply *reply, struct slice prefix, struct key_set *s,
                     struct buf *cursor)
{
    struct slice text = zclient_bulk(reply), next;

    if (zclient_is_error(reply))
        return text.len && memmem(text.p, text.len, "No more data", 12) ? 0 : -EIO;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return -EPROTO;
    next = zclient_bulk(reply->element[0]);
    if (!next.p || next.len == 0 || next.len > 64 ||
        (cursor->p && slice_eq(next, buf_slice(cursor))))
        return -EPROTO; /* a cursor that stands still would keep us for ever */
    for (size_t i = 0; i < reply->element[1]->elements; i++) {
        int r = take_row(reply->element[1]->element[i], prefix, s);
        if (r < 0)
            return r;
    }
    buf_clear(cursor);
    buf_put_slice(cursor, next);
    return 1;
}

static int scan_backend(const struct metastore *ms, unsigned i, struct slice prefix,
                        struct key_set *s, struct err *e)
{
    CLEANUP(buf_fini) struct buf cursor = BUF_INIT, sent = BUF_INIT;
    size_t before = s->n;
    int r = 1;

    while (r == 1) {
        struct pool_ask ask = {0};
        r = pool_get(ms->pool, &ms->conf->meta[i], &ask.conn, e);
        if (r < 0)
            break;
        buf_clear(&sent);
        buf_put_slice(&sent, buf_slice(&cursor));
        quorum_command(&ask, "SCAN", sent.len ? buf_slice(&sent) : slice_of(NULL, 0),
                       slice_of(NULL, 0));
        pool_ask(&ask, 1, 0, 0, NULL);
        r = ask.rc;
        if (r == 0)
            r = take_page(ask.reply, prefix, s, &cursor);
        if (r < 0)
            err_sys(e, -r, "backend %s: SCAN", ms->conf->meta[i].address);
        pool_ask_done(&ask, 1);
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
