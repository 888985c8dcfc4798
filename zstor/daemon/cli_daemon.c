/* cli_daemon - the commands through the daemon's socket. */
#include "zstor/daemon/cli_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "zstor/daemon/control.h"
#include "zstor/daemon/status.h"

#define PROGRESS_MS 500

static void print_reply(const struct control_req *req, const redisReply *r)
{
    if (req->op == CONTROL_CHECK && r->type == REDIS_REPLY_STRING)
        printf("%.*s\n", (int)r->len, r->str);
    else if (((req->op == CONTROL_REBUILD && req->all) || req->op == CONTROL_SCRUB) &&
             r->type == REDIS_REPLY_STRING)
        printf("%.*s\n", (int)r->len, r->str);
    else if (req->op == CONTROL_QUEUE && r->type == REDIS_REPLY_ARRAY)
        for (size_t i = 0; i < r->elements; i++)
            if (r->element[i]->type == REDIS_REPLY_STRING)
                printf("%.*s\n", (int)r->element[i]->len, r->element[i]->str);
}

int cli_daemon_run(struct cli *c)
{
    CLEANUP(cli_output_fini) struct cli_output out;
    redisReply *reply = NULL;
    struct err e = {0};
    int code = 0, r;

    if (cli_output_open(&out, c->output, c->req.force, c->conf->zdb_data_dir_path, &e) < 0)
        return cli_fail_zstor(e.text);
    c->req.to_fd = out.fd >= 0;
    r = control_request(c->conf->socket, &c->req, out.fd, &reply, &e);
    if (r < 0)
        return cli_fail(&e);
    if (reply->type == REDIS_REPLY_ERROR)
        code = cli_fail_zstor(reply->str);
    else if (cli_output_publish(&out, &e) < 0)
        code = cli_fail_zstor(e.text);
    else
        print_reply(&c->req, reply);
    freeReplyObject(reply);
    return code;
}

/* Jobs and bytes that are left, as a line on stderr. */
static void show_progress(const char *socket, bool tty, char *last, size_t size)
{
    struct control_req req = {.op = CONTROL_QUEUE, .count = true};
    struct buf line = BUF_INIT;
    redisReply *reply = NULL;
    struct err e = {0};

    if (control_request(socket, &req, -1, &reply, &e) < 0) /* the other connection will say so */
        return;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 4 &&
        reply->element[0]->type == REDIS_REPLY_INTEGER) {
        uint64_t failing = (uint64_t)reply->element[3]->integer;

        buf_put_str(&line, "zstor: ");
        status_amount(&line, (uint64_t)reply->element[0]->integer,
                      (uint64_t)reply->element[1]->integer);
        buf_put_str(&line, " left");
        if (failing)
            buf_printf(&line, ", %" PRIu64 " failing", failing);
        buf_put_u8(&line, 0);
        if (strcmp(last, (const char *)buf_data(&line)) != 0) {
            fprintf(stderr, tty ? "\r\033[K%s" : "%s\n", (const char *)buf_data(&line));
            snprintf(last, size, "%s", (const char *)buf_data(&line));
        }
    }
    buf_fini(&line);
    freeReplyObject(reply);
}

int cli_daemon_wait(struct cli *c)
{
    uint64_t end = c->wait_s ? base_now_ms() + c->wait_s * 1000 : UINT64_MAX;
    bool tty = isatty(STDERR_FILENO);
    struct control_client *client = NULL;
    redisReply *reply = NULL;
    char last[256] = "";
    struct err e = {0};
    int code = 0, r;

    if (control_client_open(&client, c->conf->socket, &e) < 0)
        return cli_fail(&e);
    r = control_client_send(client, &c->req);
    if (r < 0)
        err_sys(&e, -r, "send to daemon socket %s", c->conf->socket);
    while (r == 0) {
        r = control_client_reply(client, PROGRESS_MS, &reply, &e);
        if (r == 0 && base_now_ms() >= end)
            break;
        if (r == 0)
            show_progress(c->conf->socket, tty, last, sizeof last);
    }
    if (*last && tty)
        fputc('\n', stderr);
    if (r < 0)
        code = cli_fail(&e);
    else if (r == 0)
        code = cli_fail_zstor("the time is over and the queue is not empty, see `zstor queue`");
    else if (reply && reply->type == REDIS_REPLY_ERROR)
        code = cli_fail_zstor(reply->str);
    if (reply)
        freeReplyObject(reply);
    control_client_close(client);
    return code;
}

/* State of the repair: 1 it runs, 0 it does not, -errno.  text given; bad: what could not be
 * mended. */
static int repair_state(const struct cli *c, char **text, uint64_t *bad, struct err *e)
{
    struct control_req req = {.op = CONTROL_BACKEND};
    redisReply *reply = NULL;
    int r = control_request(c->conf->socket, &req, -1, &reply, e);

    *text = NULL;
    if (r < 0)
        return r;
    if (!reply)
        return err_set(e, EPROTO, "the daemon's answer makes no sense");
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
        reply->element[0]->type == REDIS_REPLY_INTEGER &&
        reply->element[1]->type == REDIS_REPLY_INTEGER &&
        reply->element[2]->type == REDIS_REPLY_STRING) {
        *text = xasprintf("%.*s", (int)reply->element[2]->len, reply->element[2]->str);
        *bad = (uint64_t)reply->element[1]->integer;
        r = reply->element[0]->integer != 0;
    } else {
        r = err_set(e, EPROTO, "%s",
                    reply->type == REDIS_REPLY_ERROR ? reply->str
                                                     : "the daemon's answer makes no sense");
    }
    freeReplyObject(reply);
    return r;
}

int cli_daemon_backend(struct cli *c)
{
    bool change = c->req.drain || c->req.undrain || c->req.replace;
    CLEANUP(base_free) char *text = NULL, *last = NULL;
    struct err e = {0};
    uint64_t bad = 0;
    int r, code = change ? cli_daemon_run(c) : 0;

    if (code)
        return code;
    for (;;) {
        r = repair_state(c, &text, &bad, &e);
        if (r < 0 || !text)
            return cli_fail(&e);
        if (!change || c->req.notblocking || r == 0)
            break;
        text[strcspn(text, "\n")] = '\0'; /* the line about the repair */
        if (!last || strcmp(last, text) != 0)
            fprintf(stderr, "zstor: %s\n", text);
        free(last);
        last = text;
        text = NULL;
        usleep(PROGRESS_MS * 1000);
    }
    fputs(text, stdout);
    return bad && change && !c->req.notblocking;
}

int cli_daemon_status(const struct cli *c, int *code, struct err *e)
{
    struct control_req req = {.op = CONTROL_STATUS, .json = c->req.json};
    redisReply *reply = NULL;
    int r = control_request(c->conf->socket, &req, -1, &reply, e);

    if (r < 0 || !reply)
        return r;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_INTEGER &&
        reply->element[1]->type == REDIS_REPLY_STRING) {
        fwrite(reply->element[1]->str, 1, reply->element[1]->len, stdout);
        *code = reply->element[0]->integer != 0;
    } else {
        *code = cli_fail_zstor(
            reply->type == REDIS_REPLY_ERROR ? reply->str : "the daemon's answer makes no sense");
    }
    freeReplyObject(reply);
    return 0;
}
