/* output - see output.h.  In the list of left ones from output_leave until the end of the pipe. */
#include "common/output.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"

enum {
    LINE_LIMIT = 1000,  /* bytes of a line that are logged */
    READS_PER_TURN = 16 /* so that a chatty program does not starve the loop */
};

struct output {
    TAILQ_ENTRY(output) entry; /* while left */
    struct loop *loop;
    struct loop_watch *watch; /* NULL: at its end */
    int fd;
    bool left;
    char *name;
    size_t len;
    char line[LINE_LIMIT];
};

static TAILQ_HEAD(, output) outputs = TAILQ_HEAD_INITIALIZER(outputs); /* left ones, oldest first */
static unsigned nleft;

struct cat {
    struct cat *next;
    pid_t pid;
};
static struct cat *cats; /* to be reaped when somebody comes by */

extern char **environ;

static void reap_cats(void)
{
    for (struct cat **p = &cats; *p;) {
        struct cat *c = *p;
        if (waitpid(c->pid, NULL, WNOHANG) == 0) {
            p = &c->next;
        } else {
            *p = c->next;
            free(c);
        }
    }
}

static void flush_line(struct output *o)
{
    if (o->len)
        log_info("%s: %.*s", o->name, (int)o->len, o->line);
    o->len = 0;
}

static void take(struct output *o, const char *p, size_t n)
{
    for (; n; p++, n--) {
        if (*p == '\n' || *p == '\0')
            flush_line(o);
        else if (o->len < LINE_LIMIT) /* the rest of a longer line is dropped */
            o->line[o->len++] = *p;
    }
}

static void output_free(struct output *o)
{
    if (o->left) {
        TAILQ_REMOVE(&outputs, o, entry);
        nleft--;
    }
    flush_line(o);
    loop_watch_free(o->watch);
    base_close(&o->fd);
    free(o->name);
    free(o);
}

/* false: nobody can write any more, the pipe is closed here too */
static bool read_some(struct output *o)
{
    char chunk[4096];

    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t n = read(o->fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0) {
            loop_watch_free(o->watch);
            o->watch = NULL;
            base_close(&o->fd);
            o->fd = -1;
            return false;
        }
        take(o, chunk, (size_t)n);
    }
    return true;
}

static void on_readable(void *arg, unsigned events)
{
    struct output *o = arg;

    (void)events;
    if (!read_some(o) && o->left)
        output_free(o);
}

struct output *output_new(struct loop *l, int fd, const char *name)
{
    struct output *o = xcalloc(1, sizeof *o);

    o->loop = l;
    o->fd = fd;
    o->name = xstrdup(name);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    o->watch = loop_watch_new(l, fd, on_readable, o);
    loop_watch_want(o->watch, LOOP_READ);
    return o;
}

void output_leave(struct output *o)
{
    if (!o)
        return;
    if (!o->watch || !read_some(o)) {
        output_free(o);
        return;
    }
    flush_line(o);
    o->left = true;
    TAILQ_INSERT_TAIL(&outputs, o, entry);
    if (++nleft > OUTPUT_LEFT_MAX)
        output_hand_over(TAILQ_FIRST(&outputs));
}

void output_hand_over(struct output *o)
{
    static const char *const argv[] = {"cat", NULL};
    posix_spawn_file_actions_t fa;
    pid_t pid;

    if (!o)
        return;
    reap_cats();
    if (!o->watch || !read_some(o)) {
        output_free(o);
        return;
    }
    fcntl(o->fd, F_SETFL, 0);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, o->fd, 0);
    posix_spawn_file_actions_adddup2(&fa, log_fd(), 1);
    posix_spawn_file_actions_adddup2(&fa, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    int code = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    if (code == 0) {
        struct cat *c = xcalloc(1, sizeof *c);
        *c = (struct cat){cats, pid};
        cats = c;
    } else {
        log_warn("%s: nobody takes its output: cat: %s", o->name, strerror(code));
    }
    output_free(o);
}

void output_end(struct loop *l)
{
    struct output *o, *next;

    for (o = TAILQ_FIRST(&outputs); o; o = next) {
        next = TAILQ_NEXT(o, entry);
        if (o->loop == l)
            output_hand_over(o);
    }
}
