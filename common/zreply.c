/* zreply - see zreply.h.  The fields of redisReader are public in hiredis 0.14; its buffer is an
 * sds string, and received bytes are put there directly instead of through redisReaderFeed(), which
 * would copy them once more. */
#include "common/zreply.h"

#include <errno.h>
#include <hiredis/sds.h>

enum {
    ELEMENT_MIN = 3,                /* bytes on the wire of the shortest element: type, CR, LF */
    REPLY_MAX = 1024 * 1024 * 1024, /* hiredis counts in int */
};

/* An object of at least n bytes on the wire is about to be made, with nchild elements to come. */
static bool charge(const redisReadTask *t, size_t n, size_t nchild)
{
    struct zreply *z = t->privdata;
    size_t sum;

    if (t->parent && z->promised)
        z->promised--;
    z->used += n; /* n is at most what the buffer holds */
    if (add_ovf(z->promised, nchild, &z->promised) ||
        mul_ovf(z->promised, (size_t)ELEMENT_MIN, &sum) || add_ovf(sum, z->used, &sum) ||
        sum > z->max) {
        z->too_big = true;
        return false;
    }
    return true;
}

static void *make_string(const redisReadTask *t, char *str, size_t len)
{
    struct zreply *z = t->privdata;
    return charge(t, len + ELEMENT_MIN, 0) ? z->fn.createString(t, str, len) : NULL;
}

static void *make_array(const redisReadTask *t, int n)
{
    struct zreply *z = t->privdata;
    return charge(t, ELEMENT_MIN, n > 0 ? (size_t)n : 0) ? z->fn.createArray(t, n) : NULL;
}

static void *make_integer(const redisReadTask *t, long long v)
{
    struct zreply *z = t->privdata;
    return charge(t, ELEMENT_MIN, 0) ? z->fn.createInteger(t, v) : NULL;
}

static void *make_nil(const redisReadTask *t)
{
    struct zreply *z = t->privdata;
    return charge(t, ELEMENT_MIN, 0) ? z->fn.createNil(t) : NULL;
}

static void free_object(void *obj)
{
    freeReplyObject(obj);
}

static redisReplyObjectFunctions guarded = {make_string, make_array, make_integer, make_nil,
                                            free_object};

int zreply_init(struct zreply *z, size_t max, size_t keep)
{
    *z = (struct zreply){.max = MIN(max, (size_t)REPLY_MAX), .keep = keep};
    z->r = redisReaderCreate();
    if (!z->r)
        return -ENOMEM;
    z->r->maxbuf = 0; /* never freed behind our back between two replies */
    z->fn = *z->r->fn;
    z->r->fn = &guarded;
    z->r->privdata = z;
    return 0;
}

void zreply_fini(struct zreply *z)
{
    if (z->r)
        redisReaderFree(z->r);
    z->r = NULL;
}

uint8_t *zreply_reserve(struct zreply *z, size_t n)
{
    redisReader *r = z->r;
    sds grown = sdsMakeRoomFor(r->buf, n);

    if (!grown)
        return NULL;
    r->buf = grown;
    return (uint8_t *)grown + sdslen(grown);
}

void zreply_commit(struct zreply *z, size_t n)
{
    sdsIncrLen(z->r->buf, (int)n);
    z->r->len = sdslen(z->r->buf);
}

size_t zreply_left(const struct zreply *z)
{
    return z->r->len - z->r->pos;
}

/* Length announced by the bulk header that the reader stands at; false: it stands elsewhere, or the
 * line is not whole. */
static bool announced(const struct zreply *z, size_t *header, size_t *len)
{
    const redisReader *r = z->r;
    const char *p = r->buf + r->pos;
    size_t left = r->len - r->pos, i = 0, v = 0;

    if (r->ridx < 0)
        return false;
    if (r->rstack[r->ridx].type != REDIS_REPLY_STRING)
        return false;
    while (i < left && p[i] >= '0' && p[i] <= '9') {
        if (mul_ovf(v, (size_t)10, &v) || add_ovf(v, (size_t)(p[i] - '0'), &v))
            v = SIZE_MAX / 2;
        i++;
    }
    if (i == 0 || left - i < 2)
        return false;
    *header = i + 2;
    *len = v;
    return true;
}

size_t zreply_want(const struct zreply *z)
{
    size_t header, len, left = zreply_left(z);

    if (!announced(z, &header, &len) || len > z->max)
        return 0;
    return header + len + 2 > left ? header + len + 2 - left : 0;
}

/* Before hiredis looks: what is incomplete must be able to become a reply within the limits. */
static int check_incomplete(const struct zreply *z)
{
    size_t header, len, left = zreply_left(z);

    if (announced(z, &header, &len)) {
        if (len > z->max || len + z->used > z->max)
            return -EMSGSIZE;
    } else if (left > ZREPLY_MAX_LINE && !memchr(z->r->buf + z->r->pos, '\n', ZREPLY_MAX_LINE)) {
        return -EMSGSIZE;
    }
    return left > z->max + ZREPLY_MAX_LINE ? -EMSGSIZE : 0;
}

static void give_back(struct zreply *z)
{
    redisReader *r = z->r;

    if (r->pos < r->len || sdsavail(r->buf) + sdslen(r->buf) <= z->keep)
        return;
    sds empty = sdsempty();
    if (!empty)
        return;
    sdsfree(r->buf);
    r->buf = empty;
    r->pos = r->len = 0;
}

int zreply_next(struct zreply *z, redisReply **out)
{
    void *reply = NULL;

    if (redisReaderGetReply(z->r, &reply) != REDIS_OK) {
        if (z->too_big)
            return -EMSGSIZE;
        return z->r->err == REDIS_ERR_OOM ? -ENOMEM : -EPROTO;
    }
    if (!reply)
        return check_incomplete(z);
    z->used = z->promised = 0;
    give_back(z);
    *out = reply;
    return 1;
}
