/* journal - job files and their snapshots. */
#include "zstor/queue/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crc.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "common/resp.h"

#define MAX_FILE (64 * KIB) /* bytes of one job file */

struct journal {
    char *queue, *snap; /* directories */
    int lock_fd;
    atomic_ullong next;
};

static const char *const op_names[JOURNAL_OPS] = {
    [JOURNAL_STORE] = "store", [JOURNAL_REBUILD] = "rebuild", [JOURNAL_RECLAIM] = "reclaim"};

const char *journal_op_name(enum journal_op op)
{
    return op_names[op];
}

bool journal_has_snapshot(const struct journal_rec *rec)
{
    return !rec->source && rec->op != JOURNAL_REBUILD;
}

/* --- one file -------------------------------------------------------------------------------- */

void journal_rec_free(struct journal_rec *rec)
{
    if (!rec)
        return;
    free(rec->name);
    free(rec->source);
    free(rec);
}

void journal_encode(const struct journal_rec *rec, struct buf *out)
{
    CLEANUP(base_free) char *bytes = xasprintf("%" PRIu64, rec->bytes);
    CLEANUP(base_free) char *queued = xasprintf("%" PRIu64, rec->queued_s);
    struct slice argv[] = {
        slice_str("zstor-job"),
        slice_str("1"),
        slice_str(op_names[rec->op]),
        slice_str(rec->name),
        slice_str(rec->source ? rec->source : ""),
        slice_str(rec->remove ? "1" : "0"),
        slice_str(bytes),
        slice_str(queued),
    };
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    resp_put_request(&body, ARRAY_LEN(argv), argv);
    buf_printf(out, "%08" PRIx32 "\n", crc_std(0, buf_data(&body), body.len));
    buf_put_slice(out, buf_slice(&body));
}

static char *text_of(struct slice s)
{
    char *t = xcalloc(s.len + 1, 1);

    memcpy(t, s.p, s.len);
    return t;
}

static bool fields_of(struct journal_rec *out, const struct resp_req *req)
{
    uint64_t remove, op = 0;

    if (req->argc != 8 || !slice_eq_str(req->argv[0], "zstor-job") ||
        !slice_eq_str(req->argv[1], "1"))
        return false;
    while (op < ARRAY_LEN(op_names) && !slice_eq_str(req->argv[2], op_names[op]))
        op++;
    if (op == ARRAY_LEN(op_names) || req->argv[3].len == 0 || req->argv[3].p[0] != '/' ||
        memchr(req->argv[3].p, 0, req->argv[3].len) ||
        (req->argv[4].len &&
         (req->argv[4].p[0] != '/' || memchr(req->argv[4].p, 0, req->argv[4].len))))
        return false;
    if (parse_u64_slice(req->argv[5], 0, 1, &remove) < 0 ||
        parse_u64_slice(req->argv[6], 0, UINT64_MAX, &out->bytes) < 0 ||
        parse_u64_slice(req->argv[7], 0, UINT64_MAX, &out->queued_s) < 0)
        return false;
    out->op = (enum journal_op)op;
    out->remove = remove == 1;
    out->name = text_of(req->argv[3]);
    out->source = req->argv[4].len ? text_of(req->argv[4]) : NULL;
    return true;
}

int journal_decode(struct journal_rec *out, struct slice bytes, struct err *e)
{
    struct resp_limits lim = {.max_args = 16, .max_bulk = MAX_FILE, .max_header = 32};
    struct resp_parser parser;
    struct resp_req req;
    uint8_t crc[4];
    struct slice body;
    bool ok;

    *out = (struct journal_rec){0};
    if (!bytes.p || bytes.len < 9 || bytes.p[8] != '\n' ||
        parse_hex(slice_of(bytes.p, 8), crc, 4) < 0)
        return err_set(e, EINVAL, "no job file (checksum line missing)");
    body = slice_of(bytes.p + 9, bytes.len - 9);
    if (((uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3]) !=
        crc_std(0, body.p, body.len))
        return err_set(e, EINVAL, "checksum does not match");
    resp_init(&parser, &lim);
    ok = resp_next(&parser, body, &req) == 1 && req.bytes == body.len && fields_of(out, &req);
    resp_fini(&parser);
    return ok ? 0 : err_set(e, EINVAL, "unknown kind or version of job");
}

/* --- the directory --------------------------------------------------------------------------- */

static char *job_path(const struct journal *j, uint64_t seq)
{
    return xasprintf("%s/%020" PRIu64 ".job", j->queue, seq);
}

char *journal_snapshot_path(const struct journal *j, uint64_t seq)
{
    return xasprintf("%s/%020" PRIu64, j->snap, seq);
}

const char *journal_snapshot_dir(const struct journal *j)
{
    return j->snap;
}

uint64_t journal_next(struct journal *j)
{
    return atomic_fetch_add(&j->next, 1);
}

int journal_open(struct journal **out, const char *state_dir, struct err *e)
{
    struct journal *j = xcalloc(1, sizeof *j);
    CLEANUP(base_free) char *lock = path_join(state_dir, "lock");
    int r;

    j->lock_fd = -1;
    j->queue = path_join(state_dir, "queue");
    j->snap = path_join(state_dir, "snap");
    atomic_init(&j->next, 1);
    r = path_mkdirs(j->queue, 0700);
    if (r < 0) {
        r = err_sys(e, -r, "state_dir: create %s", j->queue);
        goto fail;
    }
    r = path_mkdirs(j->snap, 0700);
    if (r < 0) {
        r = err_sys(e, -r, "state_dir: create %s", j->snap);
        goto fail;
    }
    j->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (j->lock_fd < 0) {
        r = err_sys(e, errno, "state_dir: open %s", lock);
        goto fail;
    }
    if (flock(j->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        r = errno == EWOULDBLOCK
                ? err_set(e, EBUSY, "state_dir: %s is in use by another zstor, give each its own",
                          state_dir)
                : err_sys(e, errno, "state_dir: lock %s", lock);
        goto fail;
    }
    *out = j;
    return 0;
fail:
    journal_close(j);
    return r;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    free(j->queue);
    free(j->snap);
    free(j);
}

/* "<20 digits><suffix>" */
static bool name_seq(const char *name, const char *suffix, uint64_t *seq)
{
    return strlen(name) == 20 + strlen(suffix) && strcmp(name + 20, suffix) == 0 &&
           parse_u64_slice(slice_of(name, 20), 1, UINT64_MAX - 1, seq) == 0;
}

static void seen_seq(struct journal *j, uint64_t seq)
{
    if (seq >= atomic_load(&j->next))
        atomic_store(&j->next, seq + 1);
}

static struct journal_rec *load_one(struct journal *j, const char *path, uint64_t seq)
{
    struct journal_rec *rec = xcalloc(1, sizeof *rec);
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    CLEANUP(base_free) char *bad = xasprintf("%s.bad", path);
    struct err why = {0};
    int r = path_read(path, MAX_FILE, &bytes, &why);

    if (r == 0)
        r = journal_decode(rec, buf_slice(&bytes), &why);
    if (r == 0 && journal_has_snapshot(rec)) {
        CLEANUP(base_free) char *copy = journal_snapshot_path(j, seq);

        if (access(copy, F_OK) < 0)
            r = err_sys(&why, errno, "its copy %s", copy);
    }
    if (r == 0) {
        rec->seq = seq;
        return rec;
    }
    log_error("queue: %s: %s; set aside as %s", path, why.text, bad);
    if (rename(path, bad) < 0)
        log_error("queue: rename %s: %s", path, strerror(errno));
    journal_rec_free(rec);
    return NULL;
}

struct wanted { /* seqs of snapshots that belong to a job; ascending */
    uint64_t *seq;
    size_t n;
};

static bool is_wanted(const struct wanted *w, uint64_t seq)
{
    size_t lo = 0, hi = w->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (w->seq[mid] < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < w->n && w->seq[lo] == seq;
}

static int remove_orphans(struct journal *j, const struct wanted *w, struct err *e)
{
    char **names = NULL;
    size_t n = 0;
    int r = path_list(j->snap, &names, &n);

    if (r < 0)
        return err_sys(e, -r, "read %s", j->snap);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *path = path_join(j->snap, names[i]);
        uint64_t seq = 0;

        if (name_seq(names[i], "", &seq))
            seen_seq(j, seq);
        if (seq && is_wanted(w, seq))
            continue;
        log_info("queue: %s belongs to no job, removed", path);
        if (unlink(path) < 0)
            log_warn("queue: remove %s: %s", path, strerror(errno));
    }
    path_list_free(names, n);
    return 0;
}

int journal_load(struct journal *j, journal_load_fn *fn, void *arg, struct err *e)
{
    char **names = NULL;
    struct wanted w = {0};
    struct journal_rec **recs;
    size_t n = 0, nrecs = 0;
    int r = path_list(j->queue, &names, &n);

    if (r < 0)
        return err_sys(e, -r, "read %s", j->queue);
    w.seq = xcalloc(n + 1, sizeof *w.seq);
    recs = xcalloc(n + 1, sizeof *recs);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *path = path_join(j->queue, names[i]);
        struct journal_rec *rec;
        uint64_t seq;

        if (names[i][0] == '.') { /* left by path_replace */
            unlink(path);
            continue;
        }
        if (name_seq(names[i], ".job.bad", &seq)) { /* its snapshot stays with it */
            seen_seq(j, seq);
            w.seq[w.n++] = seq;
            continue;
        }
        if (!name_seq(names[i], ".job", &seq)) {
            log_warn("queue: %s is no job file, left alone", path);
            continue;
        }
        seen_seq(j, seq);
        w.seq[w.n++] = seq;
        rec = load_one(j, path, seq);
        if (rec)
            recs[nrecs++] = rec;
    }
    path_list_free(names, n);
    r = remove_orphans(j, &w, e);
    for (size_t i = 0; i < nrecs; i++) /* from now on others may add to both directories */
        fn(arg, recs[i]);
    free(recs);
    free(w.seq);
    return r;
}

int journal_add(struct journal *j, const struct journal_rec *rec, struct err *e)
{
    CLEANUP(base_free) char *path = job_path(j, rec->seq);
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    int r;

    journal_encode(rec, &bytes);
    if (bytes.len > MAX_FILE)
        return err_set(e, ENAMETOOLONG, "queue: path too long");
    r = path_replace(path, buf_slice(&bytes), 0600, e);
    if (r < 0)
        unlink(path); /* it may be there without being durable */
    return r;
}

void journal_remove(struct journal *j, const struct journal_rec *rec)
{
    CLEANUP(base_free) char *path = job_path(j, rec->seq);

    if (unlink(path) < 0 && errno != ENOENT)
        log_error("queue: remove %s: %s", path, strerror(errno));
    if (journal_has_snapshot(rec)) {
        CLEANUP(base_free) char *copy = journal_snapshot_path(j, rec->seq);

        if (unlink(copy) < 0 && errno != ENOENT)
            log_error("queue: remove %s: %s", copy, strerror(errno));
    }
}
