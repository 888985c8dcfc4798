/* encode and decode: they are each other's test. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/io.h"
#include "tests/unit/zstor/golden_example.h"
#include "zstor/object/decode.h"
#include "zstor/object/encode.h"
#include "zstor/format/hash_lanes.h"
#include "zstor/object/spool.h"

static int memory_file(const void *p, size_t n)
{
    int fd = memfd_create("unit", 0);

    ck_assert_int_eq(io_pwrite_full(fd, p, n, 0), 0);
    return fd;
}

static int read_spool(void *arg, uint64_t off, uint8_t *p, size_t n)
{
    return spool_read(arg, off, p, n);
}

START_TEST(golden_blob_from_file_and_back)
{
    struct buf file = unhex(EX_FILE), key = unhex(EX_KEY), nonce = unhex(EX_NONCE);
    struct spool *s = spool_new("/tmp");
    struct encode_result enc;
    struct decode_result dec;
    uint8_t blob[64], back[14];
    int fd = memory_file(buf_data(&file), file.len), out = memfd_create("out", 0);

    ck_assert_int_eq(encode_file(fd, 14, buf_data(&key), buf_data(&nonce), s, NULL, &enc), 0);
    ck_assert_uint_eq(enc.size, 14);
    ck_assert_bytes_hex(enc.checksum, 16, EX_CHECKSUM);
    ck_assert_uint_eq(spool_len(s), 60);
    ck_assert_int_eq(spool_read(s, 0, blob, 60), 0);
    ck_assert_bytes_hex(blob, 60, EX_BLOB);
    ck_assert_int_eq(decode_blob(read_spool, s, 60, buf_data(&key), out, NULL, &dec), 0);
    ck_assert_uint_eq(dec.size, 14);
    ck_assert_mem_eq(dec.checksum, enc.checksum, 16);
    ck_assert_int_eq(io_pread_full(out, back, 14, 0), 0);
    ck_assert_mem_eq(back, buf_data(&file), 14);
    close(fd);
    close(out);
    spool_free(s);
    buf_fini(&file);
    buf_fini(&key);
    buf_fini(&nonce);
}
END_TEST

START_TEST(sizes_around_every_border_come_back)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 524287, 524288, 524289, 3000000};
    static const uint8_t key[32] = {1}, nonce[12] = {2};

    for (size_t k = 0; k < ARRAY_LEN(sizes); k++)
        for (int kind = 0; kind < 2; kind++) {
            size_t n = sizes[k];
            uint8_t *p = malloc(n + 1), *q = malloc(n + 1), sum[16];
            struct spool *s = spool_new("/tmp");
            struct encode_result enc;
            struct decode_result dec;
            for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t)(kind ? rand() : (int)(i / 100));
            int fd = memory_file(p, n), out = memfd_create("out", 0);
            ck_assert_int_eq(encode_file(fd, n, key, nonce, s, NULL, &enc), 0);
            digest_of(slice_of(p, n), sum);
            ck_assert_mem_eq(sum, enc.checksum, 16);
            if (n == 0)
                ck_assert_uint_eq(spool_len(s), 28);
            if (n > 1000 && kind == 0)
                ck_assert_uint_lt(spool_len(s), n / 5);
            ck_assert_int_eq(decode_blob(read_spool, s, spool_len(s), key, out, NULL, &dec), 0);
            ck_assert_uint_eq(dec.size, n);
            ck_assert_mem_eq(sum, dec.checksum, 16);
            ck_assert_int_eq(io_pread_full(out, q, n, 0), 0);
            ck_assert_int_eq(memcmp(p, q, n), 0);
            close(fd);
            close(out);
            spool_free(s);
            free(p);
            free(q);
        }
}
END_TEST

START_TEST(blobs_of_others_are_refused)
{
    static const uint8_t key[32] = {1}, nonce[12] = {2}, other[32] = {3};
    struct spool *s = spool_new("/tmp");
    struct encode_result enc;
    struct decode_result dec;
    uint8_t text[5000] = {7};
    int fd = memory_file(text, sizeof text), out = memfd_create("out", 0);

    ck_assert_int_eq(encode_file(fd, 0, key, nonce, s, NULL, &enc), 0);
    ck_assert_int_eq(decode_blob(read_spool, s, spool_len(s), other, out, NULL, &dec), -EBADMSG);
    for (uint64_t n = 0; n < spool_len(s); n += 1 + n / 3)
        ck_assert_int_eq(decode_blob(read_spool, s, n, key, out, NULL, &dec), -EBADMSG);
    ck_assert_int_eq(decode_blob(read_spool, s, spool_len(s) + 1, key, out, NULL, &dec), -ENODATA);
    close(fd);
    close(out);
    spool_free(s);
}
END_TEST

/* A valid message whose content is not a valid stream: the tag alone must not publish it. */
START_TEST(an_authentic_blob_with_a_bad_stream_is_refused)
{
    static const uint8_t key[32] = {1}, nonce[12] = {2};
    static const char *const bad[] = {"00", "ff060000734e6150705901", "ff060000734e61507059020000"};

    for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
        struct buf stream = unhex(bad[k]), blob = BUF_INIT;
        struct spool *s = spool_new("/tmp");
        struct decode_result dec;
        int out = memfd_create("out", 0);
        ck_assert_int_eq(crypt_seal(key, nonce, buf_slice(&stream), &blob), 0);
        ck_assert_int_eq(spool_append(s, buf_data(&blob), blob.len), 0);
        ck_assert_int_eq(decode_blob(read_spool, s, blob.len, key, out, NULL, &dec), -EBADMSG);
        close(out);
        spool_free(s);
        buf_fini(&blob);
        buf_fini(&stream);
    }
}
END_TEST

/* every number of streams, lengths around the block, pieces of all kinds: the same as one stream
 * after the other */
START_TEST(sums_of_many_shards_are_the_sums_of_each)
{
    static const size_t lens[] = {0, 1, 127, 128, 129, 255, 256, 257, 4096, 100001};
    uint8_t *data = malloc(20 * 100001);

    for (size_t i = 0; i < 20 * 100001; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    for (unsigned n = 1; n <= 20; n++)
        for (size_t k = 0; k < ARRAY_LEN(lens); k++) {
            struct shardsum *s = shardsum_new(n);
            size_t step = k % 2 ? 1000 : 77;
            for (size_t off = 0; off < lens[k]; off += step) {
                const uint8_t *p[20];
                for (unsigned i = 0; i < n; i++)
                    p[i] = data + i * 100001 + off;
                shardsum_update(s, p, MIN(step, lens[k] - off));
            }
            for (unsigned i = 0; i < n; i++) {
                uint8_t want[16], got[16];
                digest_of(slice_of(data + i * 100001, lens[k]), want);
                shardsum_final(s, i, got);
                ck_assert_mem_eq(got, want, 16);
            }
            shardsum_free(s);
        }
    free(data);
}
END_TEST

static TCase *tcase_encode(void)
{
    TCase *t = tcase_create("encode");

    tcase_add_test(t, golden_blob_from_file_and_back);
    tcase_add_test(t, sizes_around_every_border_come_back);
    tcase_add_test(t, blobs_of_others_are_refused);
    tcase_add_test(t, an_authentic_blob_with_a_bad_stream_is_refused);
    tcase_add_test(t, sums_of_many_shards_are_the_sums_of_each);
    return t;
}

UNIT_MAIN("encode", tcase_encode)
