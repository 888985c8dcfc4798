/* handover_reply - RESP, JSON, text. */
#include "zstor/daemon/handover_reply.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/resp.h"

struct field {
    const char *name;
    uint64_t value;
};

#define FIELDS 11

static void fields_of(const struct handover_report *r, struct field out[FIELDS])
{
    const struct field all[FIELDS] = {
        {"files", r->files},
        {"bytes", r->bytes},
        {"open_files", r->open_files},
        {"open_bytes", r->open_bytes},
        {"unknown_files", r->unknown_files},
        {"failing_files", r->failing_files},
        {"degraded_files", r->degraded_files},
        {"compared_files", r->compared_files},
        {"oldest_s", r->oldest_s},
        {"began_ns", r->began_ns},
        {"complete", r->rc == 0},
    };

    memcpy(out, all, sizeof all);
}

void handover_amount(struct buf *out, uint64_t files, uint64_t bytes)
{
    buf_printf(out, "%" PRIu64 " file%s, %" PRIu64 ".%" PRIu64 " MiB", files, files == 1 ? "" : "s",
               bytes / MIB, bytes % MIB * 10 / MIB);
}

static void put_line(struct buf *out, const struct handover_item *it)
{
    buf_printf(out, "%s: %s%s, %" PRIu64 " bytes, %" PRIu64 " s: %s", it->file,
               handover_state_name(it->state), it->open ? ", open" : "", it->bytes, it->age_s,
               it->handed ? "queued now" : it->why);
}

void handover_reply_resp(struct buf *out, const struct handover_report *r)
{
    struct field f[FIELDS];

    fields_of(r, f);
    resp_put_array(out, 2 * (FIELDS + 2));
    for (size_t i = 0; i < FIELDS; i++) {
        resp_put_bulk_str(out, f[i].name);
        resp_put_int(out, (int64_t)f[i].value);
    }
    resp_put_bulk_str(out, "error");
    resp_put_bulk_str(out, r->rc < 0 ? r->err.text : "");
    resp_put_bulk_str(out, "items");
    resp_put_array(out, r->nitems);
    for (size_t i = 0; i < r->nitems; i++) {
        CLEANUP(buf_fini) struct buf line = BUF_INIT;

        put_line(&line, &r->item[i]);
        resp_put_bulk(out, buf_slice(&line));
    }
}

/* Bytes that are no UTF-8 are left to the reader: names of files are bytes. */
static void put_text(struct buf *out, const char *s)
{
    buf_put_u8(out, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20)
            buf_printf(out, "\\u%04x", c);
        else
            buf_put_u8(out, c);
    }
    buf_put_u8(out, '"');
}

void handover_reply_json(struct buf *out, const struct handover_report *r)
{
    struct field f[FIELDS];

    fields_of(r, f);
    buf_put_u8(out, '{');
    for (size_t i = 0; i < FIELDS - 1; i++)
        buf_printf(out, "\"%s\": %" PRIu64 ", ", f[i].name, f[i].value);
    buf_printf(out, "\"complete\": %s, \"error\": ", r->rc == 0 ? "true" : "false");
    put_text(out, r->rc < 0 ? r->err.text : "");
    buf_put_str(out, ", \"items\": [");
    for (size_t i = 0; i < r->nitems; i++) {
        const struct handover_item *it = &r->item[i];

        buf_put_str(out, i ? ", {\"file\": " : "{\"file\": ");
        put_text(out, it->file);
        buf_printf(out,
                   ", \"state\": \"%s\", \"open\": %s, \"bytes\": %" PRIu64 ", \"age_s\": %" PRIu64
                   ", \"why\": ",
                   handover_state_name(it->state), it->open ? "true" : "false", it->bytes,
                   it->age_s);
        put_text(out, it->handed ? "queued now" : it->why);
        buf_put_u8(out, '}');
    }
    buf_put_str(out, "]}\n");
}

/* --- client ---------------------------------------------------------------------------------- */

static void take(struct handover_answer *out, const char *name, const redisReply *v)
{
    const struct {
        const char *name;
        uint64_t *value;
    } known[] = {
        {"files", &out->files},
        {"bytes", &out->bytes},
        {"open_files", &out->open_files},
        {"open_bytes", &out->open_bytes},
        {"unknown_files", &out->unknown_files},
        {"failing_files", &out->failing_files},
        {"degraded_files", &out->degraded_files},
        {"oldest_s", &out->oldest_s},
        {"began_ns", &out->began_ns},
        {"complete", &out->complete},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (v->type == REDIS_REPLY_INTEGER && strcmp(name, known[i].name) == 0)
            *known[i].value = (uint64_t)v->integer;
    if (v->type == REDIS_REPLY_STRING && strcmp(name, "error") == 0)
        out->error = v->str;
    if (v->type == REDIS_REPLY_ARRAY && strcmp(name, "items") == 0)
        out->items = v;
}

bool handover_answer_of(struct handover_answer *out, const redisReply *reply)
{
    *out = (struct handover_answer){.error = ""};
    if (!reply || reply->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            take(out, reply->element[i]->str, reply->element[i + 1]);
    return out->began_ns && out->items;
}
