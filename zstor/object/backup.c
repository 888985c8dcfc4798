/* backup - see object/backup.h. */
#include "zstor/object/backup.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>

#include <uthash.h>

#include "common/log.h"
#include "zstor/format/crypt.h"
#include "zstor/format/record_bond.h"
#include "zstor/object/guard.h"
#include "zstor/object/lock.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/volume.h"

#define ENTRY_MAX (16u * 1024 * 1024)
#define CHUNK     ((size_t)1024 * 1024) /* that the sink gets at a time */

static const uint8_t head[8] = {'Q', 'Z', 'B', 1, 1, 0, 0, 0};

static void wipe(struct buf *b) /* records have data keys and passwords in them */
{
    if (b->p)
        sodium_memzero(b->p, b->cap);
    buf_fini(b);
}

static int put_entry(struct objects *o, struct slice plain, struct buf *out)
{
    CLEANUP(buf_fini) struct buf blob = BUF_INIT;
    uint8_t nonce[CRYPT_NONCE_LEN];
    int r = o->random(nonce, sizeof nonce);

    if (r == 0)
        r = crypt_seal(o->conf->key, nonce, plain, &blob);
    if (r < 0)
        return r;
    buf_put_le32(out, (uint32_t)blob.len);
    buf_put_slice(out, buf_slice(&blob));
    return 0;
}

struct make {
    struct objects *o;
    const struct backup_what *what;
    struct buf out; /* not handed over yet */
    struct backup_counts *n;
};

static int hand_over(struct make *b, size_t above)
{
    int r = 0;

    if (b->out.len > above) {
        r = b->what->sink(b->what->arg, buf_slice(&b->out));
        buf_clear(&b->out);
    }
    return r;
}

/* m NULL: there is no such object. */
static int add_record(struct make *b, const char *key, const struct meta_record *m)
{
    struct buf plain = BUF_INIT;
    int r;

    buf_put_le16(&plain, (uint16_t)strlen(key));
    buf_put_str(&plain, key);
    if (m)
        meta_format_encode(m, &plain);
    r = put_entry(b->o, buf_slice(&plain), &b->out);
    wipe(&plain);
    b->n->objects += r == 0;
    return r < 0 ? r : hand_over(b, CHUNK);
}

static int make_one(void *arg, const char *key)
{
    struct make *b = arg;
    struct metastore_state st;
    struct meta_record m;
    struct err e = {0};
    int r;

    if (ctl_stopped(b->what->ctl))
        return -ECANCELED;
    r = metastore_load(&b->o->meta, key, &m, &st, &e);
    if (r < 0) {
        b->n->failed++;
        b->n->unreachable += r != -EBADMSG;
        log_warn("backup of %s: %s", key, e.text);
        return 0;
    }
    if (r == 0)
        return b->what->key ? add_record(b, key, NULL) : 0;
    r = b->what->skip && b->what->skip(b->what->arg, key, &m) ? 0 : add_record(b, key, &m);
    meta_record_fini(&m);
    return r;
}

int backup_make(struct objects *o, const struct backup_what *what, struct backup_counts *n,
                struct err *e)
{
    struct make b = {.o = o, .what = what, .n = n, .out = BUF_INIT};
    uint8_t end[2 + 8] = {0};
    int r = 0;

    *n = (struct backup_counts){0};
    buf_put(&b.out, head, sizeof head);
    if (!what->key)
        r = object_each(o, make_one, &b, e);
    for (size_t i = 0; what->key && i < what->n && r == 0; i++)
        r = make_one(&b, what->key[i]);
    le64_put(end + 2, n->objects);
    if (r == 0)
        r = put_entry(o, slice_of(end, sizeof end), &b.out);
    if (r == 0)
        r = hand_over(&b, 0);
    buf_fini(&b.out);
    if (r < 0)
        return e && e->code == -r ? r : err_sys(e, -r, "backup");
    return n->failed ? err_set(e, EIO, "%" PRIu64 " objects cannot be read, the log names them",
                               n->failed)
                     : 0;
}

/* --- restore --------------------------------------------------------------------------------- */

struct seen {
    char *key;
    UT_hash_handle hh;
};

struct backup_seen {
    struct seen *table;
};

struct backup_seen *backup_seen_new(void)
{
    return xcalloc(1, sizeof(struct backup_seen));
}

void backup_seen_free(struct backup_seen *s)
{
    struct seen *x, *next;

    if (!s)
        return;
    HASH_ITER(hh, s->table, x, next)
    {
        HASH_DEL(s->table, x);
        free(x->key);
        free(x);
    }
    free(s);
}

static bool first_time(struct backup_seen *s, const char *key)
{
    struct seen *x;

    if (!s)
        return true;
    HASH_FIND_STR(s->table, key, x);
    if (x)
        return false;
    x = xcalloc(1, sizeof *x);
    x->key = xstrdup(key);
    HASH_ADD_KEYPTR(hh, s->table, x->key, strlen(x->key), x);
    return true;
}

/* The next entry, decrypted: 1 and *key (given), *record (into plain); 0: the end, and it is right.
 * seen: entries before. */
static int next_entry(struct objects *o, struct rd *r, uint64_t seen, struct buf *plain, char **key,
                      struct slice *record, struct err *e)
{
    uint32_t n = rd_le32(r);
    struct slice blob = rd_slice(r, n > ENTRY_MAX ? SIZE_MAX : n), name;
    struct rd in;

    if (r->bad)
        return err_set(e, EBADMSG, "the backup is cut or damaged behind %" PRIu64 " objects", seen);
    if (crypt_open(o->conf->key, blob, plain) < 0)
        return err_set(e, seen ? EBADMSG : EKEYREJECTED,
                       seen ? "the backup is damaged" : "the backup was made with another key");
    in = rd_of(buf_slice(plain));
    name = rd_slice(&in, rd_le16(&in));
    if (!in.bad && name.len == 0)
        return rd_le64(&in) == seen && !in.bad && rd_left(r) == 0
                   ? 0
                   : err_set(e, EBADMSG, "the backup lacks objects");
    if (in.bad || memchr(name.p, 0, name.len))
        return err_set(e, EBADMSG, "the backup is damaged");
    *key = xasprintf("%.*s", (int)name.len, (const char *)name.p);
    *record = slice_of(in.p, rd_left(&in));
    return 1;
}

static int write_back(struct objects *o, const char *key, struct meta_record *m,
                      const struct backup_how *how, struct backup_counts *n, struct err *e)
{
    CLEANUP(base_close) int lock = -1;
    struct metastore_state st;
    struct meta_record now;
    unsigned acks;
    bool deleted = false;
    int r = object_lock(o->conf->state_dir, key, NULL, &lock, e);

    if (r < 0)
        return r;
    r = metastore_load(&o->meta, key, &now, &st, e);
    if (r == 1) {
        r = how->newer && now.has_tail && m->has_tail && now.generation < m->generation ? 0 : 1;
        meta_record_fini(&now);
    } else if (r == 0 && o->meta.volume) {
        volume_generation(o->meta.volume, key, &deleted);
    }
    if (r == 1 || deleted) {
        n->kept++;
        return 0;
    }
    if (r < 0 && r != -EBADMSG)
        return r;
    r = guard_change(&o->meta, m, e);
    if (r < 0)
        return r;
    m->has_tail = true;
    if (o->meta.volume)
        volume_sign(o->meta.volume, m);
    m->generation = object_next_generation(o, key, m->generation);
    r = metastore_save(&o->meta, key, m, &acks, e);
    n->objects += r == 0;
    return r;
}

static int decode(struct objects *o, const char *key, struct slice record, struct meta_record *m,
                  struct err *e)
{
    int r = meta_format_decode(record, m, e);

    if (r == 0 && record_bond(m, key, o->conf->root) == BOND_FOREIGN) {
        meta_record_fini(m);
        r = err_set(e, EBADMSG, "the backup has a record under another key: %s", key);
    }
    return r;
}

/* One entry; next_entry's answer, or why all has to end. */
static int step(struct objects *o, struct rd *r, uint64_t seen, bool write,
                const struct backup_how *how, struct backup_counts *n, struct err *e)
{
    struct buf plain = BUF_INIT;
    struct meta_record m;
    struct slice record = {0};
    char *key = NULL;
    int more = next_entry(o, r, seen, &plain, &key, &record, e), w = 0;

    if (more == 1 && record.len == 0) { /* it was deleted */
        if (write)
            (void)first_time(how->seen, key);
    } else if (more == 1 && decode(o, key, record, &m, e) < 0) {
        more = -EBADMSG;
    } else if (more == 1) {
        if (write && first_time(how->seen, key))
            w = write_back(o, key, &m, how, n, e);
        meta_record_fini(&m);
    }
    if (w < 0) {
        n->failed++;
        log_warn("restore of %s: %s", key, e->text);
    }
    free(key);
    wipe(&plain);
    return w == -EBUSY || w == -EKEYREJECTED ? w : more;
}

/* write: to the backends, else everything is only checked. */
static int walk(struct objects *o, struct slice in, bool write, const struct backup_how *how,
                struct backup_counts *n, struct err *e)
{
    struct rd r = rd_of(in);
    const uint8_t *p = rd_take(&r, sizeof head);
    uint64_t seen = 0;
    int more = 1;

    if (!p || memcmp(p, head, sizeof head) != 0)
        return err_set(e, EBADMSG, "not a backup of metadata, or of another version");
    while (more == 1) {
        more = step(o, &r, seen, write, how, n, e);
        seen++;
    }
    return more;
}

int backup_restore(struct objects *o, struct slice in, const struct backup_how *how,
                   struct backup_counts *n, struct err *e)
{
    static const struct backup_how plain = {0};
    struct err own = {0}, *why = e ? e : &own;
    uint64_t before = n->failed;
    int r;

    how = how ? how : &plain;
    r = walk(o, in, false, how, n, why);
    if (r == 0)
        r = walk(o, in, true, how, n, why);
    return r == 0 && n->failed > before ? -why->code : r;
}

int backup_restore_record(struct objects *o, const char *key, struct slice record, bool newer,
                          struct backup_counts *n, struct err *e)
{
    const struct backup_how how = {.newer = newer};
    struct meta_record m;
    int r = decode(o, key, record, &m, e);

    if (r < 0)
        return r;
    r = write_back(o, key, &m, &how, n, e);
    meta_record_fini(&m);
    return r;
}
