/* cli_recover - see daemon/cli_recover.h. */
#include "zstor/daemon/cli_recover.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/parse.h"
#include "common/path.h"
#include "zstor/object/reach.h"

#define THREADS    4
#define TRIES      6 /* of one object, while backends do not answer */
#define FIRST_MS   250
#define LONGEST_MS 4000
#define GAP        4096 /* so many numbers without an object: there are no later ones */
#define QUIET_MS   2000 /* progress is shown after that, on a terminal */

enum kind { DESCRIPTOR, INDEX, DATA };
static const char *const kind_name[] = {"descriptor", "index", "data"};

struct file {
    const char *ns;
    enum kind kind;
    uint32_t id;
    char *path;
    bool absent; /* no record lists it */
    int rc;      /* reach: 1 found, 0 not; fetch: 0; -errno */
    struct object_reach reach;
    uint64_t bytes;
    bool here; /* fetch: it was here already */
    struct err err;
};

struct work {
    struct objects *o;
    const struct zstor_conf *conf;
    const char *what;
    int (*run)(struct objects *o, struct file *f);
    struct file *file;
    size_t n, cap, next, done;
    uint64_t bytes;
    pthread_mutex_t lock;
    pthread_cond_t ended;
};

static void add(struct work *w, const char *ns, enum kind kind, uint32_t id, bool absent)
{
    const char *top = kind == DATA ? w->conf->zdb_data_dir_path : w->conf->zdb_index_dir_path;
    struct file f = {.ns = ns, .kind = kind, .id = id, .absent = absent};

    f.path = kind == DESCRIPTOR ? xasprintf("%s/%s/zdb-namespace", top, ns)
                                : xasprintf("%s/%s/%c%u", top, ns, kind == DATA ? 'd' : 'i', id);
    w->file = xgrow(w->file, w->n, &w->cap, sizeof *w->file);
    w->file[w->n++] = f;
}

static void work_fini(struct work *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->file[i].path);
    free(w->file);
}

/* --- many at once ---------------------------------------------------------------------------- */

/* May another try help? */
static bool passing(int r)
{
    return r == -EHOSTUNREACH || r == -EIO || r == -EBADMSG || r == -ENOLINK || r == -ETIMEDOUT ||
           r == -EAGAIN || r == -EHOSTDOWN;
}

static void run_one(struct work *w, struct file *f)
{
    uint64_t pause = FIRST_MS;

    for (int tries = 1; !f->absent; tries++) {
        f->err = (struct err){0};
        f->rc = w->run(w->o, f);
        if (!passing(f->rc) || tries == TRIES)
            return;
        usleep((useconds_t)pause * 1000);
        pause = MIN(2 * pause, (uint64_t)LONGEST_MS);
    }
}

static void *worker(void *arg)
{
    struct work *w = arg;

    pthread_mutex_lock(&w->lock);
    while (w->next < w->n) {
        struct file *f = &w->file[w->next++];

        pthread_mutex_unlock(&w->lock);
        run_one(w, f);
        pthread_mutex_lock(&w->lock);
        w->done++;
        w->bytes += f->bytes;
        pthread_cond_signal(&w->ended);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void progress(const struct work *w, uint64_t began)
{
    uint64_t ms = base_now_ms() - began;

    if (ms < QUIET_MS || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%s: %zu of %zu files, %" PRIu64 " MiB, %.1f MiB/s, %" PRIu64 " s left   ",
            w->what, w->done, w->n, w->bytes / MIB, (double)w->bytes / MIB * 1000 / (double)ms,
            w->done ? ms * (w->n - w->done) / w->done / 1000 : 0);
    if (w->done == w->n)
        fputc('\n', stderr);
}

static void run_all(struct work *w)
{
    pthread_t thread[THREADS];
    uint64_t began = base_now_ms();
    unsigned n = 0;

    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->ended, NULL);
    while (n < THREADS && pthread_create(&thread[n], NULL, worker, w) == 0)
        n++;
    if (n == 0)
        worker(w);
    pthread_mutex_lock(&w->lock);
    while (w->done < w->n) {
        pthread_cond_wait(&w->ended, &w->lock);
        progress(w, began);
    }
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    pthread_cond_destroy(&w->ended);
    pthread_mutex_destroy(&w->lock);
}

/* --- list ------------------------------------------------------------------------------------ */

struct keys { /* of all objects, sorted */
    char **key;
    size_t n, cap;
};

static int take_key(void *arg, const char *key)
{
    struct keys *k = arg;

    k->key = xgrow(k->key, k->n, &k->cap, sizeof *k->key);
    k->key[k->n++] = xstrdup(key);
    return 0;
}

static void keys_fini(struct keys *k)
{
    for (size_t i = 0; i < k->n; i++)
        free(k->key[i]);
    free(k->key);
    *k = (struct keys){0};
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int keys_read(struct objects *o, struct keys *k, struct err *e)
{
    uint64_t pause = FIRST_MS;
    int r;

    for (int tries = 1;; tries++) {
        r = object_each(o, take_key, k, e);
        if (!passing(r) || tries == TRIES)
            break;
        keys_fini(k);
        usleep((useconds_t)pause * 1000);
        pause = MIN(2 * pause, (uint64_t)LONGEST_MS);
    }
    if (k->n)
        qsort(k->key, k->n, sizeof *k->key, by_text);
    return r;
}

static int has(const struct work *w, const struct keys *k, const char *path, struct err *e)
{
    CLEANUP(base_free) char *key = NULL;
    int r = object_key(w->conf, path, &key, e);

    return r < 0 ? r : k->n && bsearch(&key, k->key, k->n, sizeof *k->key, by_text) != NULL;
}

/* All numbers up to the highest that has an object. */
static int find_files(struct work *w, const struct keys *k, const char *ns, enum kind kind,
                      struct err *e)
{
    size_t kept = w->n;
    uint32_t from = kind == DESCRIPTOR ? 0 : 1;
    int r = 1;

    for (uint32_t id = 0, gap = 0; r >= 0 && gap <= (from ? GAP : 0); id++, gap++) {
        add(w, ns, kind, id, false);
        r = has(w, k, w->file[w->n - 1].path, e);
        w->file[w->n - 1].absent = r == 0;
        if (r == 1) {
            kept = w->n;
            gap = 0;
        }
        if (!from)
            break;
    }
    for (; w->n > kept; w->n--)
        free(w->file[w->n - 1].path);
    return MIN(r, 0);
}

static int reach_one(struct objects *o, struct file *f)
{
    int r = object_reach(o, f->path, &f->reach, &f->err);

    return r == 1 && f->reach.reachable < f->reach.needed && f->reach.stored >= f->reach.needed
               ? -EHOSTDOWN
               : r;
}

static const char *state_of(const struct file *f)
{
    if (f->absent)
        return "absent";
    if (f->rc == 1)
        return f->reach.stored < f->reach.needed ? "lost" : "there";
    return f->rc == 0 ? "lost" : f->rc == -EBADMSG ? "damaged" : "unreachable";
}

static void show(const struct file *f)
{
    printf("%s %s %u %s %" PRIu64 " %" PRIu64 " ", f->ns, kind_name[f->kind], f->id, state_of(f),
           f->reach.size, f->reach.time_ns / 1000000000);
    if (f->rc == -EHOSTDOWN)
        printf("%u of the %u shards that are needed can be reached\n", f->reach.reachable,
               f->reach.needed);
    else
        puts(f->absent ? "there is no record of it" : f->rc < 0 ? f->err.text : "-");
}

static int list(struct work *w, char **ns, int n, struct err *e)
{
    struct keys k = {0};
    int r = keys_read(w->o, &k, e);

    for (int i = 0; i < n && r == 0; i++)
        for (int kind = DESCRIPTOR; kind <= DATA && r == 0; kind++)
            r = find_files(w, &k, ns[i], (enum kind)kind, e);
    keys_fini(&k);
    if (r < 0)
        return r;
    w->what = "looking";
    w->run = reach_one;
    run_all(w);
    for (size_t i = 0; i < w->n; i++)
        show(&w->file[i]);
    return 0;
}

/* --- fetch, forget --------------------------------------------------------------------------- */

static int fetch_one(struct objects *o, struct file *f)
{
    struct object_result res;
    int r = object_retrieve(o, f->path, NULL, NULL, NULL, &res, &f->err);

    f->here = res.skipped;
    f->bytes = r == 0 ? res.size : 0;
    return r;
}

static int forget_one(struct objects *o, struct file *f)
{
    return object_delete(o, f->path, NULL, NULL, &f->err);
}

static int complain(const struct work *w)
{
    size_t bad = 0;

    for (size_t i = 0; i < w->n; i++) {
        const struct file *f = &w->file[i];

        if (f->rc >= 0)
            continue;
        bad++;
        fprintf(stderr, "%s %s %u: %s: %s\n", f->ns, kind_name[f->kind], f->id,
                f->rc == -ENOENT                          ? "not there"
                : f->rc == -EEXIST                        ? "other content is here"
                : f->rc == -EHOSTUNREACH || f->rc == -EIO ? "could not be reached"
                                                          : "failed",
                f->err.text);
    }
    return bad > 0;
}

static int fetch(struct work *w, const char *ns, enum kind kind, uint32_t from, uint32_t to)
{
    size_t here = 0, good = 0;
    int code;

    for (uint64_t id = from; id <= to; id++)
        add(w, ns, kind, (uint32_t)id, false);
    w->what = ns;
    w->run = fetch_one;
    run_all(w);
    code = complain(w);
    for (size_t i = 0; i < w->n; i++) {
        here += w->file[i].here;
        good += w->file[i].rc == 0;
    }
    printf("%s: %zu of %zu %s files, %zu of them were here, %" PRIu64 " bytes\n", ns, good, w->n,
           kind_name[kind], here, w->bytes);
    return code;
}

/* Newest first, so that what is left after an interruption is a beginning. */
static int forget(struct work *w, const char *ns, uint32_t from, struct err *e)
{
    struct keys k = {0};
    int r = keys_read(w->o, &k, e);
    size_t n = 0;

    for (int kind = INDEX; kind <= DATA && r == 0; kind++)
        r = find_files(w, &k, ns, (enum kind)kind, e);
    keys_fini(&k);
    if (r < 0)
        return r;
    for (size_t i = w->n; i-- > 0;) {
        struct file *f = &w->file[i];

        if (f->absent || f->id < from)
            continue;
        w->run = forget_one;
        run_one(w, f);
        n++;
    }
    printf("%s: %zu later files given up\n", ns, n);
    return complain(w);
}

/* --- all together ---------------------------------------------------------------------------- */

static int claim(struct objects *o, bool takeover, struct err *e)
{
    uint64_t pause = FIRST_MS;
    int r = 0;

    for (int tries = 1; tries <= TRIES; tries++) {
        r = object_claim(o, takeover || object_is_free(o), NULL, e);
        if (!passing(r))
            break;
        usleep((useconds_t)pause * 1000);
        pause = MIN(2 * pause, (uint64_t)LONGEST_MS);
    }
    if (r != -EHOSTUNREACH)
        return r;
    fprintf(stderr, "Error: %s\n", e->text);
    return 2;
}

static bool name_is_right(const char *ns)
{
    return *ns && *ns != '.' && !strchr(ns, '/');
}

/* 0 or -EINVAL: "FROM TO" */
static int range(char **word, uint32_t *from, uint32_t *to)
{
    uint64_t a, b;

    if (parse_u64(word[0], 0, UINT32_MAX - 1, &a) < 0 ||
        parse_u64(word[1], a, UINT32_MAX - 1, &b) < 0)
        return -EINVAL;
    *from = (uint32_t)a;
    *to = (uint32_t)b;
    return 0;
}

static int command(struct work *w, bool takeover, char **word, int n, struct err *e)
{
    uint32_t from = 0, to = 0;

    if (n == 1 && strcmp(word[0], "free") == 0)
        return puts(object_is_free(w->o) ? "yes" : "no") < 0 ? -EIO : 0;
    if (n == 1 && strcmp(word[0], "claim") == 0)
        return claim(w->o, takeover, e);
    for (int i = 1; i < n && (i == 1 || strcmp(word[0], "list") == 0); i++)
        if (!name_is_right(word[i]))
            return err_set(e, EINVAL, "recover: %s: is no name of a namespace", word[i]);
    if (n >= 2 && strcmp(word[0], "list") == 0)
        return list(w, word + 1, n - 1, e);
    if (n == 3 && strcmp(word[0], "fetch") == 0 && strcmp(word[2], "descriptor") == 0)
        return fetch(w, word[1], DESCRIPTOR, 0, 0);
    if (n == 5 && strcmp(word[0], "fetch") == 0 && range(word + 3, &from, &to) == 0)
        for (int kind = INDEX; kind <= DATA; kind++)
            if (strcmp(word[2], kind_name[kind]) == 0)
                return fetch(w, word[1], (enum kind)kind, from, to);
    if (n == 3 && strcmp(word[0], "forget") == 0 &&
        range((char *[]){word[2], word[2]}, &from, &to) == 0)
        return forget(w, word[1], from, e);
    return err_set(e, EINVAL,
                   "recover: free, claim, list NAMESPACE..., fetch NAMESPACE descriptor|index|data "
                   "[FROM TO] or forget NAMESPACE FROM is expected");
}

int cli_recover(struct objects *o, const struct zstor_conf *conf, bool takeover, char **word, int n,
                struct err *e)
{
    struct work w = {.o = o, .conf = conf};
    int r;

    if (!conf->zdb_data_dir_path || !conf->zdb_index_dir_path)
        return err_set(e, EINVAL,
                       "recover: zdb_data_dir_path and zdb_index_dir_path are not both in the "
                       "configuration: nobody knows where the files belong");
    r = command(&w, takeover, word, n, e);
    work_fini(&w);
    return r;
}
