/* trash - see engine/trash.h. */
#include "zdb/engine/trash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/workq.h"

#define MAX_JOBS 4096

struct trash {
    struct loop *loop;
    struct workq *q;
    const char *index_root, *data_root;
    uint64_t next;
};

struct job {
    struct trash *t;
    char *index, *data; /* where they lie now; NULL: nothing */
    char *from;         /* data directory that has to be moved to .data first; NULL: none */
    trash_fn *done;     /* NULL: nobody waits */
    void *arg;
    int result;
};

bool trash_is(const char *name)
{
    return strncmp(name, TRASH_PREFIX, strlen(TRASH_PREFIX)) == 0;
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static char *new_place(struct trash *t, const char *root, const char *name)
{
    for (;;) {
        char *path = xasprintf("%s/" TRASH_PREFIX "%" PRIu64 ".%s", root, t->next++, name);
        if (!is_there(path))
            return path;
        free(path);
    }
}

static void job_free(struct job *j)
{
    free(j->index);
    free(j->data);
    free(j->from);
    free(j);
}

static void tell(void *arg)
{
    struct job *j = arg;

    j->done(j->arg, j->result);
    job_free(j);
}

static void remove_at(const char *path)
{
    int r = 0;

    if (path && unlink(path) < 0 && errno != ENOENT)
        r = errno == EISDIR || errno == EPERM ? path_remove_tree(path) : -errno;
    if (r < 0)
        log_error("%s: cannot be removed: %s; it is tried again at the next start", path,
                  strerror(-r));
}

/* The names first, durably; then whoever waits hears of it; the space last. */
static void job_run(void *arg) /* helper thread */
{
    struct job *j = arg;
    struct trash *t = j->t;
    int r = 0;

    if (j->from) {
        r = path_sync_dir(t->index_root);
        if (r == 0 && rename(j->from, j->data) < 0 && errno != ENOENT)
            r = -errno;
        if (r == 0)
            r = path_sync_dir(t->data_root);
    }
    j->result = r;
    CLEANUP(base_free) char *index = j->index;
    CLEANUP(base_free) char *data = j->data;
    j->index = j->data = NULL;
    if (j->done)
        loop_post(t->loop, tell, j);
    else
        job_free(j);
    if (r < 0)
        return; /* the next start goes on with it */
    remove_at(data);
    remove_at(index); /* last: it says whose data it was */
}

static void push(struct trash *t, struct job *j)
{
    j->t = t;
    if (workq_push(t->q, job_run, j) < 0)
        job_run(j);
}

int trash_new(struct trash **out, struct loop *l, const char *index_root, const char *data_root,
              struct err *e)
{
    struct trash *t = xcalloc(1, sizeof *t);
    int r = workq_new(&t->q, "zdb-remove", 1, MAX_JOBS, e);

    if (r < 0) {
        free(t);
        return r;
    }
    t->loop = l;
    t->index_root = index_root;
    t->data_root = data_root;
    *out = t;
    return 0;
}

void trash_free(struct trash *t)
{
    if (!t)
        return;
    workq_free(t->q);
    free(t);
}

int trash_file(struct trash *t, const char *path)
{
    const char *file = strrchr(path, '/'), *dir = file;
    struct job *j;

    while (dir > path && *--dir != '/')
        ;
    CLEANUP(base_free) char *root = xasprintf("%.*s", (int)(dir - path), path);
    j = xcalloc(1, sizeof *j);
    j->data = new_place(t, root, file + 1);
    if (rename(path, j->data) == 0) {
        push(t, j);
        return 0;
    }
    int r = errno == ENOENT ? 0 : errno == EXDEV && unlink(path) == 0 ? 0 : -errno;
    job_free(j);
    return r;
}

int trash_namespace(struct trash *t, const char *name, trash_fn *done, void *arg)
{
    CLEANUP(base_free) char *index = path_join(t->index_root, name);
    struct job *j = xcalloc(1, sizeof *j);

    j->index = new_place(t, t->index_root, name);
    j->data = new_place(t, t->data_root, name);
    j->from = path_join(t->data_root, name);
    j->done = done;
    j->arg = arg;
    if (rename(index, j->index) < 0 && errno != ENOENT) {
        int r = -errno;
        job_free(j);
        return r;
    }
    push(t, j);
    return 0;
}

/* Name of the namespace whose directory this was; NULL: of none */
static const char *owner(const char *name)
{
    const char *p = name + strlen(TRASH_PREFIX);

    p += strspn(p, "0123456789");
    return *p == '.' && p[1] ? p + 1 : NULL;
}

/* An index directory that was moved away: its data directory goes as well, unless the name was
 * given to a new namespace, which is only done when it has gone already. */
static int move_data(struct trash *t, const char *index, const char *ns)
{
    CLEANUP(base_free) char *living = path_join(t->index_root, ns);
    CLEANUP(base_free) char *from = path_join(t->data_root, ns);
    CLEANUP(base_free) char *to = new_place(t, t->data_root, ns);
    struct stat st;

    if (lstat(index, &st) < 0 || !S_ISDIR(st.st_mode) || is_there(living) || !is_there(from))
        return 0;
    if (rename(from, to) < 0)
        return -errno;
    log_warn("namespace %s: its deletion was cut off; it is gone now", ns);
    return path_sync_dir(t->data_root);
}

static int finish(struct trash *t, const char *name, struct err *e)
{
    CLEANUP(base_free) char *index = path_join(t->index_root, name);
    const char *ns = owner(name);
    int r = ns ? move_data(t, index, ns) : 0;
    struct job *j;

    if (r < 0)
        return err_sys(e, -r, "namespace %s: its deletion cannot be finished", ns);
    j = xcalloc(1, sizeof *j);
    j->index = xstrdup(index);
    push(t, j);
    return 0;
}

static int each_left(struct trash *t, const char *root, bool is_index, struct err *e)
{
    char **names;
    size_t n;
    int r = path_list(root, &names, &n);

    if (r < 0)
        return err_sys(e, -r, "directory %s", root);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (!trash_is(names[i]))
            continue;
        if (is_index) {
            r = finish(t, names[i], e);
            continue;
        }
        struct job *j = xcalloc(1, sizeof *j);
        j->data = path_join(root, names[i]);
        push(t, j);
    }
    path_list_free(names, n);
    return r;
}

int trash_recover(struct trash *t, struct err *e)
{
    int r = each_left(t, t->index_root, true, e);

    return r < 0 ? r : each_left(t, t->data_root, false, e);
}
