/* Requests of a hostile client: parser, checks, every command, on a real store in a temporary
 * directory.  Each request has one whole reply (WAIT none, or later), and the store is sound
 * afterwards. Input: the byte stream of one connection. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "zdb/server/dispatch.h"
#include "zdb/server/hooks.h"
#include "zdb/renew.h"
#include "zdb/store.h"

#define MAX_REQUESTS 200

static char in_memory[] = "/dev/shm/fuzz-zdb.XXXXXX", on_disk[] = "/tmp/fuzz-zdb.XXXXXX";
static char *dir; /* in memory where that is possible: many requests sync files */
static struct loop *loop;
static struct store *list;
static struct hooks *hooks;
static struct zdb db;
static bool resumed;

static void on_touched(struct session *s)
{
    (void)s;
}

static void on_resume(struct session *s)
{
    (void)s;
    resumed = true;
}

static void clean(void)
{
    path_remove_tree(dir);
}

static void start(void)
{
    static char data[64], idx[64];
    static const struct log_conf quiet = {.level = LOG_LVL_ERROR, .path = "/dev/null"};
    struct store_conf nc = {
        .data_dir = data, .index_dir = idx, .mode = NS_MIXED, .datasize = 512 * KIB};
    struct hook_conf hc = {.instance = "unix:///x",
                           .fast_timeout_ms = 1000,
                           .slow_timeout_ms = 1000};
    struct zdb_conf zc = {.max_output = MIB};

    dir = mkdtemp(in_memory);
    if (!dir)
        dir = mkdtemp(on_disk);
    FUZZ_CHECK(dir && log_open(&quiet, NULL) == 0);
    atexit(clean);
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(idx, sizeof idx, "%s/index", dir);
    FUZZ_CHECK(loop_new(&loop, NULL) == 0 && hooks_new(&hooks, loop, &hc, NULL) == 0);
    FUZZ_CHECK(store_new(&list, &nc, loop, NULL) == 0 && store_load(list, NULL) == 0);
    FUZZ_CHECK(request_db_init(&db, &zc, loop, NULL) == 0);
    db.store = list;
    db.hooks = hooks;
}

/* Length of the whole reply at p, 0 when there is none */
static size_t reply_length(const uint8_t *p, size_t n)
{
    const uint8_t *nl = n ? memchr(p, '\n', n) : NULL;
    size_t len, used;

    FUZZ_CHECK(n == 0 || (nl && nl > p && nl[-1] == '\r'));
    if (n == 0)
        return 0;
    used = (size_t)(nl - p) + 1;
    switch (p[0]) {
    case '+':
    case '-':
    case ':':
        return used;
    case '$':
        if (p[1] == '-')
            return used;
        len = strtoul((const char *)p + 1, NULL, 10);
        FUZZ_CHECK(n - used >= len + 2 && p[used + len] == '\r' && p[used + len + 1] == '\n');
        return used + len + 2;
    case '*':
        for (len = strtoul((const char *)p + 1, NULL, 10); len > 0; len--) {
            size_t one = reply_length(p + used, n - used);
            FUZZ_CHECK(one > 0);
            used += one;
        }
        return used;
    default:
        abort();
    }
}

/* 1 to go on, 0: the server would close */
static int one_request(struct session *s, const struct resp_req *req, struct buf *out,
                       struct buf *reply)
{
    enum request_result r;

    buf_clear(reply);
    while ((r = command_run(s, req->argc, req->argv)) != REQ_DONE) {
        if (r == REQ_LATER) {
            buf_put_slice(reply, buf_slice(out));
            buf_clear(out);
            continue;
        }
        for (int i = 0; i < 2000 && !resumed; i++)
            loop_once(loop, 5);
        FUZZ_CHECK(resumed);
        resumed = false;
    }
    buf_put_slice(reply, buf_slice(out));
    buf_clear(out);
    size_t length = reply_length(buf_data(reply), reply->len);
    FUZZ_CHECK(length == reply->len);
    FUZZ_CHECK(length > 0 || (s->watch && request_word(req->argv[0], "WAIT")));
    return s->ns != NULL;
}

static void on_removed(void *arg)
{
    *(bool *)arg = true;
}

static void until_idle(struct ns *ns)
{
    int r = -EINPROGRESS;

    for (int k = 0; k < 2000 && r == -EINPROGRESS; k++) {
        struct ns_wait w;
        bool over = false;

        ns_wait_init(&w, on_removed, &over);
        r = ns_idle(ns, &w);
        if (r == -EINPROGRESS)
            loop_once(loop, 5);
        ns_wait_end(&w);
    }
    FUZZ_CHECK(r == 0);
}

static void reset(void)
{
    for (size_t i = store_slots(list); i-- > 1;) {
        struct ns *ns = store_at(list, i);
        if (ns) {
            struct ns_wait w;
            bool over = false;

            until_idle(ns);
            request_detach(&db, ns);
            ns_wait_init(&w, on_removed, &over);
            FUZZ_CHECK(store_remove(list, ns, &w) == -EINPROGRESS);
            for (int k = 0; k < 2000 && !over; k++)
                loop_once(loop, 5);
            FUZZ_CHECK(over);
            ns_wait_end(&w);
        }
    }
    struct ns *ns = store_default(list);
    struct ns_info i;

    ns_info(ns, &i);
    FUZZ_CHECK(!ns_used(ns) || renew_flush(ns, NULL) == 0);
    FUZZ_CHECK(i.lock == NS_UNLOCKED || ns_set_lock(ns, NS_UNLOCKED) == 0);
    FUZZ_CHECK(i.mode == NS_USER || ns_set_mode(ns, NS_USER) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct resp_limits limits = {RESP_MAX_ARGS, NS_VALUE_MAX, 8192};
    struct resp_parser parser;
    struct resp_req req;
    struct session s;
    struct buf out = BUF_INIT, reply = BUF_INIT;

    if (!loop)
        start();
    request_session_init(&s, &db, &out);
    s.touched = on_touched;
    s.resume = on_resume;
    resp_init(&parser, &limits);
    for (int n = 0; n < MAX_REQUESTS && resp_next(&parser, slice_of(data, size), &req) == 1; n++) {
        if (!one_request(&s, &req, &out, &reply))
            break;
        data += req.bytes;
        size -= req.bytes;
    }
    resp_fini(&parser);
    request_session_fini(&s);
    buf_fini(&out);
    buf_fini(&reply);
    reset();
    return 0;
}
