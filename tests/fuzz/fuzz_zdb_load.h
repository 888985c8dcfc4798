/* fuzz_zdb_load - a namespace of two segments made by the engine, one of whose files is replaced by
 * the input, is loaded. Whatever the file holds: the server starts, each key that is listed is
 * served with the bytes of its record or not at all, new values are kept, and what the first start
 * answers, every later one answers: keys, values and their errors. Input: u8, bit 0: sequential
 * mode, bit 1: there is a watermark | the content of the file. */
#ifndef TESTS_FUZZ_ZDB_LOAD_H
#define TESTS_FUZZ_ZDB_LOAD_H

#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/watermark.h"
#include "zdb/store.h"

enum load_file { LOAD_I0, LOAD_I1, LOAD_D0, LOAD_D1, LOAD_DESCRIPTOR, LOAD_FILES };

#define LOAD_NS   "fuzz"
#define LOAD_KEYS 4096 /* more than a small index can hold */

static char load_in_memory[] = "/dev/shm/fuzz-load.XXXXXX",
            load_on_disk[] = "/tmp/fuzz-load.XXXXXX";
static char *load_dir;
static struct loop *load_loop;
static struct buf load_good[2][LOAD_FILES]; /* by mode */
static struct buf load_mark[2];             /* the same */

static void load_path(enum load_file f, char *out, size_t n)
{
    static const char *const names[LOAD_FILES] = {"index/" LOAD_NS "/i0", "index/" LOAD_NS "/i1",
                                                  "data/" LOAD_NS "/d0", "data/" LOAD_NS "/d1",
                                                  "index/" LOAD_NS "/zdb-namespace"};
    snprintf(out, n, "%s/%s", load_dir, names[f]);
}

static struct store *load_open(bool must)
{
    static char data[128], idx[128];
    struct store_conf c = {.data_dir = data, .index_dir = idx, .mode = NS_MIXED, .datasize = MIB};
    struct store *l;

    snprintf(data, sizeof data, "%s/data", load_dir);
    snprintf(idx, sizeof idx, "%s/index", load_dir);
    FUZZ_CHECK(store_new(&l, &c, load_loop, NULL) == 0);
    int r = store_load(l, NULL);
    FUZZ_CHECK(r == 0 || !must);
    return l;
}

static void load_close(struct store *l)
{
    FUZZ_CHECK(store_close(l) == 0);
    store_free(l);
}

static void load_wait_fn(void *arg)
{
    *(bool *)arg = true;
}

/* Run f until it does not wait any more. */
#define LOAD_NOW(w, woken, call)                          \
    ({                                                    \
        int r_;                                           \
        while ((r_ = (call)) == -EINPROGRESS) {           \
            for (int i_ = 0; i_ < 2000 && !(woken); i_++) \
                loop_once(load_loop, 5);                  \
            FUZZ_CHECK(woken);                            \
            (woken) = false;                              \
        }                                                 \
        ns_wait_end(&(w));                                \
        r_;                                               \
    })

static void load_set(struct ns *ns, struct slice key, const char *val, uint32_t time)
{
    bool woken = false;
    struct ns_wait w;
    struct ns_set_out out;

    ns_wait_init(&w, load_wait_fn, &woken);
    int r = LOAD_NOW(w, woken, ns_set(ns, key, slice_str(val), time, &out, &w));
    FUZZ_CHECK(r >= 0 || r == -NS_EWORM || r == -NS_EQUOTA);
}

static void load_mark_path(char *out, size_t n)
{
    snprintf(out, n, "%s/index/" LOAD_NS "/" WATERMARK_FILE, load_dir);
}

static void load_make(int mode)
{
    struct store *l = load_open(true);
    struct ns *ns;
    uint8_t id[8] = {0};

    FUZZ_CHECK(store_create(l, slice_str(LOAD_NS), NULL, NULL) == 0);
    ns = store_find(l, slice_str(LOAD_NS));
    FUZZ_CHECK(ns_set_mode(ns, mode ? NS_SEQ : NS_USER) == 0);
    for (uint32_t i = 0; i < 12; i++) {
        char text[32];
        id[0] = (uint8_t)(i / 4);
        struct slice key = slice_of(NULL, 0);
        snprintf(text, sizeof text, "value %u", i);
        if (!mode)
            key = slice_of(&"abcdefgh"[i % 8], 1 + i % 2 * (i % 8 < 7));
        else if (i % 4 == 3)
            key = slice_of(id, 8);
        load_set(ns, key, text, 1600000000 + i);
        if (i == 5)
            FUZZ_CHECK(ns_jump(ns) == 0);
    }
    struct ns_wait w;
    bool woken = false;
    ns_wait_init(&w, load_wait_fn, &woken);
    FUZZ_CHECK(LOAD_NOW(w, woken,
                        ns_del(ns, mode ? slice_of(id, 8) : slice_str("c"), 1600000100, &w)) == 0);
    load_close(l);
    for (int f = 0; f < LOAD_FILES; f++) {
        char path[160];
        load_path((enum load_file)f, path, sizeof path);
        FUZZ_CHECK(path_read(path, MIB, &load_good[mode][f], NULL) == 0);
    }
    char mark[160];
    load_mark_path(mark, sizeof mark);
    FUZZ_CHECK(path_read(mark, MIB, &load_mark[mode], NULL) == 0);
    FUZZ_CHECK(path_remove_tree(load_dir) == 0);
}

static void load_clean(void)
{
    path_remove_tree(load_dir);
}

static void load_start(enum load_file which)
{
    struct log_conf quiet = {.level = LOG_LVL_ERROR, .path = "/dev/null"};

    if (getenv("FUZZ_LOG")) /* what a load says of one input */
        quiet = (struct log_conf){.level = LOG_LVL_WARN, .path = getenv("FUZZ_LOG")};

    load_dir = mkdtemp(load_in_memory);
    if (!load_dir)
        load_dir = mkdtemp(load_on_disk);
    FUZZ_CHECK(load_dir && log_open(&quiet, NULL) == 0 && loop_new(&load_loop, NULL) == 0);
    atexit(load_clean);
    for (int mode = 0; mode < 2; mode++)
        load_make(mode);
    if (getenv("FUZZ_SEEDS")) /* where to write the seeds of this target */
        for (int mode = 0; mode < 2; mode++) {
            char path[512];
            snprintf(path, sizeof path, "%s/good%d", getenv("FUZZ_SEEDS"), mode);
            FILE *out = fopen(path, "wb");
            FUZZ_CHECK(out && fputc(mode, out) == mode);
            fwrite(buf_data(&load_good[mode][which]), 1, load_good[mode][which].len, out);
            fclose(out);
        }
}

struct load_seen { /* what the namespace answers */
    struct ns *ns;
    size_t n;
    uint32_t sum;    /* over keys and values, in the order of the scan */
    struct buf keys; /* u8 length, key */
};

static bool load_key(void *arg, struct slice key, const struct ns_entry *e)
{
    struct load_seen *s = arg;

    (void)e;
    FUZZ_CHECK(key.len > 0 && key.len <= NS_KEY_MAX);
    buf_put_u8(&s->keys, (uint8_t)key.len);
    buf_put_slice(&s->keys, key);
    return ++s->n < LOAD_KEYS;
}

static void load_mix(struct load_seen *s, struct slice v)
{
    for (size_t i = 0; i < v.len; i++)
        s->sum = (s->sum ^ v.p[i]) * 16777619u;
    s->sum = (s->sum ^ (uint32_t)v.len) * 16777619u;
}

static void load_look(struct ns *ns, struct load_seen *s)
{
    bool woken = false;
    struct ns_wait w;
    struct ns_info info;

    *s = (struct load_seen){.ns = ns, .keys = BUF_INIT};
    ns_wait_init(&w, load_wait_fn, &woken);
    int r = LOAD_NOW(w, woken, ns_scan(ns, slice_of(NULL, 0), NS_FORWARD, load_key, s, &w));
    FUZZ_CHECK(r == 0);
    ns_info(ns, &info);
    for (size_t at = 0; at < s->keys.len;) {
        struct slice key = slice_of(buf_data(&s->keys) + at + 1, buf_data(&s->keys)[at]);
        struct buf value = BUF_INIT;
        struct ns_entry e;
        r = LOAD_NOW(w, woken, ns_find(ns, key, &e, &w));
        FUZZ_CHECK(r == 1);
        r = LOAD_NOW(w, woken, ns_read(ns, key, &e, &value, &w));
        FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -ENOENT || r == -ENODATA || r == -EIO);
        FUZZ_CHECK(r < 0 || value.len == e.length);
        load_mix(s, key);
        load_mix(s, r == 0 ? buf_slice(&value) : slice_str("-"));
        buf_fini(&value);
        at += 1 + key.len;
    }
}

static void load_write(int mode, bool marks, enum load_file which, struct slice content)
{
    char path[160];

    for (int f = 0; f < LOAD_FILES; f++) {
        load_path((enum load_file)f, path, sizeof path);
        char *slash = strrchr(path, '/');
        *slash = 0;
        FUZZ_CHECK(path_mkdirs(path, 0700) == 0);
        *slash = '/';
        struct slice c = f == (int)which ? content : buf_slice(&load_good[mode][f]);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        FUZZ_CHECK(fd >= 0 && io_write_full(fd, c.p, c.len) == 0);
        close(fd);
    }
    if (marks) {
        load_mark_path(path, sizeof path);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        FUZZ_CHECK(fd >= 0 && io_write_full(fd, load_mark[mode].p, load_mark[mode].len) == 0);
        close(fd);
    }
}

static void load_same(const struct load_seen *a, const struct load_seen *b)
{
    FUZZ_CHECK(a->n == b->n && slice_eq(buf_slice(&a->keys), buf_slice(&b->keys)) &&
               a->sum == b->sum);
}

static int load_one(enum load_file which, const uint8_t *data, size_t size)
{
    struct load_seen first, again;
    struct ns_info info, info2;
    struct store *l;
    struct ns *ns;

    if (!load_loop)
        load_start(which);
    if (size < 1 || size > 64 * KIB)
        return 0;
    load_write(data[0] & 1, data[0] & 2, which, slice_of(data + 1, size - 1));
    l = load_open(true);
    ns = store_find(l, slice_str(LOAD_NS));
    if (ns) { /* else refused and named in the log */
        load_look(ns, &first);
        for (int i = 0; i < 2; i++) {
            load_close(l);
            l = load_open(true);
            ns = store_find(l, slice_str(LOAD_NS));
            FUZZ_CHECK(ns);
            load_look(ns, &again);
            load_same(&first, &again);
            buf_fini(&again.keys);
        }
        buf_fini(&first.keys);
        ns_info(ns, &info);
        load_set(ns, info.mode == NS_SEQ ? slice_of(NULL, 0) : slice_str("new"), "new value",
                 1700000000);
        load_look(ns, &first);
        ns_info(ns, &info);
        load_close(l);
        l = load_open(true);
        ns = store_find(l, slice_str(LOAD_NS));
        FUZZ_CHECK(ns);
        load_look(ns, &again);
        load_same(&first, &again);
        ns_info(ns, &info2);
        FUZZ_CHECK(info.entries == info2.entries && info.data_size == info2.data_size);
        buf_fini(&first.keys);
        buf_fini(&again.keys);
    }
    load_close(l);
    FUZZ_CHECK(path_remove_tree(load_dir) == 0);
    return 0;
}

#endif
