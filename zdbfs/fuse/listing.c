/* listing - reading directories. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "zdbfs/txn/commit.h"
#include "zdbfs/core/directory.h"
#include "zdbfs/fuse/request.h"
#include "zdbfs/core/writeback.h"

enum {
    PLAIN_BYTES = 40, /* of a typical entry in a reply: how many are looked up at once */
    PLUS_BYTES = 180,
    AT_LEAST = 8,
    AT_MOST = 1024,
    NAME_FITS = 1023, /* longest name that the kernel takes in a reply */
};

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in;

    int r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r == 0 && !in->dir)
        r = -ENOTDIR;
    if (r < 0) {
        ops_error(&q, r == -ENOENT ? -ESTALE : r);
        if (r == -ENOTDIR)
            inode_put(q.fs, in);
        return;
    }
    inode_put(q.fs, in);
    fi->cache_readdir = 1; /* until something in it changes: the kernel sees that */
    fi->keep_cache = 1;
    if (ops_answer(&q))
        fuse_reply_open(req, fi);
}

struct reply {
    char *buf;
    size_t size, used;
};

/* One entry; false when there is no room. */
static bool put_plain(const struct ops_req *q, struct reply *rp, const struct dir_item *it,
                      const char *name)
{
    struct stat st = {.st_ino = it->ino, .st_mode = DTTOIF(it->type)};
    size_t n = fuse_add_direntry(q->req, rp->buf + rp->used, rp->size - rp->used, name, &st,
                                 (off_t)it->cookie);

    if (n > rp->size - rp->used)
        return false;
    rp->used += n;
    return true;
}

/* L: with attributes; in NULL: without. */
static bool put_plus(const struct ops_req *q, struct reply *rp, const struct dir_item *it,
                     const char *name, struct inode *in)
{
    struct fuse_entry_param e = {.attr = {.st_ino = it->ino, .st_mode = DTTOIF(it->type)}};

    if (in)
        ops_fill_entry(q->fs, in, &e);
    size_t n = fuse_add_direntry_plus(q->req, rp->buf + rp->used, rp->size - rp->used, name, &e,
                                      (off_t)it->cookie);
    if (n > rp->size - rp->used) {
        if (in)
            inode_forget(q->fs, in->ino, 1);
        return false;
    }
    rp->used += n;
    return true;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Inodes of a page, pinned; entries whose type is known are left out unless all are wanted. */
static int fetch(const struct ops_req *q, const struct dir_page *p, bool all, struct inode **in)
{
    uint64_t *ino = xcalloc(p->n + 1, sizeof *ino);

    for (size_t i = 0; i < p->n; i++) {
        const char *name = (const char *)buf_data(&p->names) + p->item[i].name_off;
        ino[i] = !is_dots(name) && (all || p->item[i].type == DT_UNKNOWN) ? p->item[i].ino : 0;
    }
    int r = inode_get_many(q->fs, ino, p->n, q->deadline_ms, in);
    for (size_t i = 0; i < p->n && r == 0; i++)
        if (in[i])
            r = ops_links(q, in[i]);
    free(ino);
    return r;
}

/* Entries of a page into the reply; those without an inode are dropped from the directory.  true:
 * there is room for more. */
static bool fill(const struct ops_req *q, struct reply *rp, struct inode *dir, struct dir_page *p,
                 struct inode **in, bool plus)
{
    bool room = true;

    for (size_t i = 0; i < p->n && room; i++) {
        struct dir_item *it = &p->item[i];
        const char *name = (const char *)buf_data(&p->names) + it->name_off;
        bool looked_up = !is_dots(name) && (plus || it->type == DT_UNKNOWN);
        if (it->name_len > NAME_FITS)
            continue;
        if (looked_up && !in[i]) {
            dir_forget_dangling(q->fs, dir, name, it->ino, q->deadline_ms);
            continue;
        }
        fs_lock(q->fs);
        if (in[i] && (in[i]->state != INODE_READY || in[i]->a.nlink == 0)) {
            fs_unlock(q->fs); /* removed meanwhile */
            continue;
        }
        if (in[i]) {
            it->type = IFTODT(in[i]->a.mode);
            dir_note_type(q->fs, dir, name, it->ino, it->type);
        }
        room = plus ? put_plus(q, rp, it, name, in[i]) : put_plain(q, rp, it, name);
        fs_unlock(q->fs);
    }
    return room;
}

static int read_entries(const struct ops_req *q, struct inode *dir, uint64_t cookie, bool plus,
                        struct reply *rp)
{
    bool room = true;

    while (room) {
        struct dir_page page;
        size_t max = (rp->size - rp->used) / (plus ? PLUS_BYTES : PLAIN_BYTES);
        int r = dir_read(q->fs, dir, cookie, MIN(MAX(max, (size_t)AT_LEAST), (size_t)AT_MOST),
                         q->deadline_ms, &page);
        if (r < 0 || page.n == 0) {
            dir_page_fini(&page);
            return r;
        }
        struct inode **in = xcalloc(page.n, sizeof(struct inode *));
        r = fetch(q, &page, plus, in);
        if (r == 0)
            room = fill(q, rp, dir, &page, in, plus);
        cookie = page.item[page.n - 1].cookie;
        for (size_t i = 0; i < page.n && r == 0; i++)
            inode_put(q->fs, in[i]);
        free(in);
        dir_page_fini(&page);
        if (r < 0)
            return r;
    }
    return 0;
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    struct ops_req q = ops_begin(req, CALL_READDIR);
    struct reply rp = {.size = size};
    struct inode *dir;

    if (off == 0)
        oplog_path(q.ops->log, "readdir", ino, NULL, "");
    int r = inode_get(q.fs, ino, q.deadline_ms, &dir);
    if (r < 0) {
        ops_error(&q, r);
        return;
    }
    rp.buf = malloc(size ? size : 1);
    if (!rp.buf)
        r = -ENOMEM;
    else
        r = dir->dir ? read_entries(&q, dir, (uint64_t)off, plus, &rp) : -ENOTDIR;
    inode_put(q.fs, dir);
    if (r < 0 && rp.used == 0)
        ops_error(&q, r);
    else if (ops_answer(&q))
        fuse_reply_buf(req, rp.buf, rp.used);
    free(rp.buf);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    read_dir(req, ino, size, off, false);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    (void)fi;
    read_dir(req, ino, size, off, true);
}

/* Of the root: everything in the volume; else the names and attributes. */
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);

    (void)datasync;
    (void)fi;
    int r = ino == FS_ROOT && !q.fs->read_only ? writeback_all(q.fs, q.deadline_ms) : 0;
    if (r == 0)
        r = commit_wait(q.fs, q.deadline_ms);
    ops_error(&q, r);
}
