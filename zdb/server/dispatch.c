/* dispatch - see server/dispatch.h.  The checks are made in the order of check(), which is the
 * order of the spec. */
#include "zdb/server/dispatch.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/parse.h"
#include "zdb/server/commands.h"
#include "zdb/server/replies.h"

#define OWNER_TEXT_MAX 32

enum arity {
    ANY,        /* the handler looks itself */
    EXACT,      /* n words, none empty */
    EXACT_NULL, /* n words */
    STAMPED,  /* n words, or n + 1 for an admin: the last one is a time (nothing else is looked at)
               */
    AT_LEAST, /* n words, none of these empty */
    BETWEEN,  /* n or n + 1 words */
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
    char name[NAME_SIZE + 1]; /* filled with NUL */
    enum arity arity;
    unsigned n;
    unsigned flags;
    request_fn *fn;
    const char *arity_text; /* NULL: the usual one of the arity */
};

static enum request_result wait_for_command(struct request *r);
static enum request_result list_commands(struct request *r);

static const struct command commands[] = {
    /* sorted */
    {"*", ANY, 0, 0, cmd_invalid, NULL},
    {"AUTH", ANY, 0, 0, cmd_auth, NULL},
    {"CHECK", EXACT, 2, KEY | NOT_FROZEN, cmd_check, NULL},
    {"CLEAN", EXACT, 1, ADMIN | NOT_LOCKED | NOT_FROZEN, cmd_clean, NULL},
    {"CLIENT", AT_LEAST, 2, 0, cmd_client, NULL},
    {"COMMAND", ANY, 0, 0, list_commands, NULL},
    {"DATA", AT_LEAST, 2, ADMIN, cmd_data_raw, NULL},
    {"DBSIZE", EXACT, 1, 0, cmd_dbsize, NULL},
    {"DEL", STAMPED, 2, KEY | WRITE | NOT_FROZEN | NOT_LOCKED | FILLED, cmd_del, NULL},
    {"ECHO", EXACT_NULL, 2, 0, cmd_echo, NULL},
    {"EXISTS", EXACT, 2, KEY | NOT_FROZEN, cmd_exists, NULL},
    {"FLUSH", EXACT, 1, 0, cmd_flush, NULL},
    {"GET", EXACT, 2, KEY | NOT_FROZEN, cmd_get, NULL},
    {"HELLO", ANY, 0, 0, cmd_hello, NULL},
    {"HISTORY", BETWEEN, 2, NOT_FROZEN, cmd_history, REPLY_INVALID_ARGS},
    {"HOOKS", BETWEEN, 1, ADMIN, cmd_hooks, NULL},
    {"INDEX", AT_LEAST, 2, ADMIN, cmd_index, NULL},
    {"INFO", EXACT, 1, 0, cmd_info, NULL},
    {"KEYCUR", EXACT, 2, NOT_FROZEN, cmd_keycur, NULL},
    {"KEYTIME", EXACT, 2, KEY | NOT_FROZEN, cmd_keytime, NULL},
    {"KSCAN", ANY, 0, 0, cmd_kscan, NULL},
    {"LENGTH", EXACT, 2, KEY | NOT_FROZEN, cmd_length, NULL},
    {"MASTER", EXACT, 1, ADMIN, cmd_master, NULL},
    {"MGET", AT_LEAST, 2, 0, cmd_mget, REPLY_INVALID_ARGS},
    {"MIRROR", EXACT, 1, ADMIN, cmd_mirror, NULL},
    {"NSDEL", EXACT, 2, ADMIN | NSNAME, cmd_nsdel, NULL},
    {"NSINFO", EXACT, 2, NSNAME, cmd_nsinfo, NULL},
    {"NSJUMP", EXACT, 1, ADMIN, cmd_nsjump, NULL},
    {"NSLIST", EXACT, 1, 0, cmd_nslist, NULL},
    {"NSNEW", EXACT, 2, ADMIN | NSNAME, cmd_nsnew, NULL},
    {"NSSET", EXACT, 4, ADMIN | NSNAME, cmd_nsset, NULL},
    {"PING", EXACT, 1, 0, cmd_ping, NULL},
    {"QUIT", ANY, 0, 0, cmd_quit, NULL},
    {"RELOAD", EXACT, 2, ADMIN | NSNAME, cmd_reload, NULL},
    {"RSCAN", BETWEEN, 1, NOT_FROZEN, cmd_rscan, NULL},
    {"SCAN", BETWEEN, 1, NOT_FROZEN, cmd_scan, NULL},
    {"SCANX", BETWEEN, 1, NOT_FROZEN, cmd_scan, NULL},
    {"SEGMENTS", EXACT, 1, 0, cmd_segments, NULL},
    {"SELECT", AT_LEAST, 2, NSNAME, cmd_select, REPLY_INVALID_ARG},
    {"SET", STAMPED, 3, BIG_KEY | WRITE | NOT_FROZEN | NOT_LOCKED, cmd_set, NULL},
    {"SETX", STAMPED, 3, BIG_KEY | WRITE | NOT_FROZEN | NOT_LOCKED, cmd_set, NULL},
    {"STOP", ANY, 0, 0, cmd_stop, NULL},
    {"SYNC", EXACT, 1, 0, cmd_sync, NULL},
    {"TIME", EXACT, 1, 0, cmd_time, NULL},
    {"WAIT", BETWEEN, 2, 0, wait_for_command, REPLY_INVALID_ARGS},
};

static uint64_t in_order(const char *name) /* as a number that sorts as the text does */
{
    return __builtin_bswap64(le64_get((const uint8_t *)name));
}

static const struct command *lookup(struct slice word)
{
    size_t lo = 0, hi = ARRAY_LEN(commands);
    char name[NAME_SIZE] = {0};

    if (word.len == 0)
        return &commands[0];
    if (word.len > sizeof name || memchr(word.p, 0, word.len))
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

_Static_assert(ARRAY_LEN(commands) <= REQ_WATCH_MAX, "each command can be waited for");

static unsigned number_of(const struct command *c) /* 0: "*" */
{
    return (unsigned)(c - commands);
}

static enum request_result wait_for_command(struct request *r)
{
    const struct command *c = lookup(r->argv[1]);
    return cmd_wait(r, c ? (int)number_of(c) : -1);
}

/* COMMAND as redis has it, as far as clients ask for it when they connect */
static void put_command(struct buf *b, const struct command *c)
{
    char name[sizeof c->name] = {0};
    bool exact = c->arity == EXACT || c->arity == EXACT_NULL, has_key = c->flags & (KEY | BIG_KEY);

    for (size_t i = 0; c->name[i]; i++)
        name[i] =
            (char)(c->name[i] >= 'A' && c->name[i] <= 'Z' ? c->name[i] - 'A' + 'a' : c->name[i]);
    resp_put_array(b, 6);
    resp_put_bulk_str(b, name);
    resp_put_int(b, exact ? (int64_t)c->n : -(int64_t)MAX(c->n, 1u));
    resp_put_array(b, 1);
    resp_put_simple(b, c->flags & WRITE ? "write" : "readonly");
    for (int i = 0; i < 3; i++) /* first and last key, step */
        resp_put_int(b, has_key);
}

static enum request_result list_commands(struct request *r)
{
    if (r->argc == 2 && request_word(r->argv[1], "COUNT"))
        return request_int(r, ARRAY_LEN(commands) - 1);
    if (r->argc >= 2 && request_word(r->argv[1], "DOCS")) {
        resp_put_array(r->out, 0);
        return REQ_DONE;
    }
    if (r->argc > 1)
        return request_error(r, REPLY_COMMAND);
    resp_put_array(r->out, ARRAY_LEN(commands) - 1); /* without "*" */
    for (size_t i = 1; i < ARRAY_LEN(commands); i++)
        put_command(r->out, &commands[i]);
    return REQ_DONE;
}

/* --- checks ---------------------------------------------------------------------------------- */

static bool has_empty(const struct request *r, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        if (r->argv[i].len == 0)
            return true;
    return false;
}

/* What is no number is one word too many (SET key value NX). */
static const char *check_time(const struct request *r, const struct command *c)
{
    int64_t v;

    if (!r->s->admin)
        return REPLY_DENIED;
    switch (parse_i64_slice(r->argv[c->n], 0, UINT32_MAX, &v)) {
    case 0:
        return NULL;
    case -ERANGE:
        return REPLY_INVALID_ARG;
    default:
        return REPLY_UNEXPECTED_ARGS;
    }
}

static const char *check_arity(const struct request *r, const struct command *c)
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
            return check_time(r, c);
        if (r->argc != c->n)
            return REPLY_UNEXPECTED_ARGS;
        return c->flags & FILLED && has_empty(r, c->n) ? REPLY_INVALID_ARG : NULL;
    case AT_LEAST:
        if (r->argc < c->n)
            return c->arity_text ? c->arity_text : REPLY_MISSING_ARGS;
        return !c->arity_text && has_empty(r, c->n) ? REPLY_INVALID_ARG : NULL;
    case BETWEEN:
        if (r->argc == c->n || r->argc == c->n + 1)
            return NULL;
        return c->arity_text ? c->arity_text : REPLY_UNEXPECTED_ARGS;
    }
    return NULL;
}

/* What may have changed while the request waited, too */
static const char *check_state(const struct request *r, const struct command *c)
{
    if (!(c->flags & (NOT_FROZEN | NOT_LOCKED)))
        return NULL;
    enum ns_lock lock = ns_lock_state(r->s->ns);
    if (lock == NS_FROZEN)
        return REPLY_FROZEN;
    return lock == NS_LOCKED && c->flags & NOT_LOCKED ? REPLY_LOCKED : NULL;
}

static const char *check(const struct request *r, const struct command *c)
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
    return check_state(r, c);
}

/* --- what follows ---------------------------------------------------------------------------- */

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
            request_session_push(s, buf_slice(b));
    }
    buf_clear(b);
    buf_shrink(b, 64 * KIB);
}

/* A master's last word is the owner of the request: 1 and *owner, or 0 and an error was replied */
static bool take_owner(struct request *r, uint64_t *owner)
{
    if (r->argc < 2) {
        request_error(r, REPLY_MISSING_ARGS);
        return false;
    }
    struct slice text = r->argv[--r->argc];
    if (text.len > OWNER_TEXT_MAX) {
        request_error(r, REPLY_ARG_TOO_LONG);
        return false;
    }
    if (parse_u64_slice(text, 0, UINT64_MAX, owner) == 0)
        return true;
    request_error(r, REPLY_INVALID_ARG);
    return false;
}

/* A request that was parked has its rights and words checked; a step that is done is done. */
static enum request_result run(struct request *r, const struct command *c)
{
    const char *refused = !r->s->busy ? check(r, c) : r->s->step == 0 ? check_state(r, c) : NULL;
    if (!refused)
        return c->fn(r);
    r->db->unauthorized += strcmp(refused, REPLY_DENIED) == 0;
    return request_error(r, refused);
}

enum request_result command_run(struct session *s, unsigned argc, const struct slice *argv)
{
    struct zdb *db = s->db;
    struct request r = {.db = db, .s = s, .out = s->out, .argc = argc, .argv = argv};
    uint64_t owner = 0;

    if (!s->ns) {
        request_error(&r, REPLY_DETACHED);
        request_session_end(s);
        return REQ_DONE;
    }
    bool mirrored = !s->master;
    if (s->master) {
        if (!take_owner(&r, &owner)) {
            request_session_end(s);
            return REQ_DONE;
        }
        mirrored = owner != 0;
    }
    const struct command *c = lookup(argv[0]);
    if (!c) {
        db->failed++;
        return request_error(&r, REPLY_UNKNOWN);
    }
    log_debug("request %s, %u words", c->name, argc);
    enum request_result result = run(&r, c);
    if (result != REQ_DONE) {
        s->busy = true;
        return result;
    }
    db->executed++;
    request_session_end(s);
    request_tell_watchers(s, number_of(c), c->name);
    if (mirrored && !TAILQ_EMPTY(&db->mirrors))
        tell_mirrors(s, owner, r.argc, argv);
    return REQ_DONE;
}
