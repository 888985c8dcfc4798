/* events - see server/events.h.  A question of the engine (a token) is one struct question until
 * its hook has ended. */
#include "zdb/server/events.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "zdb/server/hooks.h"
#include "zdb/store.h"

struct question {
    LIST_ENTRY(question) link;
    struct events *ev;
    uint64_t token;
};

struct events {
    struct hooks *hooks;
    struct store *list;
    LIST_HEAD(, question) open;
};

static void question_free(struct question *q)
{
    LIST_REMOVE(q, link);
    free(q);
}

static struct question *question_new(struct events *ev, uint64_t token)
{
    struct question *q = xcalloc(1, sizeof *q);

    q->ev = ev;
    q->token = token;
    LIST_INSERT_HEAD(&ev->open, q, link);
    return q;
}

static void on_done(void *arg, int result)
{
    struct question *q = arg;
    struct store *list = q->ev->list;
    uint64_t token = q->token;

    question_free(q);
    store_hook_done(list, token, result);
}

/* "0 3 7"; given */
static char *dirty_text(const uint32_t *dirty, size_t n)
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%" PRIu32, i ? " " : "", dirty[i]);
    return buf_take_str(&b);
}

static void on_jump_index(void *arg, struct ns *ns, const char *closed, const char *opened,
                          const uint32_t *dirty, size_t ndirty, uint64_t token)
{
    struct events *ev = arg;

    if (!hooks_enabled(ev->hooks))
        return;
    CLEANUP(base_free) char *list = dirty_text(dirty, ndirty);
    const char *args[] = {closed, opened, list};
    hooks_push(ev->hooks, ns_name(ns), "jump-index", 3, args, on_done, question_new(ev, token));
}

static void on_jump_data(void *arg, struct ns *ns, const char *closed, const char *opened)
{
    struct events *ev = arg;
    const char *args[] = {closed, opened};

    hooks_push(ev->hooks, ns_name(ns), "jump-data", 2, args, NULL, NULL);
}

static int on_missing_data(void *arg, struct ns *ns, const char *path, uint64_t token)
{
    struct events *ev = arg;

    (void)ns;
    if (!hooks_enabled(ev->hooks))
        return -ENOENT;
    hooks_now(ev->hooks, "missing-data", 1, &path, on_done, question_new(ev, token));
    return 0;
}

static int on_retire_data(void *arg, struct ns *ns, const char *path, uint64_t token)
{
    struct events *ev = arg;

    if (!hooks_enabled(ev->hooks))
        return -ENOENT;
    hooks_push(ev->hooks, ns_name(ns), "retire-data", 1, &path, on_done, question_new(ev, token));
    return 0;
}

static void push_name(void *arg, const char *event, const char *name)
{
    struct events *ev = arg;
    hooks_push(ev->hooks, name, event, 1, &name, NULL, NULL);
}

static void on_created(void *arg, const char *name)
{
    push_name(arg, "namespace-created", name);
}

static void on_updated(void *arg, const char *name)
{
    push_name(arg, "namespace-updated", name);
}

static void on_deleted(void *arg, const char *name)
{
    push_name(arg, "namespace-deleted", name);
}

static void on_reloaded(void *arg, const char *name)
{
    push_name(arg, "namespace-reloaded", name);
}

static void on_closing(void *arg, struct ns *ns, const char *index, const char *data,
                       const uint32_t *dirty, size_t ndirty)
{
    struct events *ev = arg;
    CLEANUP(base_free) char *list = dirty_text(dirty, ndirty);
    const char *args[] = {ns_name(ns), index, data, list};

    hooks_push(ev->hooks, ns_name(ns), "namespace-closing", 4, args, NULL, NULL);
}

struct events *events_new(struct hooks *hooks)
{
    struct events *ev = xcalloc(1, sizeof *ev);

    ev->hooks = hooks;
    LIST_INIT(&ev->open);
    return ev;
}

void events_fill(struct events *ev, struct ns_events *out)
{
    *out = (struct ns_events){.arg = ev,
                              .jump_index = on_jump_index,
                              .jump_data = on_jump_data,
                              .missing_data = on_missing_data,
                              .retire_data = on_retire_data,
                              .created = on_created,
                              .updated = on_updated,
                              .deleted = on_deleted,
                              .reloaded = on_reloaded,
                              .closing = on_closing};
}

void events_bind(struct events *ev, struct store *l)
{
    ev->list = l;
}

void events_free(struct events *ev)
{
    struct question *q;

    if (!ev)
        return;
    while ((q = LIST_FIRST(&ev->open))) {
        hooks_forget(ev->hooks, q);
        question_free(q);
    }
    free(ev);
}
