/* directory - names in directories.  Functions marked L are called with fs.lock held, the others
 * without it. */
#ifndef ZDBFS_CORE_DIRECTORY_H
#define ZDBFS_CORE_DIRECTORY_H

#include "zdbfs/cache/inodes.h"

/* One name in one directory, with what is needed to change it pinned. */
struct name_ref {
    struct inode *dir;
    struct dirlist *list;
    struct slice name;   /* borrowed */
    struct inode *child; /* NULL: there is no such name */
    bool insert;         /* dir_prepare_insert was called: the list has a key */
};

/* Fetch directory, name list and inode.  -ENOENT: no such directory; -ENOTDIR; -EIO.  An entry
 * whose inode is missing is taken for absent and dropped.  After success dir_close_name. */
int dir_open_name(struct fs *fs, uint64_t dir, const char *name, uint64_t deadline_ms,
                  struct name_ref *out);
void dir_close_name(struct fs *fs, struct name_ref *ref); /* also of one that failed to open */
/* The name may be added: length, and a key for its list. */
int dir_prepare_insert(struct fs *fs, struct name_ref *ref, uint64_t deadline_ms);
/* Take the lock with all refs as they are in the directories at this moment (children are fetched
 * again when they have changed).  0: locked; -errno: not.  -ENOENT when a directory was removed. */
int dir_lock_names(struct fs *fs, struct name_ref *const *refs, unsigned n, uint64_t deadline_ms);

void dir_add(struct fs *fs, struct name_ref *ref, struct inode *child);     /* L: as a new entry */
void dir_remove(struct fs *fs, struct name_ref *ref);                       /* L */
void dir_replace(struct fs *fs, struct name_ref *ref, struct inode *child); /* L: the entry points
                                                                               to another inode */
/* L: what "." and ".." say.  The list of ".." must be in memory and have a key (dir_open_dots). */
void dir_set_parent(struct fs *fs, struct inode *dir, uint64_t parent);
int dir_open_dots(struct fs *fs, struct inode *dir, uint64_t deadline_ms, struct dirlist *out[2]);
void dir_close_lists(struct fs *fs, struct dirlist **list, unsigned n); /* unpin; NULL entries are
                                                                           skipped */
void dir_make_dots(struct fs *fs, struct inode *dir, uint64_t parent,
                   const uint64_t id[2]);                       /* L:
                                                                   of a
                                                                   new
                                                                   directory
                                                                 */
void dir_subdirs(struct fs *fs, struct inode *dir, int change); /* L: a subdirectory came or went */

/* 0: empty (dangling entries do not count and are dropped), -ENOTEMPTY, -EIO.  *version: for
 * dir_still_empty. */
int dir_check_empty(struct fs *fs, struct inode *dir, uint64_t deadline_ms, uint32_t *version);
static inline bool dir_still(const struct inode *dir, uint32_t version) /* L: no entry came or went
                                                                           since */
{
    return dir->dir->version == version;
}
/* Number of subdirectories of what upstream wrote: counted when the directory is small, else it
 * stays unknown. */
int dir_count_subdirs(struct fs *fs, struct inode *dir, uint64_t deadline_ms);

struct dir_item {
    uint64_t ino, cookie; /* cookie: where to go on behind this entry */
    uint8_t type;         /* DT_*; DT_UNKNOWN when not known yet */
    size_t name_off;      /* in names, NUL-terminated */
    uint16_t name_len;
};

struct dir_page {
    struct dir_item *item;
    size_t n, cap;
    struct buf names;
};

/* Up to max entries behind the cookie (0: from the start), "." and ".." first.  n = 0: the end. */
int dir_read(struct fs *fs, struct inode *dir, uint64_t cookie, size_t max, uint64_t deadline_ms,
             struct dir_page *out);
void dir_page_fini(struct dir_page *p);
void dir_forget_dangling(struct fs *fs, struct inode *dir, const char *name, uint64_t ino,
                         uint64_t deadline_ms);
/* The type of an entry was learnt from its inode. */
void dir_note_type(struct fs *fs, struct inode *dir, const char *name, uint64_t ino,
                   uint8_t type); /* L */

#endif
