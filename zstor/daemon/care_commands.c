/* care_commands - see daemon/care_commands.h. */
#include "zstor/daemon/care_commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/parse.h"
#include "common/resp.h"

struct care_commands {
    struct care *care;
    struct control_call *scrub; /* waits for its end; NULL: none */
};

static void reply_line(struct control_call *call, const char *text)
{
    CLEANUP(buf_fini) struct buf reply = BUF_INIT;

    resp_put_bulk_str(&reply, text);
    control_reply(call, buf_slice(&reply));
}

/* --- SCRUB ----------------------------------------------------------------------------------- */

static void on_scrubbed(void *arg, int rc, uint64_t objects, uint64_t restored, uint64_t failed,
                        const char *trouble)
{
    struct care_commands *c = arg;
    struct control_call *call = c->scrub;
    CLEANUP(base_free) char *line = NULL;

    c->scrub = NULL;
    if (rc < 0 || failed) {
        line = rc < 0 ? xstrdup(trouble)
                      : xasprintf("%" PRIu64 " of %" PRIu64 " objects are not whole, the last: %s",
                                  failed, objects, trouble);
        control_reply_error(call, line);
        return;
    }
    line = xasprintf("%" PRIu64 " objects read and whole, %" PRIu64 " shards restored", objects,
                     restored);
    reply_line(call, line);
}

static void handle_scrub(struct care_commands *c, struct control_call *call,
                         const struct control_req *req)
{
    uint64_t part = 1000;

    if (req->fraction && parse_u64(req->fraction, 1, 1000, &part) < 0) {
        control_reply_error(call, "SCRUB FRACTION: a number of thousandths, 1 to 1000, is allowed");
        return;
    }
    if (c->scrub || scrubber_now(care_scrubber(c->care), (unsigned)part, on_scrubbed, c) < 0) {
        control_reply_error(call, "a scrub that somebody asked for is running");
        return;
    }
    c->scrub = call;
}

/* --- BACKEND --------------------------------------------------------------------------------- */

static void reply_state(struct care_commands *c, struct control_call *call)
{
    CLEANUP(buf_fini) struct buf reply = BUF_INIT, text = BUF_INIT;
    struct care_stats st;

    care_stats(c->care, &st);
    care_text(&text, &st);
    resp_put_array(&reply, 3);
    resp_put_int(&reply, st.repair.running);
    resp_put_int(&reply, st.repair.trouble.code ? (int64_t)MAX(st.repair.failed, (uint64_t)1) : 0);
    resp_put_bulk(&reply, buf_slice(&text));
    control_reply(call, buf_slice(&reply));
}

static void handle_backend(struct care_commands *c, struct control_call *call,
                           const struct control_req *req)
{
    struct err e = {0};
    unsigned given = (req->drain != NULL) + (req->undrain != NULL) + (req->replace != NULL);
    int r;

    if (given > 1 || !req->replace != !req->with) {
        control_reply_error(call,
                            "BACKEND: one of DRAIN, UNDRAIN, REPLACE old WITH new is allowed");
        return;
    }
    if (!given) {
        reply_state(c, call);
        return;
    }
    if (req->replace)
        r = care_replace(c->care, req->replace, req->with, &e);
    else
        r = care_drain(c->care, req->drain ? req->drain : req->undrain, req->drain != NULL, &e);
    if (r < 0)
        control_reply_error(call, e.text);
    else
        control_reply_ok(call);
}

void care_commands_handle(struct care_commands *c, struct control_call *call,
                          const struct control_req *req)
{
    if (req->op == CONTROL_SCRUB)
        handle_scrub(c, call, req);
    else
        handle_backend(c, call, req);
}

struct care_commands *care_commands_new(struct care *care)
{
    struct care_commands *c = xcalloc(1, sizeof *c);

    c->care = care;
    return c;
}

void care_commands_free(struct care_commands *c)
{
    if (!c)
        return;
    if (c->scrub)
        control_reply_error(c->scrub, "the daemon stops");
    free(c);
}
