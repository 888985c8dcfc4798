/* operation_log - see fuse/operation_log.h. */
#include "zdbfs/fuse/operation_log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

#include "common/buf.h"

enum { ROOT = 1 };

struct name {
    uint64_t ino, parent;
    UT_hash_handle hh;
    char text[];
};

struct oplog {
    FILE *f;
    pthread_mutex_t lock;
    struct name *names;
};

int oplog_open(struct oplog **out, const char *path, struct err *e)
{
    FILE *f = fopen(path, "ae");

    if (!f)
        return err_sys(e, errno, "logfile %s", path);
    setvbuf(f, NULL, _IOLBF, 0);
    struct oplog *l = xcalloc(1, sizeof *l);
    l->f = f;
    pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return 0;
}

void oplog_close(struct oplog *l)
{
    struct name *n, *next;

    if (!l)
        return;
    HASH_ITER(hh, l->names, n, next)
    {
        HASH_DEL(l->names, n);
        free(n);
    }
    fclose(l->f);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void drop(struct oplog *l, uint64_t ino)
{
    struct name *n = NULL;

    HASH_FIND(hh, l->names, &ino, sizeof ino, n);
    if (n) {
        HASH_DEL(l->names, n);
        free(n);
    }
}

void oplog_learn(struct oplog *l, uint64_t ino, uint64_t parent, const char *name)
{
    if (!l || ino == ROOT)
        return;
    size_t len = strlen(name) + 1;
    struct name *n = xcalloc(1, sizeof *n + len);
    n->ino = ino;
    n->parent = parent;
    memcpy(n->text, name, len);
    pthread_mutex_lock(&l->lock);
    drop(l, ino);
    HASH_ADD(hh, l->names, ino, sizeof n->ino, n);
    pthread_mutex_unlock(&l->lock);
}

void oplog_forget(struct oplog *l, uint64_t ino)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    drop(l, ino);
    pthread_mutex_unlock(&l->lock);
}

/* Under the lock: the path of a directory, "" for the root. */
static void dir_path(struct oplog *l, uint64_t ino, struct buf *out)
{
    const char *part[256];
    size_t depth = 0;

    while (ino != ROOT && depth < ARRAY_LEN(part)) {
        struct name *n = NULL;
        HASH_FIND(hh, l->names, &ino, sizeof ino, n);
        if (!n) {
            buf_printf(out, "<%llu>", (unsigned long long)ino);
            break;
        }
        part[depth++] = n->text;
        ino = n->parent;
    }
    while (depth)
        buf_printf(out, "/%s", part[--depth]);
}

/* Under the lock: a line without control characters of names. */
static void line(struct oplog *l, const char *op, struct slice text)
{
    char when[32];
    struct tm tm;
    time_t now = time(NULL);

    localtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    fprintf(l->f, "%s [%s] ", when, op);
    for (size_t i = 0; i < text.len; i++)
        fputc(text.p[i] < 0x20 || text.p[i] == 0x7f ? '?' : text.p[i], l->f);
    fputc('\n', l->f);
}

void oplog_path(struct oplog *l, const char *op, uint64_t parent, const char *name,
                const char *suffix)
{
    struct buf b = BUF_INIT;

    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    dir_path(l, parent, &b);
    if (name)
        buf_printf(&b, "/%s", name);
    else if (b.len == 0)
        buf_put_str(&b, "/");
    buf_put_str(&b, suffix);
    line(l, op, buf_slice(&b));
    pthread_mutex_unlock(&l->lock);
    buf_fini(&b);
}

void oplog_rename(struct oplog *l, uint64_t parent, const char *name, uint64_t new_parent,
                  const char *new_name)
{
    struct buf b = BUF_INIT;

    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    dir_path(l, parent, &b);
    if (parent == new_parent) {
        buf_printf(&b, "%s: %s -> %s", b.len ? "" : "/", name, new_name);
    } else {
        buf_printf(&b, "/%s -> ", name);
        dir_path(l, new_parent, &b);
        buf_printf(&b, "/%s", new_name);
    }
    line(l, "rename", buf_slice(&b));
    pthread_mutex_unlock(&l->lock);
    buf_fini(&b);
}

void oplog_write(struct oplog *l, const char *op, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (!l)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&l->lock);
    line(l, op, slice_str(text));
    pthread_mutex_unlock(&l->lock);
}
