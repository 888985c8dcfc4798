/* cli_handover - ask, show, wait. */
#include "zstor/daemon/cli_handover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "zstor/daemon/control.h"
#include "zstor/daemon/handover_reply.h"

#define POLL_FIRST_MS 100
#define POLL_MS       1000
#define LINES         20 /* files that are named */

static int ask(const char *socket, const struct cli_handover *o, uint64_t before_ns, bool json,
               redisReply **reply, struct err *e)
{
    struct control_req req = {
        .op = CONTROL_HANDOVER, .store = o->store, .closed = o->closed, .json = json};
    int r;

    if (before_ns)
        req.before = xasprintf("%" PRIu64, before_ns);
    r = control_request(socket, &req, -1, reply, e);
    free(req.before);
    if (r == 0 && (*reply)->type == REDIS_REPLY_ERROR) {
        r = err_set(e, EPROTO, "%s", (*reply)->str);
        freeReplyObject(*reply);
    }
    return r;
}

static uint64_t rest(const struct handover_answer *a)
{
    return a->files - MIN(a->open_files, a->files);
}

static void show(const struct handover_answer *a)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    size_t n = a->items->elements;

    handover_amount(&text, a->files, a->bytes);
    buf_put_str(&text, a->files ? " are only here" : " are only here: everything is stored");
    if (a->open_files)
        buf_printf(&text, " (%" PRIu64 " of them open, zdb writes them)", a->open_files);
    if (!a->complete)
        buf_printf(&text, "; not all could be asked: %s", a->error);
    buf_put_u8(&text, '\n');
    for (size_t i = 0; i < MIN(n, (size_t)LINES); i++)
        if (a->items->element[i]->type == REDIS_REPLY_STRING)
            buf_printf(&text, "  %s\n", a->items->element[i]->str);
    if (a->files > LINES)
        buf_printf(&text, "  and %" PRIu64 " more\n", a->files - LINES);
    fwrite(buf_data(&text), 1, text.len, stdout);
}

static void progress(const struct handover_answer *a, char *last, size_t size)
{
    bool tty = isatty(STDERR_FILENO);
    CLEANUP(buf_fini) struct buf line = BUF_INIT;

    buf_put_str(&line, "zstor: ");
    handover_amount(&line, rest(a), a->bytes - MIN(a->open_bytes, a->bytes));
    buf_put_str(&line, " left");
    if (a->failing_files)
        buf_printf(&line, ", %" PRIu64 " failing", a->failing_files);
    if (!a->complete)
        buf_put_str(&line, ", too few metadata backends answer");
    buf_put_u8(&line, 0);
    if (strcmp(last, (const char *)buf_data(&line)) == 0)
        return;
    fprintf(stderr, tty ? "\r\033[K%s" : "%s\n", (const char *)buf_data(&line));
    snprintf(last, size, "%s", (const char *)buf_data(&line));
}

static void pause_ms(uint64_t ms)
{
    struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

struct wait {
    uint64_t end_ms, stall_ms;
    uint64_t files, bytes, since_ms; /* the least that was left, and since when */
};

/* Is it worth to go on? */
static bool hope(struct wait *w, const struct handover_answer *a)
{
    uint64_t now = base_now_ms(), files = rest(a);

    if (files < w->files || (files == w->files && a->bytes < w->bytes)) {
        w->files = files;
        w->bytes = a->bytes;
        w->since_ms = now;
    }
    if (now >= w->end_ms)
        return false;
    return !w->stall_ms || now - w->since_ms < w->stall_ms ||
           (a->complete && a->failing_files == 0);
}

static int wait_for_all(const char *socket, const struct cli_handover *o, struct err *e)
{
    uint64_t now = base_now_ms(), before = 0, pause = POLL_FIRST_MS;
    struct wait w = {.end_ms = o->wait_s ? now + o->wait_s * 1000 : UINT64_MAX,
                     .stall_ms = o->stall_s * 1000,
                     .files = UINT64_MAX,
                     .since_ms = now};
    char last[256] = "";

    for (;;) {
        struct handover_answer a;
        redisReply *reply = NULL;
        bool done, go_on;
        int r = ask(socket, o, before, false, &reply, e);

        if (r < 0)
            return r;
        if (!handover_answer_of(&a, reply)) {
            freeReplyObject(reply);
            return err_set(e, EPROTO, "the daemon's answer makes no sense");
        }
        before = before ? before : a.began_ns;
        done = rest(&a) == 0 && a.complete;
        go_on = !done && hope(&w, &a);
        if (go_on)
            progress(&a, last, sizeof last);
        else if (*last && isatty(STDERR_FILENO))
            fputc('\n', stderr);
        if (!done && !go_on)
            show(&a);
        freeReplyObject(reply);
        if (!go_on)
            return done ? 0 : 1;
        pause_ms(pause);
        pause = MIN(2 * pause, (uint64_t)POLL_MS);
    }
}

int cli_handover(const char *socket, const struct cli_handover *o, struct err *e)
{
    struct handover_answer a;
    redisReply *reply = NULL;
    int r;

    if (o->wait)
        return wait_for_all(socket, o, e);
    r = ask(socket, o, 0, false, &reply, e);
    if (r < 0)
        return r;
    if (!handover_answer_of(&a, reply)) {
        freeReplyObject(reply);
        return err_set(e, EPROTO, "the daemon's answer makes no sense");
    }
    r = rest(&a) > 0 || !a.complete;
    if (!o->json)
        show(&a);
    freeReplyObject(reply);
    if (!o->json)
        return r;
    if (ask(socket, o, 0, true, &reply, e) < 0)
        return -e->code;
    if (reply->type == REDIS_REPLY_STRING)
        fwrite(reply->str, 1, reply->len, stdout);
    freeReplyObject(reply);
    return r;
}
