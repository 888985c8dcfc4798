/* wait - requests that wait: for a fetch of a missing segment, a cold read by a helper, a sync.
 * A wait hangs with one link on each miss it waits for; the last link that goes puts it on the
 * ready list, and the loop calls it from there, so that nothing is called from within an engine
 * function.  Contract: engine/namespace.h, engine/namespace_impl.h. */
#include "common/log.h"
#include "common/loop.h"
#include "common/workq.h"
#include "zdb/engine/namespace_impl.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COLD_CHUNK ((size_t)256 << 10)

void ns_wait_init(struct ns_wait *w, ns_wait_fn *fn, void *arg)
{
    *w = (struct ns_wait){.fn = fn, .arg = arg};
}

bool ns_wait_pending(const struct ns_wait *w)
{
    return w->links || w->is_ready;
}

bool ns_wait_only_sync(const struct ns_wait *w)
{
    for (const struct ns_wait_link *l = w->links; l; l = l->next) {
        if (!l->miss->is_sync)
            return false;
    }
    return ns_wait_pending(w);
}

void ns_wait_end(struct ns_wait *w)
{
    struct ns_wait_link *l;
    struct ns_wait_fail *f;

    while ((l = w->links)) {
        w->links = l->next;
        TAILQ_REMOVE(&l->miss->links, l, in_miss);
        free(l);
    }
    while ((f = w->fails)) {
        w->fails = f->next;
        free(f);
    }
    if (w->is_ready)
        TAILQ_REMOVE(&w->env->ready, w, entry);
    ns_wait_init(w, w->fn, w->arg);
}

struct ns_miss *ns_wait_miss(struct ns *ns)
{
    struct ns_miss *m = xcalloc(1, sizeof *m);

    TAILQ_INIT(&m->links);
    m->ns = ns;
    ns_ref(ns);
    return m;
}

void ns_wait_add(struct ns_wait *w, struct ns_miss *m)
{
    struct ns_wait_link *l;

    for (l = w->links; l; l = l->next) {
        if (l->miss == m)
            return;
    }
    l = xcalloc(1, sizeof *l);
    l->wait = w;
    l->miss = m;
    l->next = w->links;
    w->links = l;
    TAILQ_INSERT_TAIL(&m->links, l, in_miss);
}

static void call_ready(void *arg)
{
    struct ns_env *env = arg;
    struct ns_wait *w;

    env->ready_posted = false;
    while ((w = TAILQ_FIRST(&env->ready))) {
        TAILQ_REMOVE(&env->ready, w, entry);
        w->is_ready = false;
        w->rounds++;
        w->fn(w->arg);
    }
}

static void make_ready(struct ns_env *env, struct ns_wait *w)
{
    TAILQ_INSERT_TAIL(&env->ready, w, entry);
    w->is_ready = true;
    w->env = env;
    if (!env->ready_posted) {
        env->ready_posted = true;
        loop_post(env->loop, call_ready, env);
    }
}

void ns_wait_finish(struct ns_miss *m, int result)
{
    struct ns_wait_link *l;

    while ((l = TAILQ_FIRST(&m->links))) {
        struct ns_wait *w = l->wait;
        struct ns_wait_link **at = &w->links;

        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
        TAILQ_REMOVE(&m->links, l, in_miss);
        free(l);
        if (m->is_fetch && result < 0) {
            struct ns_wait_fail *f = xcalloc(1, sizeof *f);
            *f = (struct ns_wait_fail){w->fails, m->ns, m->seg, result};
            w->fails = f;
        }
        if (m->is_sync) {
            w->sync_done = true;
            w->sync_result = result;
        }
        if (!w->links)
            make_ready(m->ns->env, w);
    }
    ns_unref(m->ns);
    free(m);
}

/* --- hooks: questions to the front end ------------------------------------------------------- */

struct ns_hook *ns_wait_hook(struct ns *ns)
{
    struct ns_hook *h = xcalloc(1, sizeof *h);

    h->token = ++ns->env->next_token;
    h->ns = ns;
    ns_ref(ns);
    LIST_INSERT_HEAD(&ns->env->hooks, h, entry);
    return h;
}

void ns_wait_hook_free(struct ns_hook *h)
{
    LIST_REMOVE(h, entry);
    ns_unref(h->ns);
    free(h->dirty);
    free(h);
}

/* The hook said that the file is there: believe nothing. */
static int verify_fetched(struct seg *s)
{
    struct stat st;
    int r;

    files_drop(s->data.fs, &s->data.file);
    r = data_check_header(&s->data);
    if (r == 0 && fstat(s->data.file->fd, &st) < 0)
        r = -errno;
    if (r == 0 && (uint64_t)st.st_size < s->data.size)
        r = -ENODATA;
    if (r < 0) {
        log_error("data %s: not usable after the missing-data hook: %s", s->data.path,
                  r == -ENODATA       ? "shorter than its index"
                  : r == -EMEDIUMTYPE ? "not a regular file"
                  : r == -EBADMSG || r == -EINVAL || r == -EPROTONOSUPPORT ? "wrong header"
                                                                           : strerror(-r));
        files_drop(s->data.fs, &s->data.file);
    }
    return r;
}

static void fetch_done(struct ns_hook *h, int status)
{
    struct ns_miss *m = h->fetch;
    struct seg *s = h->ns->dead ? NULL : ns_seg_find(h->ns, m->seg);
    int r = status == 0 && s ? 0 : -ENOENT;

    if (s && s->fetch == m) {
        s->fetch = NULL;
        s->keep = false;
        if (status == 0)
            r = verify_fetched(s);
        else
            log_warn("data %s: missing, and not fetched (status %d)", s->data.path, status);
    }
    ns_wait_hook_free(h);
    ns_wait_finish(m, r);
}

/* What was rewritten since the list was made stays dirty. */
static void jump_done(struct ns_hook *h, int status)
{
    struct seg *s;

    if (status != 0 || h->ns->dead)
        return;
    for (size_t i = 0; i < h->ndirty; i++) {
        s = ns_seg_find(h->ns, h->dirty[i]);
        if (s && s->index.dirty_at <= h->rewrites)
            s->index.dirty_at = 0;
    }
}

void ns_wait_hook_done(struct ns_env *env, uint64_t token, int status)
{
    struct ns_hook *h;

    LIST_FOREACH(h, &env->hooks, entry)
    {
        if (h->token != token)
            continue;
        if (h->fetch) {
            fetch_done(h, status);
        } else if (h->told) {
            h->told(h->ns, status);
            ns_wait_hook_free(h);
        } else {
            jump_done(h, status);
            ns_wait_hook_free(h);
        }
        return;
    }
}

void ns_wait_keep_fetches(struct ns *ns)
{
    struct ns_hook *h;
    struct seg *s;

    LIST_FOREACH(h, &ns->env->hooks, entry)
    {
        if (h->ns != ns || !h->fetch)
            continue;
        s = ns_seg_find(ns, h->fetch->seg);
        if (s)
            s->fetch = h->fetch;
    }
}

void ns_wait_drop_hooks(struct ns *ns)
{
    struct ns_hook *h, *next;

    for (h = LIST_FIRST(&ns->env->hooks); h; h = next) {
        next = LIST_NEXT(h, entry);
        if (h->ns != ns)
            continue;
        if (h->fetch)
            fetch_done(h, -ENOENT);
        else
            ns_wait_hook_free(h);
    }
}

int ns_wait_fetch(struct ns *ns, struct seg *s, struct ns_wait *w)
{
    struct ns_env *env = ns->env;
    struct ns_wait_fail *f;
    struct ns_hook *h;
    int r;

    if (!w)
        return -ENOENT;
    for (f = w->fails; f; f = f->next) {
        if (f->ns == ns && f->seg == s->id)
            return f->error;
    }
    if (!s->fetch) {
        if (!env->events.missing_data) {
            log_warn("data %s: missing", s->data.path);
            return -ENOENT;
        }
        h = ns_wait_hook(ns);
        r = env->events.missing_data(env->events.arg, ns, s->data.path, h->token);
        if (r < 0) {
            ns_wait_hook_free(h);
            log_warn("data %s: missing, and no hook can be asked for it", s->data.path);
            return -ENOENT;
        }
        env->misses++;
        h->fetch = s->fetch = ns_wait_miss(ns);
        s->fetch->is_fetch = true;
        s->fetch->seg = s->id;
    }
    ns_wait_add(w, s->fetch);
    return -EINPROGRESS;
}

/* --- cold reads: a helper reads the bytes so that they are in the page cache ----------------- */

struct cold {
    struct ns_env *env;
    struct ns_miss *miss;
    struct file *file; /* referenced */
    uint64_t off, len;
};

static void cold_done(void *arg)
{
    struct cold *c = arg;

    c->env->jobs--;
    files_unref(c->file);
    ns_wait_finish(c->miss, 0);
    free(c);
}

static void cold_read(void *arg) /* helper thread */
{
    struct cold *c = arg;
    size_t chunk = (size_t)MIN(c->len, COLD_CHUNK);
    uint8_t *p = malloc(chunk);
    uint64_t done = 0;

    while (p && done < c->len) {
        ssize_t n =
            pread(c->file->fd, p, (size_t)MIN(chunk, c->len - done), (off_t)(c->off + done));
        if (n <= 0)
            break; /* the run of the request will meet the error itself */
        done += (uint64_t)n;
    }
    free(p);
    loop_post(c->env->loop, cold_done, c);
}

int ns_wait_warm(struct ns *ns, struct file *f, uint64_t off, uint64_t len, struct ns_wait *w)
{
    struct cold *c = xcalloc(1, sizeof *c);

    *c = (struct cold){ns->env, ns_wait_miss(ns), files_ref(f), off, MAX(len, (uint64_t)1)};
    if (workq_push(ns->env->reader, cold_read, c) < 0) {
        files_unref(f);
        ns_wait_finish(c->miss, 0);
        free(c);
        return 0;
    }
    ns->env->jobs++;
    ns->env->cold_reads++;
    ns_wait_add(w, c->miss);
    return -EINPROGRESS;
}
