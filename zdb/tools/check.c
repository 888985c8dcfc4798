/* check - see the header: directories, descriptors, which segments there are, totals. */
#include "zdb/tools/check.h"
#include "common/path.h"
#include "zdb/tools/check_data.h"
#include "zdb/tools/check_index.h"
#include "zdb/tools/text.h"
#include "zdb/format/data.h"
#include "zdb/format/namespace.h"
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_LEN 128 /* longer ones are no namespaces */

static const char *const kind_of_mode[] = {"user", "sequential"};

/* --- descriptor ------------------------------------------------------------------------------ */

static int check_descriptor(struct check *c, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(c->dir.index, NS_FORMAT_FILE);
    CLEANUP(base_close) int fd = check_open(path);
    struct check_finding x = {CHECK_FAULT,
                              "descriptor",
                              path,
                              CHECK_NO_OFFSET,
                              {NULL, 0},
                              "restore it from a backup; the next start writes one with defaults, "
                              "without quota and password"};
    uint8_t bytes[NS_FORMAT_SIZE_MAX];
    struct ns_format f;
    ssize_t n;
    int r;

    if (fd == -ENOENT && c->dir.list.n == 0) {
        x.kind = CHECK_NOTE;
        x.remedy = NULL;
        check_say(
            c->report, &x,
            "missing, and nothing else is there: the next start makes an empty namespace of it");
        return 0;
    }
    if (fd == -ENOENT) {
        check_say(c->report, &x, "missing");
        return 0;
    }
    if (fd < 0)
        return err_sys(e, -fd, "%s", path);
    n = pread(fd, bytes, sizeof bytes, 0);
    if (n < 0)
        return err_sys(e, errno, "%s", path);
    r = ns_format_decode(slice_of(bytes, (size_t)n), &f);
    if (r == -ENODATA) {
        check_say(c->report, &x, "only %zd bytes", n);
    } else if (r < 0) {
        x.remedy = "restore it from a backup; zdb does not load this namespace";
        check_say(c->report, &x, r == -EPROTONOSUPPORT ? "unknown version" : "unknown flags");
    } else if (!slice_eq_str(f.name, path_base(c->dir.index))) {
        x.kind = CHECK_NOTE;
        x.remedy = NULL;
        check_say(c->report, &x,
                  "the name in it is not that of its directory, which is the one that counts");
    }
    sodium_memzero(bytes, sizeof bytes);
    return 0;
}

/* --- segments -------------------------------------------------------------------------------- */

static void list_segments(struct check *c)
{
    c->n = c->dir.list.n;
    c->segs = xcalloc(c->n + 1, sizeof *c->segs);
    for (size_t i = 0; i < c->n; i++) {
        const struct segment_files *s = &c->dir.list.v[i];
        c->segs[i] = (struct check_seg){.id = s->id,
                                        .has_index = s->has_index,
                                        .has_data = s->has_data,
                                        .newest = i + 1 == c->n};
        c->t.segments++;
        c->t.absent += !s->has_data;
    }
}

static bool has_records(const char *path, uint64_t header)
{
    struct stat st;

    return stat(path, &st) == 0 && (uint64_t)st.st_size > header;
}

static void index_missing(struct check *c, struct check_seg *s)
{
    CLEANUP(base_free) char *path = check_dir_path(&c->dir, 'i', s->id);
    CLEANUP(base_free) char *data = check_dir_path(&c->dir, 'd', s->id);
    bool begun = s->newest && !has_records(data, DATA_HEADER_SIZE);
    struct check_finding x = {begun ? CHECK_UNCLEAN : CHECK_FAULT,
                              "no-index",
                              path,
                              CHECK_NO_OFFSET,
                              {NULL, 0},
                              "put it back, or start zdb: it builds it anew from the data file"};

    check_say(c->report, &x, "missing");
}

/* The data of segments [from, to) is not here. */
static void data_absent(struct check *c, size_t from, size_t to)
{
    const struct check_seg *last = &c->segs[to - 1];
    CLEANUP(base_free) char *index = check_dir_path(&c->dir, 'i', last->id);
    struct check_finding x = {CHECK_NOTE,      "not-here", c->dir.data,
                              CHECK_NO_OFFSET, {NULL, 0},  NULL};

    if (last->newest && !has_records(index, INDEX_HEADER_SIZE)) {
        x.kind = CHECK_UNCLEAN;
        x.remedy = "the next start makes it";
        check_say(c->report, &x, "d%u does not exist yet", (unsigned)last->id);
        x.kind = CHECK_NOTE;
        x.remedy = NULL;
        if (--to == from)
            return;
        last--;
    }
    check_say(c->report, &x,
              "d%u to d%u are not here; when they are stored remotely they are fetched when needed",
              (unsigned)c->segs[from].id, (unsigned)last->id);
}

static void check_presence(struct check *c)
{
    struct check_finding x = {CHECK_FAULT,     "gap",     c->dir.index,
                              CHECK_NO_OFFSET, {NULL, 0}, "put the index files back from a backup"};
    uint32_t expected = 0;

    for (size_t i = 0; i < c->n; i++) {
        struct check_seg *s = &c->segs[i];
        size_t from = i;
        if (s->id != expected)
            check_say(c->report, &x, "segments %u to %u are missing", (unsigned)expected,
                      (unsigned)s->id - 1);
        expected = s->id + 1;
        if (!s->has_index)
            index_missing(c, s);
        if (s->has_data)
            continue;
        while (i + 1 < c->n && !c->segs[i + 1].has_data && c->segs[i + 1].has_index &&
               c->segs[i + 1].id == expected) {
            i++;
            expected++;
        }
        data_absent(c, from, i + 1);
    }
}

static void check_interrupted(struct check *c)
{
    struct check_finding x = {CHECK_UNCLEAN,   "compaction", c->dir.index,
                              CHECK_NO_OFFSET, {NULL, 0},    NULL};

    if (c->dir.has_journal)
        check_say(c->report, &x, "a compaction was interrupted, the next start finishes it");
    else if (c->dir.has_leftovers)
        check_say(c->report, &x,
                  "a compaction was interrupted, the next start removes what it left");
}

static uint64_t size_of(const struct check *c, uint32_t seg)
{
    CLEANUP(base_free) char *path = check_dir_path(&c->dir, 'd', seg);
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int check_watermark(struct check *c, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(c->dir.index, WATERMARK_FILE);
    struct check_finding x = {CHECK_UNCLEAN, "not-closed",
                              path,          CHECK_NO_OFFSET,
                              {NULL, 0},     "zdb --repair completes it, as the next start does"};
    const struct watermark *w = &c->mark;
    int r = watermark_read(c->dir.index, &c->mark);

    if (r < 0)
        return err_sys(e, -r, "%s", path);
    if (r == 0)
        return 0;
    if (w->flags & WATERMARK_FLUSHING) {
        check_say(c->report, &x, "a FLUSH was interrupted, the next start finishes it");
    } else if (!(w->flags & WATERMARK_CLEAN)) {
        check_say(c->report, &x,
                  "not closed in order: the index is right up to %" PRIu64 " of d%u, what comes "
                  "behind is replayed",
                  w->data_size, (unsigned)w->segment);
    } else if (size_of(c, w->segment) != w->data_size) {
        x.kind = CHECK_NOTE;
        x.code = "foreign";
        x.remedy = NULL;
        check_say(c->report, &x, "the files were changed by another program, or restored");
    }
    return 0;
}

static int check_files(struct check *c, struct err *e)
{
    int r = check_index(c, e);

    for (size_t i = 0; r == 0 && i < c->n; i++) {
        struct check_seg *s = &c->segs[i];
        if (!s->has_data)
            continue;
        if (s->has_index && c->mode == INDEX_MODE_USER && !s->broken)
            r = check_index_collect(c, s, e);
        if (r == 0)
            r = check_data(c, s, e);
    }
    if (r == 0)
        check_data_pending(c);
    return r;
}

static int check_all(struct check *c, struct err *e)
{
    struct check_finding x = {CHECK_FAULT,     "old-layout", c->dir.index,
                              CHECK_NO_OFFSET, {NULL, 0},    "convert them with 0-db"};
    struct stat st;
    int r;

    if (c->dir.list.old_layout) {
        check_say(c->report, &x, "files of a version before 2.0 cannot be read");
        return 0;
    }
    check_interrupted(c);
    if (stat(c->dir.index, &st) < 0) {
        x.code = "no-index-directory";
        x.remedy = "make the directory: the next start builds the index from the data files";
        check_say(
            c->report, &x,
            "there is a data directory, but no index directory; zdb does not know this namespace");
        return 0;
    }
    r = check_descriptor(c, e);
    if (r < 0)
        return r;
    r = check_watermark(c, e);
    if (r < 0)
        return r;
    list_segments(c);
    check_presence(c);
    return check_files(c, e);
}

int check_namespace(struct check_report *r, const struct check_root *root, const char *name,
                    struct check_totals *t, uint8_t *mode, struct err *e)
{
    struct check c = {.report = r};
    int ret;

    r->ns = name;
    memset(r->count, 0, sizeof r->count);
    ret = check_dir_open(&c.dir, root, name, e);
    if (ret == -EBADMSG || ret == -ENODATA || ret == -EPROTONOSUPPORT) { /* zdb does not load it
                                                                            either */
        struct check_finding x = {CHECK_FAULT, "journal", NULL, CHECK_NO_OFFSET, {NULL, 0}, NULL};
        check_say(r, &x, "%s", e ? e->text : "damaged journal of a compaction");
        err_clear(e);
        *t = c.t;
        *mode = c.mode;
        return 0;
    }
    if (ret < 0)
        return err_prefix(e, "namespace %s", name);
    c.keys = keys_new();
    c.pending = keys_new();
    ret = check_all(&c, e);
    for (size_t i = 0; i < c.n; i++)
        index_known_reset(&c.segs[i].known, 0);
    keys_free(c.keys);
    keys_free(c.pending);
    free(c.segs);
    check_dir_close(&c.dir);
    *t = c.t;
    *mode = c.mode;
    return ret;
}

/* --- report ---------------------------------------------------------------------------------- */

static const char *verdict(const uint64_t count[CHECK_KINDS])
{
    return count[CHECK_FAULT]     ? "faulty"
           : count[CHECK_UNCLEAN] ? "not closed in order"
                                  : "in order";
}

static void put_counts_json(FILE *out, const struct check_totals *t,
                            const uint64_t count[CHECK_KINDS])
{
    fprintf(out,
            ",\"segments\":%" PRIu64 ",\"segments_absent\":%" PRIu64 ",\"records\":%" PRIu64
            ",\"keys\":%" PRIu64 ",\"live_bytes\":%" PRIu64 ",\"dead_bytes\":%" PRIu64
            ",\"faults\":%" PRIu64 ",\"unclean\":%" PRIu64 ",\"notes\":%" PRIu64
            ",\"verdict\":\"%s\"}\n",
            t->segments, t->absent, t->records, t->keys, t->live_bytes, t->dead_bytes,
            count[CHECK_FAULT], count[CHECK_UNCLEAN], count[CHECK_NOTE], verdict(count));
}

static void put_counts(FILE *out, const struct check_totals *t, const uint64_t count[CHECK_KINDS])
{
    fprintf(out,
            "%" PRIu64 " segments (%" PRIu64 " not here), %" PRIu64 " keys with %" PRIu64
            " bytes, %" PRIu64 " bytes of deleted and superseded values; %" PRIu64
            " faults, %" PRIu64 " unclean, %" PRIu64 " notes: %s\n",
            t->segments, t->absent, t->keys, t->live_bytes, t->dead_bytes, count[CHECK_FAULT],
            count[CHECK_UNCLEAN], count[CHECK_NOTE], verdict(count));
}

static void put_namespace(const struct check_report *r, const struct check_totals *t, uint8_t mode)
{
    fputs(r->json ? "{\"type\":\"namespace\",\"namespace\":\"" : "namespace ", r->out);
    check_text_put(r->out, slice_str(r->ns), r->json);
    fprintf(r->out, r->json ? "\",\"mode\":\"%s\"" : ": %s mode, ", kind_of_mode[mode]);
    if (r->json)
        put_counts_json(r->out, t, r->count);
    else
        put_counts(r->out, t, r->count);
}

static int check_names(struct check_report *r, const struct check_root *root, char **names,
                       size_t n, struct err *e)
{
    struct check_totals sum = {0};
    uint64_t count[CHECK_KINDS] = {0};

    for (size_t i = 0; i < n; i++) {
        struct check_totals t = {0};
        uint8_t mode = 0;
        int ret;

        if (strlen(names[i]) > NAME_MAX_LEN)
            continue;
        ret = check_namespace(r, root, names[i], &t, &mode, e);
        if (ret < 0)
            return ret;
        put_namespace(r, &t, mode);
        sum.segments += t.segments;
        sum.absent += t.absent;
        sum.records += t.records;
        sum.keys += t.keys;
        sum.live_bytes += t.live_bytes;
        sum.dead_bytes += t.dead_bytes;
        for (int k = 0; k < CHECK_KINDS; k++)
            count[k] += r->count[k];
    }
    fputs(r->json ? "{\"type\":\"total\"" : "total: ", r->out);
    if (r->json)
        put_counts_json(r->out, &sum, count);
    else
        put_counts(r->out, &sum, count);
    return count[CHECK_FAULT] > 0;
}

int check_run(const char *index, const char *data, bool json, FILE *out, struct err *e)
{
    struct check_report r = {.out = out, .json = json};
    struct check_root root = {.locks = {-1, -1}};
    char **names = NULL;
    size_t n = 0;
    int ret = sodium_init() < 0 ? err_set(e, EIO, "libsodium cannot be used")
                                : check_root_lock(&root, index, data, false, e);

    if (ret < 0)
        return ret;
    ret = check_root_namespaces(&root, &names, &n, e);
    if (ret == 0) {
        ret = check_names(&r, &root, names, n, e);
        path_list_free(names, n);
    }
    if (ret >= 0) {
        int still = check_root_still(&root, e);
        ret = still < 0 ? still : ret;
    }
    check_root_unlock(&root);
    if (ret >= 0 && (fflush(out) != 0 || ferror(out)))
        ret = err_set(e, EIO, "output could not be written");
    return ret;
}
