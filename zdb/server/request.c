/* request - see server/request.h */
#include "zdb/server/request.h"

#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/digest.h"
#include "common/loop.h"
#include "zdb/store.h"
#include "zdb/server/replies.h"

/* --- server state ---------------------------------------------------------------------------- */

int request_db_init(struct zdb *db, const struct zdb_conf *conf, struct loop *loop, struct err *e)
{
    *db = (struct zdb){
        .conf = *conf, .loop = loop, .boot_time = base_wall_s(), .boot_ms = base_now_ms()};
    TAILQ_INIT(&db->sessions);
    TAILQ_INIT(&db->mirrors);
    int r = digest_random(&db->instance_id, sizeof db->instance_id);
    if (r < 0)
        return err_set(e, EIO, "no random bytes from the system");
    db->instance_id = db->instance_id % (1u << 30) + 1;
    return 0;
}

void request_db_fini(struct zdb *db)
{
    buf_fini(&db->scratch);
}

/* --- rooms of those who wait (WAIT) ------------------------------------------------------------
 */

struct watch_room { /* of a namespace, while somebody waits */
    struct ns *ns;  /* NULL: it was deleted; they wait for their timeout */
    size_t n;
    struct session_list waiting[REQ_WATCH_MAX];
};

static void room_enter(struct session *s)
{
    struct watch_room *room = s->ns ? ns_user(s->ns) : NULL;

    if (!room) {
        room = xcalloc(1, sizeof *room);
        for (size_t i = 0; i < REQ_WATCH_MAX; i++)
            TAILQ_INIT(&room->waiting[i]);
        room->ns = s->ns;
        if (s->ns)
            ns_set_user(s->ns, room);
    }
    s->watch = room;
    room->n++;
    TAILQ_INSERT_TAIL(&room->waiting[s->watch_for], s, watching);
}

static void room_leave(struct session *s)
{
    struct watch_room *room = s->watch;

    s->watch = NULL;
    TAILQ_REMOVE(&room->waiting[s->watch_for], s, watching);
    if (--room->n > 0)
        return;
    if (room->ns)
        ns_set_user(room->ns, NULL);
    free(room);
}

/* --- sessions -------------------------------------------------------------------------------- */

static void on_wait_over(void *arg)
{
    struct session *s = arg;
    s->resume(s);
}

void request_session_init(struct session *s, struct zdb *db, struct buf *out)
{
    *s = (struct session){
        .db = db, .out = out, .admin = !db->conf.admin, .writable = !db->conf.protect};
    s->ns = store_default(db->store);
    ns_wait_init(&s->wait, on_wait_over, s);
    TAILQ_INSERT_TAIL(&db->sessions, s, all);
    s->number = ++db->clients_lifetime;
}

void request_session_fini(struct session *s)
{
    request_unwatch(s);
    ns_wait_end(&s->wait);
    if (s->mirror)
        TAILQ_REMOVE(&s->db->mirrors, s, mirroring);
    TAILQ_REMOVE(&s->db->sessions, s, all);
    buf_fini(&s->later);
    sodium_memzero(s->nonce, sizeof s->nonce);
}

void request_session_select(struct session *s, struct ns *ns, bool writable)
{
    struct watch_room *old = s->watch;

    s->ns = ns;
    s->writable = writable;
    if (old) { /* it waits for what happens where it is */
        room_leave(s);
        room_enter(s);
    }
}

void request_session_push(struct session *s, struct slice text)
{
    buf_put_slice(s->busy ? &s->later : s->out, text);
    if (!s->busy)
        s->touched(s);
}

void request_session_end(struct session *s)
{
    ns_wait_end(&s->wait);
    s->busy = false;
    s->step = 0;
    s->element = 0;
    s->scan.set = false;
    if (s->later.len > 0) {
        buf_put_slice(s->out, buf_slice(&s->later));
        buf_fini(&s->later);
        s->touched(s);
    }
}

void request_detach(struct zdb *db, struct ns *ns)
{
    struct watch_room *room = ns_user(ns);
    struct session *s;

    if (room)
        room->ns = NULL;
    ns_set_user(ns, NULL);
    TAILQ_FOREACH(s, &db->sessions, all)
    {
        if (s->ns != ns)
            continue;
        s->ns = NULL;
        if (s->busy) {
            ns_wait_end(&s->wait);
            s->resume(s);
        }
    }
}

static void on_watch_over(void *arg)
{
    static const char timeout[] = "-" REPLY_TIMEOUT "\r\n";
    struct session *s = arg;

    request_unwatch(s);
    request_session_push(s, slice_of(timeout, sizeof timeout - 1));
}

void request_watch(struct session *s, unsigned command, uint64_t timeout_ms)
{
    request_unwatch(s);
    s->watch_for = command;
    room_enter(s);
    s->watch_timer = loop_timer_new(s->db->loop, on_watch_over, s);
    loop_timer_start(s->watch_timer, timeout_ms + LOOP_CLOCK_MS, false);
}

void request_unwatch(struct session *s)
{
    if (!s->watch)
        return;
    room_leave(s);
    loop_timer_free(s->watch_timer);
    s->watch_timer = NULL;
}

static void wake(struct watch_room *room, unsigned command, const struct session *by,
                 const char *name)
{
    struct session *s = TAILQ_FIRST(&room->waiting[command]), *next;
    char text[24];

    for (; s; s = next) {
        next = TAILQ_NEXT(s, watching);
        if (s == by)
            continue;
        bool last = room->n == 1;
        snprintf(text, sizeof text, "+%s\r\n", name);
        request_unwatch(s);
        request_session_push(s, slice_str(text));
        if (last)
            return; /* and the room is gone */
    }
}

void request_tell_watchers(const struct session *by, unsigned command, const char *name)
{
    if (by->ns && ns_user(by->ns))
        wake(ns_user(by->ns), command, by, name);
    if (command != 0 && by->ns && ns_user(by->ns))
        wake(ns_user(by->ns), 0, by, name);
}

void request_mirror(struct session *s)
{
    if (s->mirror)
        return;
    s->mirror = true;
    TAILQ_INSERT_TAIL(&s->db->mirrors, s, mirroring);
}

/* --- replies and arguments ------------------------------------------------------------------- */

enum request_result request_error(struct request *r, const char *text)
{
    resp_put_error(r->out, text);
    return REQ_DONE;
}

enum request_result request_ok(struct request *r)
{
    resp_put_simple(r->out, REPLY_OK);
    return REQ_DONE;
}

enum request_result request_int(struct request *r, int64_t v)
{
    resp_put_int(r->out, v);
    return REQ_DONE;
}

enum request_result request_nil(struct request *r)
{
    if (r->s->resp3)
        buf_put_str(r->out, "_\r\n");
    else
        resp_put_nil(r->out);
    return REQ_DONE;
}

enum request_result request_hold_until_durable(struct request *r, bool *failed)
{
    *failed = false;
    if (!ns_must_sync(r->s->ns))
        return REQ_DONE;
    int rc = ns_sync(r->s->ns, &r->s->wait);
    if (rc == -EINPROGRESS) {
        r->s->step = 1;
        return REQ_PARK;
    }
    *failed = rc < 0;
    if (rc < 0)
        request_error(r, REPLY_SYNC_FAILED);
    return REQ_DONE;
}

bool request_prefix(struct slice s, const char *word)
{
    return s.len <= strlen(word) &&
           (s.len == 0 || strncasecmp((const char *)s.p, word, s.len) == 0);
}

bool request_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && request_prefix(s, word);
}

bool request_same_secret(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.p, b.p, a.len) == 0);
}

const char *request_check_hash(struct session *s, struct slice hash, struct slice password,
                               bool one_try)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    char want[REQ_HASH_LEN + 1];

    if (!s->nonce[0])
        return REPLY_NO_CHALLENGE;
    if (hash.len != REQ_HASH_LEN)
        return REPLY_HASH_LENGTH;
    buf_printf(&text, "%s:", s->nonce);
    buf_put_slice(&text, password);
    digest_sha1_hex(buf_slice(&text), want);
    sodium_memzero(buf_data(&text), text.len);
    bool right = request_same_secret(hash, slice_str(want));
    if (right || one_try)
        sodium_memzero(s->nonce, sizeof s->nonce);
    return right ? NULL : REPLY_ACCESS_DENIED;
}
