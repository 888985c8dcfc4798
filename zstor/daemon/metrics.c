/* metrics - metrics text. */
#include "zstor/daemon/metrics.h"

#include "common/metrics.h"

/* --- backends -------------------------------------------------------------------------------- */

struct backend_metric {
    const char *name, *type;
    size_t field; /* offset in struct backend_info */
};

#define INFO(name, type, field)                          \
    {                                                    \
        name, type, offsetof(struct backend_info, field) \
    }

static const struct backend_metric backend_metrics[] = {
    INFO("entries", "gauge", entries),
    INFO("data_size_bytes", "gauge", data_size_bytes),
    INFO("data_limit_bytes", "gauge", data_limits_bytes),
    INFO("index_size_bytes", "gauge", index_size_bytes),
    INFO("index_io_errors", "counter", index_io_errors),
    INFO("index_faults", "counter", index_faults),
    INFO("data_io_errors", "counter", data_io_errors),
    INFO("data_faults", "counter", data_faults),
    INFO("index_disk_freespace_bytes", "gauge", index_disk_free),
    INFO("data_disk_freespace_bytes", "gauge", data_disk_free),
};

static void labels_of(const struct poller_backend *b, const char *labels[7])
{
    const char *all[7] = {"address",
                          b->addr->address,
                          "backend_type",
                          b->meta ? "meta" : "data",
                          "namespace",
                          b->addr->ns ? b->addr->ns : "",
                          NULL};

    memcpy(labels, all, sizeof all);
}

static uint64_t value_of(const struct backend_metric *m, const struct backend_info *i)
{
    uint64_t v;

    memcpy(&v, (const char *)i + m->field, sizeof v);
    if (m->field == offsetof(struct backend_info, data_limits_bytes) && v == 0) /* no limit: what
                                                                                   the disk has */
        v = i->data_disk_free;
    return v;
}

static void put_backends(struct buf *out, const struct poller_backend *list, size_t n)
{
    const char *labels[7];

    metrics_family(out, "connection_status", "gauge", "Status of the connection to the 0-db");
    for (size_t i = 0; i < n; i++) {
        labels_of(&list[i], labels);
        metrics_sample_u64(out, "connection_status", labels, list[i].up);
    }
    for (size_t k = 0; k < ARRAY_LEN(backend_metrics); k++) {
        const struct backend_metric *m = &backend_metrics[k];
        CLEANUP(base_free) char *help = xasprintf("%s in namespace", m->name);

        metrics_family(out, m->name, m->type, help);
        for (size_t i = 0; i < n; i++) {
            uint64_t v = value_of(m, &list[i].info);

            if (!list[i].up || v == UINT64_MAX) /* not told */
                continue;
            labels_of(&list[i], labels);
            metrics_sample_u64(out, m->name, labels, v);
        }
    }
}

/* What is known of how each kind of operation goes there. */
static void put_health(struct buf *out, const struct poller_backend *list, size_t n)
{
    static const struct {
        const char *name, *type, *help;
    } family[] = {
        {"zstor_backend_down", "gauge", "1: no such operation is sent to the backend for now"},
        {"zstor_backend_failures_total", "counter", "Operations that failed or took too long"},
        {"zstor_backend_latency_seconds", "gauge", "Moving average of what an operation takes"},
    };

    for (size_t f = 0; f < ARRAY_LEN(family); f++) {
        metrics_family(out, family[f].name, family[f].type, family[f].help);
        for (size_t i = 0; i < n; i++)
            for (int t = 0; t < HEALTH_TRACKS; t++) {
                const struct health_state *s = &list[i].health.track[t];
                const struct backend_addr *a = list[i].addr;
                const char *labels[] = {"address",   a->address,
                                        "namespace", a->ns ? a->ns : "",
                                        "operation", health_name((enum health_track)t),
                                        NULL};

                if (f == 2)
                    metrics_sample(out, family[f].name, labels, s->latency_us / 1e6);
                else
                    metrics_sample_u64(out, family[f].name, labels,
                                       f == 0 ? (uint64_t)s->down : s->failures);
            }
    }
}

/* --- commands -------------------------------------------------------------------------------- */

static void put_command(struct buf *out, const char *what, const uint64_t counts[2])
{
    static const char *const failed[] = {"success", "false", NULL}, *const good[] = {"success",
                                                                                     "true", NULL};
    CLEANUP(base_free) char *name = xasprintf("zstore_%s_commands_finished", what);
    CLEANUP(base_free) char *help = xasprintf("zstor %s commands that finished", what);

    metrics_family(out, name, "counter", help);
    metrics_sample_u64(out, name, failed, counts[0]);
    metrics_sample_u64(out, name, good, counts[1]);
}

/* --- zdbfs ----------------------------------------------------------------------------------- */

struct fs_metric {
    const char *name, *type, *help;
    enum fsstats_field field;
};

static const struct fs_metric fs_metrics[] = {
    {"fs_fuse_reqs", "counter", "Total amount of fuse requests", FSSTATS_FUSE_REQS},
    {"fs_cache_hits", "counter", "fs_cache_hits", FSSTATS_CACHE_HIT},
    {"fs_cache_miss", "counter", "fs_cache_miss", FSSTATS_CACHE_MISS},
    {"fs_cache_full", "gauge", "fs_cache_full", FSSTATS_CACHE_FULL},
    {"fs_cache_linear_flush", "gauge", "fs_cache_linear_flush", FSSTATS_CACHE_LINEAR_FLUSH},
    {"fs_cache_random_flush", "gauge", "fs_cache_random_flush", FSSTATS_CACHE_RANDOM_FLUSH},
    {"fs_cache_branches", "gauge", "fs_cache_branches", FSSTATS_CACHE_BRANCHES},
    {"fs_cache_branches_allocated", "gauge", "fs_cache_branches_allocated",
     FSSTATS_CACHE_BRANCHES_ALLOCATED},
    {"fs_cache_entries", "gauge", "fs_cache_entries", FSSTATS_CACHE_ENTRIES},
    {"fs_cache_blocks", "gauge", "fs_cache_blocks", FSSTATS_CACHE_BLOCKS},
    {"fs_cache_blocksize", "gauge", "fs_cache_blocksize", FSSTATS_CACHE_BLOCKSIZE},
    {"fs_bytes_read", "counter", "fs_bytes_read", FSSTATS_READ_BYTES},
    {"fs_bytes_written", "counter", "fs_bytes_written", FSSTATS_WRITE_BYTES},
    {"fs_fuse_errors", "counter", "fs_fuse_errors", FSSTATS_ERRORS},
};

static const char *const syscalls[] = {"getattr", "setattr", "create",  "readdir", "open",
                                       "read",    "write",   "mkdir",   "unlink",  "rmdir",
                                       "rename",  "link",    "symlink", "statsfs", "ioctl"};
_Static_assert(ARRAY_LEN(syscalls) == FSSTATS_IOCTL - FSSTATS_GETATTR + 1,
               "one name for each field");

static void put_fs(struct buf *out, const uint64_t *fs)
{
    for (size_t i = 0; i < ARRAY_LEN(fs_metrics); i++) {
        metrics_family(out, fs_metrics[i].name, fs_metrics[i].type, fs_metrics[i].help);
        metrics_sample_u64(out, fs_metrics[i].name, NULL, fs[fs_metrics[i].field]);
    }
    metrics_family(out, "fs_syscalls", "counter", "fs_syscalls");
    for (size_t i = 0; i < ARRAY_LEN(syscalls); i++) {
        const char *labels[] = {"syscall", syscalls[i], NULL};

        metrics_sample_u64(out, "fs_syscalls", labels, fs[FSSTATS_GETATTR + i]);
    }
}

/* --- ours ------------------------------------------------------------------------------------ */

static void put_one(struct buf *out, const char *name, const char *type, const char *help,
                    uint64_t v)
{
    metrics_family(out, name, type, help);
    metrics_sample_u64(out, name, NULL, v);
}

static void put_queue(struct buf *out, const struct sched_stats *q)
{
    put_one(out, "zstor_queue_jobs", "gauge", "Stores that are queued or running", q->jobs);
    put_one(out, "zstor_queue_bytes", "gauge", "Bytes of the stores that are queued or running",
            q->bytes);
    put_one(out, "zstor_queue_oldest_seconds", "gauge", "Age of the oldest queued store",
            q->oldest_s);
    put_one(out, "zstor_queue_failing", "gauge", "Queued stores whose last try failed", q->failing);
    put_one(out, "zstor_queue_rebuilds", "gauge", "Rebuilds that are queued or running",
            q->rebuilds);
    put_one(out, "zstor_queue_done_total", "counter", "Queued jobs that were done", q->done);
    put_one(out, "zstor_queue_failed_tries_total", "counter", "Tries of queued jobs that failed",
            q->failed_tries);
    put_one(out, "zstor_queue_replaced_total", "counter", "Queued jobs that a newer one replaced",
            q->replaced);
    put_one(out, "zstor_queue_dropped_total", "counter",
            "Queued jobs whose file or object was gone", q->dropped);
}

static void put_cache(struct buf *out, const struct evict_stats *c)
{
    put_one(out, "zstor_cache_limit_bytes", "gauge",
            "Limit of the local data directory, 0 without one", c->limit_bytes);
    put_one(out, "zstor_cache_used_bytes", "gauge",
            "Size of the local data directory at the last look", c->used_bytes);
    put_one(out, "zstor_cache_held_files", "gauge",
            "Segments over the limit that are not provably remote", c->held_files);
    put_one(out, "zstor_evict_runs_total", "counter", "Looks at the local data directory", c->runs);
    put_one(out, "zstor_evicted_files_total", "counter", "Local segments that were removed",
            c->evicted_files);
    put_one(out, "zstor_evicted_bytes_total", "counter",
            "Bytes of local segments that were removed", c->evicted_bytes);
}

static void put_care(struct buf *out, const struct care_stats *c)
{
    put_one(out, "zstor_repair_running", "gauge", "1: a repair is under way", c->repair.running);
    put_one(out, "zstor_repair_left", "gauge", "Objects that have not had their turn",
            c->repair.left);
    put_one(out, "zstor_repair_failed", "gauge", "Objects that the last repair could not mend",
            c->repair.failed);
    put_one(out, "zstor_repair_mended_total", "counter", "Objects that were mended",
            c->repair.mended_ever);
    put_one(out, "zstor_backends_drained", "gauge", "Backends that get nothing more", c->drained);
    put_one(out, "zstor_scrub_objects_total", "counter", "Objects that a scrub has read",
            c->scrub.verified);
    put_one(out, "zstor_scrub_bytes_total", "counter",
            "Bytes of files whose shards a scrub has read", c->scrub.verified_bytes);
    put_one(out, "zstor_scrub_restored_total", "counter", "Shards that a scrub has restored",
            c->scrub.restored);
    put_one(out, "zstor_scrub_failed_total", "counter",
            "Objects that a scrub could not make whole at once", c->scrub.failed);
    if (c->scrub.oldest_s != UINT64_MAX) /* else not everything was read yet */
        put_one(out, "zstor_scrub_oldest_seconds", "gauge",
                "Age of the oldest unverified byte, at the most", c->scrub.oldest_s);
}

#define STAT(field) ((uint64_t)atomic_load(&o->field))

static void put_objects(struct buf *out, struct object_stats *o)
{
    put_one(out, "zstor_stored_bytes_total", "counter", "Bytes of files that were stored",
            STAT(stored_bytes));
    put_one(out, "zstor_skipped_total", "counter", "Stores of content that was there already",
            STAT(skipped));
    put_one(out, "zstor_degraded_total", "counter", "Stores with fewer shards than wanted",
            STAT(degraded));
    put_one(out, "zstor_retrieved_bytes_total", "counter", "Bytes of files that were brought back",
            STAT(retrieved_bytes));
    put_one(out, "zstor_shards_rebuilt_total", "counter", "Shards that were restored",
            STAT(shards_rebuilt));
    put_one(out, "zstor_shards_corrupt_total", "counter", "Shards met with wrong content",
            STAT(shards_corrupt));
    put_one(out, "zstor_shards_missing_total", "counter", "Shards met that were not there",
            STAT(shards_missing));
    put_one(out, "zstor_shards_unreachable_total", "counter", "Shards met on backends out of reach",
            STAT(shards_unreachable));
    put_one(out, "zstor_objects_verified_total", "counter",
            "Objects looked at completely and found whole", STAT(verified));
    put_one(out, "zstor_hedged_reads_total", "counter", "Extra shards read because one was slow",
            STAT(hedged));
    put_one(out, "zstor_meta_partial_total", "counter",
            "Metadata records written to some of the backends", STAT(meta_partial));
    put_one(out, "zstor_old_values_deleted_total", "counter",
            "Values of replaced objects that were deleted", STAT(old_values_deleted));
    put_one(out, "zstor_old_values_leaked_total", "counter",
            "Values of replaced objects that could not be deleted", STAT(old_values_leaked));
}

void exporter_render(struct buf *out, const struct exporter_view *v)
{
    put_backends(out, v->status->backends, v->status->n);
    put_health(out, v->status->backends, v->status->n);
    put_command(out, "store", v->counts->store);
    put_command(out, "retrieve", v->counts->retrieve);
    put_command(out, "rebuild", v->counts->rebuild);
    put_command(out, "check", v->counts->check);
    put_fs(out, v->fs);
    put_queue(out, &v->status->queue);
    put_cache(out, &v->status->cache);
    put_care(out, &v->status->care);
    put_objects(out, v->objects);
    put_one(out, "zstor_heal_total", "counter", "Rebuilds that were queued because damage was met",
            v->counts->heals);
    put_one(out, "zstor_reconcile_passes_total", "counter",
            "Comparisons of the local segments with what is stored", v->handover.passes);
    put_one(out, "zstor_reconcile_queued_total", "counter", "Segments that a comparison queued",
            v->handover.queued);
    put_one(out, "zstor_local_only_files", "gauge",
            "Files of the local zdb that were only here at the last look", v->handover.files);
    put_one(out, "zstor_local_only_bytes", "gauge", "Bytes of them", v->handover.bytes);
    put_one(out, "zstor_local_only_oldest_seconds", "gauge",
            "Time since the last change of the one that is here longest", v->handover.oldest_s);
}
