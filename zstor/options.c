/* options - configuration file to struct zstor_conf.  Spec zstor-behaviour 2; the holes named there
 * (duplicate backends, more than four metadata backends, impossible shard counts, unsatisfiable
 * redundancy) are closed here. */
#include "zstor/options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/backend/placement.h"
#include "zstor/state_dir.h"

#define PREFIX_MAX   216 /* "/<prefix>/meta/<32 digits>" has to fit the 255 bytes of a zdb key */
#define NS_MAX       255
#define MAX_BACKENDS 4096

static const char *const top_keys[] = {
    "minimal_shards",
    "expected_shards",
    "redundant_groups",
    "redundant_nodes",
    "root",
    "socket",
    "pid_file",
    "zdb_data_dir_path",
    "zdb_index_dir_path",
    "max_zdb_data_dir_size",
    "min_free_disk_space",
    "evict_proof_age",
    "zdbfs_mountpoint",
    "prometheus_port",
    "encryption",
    "compression",
    "meta",
    "groups",
    "state_dir",
    "metrics_address",
    "lease_seconds",
    "repair_delay",
    "scrub_period",
    "reclaim_grace",
    "metadata_log",
    "scrub_rate",
    NULL,
};

/* A key of a mapping with its own line; the mapping when the key is not there. */
static const struct conf_node *at(const struct conf_node *map, const char *key)
{
    const struct conf_node *n = conf_get(map, key);

    return n ? n : map;
}

static int opt_text(const struct conf_node *map, const char *key, const char *fallback,
                    bool empty_ok, char **out, struct err *e)
{
    const char *text = fallback;
    int r = conf_str(map, key, false, &text, e);

    if (r < 0)
        return r;
    if (r == 1 && !*text && !empty_ok)
        return conf_error(at(map, key), e, "%s: is empty, leave the key out or give a value", key);
    *out = text ? xstrdup(text) : NULL;
    return 0;
}

/* One allowed word. */
static int opt_word(const struct conf_node *map, const char *key, const char *word, struct err *e)
{
    const char *text = NULL;
    int r = conf_str(map, key, true, &text, e);

    if (r < 0)
        return r;
    if (strcmp(text, word) != 0)
        return conf_error(at(map, key), e, "%s: \"%s\" is not known, only \"%s\" is allowed", key,
                          text, word);
    return 0;
}

static int opt_encryption(const struct conf_node *parent, const char *name,
                          uint8_t key[ZSTOR_KEY_LEN], struct err *e)
{
    static const char *const keys[] = {"algorithm", "key", NULL};
    const struct conf_node *map = NULL;
    const char *text = NULL;
    size_t len;
    int r;

    r = conf_map(parent, name, true, &map, e);
    if (r >= 0)
        r = conf_check_keys(map, keys, e);
    if (r >= 0)
        r = opt_word(map, "algorithm", "AES", e);
    if (r >= 0)
        r = conf_str(map, "key", true, &text, e);
    if (r < 0)
        return r;
    len = strlen(text);
    if (len != 2 * ZSTOR_KEY_LEN)
        return conf_error(at(map, "key"), e,
                          "%s.key: has %zu characters, exactly %d hex digits are allowed", name,
                          len, 2 * ZSTOR_KEY_LEN);
    for (size_t i = 0; i < len; i++)
        if (!strchr("0123456789abcdefABCDEF", text[i]))
            return conf_error(
                at(map, "key"), e,
                "%s.key: character %zu is not a hex digit, exactly %d hex digits are allowed", name,
                i + 1, 2 * ZSTOR_KEY_LEN);
    return parse_hex(slice_str(text), key, ZSTOR_KEY_LEN);
}

/* What only some kinds of backend have. */
static int opt_elsewhere(const struct conf_node *n, const char *what, size_t i,
                         struct backend_addr *out, struct err *e)
{
    static const char *const not_zdb[] = {"name", "capacity", NULL};
    static const char *const not_dir[] = {"namespace", "password", NULL};
    static const char *const not_redis[] = {"namespace", "capacity", NULL};
    const char *const *wrong = out->place == BACKEND_AT_ZDB   ? not_zdb
                               : out->place == BACKEND_AT_DIR ? not_dir
                                                              : not_redis;
    const char *what_it_is = out->place == BACKEND_AT_ZDB   ? "0-db"
                             : out->place == BACKEND_AT_DIR ? "directory"
                                                            : "redis";
    const char *name = NULL;
    int r;

    for (; *wrong; wrong++)
        if (conf_get(n, *wrong))
            return conf_error(at(n, *wrong), e, "%s[%zu].%s: is not for a %s", what, i + 1, *wrong,
                              what_it_is);
    r = conf_str(n, "name", false, &name, e);
    if (r >= 0)
        r = conf_u64(n, "capacity", false, 1, UINT64_MAX / MIB, &out->capacity, e);
    if (r < 0)
        return r;
    if (name && !*name)
        return conf_error(at(n, "name"), e, "%s[%zu].name: is empty", what, i + 1);
    if (name)
        out->number = backend_addr_number(name);
    out->capacity *= MIB;
    return 0;
}

/* One backend entry.  `what` names the list in messages. */
static int opt_backend(const struct conf_node *n, const char *what, size_t i,
                       struct backend_addr *out, struct err *e)
{
    static const char *const keys[] = {"address",  "namespace", "password", "name",
                                       "capacity", "weight",    NULL};
    const char *address = NULL, *ns = NULL, *password = NULL;
    uint64_t weight = 1;
    struct err why = {0};
    int r;

    if (conf_kind(n) != CONF_MAP)
        return conf_error(
            n, e, "%s[%zu]: must be a mapping with address, and optionally namespace and password",
            what, i + 1);
    r = conf_check_keys(n, keys, e);
    if (r >= 0)
        r = conf_str(n, "address", true, &address, e);
    if (r >= 0)
        r = conf_str(n, "namespace", false, &ns, e);
    if (r >= 0)
        r = conf_str(n, "password", false, &password, e);
    if (r >= 0)
        r = conf_u64(n, "weight", false, 1, 1000, &weight, e);
    if (r < 0)
        return r;
    if (ns && (!*ns || strlen(ns) > NS_MAX))
        return conf_error(at(n, "namespace"), e,
                          "%s[%zu].namespace: has %zu bytes, 1 to %d are allowed (without the key: "
                          "the default one)",
                          what, i + 1, strlen(ns), NS_MAX);
    if (backend_addr_parse(out, address, ns, password, &why) < 0)
        return conf_error(at(n, "address"), e, "%s[%zu].address: %s", what, i + 1, why.text);
    out->weight = (unsigned)weight;
    return opt_elsewhere(n, what, i, out, e);
}

static int opt_meta(const struct conf_node *top, struct zstor_conf *c, struct err *e)
{
    static const char *const meta_keys[] = {"type", "config", NULL};
    static const char *const config_keys[] = {"prefix", "encryption", "backends", NULL};
    const struct conf_node *meta = NULL, *config = NULL, *list = NULL;
    const char *prefix = NULL;
    int r;

    r = conf_map(top, "meta", true, &meta, e);
    if (r >= 0)
        r = conf_check_keys(meta, meta_keys, e);
    if (r >= 0)
        r = opt_word(meta, "type", "zdb", e);
    if (r >= 0)
        r = conf_map(meta, "config", true, &config, e);
    if (r >= 0)
        r = conf_check_keys(config, config_keys, e);
    if (r >= 0)
        r = conf_str(config, "prefix", true, &prefix, e);
    if (r >= 0 && strlen(prefix) > PREFIX_MAX)
        r = conf_error(at(config, "prefix"), e, "prefix: has %zu bytes, at most %d are allowed",
                       strlen(prefix), PREFIX_MAX);
    if (r >= 0)
        r = opt_encryption(config, "encryption", c->meta_key, e);
    if (r >= 0)
        r = conf_seq(config, "backends", true, &list, e);
    if (r < 0)
        return r;
    c->prefix = xstrdup(prefix);
    if (conf_len(list) != ZSTOR_META_COPIES)
        return conf_error(list, e, "meta.config.backends: has %zu entries, exactly %d are allowed",
                          conf_len(list), ZSTOR_META_COPIES);
    for (size_t i = 0; i < ZSTOR_META_COPIES; i++) {
        r = opt_backend(conf_at(list, i), "meta.config.backends", i, &c->meta[i], e);
        if (r < 0)
            return r;
        c->meta[i].names = c->meta[i].place != BACKEND_AT_ZDB;
    }
    return 0;
}

static int opt_group(const struct conf_node *n, size_t g, struct zstor_group *out, size_t *total,
                     struct err *e)
{
    static const char *const keys[] = {"backends", NULL};
    const struct conf_node *list = NULL;
    char what[64];
    int r = 0;

    snprintf(what, sizeof what, "groups[%zu].backends", g + 1);
    if (conf_kind(n) != CONF_MAP)
        return conf_error(n, e, "groups[%zu]: must be a mapping with the key backends", g + 1);
    r = conf_check_keys(n, keys, e);
    if (r >= 0)
        r = conf_seq(n, "backends", true, &list, e);
    if (r < 0)
        return r;
    if (conf_len(list) > MAX_BACKENDS - *total)
        return conf_error(list, e, "%s: more than %d backends, at most so many are allowed", what,
                          MAX_BACKENDS);
    if (conf_len(list) > 0)
        out->backends = xcalloc(conf_len(list), sizeof *out->backends);
    for (size_t i = 0; i < conf_len(list); i++) {
        out->n = i + 1; /* zstor_conf_free takes a half-built entry */
        r = opt_backend(conf_at(list, i), what, i, &out->backends[i], e);
        if (r < 0)
            return r;
    }
    *total += out->n;
    return 0;
}

static int opt_groups(const struct conf_node *top, struct zstor_conf *c, struct err *e)
{
    const struct conf_node *list = NULL;
    size_t total = 0;
    int r = conf_seq(top, "groups", true, &list, e);

    if (r < 0)
        return r;
    if (conf_len(list) > MAX_BACKENDS)
        return conf_error(list, e, "groups: more than %d entries, at most so many are allowed",
                          MAX_BACKENDS);
    if (conf_len(list) > 0)
        c->groups = xcalloc(conf_len(list), sizeof *c->groups);
    for (size_t g = 0; g < conf_len(list); g++) {
        c->ngroups = g + 1;
        r = opt_group(conf_at(list, g), g, &c->groups[g], &total, e);
        if (r < 0)
            return r;
    }
    if (total < c->expected_shards)
        return conf_error(list, e,
                          "groups: insufficient data backends, require at least %u "
                          "(expected_shards), only found %zu",
                          c->expected_shards, total);
    return 0;
}

struct place { /* one backend and where it stands in the file */
    const struct backend_addr *a;
    const struct conf_node *node;
    const char *list;
};

static int place_cmp(const void *x, const void *y)
{
    const struct place *a = x, *b = y;

    return conf_line(a->node) < conf_line(b->node) ? -1 : conf_line(a->node) > conf_line(b->node);
}

/* No namespace twice: two shards on it are lost together, data and metadata want different modes.
 */
static int check_duplicates(const struct conf_node *top, const struct zstor_conf *c, struct err *e)
{
    const struct conf_node *meta = conf_get(conf_get(conf_get(top, "meta"), "config"), "backends");
    const struct conf_node *groups = conf_get(top, "groups");
    size_t n = 0, cap = ZSTOR_META_COPIES;
    struct place *all;
    int r = 0;

    for (size_t g = 0; g < c->ngroups; g++)
        cap += c->groups[g].n;
    all = xcalloc(cap, sizeof *all);
    for (size_t i = 0; i < ZSTOR_META_COPIES; i++)
        all[n++] = (struct place){&c->meta[i], conf_at(meta, i), "meta.config.backends"};
    for (size_t g = 0; g < c->ngroups; g++) {
        const struct conf_node *list = conf_get(conf_at(groups, g), "backends");

        for (size_t i = 0; i < c->groups[g].n; i++)
            all[n++] = (struct place){&c->groups[g].backends[i], conf_at(list, i), "groups"};
    }
    qsort(all, n, sizeof *all, place_cmp); /* the later line is the wrong one */
    for (size_t i = 1; i < n && r == 0; i++)
        for (size_t k = 0; k < i && r == 0; k++)
            if (backend_addr_same(all[i].a, all[k].a))
                r = conf_error(all[i].node, e,
                               "%s: address %s with namespace \"%s\" is there twice (also in %s, "
                               "line %d), each backend is allowed once",
                               all[i].list, all[i].a->address,
                               all[i].a->ns ? all[i].a->ns : "default", all[k].list,
                               conf_line(all[k].node));
    free(all);
    return r;
}

static int opt_shards(const struct conf_node *top, struct zstor_conf *c, struct err *e)
{
    uint64_t minimal = 0, expected = 0, groups = 0, nodes = 0;
    int r = conf_u64(top, "minimal_shards", true, 1, 255, &minimal, e);

    if (r >= 0)
        r = conf_u64(top, "expected_shards", true, 2, ZSTOR_MAX_SHARDS, &expected, e);
    if (r >= 0)
        r = conf_u64(top, "redundant_groups", true, 0, MAX_BACKENDS, &groups, e);
    if (r >= 0)
        r = conf_u64(top, "redundant_nodes", true, 0, MAX_BACKENDS, &nodes, e);
    if (r < 0)
        return r;
    if (minimal >= expected)
        return conf_error(at(top, "expected_shards"), e,
                          "expected_shards: %u is not more than minimal_shards (%u), "
                          "minimal_shards < expected_shards <= %d is allowed",
                          (unsigned)expected, (unsigned)minimal, ZSTOR_MAX_SHARDS);
    if (!geometry_valid(minimal, expected - minimal))
        return conf_error(at(top, "expected_shards"), e,
                          "expected_shards: %u with minimal_shards %u is not possible, at most 255 "
                          "parity shards are allowed",
                          (unsigned)expected, (unsigned)minimal);
    c->minimal_shards = (unsigned)minimal;
    c->expected_shards = (unsigned)expected;
    c->redundant_groups = (unsigned)groups;
    c->redundant_nodes = (unsigned)nodes;
    return 0;
}

static int opt_paths(const struct conf_node *top, struct zstor_conf *c, struct err *e)
{
    struct sockaddr_un sun;
    uint64_t size = 0, port = 0, lease = OPTIONS_DEFAULT_LEASE;
    uint64_t reserve = ZSTOR_FREE_DISK_DEFAULT, proof_age = 600;
    uint8_t ip[16];
    int r;

    r = opt_text(top, "root", NULL, true, &c->root, e);
    if (r >= 0)
        r = opt_text(top, "socket", NULL, false, &c->socket, e);
    if (r >= 0)
        r = opt_text(top, "pid_file", NULL, false, &c->pid_file, e);
    if (r >= 0)
        r = opt_text(top, "state_dir", NULL, false, &c->state_dir, e);
    if (r >= 0)
        r = opt_text(top, "zdb_data_dir_path", NULL, false, &c->zdb_data_dir_path, e);
    if (r >= 0)
        r = opt_text(top, "zdb_index_dir_path", NULL, false, &c->zdb_index_dir_path, e);
    if (r >= 0)
        r = conf_u64(top, "max_zdb_data_dir_size", false, 1, UINT64_MAX / MIB, &size, e);
    if (r >= 0)
        r = conf_u64(top, "min_free_disk_space", false, 0, UINT64_MAX / MIB / 2, &reserve, e);
    if (r >= 0)
        r = conf_u64(top, "evict_proof_age", false, 0, 30 * 86400, &proof_age, e);
    if (r >= 0)
        r = opt_text(top, "zdbfs_mountpoint", NULL, false, &c->zdbfs_mountpoint, e);
    if (r >= 0)
        r = conf_u64(top, "prometheus_port", false, 1, 65535, &port, e);
    if (r >= 0)
        r = conf_u64(top, "lease_seconds", false, 2, 3600, &lease, e);
    if (r >= 0)
        r = opt_text(top, "metrics_address", OPTIONS_DEFAULT_METRICS, false, &c->metrics_address,
                     e);
    if (r < 0)
        return r;
    if (c->root && *c->root && c->root[0] != '/')
        return conf_error(at(top, "root"), e,
                          "root: \"%s\" is relative, an absolute path is allowed", c->root);
    if (c->socket && strlen(c->socket) >= sizeof sun.sun_path)
        return conf_error(at(top, "socket"), e, "socket: has %zu bytes, at most %zu are allowed",
                          strlen(c->socket), sizeof sun.sun_path - 1);
    if (inet_pton(AF_INET, c->metrics_address, ip) != 1 &&
        inet_pton(AF_INET6, c->metrics_address, ip) != 1)
        return conf_error(
            at(top, "metrics_address"), e,
            "metrics_address: \"%s\" is no address, a numeric IPv4 or IPv6 address is allowed",
            c->metrics_address);
    c->lease_ms = lease * 1000;
    c->max_zdb_data_dir_size = size;
    c->min_free_disk_space = reserve;
    c->evict_proof_age = proof_age;
    c->prometheus_port = (uint16_t)port;
    return 0;
}

/* What is done without being asked. */
static int opt_care(const struct conf_node *top, struct zstor_conf *c, struct err *e)
{
    uint64_t days = OPTIONS_DEFAULT_SCRUB_DAYS, rate = OPTIONS_DEFAULT_SCRUB_RATE;
    int r;

    c->repair_delay_s = OPTIONS_DEFAULT_REPAIR_DELAY;
    r = conf_u64(top, "repair_delay", false, 0, 30 * 86400, &c->repair_delay_s, e);
    c->reclaim_grace_s = OPTIONS_DEFAULT_RECLAIM_GRACE;
    if (r >= 0)
        r = conf_u64(top, "reclaim_grace", false, 0, 30 * 86400, &c->reclaim_grace_s, e);
    if (r >= 0)
        r = conf_bool(top, "metadata_log", false, &c->metadata_log, e);
    if (r >= 0)
        r = conf_u64(top, "scrub_period", false, 0, 3650, &days, e);
    if (r >= 0)
        r = conf_u64(top, "scrub_rate", false, 1, 100000, &rate, e);
    c->scrub_period_s = days * 86400;
    c->scrub_rate = rate * MIB;
    return r;
}

static void say(options_warn_fn *warn, const char *name, const char *text)
{
    char *line;

    if (!warn)
        return;
    line = xasprintf("%s: %s", name, text);
    warn(line);
    free(line);
}

/* What depends on the rest of the configuration. */
static int fill_paths(struct zstor_conf *c, const char *name, const struct conf_node *top,
                      options_warn_fn *warn, struct err *e)
{
    if (!c->state_dir) {
        CLEANUP(base_free) char *left = state_dir_left_behind(), *text = NULL;

        c->state_dir = state_dir_default(c);
        if (!c->state_dir)
            return conf_error(top, e,
                              "state_dir: is not given, and there is no HOME to put it into");
        if (left) {
            text = xasprintf("state_dir: %s has jobs of a version that had one directory for all "
                             "configurations; with `state_dir: %s` they are done",
                             left, left);
            say(warn, name, text);
        }
    }
    if (!c->pid_file)
        c->pid_file = geteuid() == 0 ? xstrdup(OPTIONS_DEFAULT_PID_FILE)
                                     : path_join(c->state_dir, "zstor.pid");
    return 0;
}

static int build(struct zstor_conf *c, const char *name, const struct conf_node *top,
                 options_warn_fn *warn, struct err *e)
{
    struct err why = {0};
    int r;

    if (conf_kind(top) != CONF_MAP)
        return conf_error(top, e, "not a mapping, `key: value` lines are allowed");
    r = conf_check_keys(top, top_keys, e);
    if (r >= 0)
        r = opt_shards(top, c, e);
    if (r >= 0)
        r = opt_paths(top, c, e);
    if (r >= 0)
        r = opt_care(top, c, e);
    if (r >= 0)
        r = opt_encryption(top, "encryption", c->key, e);
    if (r >= 0) {
        static const char *const keys[] = {"algorithm", NULL};
        const struct conf_node *map = NULL;

        r = conf_map(top, "compression", true, &map, e);
        if (r >= 0)
            r = conf_check_keys(map, keys, e);
        if (r >= 0)
            r = opt_word(map, "algorithm", "snappy", e);
    }
    if (r >= 0)
        r = opt_meta(top, c, e);
    if (r >= 0)
        r = opt_groups(top, c, e);
    if (r >= 0)
        r = check_duplicates(top, c, e);
    if (r >= 0)
        r = fill_paths(c, name, top, warn, e);
    if (r < 0)
        return r;
    if (placement_feasible(c, &why) < 0)
        return conf_error(conf_get(top, "groups"), e, "groups: %s", why.text);
    if (c->max_zdb_data_dir_size && !c->zdb_data_dir_path)
        say(warn, name, "max_zdb_data_dir_size has no effect without zdb_data_dir_path");
    if (c->zdb_data_dir_path && !c->max_zdb_data_dir_size)
        say(warn, name,
            "without max_zdb_data_dir_size nothing is ever removed from zdb_data_dir_path");
    return 0;
}

int options_parse(struct zstor_conf **out, const char *name, struct slice text,
                  options_warn_fn *warn, struct err *e)
{
    struct zstor_conf *c = xcalloc(1, sizeof *c);
    struct conf_node *top = NULL;
    int r = conf_parse_yaml(&top, name, text, e);

    if (r >= 0)
        r = build(c, name, top, warn, e);
    conf_free(top);
    if (r < 0) {
        zstor_conf_free(c);
        return r;
    }
    *out = c;
    return 0;
}

/* Who may read and write the file that holds the keys. */
static int check_mode(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(e, errno, "%s", path);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return err_set(e, EINVAL, "%s: not a regular file", path);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(
            e, EPERM,
            "%s: has mode %04o and holds the keys, nobody but its owner may have access: "
            "run chmod 600 %s",
            path, st.st_mode & 07777, path);
    return 0;
}

int options_load(struct zstor_conf **out, const char *path, options_warn_fn *warn, struct err *e)
{
    struct zstor_conf *c = NULL;
    struct conf_node *top = NULL;
    size_t len = strlen(path);
    int r;

    r = check_mode(path, e);
    if (r < 0)
        return r;
    r = conf_load_yaml(&top, path, e);
    /* the hook scripts of the original have the name *.toml built in; what is inside counts */
    if (len > 5 && strcmp(path + len - 5, ".toml") == 0 &&
        (r == -EINVAL || (r >= 0 && conf_kind(top) != CONF_MAP))) {
        conf_free(top);
        return err_set(e, EINVAL,
                       "%s: a TOML file of the original zstor: convert it once with toml2yaml.py "
                       "%s > %.*s.yaml",
                       path, path, (int)(len - 5), path);
    }
    if (r < 0)
        return r;
    c = xcalloc(1, sizeof *c);
    r = build(c, path, top, warn, e);
    conf_free(top);
    if (r < 0) {
        zstor_conf_free(c);
        return r;
    }
    *out = c;
    return 0;
}
