/* The configuration reader: any bytes give a tree that can be walked, or one line of text that
 * names the file. */
#include "tests/fuzz/fuzz.h"

#include "common/conf.h"

static void walk(const struct conf_node *n, int depth)
{
    static const char *const allowed[] = {"data_shards", "groups", NULL};
    const struct conf_node *node;
    struct err e;
    const char *s;
    uint64_t v;
    bool b;

    FUZZ_CHECK(depth <= 16 && conf_line(n) >= 1);
    FUZZ_CHECK((conf_kind(n) == CONF_SCALAR) == (conf_text(n) != NULL));
    conf_check_keys(n, allowed, &e);
    if (conf_u64(n, "data_shards", false, 1, 255, &v, &e) == 1)
        FUZZ_CHECK(v >= 1 && v <= 255);
    if (conf_str(n, "data_shards", true, &s, &e) == 1)
        FUZZ_CHECK(s);
    conf_bool(n, "b", false, &b, &e);
    conf_map(n, "groups", false, &node, &e);
    conf_seq(n, "groups", true, &node, &e);
    for (size_t i = 0; i < conf_len(n); i++)
        walk(conf_at(n, i), depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf_node *root = NULL;
    struct err e = {0};

    if (size > 65536)
        return 0;
    if (conf_parse_yaml(&root, "fuzz.yaml", slice_of(data, size), &e) < 0) {
        FUZZ_CHECK(!root && e.code > 0 && strncmp(e.text, "fuzz.yaml", 9) == 0 &&
                   !strchr(e.text, '\n'));
        return 0;
    }
    walk(root, 1);
    conf_free(root);
    return 0;
}
