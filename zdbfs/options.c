/* options - see options.h. */
#include "zdbfs/options.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/parse.h"

enum { DEFAULT_THREADS = 64, ONE_BLOCK = 131072 };

/* As they are written; numbers are looked at afterwards. */
struct raw {
    char *host, *port, *unix_path;
    char *rhost[ROLE_COUNT], *rport[ROLE_COUNT], *runix[ROLE_COUNT], *rname[ROLE_COUNT],
        *rpass[ROLE_COUNT];
    char *size, *cachesize, *memory, *flush, *idle, *point, *timeout, *logfile, *sync;
    int nocache, noacl, autons, background, check, points, json, ask_point, ro, rw, takeover,
        foreground;
    int fsname, subtype; /* given */
    char *word[2];       /* [SOURCE] MOUNTPOINT */
    unsigned nwords;
};

#define TEXT(t, f)                    \
    {                                 \
        t, offsetof(struct raw, f), 0 \
    }
#define FLAG(t, f)                    \
    {                                 \
        t, offsetof(struct raw, f), 1 \
    }

static const struct fuse_opt opts[] = {
    TEXT("host=%s", host),
    TEXT("port=%s", port),
    TEXT("unix=%s", unix_path),
    TEXT("mh=%s", rhost[0]),
    TEXT("dh=%s", rhost[1]),
    TEXT("th=%s", rhost[2]),
    TEXT("mp=%s", rport[0]),
    TEXT("dp=%s", rport[1]),
    TEXT("tp=%s", rport[2]),
    TEXT("mu=%s", runix[0]),
    TEXT("du=%s", runix[1]),
    TEXT("tu=%s", runix[2]),
    TEXT("mn=%s", rname[0]),
    TEXT("dn=%s", rname[1]),
    TEXT("tn=%s", rname[2]),
    TEXT("ms=%s", rpass[0]),
    TEXT("ds=%s", rpass[1]),
    TEXT("ts=%s", rpass[2]),
    TEXT("size=%s", size),
    TEXT("cachesize=%s", cachesize),
    TEXT("memory=%s", memory),
    TEXT("flush=%s", flush),
    TEXT("idle=%s", idle),
    TEXT("point=%s", point),
    TEXT("timeout=%s", timeout),
    TEXT("logfile=%s", logfile),
    TEXT("sync=%s", sync),
    FLAG("nocache", nocache),
    FLAG("noacl", noacl),
    FLAG("autons", autons),
    FLAG("background", background),
    FLAG("--check", check),
    FLAG("--points", points),
    FLAG("--json", json),
    FLAG("--point", ask_point),
    FLAG("takeover", takeover),
    FLAG("--takeover", takeover),
    FLAG("ro", ro),
    FLAG("rw", rw),
    FLAG("-f", foreground),
    FUSE_OPT_KEY("-f", FUSE_OPT_KEY_KEEP),
    FLAG("fsname=", fsname),
    FUSE_OPT_KEY("fsname=", FUSE_OPT_KEY_KEEP),
    FLAG("subtype=", subtype),
    FUSE_OPT_KEY("subtype=", FUSE_OPT_KEY_KEEP),
    /* of mount(8) and fstab, not meant for us */
    FUSE_OPT_KEY("defaults", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("auto", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("noauto", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("user", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("users", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("nofail", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("_netdev", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("ro", FUSE_OPT_KEY_KEEP),
    FUSE_OPT_KEY("rw", FUSE_OPT_KEY_KEEP),
    FUSE_OPT_END,
};

static void free_raw(struct raw *r)
{
    free(r->host);
    free(r->port);
    free(r->unix_path);
    for (int i = 0; i < ROLE_COUNT; i++) {
        free(r->rhost[i]);
        free(r->rport[i]);
        free(r->runix[i]);
        free(r->rname[i]);
        free(r->rpass[i]);
    }
    free(r->size);
    free(r->cachesize);
    free(r->memory);
    free(r->flush);
    free(r->idle);
    free(r->point);
    free(r->timeout);
    free(r->logfile);
    free(r->sync);
    for (unsigned i = 0; i < r->nwords; i++)
        free(r->word[i]);
}

static char *keep(struct options *o, char *text) /* takes text */
{
    if (text)
        o->text[o->ntext++] = text;
    return text;
}

static const char *pick(struct options *o, const char *own, const char *general,
                        const char *otherwise)
{
    const char *v = own ? own : general ? general : otherwise;
    return v ? keep(o, xstrdup(v)) : NULL;
}

static int port_ok(const char *port, struct err *e)
{
    uint64_t n;

    if (port && parse_u64(port, 0, 65535, &n) < 0)
        return err_set(e, EINVAL, "-o port: \"%s\" is not a port, expected 1 to 65535", port);
    return 0;
}

static bool set(const char *port) /* 0 means not given, as in the original */
{
    return port && strcmp(port, "0") != 0;
}

static int addresses(struct options *o, const struct raw *r, struct err *e)
{
    static const char *const names[ROLE_COUNT] = {"zdbfs-meta", "zdbfs-data", "zdbfs-temp"};

    int n = port_ok(r->port, e);
    for (int i = 0; i < ROLE_COUNT && n == 0; i++) {
        struct conn_addr *a = &o->kv.addr[i];
        n = port_ok(r->rport[i], e);
        a->host = pick(o, r->rhost[i], r->host, "localhost");
        a->port =
            pick(o, set(r->rport[i]) ? r->rport[i] : NULL, set(r->port) ? r->port : NULL, "9900");
        a->unix_path = pick(o, r->runix[i], r->unix_path, NULL);
        a->ns = pick(o, r->rname[i], NULL, names[i]);
        a->password = pick(o, r->rpass[i], NULL, i == ROLE_TEMP ? "hello" : NULL);
        if (n == 0 && (strlen(a->ns) == 0 || strlen(a->ns) > 128))
            n = err_set(e, EINVAL, "-o %cn: \"%s\" is no namespace, expected 1 to 128 bytes",
                        "mdt"[i], a -> ns);
    }
    return n;
}

static int seconds(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t def,
                   uint64_t *ms, struct err *e)
{
    uint64_t n = def;

    if (text && parse_u64(text, min, max, &n) < 0)
        return err_set(e, EINVAL, "-o %s: \"%s\" is no number of seconds, expected %llu to %llu",
                       name, text, (unsigned long long)min, (unsigned long long)max);
    *ms = n * 1000;
    return 0;
}

static int size_option(const char *name, const char *text, uint64_t min, uint64_t def,
                       uint64_t *out, struct err *e)
{
    *out = def;
    if (text && parse_size(text, min, (uint64_t)1 << 60, out) < 0)
        return err_set(e, EINVAL,
                       "-o %s: \"%s\" is no size, expected bytes or like 64M, at least %llu", name,
                       text, (unsigned long long)min);
    return 0;
}

static int numbers(struct options *o, struct raw *r, struct err *e)
{
    uint64_t blocks = 32;

    int n = size_option("size", r->size, 1024, 10 * GIB, &o->size_bytes, e);
    if (n == 0)
        n = size_option("memory", r->memory, 16 * MIB, 96 * MIB, &o->memory_bytes, e);
    if (n == 0)
        n = seconds("flush", r->flush, 1, 3600, 5, &o->flush_ms, e);
    o->idle_ms = 50;
    if (n == 0 && r->idle && parse_u64(r->idle, 0, 3600000, &o->idle_ms) < 0)
        n = err_set(e, EINVAL,
                    "-o idle: \"%s\" is no number of milliseconds, expected 0 to 3600000", r->idle);
    if (n == 0)
        n = seconds("point", r->point, 0, 30 * 86400, 300, &o->point_ms, e);
    if (n == 0)
        n = seconds("timeout", r->timeout, 1, 3600, 120, &o->kv.timeout_ms, e);
    if (n == 0 && r->cachesize && parse_u64(r->cachesize, 0, 1 << 20, &blocks) < 0)
        n = err_set(e, EINVAL, "-o cachesize: \"%s\" is no number of blocks, expected 0 to 1048576",
                    r->cachesize);
    /* the original caches so many blocks for each open file; here a request for more means more
     * memory for all of them */
    if (n == 0 && !r->memory && blocks * ONE_BLOCK > o->memory_bytes / 2)
        o->memory_bytes = MIN(2 * blocks * ONE_BLOCK, 4 * GIB);
    if (n == 0 && r->sync && strcmp(r->sync, "close") != 0)
        n = err_set(e, EINVAL, "-o sync: \"%s\" is unknown, expected close", r->sync);
    if (n < 0)
        return n;
    o->size_given = r->size != NULL;
    o->sync_close = r->sync != NULL;
    o->nocache = r->nocache;
    o->noacl = r->noacl;
    o->autons = r->autons;
    o->background = r->background;
    o->check = r->check;
    o->points = o->kv.only_meta = r->points;
    o->point = r->ask_point;
    o->json = r->json;
    o->takeover = r->takeover;
    o->read_only = r->ro && !r->rw;
    o->logfile = r->logfile;
    r->logfile = NULL;
    return 0;
}

/* Is a zdbfs mounted exactly there?  Asked of the table: the mount may not answer. */
static bool is_mounted(const char *path)
{
    char line[8192], where[PATH_MAX], type[64], source[256];
    CLEANUP(base_free) char *real = realpath(path, NULL);
    FILE *f = real ? fopen("/proc/self/mountinfo", "re") : NULL;
    bool found = false;

    while (f && fgets(line, sizeof line, f)) {
        const char *rest = strstr(line, " - ");
        if (rest && sscanf(line, "%*s %*s %*s %*s %4095s", where) == 1 &&
            sscanf(rest, " - %63s %255s", type, source) == 2 && strcmp(where, real) == 0)
            found = strcmp(type, "fuse.zdbfs") == 0 ||
                    (strcmp(type, "fuse") == 0 && strcmp(source, "zdbfs") == 0);
    }
    if (f)
        fclose(f);
    return found; /* of the last line, which is on top */
}

/* Before libfuse sees it: what is wrong is said in one line of ours. */
static int check_mountpoint(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        if (errno == ENOTCONN)
            return err_set(
                e, ENOTCONN,
                "mount point %s: a dead mount is there; remove it with: fusermount3 -u %s", path,
                path);
        return err_sys(e, errno, "mount point %s", path);
    }
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ENOTDIR, "mount point %s: not a directory", path);
    if (is_mounted(path))
        return err_set(e, EBUSY,
                       "mount point %s: a zdbfs is mounted there; unmount it first: fusermount3 -u "
                       "%s",
                       path, path);
    return 0;
}

static int from_cmdline(struct options *o, struct fuse_args *args, enum options_action *action,
                        struct err *e)
{
    struct fuse_cmdline_opts c;

    if (fuse_parse_cmdline(args, &c) != 0)
        return err_set(e, EINVAL, "%s", ""); /* libfuse has said what is wrong */
    o->mountpoint = c.mountpoint;
    o->foreground = c.foreground || c.debug;
    o->debug = c.debug;
    o->clone_fd = c.clone_fd;
    o->max_threads = c.singlethread ? 1 : DEFAULT_THREADS;
    *action = c.show_help ? OPTIONS_HELP : c.show_version ? OPTIONS_SHOW_VERSION : OPTIONS_RUN;
    if (*action != OPTIONS_RUN)
        return 0;
    if (o->json && !o->points && !o->check)
        return err_set(e, EINVAL, "--json goes with --points or --check");
    if (o->check || o->points)
        return o->mountpoint ? err_set(e, EINVAL, "%s takes no mount point",
                                       o->check ? "--check" : "--points")
                             : 0;
    if (o->point)
        return o->mountpoint ? 0 : err_set(e, EINVAL, "--point: the mount point is missing");
    if (!o->mountpoint)
        return err_set(e, EINVAL,
                       "mount point is missing; usage: zdbfs [-o option,...] MOUNTPOINT");
    return check_mountpoint(o->mountpoint, e);
}

/* Words that are no options: those of `zdbfs MOUNTPOINT` and, as mount(8) calls it,
 * `zdbfs SOURCE MOUNTPOINT`. */
static int take_word(void *data, const char *arg, int key, struct fuse_args *out)
{
    struct raw *r = data;

    (void)out;
    if (key != FUSE_OPT_KEY_NONOPT) /* x-systemd.automount and the like are for others */
        return strncasecmp(arg, "x-", 2) != 0;
    if (r->nwords < 2)
        r->word[r->nwords] = xstrdup(arg);
    r->nwords++;
    return 0;
}

/* A path of a socket, or host:port; what the options say wins. */
static int use_source(struct raw *r, struct err *e)
{
    const char *source = r->word[0], *colon = strrchr(source, ':');

    if (source[0] == '/') {
        if (!r->unix_path && !r->host)
            r->unix_path = xstrdup(source);
        return 0;
    }
    if (!colon || colon == source || !colon[1])
        return err_set(e, EINVAL, "\"%s\" is no source, expected the path of a socket or host:port",
                       source);
    if (!r->host && !r->unix_path) {
        r->host = xasprintf("%.*s", (int)(colon - source), source);
        if (!r->port)
            r->port = xstrdup(colon + 1);
    }
    return 0;
}

static int use_words(struct raw *r, struct fuse_args *args, struct err *e)
{
    unsigned given = r->nwords;
    char *name;

    r->nwords = MIN(given, 2u);
    if (given > 2)
        return err_set(e, EINVAL,
                       "too many arguments; usage: zdbfs [-o option,...] [SOURCE] "
                       "MOUNTPOINT");
    bool reads = r->check || r->points; /* there is nothing to mount */
    int n = given == 2 || (given == 1 && reads) ? use_source(r, e) : 0;
    if (n < 0)
        return n;
    if (given && !(given == 1 && reads) && fuse_opt_add_arg(args, r->word[given - 1]) != 0)
        return err_set(e, ENOMEM, "out of memory");
    if (given == 2 && !r->foreground)
        r->background = 1; /* mount(8) waits for the end of what it has started */
    if (!r->fsname) {
        name = xasprintf("-ofsname=%s", given == 2 ? r->word[0] : "zdbfs");
        n = fuse_opt_add_arg(args, name);
        free(name);
    }
    if (n == 0 && !r->subtype)
        n = fuse_opt_add_arg(args, "-osubtype=zdbfs");
    return n != 0 ? err_set(e, ENOMEM, "out of memory") : 0;
}

int options_parse(struct options *o, struct fuse_args *args, enum options_action *action,
                  struct err *e)
{
    struct raw r = {0};

    *o = (struct options){0};
    int n = fuse_opt_parse(args, &r, opts, take_word) < 0
                ? err_set(e, EINVAL, "wrong command line; see zdbfs --help")
                : 0;
    if (n == 0)
        n = use_words(&r, args, e);
    if (n == 0)
        n = addresses(o, &r, e);
    if (n == 0)
        n = numbers(o, &r, e);
    if (n == 0)
        n = from_cmdline(o, args, action, e);
    free_raw(&r);
    o->kv.read_only = o->read_only || o->check || o->points;
    return n;
}

void options_fini(struct options *o)
{
    for (unsigned i = 0; i < o->ntext; i++)
        free(o->text[i]);
    free(o->logfile);
    free(o->mountpoint);
    *o = (struct options){0};
}

void options_help(void)
{
    printf(
        "usage: zdbfs [options] [SOURCE] MOUNTPOINT\n"
        "       zdbfs --check [--json] [-o host=...,...] [SOURCE]\n"
        "       zdbfs --points [--json] [-o host=...,...] [SOURCE]\n"
        "       zdbfs --point MOUNTPOINT\n"
        "\n"
        "zdbfs options (-o name[=value],...)\n"
        "    host=S port=N unix=S   zdb server: address, port, or unix socket (localhost, 9900)\n"
        "    mh dh th, mp dp tp, mu du tu   the same for the meta, data, temp namespace alone\n"
        "    mn dn tn =S            namespaces (zdbfs-meta, zdbfs-data, zdbfs-temp)\n"
        "    ms ds ts =S            their passwords (none, none, hello)\n"
        "    autons                 make and prepare the namespaces\n"
        "    size=SIZE              limit of the data in it (none but quota and disk)\n"
        "    memory=SIZE            for all caches together (96M)\n"
        "    cachesize=N            accepted; raises memory when it asks for more than half of it\n"
        "    flush=SECONDS          unsynced changes are stored after that time (5)\n"
        "    idle=MILLISECONDS      and so long after the last change (50); 0: not for that\n"
        "    point=SECONDS          the volume as it is can be brought back from remote storage, "
        "made\n"
        "                           so long after a change (300); 0: only when asked, and at the "
        "end\n"
        "    timeout=SECONDS        a request that zdb does not answer fails with EIO (120)\n"
        "    nocache                store every change at once\n"
        "    noacl                  no POSIX ACLs: the modes alone decide\n"
        "    sync=close             close() waits for stable storage\n"
        "    takeover               mount although another mount has the volume; that one never\n"
        "                           writes again\n"
        "    background             return when the mount is ready\n"
        "    logfile=S              append an operation log\n"
        "    --check                read the whole volume, report what is wrong, exit 0 or 1; "
        "nothing is written\n"
        "    --points               list the points of the volume, newest first\n"
        "    --point                make a point of a mounted volume, and print it\n"
        "\n"
        "general and FUSE options\n");
    fuse_cmdline_help();
    fuse_lowlevel_help();
}
