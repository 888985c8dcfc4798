/* cli_daemon - the commands through the daemon's socket. */
#include "zstor/daemon/cli_impl.h"

#include <inttypes.h>
#include <stdio.h>
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
    else if (req->op == CONTROL_REBUILD && req->all && r->type == REDIS_REPLY_STRING)
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
