/* scratch - a directory of its own for a test, gone at scratch_end().  One per process (Check
 * forks). */
#ifndef TESTS_UNIT_COMMON_SCRATCH_H
#define TESTS_UNIT_COMMON_SCRATCH_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/path.h"

static char scratch_dir[64];

__attribute__((unused)) static void scratch_begin(void)
{
    snprintf(scratch_dir, sizeof scratch_dir, "/tmp/qsfs-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(scratch_dir));
}

__attribute__((unused)) static void scratch_end(void)
{
    ck_assert_int_eq(path_remove_tree(scratch_dir), 0);
}

/* Path of a file in it; one of 8 buffers in turn. */
__attribute__((unused)) static const char *scratch(const char *name)
{
    static char path[8][128];
    static unsigned next;
    char *p = path[next++ % 8];

    snprintf(p, sizeof path[0], "%s/%s", scratch_dir, name);
    return p;
}

__attribute__((unused)) static TCase *scratch_case(const char *name)
{
    TCase *t = tcase_create(name);
    tcase_add_checked_fixture(t, scratch_begin, scratch_end);
    return t;
}

#endif
