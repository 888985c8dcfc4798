/* admin - the server itself: PING TIME AUTH INFO HOOKS WAIT MIRROR MASTER STOP (spec
 * zdb-protocol 5 and 6). */
#include "zdb/server/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/time.h>

#include "common/digest.h"
#include "common/parse.h"
#include "zdb/server/hooks.h"
#include "zdb/store.h"
#include "zdb/server/replies.h"
#include "zdb/version.h"

#define AUTH_PASSWORD_MAX 128
#define WAIT_TEXT_MAX     16
#define WAIT_MIN_MS       100
#define WAIT_MAX_MS       1800000
#define WAIT_DEFAULT_MS   5000

enum request_result cmd_invalid(struct request *r)
{
    return request_error(r, REPLY_NOT_VALID);
}

enum request_result cmd_ping(struct request *r)
{
    resp_put_simple(r->out, REPLY_PONG);
    return REQ_DONE;
}

enum request_result cmd_stop(struct request *r)
{
    return request_error(r, REPLY_STOP);
}

enum request_result cmd_time(struct request *r)
{
    struct timeval tv;
    char text[24];

    gettimeofday(&tv, NULL);
    resp_put_array(r->out, 2);
    snprintf(text, sizeof text, "%" PRId64, (int64_t)tv.tv_sec);
    resp_put_bulk_str(r->out, text);
    snprintf(text, sizeof text, "%" PRId64, (int64_t)tv.tv_usec);
    resp_put_bulk_str(r->out, text);
    return REQ_DONE;
}

/* --- AUTH ------------------------------------------------------------------------------------ */

static enum request_result auth_challenge(struct request *r)
{
    uint8_t random[REQ_NONCE_LEN / 2];

    if (digest_random(random, sizeof random) < 0)
        return request_error(r, REPLY_INTERNAL);
    parse_to_hex(random, sizeof random, r->s->nonce);
    resp_put_simple(r->out, r->s->nonce);
    return REQ_DONE;
}

static enum request_result auth_result(struct request *r, const char *refused)
{
    if (refused)
        return request_error(r, refused);
    r->s->admin = true;
    return request_ok(r);
}

static enum request_result auth_plain(struct request *r)
{
    if (!r->db->conf.admin)
        return request_error(r, REPLY_NO_AUTH);
    if (r->argv[1].len == 0)
        return request_error(r, REPLY_INVALID_ARG);
    if (r->argv[1].len > AUTH_PASSWORD_MAX)
        return request_error(r, REPLY_PASSWORD_LONG);
    return auth_result(r, request_same_secret(r->argv[1], slice_str(r->db->conf.admin))
                              ? NULL
                              : REPLY_ACCESS_DENIED);
}

enum request_result cmd_auth(struct request *r)
{
    if (r->argc == 2)
        return auth_plain(r);
    if (r->argc != 3)
        return request_error(r, REPLY_UNEXPECTED_ARGS);
    if (r->argv[1].len == 0 || r->argv[2].len == 0)
        return request_error(r, REPLY_INVALID_ARG);
    if (!request_prefix(r->argv[1], "SECURE"))
        return request_error(r, REPLY_ONLY_SECURE);
    if (request_prefix(r->argv[2], "CHALLENGE"))
        return auth_challenge(r);
    if (!r->db->conf.admin)
        return request_error(r, REPLY_NO_AUTH);
    return auth_result(r, request_check_hash(r->s, r->argv[2], slice_str(r->db->conf.admin), true));
}

/* --- INFO ------------------------------------------------------------------------------------ */

static void put_count(struct buf *b, const char *name, uint64_t v)
{
    buf_printf(b, "%s: %" PRIu64 "\n", name, v);
}

static void put_bytes(struct buf *b, const char *name, uint64_t v)
{
    buf_printf(b, "%s_bytes: %" PRIu64 "\n%s_mb: %.2f\n", name, v, name, (double)v / 1048576.0);
}

enum request_result cmd_info(struct request *r)
{
    const struct zdb *db = r->db;
    struct buf *b = &r->db->scratch;
    struct store_stats st;

    store_stats(db->store, &st);
    buf_clear(b);
    buf_printf(b,
               "# server\nserver_name: 0-db (zdb)\nserver_revision: " ZDB_REVISION
               "\nengine_revision: " ZDB_REVISION "\ninstance_id: %" PRIu32 "\nboot_time: %" PRIu64
               "\nuptime: %" PRIu64 "\n",
               db->instance_id, db->boot_time, (base_now_ms() - db->boot_ms) / 1000);
    buf_printf(b, "\n# clients\nclients_lifetime: %" PRIu64 "\n", db->clients_lifetime);
    buf_put_str(
        b, "\n# internals\nsequential_key_size: 8\ndata_version: 3\nindex_version: 4\n\n# stats\n");
    put_count(b, "commands_executed", db->executed);
    put_count(b, "commands_failed", db->failed);
    put_count(b, "commands_unauthorized", db->unauthorized);
    put_count(b, "index_disk_read_failed", st.index_read_failed);
    put_count(b, "index_disk_write_failed", st.index_write_failed);
    put_count(b, "data_disk_read_failed", st.data_read_failed);
    put_count(b, "data_disk_write_failed", st.data_write_failed);
    put_bytes(b, "index_disk_read", st.index_read_bytes);
    put_bytes(b, "index_disk_write", st.index_write_bytes);
    put_bytes(b, "data_disk_read", st.data_read_bytes);
    put_bytes(b, "data_disk_write", st.data_write_bytes);
    put_bytes(b, "network_rx", db->rx_bytes);
    put_bytes(b, "network_tx", db->tx_bytes);
    resp_put_bulk(r->out, buf_slice(b));
    return REQ_DONE;
}

/* --- HOOKS ----------------------------------------------------------------------------------- */

static void put_hook(const struct hook_info *i, void *arg)
{
    struct buf *b = arg;

    resp_put_array(b, 6);
    resp_put_bulk_str(b, i->name);
    resp_put_array(b, i->nargs);
    for (unsigned k = 0; k < i->nargs; k++)
        resp_put_bulk_str(b, i->args[k]);
    resp_put_int(b, i->pid);
    resp_put_int(b, (int64_t)i->started);
    resp_put_int(b, (int64_t)i->finished);
    resp_put_int(b, i->status);
}

enum request_result cmd_hooks(struct request *r)
{
    if (r->argc == 2 && request_word(r->argv[1], "PENDING"))
        return request_int(r, (int64_t)(hooks_pending(r->db->hooks) + store_pending(r->db->store)));
    if (r->argc > 1)
        return request_error(r, REPLY_UNEXPECTED_ARGS);
    resp_put_array(r->out, hooks_each(r->db->hooks, NULL, NULL));
    hooks_each(r->db->hooks, put_hook, r->out);
    return REQ_DONE;
}

/* --- watching others ------------------------------------------------------------------------- */

enum request_result cmd_wait(struct request *r, int watched)
{
    uint64_t ms = WAIT_DEFAULT_MS;

    if (watched < 0)
        return request_error(r, REPLY_WAIT_UNKNOWN);
    if (r->argc == 3 && (r->argv[2].len > WAIT_TEXT_MAX ||
                         parse_u64_slice(r->argv[2], WAIT_MIN_MS, WAIT_MAX_MS, &ms) < 0))
        return request_error(r, REPLY_WAIT_TIMEOUT);
    request_watch(r->s, (unsigned)watched, ms);
    return REQ_DONE; /* the reply is the event */
}

enum request_result cmd_mirror(struct request *r)
{
    request_mirror(r->s);
    resp_put_simple(r->out, REPLY_MIRROR);
    return REQ_DONE;
}

enum request_result cmd_master(struct request *r)
{
    r->s->master = true;
    resp_put_simple(r->out, REPLY_MASTER);
    return REQ_DONE;
}
