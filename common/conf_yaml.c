/* conf_yaml - libyaml's events into the tree of conf.  Of YAML only what a configuration needs:
 * maps, lists, scalars. */
#include "common/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/buf.h"
#include "common/path.h"

enum {
    MAX_DEPTH = 16,
    MAX_BYTES = 4 * 1024 * 1024,
    MAX_CHILDREN = 4096,
};

struct builder {
    yaml_parser_t parser;
    const char *name;
    struct err *e;
};

static int wrong(const struct builder *b, const yaml_mark_t *at, const char *what)
{
    return err_set(b->e, EINVAL, "%s:%zu: %s", b->name, at->line + 1, what);
}

static int syntax_error(const struct builder *b)
{
    const yaml_parser_t *p = &b->parser;

    if (p->error == YAML_MEMORY_ERROR)
        return err_sys(b->e, ENOMEM, "%s", b->name);
    if (p->error == YAML_READER_ERROR)
        return err_set(b->e, EINVAL, "%s: byte %zu: %s", b->name, p->problem_offset, p->problem);
    return err_set(b->e, EINVAL, "%s:%zu: not valid YAML: %s%s%s", b->name,
                   p->problem_mark.line + 1, p->problem ? p->problem : "syntax error",
                   p->context ? " " : "", p->context ? p->context : "");
}

static int next_event(struct builder *b, yaml_event_t *ev)
{
    return yaml_parser_parse(&b->parser, ev) ? 0 : syntax_error(b);
}

static int take_scalar(const struct builder *b, struct conf_node *n, const yaml_event_t *ev)
{
    const char *s = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;

    if (memchr(s, 0, len))
        return wrong(b, &ev->start_mark, "a value contains a NUL byte");
    conf_set_text(n, s,
                  ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                      (len == 0 || strcmp(s, "~") == 0 || strcmp(s, "null") == 0));
    return 0;
}

static int take_node(struct builder *b, struct conf_node *parent, const char *key,
                     const yaml_event_t *ev, int depth, struct conf_node **out);

/* Children of n up to the closing event. */
static int take_children(struct builder *b, struct conf_node *n, int depth)
{
    bool map = conf_kind(n) == CONF_MAP;
    yaml_event_type_t end = map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    CLEANUP(base_free) char *key = NULL;
    struct conf_node *child;

    for (;;) {
        yaml_event_t ev;
        int r = next_event(b, &ev);
        if (r < 0)
            return r;
        if (ev.type == end && !key) {
            yaml_event_delete(&ev);
            return 0;
        }
        if (conf_len(n) >= MAX_CHILDREN) {
            r = wrong(b, &ev.start_mark, "too many entries, 4096 are allowed in one map or list");
        } else if (map && !key) {
            if (ev.type != YAML_SCALAR_EVENT)
                r = wrong(b, &ev.start_mark, "a key must be plain text");
            else if (ev.data.scalar.anchor || ev.data.scalar.tag)
                r = wrong(b, &ev.start_mark, "anchors and tags are not allowed");
            else if (memchr(ev.data.scalar.value, 0, ev.data.scalar.length))
                r = wrong(b, &ev.start_mark, "a key contains a NUL byte");
            else if (conf_get(n, (const char *)ev.data.scalar.value))
                r = err_set(b->e, EINVAL, "%s:%zu: key `%.60s` is there twice", b->name,
                            ev.start_mark.line + 1, (const char *)ev.data.scalar.value);
            else
                key = xstrdup((const char *)ev.data.scalar.value);
        } else {
            r = take_node(b, n, key, &ev, depth + 1, &child);
            free(key);
            key = NULL;
        }
        yaml_event_delete(&ev);
        if (r < 0)
            return r;
    }
}

/* The node that starts with ev.  With a parent it belongs to it, also after a failure. */
static int take_node(struct builder *b, struct conf_node *parent, const char *key,
                     const yaml_event_t *ev, int depth, struct conf_node **out)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    enum conf_kind kind = CONF_SCALAR;

    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        anchor = ev->data.scalar.anchor;
        tag = ev->data.scalar.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        kind = CONF_MAP;
        anchor = ev->data.mapping_start.anchor;
        tag = ev->data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        kind = CONF_SEQ;
        anchor = ev->data.sequence_start.anchor;
        tag = ev->data.sequence_start.tag;
        break;
    case YAML_ALIAS_EVENT:
        return wrong(b, &ev->start_mark, "aliases are not allowed, repeat the text");
    default:
        return wrong(b, &ev->start_mark, "a value is expected here");
    }
    if (anchor || tag)
        return wrong(b, &ev->start_mark, "anchors and tags are not allowed");
    if (depth > MAX_DEPTH)
        return wrong(b, &ev->start_mark, "nested too deep, 16 levels are allowed");
    int line = (int)ev->start_mark.line + 1;
    struct conf_node *n =
        parent ? conf_new_child(parent, key, kind, line) : conf_new_root(b->name, kind, line);
    *out = n;
    return kind == CONF_SCALAR ? take_scalar(b, n, ev) : take_children(b, n, depth);
}

/* One document, or none: then an empty map. */
static int take_stream(struct builder *b, struct conf_node **root)
{
    bool ended = false;
    int r = 0;

    while (r == 0 && !ended) {
        yaml_event_t ev;
        r = next_event(b, &ev);
        if (r < 0)
            break;
        switch (ev.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (*root)
                r = wrong(b, &ev.start_mark, "a second document, only one is allowed");
            break;
        case YAML_STREAM_END_EVENT:
            ended = true;
            break;
        default:
            r = take_node(b, NULL, NULL, &ev, 1, root);
            break;
        }
        yaml_event_delete(&ev);
    }
    if (r == 0 && (!*root || conf_is_null(*root))) {
        conf_free(*root);
        *root = conf_new_root(b->name, CONF_MAP, 1);
    }
    return r;
}

int conf_parse_yaml(struct conf_node **root, const char *name, struct slice text, struct err *e)
{
    struct builder b = {.name = name, .e = e};
    struct conf_node *tree = NULL;

    if (text.len > MAX_BYTES)
        return err_set(e, EFBIG, "%s: larger than %d bytes", name, MAX_BYTES);
    if (!yaml_parser_initialize(&b.parser))
        return err_sys(e, ENOMEM, "%s", name);
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, text.len ? text.p : (const uint8_t *)"", text.len);
    int r = take_stream(&b, &tree);
    yaml_parser_delete(&b.parser);
    if (r < 0) {
        conf_free(tree);
        return r;
    }
    *root = tree;
    return 0;
}

int conf_load_yaml(struct conf_node **root, const char *path, struct err *e)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    int r = path_read(path, MAX_BYTES, &text, e);
    return r < 0 ? r : conf_parse_yaml(root, path, buf_slice(&text), e);
}
