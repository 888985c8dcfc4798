/* Which closed segments zdb has yet to read. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "common/watermark.h"
#include "tests/unit/common/scratch.h"
#include "zstor/cache/replay.h"

static char data[512], index_dir[512];
static struct zstor_conf conf;

static void setup(const char *under) /* "" or "/vol" */
{
    conf = (struct zstor_conf){0};
    snprintf(data, sizeof data, "%s", scratch("data"));
    snprintf(index_dir, sizeof index_dir, "%s", scratch("index"));
    conf.zdb_data_dir_path = data;
    conf.zdb_index_dir_path = index_dir;
    for (const char *base = data; base; base = base == data ? index_dir : NULL) {
        char dir[600];

        snprintf(dir, sizeof dir, "%s%s", base, under);
        ck_assert_int_eq(path_mkdirs(dir, 0755), 0);
    }
}

static bool needs(const char *under, unsigned n)
{
    char path[1024], base[600];

    ck_assert_ptr_nonnull(realpath(data, base));
    snprintf(path, sizeof path, "%s%s/d%u", base, under, n);
    return replay_needs(&conf, path);
}

/* Slot i says: all before `segment`; bad: it is torn. */
static void slot(const char *under, int i, uint64_t sequence, uint32_t segment, uint32_t flags,
                 bool bad)
{
    struct watermark w = {.flags = flags, .sequence = sequence, .segment = segment};
    uint8_t raw[WATERMARK_SIZE];
    char path[1024];
    int fd;

    snprintf(path, sizeof path, "%s%s/" WATERMARK_FILE, index_dir, under);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ck_assert_int_ge(fd, 0);
    watermark_encode(raw, &w);
    raw[24] ^= bad;
    ck_assert_int_eq(pwrite(fd, raw, sizeof raw, (off_t)i * WATERMARK_APART), sizeof raw);
    close(fd);
}

START_TEST(what_lies_behind_the_watermark_is_needed)
{
    const char *under = _i ? "/vol" : "";

    setup(under);
    ck_assert(!needs(under, 0)); /* no watermark: the original's files */
    slot(under, 1, 7, 2, 0, false);
    ck_assert(!needs(under, 0) && !needs(under, 1));
    ck_assert(needs(under, 2) && needs(under, 3) && needs(under, 100));
    slot(under, 0, 8, 4, WATERMARK_CLEAN, false);
    ck_assert(!needs(under, 3) && needs(under, 4));
    slot(under, 1, 9, 6, 0, true); /* torn: the other counts */
    ck_assert(!needs(under, 3) && needs(under, 4) && needs(under, 5));
    slot(under, 1, 9, 6, WATERMARK_FLUSHING, false);
    ck_assert(needs(under, 0));
}
END_TEST

START_TEST(when_in_doubt_it_is_needed)
{
    setup("/vol");
    slot("/vol", 0, 2, 2, 0, true);
    ck_assert(needs("/vol", 0)); /* nothing in it can be read */
    slot("/vol", 0, 2, 2, 0, false);
    ck_assert(!needs("/vol", 0));
    conf.zdb_index_dir_path = NULL;
    ck_assert(!needs("/vol", 2)); /* it is not known where zdb has its index */
}
END_TEST

static TCase *all(void)
{
    TCase *t = scratch_case("replay");

    tcase_add_loop_test(t, what_lies_behind_the_watermark_is_needed, 0, 2);
    tcase_add_test(t, when_in_doubt_it_is_needed);
    return t;
}

UNIT_MAIN("replay", all)
