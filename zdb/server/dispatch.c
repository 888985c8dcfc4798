/* dispatch - see server/dispatch.h.  The checks are made in the order of check(), which is the
 * order of the spec. */
#include "zdb/server/dispatch.h"

#include <string.h>

#include "common/log.h"
#include "zdb/server/commands.h"
#include "zdb/server/replies.h"

#define OWNER_TEXT_MAX 32

enum arity {
    ANY,        /* the handler looks itself */
    EXACT,      /* n words, none empty */
    EXACT_NULL, /* n words */
    STAMPED,    /* n words, or n + 1 for an admin (then nothing else is looked at) */
    AT_LEAST,   /* n words, none of these empty */
    BETWEEN,    /* n or n + 1 words */
};

enum {
    ADMIN = 1,   /* admin only */
    KEY = 2,     /* argument 1 is a key: at most 255 bytes */
    BIG_KEY = 4, /* the same, with SET's error */
    WRITE = 8,   /* session must be writable */
    NOT_FROZEN = 16,
    NOT_LOCKED = 32,
    NSNAME = 64,  /* argument 1 names a namespace: at most 128 bytes */
    FILLED = 128, /* STAMPED without timestamp: no empty argument */
};

#define NAME_SIZE 8

struct command {
    char name[NAME_SIZE]; /* filled with NUL */
    enum arity arity;
    unsigned n;
    unsigned flags;
    req_fn *fn;
    const char *arity_text; /* NULL: the usual one of the arity */
};

static enum req_result wait_for_command(struct req *r);

static const struct command commands[] = {
    /* sorted */
    {"*", ANY, 0, 0, cmd_invalid, NULL},
    {"AUTH", ANY, 0, 0, cmd_auth, NULL},
    {"CHECK", EXACT, 2, KEY | NOT_FROZEN, cmd_check, NULL},
    {"DATA", AT_LEAST, 2, ADMIN, cmd_data_raw, NULL},
    {"DBSIZE", ANY, 0, 0, cmd_dbsize, NULL},
    {"DEL", STAMPED, 2, KEY | WRITE | NOT_FROZEN | NOT_LOCKED | FILLED, cmd_del, NULL},
    {"EXISTS", EXACT, 2, KEY | NOT_FROZEN, cmd_exists, NULL},
    {"FLUSH", ANY, 0, 0, cmd_flush, NULL},
    {"GET", EXACT, 2, KEY | NOT_FROZEN, cmd_get, NULL},
    {"HISTORY", BETWEEN, 2, NOT_FROZEN, cmd_history, REPLY_INVALID_ARGS},
    {"HOOKS", ANY, 0, ADMIN, cmd_hooks, NULL},
    {"INDEX", AT_LEAST, 2, ADMIN, cmd_index, NULL},
    {"INFO", ANY, 0, 0, cmd_info, NULL},
    {"KEYCUR", EXACT, 2, NOT_FROZEN, cmd_keycur, NULL},
    {"KEYTIME", EXACT, 2, KEY | NOT_FROZEN, cmd_keytime, NULL},
    {"KSCAN", ANY, 0, 0, cmd_kscan, NULL},
    {"LENGTH", EXACT, 2, KEY | NOT_FROZEN, cmd_length, NULL},
    {"MASTER", ANY, 0, ADMIN, cmd_master, NULL},
    {"MGET", AT_LEAST, 2, 0, cmd_mget, REPLY_INVALID_ARGS},
    {"MIRROR", ANY, 0, ADMIN, cmd_mirror, NULL},
    {"NSDEL", EXACT, 2, ADMIN | NSNAME, cmd_nsdel, NULL},
    {"NSINFO", EXACT, 2, NSNAME, cmd_nsinfo, NULL},
    {"NSJUMP", ANY, 0, ADMIN, cmd_nsjump, NULL},
    {"NSLIST", ANY, 0, 0, cmd_nslist, NULL},
    {"NSNEW", EXACT, 2, ADMIN | NSNAME, cmd_nsnew, NULL},
    {"NSSET", EXACT, 4, ADMIN | NSNAME, cmd_nsset, NULL},
    {"PING", ANY, 0, 0, cmd_ping, NULL},
    {"RELOAD", EXACT, 2, ADMIN | NSNAME, cmd_reload, NULL},
    {"RSCAN", ANY, 0, NOT_FROZEN, cmd_rscan, NULL},
    {"SCAN", ANY, 0, NOT_FROZEN, cmd_scan, NULL},
    {"SCANX", ANY, 0, NOT_FROZEN, cmd_scan, NULL},
    {"SELECT", AT_LEAST, 2, NSNAME, cmd_select, REPLY_INVALID_ARG},
    {"SET", STAMPED, 3, BIG_KEY | WRITE | NOT_FROZEN | NOT_LOCKED, cmd_set, NULL},
    {"SETX", STAMPED, 3, BIG_KEY | WRITE | NOT_FROZEN | NOT_LOCKED, cmd_set, NULL},
    {"STOP", ANY, 0, 0, cmd_stop, NULL},
    {"SYNC", ANY, 0, 0, cmd_sync, NULL},
    {"TIME", ANY, 0, 0, cmd_time, NULL},
    {"WAIT", BETWEEN, 2, 0, wait_for_command, REPLY_INVALID_ARGS},
};

static uint64_t in_order(const char name[NAME_SIZE]) /* as a number that sorts as the text does */
{
    return __builtin_bswap64(le64_get((const uint8_t *)name));
}

static const struct command *lookup(struct slice word)
{
    size_t lo = 0, hi = ARRAY_LEN(commands);
    char name[NAME_SIZE] = {0};

    if (word.len == 0)
        return &commands[0];
    if (word.len >= sizeof name || memchr(word.p, 0, word.len))
        return NULL;
    for (size_t i = 0; i < word.len; i++)
        name[i] = (char)(word.p[i] >= 'a' && word.p[i] <= 'z' ? word.p[i] - 'a' + 'A' : word.p[i]);
    uint64_t want = in_order(name);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        uint64_t have = in_order(commands[mid].name);
        if (have == want)
            return &commands[mid];
        if (have > want)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static enum req_result wait_for_command(struct req *r)
{
    const struct command *c = lookup(r->argv[1]);
    return cmd_wait(r, c, c == &commands[0]);
}

/* --- checks ---------------------------------------------------------------------------------- */

static bool has_empty(const struct req *r, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        if (r->argv[i].len == 0)
            return true;
    return false;
}

static const char *check_arity(const struct req *r, const struct command *c)
{
    switch (c->arity) {
    case ANY:
        return NULL;
    case EXACT:
        if (r->argc != c->n)
            return REPLY_UNEXPECTED_ARGS;
        return has_empty(r, c->n) ? REPLY_INVALID_ARG : NULL;
    case EXACT_NULL:
        return r->argc == c->n ? NULL : REPLY_UNEXPECTED_ARGS;
    case STAMPED:
        if (r->argc == c->n + 1)
            return r->s->admin ? NULL : REPLY_DENIED;
        if (r->argc != c->n)
            return REPLY_UNEXPECTED_ARGS;
        return c->flags & FILLED && has_empty(r, c->n) ? REPLY_INVALID_ARG : NULL;
    case AT_LEAST:
        if (r->argc < c->n)
            return c->arity_text ? c->arity_text : REPLY_MISSING_ARGS;
        return !c->arity_text && has_empty(r, c->n) ? REPLY_INVALID_ARG : NULL;
    case BETWEEN:
        return r->argc == c->n || r->argc == c->n + 1 ? NULL : c->arity_text;
    }
    return NULL;
}

static const char *check(const struct req *r, const struct command *c)
{
    if (c->flags & ADMIN && !r->s->admin)
        return REPLY_DENIED;
    const char *text = check_arity(r, c);
    if (text)
        return text;
    if (c->flags & (KEY | BIG_KEY) && r->argv[1].len > NS_KEY_MAX)
        return c->flags & KEY ? REPLY_INVALID_KEY : REPLY_KEY_TOO_LARGE;
    if (c->flags & NSNAME && r->argv[1].len > NS_NAME_MAX)
        return REPLY_NS_TOO_LONG;
    if (c->flags & WRITE && !r->s->writable)
        return REPLY_READ_ONLY;
    if (c->flags & (NOT_FROZEN | NOT_LOCKED)) {
        enum ns_lock lock = ns_lock_state(r->s->ns);
        if (lock == NS_FROZEN)
            return REPLY_FROZEN;
        if (lock == NS_LOCKED && c->flags & NOT_LOCKED)
            return REPLY_LOCKED;
    }
    return NULL;
}

/* --- what follows ---------------------------------------------------------------------------- */

static void tell_watchers(const struct session *by, const struct command *c)
{
    struct session *s = TAILQ_FIRST(&by->db->watchers);

    while (s) {
        struct session *next = TAILQ_NEXT(s, watching);
        if (s != by && s->ns == by->ns && (s->watch_all || s->watch == c)) {
            char text[24] = "+";
            strcat(strcat(text, c->name), "\r\n");
            req_unwatch(s);
            req_session_push(s, slice_str(text));
        }
        s = next;
    }
}

static void tell_mirrors(const struct session *by, uint64_t owner, unsigned argc,
                         const struct slice *argv)
{
    struct buf *b = &by->db->scratch;
    struct session *s;

    buf_clear(b);
    resp_put_array(b, argc + 3);
    resp_put_int(b, (int64_t)base_wall_s());
    resp_put_bulk_str(b, by->ns ? ns_name(by->ns) : "");
    resp_put_int(b, (int64_t)owner);
    for (unsigned i = 0; i < argc; i++)
        resp_put_bulk(b, argv[i]);
    TAILQ_FOREACH(s, &by->db->mirrors, mirroring)
    {
        if (s != by)
            req_session_push(s, buf_slice(b));
    }
    buf_clear(b);
    buf_shrink(b, 64 * KIB);
}

/* A master's last word is the owner of the request: 1 and *owner, or 0 and an error was replied */
static bool take_owner(struct req *r, uint64_t *owner)
{
    if (r->argc < 2) {
        req_error(r, REPLY_MISSING_ARGS);
        return false;
    }
    struct slice text = r->argv[--r->argc];
    if (text.len > OWNER_TEXT_MAX) {
        req_error(r, REPLY_ARG_TOO_LONG);
        return false;
    }
    *owner = (uint64_t)req_number(text);
    return true;
}

static enum req_result run(struct req *r, const struct command *c)
{
    if (!r->s->busy) { /* a parked request was checked when it came */
        const char *refused = check(r, c);
        if (refused) {
            r->db->unauthorized += strcmp(refused, REPLY_DENIED) == 0;
            return req_error(r, refused);
        }
    }
    return c->fn(r);
}

enum req_result command_run(struct session *s, unsigned argc, const struct slice *argv)
{
    struct zdb *db = s->db;
    struct req r = {.db = db, .s = s, .out = s->out, .argc = argc, .argv = argv};
    uint64_t owner = 0;

    if (!s->ns) {
        req_error(&r, REPLY_DETACHED);
        req_session_end(s);
        return REQ_DONE;
    }
    bool mirrored = !s->master;
    if (s->master) {
        if (!take_owner(&r, &owner)) {
            req_session_end(s);
            return REQ_DONE;
        }
        mirrored = owner != 0;
    }
    const struct command *c = lookup(argv[0]);
    if (!c) {
        db->failed++;
        return req_error(&r, REPLY_UNKNOWN);
    }
    log_debug("request %s, %u words", c->name, argc);
    enum req_result result = run(&r, c);
    if (result != REQ_DONE) {
        s->busy = true;
        return result;
    }
    db->executed++;
    req_session_end(s);
    if (!TAILQ_EMPTY(&db->watchers))
        tell_watchers(s, c);
    if (mirrored && !TAILQ_EMPTY(&db->mirrors))
        tell_mirrors(s, owner, r.argc, argv);
    return REQ_DONE;
}
