/* conf - see conf.h: the tree and its getters. */
#include "common/conf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/parse.h"

struct conf_node {
    enum conf_kind kind;
    int line;
    bool null;  /* scalar without a value */
    char *text; /* scalar */
    char *key;  /* child of a map */
    char *file; /* root only */
    struct conf_node *parent;
    struct conf_node **child; /* map and list, in the order of the file */
    size_t n, cap;
};

enum { SHOWN_MAX = 60 }; /* bytes of a value in an error text */

static const char *const kind_name[] = {"a single value", "a map", "a list"};

void conf_free(struct conf_node *root)
{
    if (!root)
        return;
    for (size_t i = 0; i < root->n; i++)
        conf_free(root->child[i]);
    free(root->child);
    free(root->text);
    free(root->key);
    free(root->file);
    free(root);
}

enum conf_kind conf_kind(const struct conf_node *n)
{
    return n->kind;
}

int conf_line(const struct conf_node *n)
{
    return n->line;
}

const char *conf_text(const struct conf_node *scalar)
{
    return scalar->kind == CONF_SCALAR ? scalar->text : NULL;
}

int conf_error(const struct conf_node *n, struct err *e, const char *fmt, ...)
{
    const struct conf_node *root = n;
    char text[sizeof e->text];
    va_list ap;

    while (root->parent)
        root = root->parent;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(e, EINVAL, "%s:%d: %s", root->file, n->line, text);
}

int conf_check_keys(const struct conf_node *map, const char *const *allowed, struct err *e)
{
    if (map->kind != CONF_MAP)
        return conf_error(map, e, "%s%s%s is expected here, not %s", map->key ? map->key : "",
                          map->key ? ": " : "", kind_name[CONF_MAP], kind_name[map->kind]);
    for (size_t i = 0; i < map->n; i++) {
        size_t k = 0;
        while (allowed[k] && strcmp(map->child[i]->key, allowed[k]) != 0)
            k++;
        if (allowed[k])
            continue;
        struct buf list = BUF_INIT;
        for (k = 0; allowed[k]; k++)
            buf_printf(&list, "%s%s", k ? ", " : "", allowed[k]);
        CLEANUP(base_free) char *text = buf_take_str(&list);
        return conf_error(map->child[i], e, "unknown key `%.*s`, allowed are: %s", SHOWN_MAX,
                          map->child[i]->key, text);
    }
    return 0;
}

const struct conf_node *conf_get(const struct conf_node *map, const char *key)
{
    if (map->kind != CONF_MAP)
        return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->child[i]->key, key) == 0)
            return map->child[i];
    return NULL;
}

size_t conf_len(const struct conf_node *seq)
{
    return seq->n;
}

const struct conf_node *conf_at(const struct conf_node *seq, size_t i)
{
    return i < seq->n ? seq->child[i] : NULL;
}

/* 1: *out is of the kind and has a value */
static int find(const struct conf_node *map, const char *key, bool required, enum conf_kind kind,
                const struct conf_node **out, struct err *e)
{
    const struct conf_node *n = conf_get(map, key);

    if (n && n->kind == kind && !n->null) {
        *out = n;
        return 1;
    }
    if (map->kind != CONF_MAP)
        conf_error(map, e, "%s with the key `%s` is expected here, not %s", kind_name[CONF_MAP],
                   key, kind_name[map->kind]);
    else if (!n && !required)
        return 0;
    else if (!n)
        conf_error(map, e, "missing key `%s`", key);
    else if (n->null)
        conf_error(n, e, "%s: has no value, %s is expected", key, kind_name[kind]);
    else
        conf_error(n, e, "%s: is %s, %s is expected", key, kind_name[n->kind], kind_name[kind]);
    return -EINVAL;
}

int conf_str(const struct conf_node *map, const char *key, bool required, const char **out,
             struct err *e)
{
    const struct conf_node *n;

    int r = find(map, key, required, CONF_SCALAR, &n, e);
    if (r == 1)
        *out = n->text;
    return r;
}

int conf_u64(const struct conf_node *map, const char *key, bool required, uint64_t min,
             uint64_t max, uint64_t *out, struct err *e)
{
    const struct conf_node *n;

    int r = find(map, key, required, CONF_SCALAR, &n, e);
    if (r <= 0)
        return r;
    r = parse_u64(n->text, min, max, out);
    if (r == 0)
        return 1;
    return conf_error(n, e, "%s: %.*s is %s, allowed is %" PRIu64 " to %" PRIu64, key, SHOWN_MAX,
                      n->text, r == -ERANGE ? "out of range" : "not a whole number", min, max);
}

int conf_bool(const struct conf_node *map, const char *key, bool required, bool *out, struct err *e)
{
    static const char *const yes[] = {"true", "True", "TRUE"}, *const no[] = {"false", "False",
                                                                              "FALSE"};
    const struct conf_node *n;

    int r = find(map, key, required, CONF_SCALAR, &n, e);
    if (r <= 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(n->text, yes[i]) == 0 || strcmp(n->text, no[i]) == 0) {
            *out = strcmp(n->text, yes[i]) == 0;
            return 1;
        }
    }
    return conf_error(n, e, "%s: %.*s is no truth value, allowed is true or false", key, SHOWN_MAX,
                      n->text);
}

int conf_map(const struct conf_node *map, const char *key, bool required,
             const struct conf_node **out, struct err *e)
{
    return find(map, key, required, CONF_MAP, out, e);
}

int conf_seq(const struct conf_node *map, const char *key, bool required,
             const struct conf_node **out, struct err *e)
{
    return find(map, key, required, CONF_SEQ, out, e);
}

static struct conf_node *node_new(enum conf_kind kind, int line)
{
    struct conf_node *n = xcalloc(1, sizeof *n);

    n->kind = kind;
    n->line = line;
    if (kind == CONF_SCALAR)
        n->text = xstrdup("");
    return n;
}

struct conf_node *conf_new_root(const char *file, enum conf_kind kind, int line)
{
    struct conf_node *n = node_new(kind, line);

    n->file = xstrdup(file);
    return n;
}

struct conf_node *conf_new_child(struct conf_node *parent, const char *key, enum conf_kind kind,
                                 int line)
{
    struct conf_node *n = node_new(kind, line);

    if (parent->n == parent->cap) {
        parent->cap = parent->cap ? 2 * parent->cap : 8;
        parent->child = realloc(parent->child, parent->cap * sizeof(*parent->child));
        if (!parent->child)
            base_panic("out of memory");
    }
    n->parent = parent;
    n->key = key ? xstrdup(key) : NULL;
    parent->child[parent->n++] = n;
    return n;
}

void conf_set_text(struct conf_node *scalar, const char *text, bool null)
{
    free(scalar->text);
    scalar->text = xstrdup(text);
    scalar->null = null;
}

bool conf_is_null(const struct conf_node *n)
{
    return n->null;
}
