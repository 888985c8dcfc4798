/* changes - see object/changes.h. */
#include "zstor/object/changes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uthash.h>

#include "common/crc.h"
#include "common/log.h"
#include "common/path.h"

#define STATE     "metadata-log"
#define BEHIND    "metadata-log.behind"
#define OTHER     "metadata-log.other"
#define STATE_MAX ((size_t)4 * 1024 * 1024)

static const uint8_t magic[4] = {'Q', 'Z', 'L', 1};

struct entry {
    char *key;
    unsigned n; /* flying: how many are */
    bool dead;  /* own */
    UT_hash_handle hh;
};

struct changes {
    char *dir;
    bool daemon;
    pthread_mutex_t lock;
    struct entry *flying, *dirty, *taken; /* being made; made; those that the run has taken */
    struct entry *own;
    bool marked; /* the mark of ours is on disk */
    bool whole;  /* the log may lack what nobody remembers */
    bool stale;  /* a part was moved */
};

/* --- the file -------------------------------------------------------------------------------- */

void changes_state_fini(struct changes_state *s)
{
    buf_fini(&s->anchor);
    for (size_t i = 0; i < s->n; i++)
        free(s->place[i].backend);
    free(s->place);
    *s = (struct changes_state){0};
}

static bool take_place(struct rd *r, struct changes_state *out)
{
    struct slice name = rd_slice(r, rd_le16(r));
    uint8_t len = rd_u8(r);
    const uint8_t *key = rd_take(r, len);
    struct changes_place *p;

    if (r->bad || len > sizeof p->key || memchr(name.p, 0, name.len))
        return false;
    p = &out->place[out->n++];
    p->backend = xasprintf("%.*s", (int)name.len, (const char *)name.p);
    memcpy(p->key, key, len);
    p->len = len;
    return true;
}

int changes_state_read(const char *state_dir, struct changes_state *out)
{
    CLEANUP(base_free) char *path = path_join(state_dir, STATE);
    CLEANUP(buf_fini) struct buf in = BUF_INIT;
    struct rd r;
    const uint8_t *p;
    uint32_t n;
    int rc = path_read(path, STATE_MAX, &in, NULL);

    *out = (struct changes_state){0};
    if (rc < 0)
        return rc;
    if (in.len < sizeof magic + 4 ||
        crc_std(0, buf_data(&in), in.len - 4) != le32_get(buf_data(&in) + in.len - 4))
        return -EBADMSG;
    r = rd_of(slice_of(buf_data(&in), in.len - 4));
    p = rd_take(&r, sizeof magic);
    if (!p || memcmp(p, magic, sizeof magic) != 0)
        return -EBADMSG;
    buf_put_slice(&out->anchor, rd_slice(&r, rd_le32(&r)));
    n = rd_le32(&r);
    if (!r.bad && n <= 4096)
        out->place = xcalloc(n + 1, sizeof *out->place);
    for (uint32_t i = 0; i < n && out->place && !r.bad; i++)
        r.bad = !take_place(&r, out);
    if (r.bad || !out->place || rd_left(&r)) {
        changes_state_fini(out);
        return -EBADMSG;
    }
    return 0;
}

int changes_state_write(const char *state_dir, const struct changes_state *s, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(state_dir, STATE);
    CLEANUP(buf_fini) struct buf out = BUF_INIT;

    buf_put(&out, magic, sizeof magic);
    buf_put_le32(&out, (uint32_t)s->anchor.len);
    buf_put_slice(&out, buf_slice(&s->anchor));
    buf_put_le32(&out, (uint32_t)s->n);
    for (size_t i = 0; i < s->n; i++) {
        buf_put_le16(&out, (uint16_t)strlen(s->place[i].backend));
        buf_put_str(&out, s->place[i].backend);
        buf_put_u8(&out, (uint8_t)s->place[i].len);
        buf_put(&out, s->place[i].key, s->place[i].len);
    }
    buf_put_le32(&out, crc_std(0, buf_data(&out), out.len));
    return path_replace(path, buf_slice(&out), 0600, e);
}

/* --- marks ----------------------------------------------------------------------------------- */

static int mark(const char *dir, const char *name)
{
    CLEANUP(base_free) char *path = path_join(dir, name);
    CLEANUP(base_close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int r;

    if (fd < 0)
        return -errno;
    r = fsync(fd) < 0 ? -errno : 0;
    return r < 0 ? r : path_sync_dir(dir);
}

static bool marked(const char *dir, const char *name)
{
    CLEANUP(base_free) char *path = path_join(dir, name);

    return access(path, F_OK) == 0 || errno != ENOENT;
}

static void unmark(const char *dir, const char *name)
{
    CLEANUP(base_free) char *path = path_join(dir, name);

    if (unlink(path) < 0 && errno != ENOENT)
        log_warn("metadata log: remove %s: %s", path, strerror(errno));
}

/* --- keys ------------------------------------------------------------------------------------ */

static struct entry *find(struct entry *set, const char *key)
{
    struct entry *x;

    HASH_FIND_STR(set, key, x);
    return x;
}

static struct entry *add(struct entry **set, const char *key)
{
    struct entry *x = find(*set, key);

    if (x)
        return x;
    x = xcalloc(1, sizeof *x);
    x->key = xstrdup(key);
    HASH_ADD_KEYPTR(hh, *set, x->key, strlen(x->key), x);
    return x;
}

static void take(struct entry **set, struct entry *x)
{
    HASH_DEL(*set, x);
    free(x->key);
    free(x);
}

static void drop(struct entry **set)
{
    struct entry *x, *next;

    HASH_ITER(hh, *set, x, next)
    take(set, x);
}

int changes_before(struct changes *c, const char *key)
{
    const struct entry *own;
    int r = 0;

    pthread_mutex_lock(&c->lock);
    own = find(c->own, key);
    if (!c->marked && !(own && own->dead)) {
        r = mark(c->dir, c->daemon ? BEHIND : OTHER);
        c->marked = r == 0;
    }
    if (r == 0 && c->daemon && !own)
        add(&c->flying, key)->n++;
    pthread_mutex_unlock(&c->lock);
    return r;
}

void changes_after(struct changes *c, const char *key)
{
    struct entry *x;

    if (!c->daemon)
        return;
    pthread_mutex_lock(&c->lock);
    x = find(c->own, key);
    c->stale = c->stale || (x && !x->dead);
    x = find(c->flying, key);
    if (x) {
        add(&c->dirty, key);
        if (--x->n == 0)
            take(&c->flying, x);
    }
    pthread_mutex_unlock(&c->lock);
}

void changes_own(struct changes *c, const char *key, bool dead)
{
    pthread_mutex_lock(&c->lock);
    add(&c->own, key)->dead = dead;
    pthread_mutex_unlock(&c->lock);
}

bool changes_pending(struct changes *c, const char *key)
{
    bool is;

    pthread_mutex_lock(&c->lock);
    is = c->whole || find(c->flying, key) || find(c->dirty, key) || find(c->taken, key);
    pthread_mutex_unlock(&c->lock);
    return is;
}

bool changes_any(struct changes *c)
{
    bool any;

    pthread_mutex_lock(&c->lock);
    any = c->dirty || c->whole || c->stale || marked(c->dir, OTHER);
    pthread_mutex_unlock(&c->lock);
    return any;
}

/* --- a run ----------------------------------------------------------------------------------- */

void changes_begin(struct changes *c, struct changes_work *out)
{
    struct entry *x;

    pthread_mutex_lock(&c->lock);
    *out = (struct changes_work){.whole = c->whole};
    if (marked(c->dir, OTHER)) { /* what it says is remembered in memory, and by our own mark */
        out->whole = c->whole = true;
        if (c->marked || mark(c->dir, BEHIND) == 0) {
            c->marked = true;
            unmark(c->dir, OTHER);
        }
    }
    c->stale = false;
    c->taken = c->dirty;
    c->dirty = NULL;
    out->key = xcalloc(HASH_COUNT(c->taken) + 1, sizeof *out->key);
    for (x = c->taken; x; x = x->hh.next)
        out->key[out->n++] = xstrdup(x->key);
    pthread_mutex_unlock(&c->lock);
}

int changes_end(struct changes *c, struct changes_work *w, const struct changes_state *state,
                struct err *e)
{
    struct entry *x;
    int r = state ? changes_state_write(c->dir, state, e) : 0;

    pthread_mutex_lock(&c->lock);
    if (!state || r < 0) {
        for (x = c->taken; x; x = x->hh.next)
            add(&c->dirty, x->key);
        c->stale = true;
    } else {
        c->whole = c->whole && !w->whole;
        if (!c->flying && !c->dirty && !c->whole && !c->stale && c->marked) {
            unmark(c->dir, BEHIND);
            c->marked = false;
        }
    }
    drop(&c->taken);
    pthread_mutex_unlock(&c->lock);
    path_list_free(w->key, w->n);
    *w = (struct changes_work){0};
    return r;
}

int changes_open(struct changes **out, const char *state_dir, bool daemon, struct err *e)
{
    struct changes *c = xcalloc(1, sizeof *c);
    struct changes_state s;
    int r = path_mkdirs(state_dir, 0700);

    if (r < 0) {
        free(c);
        return err_sys(e, -r, "state_dir: create %s", state_dir);
    }
    c->dir = xstrdup(state_dir);
    c->daemon = daemon;
    pthread_mutex_init(&c->lock, NULL);
    c->marked = daemon && marked(state_dir, BEHIND);
    c->whole = c->marked || changes_state_read(state_dir, &s) < 0 || s.anchor.len == 0;
    if (!c->marked)
        changes_state_fini(&s);
    *out = c;
    return 0;
}

void changes_close(struct changes *c)
{
    if (!c)
        return;
    drop(&c->flying);
    drop(&c->dirty);
    drop(&c->taken);
    drop(&c->own);
    pthread_mutex_destroy(&c->lock);
    free(c->dir);
    free(c);
}
