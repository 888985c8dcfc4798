/* Words of a line given to zdb --ctl. */
#include "tests/unit/unit.h"
#include "zdb/tools/ctl.h"

static const struct {
    const char *line;
    int nwords; /* -1: refused */
    const char *words[4];
    size_t lens[4]; /* 0: strlen */
} table[] = {
    {"", 0, {0}, {0}},
    {"   \t ", 0, {0}, {0}},
    {"# comment \"", 0, {0}, {0}},
    {"GET a", 2, {"GET", "a"}, {0}},
    {"  GET   a  ", 2, {"GET", "a"}, {0}},
    {"SET \"a b\" 'c d'", 3, {"SET", "a b", "c d"}, {0}},
    {"SET \"\" ''", 3, {"SET", "", ""}, {0}},
    {"\"\\x41\\x00\\xff\\n\\t\\r\\\"\\\\\\q\"", 1, {"A\0\xff\n\t\r\"\\q"}, {9}},
    {"'\\x41\\n'", 1, {"\\x41\\n"}, {0}},
    {"a\\ b c\\\"d", 2, {"a b", "c\"d"}, {0}},
    {"ab\"cd\"'ef'gh", 1, {"abcdefgh"}, {0}},
    {"\"\\x4\"", 1, {"x4"}, {0}},
    {"a #b", 2, {"a", "#b"}, {0}},
    {"\"open", -1, {0}, {0}},
    {"'open\"", -1, {0}, {0}},
    {"\"open\\\"", -1, {0}, {0}},
    {"end\\", 1, {"end\\"}, {0}},
};

START_TEST(words_of_a_line)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(buf_fini) struct buf ends = BUF_INIT;
    size_t start = 0, end;

    int r = ctl_split(slice_str(table[_i].line), &text, &ends);
    if (table[_i].nwords < 0) {
        ck_assert_int_lt(r, 0);
        return;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(ends.len / sizeof end, table[_i].nwords);
    for (int i = 0; i < table[_i].nwords; i++) {
        size_t len = table[_i].lens[i] ? table[_i].lens[i] : strlen(table[_i].words[i]);
        memcpy(&end, buf_data(&ends) + (size_t)i * sizeof end, sizeof end);
        ck_assert(slice_eq(slice_of(buf_data(&text) + start, end - start),
                           slice_of(table[_i].words[i], len)));
        start = end;
    }
    ck_assert_uint_eq(start, text.len);
}
END_TEST

static TCase *ctl_cases(void)
{
    TCase *t = tcase_create("ctl");
    tcase_add_loop_test(t, words_of_a_line, 0, ARRAY_LEN(table));
    return t;
}

UNIT_MAIN("zdb ctl", ctl_cases)
