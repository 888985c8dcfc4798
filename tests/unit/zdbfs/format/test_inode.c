#include "tests/unit/unit.h"
#include "zdbfs/format/inode.h"

#include <errno.h>
#include <sys/stat.h>

#include "common/parse.h"

/* Hexdumps of the spec: records written by the original. */
static size_t bytes(const char *hex, uint8_t *out)
{
    size_t n = 0;

    while (*hex) {
        if (*hex == ' ') {
            hex++;
            continue;
        }
        ck_assert_int_eq(parse_hex(slice_of(hex, 2), out + n++, 1), 0);
        hex += 2;
    }
    return n;
}

static const char hello[] = "a4810000 0100000000000000 00000000 0000 0000 0c00000000000000 01000000"
                            "00f15365 01f15365 94b1026b 01000000 00000000 03000000";
static const char link_hex[] =
    "ffa10000 0100000000000000 00000000 0000 0000 0a00000000000000 01000000"
    "94b1026b 94b1026b 94b1026b 68656c6c6f2e747874 00 42";

START_TEST(reads_the_file_record_of_the_original)
{
    uint8_t v[128];
    struct inode_rec r;

    size_t n = bytes(hello, v);
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), 0);
    ck_assert_uint_eq(r.a.mode, 0100644);
    ck_assert_uint_eq(r.a.size, 12);
    ck_assert_uint_eq(r.a.nlink, 1);
    ck_assert_int_eq(r.a.mtime.tv_sec, 1700000001);
    ck_assert_int_eq(r.a.mtime.tv_nsec, 0);
    ck_assert_uint_eq(r.slots.len, 4);
    ck_assert_uint_eq(le32_get(r.slots.p), 3);
    ck_assert(!r.a.subdirs_known);
}
END_TEST

START_TEST(reads_the_symlink_record_of_the_original)
{
    uint8_t v[128];
    struct inode_rec r;

    size_t n = bytes(link_hex, v);
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), 0);
    ck_assert(slice_eq_str(r.target, "hello.txt"));
    ck_assert_uint_eq(r.a.size, 9);
}
END_TEST

static struct inode_rec sample(uint32_t mode)
{
    return (struct inode_rec){.a = {.mode = mode,
                                    .uid = 100000,
                                    .gid = 4000000000u,
                                    .size = 12,
                                    .nlink = 3,
                                    .rdev_major = 259,
                                    .rdev_minor = 70000,
                                    .atime = {-5, 999999999},
                                    .mtime = {1700000001, 123456789},
                                    .ctime = {4102444800, 1},
                                    .btime = {20000000000, 0},
                                    .subdirs = 7,
                                    .subdirs_known = true}};
}

static void same_attr(const struct inode_attr *a, const struct inode_attr *b)
{
    ck_assert_uint_eq(a->mode, b->mode);
    ck_assert_uint_eq(a->uid, b->uid);
    ck_assert_uint_eq(a->gid, b->gid);
    ck_assert_uint_eq(a->size, b->size);
    ck_assert_int_eq(a->atime.tv_sec, b->atime.tv_sec);
    ck_assert_int_eq(a->atime.tv_nsec, b->atime.tv_nsec);
    ck_assert_int_eq(a->mtime.tv_nsec, b->mtime.tv_nsec);
    ck_assert_int_eq(a->ctime.tv_sec, b->ctime.tv_sec);
    ck_assert_int_eq(a->btime.tv_sec, b->btime.tv_sec);
}

START_TEST(classic_part_is_what_the_original_writes)
{
    struct inode_rec r = sample(0100644);
    struct buf b = BUF_INIT;
    uint8_t want[128], slots[4] = {3, 0, 0, 0};

    size_t n = bytes(hello, want);
    r.a = (struct inode_attr){.mode = 0100644,
                              .size = 12,
                              .nlink = 1,
                              .atime = {1700000000, 0},
                              .mtime = {1700000001, 5},
                              .ctime = {0x6b02b194, 9}};
    r.slots = slice_of(slots, 4);
    inode_format_encode(&b, &r);
    ck_assert_uint_gt(b.len, n);
    ck_assert_mem_eq(buf_data(&b), want, n);
    buf_clear(&b);

    n = bytes(link_hex, want);
    r = (struct inode_rec){.a = {.mode = 0120777,
                                 .size = 9,
                                 .nlink = 1,
                                 .atime = {0x6b02b194, 0},
                                 .mtime = {0x6b02b194, 0},
                                 .ctime = {0x6b02b194, 0}},
                           .target = slice_str("hello.txt")};
    inode_format_encode(&b, &r);
    ck_assert_mem_eq(buf_data(&b), want, n);
    buf_fini(&b);
}
END_TEST

START_TEST(every_type_comes_back_with_its_tail)
{
    static const uint32_t modes[] = {S_IFREG | 0644, S_IFIFO | 0600, S_IFSOCK | 0777,
                                     S_IFCHR | 0666, S_IFBLK | 0660, S_IFLNK | 0777,
                                     S_IFDIR | 01777};
    uint8_t slots[12] = {1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, lists[INODE_LISTS * 8];

    memset(lists, 0x42, sizeof lists);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct inode_rec r = sample(modes[i]), out;
        struct buf b = BUF_INIT;
        if (S_ISREG(modes[i]))
            r.slots = slice_of(slots, 12);
        if (S_ISDIR(modes[i]))
            r.lists = slice_of(lists, sizeof lists);
        if (S_ISLNK(modes[i]))
            r.target = slice_str("0123456789ab");
        inode_format_encode(&b, &r);
        if (S_ISDIR(modes[i]))
            ck_assert_mem_eq(buf_data(&b) + 28, "\0\0\0\0", 4); /* upstream stores 0 links */
        ck_assert_int_eq(inode_format_decode(buf_slice(&b), &out), 0);
        same_attr(&out.a, &r.a);
        ck_assert(slice_eq(out.slots, r.slots) && slice_eq(out.target, r.target) &&
                  slice_eq(out.lists, r.lists));
        if (S_ISCHR(modes[i]) || S_ISBLK(modes[i]))
            ck_assert(out.a.rdev_major == 259 && out.a.rdev_minor == 70000);
        if (S_ISDIR(modes[i]))
            ck_assert(out.a.subdirs_known && out.a.subdirs == 7);
        buf_fini(&b);
    }
}
END_TEST

START_TEST(classic_fields_win_when_they_were_rewritten)
{
    struct inode_rec r = sample(0100644), out;
    struct buf b = BUF_INIT;

    inode_format_encode(&b, &r);
    uint8_t *v = buf_data(&b);
    le16_put(v + 16, 77);         /* uid */
    le32_put(v + 36, 1800000000); /* mtime */
    ck_assert_int_eq(inode_format_decode(buf_slice(&b), &out), 0);
    ck_assert_uint_eq(out.a.uid, 77);
    ck_assert_uint_eq(out.a.gid, 4000000000u);
    ck_assert_int_eq(out.a.mtime.tv_sec, 1800000000);
    ck_assert_int_eq(out.a.mtime.tv_nsec, 0);
    ck_assert_int_eq(out.a.ctime.tv_nsec, 1);
    buf_fini(&b);
}
END_TEST

START_TEST(trailing_bytes_that_are_no_tail_are_ignored)
{
    uint8_t v[256];
    struct inode_rec r;

    size_t n = bytes(hello, v);
    memset(v + n, 0xaa, 64);
    ck_assert_int_eq(inode_format_decode(slice_of(v, n + 64), &r), 0);
    ck_assert_uint_eq(r.a.uid, 0);
}
END_TEST

START_TEST(a_damaged_tail_is_refused)
{
    struct inode_rec r = sample(0100644), out;
    struct buf b = BUF_INIT;

    inode_format_encode(&b, &r);
    for (size_t i = 52 + 4; i < b.len; i++) { /* behind the magic */
        buf_data(&b)[i] ^= 0x10;
        ck_assert_int_eq(inode_format_decode(buf_slice(&b), &out), -EUCLEAN);
        buf_data(&b)[i] ^= 0x10;
    }
    ck_assert_int_eq(inode_format_decode(slice_of(buf_data(&b), b.len - 1), &out), -EUCLEAN);
    buf_fini(&b);
}
END_TEST

START_TEST(unknown_fields_of_the_tail_are_kept)
{
    static const uint8_t extra[] = {9, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c', 10, 0, 0, 0, 0, 0, 0, 0};
    struct inode_rec r = sample(0100644), out;
    struct buf b = BUF_INIT, again = BUF_INIT;

    r.extra = slice_of(extra, sizeof extra);
    inode_format_encode(&b, &r);
    ck_assert_int_eq(inode_format_decode(buf_slice(&b), &out), 0);
    ck_assert(slice_eq(out.extra, r.extra));
    inode_format_encode(&again, &out);
    ck_assert(slice_eq(buf_slice(&again), buf_slice(&b)));
    buf_fini(&b);
    buf_fini(&again);
}
END_TEST

START_TEST(unknown_fields_that_must_be_understood_are_refused)
{
    static const uint8_t extra[] = {9, 0x80, 0, 0, 0, 0, 0, 0};
    struct inode_rec r = sample(0100644), out;
    struct buf b = BUF_INIT;

    r.extra = slice_of(extra, sizeof extra);
    inode_format_encode(&b, &r);
    ck_assert_int_eq(inode_format_decode(buf_slice(&b), &out), -EUCLEAN);
    buf_fini(&b);
}
END_TEST

START_TEST(hostile_records_are_refused)
{
    uint8_t v[1200];
    struct inode_rec r;

    size_t n = bytes(hello, v);
    for (size_t cut = 0; cut < n; cut++)
        ck_assert_int_eq(inode_format_decode(slice_of(v, cut), &r), -EUCLEAN);
    memset(v + 44, 0xff, 8); /* number of blocks */
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), -EUCLEAN);
    le32_put(v + 44, 0x40000000);
    le32_put(v + 48, 0);
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), -EUCLEAN);
    le32_put(v + 44, 1);
    memset(v + 20, 0xff, 8); /* size */
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), -EUCLEAN);
    le32_put(v, 0); /* no type */
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), -EUCLEAN);

    n = bytes(link_hex, v);
    for (size_t cut = 0; cut < n - 1; cut++) /* the filler may be missing */
        ck_assert_int_eq(inode_format_decode(slice_of(v, cut), &r), -EUCLEAN);
    memset(v + 20, 0xff, 8);
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), -EUCLEAN);
    memset(v + 20, 0, 8);
    ck_assert_int_eq(inode_format_decode(slice_of(v, n), &r), -EUCLEAN);

    memset(v, 0, sizeof v);
    le32_put(v, 040755);
    ck_assert_int_eq(inode_format_decode(slice_of(v, 1067), &r), -EUCLEAN);
    ck_assert_int_eq(inode_format_decode(slice_of(v, 1068), &r), 0);
}
END_TEST

START_TEST(random_bytes_never_crash)
{
    struct inode_rec base = sample(0100644), out;
    struct buf b = BUF_INIT;

    srand(1);
    inode_format_encode(&b, &base);
    for (int i = 0; i < 200000; i++) {
        uint8_t *v = malloc(b.len);
        memcpy(v, buf_data(&b), b.len);
        for (int k = rand() % 4; k >= 0; k--)
            v[(size_t)rand() % b.len] = (uint8_t)rand();
        inode_format_decode(slice_of(v, (size_t)rand() % (b.len + 1)), &out);
        free(v);
    }
    buf_fini(&b);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("inode_format");
    tcase_add_test(t, reads_the_file_record_of_the_original);
    tcase_add_test(t, reads_the_symlink_record_of_the_original);
    tcase_add_test(t, classic_part_is_what_the_original_writes);
    tcase_add_test(t, every_type_comes_back_with_its_tail);
    tcase_add_test(t, classic_fields_win_when_they_were_rewritten);
    tcase_add_test(t, trailing_bytes_that_are_no_tail_are_ignored);
    tcase_add_test(t, a_damaged_tail_is_refused);
    tcase_add_test(t, unknown_fields_of_the_tail_are_kept);
    tcase_add_test(t, unknown_fields_that_must_be_understood_are_refused);
    tcase_add_test(t, hostile_records_are_refused);
    tcase_add_test(t, random_bytes_never_crash);
    return t;
}

UNIT_MAIN("inode_format", all)
