/* state_dir - see state_dir.h. */
#include "zstor/state_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/digest.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/format/object_name.h"

#define ROOTS_BASE "/var/lib/zstor"
#define DIGITS     16
#define OWNER_HEAD "zstor-owner 1\nprefix "
#define OWNER_MAX  4096

static char *base(void)
{
    const char *given = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");

    if (given && given[0] == '/')
        return xasprintf("%.*s", (int)strcspn(given, ":"), given);
    if (geteuid() == 0)
        return xstrdup(ROOTS_BASE);
    if (xdg && xdg[0] == '/')
        return path_join(xdg, "zstor");
    return home && home[0] == '/' ? path_join(home, ".local/state/zstor") : NULL;
}

static char *absolute(const char *path)
{
    CLEANUP(base_free) char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
    CLEANUP(base_free) char *full = cwd ? path_join(cwd, path) : xstrdup(path);

    return keypath_clean(full);
}

/* What tells this configuration from others. */
static char *identity(const struct zstor_conf *c)
{
    struct buf text = BUF_INIT;

    if (c->socket)
        return absolute(c->socket);
    buf_put_str(&text, c->prefix);
    for (size_t i = 0; i < ZSTOR_META_COPIES; i++)
        buf_printf(&text, " %s %s", c->meta[i].address, c->meta[i].ns ? c->meta[i].ns : "");
    return buf_take_str(&text);
}

char *state_dir_default(const struct zstor_conf *c)
{
    CLEANUP(base_free) char *top = base(), *id = identity(c);
    uint8_t digest[DIGEST_LEN];
    char hex[2 * DIGEST_LEN + 1];

    if (!top)
        return NULL;
    digest_of(slice_str(id), digest);
    parse_to_hex(digest, sizeof digest, hex);
    return xasprintf("%s/%.*s", top, DIGITS, hex);
}

char *state_dir_left_behind(void)
{
    CLEANUP(base_free) char *top = base(), *queue = top ? path_join(top, "queue") : NULL;
    char **names = NULL;
    size_t n = 0;
    bool jobs = false;

    if (!queue || path_list(queue, &names, &n) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        jobs |= strlen(names[i]) > 4 && strcmp(names[i] + strlen(names[i]) - 4, ".job") == 0;
    path_list_free(names, n);
    return jobs ? xstrdup(top) : NULL;
}

/* The line behind the head, of prefix; its length. */
static size_t prefix_of(struct slice text, const char **out)
{
    const size_t head = strlen(OWNER_HEAD);
    const uint8_t *end;

    if (!text.p || text.len < head || memcmp(text.p, OWNER_HEAD, head) != 0)
        return SIZE_MAX;
    end = memchr(text.p + head, '\n', text.len - head);
    *out = (const char *)text.p + head;
    return end ? (size_t)(end - text.p) - head : SIZE_MAX;
}

int state_dir_own(const char *dir, const struct zstor_conf *c, struct err *e)
{
    CLEANUP(base_free) char *file = path_join(dir, "owner");
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    const char *prefix = NULL;
    struct err why = {0};
    size_t len;
    int r = path_mkdirs(dir, 0700);

    if (r < 0)
        return err_sys(e, -r, "state_dir: create %s", dir);
    r = path_read(file, OWNER_MAX, &text, &why);
    if (r == -ENOENT) {
        buf_printf(&text, OWNER_HEAD "%s\nsocket %s\n", c->prefix, c->socket ? c->socket : "");
        r = path_replace(file, buf_slice(&text), 0600, &why);
        return r < 0 ? err_set(e, -r, "state_dir: %s", why.text) : 0;
    }
    if (r < 0)
        return err_set(e, -r, "state_dir: %s", why.text);
    len = prefix_of(buf_slice(&text), &prefix);
    if (len == strlen(c->prefix) && memcmp(prefix, c->prefix, len) == 0)
        return 0;
    if (len == SIZE_MAX)
        return err_set(e, EBADMSG, "state_dir: %s: does not say whose the directory is", file);
    return err_set(e, EBUSY,
                   "state_dir: %s belongs to the configuration with meta.config.prefix %.*s (%s), "
                   "give each its own",
                   dir, (int)len, prefix, file);
}
