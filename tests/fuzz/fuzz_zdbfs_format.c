/* The values of zdbfs' own keys: any bytes are judged without harm, and what is accepted comes back
 * as it was encoded.  First byte: what the rest is. */
#include "tests/fuzz/fuzz.h"

#include "zdbfs/format/head.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/list.h"
#include "zdbfs/format/point.h"
#include "zdbfs/format/redo.h"

static void points(struct slice in)
{
    static struct point_list l;
    struct buf b = BUF_INIT;
    struct slice orphans;

    if (point_format_decode(in, &l, &orphans) < 0) {
        FUZZ_CHECK(l.n == 0 && orphans.len == 0);
        return;
    }
    uint64_t *ino = xcalloc(orphans.len / 8 + 1, sizeof *ino);
    for (size_t i = 0; i < orphans.len / 8; i++)
        ino[i] = le64_get(orphans.p + 8 * i);
    point_format_encode(&b, &l, ino, orphans.len / 8);
    FUZZ_CHECK(slice_eq(buf_slice(&b), in));
    free(ino);
    buf_fini(&b);
}

static void head(struct slice in)
{
    struct head h, again;
    struct buf b = BUF_INIT;

    for (int role = 0; role < ROLE_COUNT; role++) {
        if (head_format_decode(in, (enum role)role, &h, NULL) < 0)
            continue;
        head_format_encode(&b, (enum role)role, &h);
        FUZZ_CHECK(head_format_decode(buf_slice(&b), (enum role)role, &again, NULL) == 0);
        FUZZ_CHECK(h.epoch == again.epoch && h.owned == again.owned && h.floor == again.floor);
        buf_clear(&b);
    }
    buf_fini(&b);
}

static void redo(struct slice in)
{
    struct redo_chunk c;
    struct redo_item it;
    struct rd r = rd_of(in);

    redo_format_decode_chunk(in, &c);
    while (redo_format_next(&r, &it) == 1) {
        FUZZ_CHECK(it.value.len == 0 ||
                   (it.value.p >= in.p && it.value.p + it.value.len <= in.p + in.len));
        FUZZ_CHECK(it.pairs.len == 0 ||
                   (it.pairs.p >= in.p && it.pairs.p + it.pairs.len <= in.p + in.len));
        if (it.op == REDO_SET || it.op == REDO_INODE || it.op == REDO_ENTRY)
            continue;
        for (uint32_t i = 0; i < redo_format_count(&it); i++)
            redo_format_key(&it, i);
    }
}

static void inode(struct slice in)
{
    struct inode_rec rec;

    if (inode_format_decode(in, &rec) == 0)
        FUZZ_CHECK(rec.slots.len + rec.target.len + rec.lists.len <= in.len);
}

static void list(struct slice in)
{
    struct list_reader l;
    struct slice name;
    uint64_t ino;

    if (in.len >= 8 && list_format_open(&l, in, le64_get(in.p)) == 0)
        while (list_format_next(&l, &name, &ino) == 1)
            FUZZ_CHECK(name.p >= in.p && name.p + name.len <= in.p + in.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const what[])(struct slice) = {points, head, redo, inode, list};

    if (size > 0)
        what[data[0] % 5](slice_of(data + 1, size - 1));
    return 0;
}
