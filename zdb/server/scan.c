/* scan - walking what is stored: SCAN SCANX RSCAN KSCAN HISTORY DATA INDEX (spec zdb-protocol 3
 * and 6). */
#include "zdb/server/commands.h"

#include <stdio.h>

#include "common/parse.h"
#include "zdb/server/replies.h"

#define SCAN_SLICE_US 2000
#define WORD_MAX      256

struct scan {
    struct buf *entries;
    uint64_t deadline_us;
    size_t n;
    struct ns_entry last;
};

static bool on_entry(void *arg, struct slice key, const struct ns_entry *e)
{
    struct scan *s = arg;

    /* the first one always: an answer without entries would say that there is nothing more */
    if (s->n > 0 && base_now_us() >= s->deadline_us)
        return false;
    resp_put_array(s->entries, 3);
    resp_put_bulk(s->entries, key);
    resp_put_int(s->entries, (int32_t)e->length);
    resp_put_int(s->entries, (int32_t)e->timestamp);
    s->last = *e;
    s->n++;
    return true;
}

static enum request_result scan(struct request *r, enum ns_dir dir)
{
    struct slice cursor = r->argc > 1 ? r->argv[1] : slice_of(NULL, 0);
    struct scan s = {.entries = &r->db->scratch, .deadline_us = base_now_us() + SCAN_SLICE_US};
    uint8_t out[NS_CURSOR_SIZE];

    if (r->argc > 1 && cursor.len != NS_CURSOR_SIZE)
        return request_error(r, REPLY_BAD_CURSOR);
    buf_clear(s.entries);
    int rc = ns_scan_part(r->s->ns, cursor, dir, on_entry, &s, &r->s->scan, &r->s->wait);
    if (s.n == 0) {
        if (rc == -EINPROGRESS)
            return REQ_PARK;
        if (rc == -EAGAIN)
            return REQ_LATER;
        return request_error(r, rc == -NS_EBADCURSOR ? REPLY_BAD_CURSOR
                                : rc < 0             ? REPLY_INTERNAL
                                                     : REPLY_NO_MORE);
    }
    ns_cursor_encode(&s.last, out);
    resp_put_array(r->out, 2);
    resp_put_bulk(r->out, slice_of(out, sizeof out));
    resp_put_array(r->out, s.n);
    buf_put_slice(r->out, buf_slice(s.entries));
    buf_clear(s.entries);
    buf_shrink(s.entries, 64 * KIB);
    return REQ_DONE;
}

enum request_result cmd_scan(struct request *r)
{
    return scan(r, NS_FORWARD);
}

enum request_result cmd_rscan(struct request *r)
{
    return scan(r, NS_BACKWARD);
}

enum request_result cmd_kscan(struct request *r)
{
    return request_error(r, REPLY_KSCAN);
}

/* --- HISTORY --------------------------------------------------------------------------------- */

/* 1: *e is the version asked for; 0: *result is the answer */
static int version(struct request *r, struct ns_entry *e, enum request_result *result)
{
    struct slice key = r->argv[1];
    const char *text;
    int rc;

    if (r->argc == 2) {
        rc = ns_current(r->s->ns, key, e, &r->s->wait);
        if (rc > 0)
            return 1;
        text = rc == 0 ? REPLY_NOT_FOUND : REPLY_INTERNAL;
    } else {
        struct rd rd = rd_of(r->argv[2]);
        uint32_t file = rd_le32(&rd), off = rd_le32(&rd);
        if (rd.bad || rd_left(&rd) > 0) {
            *result = request_error(r, REPLY_INVALID_ARGS);
            return 0;
        }
        if (file == 0 && off == 0) {
            *result = request_error(r, REPLY_NO_HISTORY);
            return 0;
        }
        rc = ns_history(r->s->ns, key, file, off, e, &r->s->wait);
        if (rc == 0)
            return 1;
        text = rc == -ENOKEY ? REPLY_HISTORY_KEY : REPLY_HISTORY_QUERY;
    }
    *result = rc == -EINPROGRESS ? REQ_PARK : request_error(r, text);
    return 0;
}

enum request_result cmd_history(struct request *r)
{
    struct ns_entry e;
    enum request_result result;
    size_t start = r->out->len;
    uint8_t parent[8];
    char when[16];

    if (!version(r, &e, &result))
        return result;
    resp_put_array(r->out, 3);
    if (e.parent_file == 0 && e.parent_off == 0) {
        request_nil(r);
    } else {
        le32_put(parent, e.parent_file);
        le32_put(parent + 4, e.parent_off);
        resp_put_bulk(r->out, slice_of(parent, sizeof parent));
    }
    snprintf(when, sizeof when, "%u", (unsigned)e.timestamp);
    resp_put_bulk_str(r->out, when);
    resp_put_bulk_head(r->out, e.length);
    int rc = ns_read(r->s->ns, r->argv[1], &e, r->out, &r->s->wait);
    if (rc == 0) {
        buf_put(r->out, "\r\n", 2);
        return REQ_DONE;
    }
    buf_truncate(r->out, start);
    return rc == -EINPROGRESS ? REQ_PARK : request_error(r, REPLY_INTERNAL);
}

/* --- DATA RAW, INDEX DIRTY ------------------------------------------------------------------- */

static enum request_result raw_reply(struct request *r, const struct ns_raw *raw,
                                     const struct buf *payload)
{
    char crc[16];

    resp_put_array(r->out, 6);
    resp_put_bulk(r->out, slice_of(raw->key, raw->keylen));
    resp_put_int(r->out, raw->previous);
    snprintf(crc, sizeof crc, "0x%08x", (unsigned)raw->crc);
    resp_put_bulk_str(r->out, crc);
    resp_put_int(r->out, raw->flags);
    resp_put_int(r->out, raw->timestamp);
    if (raw->flags & 1)
        request_nil(r); /* deletion record: no payload, not an empty one */
    else
        resp_put_bulk(r->out, buf_slice(payload));
    return REQ_DONE;
}

enum request_result cmd_data_raw(struct request *r)
{
    struct ns_raw raw;

    if (r->argv[1].len > WORD_MAX)
        return request_error(r, REPLY_ARG_TOO_LONG);
    if (!request_word(r->argv[1], "RAW"))
        return request_error(r, REPLY_DATA);
    if (r->argc != 4)
        return request_error(r, r->argc < 4 ? REPLY_MISSING_ARGS : REPLY_UNEXPECTED_ARGS);
    if (r->argv[2].len == 0 || r->argv[3].len == 0)
        return request_error(r, REPLY_INVALID_ARG);
    uint64_t seg, off;
    int bad_seg = parse_u64_slice(r->argv[2], 0, UINT32_MAX, &seg);
    int bad_off = parse_u64_slice(r->argv[3], 0, UINT32_MAX, &off);
    if (bad_seg == -EINVAL || bad_off == -EINVAL)
        return request_error(r, REPLY_INVALID_ARG);
    if (bad_seg < 0)
        return request_error(r, REPLY_RAW_INVALID);
    if (bad_off < 0)
        return request_error(r, REPLY_EOF);
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    int rc = ns_data_raw(r->s->ns, (uint32_t)seg, (uint32_t)off, &raw, &payload, &r->s->wait);
    switch (-rc) {
    case 0:
        return raw_reply(r, &raw, &payload);
    case EINPROGRESS:
        return REQ_PARK;
    case ENODATA:
        return request_error(r, REPLY_EOF);
    case EBADMSG:
        return request_error(r, REPLY_RAW_INSANE);
    default:
        return request_error(r, REPLY_RAW_INVALID);
    }
}

enum request_result cmd_index(struct request *r)
{
    CLEANUP(buf_fini) struct buf ids = BUF_INIT;

    if (r->argv[1].len > WORD_MAX)
        return request_error(r, REPLY_ARG_TOO_LONG);
    if (!request_word(r->argv[1], "DIRTY"))
        return request_error(r, REPLY_INDEX);
    if (r->argc > 3)
        return request_error(r, REPLY_UNEXPECTED_ARGS);
    if (r->argc == 3) {
        if (!request_word(r->argv[2], "RESET"))
            return request_error(r, REPLY_INDEX_DIRTY);
        ns_dirty_reset(r->s->ns);
        return request_ok(r);
    }
    ns_dirty(r->s->ns, &ids);
    struct rd rd = rd_of(buf_slice(&ids));
    resp_put_array(r->out, ids.len / 4);
    while (rd_left(&rd) > 0)
        resp_put_int(r->out, rd_le32(&rd));
    return REQ_DONE;
}
