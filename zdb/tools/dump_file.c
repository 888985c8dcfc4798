/* dump_file - see the header.  What a file is its first bytes say; a descriptor has no magic, so it
 * goes by its name or its version. */
#include "zdb/tools/dump_file.h"
#include "common/path.h"
#include "zdb/tools/root.h"
#include "zdb/tools/text.h"
#include "zdb/file/index_walk.h"
#include "zdb/file/data_walk.h"
#include "zdb/format/namespace.h"
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

struct dump {
    const char *path;
    int fd;
    bool json;
    FILE *out;
    struct err *e;
};

static int bad(const struct dump *d, uint64_t off, int why, const char *what)
{
    return err_set(d->e, why, "%s: %s at %" PRIu64, d->path, what, off);
}

static void put_key(const struct dump *d, struct slice key)
{
    fputs(d->json ? "\"key\":\"" : "key ", d->out);
    if (d->json)
        check_text_hex(d->out, key);
    else
        check_text_put(d->out, key, false);
    fputs(d->json ? "\"" : "", d->out);
}

/* --- index file ------------------------------------------------------------------------------ */

static void put_index_rec(const struct dump *d, uint64_t at, const struct index_rec *r)
{
    fprintf(d->out, d->json ? "{\"type\":\"record\",\"offset\":%" PRIu64 "," : "%" PRIu64 " ", at);
    put_key(d, r->key);
    fprintf(d->out,
            d->json
                ? ",\"data_offset\":%u,\"length\":%u,\"previous\":%u,\"deleted\":%s,\"data_file\":%"
                  "u,\"timestamp\":%u,"
                  "\"crc\":\"%08x\",\"parent_file\":%u,\"parent_offset\":%u}\n"
                : " data %u length %u previous %u %s data-file %u time %u crc %08x parent %u:%u\n",
            r->off, r->length, r->previous,
            r->flags & INDEX_DELETED ? d->json ? "true" : "deleted"
            : d->json                ? "false"
                                     : "live",
            r->dataid, r->timestamp, r->crc, r->parent_file, r->parent_off);
}

static int dump_index(const struct dump *d, struct slice head)
{
    struct index_header h = {0};
    struct index_rec rec;
    struct index_walk w;
    uint64_t at;
    int r = index_header_decode(head, &h);

    if (r < 0)
        return bad(d, 0, -r,
                   r == -EPROTONOSUPPORT ? "index file of an unknown version"
                                         : "no header of an index file");
    fprintf(
        d->out,
        d->json
            ? "{\"type\":\"index\",\"version\":%d,\"file\":%u,\"mode\":\"%s\",\"created\":%" PRIu64
              ",\"opened\":%" PRIu64 "}\n"
            : "index file, version %d, number %u, %s mode, created %" PRIu64 ", opened %" PRIu64
              "\n",
        INDEX_VERSION, h.fileid, h.mode == INDEX_MODE_SEQ ? "sequential" : "user", h.created,
        h.opened);
    r = index_walk_init(&w, d->fd, INDEX_HEADER_SIZE);
    while (r >= 0 && (r = index_walk_next(&w, &at, &rec)) == 1)
        put_index_rec(d, at, &rec);
    index_walk_fini(&w);
    if (r == -ENODATA)
        return bad(d, w.off, ENODATA, "torn index record");
    if (r == -EBADMSG)
        return bad(d, w.off, EBADMSG, "no index record");
    return r < 0 ? err_sys(d->e, -r, "%s", d->path) : 0;
}

/* --- data file ------------------------------------------------------------------------------- */

static void put_data_rec(const struct dump *d, const struct data_walk_rec *rec)
{
    const char *kind = rec->head.flags & DATA_DELETED     ? "deletion"
                       : rec->head.flags & DATA_TRUNCATED ? "truncated"
                                                          : "value";

    fprintf(d->out, d->json ? "{\"type\":\"record\",\"offset\":%" PRIu64 "," : "%" PRIu64 " ",
            rec->off);
    put_key(d, rec->key);
    fprintf(d->out,
            d->json ? ",\"kind\":\"%s\",\"flags\":%u,\"length\":%u,\"previous\":%u,\"timestamp\":%"
                      "u,\"crc\":\"%08x\",\"crc_ok\":%s}\n"
                    : " %s flags %u length %u previous %u time %u crc %08x %s\n",
            kind, rec->head.flags, rec->head.length, rec->head.previous, rec->head.timestamp,
            rec->head.crc,
            rec->crc_ok ? d->json ? "true" : "ok"
            : d->json   ? "false"
                        : "WRONG");
}

static int dump_data(const struct dump *d, struct slice head)
{
    struct data_header h = {0};
    struct data_walk_rec rec;
    struct data_walk w;
    int r = data_header_decode(head, &h);

    if (r < 0)
        return bad(d, 0, -r,
                   r == -EPROTONOSUPPORT ? "data file of an unknown version"
                                         : "no header of a data file");
    fprintf(d->out,
            d->json ? "{\"type\":\"data\",\"version\":%d,\"file\":%u,\"created\":%" PRIu64
                      ",\"opened\":%" PRIu64 "}\n"
                    : "data file, version %d, number %u, created %" PRIu64 ", opened %" PRIu64 "\n",
            DATA_VERSION, h.fileid, h.created, h.opened);
    r = data_walk_init(&w, d->fd, DATA_HEADER_SIZE);
    while (r >= 0 && (r = data_walk_next(&w, &rec)) == 1)
        put_data_rec(d, &rec);
    data_walk_fini(&w);
    if (r == -ENODATA)
        return bad(d, w.off, ENODATA, "torn data record");
    if (r == -EBADMSG)
        return bad(d, w.off, EBADMSG, "no data record");
    return r < 0 ? err_sys(d->e, -r, "%s", d->path) : 0;
}

/* --- descriptor, journal --------------------------------------------------------------------- */

static int dump_descriptor(const struct dump *d, struct slice head)
{
    struct ns_format f;
    int r = ns_format_decode(head, &f);

    if (r < 0)
        return bad(d,
                   r == -EBADMSG   ? 14
                   : r == -ENODATA ? head.len
                                   : 0,
                   -r,
                   r == -EPROTONOSUPPORT ? "descriptor of an unknown version"
                   : r == -EBADMSG       ? "unknown flags of a descriptor"
                                         : "descriptor ends");
    fputs(d->json ? "{\"type\":\"descriptor\",\"name\":\"" : "namespace descriptor, name ", d->out);
    check_text_put(d->out, f.name, d->json);
    fprintf(d->out,
            d->json ? "\",\"version\":%d,\"password\":%s,\"maxsize\":%" PRIu64
                      ",\"public\":%s,\"worm\":%s}\n"
                    : ", version %d, password: %s, maxsize %" PRIu64 ", public: %s, worm: %s\n",
            NS_FORMAT_VERSION,
            d->json          ? f.password.len ? "true" : "false"
            : f.password.len ? "yes"
                             : "no",
            f.max_size,
            d->json       ? f.is_public ? "true" : "false"
            : f.is_public ? "yes"
                          : "no",
            d->json  ? f.worm ? "true" : "false"
            : f.worm ? "yes"
                     : "no");
    return 0;
}

static int dump_journal(const struct dump *d)
{
    CLEANUP(base_free) char *dir = path_dir(d->path);
    struct compact_list l = {0};
    int r = compact_journal_read(dir, &l, d->e);

    if (r < 0)
        return r;
    fprintf(d->out,
            d->json ? "{\"type\":\"journal\",\"version\":%d,\"files\":%zu}\n"
                    : "journal of a compaction, version %d, %zu files\n",
            COMPACT_FORMAT_VERSION, l.n);
    for (size_t i = 0; i < l.n; i++)
        fprintf(d->out,
                d->json ? "{\"type\":\"file\",\"name\":\"%c%u\",\"size\":%" PRIu64 "}\n"
                        : "%c%u of %" PRIu64 " bytes\n",
                l.entries[i].kind, l.entries[i].id, l.entries[i].size);
    compact_list_fini(&l);
    return 0;
}

static int dump_open(struct dump *d)
{
    uint8_t head[NS_FORMAT_SIZE_MAX];
    const char *name = path_base(d->path);
    ssize_t n = pread(d->fd, head, sizeof head, 0);
    struct slice s = slice_of(head, n < 0 ? 0 : (size_t)n);
    int r;

    if (n < 0)
        return err_sys(d->e, errno, "%s", d->path);
    if (strcmp(name, COMPACT_FORMAT_FILE) == 0)
        r = dump_journal(d);
    else if (strcmp(name, NS_FORMAT_FILE) == 0)
        r = dump_descriptor(d, s);
    else if (n >= 4 && memcmp(head, "IDX0", 4) == 0)
        r = dump_index(d, s);
    else if (n >= 4 && memcmp(head, "DAT0", 4) == 0)
        r = dump_data(d, s);
    else if (n >= NS_FORMAT_HEADER_SIZE && le32_get(head) == NS_FORMAT_VERSION)
        r = dump_descriptor(d, s);
    else
        r = bad(d, 0, EBADMSG,
                "neither an index file nor a data file nor a namespace descriptor: no such magic");
    sodium_memzero(head, sizeof head);
    return r;
}

int dump_file(const char *path, bool json, FILE *out, struct err *e)
{
    CLEANUP(base_close) int fd = check_open(path);
    struct dump d = {path, fd, json, out, e};
    int r;

    if (fd < 0)
        return fd == -EINVAL ? err_set(e, EINVAL, "%s: not a regular file", path)
                             : err_sys(e, -fd, "%s", path);
    r = dump_open(&d);
    if (fflush(out) != 0 || ferror(out))
        return err_set(e, EIO, "output could not be written");
    return r;
}
