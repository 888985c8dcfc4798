/* namespaces - namespaces: NSNEW NSDEL NSLIST NSINFO NSSET NSJUMP SELECT RELOAD FLUSH (spec
 * zdb-protocol 4). */
#include "zdb/server/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/log.h"
#include "common/parse.h"
#include "zdb/renew.h"
#include "zdb/store.h"
#include "zdb/server/replies.h"

#define PROPERTY_MAX        256
#define VALUE_MAX           63
#define SELECT_PASSWORD_MAX 255
#define MB                  1048576.0

static struct ns *named(struct request *r)
{
    return store_find(r->db->store, r->argv[1]);
}

enum request_result cmd_nsnew(struct request *r)
{
    struct slice name = r->argv[1];
    struct err e = {0};

    if (!store_name_ok(name))
        return request_error(r, REPLY_NS_NAME);
    if (store_find(r->db->store, name))
        return request_error(r, REPLY_NS_TAKEN);
    int rc = store_create(r->db->store, name, &r->s->wait, &e);
    if (rc == -EINPROGRESS)
        return REQ_PARK;
    if (rc < 0) {
        log_error("NSNEW: %s", e.text);
        return request_error(r, rc == -EEXIST ? REPLY_NS_TAKEN : REPLY_NS_NOT_CREATED);
    }
    return request_ok(r);
}

enum request_result cmd_nsdel(struct request *r)
{
    struct ns *ns = named(r);

    if (r->s->step == 1) /* its names are gone */
        return request_ok(r);
    if (ns && ns == store_default(r->db->store))
        return request_error(r, REPLY_NS_DEL_DEFAULT);
    if (!ns)
        return request_error(r, REPLY_NS_DEL_UNKNOWN);
    if (ns == r->s->ns)
        return request_error(r, REPLY_NS_DEL_CURRENT);
    if (ns_idle(ns, &r->s->wait) == -EINPROGRESS)
        return REQ_PARK;
    request_detach(r->db, ns);
    if (store_remove(r->db->store, ns, &r->s->wait) != -EINPROGRESS)
        return request_ok(r); /* gone from memory; the log says why its files are not */
    r->s->step = 1;
    return REQ_PARK;
}

enum request_result cmd_nslist(struct request *r)
{
    size_t n = 0, slots = store_slots(r->db->store);

    for (size_t i = 0; i < slots; i++)
        n += store_at(r->db->store, i) != NULL;
    resp_put_array(r->out, n);
    for (size_t i = 0; i < slots; i++) {
        const struct ns *ns = store_at(r->db->store, i);
        if (ns)
            resp_put_bulk_str(r->out, ns_name(ns));
    }
    return REQ_DONE;
}

/* --- NSINFO ---------------------------------------------------------------------------------- */

static const char *yes_no(bool b)
{
    return b ? "yes" : "no";
}

static void put_free_space(struct buf *b, const char *what, const char *dir)
{
    struct statvfs fs;

    if (statvfs(dir, &fs) < 0)
        return;
    uint64_t bytes = (uint64_t)fs.f_bsize * fs.f_bavail;
    buf_printf(b, "%s_disk_freespace_bytes: %" PRIu64 "\n%s_disk_freespace_mb: %.2f\n", what, bytes,
               what, (double)bytes / MB);
}

static void put_counters(struct buf *b, const struct ns_info *i)
{
    buf_printf(b,
               "data_size_bytes: %" PRIu64 "\ndata_size_mb: %.2f\ndata_limits_bytes: %" PRIu64
               "\nindex_size_bytes: %" PRIu64 "\nindex_size_kb: %.2f\n",
               i->data_size, (double)i->data_size / MB, i->max_size, i->index_size,
               (double)i->index_size / 1024);
    buf_printf(b, "next_internal_id: 0x%08" PRIx64 "\nmode: %s\n", __builtin_bswap64(i->next_id),
               i->mode == NS_SEQ ? "sequential" : "userkey");
    buf_printf(b,
               "stats_index_io_errors: %" PRIu64 "\nstats_index_io_error_last: %" PRId64
               "\nstats_index_faults: 0\n",
               i->index_io_errors, i->index_io_error_last);
    buf_printf(b,
               "stats_data_io_errors: %" PRIu64 "\nstats_data_io_error_last: %" PRId64
               "\nstats_data_faults: 0\n",
               i->data_io_errors, i->data_io_error_last);
    if (i->max_size > 0)
        buf_printf(b, "space_available: %" PRIu64 "\n", i->max_size - i->data_size);
}

static void put_space(struct buf *b, const struct ns_info *i)
{
    if (i->reclaim) /* the others have the fields of the original, and no more */
        buf_printf(b,
                   "policy: reclaim %u\nsegments_size_bytes: %" PRIu64
                   "\nsegments_live_bytes: %" PRIu64 "\nsegments_cleaned_bytes: %" PRIu64 "\n",
                   i->reclaim, i->file_size, i->live_size, i->cleaned);
}

static void put_paths(struct buf *b, const struct ns_info *i)
{
    buf_printf(b, "data_path: %s\ndata_active: %s\nindex_path: %s\nindex_active: %s\n", i->data_dir,
               i->data_active, i->index_dir, i->index_active);
    buf_printf(b, "data_current_id: %" PRIu32 "\ndata_current_offset: %" PRIu64 "\n", i->active,
               i->active_size);
}

enum request_result cmd_nsinfo(struct request *r)
{
    struct buf *b = &r->db->scratch;
    const struct ns *ns = named(r);
    struct ns_info i;

    if (!ns)
        return request_error(r, REPLY_NS_NOT_FOUND);
    ns_info(ns, &i);
    buf_clear(b);
    buf_printf(b,
               "# namespace\nname: %s\nentries: %" PRIu64
               "\npublic: %s\nworm: %s\nlocked: %s\npassword: %s\n",
               i.name, i.entries, yes_no(i.is_public), yes_no(i.worm),
               yes_no(i.lock != NS_UNLOCKED), yes_no(i.password.len > 0));
    put_counters(b, &i);
    put_space(b, &i);
    put_free_space(b, "index", i.index_dir);
    put_free_space(b, "data", i.data_dir);
    if (r->s->master && i.password.len > 0) {
        buf_put_str(b, "password_raw: ");
        buf_put_slice(b, i.password);
        buf_put_str(b, "\n");
    }
    if (r->s->admin)
        put_paths(b, &i);
    resp_put_bulk(r->out, buf_slice(b));
    return REQ_DONE;
}

/* --- NSSET ----------------------------------------------------------------------------------- */

static enum request_result set_mode(struct request *r, struct ns *ns, struct slice value)
{
    if (r->db->conf.single_mode)
        return request_error(r, REPLY_NS_SINGLE_MODE);
    if (ns_used(ns))
        return request_error(r, REPLY_NS_USED);
    if (!slice_eq_str(value, "user") && !slice_eq_str(value, "seq"))
        return request_error(r, REPLY_NS_MODE_VALUE);
    int rc = ns_set_mode(ns, slice_eq_str(value, "seq") ? NS_SEQ : NS_USER);
    if (rc == 0)
        return request_ok(r);
    return request_error(r, rc == -NS_EUSED     ? REPLY_NS_USED
                            : rc == -NS_ESINGLE ? REPLY_NS_SINGLE_MODE
                                                : REPLY_INTERNAL);
}

static enum request_result set_result(struct request *r, int rc)
{
    if (rc == 0)
        return request_ok(r);
    log_error("NSSET: %s", strerror(-rc));
    return request_error(r, REPLY_INTERNAL);
}

typedef int switch_fn(struct ns *ns, bool on);

static int set_locked(struct ns *ns, bool on)
{
    return ns_set_lock(ns, on ? NS_LOCKED : NS_UNLOCKED);
}

static int set_frozen(struct ns *ns, bool on)
{
    return ns_set_lock(ns, on ? NS_FROZEN : NS_UNLOCKED);
}

static enum request_result set_switch(struct request *r, struct ns *ns, switch_fn *fn,
                                      struct slice value)
{
    bool on = slice_eq_str(value, "1");

    if (!on && !slice_eq_str(value, "0"))
        return request_error(r, REPLY_NS_SWITCH);
    return set_result(r, fn(ns, on));
}

static enum request_result set_maxsize(struct request *r, struct ns *ns, struct slice value)
{
    uint64_t bytes;

    if (parse_u64_slice(value, 0, INT64_MAX, &bytes) < 0)
        return request_error(r, REPLY_NS_NUMBER);
    return set_result(r, ns_set_maxsize(ns, bytes));
}

static enum request_result set_password(struct request *r, struct ns *ns, struct slice value)
{
    if (memchr(value.p, 0, value.len)) /* clients of the original cannot send it */
        return request_error(r, REPLY_INVALID_ARG);
    return set_result(r, ns_set_password(ns, slice_eq_str(value, "*") ? slice_of(NULL, 0) : value));
}

/* keep; reclaim PERCENT */
static enum request_result set_policy(struct request *r, struct ns *ns, struct slice value)
{
    static const char word[] = "reclaim ";
    size_t n = sizeof word - 1;
    uint64_t percent = 0;

    if (!slice_eq_str(value, "keep") &&
        (value.len <= n || memcmp(value.p, word, n) != 0 ||
         parse_u64_slice(slice_of(value.p + n, value.len - n), 1, 99, &percent) < 0))
        return request_error(r, REPLY_NS_POLICY);
    return set_result(r, ns_set_policy(ns, (unsigned)percent));
}

enum request_result cmd_nsset(struct request *r)
{
    struct slice property = r->argv[2], value = r->argv[3];

    if (property.len > PROPERTY_MAX || value.len > VALUE_MAX)
        return request_error(r, REPLY_ARG_TOO_LONG);
    struct ns *ns = named(r);
    if (!ns)
        return request_error(r, REPLY_NS_NOT_FOUND);
    if (slice_eq_str(property, "mode"))
        return set_mode(r, ns, value);
    if (slice_eq_str(property, "lock"))
        return set_switch(r, ns, set_locked, value);
    if (slice_eq_str(property, "freeze"))
        return set_switch(r, ns, set_frozen, value);
    if (slice_eq_str(property, "policy"))
        return set_policy(r, ns, value);
    if (ns == store_default(r->db->store))
        return request_error(r, REPLY_NS_SET_DEFAULT);
    if (slice_eq_str(property, "maxsize"))
        return set_maxsize(r, ns, value);
    if (slice_eq_str(property, "password"))
        return set_password(r, ns, value);
    if (slice_eq_str(property, "public"))
        return set_switch(r, ns, ns_set_public, value);
    if (slice_eq_str(property, "worm"))
        return set_switch(r, ns, ns_set_worm, value);
    return request_error(r, REPLY_NS_PROPERTY);
}

/* --- SELECT ---------------------------------------------------------------------------------- */

static const char *check_password(struct request *r, struct slice password)
{
    if (r->argc == 3) {
        if (r->argv[2].len > SELECT_PASSWORD_MAX)
            return REPLY_PASSWORD_LONG;
        return request_same_secret(r->argv[2], password) ? NULL : REPLY_ACCESS_DENIED;
    }
    if (!request_prefix(r->argv[2], "SECURE"))
        return REPLY_ONLY_SECURE;
    return request_check_hash(r->s, r->argv[3], password, false);
}

enum request_result cmd_select(struct request *r)
{
    struct ns *ns = named(r);
    struct ns_info i;
    bool writable = true;

    if (r->argc > 4)
        return request_error(r, REPLY_TOO_MANY_ARGS);
    if (!ns && slice_eq_str(r->argv[1], "0")) /* the first database of redis */
        ns = store_default(r->db->store);
    if (!ns)
        return request_error(r, REPLY_NS_NOT_FOUND);
    ns_info(ns, &i);
    if (i.password.len > 0) {
        if (r->argc == 2 && !i.is_public)
            return request_error(r, REPLY_NS_PRIVATE);
        const char *refused = r->argc == 2 ? NULL : check_password(r, i.password);
        if (refused)
            return request_error(r, refused);
        writable = r->argc > 2;
    }
    request_session_select(r->s, ns, writable);
    return request_ok(r);
}

/* --- segments -------------------------------------------------------------------------------- */

enum request_result cmd_nsjump(struct request *r)
{
    bool failed;

    int rc = r->s->step == 1 ? 0 : ns_jump(r->s->ns);
    if (rc == 0) {
        if (request_hold_until_durable(r, &failed) == REQ_PARK)
            return REQ_PARK;
        return failed ? REQ_DONE : request_ok(r);
    }
    return request_error(r, rc == -NS_EINDEX ? REPLY_WRITE_INDEX : REPLY_WRITE_DATA);
}

enum request_result cmd_reload(struct request *r)
{
    struct ns *ns = named(r);
    struct err e = {0};

    if (!ns)
        return request_error(r, REPLY_NS_NOT_FOUND);
    if (r->s->step == 0)
        renew_prepare(ns);
    r->s->step = 1;
    int rc = renew_reload(ns, &r->s->wait, &e);
    if (rc == -EINPROGRESS)
        return REQ_PARK;
    if (rc == 0)
        return request_ok(r);
    log_error("RELOAD: %s", e.text);
    return request_error(r, REPLY_INTERNAL);
}

static enum request_result flushed(struct request *r)
{
    int rc = ns_sync(r->s->ns, &r->s->wait);

    if (rc == -EINPROGRESS)
        return REQ_PARK;
    if (rc == 0)
        return request_ok(r);
    log_error("FLUSH: %s", strerror(-rc));
    return request_error(r, REPLY_INTERNAL);
}

enum request_result cmd_flush(struct request *r)
{
    struct ns_info i;

    if (r->s->step == 1)
        return flushed(r);

    ns_info(r->s->ns, &i);
    if (i.is_public || i.password.len == 0)
        return request_error(r, REPLY_FLUSH_PUBLIC);
    if (!r->s->writable)
        return request_error(r, REPLY_READ_ONLY);
    if (i.lock != NS_UNLOCKED)
        return request_error(r, i.lock == NS_FROZEN ? REPLY_FROZEN : REPLY_LOCKED);
    if (i.worm)
        return request_error(r, REPLY_WORM);
    int rc = renew_flush(r->s->ns, &r->s->wait);
    if (rc == -EINPROGRESS)
        return REQ_PARK;
    if (rc == 0) {
        r->s->step = 1;
        return flushed(r);
    }
    log_error("FLUSH: %s", strerror(-rc));
    return request_error(r, REPLY_INTERNAL);
}

/* --- space ----------------------------------------------------------------------------------- */

enum request_result cmd_clean(struct request *r)
{
    int rc = ns_clean(r->s->ns, r->s->step == 1, &r->s->wait);

    r->s->step = 1;
    if (rc == -EINPROGRESS)
        return REQ_PARK;
    if (rc == 0)
        return request_ok(r);
    if (rc == -EPERM)
        return request_error(r, REPLY_NS_KEEPS);
    if (rc == -EAGAIN)
        return request_error(r, REPLY_NS_LATER);
    log_error("CLEAN: %s", strerror(-rc));
    return request_error(r, rc == -ENOSPC || rc == -NS_EDATA ? REPLY_WRITE_DATA : REPLY_INTERNAL);
}

/* One line a segment: number, bytes, bytes that are live, where it is */
enum request_result cmd_segments(struct request *r)
{
    size_t n = ns_segments(r->s->ns);
    struct buf *b = &r->db->scratch;
    struct ns_segment s;

    resp_put_array(r->out, n);
    for (size_t i = 0; i < n; i++) {
        ns_segment(r->s->ns, i, &s);
        buf_clear(b);
        buf_printf(b, "%" PRIu32 " %" PRIu64 " %" PRIu64 " %s", s.id, s.size, s.live,
                   s.is_active ? "active"
                   : s.is_here ? "here"
                               : "missing");
        resp_put_bulk(r->out, buf_slice(b));
    }
    return REQ_DONE;
}
