/* options - see options.h.  One table gives getopt's names, the checks and the help. */
#include "zdb/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/io.h"
#include "common/parse.h"

#define MAX_PASSWORD 255

enum kind { TEXT, SECRET, SECRET_FILE, FLAG, NUMBER, SIZE, MODE, ACTION };

struct spec {
    const char *name;
    enum kind kind;
    bool ours; /* not in the original */
    size_t at; /* offset in struct options; the action for ACTION */
    uint64_t min, max;
    const char *arg, *help;
};

#define AT(field) offsetof(struct options, field)

static const struct spec specs[] = {
    {"data", TEXT, false, AT(data), 0, 0, "DIR", "data root (./zdb-data)"},
    {"index", TEXT, false, AT(index), 0, 0, "DIR", "index root (./zdb-index)"},
    {"listen", TEXT, false, AT(listen), 0, 0, "ADDRESS", "tcp address (127.0.0.1)"},
    {"port", TEXT, false, AT(port), 0, 0, "PORT", "tcp port (9900)"},
    {"socket", TEXT, false, AT(socket), 0, 0, "PATH", "unix socket instead of tcp"},
    {"dualnet", FLAG, false, AT(dualnet), 0, 0, NULL, "tcp and unix socket together"},
    {"verbose", FLAG, false, AT(verbose), 0, 0, NULL, "log every request"},
    {"dump", ACTION, false, OPTIONS_DUMP, 0, 0, NULL,
     "load, print the keys of user-mode namespaces, exit; with FILE...: print their records"},
    {"sync", FLAG, false, AT(sync), 0, 0, NULL,
     "every write is on stable storage before its reply"},
    {"synctime", NUMBER, false, AT(synctime_s), 0, UINT32_MAX, "SECONDS",
     "sync at least that often while written"},
    {"mode", MODE, false, AT(mode), 0, 0, "user|seq", "one mode for all namespaces"},
    {"background", FLAG, false, AT(background), 0, 0, NULL, "go to the background when ready"},
    {"logfile", TEXT, false, AT(logfile), 0, 0, "FILE", "log there; SIGHUP reopens it"},
    {"admin", SECRET, false, AT(admin), 0, 0, "PASSWORD",
     "admin password (seen by other users: use --admin-file)"},
    {"hook", TEXT, false, AT(hook), 0, 0, "PROGRAM", "program run at events"},
    {"datasize", SIZE, false, AT(datasize), 512 * KIB, UINT32_MAX - 1, "SIZE",
     "data file size that starts a new one (256M)"},
    {"maxsize", SIZE, false, AT(maxsize), 0, INT64_MAX, "SIZE", "quota of the default namespace"},
    {"protect", FLAG, false, AT(protect), 0, 0, NULL,
     "default namespace writable with the admin password only"},
    {"secure", FLAG, false, AT(secure), 0, 0, NULL, "sync files when they are closed"},
    {"rotate", NUMBER, false, AT(rotate_s), 0, UINT32_MAX, "SECONDS",
     "start new files after that time when written"},
    {"version", ACTION, false, OPTIONS_VERSION, 0, 0, NULL, "print the version, exit"},
    {"help", ACTION, false, OPTIONS_HELP, 0, 0, NULL, "print this, exit 1"},
    {"admin-file", SECRET_FILE, true, AT(admin), 0, 0, "FILE",
     "file (mode 0600) with the admin password"},
    {"hook-timeout", NUMBER, true, AT(hook_timeout_s), 1, 86400, "SECONDS",
     "limit of missing-data, ready and close hooks (60); ten times that for the others"},
    {"max-clients", NUMBER, true, AT(max_clients), 1, 1000000, "N",
     "connections at one time (10000)"},
    {"idle-timeout", NUMBER, true, AT(idle_timeout_s), 0, UINT32_MAX, "SECONDS",
     "close silent connections (0 = never)"},
    {"max-output", SIZE, true, AT(max_output), 64 * KIB, 1 * GIB, "SIZE",
     "unsent bytes at which a client is no longer read (8M)"},
    {"max-buffers", SIZE, true, AT(max_buffers), 16 * MIB, 1024 * GIB, "SIZE",
     "requests and replies of all clients together; above, the one that is silent for longest is "
     "closed (1G)"},
    {"repair", ACTION, true, OPTIONS_REPAIR, 0, 0, NULL,
     "load as a start does, with all repairs, and exit"},
    {"check", ACTION, true, OPTIONS_CHECK, 0, 0, NULL,
     "read all files, report what is wrong, change nothing; exit 1 when there are faults"},
    {"compact", ACTION, true, OPTIONS_COMPACT, 0, 0, NULL,
     "give back the space of deleted and superseded values, exit"},
    {"namespace", TEXT, true, AT(namespace), 0, 0, "NAME", "--compact: only this one"},
    {"json", FLAG, true, AT(json), 0, 0, NULL, "--dump and --check in JSON"},
    {"ctl", ACTION, true, OPTIONS_CTL, 0, 0, NULL,
     "client: send the words that follow (or one command per line of stdin) to a running zdb"},
    {"ns", TEXT, true, AT(ns), 0, 0, "NAME", "--ctl: namespace to select first"},
    {"ns-password-file", SECRET_FILE, true, AT(ns_password), 0, 0, "FILE",
     "--ctl: file with its password"},
};

static void wipe(volatile char *s)
{
    while (s && *s)
        *s++ = '*';
}

static void secret_free(char **s)
{
    wipe(*s);
    free(*s);
    *s = NULL;
}

static int read_secret(const char *option, const char *path, char **out, struct err *e)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    char text[MAX_PASSWORD + 3];
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, errno, "--%s %s", option, path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "--%s %s: not a regular file", option, path);
    if (st.st_mode & 077)
        return err_set(e, EACCES, "--%s %s: readable by others (mode %04o); run chmod 600 on it",
                       option, path, (unsigned)st.st_mode & 07777);
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return err_sys(e, errno, "--%s %s", option, path);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    text[n] = '\0';
    int r = 0;
    if (n == 0 || n > MAX_PASSWORD || strlen(text) != (size_t)n)
        r = err_set(e, EINVAL, "--%s %s: must hold one line with a password of 1 to %d bytes",
                    option, path, MAX_PASSWORD);
    else
        *out = xstrdup(text);
    wipe(text);
    return r;
}

static int set_number(const struct spec *s, const char *text, uint64_t *out, struct err *e)
{
    int r = s->kind == SIZE ? parse_size(text, s->min, s->max, out)
                            : parse_u64(text, s->min, s->max, out);
    if (r == 0)
        return 0;
    return err_set(e, EINVAL, "--%s %s: must be a %s from %" PRIu64 " to %" PRIu64 "%s", s->name,
                   text, s->kind == SIZE ? "size" : "number", s->min, s->max,
                   s->kind == SIZE ? " bytes (units k M G T)" : "");
}

static int set_mode(struct options *o, const char *text, struct err *e)
{
    if (strcmp(text, "user") == 0)
        o->mode = "user";
    else if (strcmp(text, "seq") == 0 || strcmp(text, "direct") == 0) /* direct: the original's old
                                                                         name */
        o->mode = "seq";
    else
        return err_set(e, EINVAL, "--mode %s: must be user or seq", text);
    o->old_mode = strcmp(text, "direct") == 0;
    return 0;
}

static int set_secret(const struct spec *s, char *text, char **out, struct err *e)
{
    int r = 0;

    if (*out)
        r = err_set(e, EINVAL, "--%s: the password was given before; give it once", s->name);
    else if (s->kind == SECRET_FILE)
        r = read_secret(s->name, text, out, e);
    else if (!*text || strlen(text) > MAX_PASSWORD)
        r = err_set(e, EINVAL, "--%s: must have 1 to %d bytes", s->name, MAX_PASSWORD);
    else
        *out = xstrdup(text);
    if (s->kind == SECRET)
        wipe(text);
    return r;
}

static int set_action(struct options *o, const struct spec *s, struct err *e)
{
    if (o->action != OPTIONS_SERVE && o->action != (enum options_action)s->at)
        return err_set(e, EINVAL, "--%s: cannot be combined with the action given before", s->name);
    o->action = (enum options_action)s->at;
    return 0;
}

static int set(struct options *o, const struct spec *s, char *text, struct err *e)
{
    void *field = (char *)o + (s->kind == ACTION ? 0 : s->at);

    switch (s->kind) {
    case TEXT:
        if (!*text)
            return err_set(e, EINVAL, "--%s: must not be empty", s->name);
        *(const char **)field = text;
        return 0;
    case FLAG:
        *(bool *)field = true;
        return 0;
    case SECRET:
    case SECRET_FILE:
        return set_secret(s, text, field, e);
    case NUMBER:
    case SIZE:
        return set_number(s, text, field, e);
    case MODE:
        return set_mode(o, text, e);
    case ACTION:
        return set_action(o, s, e);
    }
    return 0;
}

static const char *option_name(const char *word) /* without its dashes */
{
    return word + (word[1] == '-' ? 2 : 1);
}

/* The original's own table while the word is an abbreviation that it knew: ours must not make it
 * ambiguous. */
static bool known_before(const char *word)
{
    const char *name = option_name(word);
    size_t n = strcspn(name, "="), hits = 0;

    if (n == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        if (strncmp(specs[i].name, name, n) != 0)
            continue;
        if (specs[i].name[n] == '\0')
            return !specs[i].ours;
        hits += !specs[i].ours;
    }
    return hits == 1;
}

static void fill_tables(struct option *all, struct option *before)
{
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        bool has_arg = specs[i].kind != FLAG && specs[i].kind != ACTION;
        *all = (struct option){specs[i].name, has_arg ? required_argument : no_argument, NULL,
                               (int)i + 256};
        if (!specs[i].ours)
            *before++ = *all;
        all++;
    }
    *all = *before = (struct option){0};
}

static int parse_words(struct options *o, int argc, char **argv, struct err *e)
{
    struct option all[ARRAY_LEN(specs) + 1], before[ARRAY_LEN(specs) + 1];

    fill_tables(all, before);
    o->files = xcalloc((size_t)argc + 1, sizeof *o->files);
    opterr = 0;
    optind = 0;
    optind = 1;
    while (optind < argc) {
        const char *word = argv[optind];
        bool old = word[0] == '-' && known_before(word);
        int c = getopt_long_only(argc, argv, "-:", old ? before : all, NULL);
        if (c < 0)
            break;
        if (c == 1) {
            if (o->action == OPTIONS_CTL) { /* the command: what follows are its arguments */
                optind--;
                break;
            }
            o->files[o->nfiles++] = optarg; /* of --dump */
            continue;
        }
        if (c == '?')
            return err_set(e, EINVAL,
                           "%.100s: unknown or ambiguous option, or a value where none belongs; "
                           "see zdb --help",
                           word);
        if (c == ':')
            return err_set(e, EINVAL, "%.100s: needs a value; see zdb --help", word);
        const struct spec *s = &specs[c - 256];
        o->has_address |= s->at == AT(listen) || s->at == AT(port);
        int r = set(o, s, optarg, e);
        if (r < 0)
            return r;
    }
    o->words = argv + optind;
    o->nwords = argc - optind;
    return 0;
}

static int check_together(const struct options *o, struct err *e)
{
    uint64_t port;

    /* getaddrinfo cuts numbers to 16 bits */
    if (strspn(o->port, "0123456789") == strlen(o->port) &&
        parse_u64(o->port, 1, UINT16_MAX, &port) < 0)
        return err_set(e, EINVAL, "--port %s: must be a number from 1 to %d or a service name",
                       o->port, UINT16_MAX);
    if (o->protect && !o->admin)
        return err_set(e, EINVAL, "--protect: needs an admin password; add --admin-file FILE");
    if (o->action != OPTIONS_CTL && (o->ns || o->ns_password))
        return err_set(e, EINVAL, "--ns, --ns-password-file: only with --ctl");
    if (o->action == OPTIONS_CTL && o->ns_password && !o->ns)
        return err_set(e, EINVAL, "--ns-password-file: needs --ns NAME");
    if (o->namespace && o->action != OPTIONS_COMPACT)
        return err_set(e, EINVAL, "--namespace: only with --compact");
    if (o->nfiles && o->action != OPTIONS_DUMP)
        return err_set(e, EINVAL,
                       "%.100s: no option; to send a command to a running zdb: zdb --ctl %.100s",
                       o->files[0], o->files[0]);
    if (o->hook && o->action == OPTIONS_SERVE && access(o->hook, X_OK) < 0)
        return err_sys(e, errno, "--hook %s: must be an executable file", o->hook);
    return 0;
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
    *o = (struct options){
        .data = "./zdb-data",
        .index = "./zdb-index",
        .listen = "127.0.0.1",
        .port = "9900",
        .datasize = 256 * MIB,
        .hook_timeout_s = 60,
        .max_clients = 10000,
        .max_output = 8 * MIB,
        .max_buffers = 1 * GIB,
    };
    int r = parse_words(o, argc, argv, e);
    if (r == 0)
        r = check_together(o, e);
    if (r < 0) {
        options_fini(o);
        return r;
    }
    o->instance = o->socket ? xasprintf("unix://%s", o->socket)
                            : xasprintf("tcp://%s:%s", o->listen, o->port);
    return 0;
}

void options_fini(struct options *o)
{
    secret_free(&o->admin);
    secret_free(&o->ns_password);
    free(o->files);
    o->files = NULL;
    free(o->instance);
    o->instance = NULL;
}

void options_help(void)
{
    printf("usage: zdb [options]\n"
           "       zdb --ctl [--socket PATH | --listen HOST --port N] [--admin-file FILE] [--ns "
           "NAME] [COMMAND ARG...]\n"
           "       zdb --check | --compact [--namespace NAME] | --repair | --dump  --data DIR "
           "--index DIR [--json]\n"
           "       zdb --dump FILE... [--json]\n");
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        CLEANUP(base_free)
        char *left = xasprintf("--%s%s%s", specs[i].name, specs[i].arg ? " " : "",
                               specs[i].arg ? specs[i].arg : "");
        printf("  %-26s %s\n", left, specs[i].help);
    }
}
