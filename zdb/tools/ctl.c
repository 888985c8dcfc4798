/* ctl - see tools/ctl.h */
#include "zdb/tools/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/parse.h"
#include "common/resp.h"
#include "common/zclient.h"

#define CONNECT_MS 10000
#define REPLY_MS   (86400 * (uint64_t)1000) /* some commands wait for long work */
#define MAX_REPLY  GIB

/* --- words ----------------------------------------------------------------------------------- */

/* Byte that \ and what follows at p mean inside double quotes; *used bytes of p. */
static uint8_t escaped(const uint8_t *p, size_t left, size_t *used)
{
    uint8_t byte;

    *used = 1;
    switch (p[0]) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'x':
        if (left >= 3 && parse_hex(slice_of(p + 1, 2), &byte, 1) == 0) {
            *used = 3;
            return byte;
        }
        return 'x';
    default:
        return p[0];
    }
}

/* From the byte behind the opening quote; the index behind the closing one, or 0 when there is
 * none. */
static size_t quoted(struct slice line, size_t i, uint8_t quote, struct buf *text)
{
    while (i < line.len) {
        uint8_t c = line.p[i++];
        size_t used;
        if (c == quote)
            return i;
        if (c == '\\' && quote == '"' && i < line.len) {
            c = escaped(line.p + i, line.len - i, &used);
            i += used;
        }
        buf_put_u8(text, c);
    }
    return 0;
}

int ctl_split(struct slice line, struct buf *text, struct buf *ends)
{
    size_t i = 0;

    for (;;) {
        while (i < line.len && isspace(line.p[i]))
            i++;
        if (i >= line.len || (line.p[i] == '#' && ends->len == 0))
            return 0;
        while (i < line.len && !isspace(line.p[i])) {
            uint8_t c = line.p[i++];
            if (c == '"' || c == '\'') {
                i = quoted(line, i, c, text);
                if (i == 0)
                    return -EINVAL;
            } else {
                if (c == '\\' && i < line.len)
                    c = line.p[i++];
                buf_put_u8(text, c);
            }
        }
        buf_put(ends, &text->len, sizeof text->len);
    }
}

/* --- replies --------------------------------------------------------------------------------- */

static void print_quoted(struct slice s)
{
    putchar('"');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\r')
            fputs("\\r", stdout);
        else if (c == '\t')
            fputs("\\t", stdout);
        else if (isprint(c))
            putchar(c);
        else
            printf("\\x%02x", c);
    }
    fputs("\"\n", stdout);
}

static void print_bytes(const char *p, size_t n)
{
    fwrite(p, 1, n, stdout);
    if (n == 0 || p[n - 1] != '\n')
        putchar('\n');
}

static void print_reply(const redisReply *r, bool pretty, int depth)
{
    switch (r->type) {
    case REDIS_REPLY_ERROR:
        printf("(error) %.*s\n", (int)r->len, r->str);
        break;
    case REDIS_REPLY_NIL:
        puts(pretty ? "(nil)" : "");
        break;
    case REDIS_REPLY_INTEGER:
        printf(pretty ? "(integer) %lld\n" : "%lld\n", r->integer);
        break;
    case REDIS_REPLY_ARRAY:
        if (pretty && r->elements == 0)
            puts("(empty array)");
        for (size_t i = 0; i < r->elements; i++) {
            if (pretty)
                printf("%*s%zu) ", i ? 3 * depth : 0, "", i + 1);
            print_reply(r->element[i], pretty, depth + 1);
        }
        break;
    case REDIS_REPLY_STRING:
        if (pretty) {
            print_quoted(slice_of(r->str, r->len));
            break;
        }
        print_bytes(r->str, r->len);
        break;
    default:
        print_bytes(r->str, r->len);
        break;
    }
}

static void free_reply(redisReply **r)
{
    if (*r)
        freeReplyObject(*r);
}

/* --- the conversation ------------------------------------------------------------------------ */

static int call(struct zclient *z, unsigned argc, const struct slice *argv, struct err *e)
{
    CLEANUP(free_reply) redisReply *r = NULL;

    int rc = zclient_call(z, &r, e, argc, argv);
    if (rc < 0)
        return rc;
    print_reply(r, isatty(STDOUT_FILENO), 0);
    fflush(stdout);
    return zclient_is_error(r);
}

static int authenticate(struct zclient *z, const char *password, struct err *e)
{
    CLEANUP(free_reply) redisReply *challenge = NULL;
    CLEANUP(free_reply) redisReply *reply = NULL;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    struct slice argv[] = {slice_str("AUTH"), slice_str("SECURE"), slice_str("CHALLENGE")};
    char hash[41];

    int r = zclient_call(z, &challenge, e, 3, argv);
    if (r < 0)
        return r;
    if (zclient_is_error(challenge))
        return err_set(e, EACCES, "AUTH: %.200s", challenge->str);
    buf_put_slice(&text, zclient_bulk(challenge));
    buf_put_u8(&text, ':');
    buf_put_str(&text, password);
    digest_sha1_hex(buf_slice(&text), hash);
    sodium_memzero(buf_data(&text), text.len);
    argv[2] = slice_str(hash);
    r = zclient_call(z, &reply, e, 3, argv);
    if (r < 0)
        return r;
    if (zclient_is_error(reply))
        return err_set(e, EACCES, "%s: admin password: %.200s", zclient_peer(z), reply->str);
    return 0;
}

static int run_line(struct zclient *z, struct slice line, struct err *e)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(buf_fini) struct buf ends = BUF_INIT;
    struct slice argv[RESP_MAX_ARGS];
    size_t argc, start = 0, end;

    if (ctl_split(line, &text, &ends) < 0) {
        puts("(error) line with an open quote");
        return 1;
    }
    argc = ends.len / sizeof end;
    if (argc == 0)
        return 0;
    if (argc > RESP_MAX_ARGS) {
        printf("(error) line with more than %d words\n", RESP_MAX_ARGS);
        return 1;
    }
    for (size_t i = 0; i < argc; i++) {
        memcpy(&end, buf_data(&ends) + i * sizeof end, sizeof end);
        argv[i] = slice_of(buf_data(&text) + start, end - start);
        start = end;
    }
    return call(z, (unsigned)argc, argv, e);
}

static int run_stdin(struct zclient *z, struct err *e)
{
    CLEANUP(base_free) char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int result = 0;

    while ((n = getline(&line, &cap, stdin)) >= 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        int r = run_line(z, slice_of(line, (size_t)n), e);
        if (r < 0)
            return r;
        result |= r;
    }
    return result;
}

static int run_words(struct zclient *z, const struct ctl_conf *c, struct err *e)
{
    struct slice argv[RESP_MAX_ARGS];

    if (c->nwords > RESP_MAX_ARGS)
        return err_set(e, E2BIG, "a command has at most %d words", RESP_MAX_ARGS);
    for (int i = 0; i < c->nwords; i++)
        argv[i] = slice_str(c->words[i]);
    return call(z, (unsigned)c->nwords, argv, e);
}

int ctl_run(const struct ctl_conf *c, struct err *e)
{
    struct zclient_conf zc = {.host = c->host,
                              .port = c->port,
                              .unix_path = c->unix_path,
                              .ns = c->ns,
                              .password = c->ns_password,
                              .connect_timeout_ms = CONNECT_MS,
                              .io_timeout_ms = REPLY_MS,
                              .max_reply = MAX_REPLY};
    struct zclient *z;

    int r = zclient_open(&z, &zc, e);
    if (r < 0)
        return r;
    if (c->admin)
        r = authenticate(z, c->admin, e);
    if (r == 0)
        r = c->nwords > 0 ? run_words(z, c, e) : run_stdin(z, e);
    zclient_close(z);
    return r;
}
