/* generations - see object/generations.h. */
#include "zstor/object/generations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "common/buf.h"
#include "common/crc.h"
#include "common/io.h"
#include "common/path.h"

#define HEAD     4u
#define ENTRY    (ZSTOR_DIGEST_LEN + 8 + 4)
#define FILE_MAX ((size_t)1 << 30)
#define DELETED  ((uint64_t)1 << 63)

static const uint8_t magic[HEAD] = {'Q', 'Z', 'G', 1};

struct entry {
    uint8_t digest[ZSTOR_DIGEST_LEN];
    uint64_t value; /* generation, and DELETED */
    UT_hash_handle hh;
};

struct generations {
    char *file;
    int fd; /* O_APPEND */
    struct entry *table;
    uint64_t written; /* entries of the file */
};

static void encode(const uint8_t *digest, uint64_t value, uint8_t out[ENTRY])
{
    memcpy(out, digest, ZSTOR_DIGEST_LEN);
    le64_put(out + ZSTOR_DIGEST_LEN, value);
    le32_put(out + ENTRY - 4, crc_std(0, out, ENTRY - 4));
}

static void set(struct generations *g, const uint8_t *digest, uint64_t value)
{
    struct entry *x;

    HASH_FIND(hh, g->table, digest, ZSTOR_DIGEST_LEN, x);
    if (!x) {
        x = xcalloc(1, sizeof *x);
        memcpy(x->digest, digest, ZSTOR_DIGEST_LEN);
        HASH_ADD(hh, g->table, digest, ZSTOR_DIGEST_LEN, x);
    }
    x->value = value;
}

/* Length of what is whole. */
static size_t load(struct generations *g, struct slice text)
{
    size_t at = HEAD;

    if (!text.p || text.len < HEAD || memcmp(text.p, magic, HEAD) != 0)
        return 0;
    for (; text.len - at >= ENTRY; at += ENTRY, g->written++) {
        const uint8_t *p = text.p + at;
        if (crc_std(0, p, ENTRY - 4) != le32_get(p + ENTRY - 4))
            break;
        set(g, p, le64_get(p + ZSTOR_DIGEST_LEN));
    }
    return at;
}

static int rewrite(struct generations *g, struct err *e)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    uint8_t raw[ENTRY];
    int r;

    buf_put(&out, magic, HEAD);
    for (struct entry *x = g->table; x; x = x->hh.next) {
        encode(x->digest, x->value, raw);
        buf_put(&out, raw, sizeof raw);
    }
    base_close(&g->fd);
    r = path_replace(g->file, buf_slice(&out), 0600, e);
    if (r < 0)
        return r;
    g->written = HASH_COUNT(g->table);
    g->fd = open(g->file, O_WRONLY | O_APPEND | O_CLOEXEC);
    return g->fd < 0 ? err_sys(e, errno, "%s", g->file) : 0;
}

int generations_open(struct generations **out, const char *state_dir, struct err *e)
{
    struct generations *g = xcalloc(1, sizeof *g);
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    size_t good;
    int r;

    g->fd = -1;
    g->file = path_join(state_dir, "generations");
    r = path_read(g->file, FILE_MAX, &text, e);
    if (r < 0 && r != -ENOENT)
        goto fail;
    good = load(g, buf_slice(&text));
    if (r == -ENOENT || good != text.len) { /* new, or the end was torn */
        r = rewrite(g, e);
    } else {
        g->fd = open(g->file, O_WRONLY | O_APPEND | O_CLOEXEC);
        r = g->fd < 0 ? err_sys(e, errno, "%s", g->file) : 0;
    }
    if (r < 0)
        goto fail;
    *out = g;
    return 0;
fail:
    generations_close(g);
    return r;
}

void generations_close(struct generations *g)
{
    struct entry *x, *next;

    if (!g)
        return;
    HASH_ITER(hh, g->table, x, next)
    {
        HASH_DEL(g->table, x);
        free(x);
    }
    base_close(&g->fd);
    free(g->file);
    free(g);
}

uint64_t generations_get(const struct generations *g, const uint8_t digest[ZSTOR_DIGEST_LEN],
                         bool *deleted)
{
    struct entry *x;

    HASH_FIND(hh, g->table, digest, ZSTOR_DIGEST_LEN, x);
    *deleted = x && x->value & DELETED;
    return x ? x->value & ~DELETED : 0;
}

int generations_put(struct generations *g, const uint8_t digest[ZSTOR_DIGEST_LEN],
                    uint64_t generation, bool deleted, bool sync)
{
    bool was;
    uint64_t old = generations_get(g, digest, &was);
    uint64_t value = generation | (deleted ? DELETED : 0);
    uint8_t raw[ENTRY];
    int r;

    if (generation >= DELETED || generation < old || (generation == old && (was || !deleted)))
        return 0;
    set(g, digest, value);
    encode(digest, value, raw);
    r = io_write_full(g->fd, raw, sizeof raw);
    g->written++;
    return r == 0 && sync ? io_fdatasync(g->fd) : r;
}

int generations_compact(struct generations *g, struct err *e)
{
    return g->written > 4096 && g->written > 2 * (uint64_t)HASH_COUNT(g->table) ? rewrite(g, e) : 0;
}

size_t generations_alive(const struct generations *g)
{
    size_t n = 0;

    for (struct entry *x = g->table; x; x = x->hh.next)
        n += !(x->value & DELETED);
    return n;
}
