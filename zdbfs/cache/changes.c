/* changes - see cache/changes.h. */
#include "zdbfs/cache/changes.h"

#include <stdlib.h>

enum {
    RECORD_BYTES = 160,
    NAMES_MAX = 64 * 1024, /* bytes of names that have changed */
    SLOTS_MAX = 1024,      /* or a quarter of the file's */
};

uint64_t inode_record_bytes(const struct inode *in)
{
    return RECORD_BYTES + in->xattrs_len + (inode_by_changes(in) ? 0 : 4 * (uint64_t)in->nslots) +
           (in->dir ? sizeof in->dir->id : 0);
}

bool inode_by_changes(const struct inode *in)
{
    return in->based && !in->whole && in->nslots > INODE_SMALL;
}

void inode_dirty(struct fs *fs, struct inode *in)
{
    fs->change_ms = base_now_ms();
    if (in->dirty || in->state == INODE_GONE)
        return;
    fs_note_classic(fs, &in->classic, in->ino, in->classic_crc);
    in->dirty = true;
    if (!in->orphan)
        TAILQ_INSERT_TAIL(&fs->dirty, in, link);
    fs_note_dirty(fs, inode_record_bytes(in));
}

void inode_set_xattrs(struct fs *fs, struct inode *in, struct slice all)
{
    uint8_t *fresh = all.len ? xcalloc(1, all.len) : NULL;

    if (fresh)
        memcpy(fresh, all.p, all.len);
    free(in->xattrs);
    in->xattrs = fresh;
    fs->meta_bytes += all.len - (uint64_t)in->xattrs_len;
    in->xattrs_len = all.len;
    inode_dirty(fs, in);
}

static void note_slot(struct inode *in, uint32_t idx)
{
    if (!in->based || in->whole)
        return;
    if (in->nchanged >= MAX(in->nslots / 4, (uint32_t)SLOTS_MAX)) {
        in->whole = true;
        return;
    }
    in->changed = xgrow(in->changed, in->nchanged, &in->changed_cap, sizeof *in->changed);
    in->changed[in->nchanged++] = idx;
}

void inode_set_slot(struct fs *fs, struct inode *in, uint32_t idx, uint32_t id)
{
    if (idx >= in->nslots && id == 0)
        return;
    if (idx >= in->slot_cap) {
        uint32_t cap = MAX(idx + 1, MIN(in->slot_cap * 2, in->slot_cap + 4096));
        uint32_t *fresh = xcalloc(cap, sizeof *fresh);
        if (in->nslots)
            memcpy(fresh, in->slot, in->nslots * sizeof *fresh);
        fs->meta_bytes += (cap - in->slot_cap) * sizeof *fresh;
        free(in->slot);
        in->slot = fresh;
        in->slot_cap = cap;
    }
    if (idx >= in->nslots) {
        memset(in->slot + in->nslots, 0, (idx + 1 - in->nslots) * sizeof *in->slot);
        in->nslots = idx + 1;
    }
    in->nused += (id != 0) - (in->slot[idx] != 0);
    in->slot[idx] = id;
    note_slot(in, idx);
    inode_dirty(fs, in);
}

void inode_list_changed(struct dirlist *dl, struct slice name)
{
    if (!dl->stored || dl->whole)
        return;
    if (++dl->nchanged > dl->l.n / 2 || dl->changed.len > NAMES_MAX ||
        !buf_reserve(&dl->changed, 2 + name.len)) {
        dl->whole = true;
        return;
    }
    buf_put_le16(&dl->changed, (uint16_t)name.len);
    buf_put_slice(&dl->changed, name);
}
