/* care - see daemon/care.h. */
#include "zstor/daemon/care.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/digest.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/backend/placement.h"
#include "zstor/queue/scheduler.h"

#define MAX_FILE     (256 * KIB)
#define WIDTH        2
#define RETRY_MIN_MS (20 * 1000)
#define RETRY_MAX_MS (3600 * 1000)

struct watched { /* a data backend, from one poll to the next */
    struct watched *next;
    struct backend_addr addr;
    uint64_t entries, puts, dels; /* at the last poll; the latter two since start */
    uint64_t kept;                /* entries, in the file */
    bool known, gone;
};

struct care {
    struct care_conf conf;
    char *file;
    struct healer *healer;
    struct scrubber *scrubber;
    struct watched *watched;
    char whole[2 * DIGEST_LEN + 1]; /* fingerprint that was kept; "" */
    struct scrub_place place;
    bool polled;
};

/* --- the file -------------------------------------------------------------------------------- */

static void put_line(struct buf *out, const char *word, const struct backend_addr *a)
{
    struct backend_addr number;
    const char *address = a->address;

    if (a->place != BACKEND_AT_ZDB) {
        backend_addr_elsewhere(&number, a->number);
        address = number.address;
    }
    buf_printf(out, "%s %s %s", word, address, a->ns ? a->ns : "default");
}

static void put_mark(void *arg, const struct backend_addr *a, unsigned bits)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {{MARK_DRAIN, "drain"}, {MARK_SUSPECT, "suspect"}};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (bits & words[i].bit) {
            put_line(arg, words[i].word, a);
            buf_put_u8(arg, '\n');
        }
}

static void keep(struct care *c)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    struct err why = {0};

    buf_put_str(&out, "zstor-care 1\n");
    if (c->whole[0])
        buf_printf(&out, "whole %s\n", c->whole);
    marks_each(c->conf.marks, put_mark, &out);
    for (struct watched *w = c->watched; w; w = w->next) {
        if (!w->known || !zstor_conf_find(c->conf.engine->conf, &w->addr))
            continue;
        put_line(&out, "values", &w->addr);
        buf_printf(&out, " %" PRIu64 "\n", w->entries);
        w->kept = w->entries;
    }
    buf_printf(&out, "scrub %" PRIu64 " %" PRIu64 " %s\n", c->place.pass_s, c->place.previous_s,
               c->place.cursor[0] ? c->place.cursor : "-");
    if (path_replace(c->file, buf_slice(&out), 0600, &why) < 0)
        log_error("%s: not kept: %s", c->file, why.text);
}

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

/* As put_mark wrote it. */
static int take_addr(const char *address, const char *ns, struct backend_addr *out)
{
    static const char elsewhere[] = "elsewhere:";
    uint8_t raw[8];
    uint64_t number = 0;

    if (strncmp(address, elsewhere, sizeof elsewhere - 1) != 0)
        return backend_addr_parse(out, address, ns, NULL, NULL);
    if (parse_hex(slice_str(address + sizeof elsewhere - 1), raw, sizeof raw) < 0)
        return -EINVAL;
    for (size_t i = 0; i < sizeof raw; i++)
        number = number << 8 | raw[i];
    backend_addr_elsewhere(out, number);
    return 0;
}

static struct watched *watch(struct care *c, const struct backend_addr *a)
{
    struct watched *w = c->watched;

    while (w && !backend_addr_same(&w->addr, a))
        w = w->next;
    if (w)
        return w;
    w = xcalloc(1, sizeof *w);
    backend_addr_copy(&w->addr, a);
    w->next = c->watched;
    c->watched = w;
    return w;
}

/* What a backend had when it was seen last, perhaps by a former run. */
static bool take_values(struct care *c, char *const word[4])
{
    struct backend_addr a;
    struct watched *w;
    uint64_t entries;

    if (parse_u64(word[3], 0, UINT64_MAX / 4, &entries) < 0 || take_addr(word[1], word[2], &a) < 0)
        return false;
    w = watch(c, &a);
    w->entries = w->kept = entries;
    w->known = true;
    backend_addr_fini(&a);
    return true;
}

static bool take_line(struct care *c, char *line)
{
    char *word[4] = {NULL}, *rest = NULL, *w;
    unsigned n = 0, bits;
    struct backend_addr a;

    for (w = strtok_r(line, " ", &rest); w && n < 4; w = strtok_r(NULL, " ", &rest))
        word[n++] = w;
    if (n == 2 && strcmp(word[0], "whole") == 0 && is_hex(word[1], 2 * DIGEST_LEN)) {
        memcpy(c->whole, word[1], sizeof c->whole);
        return true;
    }
    if (n == 4 && strcmp(word[0], "scrub") == 0) {
        if (parse_u64(word[1], 0, UINT64_MAX, &c->place.pass_s) < 0 ||
            parse_u64(word[2], 0, UINT64_MAX, &c->place.previous_s) < 0)
            return false;
        if (strcmp(word[3], "-") == 0)
            return true;
        if (!is_hex(word[3], sizeof c->place.cursor - 1))
            return false;
        memcpy(c->place.cursor, word[3], sizeof c->place.cursor);
        return true;
    }
    if (n == 4 && strcmp(word[0], "values") == 0)
        return take_values(c, word);
    if (n != 3)
        return false;
    bits = strcmp(word[0], "drain") == 0     ? MARK_DRAIN
           : strcmp(word[0], "suspect") == 0 ? MARK_SUSPECT
                                             : 0;
    if (!bits || take_addr(word[1], word[2], &a) < 0)
        return false;
    marks_set(c->conf.marks, &a, bits, true);
    backend_addr_fini(&a);
    return true;
}

static bool take_text(struct care *c, char *text)
{
    char *rest = NULL, *line = strtok_r(text, "\n", &rest);

    if (!line || strcmp(line, "zstor-care 1") != 0)
        return false;
    while ((line = strtok_r(NULL, "\n", &rest)))
        if (!take_line(c, line))
            return false;
    return true;
}

static void load(struct care *c)
{
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    CLEANUP(base_free) char *text = NULL, *bad = xasprintf("%s.bad", c->file);
    struct err why = {0};
    int r = path_read(c->file, MAX_FILE, &bytes, &why);

    if (r == -ENOENT)
        return;
    if (r == 0) {
        text = xcalloc(bytes.len + 1, 1);
        memcpy(text, buf_data(&bytes), bytes.len);
        if (strlen(text) == bytes.len && take_text(c, text))
            return;
        err_set(&why, EINVAL, "not of this form");
    }
    log_error("%s: %s; set aside as %s, every object is looked at again", c->file, why.text, bad);
    if (rename(c->file, bad) < 0)
        log_error("%s: rename: %s", c->file, strerror(errno));
    c->whole[0] = '\0';
    c->place = (struct scrub_place){0};
}

/* --- what the backends are ------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Of all configured backends and the drained ones, in any order. */
static void fingerprint(const struct care *c, char out[2 * DIGEST_LEN + 1])
{
    const struct zstor_conf *conf = c->conf.engine->conf;
    size_t n = 0, sites;
    struct placement_site *s = placement_sites(conf, &sites);
    char **name = xcalloc(sites + ZSTOR_META_COPIES, sizeof *name);
    uint8_t sum[DIGEST_LEN];
    struct digest d;

    for (size_t i = 0; i < sites; i++)
        name[n++] = xasprintf("data %s %s%s\n", s[i].addr->address,
                              s[i].addr->ns ? s[i].addr->ns : "default",
                              marks_get(c->conf.marks, s[i].addr) & MARK_DRAIN ? " drained" : "");
    for (size_t i = 0; i < ZSTOR_META_COPIES; i++)
        name[n++] = xasprintf("meta %s %s\n", conf->meta[i].address,
                              conf->meta[i].ns ? conf->meta[i].ns : "default");
    qsort(name, n, sizeof *name, by_name);
    digest_init(&d);
    for (size_t i = 0; i < n; i++) {
        digest_update(&d, name[i], strlen(name[i]));
        free(name[i]);
    }
    digest_final(&d, sum);
    parse_to_hex(sum, sizeof sum, out);
    free(name);
    free(s);
}

static void start_if_changed(struct care *c)
{
    char now[2 * DIGEST_LEN + 1];

    fingerprint(c, now);
    if (strcmp(now, c->whole) != 0)
        healer_start(c->healer, c->whole[0] ? "the backends are not the same as before"
                                            : "it is not known that every object is whole");
    else if (marks_count(c->conf.marks, MARK_SUSPECT))
        healer_start(c->healer, "a backend may have lost what it had");
}

static void on_whole(void *arg)
{
    struct care *c = arg;

    for (const struct watched *w = c->watched; w; w = w->next)
        if (w->gone) /* whole without it; when it is back there is nothing to do */
            log_info("repair: nothing depends on backend %s any more", w->addr.address);
    marks_clear(c->conf.marks, MARK_SUSPECT);
    fingerprint(c, c->whole);
    keep(c);
}

static void on_moved(void *arg, const struct scrub_place *p)
{
    struct care *c = arg;

    c->place = *p;
    keep(c);
}

/* What it had at the last poll, and what we have written there since. */
static uint64_t expected_values(const struct watched *w, const struct poller_backend *b)
{
    uint64_t puts = b->puts - (b->puts >= w->puts ? w->puts : 0); /* a reload counts anew */
    uint64_t dels = b->health.dels - (b->health.dels >= w->dels ? w->dels : 0);

    return w->entries + puts - MIN(dels, w->entries + puts);
}

static void look_at(struct care *c, const struct poller_backend *b)
{
    const struct zstor_conf *conf = c->conf.engine->conf;
    struct watched *w = watch(c, b->addr);
    CLEANUP(base_free) char *why = NULL;
    uint64_t expected = expected_values(w, b);
    struct pool_health h;
    bool gone;

    pool_health(object_pool(c->conf.engine->objects), b->addr, &h);
    gone = h.track[HEALTH_LINK].down &&
           base_wall_s() - h.track[HEALTH_LINK].down_since_s >= conf->repair_delay_s;
    if (gone && !w->gone) {
        why = xasprintf("backend %s has been down for %" PRIu64 " s", b->addr->address,
                        base_wall_s() - h.track[HEALTH_LINK].down_since_s);
        healer_start(c->healer, why);
    } else if (b->up && w->known && !b->info.uncounted && 2 * b->info.entries < expected) {
        why = xasprintf("backend %s has %" PRIu64 " values, it had %" PRIu64, b->addr->address,
                        b->info.entries, expected);
        marks_set(c->conf.marks, b->addr, MARK_SUSPECT, true);
        keep(c);
        healer_start(c->healer, why);
    }
    w->gone = gone;
    if (b->up && !b->info.uncounted) {
        w->known = true;
        w->entries = b->info.entries;
        w->puts = b->puts;
        w->dels = b->health.dels;
        if (w->entries > 2 * w->kept || 2 * w->entries < w->kept)
            keep(c);
    }
}

void care_polled(struct care *c, const struct poller_backend *list, size_t n, bool recovered)
{
    for (size_t i = 0; i < n; i++)
        if (!list[i].meta)
            look_at(c, &list[i]);
    if (!c->polled) {
        c->polled = true;
        start_if_changed(c);
    } else if (recovered) {
        healer_kick(c->healer);
    }
}

/* --- commands -------------------------------------------------------------------------------- */

/* "address" or "address namespace"; the first configured data backend that fits, or NULL. */
static const struct backend_addr *find(const struct care *c, const char *text)
{
    const struct zstor_conf *conf = c->conf.engine->conf;
    size_t len = strcspn(text, " ");
    const char *ns = text[len] ? text + len + 1 : NULL;

    for (size_t g = 0; g < conf->ngroups; g++)
        for (size_t i = 0; i < conf->groups[g].n; i++) {
            const struct backend_addr *a = &conf->groups[g].backends[i];
            if (strlen(a->address) == len && memcmp(a->address, text, len) == 0 &&
                (!ns || strcmp(ns, a->ns ? a->ns : "default") == 0))
                return a;
        }
    return NULL;
}

/* Can an object be placed without it and those that are drained already? */
static int can_do_without(struct care *c, const struct backend_addr *a, struct err *e)
{
    size_t n, left = 0, *at;
    const struct zstor_conf *conf = c->conf.engine->conf;
    struct placement_site *s = placement_sites(conf, &n);
    struct err why = {0};
    int r;

    for (size_t i = 0; i < n; i++) {
        s[i].usable =
            !backend_addr_same(s[i].addr, a) && !(marks_get(c->conf.marks, s[i].addr) & MARK_DRAIN);
        left += s[i].usable;
    }
    at = xcalloc(n + conf->expected_shards, sizeof *at);
    r = placement_choose(conf, s, n, digest_random, at, &why);
    free(at);
    free(s);
    return r == 0
               ? 0
               : err_set(e, ENOSPC,
                         "without backend %s %zu data backends are left, which is not enough for "
                         "%u shards: add others first",
                         a->address, left, conf->expected_shards);
}

int care_drain(struct care *c, const char *backend, bool on, struct err *e)
{
    const struct backend_addr *a = find(c, backend);
    CLEANUP(base_free) char *why = NULL;
    int r;

    if (!a)
        return err_set(e, ENOENT, "%s: no such data backend in the configuration", backend);
    r = on ? can_do_without(c, a, e) : 0;
    if (r < 0)
        return r;
    marks_set(c->conf.marks, a, MARK_DRAIN, on);
    keep(c);
    why = xasprintf("backend %s is %s", a->address, on ? "drained" : "in use again");
    if (on)
        healer_start(c->healer, why);
    else
        start_if_changed(c);
    return 0;
}

int care_replace(struct care *c, const char *old, const char *new, struct err *e)
{
    const struct backend_addr *from = find(c, old), *to = find(c, new);
    CLEANUP(base_free) char *why = NULL;

    if (!to)
        return err_set(e, ENOENT,
                       "%s: no such data backend in the configuration: add it there, and reload",
                       new);
    if (from == to)
        return err_set(e, EINVAL, "%s: cannot replace itself", new);
    if (marks_get(c->conf.marks, to) & MARK_DRAIN)
        return err_set(e, EINVAL, "%s: is drained itself", new);
    if (from)
        return care_drain(c, old, true, e);
    why = xasprintf("backend %s is replaced by %s", old, new);
    healer_start(c->healer, why);
    return 0;
}

struct scrubber *care_scrubber(struct care *c)
{
    return c->scrubber;
}

/* --- view ------------------------------------------------------------------------------------ */

void care_stats(const struct care *c, struct care_stats *out)
{
    healer_stats(c->healer, &out->repair);
    scrubber_stats(c->scrubber, &out->scrub);
    out->drained = marks_count(c->conf.marks, MARK_DRAIN);
}

static void put_age(struct buf *out, uint64_t s)
{
    if (s == UINT64_MAX)
        buf_put_str(out, "never");
    else if (s < 2 * 86400)
        buf_printf(out, "%" PRIu64 ".%" PRIu64 " hours", s / 3600, s % 3600 / 360);
    else
        buf_printf(out, "%" PRIu64 " days", s / 86400);
}

void care_text(struct buf *out, const struct care_stats *st)
{
    const struct healer_stats *r = &st->repair;
    const struct scrubber_stats *s = &st->scrub;

    if (r->running && r->found)
        buf_printf(out, "repair: %" PRIu64 " of %" PRIu64 " objects are done (%s)\n",
                   r->mended + r->failed, r->found, r->why);
    else if (r->running)
        buf_printf(out, "repair: looking for what needs it (%s)\n", r->why);
    else if (r->failed || r->trouble.code)
        buf_printf(out, "repair: %" PRIu64 " of %" PRIu64 " objects are not mended: %s\n",
                   r->failed, r->found, r->trouble.text);
    else
        buf_printf(out, "repair: nothing to do, %" PRIu64 " objects mended since the start\n",
                   r->mended_ever);
    if (st->drained)
        buf_printf(out, "drained: %zu backends\n", st->drained);
    buf_put_str(out, "scrub: oldest unverified byte ");
    put_age(out, s->oldest_s);
    if (s->objects)
        buf_printf(out, ", this pass %" PRIu64 " of %" PRIu64 " objects", s->position, s->objects);
    buf_printf(out, "; %" PRIu64 " shards restored, %" PRIu64 " objects not whole\n", s->restored,
               s->failed);
}

/* --- life ------------------------------------------------------------------------------------ */

static void set_pace(struct care *c)
{
    const struct zstor_conf *conf = c->conf.engine->conf;

    scrubber_pace(c->scrubber, conf->scrub_period_s, conf->scrub_rate);
}

void care_swap(struct care *c, struct engine *g)
{
    engine_put(c->conf.engine);
    c->conf.engine = engine_get(g);
    set_pace(c);
    if (c->polled)
        start_if_changed(c);
}

struct care *care_new(const struct care_conf *conf)
{
    struct care *c = xcalloc(1, sizeof *c);
    struct healer_conf hc = {.loop = conf->loop,
                             .sched = conf->sched,
                             .width = WIDTH,
                             .retry_min_ms = RETRY_MIN_MS,
                             .retry_max_ms = RETRY_MAX_MS,
                             .whole = on_whole,
                             .arg = c};
    struct scrubber_conf sc = {
        .loop = conf->loop, .sched = conf->sched, .moved = on_moved, .arg = c};

    c->conf = *conf;
    engine_get(c->conf.engine);
    c->file = path_join(conf->engine->conf->state_dir, "care");
    load(c);
    healer_new(&c->healer, &hc);
    scrubber_new(&c->scrubber, &sc, &c->place);
    set_pace(c);
    return c;
}

void care_free(struct care *c)
{
    if (!c)
        return;
    if (c->scrubber && c->polled)
        keep(c);
    healer_free(c->healer);
    scrubber_free(c->scrubber);
    while (c->watched) {
        struct watched *w = c->watched;
        c->watched = w->next;
        backend_addr_fini(&w->addr);
        free(w);
    }
    engine_put(c->conf.engine);
    free(c->file);
    free(c);
}
