/* protocol - RESP arguments <-> struct control_req. */
#include "zstor/daemon/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

static const char *const names[] = {
    [CONTROL_STORE] = "STORE",       [CONTROL_RETRIEVE] = "RETRIEVE", [CONTROL_CHECK] = "CHECK",
    [CONTROL_REBUILD] = "REBUILD",   [CONTROL_STATUS] = "STATUS",     [CONTROL_QUEUE] = "QUEUE",
    [CONTROL_HANDOVER] = "HANDOVER", [CONTROL_WAIT] = "WAIT",         [CONTROL_PING] = "PING",
    [CONTROL_SCRUB] = "SCRUB",       [CONTROL_BACKEND] = "BACKEND",
};

const char *control_proto_name(enum control_op op)
{
    return names[op];
}

static bool is_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp((const char *)s.p, word, s.len) == 0;
}

static int take_text(char **out, struct slice s, const char *what, struct err *e)
{
    if (*out)
        return err_set(e, EINVAL, "%s: given twice", what);
    if (s.len == 0 || s.len > CONTROL_PATH_MAX)
        return err_set(e, EINVAL, "%s: has %zu bytes, 1 to %d are allowed", what, s.len,
                       CONTROL_PATH_MAX);
    if (memchr(s.p, 0, s.len))
        return err_set(e, EINVAL, "%s: contains a NUL byte", what);
    *out = xcalloc(s.len + 1, 1);
    memcpy(*out, s.p, s.len);
    return 0;
}

static int take_path(char **out, struct slice s, const char *what, struct err *e)
{
    int r = take_text(out, s, what, e);

    if (r < 0 || !*out)
        return r;
    return **out == '/'
               ? 0
               : err_set(e, EINVAL, "%s: %s is relative, an absolute path is allowed", what, *out);
}

struct word {
    const char *name;
    enum control_op op;
    size_t flag; /* offset of a bool, or */
    size_t text; /* offset of a string that takes the next argument; never 0, the operation stands
                    there */
    bool path;   /* the string is an absolute path */
};

#define FLAG(op, name, field)                                   \
    {                                                           \
        name, op, offsetof(struct control_req, field), 0, false \
    }
#define TEXT(op, name, field, path)                            \
    {                                                          \
        name, op, 0, offsetof(struct control_req, field), path \
    }

static const struct word words[] = {
    TEXT(CONTROL_STORE, "KEYPATH", key_path, true),
    FLAG(CONTROL_STORE, "DELETE", remove),
    FLAG(CONTROL_STORE, "NOTBLOCKING", notblocking),
    FLAG(CONTROL_STORE, "SAVEFAILURE", save_failure),
    FLAG(CONTROL_STORE, "ERRORONFAILURE", stop_at_error),
    FLAG(CONTROL_RETRIEVE, "FORCE", force),
    FLAG(CONTROL_RETRIEVE, "FD", to_fd),
    TEXT(CONTROL_REBUILD, "FILE", file, true),
    TEXT(CONTROL_REBUILD, "KEY", key, false),
    FLAG(CONTROL_REBUILD, "ALL", all),
    FLAG(CONTROL_STATUS, "JSON", json),
    FLAG(CONTROL_HANDOVER, "STORE", store),
    FLAG(CONTROL_HANDOVER, "CLOSED", closed),
    TEXT(CONTROL_HANDOVER, "BEFORE", before, false),
    FLAG(CONTROL_HANDOVER, "JSON", json),
    FLAG(CONTROL_QUEUE, "LIST", list),
    FLAG(CONTROL_QUEUE, "COUNT", count),
    FLAG(CONTROL_SCRUB, "ALL", all),
    TEXT(CONTROL_SCRUB, "FRACTION", fraction, false),
    TEXT(CONTROL_BACKEND, "DRAIN", drain, false),
    TEXT(CONTROL_BACKEND, "UNDRAIN", undrain, false),
    TEXT(CONTROL_BACKEND, "REPLACE", replace, false),
    TEXT(CONTROL_BACKEND, "WITH", with, false),
};

static bool takes_file(enum control_op op)
{
    return op == CONTROL_STORE || op == CONTROL_RETRIEVE || op == CONTROL_CHECK;
}

static int decode_words(struct control_req *r, unsigned argc, const struct slice *argv, unsigned i,
                        struct err *e)
{
    while (i < argc) {
        const struct word *w = NULL;

        for (size_t k = 0; k < ARRAY_LEN(words) && !w; k++)
            if (words[k].op == r->op && is_word(argv[i], words[k].name))
                w = &words[k];
        if (!w)
            return err_set(e, EINVAL, "%s: unknown word in argument %u", names[r->op], i + 1);
        i++;
        if (!w->text) {
            *(bool *)((char *)r + w->flag) = true;
            continue;
        }
        if (i == argc)
            return err_set(e, EINVAL, "%s %s: needs a value", names[r->op], w->name);
        char **field = (char **)(void *)((char *)r + w->text);
        int rc =
            w->path ? take_path(field, argv[i], w->name, e) : take_text(field, argv[i], w->name, e);
        if (rc < 0)
            return rc;
        i++;
    }
    return 0;
}

static int decode(struct control_req *r, unsigned argc, const struct slice *argv, struct err *e)
{
    unsigned i = 0;
    int rc;

    for (; i < ARRAY_LEN(names) && !is_word(argv[0], names[i]); i++)
        ;
    if (i == ARRAY_LEN(names))
        return err_set(e, EINVAL,
                       "unknown command, STORE RETRIEVE CHECK REBUILD STATUS HANDOVER QUEUE WAIT "
                       "PING SCRUB BACKEND are allowed");
    r->op = (enum control_op)i;
    i = 1;
    if (takes_file(r->op)) {
        if (argc < 2)
            return err_set(e, EINVAL, "%s: needs a file", names[r->op]);
        rc = take_path(&r->file, argv[1], "file", e);
        if (rc < 0)
            return rc;
        i = 2;
    }
    rc = decode_words(r, argc, argv, i, e);
    if (rc < 0)
        return rc;
    if (r->op == CONTROL_REBUILD) {
        unsigned given = (r->file != NULL) + (r->key != NULL) + r->all;

        if (given == 0)
            return err_set(e, EINVAL, "Either `file` or `key` argument must be set");
        if (given > 1)
            return err_set(e, EINVAL, "Only one of `file` or `key` argument must be set");
    }
    return 0;
}

int control_proto_decode(struct control_req *out, unsigned argc, const struct slice *argv,
                         struct err *e)
{
    int rc;

    *out = (struct control_req){0};
    if (argc == 0)
        return err_set(e, EINVAL, "empty request");
    rc = decode(out, argc, argv, e);
    if (rc < 0)
        control_proto_fini(out);
    return rc;
}

unsigned control_proto_argv(const struct control_req *r, struct slice argv[CONTROL_ARGS_MAX])
{
    unsigned argc = 0;

    argv[argc++] = slice_str(names[r->op]);
    if (takes_file(r->op))
        argv[argc++] = slice_str(r->file);
    for (size_t k = 0; k < ARRAY_LEN(words); k++) {
        const struct word *w = &words[k];

        if (w->op != r->op)
            continue;
        if (!w->text) {
            if (*(const bool *)((const char *)r + w->flag))
                argv[argc++] = slice_str(w->name);
        } else {
            const char *text = *(char *const *)(const void *)((const char *)r + w->text);

            if (text) {
                argv[argc++] = slice_str(w->name);
                argv[argc++] = slice_str(text);
            }
        }
    }
    return argc;
}

void control_proto_fini(struct control_req *r)
{
    free(r->file);
    free(r->key_path);
    free(r->key);
    free(r->before);
    free(r->fraction);
    free(r->drain);
    free(r->undrain);
    free(r->replace);
    free(r->with);
    *r = (struct control_req){0};
}
