#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "zstor/state_dir.h"

static char dir[] = "/tmp/state-dir-unit.XXXXXX";

static struct zstor_conf conf_of(const char *socket, const char *prefix)
{
    return (struct zstor_conf){.socket = (char *)socket, .prefix = (char *)prefix};
}

static char *here(const char *socket, const char *prefix)
{
    struct zstor_conf c = conf_of(socket, prefix);

    return state_dir_default(&c);
}

START_TEST(each_configuration_has_its_own_directory)
{
    char *a, *b, *c, *d, *e;

    setenv("STATE_DIRECTORY", "/s/one:/s/two", 1);
    a = here("/run/a.sock", "p");
    b = here("/run/b.sock", "p");
    c = here("/run/../run//a.sock", "other");
    d = here(NULL, "p");
    e = here(NULL, "q");
    ck_assert_uint_eq(strlen(a), strlen("/s/one/0123456789abcdef"));
    ck_assert_int_eq(strncmp(a, "/s/one/", 7), 0);
    ck_assert_str_ne(a, b);
    ck_assert_str_eq(a, c); /* one socket, one daemon: the owner file tells them apart */
    ck_assert_str_ne(d, e);
    ck_assert_str_ne(d, a);
    free(a);
    free(b);
    free(c);
    free(d);
    free(e);
}
END_TEST

START_TEST(only_root_writes_below_var)
{
    uid_t before = geteuid();
    char *a;

    unsetenv("STATE_DIRECTORY");
    setenv("HOME", "/h", 1);
    unsetenv("XDG_STATE_HOME");
    if (geteuid() == 0) {
        a = here("/run/a.sock", "p");
        ck_assert_int_eq(strncmp(a, "/var/lib/zstor/", 15), 0);
        free(a);
        ck_assert_int_eq(seteuid(65534), 0);
    }
    a = here("/run/a.sock", "p");
    ck_assert_int_eq(strncmp(a, "/h/.local/state/zstor/", 22), 0);
    free(a);
    setenv("XDG_STATE_HOME", "/x", 1);
    a = here("/run/a.sock", "p");
    ck_assert_int_eq(strncmp(a, "/x/zstor/", 9), 0);
    free(a);
    unsetenv("XDG_STATE_HOME");
    unsetenv("HOME");
    ck_assert_ptr_null(here("/run/a.sock", "p"));
    ck_assert_int_eq(seteuid(before), 0);
    ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0); /* else no leak checker may look */
}
END_TEST

START_TEST(a_directory_has_one_owner)
{
    struct zstor_conf a = conf_of("/run/a.sock", "first"), b = conf_of("/run/b.sock", "second");
    struct zstor_conf moved = conf_of("/run/c.sock", "first");
    struct err e = {0};
    char *state, *file;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    state = path_join(dir, "x/y");
    file = path_join(state, "owner");
    ck_assert_int_eq(state_dir_own(state, &a, &e), 0);
    ck_assert_int_eq(state_dir_own(state, &a, &e), 0);
    ck_assert_int_eq(state_dir_own(state, &moved, &e), 0);
    ck_assert_int_eq(state_dir_own(state, &b, &e), -EBUSY);
    ck_assert_ptr_nonnull(strstr(e.text, "first"));
    ck_assert_ptr_nonnull(strstr(e.text, file));
    ck_assert_int_eq(path_replace(file, slice_str("nonsense\n"), 0600, NULL), 0);
    ck_assert_int_eq(state_dir_own(state, &a, &e), -EBADMSG);
    ck_assert_int_lt(state_dir_own("/dev/null/state", &a, &e), 0);
    ck_assert_ptr_nonnull(strstr(e.text, "state_dir"));
    path_remove_tree(dir);
    free(state);
    free(file);
}
END_TEST

static TCase *tcase_state_dir(void)
{
    TCase *tc = tcase_create("state_dir");

    tcase_add_test(tc, each_configuration_has_its_own_directory);
    tcase_add_test(tc, only_root_writes_below_var);
    tcase_add_test(tc, a_directory_has_one_owner);
    return tc;
}

UNIT_MAIN("state_dir", tcase_state_dir)
