/* What the evictor and the reconciliation stand on: the scan of the data directory and the memory
 * of contents.  The evictor as a whole is tests/e2e/zstor_evict.py. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/io.h"
#include "tests/unit/common/scratch.h"
#include "zstor/cache/scan.h"
#include "zstor/cache/hashes.h"

static void put(const char *path, size_t n, char c)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char *p = xcalloc(1, n + 1);

    memset(p, c, n);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(io_write_full(fd, p, n), 0);
    close(fd);
    free(p);
}

static const struct datadir_file *find(const struct datadir *d, const char *end)
{
    for (size_t i = 0; i < d->n; i++) {
        size_t len = strlen(d->files[i].path);

        if (len >= strlen(end) && strcmp(d->files[i].path + len - strlen(end), end) == 0)
            return &d->files[i];
    }
    return NULL;
}

START_TEST(the_highest_segment_of_each_namespace_is_not_sealed)
{
    struct datadir d;
    struct err e = {0};

    path_mkdirs(scratch("data/one"), 0755);
    path_mkdirs(scratch("data/two"), 0755);
    path_mkdirs(scratch("data/" DATADIR_TEMP), 0755);
    path_mkdirs(scratch("data/.hidden"), 0755);
    put(scratch("data/one/d9"), 10, 'a');
    put(scratch("data/one/d10"), 10, 'a');
    put(scratch("data/two/d0"), 10, 'a');
    put(scratch("data/two/.d1.x1"), 10, 'a'); /* being restored */
    put(scratch("data/two/d01"), 10, 'a');
    put(scratch("data/two/zdb-namespace"), 10, 'a');
    put(scratch("data/" DATADIR_TEMP "/d0"), 10, 'a');
    put(scratch("data/" DATADIR_TEMP "/d1"), 10, 'a');
    ck_assert_int_eq(symlink("d9", scratch("data/one/d8")), 0);
    ck_assert_msg(datadir_scan(scratch("data"), &d, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(d.n, 3);
    ck_assert(find(&d, "one/d9")->sealed);
    ck_assert(!find(&d, "one/d10")->sealed);
    ck_assert(!find(&d, "two/d0")->sealed);
    ck_assert_uint_eq(find(&d, "two/d0")->id.size, 10);
    ck_assert_uint_ge(d.disk_bytes, find(&d, "two/d0")->disk_bytes * 3);
    datadir_fini(&d);

    ck_assert_int_eq(datadir_scan(scratch("data/one"), &d, &e), 0); /* one namespace by itself */
    ck_assert_uint_eq(d.n, 2);
    ck_assert(find(&d, "one/d9")->sealed);
    datadir_fini(&d);
    ck_assert_int_eq(datadir_scan(scratch("none"), &d, &e), -ENOENT);
    datadir_fini(&d);
}
END_TEST

static struct local_id id_of(const char *path)
{
    struct local_id id;
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    local_id_of(&id, &st);
    return id;
}

START_TEST(a_content_is_known_while_the_file_is_as_it_was)
{
    struct hashes *h = hashes_new(100);
    uint8_t want[16], got[16] = {0};
    atomic_bool stop = false;
    struct local_id id;

    put(scratch("f"), 100000, 'x');
    id = id_of(scratch("f"));
    ck_assert_int_eq(hashes_of(h, scratch("f"), &id, &stop, got), 0);
    char *p = xcalloc(1, 100000);
    memset(p, 'x', 100000);
    digest_of(slice_of(p, 100000), want);
    free(p);
    ck_assert_mem_eq(got, want, 16);
    ck_assert(hashes_get(h, scratch("f"), &id, got));
    ck_assert(!hashes_marked(h, scratch("f"), &id, HASHES_CONFIRMED));
    hashes_mark(h, scratch("f"), &id, HASHES_CONFIRMED);
    ck_assert(hashes_marked(h, scratch("f"), &id, HASHES_CONFIRMED));

    put(scratch("f"), 100001, 'x');
    ck_assert_int_eq(hashes_of(h, scratch("none"), &id, &stop, got), -ESTALE);
    struct local_id now = id_of(scratch("f"));
    ck_assert(!hashes_get(h, scratch("f"), &now, got));
    ck_assert(!hashes_marked(h, scratch("f"), &now, HASHES_CONFIRMED));
    stop = true;
    ck_assert_int_eq(hashes_of(h, scratch("f"), &now, &stop, got), -ECANCELED);
    hashes_free(h);
}
END_TEST

START_TEST(a_changed_file_has_no_content_for_the_old_state)
{
    struct hashes *h = hashes_new(100);
    atomic_bool stop = false;
    struct local_id id;
    uint8_t got[16];

    put(scratch("f"), 10, 'x');
    id = id_of(scratch("f"));
    put(scratch("f"), 11, 'x');
    ck_assert_int_eq(hashes_of(h, scratch("f"), &id, &stop, got), -ESTALE);
    hashes_free(h);
}
END_TEST

START_TEST(a_set_back_time_does_not_hide_a_change)
{
    struct hashes *h = hashes_new(100);
    atomic_bool stop = false;
    struct local_id id, touched;
    uint8_t first[16], second[16];
    struct timespec times[2];
    struct stat st;

    put(scratch("f"), 10, 'x');
    id = id_of(scratch("f"));
    ck_assert_int_eq(hashes_of(h, scratch("f"), &id, &stop, first), 0);
    hashes_mark(h, scratch("f"), &id, HASHES_CONFIRMED);
    ck_assert_int_eq(stat(scratch("f"), &st), 0);
    times[0] = (struct timespec){.tv_sec = 1000}; /* only the access time: as zdb does */
    times[1] = st.st_mtim;
    for (uint64_t until = base_now_ms() + 5000; base_now_ms() < until;) {
        ck_assert_int_eq(utimensat(AT_FDCWD, scratch("f"), times, 0), 0);
        touched = id_of(scratch("f"));
        if (!local_id_eq(&id, &touched))
            break;
    }
    ck_assert(!hashes_get(h, scratch("f"), &touched, second));
    ck_assert(hashes_marked(h, scratch("f"), &touched, HASHES_CONFIRMED)); /* a hint, which costs no
                                                                              reading */
    ck_assert_int_eq(hashes_of(h, scratch("f"), &touched, &stop, second), 0);
    ck_assert_mem_eq(first, second, 16);
    ck_assert(hashes_marked(h, scratch("f"), &touched, HASHES_CONFIRMED));

    put(scratch("f"), 10, 'y');
    ck_assert_int_eq(utimensat(AT_FDCWD, scratch("f"), times, 0), 0);
    touched = id_of(scratch("f"));
    ck_assert_int_eq(hashes_of(h, scratch("f"), &touched, &stop, second), 0);
    ck_assert_mem_ne(first, second, 16);
    ck_assert(!hashes_marked(h, scratch("f"), &touched, HASHES_CONFIRMED));
    hashes_free(h);
}
END_TEST

START_TEST(the_memory_is_bounded)
{
    struct hashes *h = hashes_new(3);
    struct local_id id = {.ino = 1};
    uint8_t digest[16] = {0};
    char name[16];

    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "f%d", i);
        hashes_put(h, name, &id, digest);
    }
    ck_assert(!hashes_get(h, "f6", &id, digest));
    ck_assert(hashes_get(h, "f7", &id, digest));
    ck_assert(hashes_get(h, "f9", &id, digest));
    hashes_free(h);
}
END_TEST

static TCase *all(void)
{
    TCase *t = scratch_case("evict");

    tcase_add_test(t, the_highest_segment_of_each_namespace_is_not_sealed);
    tcase_add_test(t, a_content_is_known_while_the_file_is_as_it_was);
    tcase_add_test(t, a_changed_file_has_no_content_for_the_old_state);
    tcase_add_test(t, a_set_back_time_does_not_hide_a_change);
    tcase_add_test(t, the_memory_is_bounded);
    return t;
}

UNIT_MAIN("evict", all)
