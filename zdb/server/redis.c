/* redis - what client libraries of redis say by themselves: HELLO CLIENT ECHO QUIT
 * (https://redis.io/docs/latest/commands; COMMAND: server/dispatch.c). */
#include "zdb/server/commands.h"

#include "common/parse.h"
#include "zdb/server/replies.h"
#include "zdb/version.h"

static const char *hello_login(struct request *r, struct slice password)
{
    if (!r->db->conf.admin)
        return REPLY_NO_AUTH;
    if (!request_same_secret(password, slice_str(r->db->conf.admin)))
        return REPLY_ACCESS_DENIED;
    r->s->admin = true;
    return NULL;
}

/* HELLO [2|3 [AUTH user password] [SETNAME name]]; the user is not looked at.  NULL: all is well */
static const char *hello_options(struct request *r)
{
    uint64_t version = r->s->resp3 ? 3 : 2;

    if (r->argc > 1 && parse_u64_slice(r->argv[1], 2, 3, &version) < 0)
        return REPLY_NO_PROTO;
    for (unsigned i = 2; i < r->argc;) {
        if (request_word(r->argv[i], "AUTH") && i + 2 < r->argc) {
            const char *refused = hello_login(r, r->argv[i + 2]);
            if (refused)
                return refused;
            i += 3;
        } else if (request_word(r->argv[i], "SETNAME") && i + 1 < r->argc) {
            i += 2;
        } else {
            return REPLY_UNEXPECTED_ARGS;
        }
    }
    r->s->resp3 = version == 3;
    return NULL;
}

enum request_result cmd_hello(struct request *r)
{
    const char *refused = hello_options(r);

    if (refused)
        return request_error(r, refused);
    if (r->s->resp3)
        buf_put_str(r->out, "%7\r\n");
    else
        resp_put_array(r->out, 14);
    resp_put_bulk_str(r->out, "server");
    resp_put_bulk_str(r->out, "zdb");
    resp_put_bulk_str(r->out, "version");
    resp_put_bulk_str(r->out, ZDB_REVISION);
    resp_put_bulk_str(r->out, "proto");
    resp_put_int(r->out, r->s->resp3 ? 3 : 2);
    resp_put_bulk_str(r->out, "id");
    resp_put_int(r->out, (int64_t)r->s->number);
    resp_put_bulk_str(r->out, "mode");
    resp_put_bulk_str(r->out, "standalone");
    resp_put_bulk_str(r->out, "role");
    resp_put_bulk_str(r->out, "master");
    resp_put_bulk_str(r->out, "modules");
    resp_put_array(r->out, 0);
    return REQ_DONE;
}

/* What a client tells about itself is taken and forgotten. */
enum request_result cmd_client(struct request *r)
{
    static const char *const told[] = {"SETNAME", "SETINFO", "NO-EVICT", "NO-TOUCH"};
    struct slice word = r->argv[1];

    if (r->argc == 2 && request_word(word, "ID"))
        return request_int(r, (int64_t)r->s->number);
    if (r->argc == 2 && request_word(word, "GETNAME"))
        return request_nil(r);
    for (size_t i = 0; i < ARRAY_LEN(told); i++)
        if (request_word(word, told[i]))
            return r->argc > 2 ? request_ok(r) : request_error(r, REPLY_MISSING_ARGS);
    return request_error(r, REPLY_CLIENT);
}

enum request_result cmd_echo(struct request *r)
{
    resp_put_bulk(r->out, r->argv[1]);
    return REQ_DONE;
}

enum request_result cmd_quit(struct request *r)
{
    r->s->quit = true;
    return request_ok(r);
}
