/* cli_config - see daemon/cli_config.h. */
#include "zstor/daemon/cli_config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/conf_edit.h"
#include "common/path.h"
#include "zstor/options.h"

#define FILE_MAX ((size_t)4 << 20)

static int config_get(const char *file, const char *place, struct err *e)
{
    const struct conf_node *n;
    struct conf_node *root;
    int r = conf_load_yaml(&root, file, e);

    if (r < 0)
        return r;
    if (!conf_find(root, place, &n))
        r = err_set(e, ENOENT, "%s: %s is not set", file, place);
    else if (conf_kind(n) == CONF_MAP)
        r = conf_error(n, e, "%s: is no single value", place);
    else if (conf_kind(n) == CONF_SEQ)
        printf("%zu\n", conf_len(n));
    else
        puts(conf_text(n));
    conf_free(root);
    return r;
}

/* "-" is one line of standard input: a key or a password stands in no argument. */
static int value_of(const char *word, char *line, size_t size, const char **out, struct err *e)
{
    *out = word;
    if (strcmp(word, "-") != 0)
        return 0;
    if (!fgets(line, (int)size, stdin))
        return err_set(e, EINVAL, "config set: standard input has no line");
    line[strcspn(line, "\n")] = '\0';
    *out = line;
    return 0;
}

static int config_set(const char *file, char **word, int n, struct err *e)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    struct zstor_conf *conf = NULL;
    bool changed = false;
    char line[4096];
    int r = path_read(file, FILE_MAX, &text, e);

    for (int i = 0; i < n && r == 0; i += 2) {
        const char *value;

        r = value_of(word[i + 1], line, sizeof line, &value, e);
        if (r == 0)
            r = conf_edit(&text, file, word[i], value, e);
        changed |= r == 1;
        r = MIN(r, 0);
    }
    if (r == 0)
        r = options_parse(&conf, file, buf_slice(&text), NULL, e);
    zstor_conf_free(conf);
    return r == 0 && changed ? path_replace(file, buf_slice(&text), 0600, e) : r;
}

static int config_check(const char *file, options_warn_fn *warn, struct err *e)
{
    struct zstor_conf *conf = NULL;
    int r = options_load(&conf, file, warn, e);

    zstor_conf_free(conf);
    if (r == 0)
        printf("%s: is right\n", file);
    return r;
}

int cli_config(const char *file, char **word, int n, options_warn_fn *warn, struct err *e)
{
    if (n == 1 && strcmp(word[0], "check") == 0)
        return config_check(file, warn, e);
    if (n == 2 && strcmp(word[0], "get") == 0 && *word[1])
        return config_get(file, word[1], e);
    if (n >= 3 && n % 2 == 1 && strcmp(word[0], "set") == 0)
        return config_set(file, word + 1, n - 1, e);
    return err_set(e, EINVAL, "config: get KEY, set KEY VALUE... or check is expected");
}
