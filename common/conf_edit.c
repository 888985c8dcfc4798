/* conf_edit - see common/conf_edit.h.  libyaml tells where a value stands (in characters), the
 * bytes there are replaced. */
#include "common/conf_edit.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/parse.h"

/* The first key of a place, and what follows it. */
static struct slice first_key(const char **place)
{
    const char *dot = strchr(*place, '.');
    size_t len = dot ? (size_t)(dot - *place) : strlen(*place);
    struct slice key = slice_of(*place, len);

    *place += len + (dot != NULL);
    return key;
}

int conf_find(const struct conf_node *root, const char *place, const struct conf_node **out)
{
    while (root && *place) {
        CLEANUP(base_free) char *key = NULL;
        struct slice s = first_key(&place);
        uint64_t i;

        key = xasprintf("%.*s", (int)s.len, (const char *)s.p);
        if (conf_kind(root) == CONF_MAP)
            root = conf_get(root, key);
        else if (conf_kind(root) == CONF_SEQ && parse_u64(key, 0, UINT32_MAX, &i) == 0)
            root = i < conf_len(root) ? conf_at(root, i) : NULL;
        else
            root = NULL;
    }
    *out = root;
    return root != NULL;
}

struct seek {
    yaml_parser_t parser;
    bool found;
    size_t start, end; /* of the value, or (new_key) both where the key goes; in characters */
    size_t column;     /* of the keys of that map */
    bool flow;         /* it is written {in braces} */
    char *new_key;     /* of the map that ends the known part of the place */
};

static int next_event(struct seek *s, yaml_event_t *ev)
{
    return yaml_parser_parse(&s->parser, ev) ? 0 : -EINVAL;
}

static int seek_value(struct seek *s, const yaml_event_t *ev, const char *place);

static int seek_map(struct seek *s, const char *place, bool flow)
{
    struct slice want = first_key(&place);
    bool first = true, met = false;
    size_t index = 0, column = 0;
    int r;

    for (;;) {
        yaml_event_t key, value;
        bool here;

        if ((r = next_event(s, &key)) < 0)
            return r;
        if (key.type == YAML_MAPPING_END_EVENT || key.type != YAML_SCALAR_EVENT) {
            r = key.type == YAML_MAPPING_END_EVENT ? 0 : -EINVAL;
            yaml_event_delete(&key);
            break;
        }
        if (first) {
            index = key.start_mark.index;
            column = key.start_mark.column;
        }
        first = false;
        here = want.len && slice_eq(want, slice_of(key.data.scalar.value, key.data.scalar.length));
        met = met || here;
        yaml_event_delete(&key);
        if ((r = next_event(s, &value)) < 0)
            return r;
        r = seek_value(s, &value, here ? place : NULL);
        yaml_event_delete(&value);
        if (r < 0)
            return r;
    }
    if (r == 0 && want.len && !met && !first && !*place) {
        s->new_key = xasprintf("%.*s", (int)want.len, (const char *)want.p);
        s->start = s->end = index;
        s->column = column;
        s->flow = flow;
    }
    return r;
}

static int seek_list(struct seek *s, const char *place)
{
    struct slice want = first_key(&place);
    uint64_t at = UINT64_MAX;

    if (want.len && parse_u64_slice(want, 0, UINT32_MAX, &at) < 0)
        return -EINVAL;
    for (uint64_t i = 0;; i++) {
        yaml_event_t ev;
        bool end;
        int r = next_event(s, &ev);

        if (r < 0)
            return r;
        end = ev.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            r = seek_value(s, &ev, want.len && i == at ? place : NULL);
        yaml_event_delete(&ev);
        if (end || r < 0)
            return r;
    }
}

/* place NULL: not on the way, only passed. */
static int seek_value(struct seek *s, const yaml_event_t *ev, const char *place)
{
    switch (ev->type) {
    case YAML_MAPPING_START_EVENT:
        return place && !*place ? -EINVAL
                                : seek_map(s, place ? place : "",
                                           ev->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE);
    case YAML_SEQUENCE_START_EVENT:
        return place && !*place ? -EINVAL : seek_list(s, place ? place : "");
    case YAML_SCALAR_EVENT:
        if (place && *place)
            return -EINVAL;
        if (place) {
            s->found = true;
            s->start = ev->start_mark.index;
            s->end = ev->end_mark.index;
        }
        return 0;
    default:
        return -EINVAL;
    }
}

static int seek_run(struct seek *s, const char *place)
{
    bool done = false;
    int r = 0;

    while (r == 0 && !done) {
        yaml_event_t ev;
        r = next_event(s, &ev);
        if (r < 0)
            break;
        done = ev.type == YAML_STREAM_END_EVENT;
        if (ev.type == YAML_MAPPING_START_EVENT)
            r = seek_value(s, &ev, place);
        yaml_event_delete(&ev);
    }
    return r == 0 && !s->found && !s->new_key ? -EINVAL : r;
}

/* Where the n-th character of UTF-8 text begins. */
static size_t byte_of(struct slice text, size_t n)
{
    size_t i = 0;

    if (!text.p)
        return 0;
    if (text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        i = 3;
    for (; i < text.len; i++)
        if ((text.p[i] & 0xc0) != 0x80 && n-- == 0)
            break;
    return i;
}

/* Numbers and truth values as they are, everything else in quotes. */
static void put_value(struct buf *out, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if ((digits && !value[digits]) || strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
        buf_put_str(out, value);
        return;
    }
    buf_put_u8(out, '"');
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if ((unsigned char)*p < ' ' || *p == 0x7f)
            buf_printf(out, "\\x%02x", (unsigned char)*p);
        else
            buf_put_u8(out, (uint8_t)*p);
    }
    buf_put_u8(out, '"');
}

static void put_change(struct buf *out, const struct seek *s, struct slice text, const char *value)
{
    size_t start = byte_of(text, s->start), end = byte_of(text, s->end);
    bool last = s->new_key && s->column == 0 && !s->flow;

    if (!text.p) /* an empty file has no place */
        return;
    if (last)
        start = end = text.len; /* a new key of the whole file goes to its end */
    buf_put(out, text.p, start);
    if (last && start && text.p[start - 1] != '\n')
        buf_put_u8(out, '\n');
    if (s->new_key)
        buf_printf(out, "%s: ", s->new_key);
    else if (start && (text.p[start - 1] == ':' || text.p[start - 1] == '-'))
        buf_put_u8(out, ' ');
    put_value(out, value);
    if (s->new_key && s->flow)
        buf_put_str(out, ", ");
    else if (s->new_key)
        buf_printf(out, "\n%*s", last ? 0 : (int)s->column, "");
    buf_put(out, text.p + end, text.len - end);
}

int conf_edit(struct buf *text, const char *name, const char *place, const char *value,
              struct err *e)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    struct conf_node *root = NULL;
    const struct conf_node *now;
    struct seek s = {0};
    const char *old;
    int r = conf_parse_yaml(&root, name, buf_slice(text), e);

    if (r < 0)
        return r;
    old = conf_find(root, place, &now) ? conf_text(now) : NULL;
    r = old && !conf_is_null(now) && strcmp(old, value) == 0;
    conf_free(root);
    if (r == 1)
        return 0;
    if (!yaml_parser_initialize(&s.parser))
        return err_sys(e, ENOMEM, "%s", name);
    yaml_parser_set_encoding(&s.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&s.parser, buf_data(text), text->len);
    r = seek_run(&s, place);
    yaml_parser_delete(&s.parser);
    if (r == 0)
        put_change(&out, &s, buf_slice(text), value);
    free(s.new_key);
    if (r < 0)
        return err_set(e, EINVAL, "%s: %s: no single value can stand there", name, place);
    r = conf_parse_yaml(&root, name, buf_slice(&out), e);
    now = NULL;
    old = r == 0 && conf_find(root, place, &now) ? conf_text(now) : NULL;
    if (r == 0 && (!old || strcmp(old, value) != 0))
        r = err_set(e, EINVAL, "%s: %s: cannot be changed as the file is written, edit it by hand",
                    name, place);
    conf_free(root);
    if (r < 0)
        return r;
    buf_clear(text);
    buf_put_slice(text, buf_slice(&out));
    return 1;
}
