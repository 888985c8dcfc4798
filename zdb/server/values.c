/* values - keys and values: SET GET MGET DEL EXISTS CHECK LENGTH KEYTIME KEYCUR DBSIZE SYNC (spec
 * zdb-protocol 3). */
#include "zdb/server/commands.h"

#include "common/parse.h"
#include "zdb/server/replies.h"

#define MGET_AHEAD \
    64 /* keys looked at behind one whose bytes are not at hand, to start their fetches as well */

/* A time that is given was checked (server/dispatch.c). */
static uint32_t timestamp_of(const struct request *r, unsigned arg)
{
    uint64_t v;

    if (r->argc > arg && parse_u64_slice(r->argv[arg], 0, UINT32_MAX, &v) == 0)
        return (uint32_t)v;
    return (uint32_t)base_wall_s();
}

#define MGET_TURN_US 2000
#define MGET_CLOCK   16 /* keys between two looks at the clock */

static enum request_result set_reply(struct request *r, struct slice key)
{
    bool failed;

    if (request_hold_until_durable(r, &failed) == REQ_PARK)
        return REQ_PARK;
    if (!failed)
        resp_put_bulk(r->out, key);
    return REQ_DONE;
}

static const char *set_error(int rc)
{
    switch (-rc) {
    case NS_EWORM:
        return REPLY_WORM;
    case NS_EQUOTA:
        return REPLY_NO_SPACE;
    case NS_ENEEDKEY:
        return REPLY_KEY_NEEDED;
    case NS_EONLYUPDATE:
        return REPLY_ONLY_UPDATE;
    case NS_ETOOBIG:
        return REPLY_KEY_TOO_LARGE;
    case NS_EINDEX:
        return REPLY_WRITE_INDEX;
    default:
        return REPLY_WRITE_DATA;
    }
}

enum request_result cmd_set(struct request *r)
{
    struct session *s = r->s;
    struct slice key = r->argv[1];
    struct ns_set_out set;

    if (s->step == 1) /* written before; id is its key in sequential mode */
        return set_reply(r, key.len ? key : slice_of(s->id, sizeof s->id));
    int rc = ns_set(s->ns, key, r->argv[2], timestamp_of(r, 3), &set, &s->wait);
    if (rc == -EINPROGRESS)
        return REQ_PARK;
    if (rc == 0)
        return request_nil(r);
    if (rc < 0)
        return request_error(r, set_error(rc));
    memcpy(s->id, set.id, sizeof s->id);
    return set_reply(r, set.key);
}

enum request_result cmd_del(struct request *r)
{
    struct session *s = r->s;
    bool failed;

    int rc = s->step == 1 ? 0 : ns_del(s->ns, r->argv[1], timestamp_of(r, 2), &s->wait);
    switch (-rc) {
    case 0:
        if (request_hold_until_durable(r, &failed) == REQ_PARK)
            return REQ_PARK;
        return failed ? REQ_DONE : request_ok(r);
    case EINPROGRESS:
        return REQ_PARK;
    case NS_ENOTFOUND:
        return request_error(r, REPLY_NOT_FOUND);
    case NS_EWORM:
        return request_error(r, REPLY_WORM_DEL);
    case NS_EINDEX:
        return request_error(r, REPLY_DEL_INDEX);
    default:
        return request_error(r, REPLY_DEL_DATA);
    }
}

/* GET's reply for one key: 0, or -EINPROGRESS with nothing appended */
static int put_value(struct request *r, struct slice key)
{
    struct ns_entry e;
    size_t start = r->out->len;

    int rc = ns_find(r->s->ns, key, &e, &r->s->wait);
    if (rc == 0) {
        request_nil(r);
        return 0;
    }
    if (rc > 0) {
        resp_put_bulk_head(r->out, e.length);
        rc = ns_read(r->s->ns, key, &e, r->out, &r->s->wait);
        if (rc == 0) {
            buf_put(r->out, "\r\n", 2);
            return 0;
        }
        buf_truncate(r->out, start);
    }
    if (rc == -EINPROGRESS)
        return rc;
    resp_put_error(r->out, REPLY_INTERNAL);
    return 0;
}

enum request_result cmd_get(struct request *r)
{
    return put_value(r, r->argv[1]) < 0 ? REQ_PARK : REQ_DONE;
}

static void start_fetches(struct request *r, size_t from)
{
    size_t to = MIN(from + MGET_AHEAD, (size_t)r->argc), start = r->out->len;

    for (size_t i = from; i < to; i++) {
        put_value(r, r->argv[i]);
        buf_truncate(r->out, start);
    }
}

/* The reply is made key by key: it stops where bytes are missing or where the client has enough to
 * receive, and goes on there.  So memory is bounded by the output limit and one value, whatever
 * 1,023 keys hold. */
enum request_result cmd_mget(struct request *r)
{
    struct session *s = r->s;
    uint64_t start = base_now_us();

    if (s->step == 0) {
        for (unsigned i = 1; i < r->argc; i++)
            if (r->argv[i].len > NS_KEY_MAX)
                return request_error(r, REPLY_INVALID_KEY);
        if (ns_lock_state(s->ns) == NS_FROZEN)
            return request_error(r, REPLY_FROZEN);
        resp_put_array(r->out, r->argc - 1);
        s->step = 1;
        s->element = 1;
    }
    for (; s->element < r->argc; s->element++) {
        if (r->out->len >= r->db->conf.max_output ||
            (s->element % MGET_CLOCK == 0 && base_now_us() - start > MGET_TURN_US))
            return REQ_LATER;
        if (ns_lock_state(s->ns) == NS_FROZEN) { /* since it began */
            resp_put_error(r->out, REPLY_FROZEN);
            continue;
        }
        if (put_value(r, r->argv[s->element]) < 0) {
            start_fetches(r, s->element + 1);
            return REQ_PARK;
        }
    }
    return REQ_DONE;
}

/* EXISTS LENGTH KEYTIME CHECK KEYCUR: 1 and *e; 0: absent; -1: *result is the answer */
static int find(struct request *r, struct ns_entry *e, enum request_result *result)
{
    int rc = ns_find(r->s->ns, r->argv[1], e, &r->s->wait);
    if (rc >= 0)
        return rc;
    *result = rc == -EINPROGRESS ? REQ_PARK : request_error(r, REPLY_INTERNAL);
    return -1;
}

enum request_result cmd_exists(struct request *r)
{
    struct ns_entry e;
    enum request_result result;
    int found = find(r, &e, &result);
    return found < 0 ? result : request_int(r, found);
}

enum request_result cmd_length(struct request *r)
{
    struct ns_entry e;
    enum request_result result;
    int found = find(r, &e, &result);
    return found < 0 ? result : found ? request_int(r, e.length) : request_nil(r);
}

enum request_result cmd_keytime(struct request *r)
{
    struct ns_entry e;
    enum request_result result;
    int found = find(r, &e, &result);
    return found < 0 ? result : found ? request_int(r, e.timestamp) : request_nil(r);
}

enum request_result cmd_keycur(struct request *r)
{
    struct ns_entry e;
    enum request_result result;
    uint8_t cursor[NS_CURSOR_SIZE];

    if (r->argv[1].len > NS_KEY_MAX)
        return request_error(r, REPLY_NOT_FOUND);
    int found = find(r, &e, &result);
    if (found < 0)
        return result;
    if (!found)
        return request_error(r, REPLY_NOT_FOUND);
    ns_cursor_encode(&e, cursor);
    resp_put_bulk(r->out, slice_of(cursor, sizeof cursor));
    return REQ_DONE;
}

enum request_result cmd_check(struct request *r)
{
    struct ns_entry e;
    enum request_result result;
    int found = find(r, &e, &result);
    if (found < 0)
        return result;
    if (!found)
        return request_nil(r);
    int rc = ns_check(r->s->ns, r->argv[1], &e, &r->s->wait);
    if (rc == -EINPROGRESS)
        return REQ_PARK;
    return request_int(r, rc < 0 ? -1 : rc);
}

enum request_result cmd_dbsize(struct request *r)
{
    struct ns_info info;
    ns_info(r->s->ns, &info);
    return request_int(r, (int64_t)info.entries);
}

enum request_result cmd_sync(struct request *r)
{
    int rc = ns_sync(r->s->ns, &r->s->wait);
    if (rc == -EINPROGRESS)
        return REQ_PARK;
    return rc < 0 ? request_error(r, REPLY_SYNC_FAILED) : request_ok(r);
}
