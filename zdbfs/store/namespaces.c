/* namespaces - what kv does with whole namespaces: see store/kv.h. */
#include "zdbfs/store/kv_impl.h"

#include <errno.h>

#include "zdbfs/store/info_text.h"

enum {
    CURSOR_BYTES = 17,
    DISK_LOW_BYTES = 16 * 1024 * 1024, /* below this "Cannot write" means that the disk is full */
};

/* Entries of one page of SCAN; *cursor is moved on. */
static int scan_page(const redisReply *r, uint8_t cursor[CURSOR_BYTES], kv_scan_fn *fn, void *arg)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        zclient_bulk(r->element[0]).len != CURSOR_BYTES || r->element[1]->type != REDIS_REPLY_ARRAY)
        return -EIO;
    memcpy(cursor, r->element[0]->str, CURSOR_BYTES);
    const redisReply *list = r->element[1];
    for (size_t i = 0; i < list->elements; i++) {
        const redisReply *it = list->element[i];
        uint64_t key;
        if (it->type != REDIS_REPLY_ARRAY || it->elements != 3 ||
            kv_read_key(it->element[0], &key) < 0 || it->element[1]->type != REDIS_REPLY_INTEGER)
            return -EIO;
        int n = fn(key, (uint64_t)it->element[1]->integer, arg);
        if (n != 0)
            return n;
    }
    return 0;
}

static int scan(struct kv *kv, enum role role, const char *word, uint64_t deadline_ms,
                kv_scan_fn *fn, void *arg)
{
    uint8_t cursor[CURSOR_BYTES];
    struct slice argv[2] = {slice_str(word), slice_of(cursor, sizeof cursor)};

    for (unsigned argc = 1;; argc = 2) {
        CLEANUP(kv_reply_free) redisReply *reply = NULL;
        int r = kv_call(kv, role, deadline_ms, argc, argv, &reply, NULL);
        if (r < 0)
            return r;
        if (zclient_is_error(reply))
            return kv_reply_starts(reply, "No more data") ? 0 : -EIO;
        r = scan_page(reply, cursor, fn, arg);
        if (r != 0)
            return r;
    }
}

int kv_scan(struct kv *kv, enum role role, uint64_t deadline_ms, kv_scan_fn *fn, void *arg)
{
    return scan(kv, role, "SCAN", deadline_ms, fn, arg);
}

int kv_rscan(struct kv *kv, enum role role, uint64_t deadline_ms, kv_scan_fn *fn, void *arg)
{
    return scan(kv, role, "RSCAN", deadline_ms, fn, arg);
}

/* A word that zdb may refuse. */
static int command(struct kv *kv, enum role role, const char *word, uint64_t deadline_ms)
{
    const struct slice argv[] = {slice_str(word)};
    redisReply *reply = NULL;

    int r = kv_may_write(kv, deadline_ms);
    if (r == 0)
        r = kv_call(kv, role, deadline_ms, 1, argv, &reply, NULL);
    if (r == 0 && zclient_is_error(reply))
        r = -EPERM;
    kv_val_free_reply(reply);
    return r;
}

int kv_flush(struct kv *kv, enum role role, uint64_t deadline_ms)
{
    return command(kv, role, "FLUSH", deadline_ms);
}

int kv_jump(struct kv *kv, enum role role, uint64_t deadline_ms)
{
    return command(kv, role, "NSJUMP", deadline_ms);
}

void kv_parse_info(struct slice text, struct kv_info *out)
{
    uint64_t segment = info_text_number(text, "data_current_id", UINT64_MAX);
    *out = (struct kv_info){
        .segment_known = segment <= UINT32_MAX,
        .segment = (uint32_t)segment,
        .segment_bytes = info_text_number(text, "data_current_offset", 0),
        .entries = info_text_number(text, "entries", 0),
        .next_key = info_text_next_key(text),
        .data_bytes = info_text_number(text, "data_size_bytes", 0),
        .limit_bytes = info_text_number(text, "data_limits_bytes", 0),
        .free_bytes = MIN(info_text_number(text, "data_disk_freespace_bytes", UINT64_MAX),
                          info_text_number(text, "index_disk_freespace_bytes", UINT64_MAX)),
        .password = info_text_is(text, "password", "yes"),
        .is_public = info_text_is(text, "public", "yes"),
        .sequential = info_text_is(text, "mode", "sequential"),
    };
}

int kv_info(struct kv *kv, enum role role, uint64_t deadline_ms, struct kv_info *out)
{
    const struct slice argv[] = {slice_str("NSINFO"), slice_str(kv->conf->addr[role].ns)};
    redisReply *reply = NULL;

    int r = kv_call_ok(kv, role, deadline_ms, 2, argv, &reply, NULL);
    if (r == 0) {
        kv_parse_info(zclient_bulk(reply), out);
        if (role != ROLE_TEMP)
            atomic_store(&kv->disk_low, out->free_bytes < DISK_LOW_BYTES);
    }
    kv_val_free_reply(reply);
    return r;
}
