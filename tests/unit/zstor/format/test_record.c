#include "tests/unit/unit.h"

#include <errno.h>

#include "common/crc.h"
#include "tests/unit/zstor/golden_example.h"
#include "zstor/format/record.h"

/* the record of spec section 12, built by hand */
static void example(struct meta_record *m)
{
    static const char *const addr[4] = {"127.0.0.1:9901", "127.0.0.1:9902", "[2001:db8::1]:9903",
                                        "10.0.0.4:9904"};
    static const char *const ns[4] = {NULL, "ns2", "ns3", NULL};
    static const struct meta_key keys[4] = {{true, 0}, {true, 7}, {false, 258}, {true, 4294967297}};

    meta_record_init(m, (struct geometry){2, 2});
    ck_assert_int_eq(parse_hex(slice_str(EX_CHECKSUM), m->checksum, 16), 0);
    ck_assert_int_eq(parse_hex(slice_str(EX_KEY), m->key, 32), 0);
    for (int i = 0; i < 4; i++) {
        struct meta_shard *s = &m->shards[i];
        s->present = true;
        ck_assert_int_eq(parse_hex(slice_str(EX_SHARD_SUM[i]), s->digest, 16), 0);
        s->keys = calloc(1, sizeof *s->keys);
        s->keys[0] = keys[i];
        s->nkeys = 1;
        ck_assert_int_eq(
            backend_addr_parse(&s->addr, addr[i], ns[i], i == 2 ? "secret" : NULL, NULL), 0);
    }
}

START_TEST(golden_record_is_written)
{
    struct meta_record m;
    struct buf out = BUF_INIT;

    example(&m);
    meta_format_encode(&m, &out);
    ck_assert_bytes_hex(buf_data(&out), out.len, EX_RECORD);
    buf_fini(&out);
    meta_record_fini(&m);
}
END_TEST

START_TEST(golden_record_is_read)
{
    struct buf in = unhex(EX_RECORD), out = BUF_INIT;
    struct meta_record m;

    ck_assert_int_eq(meta_format_decode(buf_slice(&in), &m, NULL), 0);
    ck_assert_uint_eq(m.geo.data, 2);
    ck_assert_uint_eq(m.geo.parity, 2);
    ck_assert(!m.has_tail && !m.irregular);
    ck_assert_str_eq(m.shards[2].addr.address, "[2001:db8::1]:9903");
    ck_assert_str_eq(m.shards[2].addr.ns, "ns3");
    ck_assert_str_eq(m.shards[2].addr.password, "secret");
    ck_assert(!m.shards[2].keys[0].v2);
    ck_assert_uint_eq(m.shards[3].keys[0].id, 4294967297u);
    meta_format_encode(&m, &out);
    ck_assert(slice_eq(buf_slice(&in), buf_slice(&out)));
    buf_fini(&in);
    buf_fini(&out);
    meta_record_fini(&m);
}
END_TEST

START_TEST(tail_comes_back_and_does_not_touch_the_record)
{
    struct buf plain = BUF_INIT, out = BUF_INIT;
    struct meta_record m, back, copy;

    example(&m);
    meta_format_encode(&m, &plain);
    m.has_tail = true;
    m.generation = 77;
    m.time_ns = UINT64_MAX;
    m.size = 14;
    m.blob_len = 60;
    m.path = strdup("/srv/a b");
    m.host = strdup("");
    m.name = strdup("a b\xff");
    m.has_writer = true;
    memset(m.writer, 0xa5, sizeof m.writer);
    m.epoch = 9;
    meta_format_encode(&m, &out);
    ck_assert_mem_eq(buf_data(&out), buf_data(&plain), plain.len);
    ck_assert_int_eq(meta_format_decode(buf_slice(&out), &back, NULL), 0);
    meta_record_copy(&copy, &back);
    meta_record_fini(&back);
    ck_assert(copy.has_tail);
    ck_assert_uint_eq(copy.generation, 77);
    ck_assert_uint_eq(copy.time_ns, UINT64_MAX);
    ck_assert_uint_eq(copy.size, 14);
    ck_assert_uint_eq(copy.blob_len, 60);
    ck_assert_str_eq(copy.path, "/srv/a b");
    ck_assert_str_eq(copy.host, "");
    ck_assert_str_eq(copy.name, "a b\xff");
    ck_assert(copy.has_writer);
    ck_assert_mem_eq(copy.writer, m.writer, sizeof m.writer);
    ck_assert_uint_eq(copy.epoch, 9);
    ck_assert_str_eq(copy.shards[2].addr.password, "secret");
    meta_record_fini(&copy);
    meta_record_fini(&m);
    buf_fini(&out);
    buf_fini(&plain);
}
END_TEST

START_TEST(strange_bytes_behind_the_record_are_no_tail)
{
    static const size_t extra[] = {1, 11, 12, 40, 300};

    for (size_t k = 0; k < ARRAY_LEN(extra); k++)
        for (int magic = 0; magic < 2; magic++) {
            struct buf in = unhex(EX_RECORD);
            struct meta_record m;
            for (size_t i = 0; i < extra[k]; i++)
                buf_put_u8(&in, magic && i < 4 ? (uint8_t)("QZT\1"[i]) : (uint8_t)(i * 37));
            ck_assert_int_eq(meta_format_decode(buf_slice(&in), &m, NULL), 0);
            ck_assert(!m.has_tail);
            meta_record_fini(&m);
            buf_fini(&in);
        }
}
END_TEST

static void tail_of(struct buf *out, uint16_t version, uint16_t flags, struct slice entries)
{
    size_t start = out->len;

    buf_put(out, "QZT\1", 4);
    buf_put_le16(out, version);
    buf_put_le16(out, flags);
    buf_put_le32(out, (uint32_t)entries.len);
    buf_put_slice(out, entries);
    buf_put_le32(out, crc_std(0, buf_data(out) + start, out->len - start));
}

START_TEST(tails_of_the_future_are_refused_and_unknown_entries_skipped)
{
    static const uint8_t unknown[] = {99, 0, 2, 0, 'x', 'y', 1, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t cut[] = {1, 0, 8, 0, 5, 0};
    static const uint8_t narrow[] = {1, 0, 4, 0, 5, 0, 0, 0};
    static const struct {
        uint16_t version, flags;
        struct slice entries;
        int want;
    } t[] = {
        {1, 0, {unknown, sizeof unknown}, 0},       {2, 0, {unknown, sizeof unknown}, -EPROTO},
        {1, 1, {unknown, sizeof unknown}, -EPROTO}, {1, 0, {cut, sizeof cut}, -EBADMSG},
        {1, 0, {narrow, sizeof narrow}, -EBADMSG},  {1, 0, {NULL, 0}, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct buf in = unhex(EX_RECORD);
        struct meta_record m;
        struct err e = {0};
        tail_of(&in, t[i].version, t[i].flags, t[i].entries);
        ck_assert_int_eq(meta_format_decode(buf_slice(&in), &m, &e), t[i].want);
        if (t[i].want == 0) {
            ck_assert(m.has_tail);
            ck_assert_uint_eq(m.generation, t[i].entries.len ? 5 : 0);
        } else {
            ck_assert_uint_gt(strlen(e.text), 10);
        }
        meta_record_fini(&m);
        buf_fini(&in);
    }
}
END_TEST

START_TEST(every_cut_is_refused)
{
    struct buf in = unhex(EX_RECORD);

    for (size_t n = 0; n < in.len; n++) {
        struct meta_record m;
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, buf_data(&in), n);
        uint8_t *exact = realloc(copy, n ? n : 1);
        ck_assert_int_eq(meta_format_decode(slice_of(exact, n), &m, NULL), -EBADMSG);
        ck_assert_ptr_null(m.shards);
        free(exact);
    }
    buf_fini(&in);
}
END_TEST

struct patch {
    const char *what;
    size_t off;
    uint8_t byte;
};

static const struct patch patches[] = {
    {"no data shards", 0, 0},
    {"256 data shards", 1, 1},
    {"no parity", 8, 0},
    {"2^56 data shards", 7, 1},
    {"unknown cipher", 32, 1},
    {"key of 63 digits", 36, 63},
    {"key text of 2^56 bytes", 43, 1},
    {"key not hex", 44, 'g'},
    {"unknown compression", 108, 1},
    {"five shards in 2+2", 112, 5},
    {"2^56 shards", 119, 1},
    {"shard index 4", 120, 4},
    {"shard index twice", 120, 1},
    {"2^56 keys", 151, 1},
    {"key variant 2", 152, 2},
    {"address variant 2", 164, 2},
    {"namespace flag 2", 174, 2},
};

START_TEST(hostile_numbers_are_refused)
{
    struct buf in = unhex(EX_RECORD);
    struct meta_record m;

    buf_data(&in)[patches[_i].off] = patches[_i].byte;
    ck_assert_msg(meta_format_decode(buf_slice(&in), &m, NULL) == -EBADMSG, "%s", patches[_i].what);
    ck_assert_ptr_null(m.shards);
    buf_fini(&in);
}
END_TEST

START_TEST(any_flipped_bit_decodes_or_is_refused_but_never_breaks)
{
    struct buf in = unhex(EX_RECORD);

    for (size_t i = 0; i < in.len * 8; i++) {
        struct meta_record m;
        struct buf out = BUF_INIT;
        buf_data(&in)[i / 8] ^= (uint8_t)(1 << i % 8);
        if (meta_format_decode(buf_slice(&in), &m, NULL) == 0) {
            meta_format_encode(&m, &out);
            meta_format_json(&m, 0, &out);
        }
        meta_record_fini(&m);
        buf_fini(&out);
        buf_data(&in)[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    buf_fini(&in);
}
END_TEST

START_TEST(shuffled_and_short_lists_are_indexed_by_shard_idx)
{
    struct meta_record m, back;
    struct buf a = BUF_INIT, b = BUF_INIT, in = BUF_INIT;
    size_t head = 112 + 8;

    /* write only shard 3, then only shard 1, and join the two lists by hand: 3 before 1, 0 and 2
     * absent */
    example(&m);
    m.shards[0].present = m.shards[1].present = m.shards[2].present = false;
    meta_format_encode(&m, &a);
    m.shards[1].present = true;
    m.shards[3].present = false;
    meta_format_encode(&m, &b);
    buf_put(&in, buf_data(&a), a.len);
    buf_put(&in, buf_data(&b) + head, b.len - head);
    buf_data(&in)[112] = 2;
    ck_assert_int_eq(meta_format_decode(buf_slice(&in), &back, NULL), 0);
    ck_assert(!back.shards[0].present && back.shards[1].present && !back.shards[2].present &&
              back.shards[3].present);
    ck_assert(back.irregular);
    ck_assert_str_eq(back.shards[3].addr.address, "10.0.0.4:9904");
    ck_assert_str_eq(back.shards[1].addr.ns, "ns2");
    meta_record_fini(&back);
    m.shards[0].present = m.shards[2].present = m.shards[3].present = true;
    meta_record_fini(&m);
    buf_fini(&a);
    buf_fini(&b);
    buf_fini(&in);
}
END_TEST

START_TEST(value_keys_have_four_or_eight_bytes)
{
    struct meta_key k;
    uint8_t raw[8];

    ck_assert_int_eq(meta_key_from_wire(slice_of("\x01\x02\0\0", 4), &k), 0);
    ck_assert(!k.v2 && k.id == 513);
    ck_assert_uint_eq(meta_key_to_wire(&k, raw), 4);
    ck_assert_int_eq(meta_key_from_wire(slice_of("\x01\0\0\0\x02\0\0\0", 8), &k), 0);
    ck_assert(k.v2 && k.id == 0x200000001u);
    ck_assert_uint_eq(meta_key_to_wire(&k, raw), 8);
    ck_assert_int_eq(meta_key_from_wire(slice_of("12345", 5), &k), -EPROTO);
    ck_assert_int_eq(meta_key_from_wire(slice_of(NULL, 0), &k), -EPROTO);
}
END_TEST

START_TEST(json_is_upstreams_form)
{
    struct meta_record m;
    struct buf out = BUF_INIT;
    char *text;

    example(&m);
    meta_format_json(&m, 0, &out);
    text = buf_take_str(&out);
    ck_assert_ptr_eq(strstr(text, "{\n  \"checksum\": \"d958b01fbc7ef51a6641c49fe95ef1a1\",\n  "
                                  "\"compression\": \"Snappy\",\n"
                                  "  \"data_shards\": 2,\n  \"disposable_shards\": 2,\n  "
                                  "\"encryption\": {\n    \"Aes\": \"0001"),
                     text);
    ck_assert_ptr_nonnull(strstr(
        text,
        "      \"ci\": {\n        \"address\": \"127.0.0.1:9901\",\n        \"namespace\": null,\n"
        "        \"password\": null\n      },\n      \"keys\": [\n        {\n          \"V2\": 0\n"
        "        }\n      ],\n      \"shard_idx\": 0\n    },\n"));
    free(text);
    meta_record_fini(&m);
}
END_TEST

START_TEST(bound_is_never_below_the_record)
{
    struct meta_record m;
    struct buf out = BUF_INIT;

    example(&m);
    meta_format_encode(&m, &out);
    ck_assert_uint_ge(meta_format_bound(&m, 1), out.len);
    ck_assert_uint_eq(meta_format_bound(&m, UINT64_MAX / 2), UINT64_MAX);
    buf_fini(&out);
    meta_record_fini(&m);
}
END_TEST

/* Spec section 14: a 0-db of the object stands for it, in front of its keys the mark and the
 * number. */
START_TEST(a_shard_elsewhere_names_a_zdb_and_keys_that_it_does_not_have)
{
    struct buf out = BUF_INIT, plain = BUF_INIT;
    struct meta_record m, back;
    struct rd r;

    example(&m);
    backend_addr_fini(&m.shards[1].addr);
    ck_assert_int_eq(backend_addr_parse(&m.shards[1].addr, "dir:/mnt/nas", NULL, NULL, NULL), 0);
    meta_format_encode(&m, &out);
    ck_assert_uint_le(out.len, meta_format_bound(&m, 1));
    ck_assert_int_eq(meta_format_decode(buf_slice(&out), &back, NULL), 0);
    ck_assert_int_eq(back.shards[1].addr.place, BACKEND_ELSEWHERE);
    ck_assert(backend_addr_same(&back.shards[1].addr, &m.shards[1].addr));
    ck_assert_uint_eq(back.shards[1].nkeys, 1);
    ck_assert_uint_eq(back.shards[1].keys[0].id, 7);
    ck_assert_str_eq(back.shards[0].addr.address, "127.0.0.1:9901");
    meta_format_encode(&back, &plain); /* and nothing is lost when it is written again */
    ck_assert(slice_eq(buf_slice(&plain), buf_slice(&out)));
    /* as the original sees it: behind the first shard (8 + 16 + 8 + 12 + 10 + 2) */
    r = rd_of(slice_of(buf_data(&out) + 8 + 8 + 16 + 4 + 8 + 64 + 4 + 8, out.len));
    rd_take(&r, 8 + 16 + 8 + 12 + 4 + 4 + 2 + 1 + 1);
    ck_assert_uint_eq(rd_le64(&r), 1); /* its index */
    rd_take(&r, 16);
    ck_assert_uint_eq(rd_le64(&r), 3);
    ck_assert_uint_eq(rd_le32(&r), 0); /* V1 */
    ck_assert_uint_eq(rd_le32(&r), 0x45465351u);
    ck_assert_uint_eq(rd_le32(&r), 1); /* V2 */
    ck_assert_uint_eq(rd_le64(&r), backend_addr_number("dir:/mnt/nas"));
    ck_assert_uint_eq(rd_le32(&r), 1);
    ck_assert_uint_eq(rd_le64(&r), 7);
    ck_assert_uint_eq(rd_le32(&r), 0); /* IPv4 */
    ck_assert_uint_eq(rd_u8(&r), 127);
    rd_take(&r, 3);
    ck_assert_uint_eq(rd_le16(&r), 9901);
    meta_record_fini(&m);
    meta_record_fini(&back);
    buf_fini(&out);
    buf_fini(&plain);
}
END_TEST

static TCase *tcase_meta_format(void)
{
    TCase *t = tcase_create("meta_format");

    tcase_add_test(t, golden_record_is_written);
    tcase_add_test(t, golden_record_is_read);
    tcase_add_test(t, tail_comes_back_and_does_not_touch_the_record);
    tcase_add_test(t, strange_bytes_behind_the_record_are_no_tail);
    tcase_add_test(t, tails_of_the_future_are_refused_and_unknown_entries_skipped);
    tcase_add_test(t, every_cut_is_refused);
    tcase_add_loop_test(t, hostile_numbers_are_refused, 0, ARRAY_LEN(patches));
    tcase_add_test(t, any_flipped_bit_decodes_or_is_refused_but_never_breaks);
    tcase_add_test(t, shuffled_and_short_lists_are_indexed_by_shard_idx);
    tcase_add_test(t, value_keys_have_four_or_eight_bytes);
    tcase_add_test(t, json_is_upstreams_form);
    tcase_add_test(t, bound_is_never_below_the_record);
    tcase_add_test(t, a_shard_elsewhere_names_a_zdb_and_keys_that_it_does_not_have);
    return t;
}

UNIT_MAIN("meta_format", tcase_meta_format)
