/* Metadata: a record is decoded and encoded again to the same meaning; values and NSINFO texts of
 * any bytes are judged without harm.  First byte: what the rest is. */
#include "tests/fuzz/fuzz.h"

#include "zstor/backend/nsinfo.h"
#include "zstor/format/record.h"
#include "zstor/format/record_value.h"

static void record(struct slice in)
{
    struct meta_record m, back;
    struct buf out = BUF_INIT, again = BUF_INIT;

    if (meta_format_decode(in, &m, NULL) < 0) {
        FUZZ_CHECK(!m.shards && !m.path && !m.host);
        return;
    }
    FUZZ_CHECK(geometry_valid(m.geo.data, m.geo.parity));
    meta_format_encode(&m, &out);
    FUZZ_CHECK(meta_format_decode(buf_slice(&out), &back, NULL) == 0);
    meta_format_encode(&back, &again);
    FUZZ_CHECK(slice_eq(buf_slice(&out), buf_slice(&again)));
    FUZZ_CHECK(back.has_tail == m.has_tail && back.generation == m.generation);
    buf_clear(&out);
    meta_format_json(&m, 2, &out);
    meta_record_fini(&m);
    meta_record_fini(&back);
    buf_fini(&out);
    buf_fini(&again);
}

static void values(struct slice in)
{
    static const uint8_t key[ZSTOR_KEY_LEN];
    struct buf out = BUF_INIT;
    struct slice half[2] = {slice_of(in.p, in.len / 2),
                            slice_of(in.p + in.len / 2, in.len - in.len / 2)},
                 shard[2];
    unsigned index[2];

    if (meta_value_parse(half[0], &index[0], &shard[0]) == 0 &&
        meta_value_parse(half[1], &index[1], &shard[1]) == 0)
        (void)meta_value_decode(key, index, shard, &out);
    index[0] = in.len % 4; /* and without the digest in the way */
    index[1] = in.len / 4 % 4;
    if (half[0].len && half[0].len == half[1].len)
        (void)meta_value_decode(key, index, half, &out);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct backend_info info;
    struct slice in;

    if (size == 0)
        return 0;
    in = slice_of(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        record(in);
        break;
    case 1:
        values(in);
        break;
    default:
        if (backend_info_parse(in, &info, NULL) == 0) {
            FUZZ_CHECK(info.name[0] && strlen(info.name) < sizeof info.name);
            (void)backend_info_writable(&info, BACKEND_SEQUENTIAL, 1, NULL);
        }
    }
    return 0;
}
