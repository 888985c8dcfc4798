/* mode - is a namespace in user or in sequential mode?  Contract: recovery/state.h.
 * The mode byte of an index file has no checksum, so all witnesses are heard: the headers, what the
 * records look like, and where these do not agree, the data.  Spec zdb-files, 4.1. */
#include "common/log.h"
#include "zdb/file/data_walk.h"
#include "zdb/format/slots.h"
#include "zdb/recovery/state.h"
#include <stdlib.h>
#include <unistd.h>

#define SLOTS     1024
#define WITNESSES 16 /* index files */

struct votes {
    int seq;          /* above 0: sequential, below: user */
    bool said[2];     /* by a header, by mode */
    uint8_t first;    /* by the first header that could be read */
    uint32_t segment; /* of that one */
};

static int of_records(int fd)
{
    CLEANUP(base_free) uint8_t *block = xcalloc(SLOTS, INDEX_SEQ_REC);
    ssize_t n = pread(fd, block, (size_t)SLOTS * INDEX_SEQ_REC, INDEX_HEADER_SIZE);

    return slots_vote_mode(block, n < 0 ? 0 : (size_t)n / INDEX_SEQ_REC);
}

static void hear_index(struct load *l, struct votes *v)
{
    for (size_t i = 0, n = 0; i < l->n && n < WITNESSES; i++) {
        CLEANUP(base_close) int fd = load_open(l, 'i', l->found[i].id);
        struct index_header h;

        if (fd < 0 || load_header(l, l->found[i].id, &h) < 0)
            continue;
        v->seq += (h.mode == INDEX_MODE_SEQ ? 1 : -1) + of_records(fd);
        v->said[h.mode == INDEX_MODE_SEQ] = true;
        if (n++ == 0) {
            v->first = h.mode;
            v->segment = l->found[i].id;
        }
    }
}

/* The first record of the first data file that has one: does it begin with id 0?  2 yes, -2 no, 0
 * nothing can be read. */
static int of_data(const struct load *l)
{
    int vote = 0;

    for (size_t i = 0; i < l->n && vote == 0; i++) {
        CLEANUP(base_close) int fd = load_open(l, 'd', l->found[i].id);
        struct data_walk_rec rec;
        struct data_walk w;

        if (fd < 0 || data_walk_init(&w, fd, DATA_HEADER_SIZE) < 0)
            continue;
        if (data_walk_next(&w, &rec) == 1)
            vote = l->found[i].id == 0 && rec.key.len == NS_SEQ_KEY_SIZE && le64_get(rec.key.p) == 0
                       ? 2
                       : -2;
        data_walk_fini(&w);
    }
    return vote;
}

int load_mode(struct load *l)
{
    enum ns_mode forced = l->ns->env->mode;
    struct votes v = {0};
    bool any;
    uint8_t mode;

    hear_index(l, &v);
    any = v.said[0] || v.said[1];
    if (!any && forced != NS_MIXED)
        return 0;
    if (v.seq == 0 || (v.said[0] && v.said[1]))
        v.seq += of_data(l);
    if (!any && v.seq == 0)
        return 0;
    mode = v.seq == 0 ? v.first : v.seq > 0 ? INDEX_MODE_SEQ : INDEX_MODE_USER;
    if (forced != NS_MIXED && mode != (uint8_t)forced)
        return err_set(
            l->e, EINVAL,
            "index %s/i%u: the namespace is in %s mode, the server was started with --mode %s",
            l->ns->index_dir, v.segment, mode ? "sequential" : "user", mode ? "user" : "seq");
    l->ns->mode = mode == INDEX_MODE_SEQ ? NS_SEQ : NS_USER;
    return 0;
}
