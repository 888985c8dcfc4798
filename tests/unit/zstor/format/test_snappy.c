#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "common/crc.h"
#include "tests/unit/zstor/golden_example.h"
#include "zstor/format/snappy.h"

static int collect(void *arg, const uint8_t *p, size_t n)
{
    buf_put(arg, p, n);
    return 0;
}

static void frame_all(const uint8_t *p, size_t n, struct buf *out)
{
    if (n)
        buf_put(out, snappy_frame_id, SNAPPY_ID_LEN);
    for (size_t off = 0; off < n; off += SNAPPY_BLOCK) {
        uint8_t *to = buf_reserve(out, SNAPPY_FRAME_ROOM);
        buf_commit(out, snappy_frame(p + off, MIN(n - off, (size_t)SNAPPY_BLOCK), to));
    }
}

/* decode with pieces of `piece` bytes; result of the decoder, content in out */
static int unframe(struct slice in, size_t piece, struct buf *out)
{
    struct snappy_unframe *s = snappy_unframe_new(collect, out);
    int r = 0;

    for (size_t off = 0; r == 0 && off < in.len; off += piece) {
        /* a copy of exactly these bytes, so that the sanitizer sees a read behind them */
        size_t n = MIN(piece, in.len - off);
        uint8_t *copy = malloc(n);
        memcpy(copy, in.p + off, n);
        r = snappy_unframe_feed(s, copy, n);
        free(copy);
    }
    if (r == 0)
        r = snappy_unframe_end(s);
    snappy_unframe_free(s);
    return r;
}

START_TEST(golden_frame)
{
    struct buf file = unhex(EX_FILE), out = BUF_INIT;

    frame_all(buf_data(&file), file.len, &out);
    ck_assert_bytes_hex(buf_data(&out), out.len, EX_SNAPPY);
    buf_fini(&file);
    buf_fini(&out);
}
END_TEST

START_TEST(round_trip_at_every_border)
{
    static const size_t sizes[] = {0, 1, 2, 65535, 65536, 65537, 131072, 200001};
    static const size_t pieces[] = {1, 3, 4, 5, 4096, 76494, 1000000};

    srand(1);
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++)
        for (int kind = 0; kind < 3; kind++) {
            size_t n = sizes[k];
            uint8_t *p = calloc(n + 1, 1);
            struct buf in = BUF_INIT;
            for (size_t i = 0; i < n; i++)
                p[i] = kind == 0   ? 0
                       : kind == 1 ? (uint8_t)rand()
                                   : (uint8_t)("the quick brown fox "[i % 20]);
            frame_all(p, n, &in);
            if (n == 0)
                ck_assert_uint_eq(in.len, 0);
            if (kind == 0 && n > 100)
                ck_assert_uint_lt(in.len, n / 10);
            for (size_t q = 0; q < ARRAY_LEN(pieces); q++) {
                struct buf out = BUF_INIT;
                if (n > 70000 && pieces[q] < 4096)
                    continue;
                ck_assert_int_eq(unframe(buf_slice(&in), pieces[q], &out), 0);
                ck_assert_uint_eq(out.len, n);
                if (n)
                    ck_assert_mem_eq(buf_data(&out), p, n);
                buf_fini(&out);
            }
            buf_fini(&in);
            free(p);
        }
}
END_TEST

#define ID    "ff060000734e61507059"
#define HELLO "01120000ba46f5be48656c6c6f2c207a73746f72210a"

struct stream {
    const char *what, *hex;
    int want;
    size_t bytes;
};

static const struct stream streams[] = {
    {"empty", "", 0, 0},
    {"identifier only", ID, 0, 0},
    {"identifier twice", ID HELLO ID HELLO, 0, 28},
    {"skippable and padding chunks",
     ID "80030000aabbcc"
        "fd000000" HELLO "fe01000000",
     0, 14},
    {"no identifier", HELLO, -EBADMSG, 0},
    {"padding before the identifier", "fe01000000" ID HELLO, -EBADMSG, 0},
    {"bad identifier", "ff060000734e61507058" HELLO, -EBADMSG, 0},
    {"short identifier", "ff050000734e615070", -EBADMSG, 0},
    {"long identifier", "ff070000734e6150705900", -EBADMSG, 0},
    {"reserved chunk 02", ID "0200000041", -EBADMSG, 0},
    {"reserved chunk 7f", ID "7f01000000", -EBADMSG, 0},
    {"wrong crc", ID "01120000ba46f5bf48656c6c6f2c207a73746f72210a", -EBADMSG, 0},
    {"chunk without room for a crc", ID "0103000000000000", -EBADMSG, 0},
    {"truncated body", ID "01120000ba46f5be48656c6c6f2c207a73746f7221", -EBADMSG, 0},
    {"truncated header", ID "0112", -EBADMSG, 0},
    {"chunk of 76491 bytes", ID "80cb2a01", -EBADMSG, 0},
    {"chunk of 16 MiB", ID "00ffffff", -EBADMSG, 0},
    {"stored body of 65537 bytes", ID "01050001", -EBADMSG, 0},
    {"compressed block declares 65537 bytes",
     ID "0008000000000000"
        "81800400",
     -EBADMSG, 0},
    {"compressed block declares 4 GiB",
     ID "000a000000000000"
        "ffffffff0f00",
     -EBADMSG, 0},
    {"block with a copy before its start",
     ID "0009000000000000"
        "0500610506",
     -EBADMSG, 0},
    {"block that ends early",
     ID "0007000000000000"
        "050061",
     -EBADMSG, 0},
    {"empty block", ID "0004000000000000", -EBADMSG, 0},
};

START_TEST(unusual_and_hostile_streams)
{
    const struct stream *s = &streams[_i];
    struct buf in = unhex(s->hex);

    for (size_t piece = 1; piece < 40; piece += 6) {
        struct buf out = BUF_INIT;
        ck_assert_msg(unframe(buf_slice(&in), piece, &out) == s->want, "%s", s->what);
        if (s->want == 0)
            ck_assert_uint_eq(out.len, s->bytes);
        buf_fini(&out);
    }
    buf_fini(&in);
}
END_TEST

START_TEST(every_cut_and_every_flipped_byte_is_noticed_or_harmless)
{
    struct buf in = unhex(ID HELLO), want = unhex(EX_FILE);

    for (size_t cut = 0; cut < in.len; cut++) {
        struct buf out = BUF_INIT;
        int r = unframe(slice_of(buf_data(&in), cut), 7, &out);
        ck_assert_int_eq(r, cut == 0 || cut == SNAPPY_ID_LEN ? 0 : -EBADMSG);
        ck_assert_uint_eq(out.len, 0);
        buf_fini(&out);
    }
    for (size_t i = 0; i < in.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct buf out = BUF_INIT;
            buf_data(&in)[i] ^= (uint8_t)(1 << bit);
            /* a flip may turn the chunk into a skippable one; content that comes out must be right
             */
            if (unframe(buf_slice(&in), 9, &out) == 0 && out.len)
                ck_assert(slice_eq(buf_slice(&out), buf_slice(&want)));
            buf_data(&in)[i] ^= (uint8_t)(1 << bit);
            buf_fini(&out);
        }
    buf_fini(&in);
    buf_fini(&want);
}
END_TEST

START_TEST(random_bytes_never_crash_the_decoder)
{
    srand(99);
    for (int round = 0; round < 2000; round++) {
        struct buf in = unhex(ID), out = BUF_INIT;
        size_t n = (size_t)rand() % 300;
        for (size_t i = 0; i < n; i++)
            buf_put_u8(&in, (uint8_t)(rand() % 4 ? rand() : 0));
        int r = unframe(buf_slice(&in), 1 + (size_t)rand() % 64, &out);
        ck_assert(r == 0 || r == -EBADMSG);
        buf_fini(&in);
        buf_fini(&out);
    }
}
END_TEST

static int refuse(void *arg, const uint8_t *p, size_t n)
{
    (void)arg, (void)p, (void)n;
    return -ENOSPC;
}

START_TEST(failure_of_the_receiver_is_passed_on_and_sticky)
{
    struct buf in = unhex(ID HELLO);
    struct snappy_unframe *s = snappy_unframe_new(refuse, NULL);

    ck_assert_int_eq(snappy_unframe_feed(s, buf_data(&in), in.len), -ENOSPC);
    ck_assert_int_eq(snappy_unframe_feed(s, buf_data(&in), in.len), -ENOSPC);
    ck_assert_int_eq(snappy_unframe_end(s), -ENOSPC);
    snappy_unframe_free(s);
    buf_fini(&in);
}
END_TEST

static TCase *tcase_snappy(void)
{
    TCase *t = tcase_create("snappy");

    tcase_add_test(t, golden_frame);
    tcase_add_test(t, round_trip_at_every_border);
    tcase_add_loop_test(t, unusual_and_hostile_streams, 0, ARRAY_LEN(streams));
    tcase_add_test(t, every_cut_and_every_flipped_byte_is_noticed_or_harmless);
    tcase_add_test(t, random_bytes_never_crash_the_decoder);
    tcase_add_test(t, failure_of_the_receiver_is_passed_on_and_sticky);
    return t;
}

UNIT_MAIN("snappy", tcase_snappy)
