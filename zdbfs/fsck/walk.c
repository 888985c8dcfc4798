/* walk - see fsck/walk.h. */
#include "zdbfs/fsck/walk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

#include "zdbfs/format/inode.h"
#include "zdbfs/format/list.h"
#include "zdbfs/txn/replay.h"

enum { BATCH = 64, ROOT = 1, SHOWN_MAX = 200 };

struct seen { /* an inode that an entry points to */
    uint64_t ino;
    uint32_t mode, nlink, names;
    UT_hash_handle hh;
};

struct check {
    struct kv *kv;
    struct check_result *out;
    bool json;
    struct seen *seen;
    struct key_set dirs;                 /* to be walked */
    struct key_set meta_keys, data_keys; /* referred to */
};

/* As a JSON string; names may have any bytes. */
static void print_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        uint8_t byte = (uint8_t)*text;
        if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\')
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static void finding(struct check *c, const char *fmt, ...) PRINTF(2, 3);
static void finding(struct check *c, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    if (c->out->findings++ >= SHOWN_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!c->json) {
        puts(text);
        return;
    }
    fputs(c->out->findings > 1 ? ",\n  " : "\n  ", stdout);
    print_string(text);
}

static struct seen *find(struct check *c, uint64_t ino)
{
    struct seen *s = NULL;
    HASH_FIND(hh, c->seen, &ino, sizeof ino, s);
    return s;
}

/* ---- files ---------------------------------------------------------------------------------- */

static int check_blocks(struct check *c, uint64_t ino, const struct inode_rec *rec)
{
    size_t n = rec->slots.len / 4, nkeys = 0;
    uint64_t *key = xcalloc(n + 1, sizeof *key), *len = xcalloc(n + 1, sizeof *len),
             *idx = xcalloc(n + 1, sizeof *idx);

    for (size_t i = 0; i < n; i++) {
        uint32_t id = le32_get(rec->slots.p + 4 * i);
        if (id) {
            idx[nkeys] = i;
            key[nkeys++] = id;
            replay_key_add(&c->data_keys, id);
        }
    }
    int r = kv_len_many(c->kv, ROLE_DATA, key, nkeys, kv_deadline(c->kv), len);
    for (size_t i = 0; i < nkeys && r == 0; i++) {
        if (len[i] == UINT64_MAX)
            finding(c, "inode %" PRIu64 ": block %" PRIu64 " is missing (data key %" PRIu64 ")",
                    ino, idx[i], key[i]);
        else if (len[i] > INODE_BLOCK)
            finding(c, "inode %" PRIu64 ": block %" PRIu64 " has %" PRIu64 " bytes", ino, idx[i],
                    len[i]);
    }
    c->out->blocks += nkeys;
    c->out->bytes += rec->a.size;
    free(key);
    free(len);
    free(idx);
    return r;
}

/* ---- directories ---------------------------------------------------------------------------- */

struct entry {
    uint64_t ino;
    char *name;
};

struct entries {
    struct entry *e;
    size_t n, cap;
};

static void add_entry(struct entries *es, uint64_t ino, struct slice name)
{
    if (es->n == es->cap) {
        size_t cap = es->cap ? 2 * es->cap : 64;
        struct entry *fresh = xcalloc(cap, sizeof *fresh);
        if (es->n)
            memcpy(fresh, es->e, es->n * sizeof *fresh);
        free(es->e);
        es->e = fresh;
        es->cap = cap;
    }
    char *text = xcalloc(1, name.len + 1);
    memcpy(text, name.p, name.len);
    for (size_t i = 0; i < name.len; i++) /* for messages */
        if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    es->e[es->n++] = (struct entry){ino, text};
}

static int compare(struct slice a, struct slice b)
{
    int r = memcmp(a.p, b.p, MIN(a.len, b.len));
    return r ? r : (a.len > b.len) - (a.len < b.len);
}

static void check_list(struct check *c, uint64_t dir, unsigned bucket, uint64_t key,
                       struct slice value, struct entries *es, uint64_t *size)
{
    struct list_reader in;
    struct slice name, before = {NULL, 0};
    uint64_t ino;

    int r = list_format_open(&in, value, key);
    while (r == 0 && (r = list_format_next(&in, &name, &ino)) == 1) {
        if (list_format_bucket(name) != bucket)
            finding(c, "directory %" PRIu64 ": an entry of list %u belongs in another", dir,
                    bucket);
        if (before.p && compare(before, name) >= 0)
            finding(c, "directory %" PRIu64 ": names of list %u are not in order", dir, bucket);
        before = name;
        r = 0;
        if (slice_eq_str(name, ".") || slice_eq_str(name, ".."))
            continue;
        *size += 11 + name.len;
        add_entry(es, ino, name);
    }
    if (r < 0)
        finding(c, "directory %" PRIu64 ": name list %u (meta key %" PRIu64 ") is damaged", dir,
                bucket, key);
}

static int read_lists(struct check *c, uint64_t dir, struct slice lists, struct entries *es,
                      uint64_t *size)
{
    uint64_t key[INODE_LISTS];
    unsigned bucket[INODE_LISTS];
    struct kv_val val[INODE_LISTS];
    size_t n = 0;

    for (unsigned i = 0; i < INODE_LISTS; i++) {
        uint64_t id = le64_get(lists.p + 8 * i);
        if (id == INODE_NO_LIST)
            continue;
        bucket[n] = i;
        key[n++] = id;
        replay_key_add(&c->meta_keys, id);
    }
    int r = kv_get_many(c->kv, ROLE_META, key, n, kv_deadline(c->kv), val);
    for (size_t i = 0; i < n && r == 0; i++) {
        if (!val[i].found)
            finding(c, "directory %" PRIu64 ": name list %u (meta key %" PRIu64 ") is missing", dir,
                    bucket[i], key[i]);
        else if (val[i].v.len != 1)
            check_list(c, dir, bucket[i], key[i], val[i].v, es, size);
    }
    for (size_t i = 0; i < n; i++)
        kv_val_fini(&val[i]);
    return r;
}

/* One entry whose inode was fetched. */
static int check_entry(struct check *c, uint64_t dir, const struct entry *en,
                       const struct kv_val *v, uint32_t *subdirs)
{
    struct inode_rec rec;
    struct seen *s = find(c, en->ino);

    if (s) {
        s->names++;
        if (S_ISDIR(s->mode))
            finding(c, "directory %" PRIu64 ": \"%s\" is a second name of directory %" PRIu64, dir,
                    en->name, en->ino);
        return 0;
    }
    if (!v->found) {
        finding(c,
                "directory %" PRIu64 ": \"%s\" points to inode %" PRIu64 ", which does not exist",
                dir, en->name, en->ino);
        return 0;
    }
    if (inode_format_decode(v->v, &rec) < 0) {
        finding(c, "directory %" PRIu64 ": \"%s\": inode %" PRIu64 " is damaged", dir, en->name,
                en->ino);
        return 0;
    }
    s = xcalloc(1, sizeof *s);
    *s = (struct seen){.ino = en->ino, .mode = rec.a.mode, .nlink = rec.a.nlink, .names = 1};
    HASH_ADD(hh, c->seen, ino, sizeof s->ino, s);
    replay_key_add(&c->meta_keys, en->ino);
    if (S_ISDIR(rec.a.mode)) {
        (*subdirs)++;
        replay_key_add(&c->dirs, en->ino);
        return 0;
    }
    if (!S_ISREG(rec.a.mode)) {
        c->out->others++;
        return 0;
    }
    c->out->files++;
    return check_blocks(c, en->ino, &rec);
}

static int check_entries(struct check *c, uint64_t dir, const struct entries *es, uint32_t *subdirs)
{
    struct kv_val val[BATCH];
    uint64_t key[BATCH];
    int r = 0;

    for (size_t i = 0; i < es->n && r == 0; i += BATCH) {
        size_t n = MIN(es->n - i, (size_t)BATCH);
        for (size_t k = 0; k < n; k++)
            key[k] = es->e[i + k].ino;
        r = kv_get_many(c->kv, ROLE_META, key, n, kv_deadline(c->kv), val);
        if (r < 0)
            break;
        for (size_t k = 0; k < n; k++) {
            if (r == 0)
                r = check_entry(c, dir, &es->e[i + k], &val[k], subdirs);
            kv_val_fini(&val[k]);
        }
    }
    return r;
}

static int check_dir(struct check *c, uint64_t dir)
{
    struct entries es = {0};
    struct inode_rec rec;
    struct kv_val v;
    uint64_t size = 0;
    uint32_t subdirs = 0;

    int r = kv_get(c->kv, ROLE_META, dir, kv_deadline(c->kv), &v);
    if (r < 0)
        return r;
    if (!v.found || inode_format_decode(v.v, &rec) < 0 || !S_ISDIR(rec.a.mode)) {
        finding(c, "inode %" PRIu64 " is no directory", dir);
        kv_val_fini(&v);
        return 0;
    }
    c->out->dirs++;
    r = read_lists(c, dir, rec.lists, &es, &size);
    kv_val_fini(&v);
    if (r == 0)
        r = check_entries(c, dir, &es, &subdirs);
    if (r == 0 && rec.a.subdirs_known && rec.a.subdirs != subdirs)
        finding(c, "directory %" PRIu64 ": says %u subdirectories, has %u", dir, rec.a.subdirs,
                subdirs);
    if (r == 0 && rec.a.size != size)
        finding(c, "directory %" PRIu64 ": size is %" PRIu64 ", its names make %" PRIu64, dir,
                rec.a.size, size);
    for (size_t i = 0; i < es.n; i++)
        free(es.e[i].name);
    free(es.e);
    return r;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void sort(struct key_set *s)
{
    if (s->n)
        qsort(s->key, s->n, sizeof *s->key, by_key);
}

struct unused {
    const struct key_set *used;
    uint64_t n;
};

static int count_unused(uint64_t key, uint64_t len, void *arg)
{
    struct unused *u = arg;

    (void)len;
    if (key != 0 && !(u->used->n && bsearch(&key, u->used->key, u->used->n, sizeof key, by_key)))
        u->n++;
    return 0;
}

static int check_keys(struct check *c)
{
    struct unused meta = {&c->meta_keys, 0}, data = {&c->data_keys, 0};

    sort(&c->meta_keys);
    sort(&c->data_keys);
    for (size_t i = 1; i < c->meta_keys.n; i++)
        if (c->meta_keys.key[i] == c->meta_keys.key[i - 1])
            finding(c, "meta key %" PRIu64 " is used twice", c->meta_keys.key[i]);
    for (size_t i = 1; i < c->data_keys.n; i++)
        if (c->data_keys.key[i] == c->data_keys.key[i - 1])
            finding(c, "data key %" PRIu64 " is used twice", c->data_keys.key[i]);
    int r = kv_scan(c->kv, ROLE_META, kv_deadline(c->kv), count_unused, &meta);
    if (r == 0)
        r = kv_scan(c->kv, ROLE_DATA, kv_deadline(c->kv), count_unused, &data);
    c->out->unused_meta = meta.n;
    c->out->unused_data = data.n;
    return r;
}

static void check_links(struct check *c)
{
    const struct seen *s;

    for (s = c->seen; s; s = s->hh.next)
        if (!S_ISDIR(s->mode) && s->nlink != s->names)
            finding(c, "inode %" PRIu64 ": says %u names, has %u", s->ino, s->nlink, s->names);
}

int check_run(struct kv *kv, uint64_t points_key, bool json, struct check_result *out,
              struct err *e)
{
    struct check c = {.kv = kv, .out = out, .json = json};
    struct seen *s, *next;
    int r = 0;

    *out = (struct check_result){0};
    s = xcalloc(1, sizeof *s);
    *s = (struct seen){.ino = ROOT, .mode = S_IFDIR, .names = 1};
    HASH_ADD(hh, c.seen, ino, sizeof s->ino, s);
    replay_key_add(&c.meta_keys, ROOT);
    if (points_key)
        replay_key_add(&c.meta_keys, points_key);
    replay_key_add(&c.dirs, ROOT);
    while (c.dirs.n && r == 0)
        r = check_dir(&c, c.dirs.key[--c.dirs.n]);
    if (r == 0) {
        check_links(&c);
        r = check_keys(&c);
    }
    if (out->findings > SHOWN_MAX && !json)
        printf("... and %" PRIu64 " more\n", out->findings - SHOWN_MAX);
    HASH_ITER(hh, c.seen, s, next)
    {
        HASH_DEL(c.seen, s);
        free(s);
    }
    free(c.dirs.key);
    free(c.meta_keys.key);
    free(c.data_keys.key);
    return r < 0 ? err_sys(e, -r, "reading the volume") : 0;
}
