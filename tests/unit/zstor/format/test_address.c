#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "zstor/format/address.h"

START_TEST(good_addresses_get_their_canonical_text)
{
    static const char *const t[][3] = {
        {"1.2.3.4:9900", "1.2.3.4:9900", "1.2.3.4"},
        {"[2001:db8:0::1]:1", "[2001:db8::1]:1", "2001:db8::1"},
        {"[::1]:65535", "[::1]:65535", "::1"},
        {"[::ffff:10.0.0.1]:99", "[::ffff:10.0.0.1]:99", "::ffff:10.0.0.1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct backend_addr a;
        ck_assert_int_eq(backend_addr_parse(&a, t[i][0], "n", NULL, NULL), 0);
        ck_assert_str_eq(a.address, t[i][1]);
        ck_assert_str_eq(a.host, t[i][2]);
        backend_addr_fini(&a);
    }
}
END_TEST

START_TEST(other_texts_are_refused)
{
    static const char *const bad[] = {
        "",
        ":",
        "host:99",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:9x",
        "1.2.3:99",
        "01.2.3.4:99",
        "::1:99",
        "[::1]",
        "[::1:99",
        "[]:99",
        "[1.2.3.4]:99",
        "[::1]x:9",
        "[fe80::1%eth0]:99",
        " 1.2.3.4:99",
        "[1111111111111111111111111111111111111111111111111111111111111111111111]:9"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct backend_addr a;
        struct err e = {0};
        ck_assert_msg(backend_addr_parse(&a, bad[i], "n", "p", &e) == -EINVAL, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(e.text, "allowed"));
        backend_addr_fini(&a);
    }
}
END_TEST

static bool same(const char *a, const char *na, const char *b, const char *nb)
{
    struct backend_addr x, y;
    bool r;

    ck_assert_int_eq(backend_addr_parse(&x, a, na, "one", NULL), 0);
    ck_assert_int_eq(backend_addr_parse(&y, b, nb, NULL, NULL), 0);
    r = backend_addr_same(&x, &y);
    ck_assert(r == backend_addr_same(&y, &x));
    backend_addr_fini(&x);
    backend_addr_fini(&y);
    return r;
}

START_TEST(the_same_place_is_recognised)
{
    ck_assert(same("1.2.3.4:9", "a", "1.2.3.4:9", "a"));
    ck_assert(same("1.2.3.4:9", NULL, "1.2.3.4:9", "default"));
    ck_assert(same("1.2.3.4:9", "a", "[::ffff:1.2.3.4]:9", "a"));
    ck_assert(same("[::1]:9", "a", "[0:0::1]:9", "a"));
    ck_assert(!same("1.2.3.4:9", "a", "1.2.3.4:8", "a"));
    ck_assert(!same("1.2.3.4:9", "a", "1.2.3.4:9", "b"));
    ck_assert(!same("1.2.3.4:9", "a", "1.2.3.5:9", "a"));
    ck_assert(!same("1.2.3.4:9", "a", "[::1]:9", "a"));
}
END_TEST

START_TEST(names_never_contain_the_password)
{
    struct backend_addr a, b;
    char name[128];

    ck_assert_int_eq(backend_addr_parse(&a, "1.2.3.4:9", "space", "hush", NULL), 0);
    backend_addr_copy(&b, &a);
    backend_addr_fini(&a);
    backend_addr_name(&b, name, sizeof name);
    ck_assert_str_eq(name, "1.2.3.4:9 space");
    ck_assert_str_eq(b.password, "hush");
    backend_addr_fini(&b);
}
END_TEST

START_TEST(a_directory_has_one_way_to_be_written)
{
    static const char *const bad[] = {"dir:",        "dir:/",    "dir:a",
                                      "dir:/a/",     "dir://a",  "dir:/a/./b",
                                      "dir:/a/../b", "dir:/a b", "dir:/a\nb"};
    struct backend_addr a, b, c;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_int_eq(backend_addr_parse(&a, bad[i], NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(backend_addr_parse(&a, "dir:/mnt/nas", NULL, NULL, NULL), 0);
    ck_assert_str_eq(backend_addr_path(&a), "/mnt/nas");
    backend_addr_copy(&b, &a);
    backend_addr_elsewhere(&c, backend_addr_number("dir:/mnt/nas"));
    ck_assert(backend_addr_same(&a, &b) && backend_addr_same(&a, &c));
    b.names = true;
    ck_assert(!backend_addr_same(&a, &b));
}
END_TEST

START_TEST(a_redis_has_a_numeric_host_a_port_and_a_database)
{
    static const char *const bad[] = {"redis://1.2.3.4:1",   "redis://1.2.3.4/0",
                                      "redis://host:1/0",    "redis://1.2.3.4:1/",
                                      "redis://1.2.3.4:1/x", "redis://::1:1/0"};
    struct backend_addr a, b, zdb;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_int_eq(backend_addr_parse(&a, bad[i], NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(backend_addr_parse(&a, "redis://[0:0::1]:6379/07", NULL, "hush", NULL), 0);
    ck_assert_str_eq(a.address, "redis://[::1]:6379/7");
    ck_assert_str_eq(a.password, "hush");
    ck_assert_int_eq(backend_addr_parse(&b, "redis://[::1]:6379/8", NULL, NULL, NULL), 0);
    ck_assert_int_eq(backend_addr_parse(&zdb, "[::1]:6379", NULL, NULL, NULL), 0);
    ck_assert(!backend_addr_same(&a, &b) && !backend_addr_same(&a, &zdb));
    backend_addr_fini(&a);
}
END_TEST

static TCase *tcase_backend_addr(void)
{
    TCase *t = tcase_create("backend_addr");

    tcase_add_test(t, good_addresses_get_their_canonical_text);
    tcase_add_test(t, other_texts_are_refused);
    tcase_add_test(t, the_same_place_is_recognised);
    tcase_add_test(t, names_never_contain_the_password);
    tcase_add_test(t, a_redis_has_a_numeric_host_a_port_and_a_database);
    tcase_add_test(t, a_directory_has_one_way_to_be_written);
    return t;
}

UNIT_MAIN("backend_addr", tcase_backend_addr)
