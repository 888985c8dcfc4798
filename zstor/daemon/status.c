/* status - tables and JSON. */
#include "zstor/daemon/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 6

static const char *const titles[COLUMNS] = {"backend",    "reachable",  "objects",
                                            "used space", "free space", "usage percentage"};

struct row {
    char *cell[COLUMNS];
};

static uint64_t percentage(const struct backend_info *i)
{
    uint64_t of = i->data_limits_bytes;

    if (!of &&
        (i->data_disk_free == UINT64_MAX || add_ovf(i->data_size_bytes, i->data_disk_free, &of)))
        return 0;
    if (!of)
        return 0;
    return (uint64_t)((double)i->data_size_bytes * 100.0 / (double)of);
}

static void fill(struct row *r, const struct poller_backend *b)
{
    uint64_t space = backend_info_free(&b->info);

    r->cell[0] = xasprintf("%s - %s", b->addr->address, b->addr->ns ? b->addr->ns : "default");
    r->cell[1] = xstrdup(b->up ? "Yes" : "No");
    if (!b->up) {
        for (int c = 2; c < COLUMNS; c++)
            r->cell[c] = xstrdup("-");
        return;
    }
    r->cell[2] = xasprintf("%" PRIu64, b->info.entries);
    r->cell[3] = xasprintf("%" PRIu64, b->info.data_size_bytes);
    r->cell[4] = space == UINT64_MAX ? xstrdup("-") : xasprintf("%" PRIu64, space);
    r->cell[5] = xasprintf("%" PRIu64, percentage(&b->info));
}

/* Characters on a terminal, near enough: UTF-8 continuation bytes do not count. */
static size_t width_of(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void put_rule(struct buf *out, const size_t *width, char c)
{
    for (int k = 0; k < COLUMNS; k++) {
        buf_put_u8(out, '+');
        for (size_t i = 0; i < width[k] + 2; i++)
            buf_put_u8(out, (uint8_t)c);
    }
    buf_put_str(out, "+\n");
}

static void put_cell(struct buf *out, const char *text, size_t width, bool right)
{
    size_t pad = width - width_of(text);

    buf_put_str(out, "| ");
    for (size_t i = 0; right && i < pad; i++)
        buf_put_u8(out, ' ');
    buf_put_str(out, text);
    for (size_t i = 0; !right && i < pad; i++)
        buf_put_u8(out, ' ');
    buf_put_u8(out, ' ');
}

static void put_table(struct buf *out, const struct poller_backend *list, size_t n)
{
    struct row *rows = xcalloc(n + 1, sizeof *rows);
    size_t width[COLUMNS];

    for (int c = 0; c < COLUMNS; c++)
        width[c] = strlen(titles[c]);
    for (size_t i = 0; i < n; i++) {
        fill(&rows[i], &list[i]);
        for (int c = 0; c < COLUMNS; c++)
            width[c] = MAX(width[c], width_of(rows[i].cell[c]));
    }
    put_rule(out, width, '-');
    for (int c = 0; c < COLUMNS; c++)
        put_cell(out, titles[c], width[c], false);
    buf_put_str(out, "|\n");
    put_rule(out, width, '=');
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < COLUMNS; c++) {
            put_cell(out, rows[i].cell[c], width[c], c >= 2);
            free(rows[i].cell[c]);
        }
        buf_put_str(out, "|\n");
        put_rule(out, width, '-');
    }
    free(rows);
}

static size_t meta_count(const struct status *s)
{
    size_t n = 0;

    while (n < s->n && s->backends[n].meta)
        n++;
    return n;
}

static void put_mib(struct buf *out, uint64_t bytes)
{
    buf_printf(out, "%" PRIu64 ".%" PRIu64 " MiB", bytes / MIB, bytes % MIB * 10 / MIB);
}

void status_amount(struct buf *out, uint64_t jobs, uint64_t bytes)
{
    buf_printf(out, "%" PRIu64 " job%s, ", jobs, jobs == 1 ? "" : "s");
    put_mib(out, bytes);
}

/* It answers, but that does not work. */
static void put_gray(struct buf *out, const struct poller_backend *b)
{
    char why[sizeof b->health.last_error];

    backend_text(slice_str(b->health.last_error), why, sizeof why);
    for (int t = HEALTH_READ; t < HEALTH_TRACKS; t++)
        if (b->up && b->health.track[t].down)
            buf_printf(out, "%s - %s: no %ss for now: %s\n", b->addr->address,
                       b->addr->ns ? b->addr->ns : "default", health_name((enum health_track)t),
                       why);
}

void status_table(struct buf *out, const struct status *s)
{
    size_t meta = meta_count(s);

    put_table(out, s->backends, meta);
    put_table(out, s->backends + meta, s->n - meta);
    for (size_t i = 0; i < s->n; i++)
        put_gray(out, &s->backends[i]);
    if (s->daemon) {
        buf_put_str(out, "queue: ");
        status_amount(out, s->queue.jobs, s->queue.bytes);
        buf_printf(out,
                   ", %" PRIu64 " running, %" PRIu64 " failing, oldest %" PRIu64 " s; %" PRIu64
                   " rebuilds\n",
                   s->queue.running[SCHED_STORE], s->queue.failing, s->queue.oldest_s,
                   s->queue.rebuilds);
    }
    if (s->daemon && s->cache.limit_bytes) {
        buf_put_str(out, "cache: ");
        put_mib(out, s->cache.used_bytes);
        buf_put_str(out, " of ");
        put_mib(out, s->cache.limit_bytes);
        buf_printf(out, ", %" PRIu64 " segments evicted (", s->cache.evicted_files);
        put_mib(out, s->cache.evicted_bytes);
        buf_printf(out, "), %" PRIu64 " held back\n", s->cache.held_files);
    }
    if (s->daemon)
        care_text(out, &s->care);
    if (s->note)
        buf_printf(out, "%s\n", s->note);
}

/* Names come from the configuration (UTF-8); texts of servers may hold anything: what is not ASCII
 * there becomes '?'. */
static void put_json_text(struct buf *out, const char *text, bool utf8)
{
    buf_put_u8(out, '"');
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\u%04x", c);
        else
            buf_put_u8(out, c >= 0x80 && !utf8 ? '?' : c);
    }
    buf_put_u8(out, '"');
}

static void put_json_backend(struct buf *out, const struct poller_backend *b)
{
    uint64_t space = backend_info_free(&b->info);

    buf_put_str(out, "{\"type\": ");
    buf_put_str(out, b->meta ? "\"meta\"" : "\"data\"");
    buf_put_str(out, ", \"address\": ");
    put_json_text(out, b->addr->address, true);
    buf_put_str(out, ", \"namespace\": ");
    put_json_text(out, b->addr->ns ? b->addr->ns : "default", true);
    buf_printf(out, ", \"reachable\": %s", b->up ? "true" : "false");
    if (b->up) {
        buf_printf(out,
                   ", \"objects\": %" PRIu64 ", \"used_bytes\": %" PRIu64
                   ", \"usage_percentage\": %" PRIu64,
                   b->info.entries, b->info.data_size_bytes, percentage(&b->info));
        if (space != UINT64_MAX)
            buf_printf(out, ", \"free_bytes\": %" PRIu64, space);
    } else {
        buf_put_str(out, ", \"error\": ");
        put_json_text(out, b->error, false);
    }
    buf_put_u8(out, '}');
}

static void put_json_care(struct buf *out, const struct care_stats *c)
{
    buf_printf(out,
               ", \"repair\": {\"running\": %s, \"found\": %" PRIu64 ", \"left\": %" PRIu64
               ", \"mended\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"drained\": %zu}",
               c->repair.running ? "true" : "false", c->repair.found, c->repair.left,
               c->repair.mended_ever, c->repair.failed, c->drained);
    buf_printf(out, ", \"scrub\": {\"objects\": %" PRIu64 ", \"position\": %" PRIu64,
               c->scrub.objects, c->scrub.position);
    if (c->scrub.oldest_s != UINT64_MAX)
        buf_printf(out, ", \"oldest_seconds\": %" PRIu64, c->scrub.oldest_s);
    buf_printf(out, ", \"restored\": %" PRIu64 ", \"failed\": %" PRIu64 "}", c->scrub.restored,
               c->scrub.failed);
}

void status_json(struct buf *out, const struct status *s)
{
    buf_printf(out, "{\"at_risk\": %s, \"daemon\": %s, \"backends\": [",
               status_at_risk(s) ? "true" : "false", s->daemon ? "true" : "false");
    for (size_t i = 0; i < s->n; i++) {
        if (i > 0)
            buf_put_str(out, ", ");
        put_json_backend(out, &s->backends[i]);
    }
    buf_put_u8(out, ']');
    if (s->daemon) {
        const struct sched_stats *q = &s->queue;
        const struct evict_stats *c = &s->cache;

        buf_printf(out,
                   ", \"queue\": {\"jobs\": %" PRIu64 ", \"bytes\": %" PRIu64
                   ", \"oldest_seconds\": %" PRIu64 ", \"failing\": %" PRIu64
                   ", \"running\": %" PRIu64 ", \"rebuilds\": %" PRIu64 "}",
                   q->jobs, q->bytes, q->oldest_s, q->failing, q->running[SCHED_STORE],
                   q->rebuilds);
        buf_printf(out,
                   ", \"cache\": {\"limit_bytes\": %" PRIu64 ", \"used_bytes\": %" PRIu64
                   ", \"evicted_files\": %" PRIu64 ", \"evicted_bytes\": %" PRIu64
                   ", \"held_files\": %" PRIu64 ", \"runs\": %" PRIu64 "}",
                   c->limit_bytes, c->used_bytes, c->evicted_files, c->evicted_bytes, c->held_files,
                   c->runs);
        put_json_care(out, &s->care);
    }
    buf_put_str(out, "}\n");
}

bool status_at_risk(const struct status *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (!s->backends[i].up || s->backends[i].health.down_write)
            return true;
    return s->daemon && (s->queue.failing > 0 || s->care.repair.failed > 0);
}
