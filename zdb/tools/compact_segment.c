/* compact_segment - see the header. */
#include "zdb/tools/compact_segment.h"
#include "common/io.h"
#include "zdb/file/index_walk.h"
#include "zdb/file/data.h"
#include "zdb/file/data_walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

/* --- live records ---------------------------------------------------------------------------- */

void compact_offs_add(struct compact_offs *o, uint32_t off)
{
    o->offs = xgrow(o->offs, o->n, &o->cap, sizeof *o->offs);
    o->offs[o->n++] = off;
    o->sorted = false;
}

void compact_offs_fini(struct compact_offs *o)
{
    free(o->offs);
    *o = (struct compact_offs){0};
}

static int by_value(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void sort(struct compact_offs *o)
{
    if (o->n && !o->sorted)
        qsort(o->offs, o->n, sizeof *o->offs, by_value);
    o->sorted = true;
}

/* *next: the first that was not asked for yet; records come in ascending order. */
static bool is_live(const struct compact_offs *o, size_t *next, uint64_t off)
{
    while (*next < o->n && o->offs[*next] < off)
        ++*next;
    return *next < o->n && o->offs[*next] == off;
}

static bool is_truncated(const struct compact_offs *o, size_t *next,
                         const struct data_walk_rec *rec)
{
    return !is_live(o, next, rec->off) && rec->head.length > 0;
}

/* --- map ------------------------------------------------------------------------------------- */

static void map_add(struct compact_map *m, uint64_t from, uint64_t to, bool truncated)
{
    m->places = xgrow(m->places, m->n, &m->cap, sizeof *m->places);
    m->places[m->n++] = (struct compact_place){(uint32_t)from, (uint32_t)to, truncated};
}

void compact_map_fini(struct compact_map *m)
{
    free(m->places);
    *m = (struct compact_map){0};
}

static int by_from(const void *a, const void *b)
{
    const struct compact_place *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

static const struct compact_place *map_find(const struct compact_map *m, uint32_t from)
{
    struct compact_place key = {.from = from};

    return m->n ? bsearch(&key, m->places, m->n, sizeof *m->places, by_from) : NULL;
}

/* --- output ---------------------------------------------------------------------------------- */

struct out {
    const char *path;
    int fd;
    struct buf block;
    uint64_t size; /* with the block */
};

/* As the file that it replaces, but for its times. */
static int out_open(struct out *o, const char *path, int like, struct err *e)
{
    struct stat st;

    *o = (struct out){.path = path,
                      .fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (o->fd < 0 || fstat(like, &st) < 0)
        return err_sys(e, errno, "create %s", path);
    if (fchown(o->fd, st.st_uid, st.st_gid) < 0 || fchmod(o->fd, st.st_mode & 07777) < 0)
        return err_sys(e, errno, "owner and mode of %s", path);
    return 0;
}

static void out_close(struct out *o)
{
    buf_fini(&o->block);
    base_close(&o->fd);
}

static int out_flush(struct out *o, struct err *e)
{
    int r = io_pwrite_full(o->fd, buf_data(&o->block), o->block.len, o->size - o->block.len);

    buf_clear(&o->block);
    return r < 0 ? err_sys(e, -r, "write %s", o->path) : 0;
}

static int out_put(struct out *o, struct slice s, struct err *e)
{
    buf_put_slice(&o->block, s);
    o->size += s.len;
    return o->block.len < BLOCK ? 0 : out_flush(o, e);
}

/* --- data file ------------------------------------------------------------------------------- */

static int walk_error(int r, const char *path, uint64_t off, struct err *e)
{
    if (r == -ENODATA || r == -EBADMSG)
        return err_set(e, -r, "%s: no whole record at %llu; see zdb --check", path,
                       (unsigned long long)off);
    return err_sys(e, -r, "%s", path);
}

int compact_seg_measure(const char *path, struct compact_offs *live, struct compact_sizes *out,
                        uint32_t *last, struct err *e)
{
    CLEANUP(base_close) int fd = check_open(path);
    struct data_walk_rec rec;
    struct data_walk w = {0};
    size_t next = 0;
    int r = fd < 0 ? fd : data_walk_init(&w, fd, DATA_HEADER_SIZE);

    if (r < 0)
        return err_sys(e, -r, "%s", path);
    sort(live);
    *out = (struct compact_sizes){w.size, w.size};
    *last = 0;
    while ((r = data_walk_next(&w, &rec)) == 1) {
        if (is_truncated(live, &next, &rec))
            out->after -= rec.head.length;
        *last = (uint32_t)rec.off;
    }
    data_walk_fini(&w);
    return r < 0 ? walk_error(r, path, w.off, e) : 0;
}

static int put_record(struct out *o, const struct data_walk_rec *rec, uint32_t previous,
                      bool truncated, struct err *e)
{
    uint8_t bytes[DATA_REC_SIZE];
    struct data_rec head = rec->head;
    int r;

    head.previous = previous;
    if (truncated) {
        head.length = head.crc = 0;
        head.flags |= DATA_TRUNCATED;
    }
    data_rec_encode(bytes, &head);
    r = out_put(o, slice_of(bytes, sizeof bytes), e);
    if (r == 0)
        r = out_put(o, rec->key, e);
    return r == 0 && !truncated ? out_put(o, rec->payload, e) : r;
}

static int copy_records(struct data_walk *w, struct out *o, const struct compact_offs *live,
                        uint32_t last_before, struct compact_map *map, uint32_t *last,
                        struct err *e)
{
    struct data_walk_rec rec;
    size_t next = 0;
    int r;

    *last = 0;
    while ((r = data_walk_next(w, &rec)) == 1) {
        bool truncated = is_truncated(live, &next, &rec);
        uint32_t previous = *last ? *last : rec.head.previous ? last_before : 0;
        uint64_t to = o->size;

        map_add(map, rec.off, to, truncated);
        r = put_record(o, &rec, previous, truncated, e);
        if (r < 0)
            return r;
        *last = (uint32_t)to;
    }
    return r < 0 ? walk_error(r, o->path, w->off, e) : out_flush(o, e);
}

static int sync_file(const char *path, struct err *e)
{
    CLEANUP(base_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    int r = fd < 0 ? -errno : io_fsync(fd);

    return r < 0 ? err_sys(e, -r, "sync of %s", path) : 0;
}

int compact_seg_settle(const char *data_path, const char *index_path, struct err *e)
{
    int r = sync_file(data_path, e);

    return r < 0 ? r : sync_file(index_path, e);
}

/* Who evicts goes by the time of the last access. */
static void keep_access_time(int from, int to)
{
    struct stat st;

    if (fstat(from, &st) == 0)
        (void)!futimens(to, (struct timespec[2]){st.st_atim, {.tv_nsec = UTIME_OMIT}});
}

static int write_data(struct data_walk *w, struct out *o, const struct compact_offs *live,
                      uint32_t last_before, struct compact_map *map, struct compact_end *end,
                      struct err *e)
{
    uint8_t header[DATA_HEADER_SIZE];
    int r = io_pread_full(w->fd, header, sizeof header, 0);

    if (r < 0)
        return err_sys(e, -r, "read for %s", o->path);
    r = out_put(o, slice_of(header, sizeof header), e);
    if (r == 0)
        r = copy_records(w, o, live, last_before, map, &end->last, e);
    if (r < 0)
        return r;
    end->size = o->size;
    keep_access_time(w->fd, o->fd);
    r = io_fsync(o->fd);
    return r < 0 ? err_sys(e, -r, "sync of %s", o->path) : 0;
}

int compact_seg_data(const char *path, const char *new_path, struct compact_offs *live,
                     uint32_t last_before, struct compact_map *map, struct compact_end *end,
                     struct err *e)
{
    CLEANUP(base_close) int fd = check_open(path);
    struct data_walk w = {0};
    struct out o = {.fd = -1};
    int r = fd < 0 ? fd : data_walk_init(&w, fd, DATA_HEADER_SIZE);

    if (r < 0)
        return err_sys(e, -r, "%s", path);
    sort(live);
    r = out_open(&o, new_path, fd, e);
    if (r == 0)
        r = write_data(&w, &o, live, last_before, map, end, e);
    out_close(&o);
    data_walk_fini(&w);
    return r;
}

/* --- index file ------------------------------------------------------------------------------ */

static void place(struct index_rec *rec, bool seq, uint32_t seg, const struct compact_map *map)
{
    const struct compact_place *p;

    rec->parent_file = rec->parent_off = 0;
    if (!map || rec->off < DATA_HEADER_SIZE || (seq && rec->dataid != seg))
        return;
    p = map_find(map, rec->off);
    rec->off = p ? p->to : 0; /* a former version that was never there points nowhere */
    if (!p || p->truncated)
        rec->length = rec->crc = 0;
}

static int copy_index(struct index_walk *w, struct out *o, bool seq, uint32_t seg,
                      const struct compact_map *map, struct err *e)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    uint64_t at;
    int r = io_pread_full(w->fd, bytes, INDEX_HEADER_SIZE, 0);

    if (r < 0)
        return err_sys(e, -r, "read for %s", o->path);
    r = out_put(o, slice_of(bytes, INDEX_HEADER_SIZE), e);
    if (r < 0)
        return r;
    while ((r = index_walk_next(w, &at, &rec)) == 1) {
        place(&rec, seq, seg, map);
        r = out_put(o, slice_of(bytes, index_rec_encode(bytes, &rec)), e);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return walk_error(r, o->path, w->off, e);
    r = out_flush(o, e);
    if (r < 0)
        return r;
    r = io_fsync(o->fd);
    return r < 0 ? err_sys(e, -r, "sync of %s", o->path) : 0;
}

int compact_seg_index(const char *path, const char *new_path, bool seq, uint32_t seg,
                      const struct compact_map *map, uint64_t *size, struct err *e)
{
    CLEANUP(base_close) int fd = check_open(path);
    struct index_walk w = {0};
    struct out o = {.fd = -1};
    int r = fd < 0 ? fd : index_walk_init(&w, fd, INDEX_HEADER_SIZE);

    if (r < 0)
        return err_sys(e, -r, "%s", path);
    r = out_open(&o, new_path, fd, e);
    if (r == 0)
        r = copy_index(&w, &o, seq, seg, map, e);
    *size = o.size;
    out_close(&o);
    index_walk_fini(&w);
    return r;
}
