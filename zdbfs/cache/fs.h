/* fs - the state of a mounted volume and its inodes.  One lock guards all of it: it is held for
 * work in memory only, never while waiting for zdb.  What has to be fetched is fetched first and
 * pinned, then the lock is taken, what was seen is checked again, and the change is made as a
 * whole.  So every change is atomic for the commit, which encodes what is dirty under the same
 * lock, and nothing can deadlock.
 *
 * One write or truncate per file at a time: inode.write_busy, which may be held while waiting for
 * zdb.
 *
 *   state of an inode   in the table with a key; leaves by
 *   loading             value is being fetched; its loader makes it ready or removes it
 *   ready               eviction when clean, applied, unpinned, without blocks and lists
 *   gone                deleted; kept until zdb has the deletion, so that nobody loads the old
 * value */
#ifndef ZDBFS_CACHE_FS_H
#define ZDBFS_CACHE_FS_H

#include "zdbfs/cache/blocks.h"
#include "zdbfs/cache/names.h"
#include "zdbfs/store/reserved.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/point.h"
#include "zdbfs/store/kv.h"
#include "zdbfs/options.h"
#include "zdbfs/cache/lookups.h"
#include "zdbfs/stats.h"

#include <pthread.h>

#define FS_ROOT 1

enum inode_state { INODE_LOADING, INODE_READY, INODE_GONE };

struct dirlist { /* one name list of a directory */
    struct dlist l;
    struct inode *dir;
    unsigned bucket, pins;
    bool loading, dirty;
    bool classic; /* its key holds what the original wrote, with this checksum */
    uint32_t classic_crc;
    bool stored; /* its key holds a list, or will; else it is only reserved, or there is none */
    uint64_t commit_seq; /* newest commit that holds it */
    bool unstored;       /* that is not in the meta namespace yet */
    struct buf changed;  /* names since that commit: u16 length, bytes */
    unsigned nchanged;
    bool whole; /* too many for that */
    TAILQ_ENTRY(dirlist) lru;
};

struct inode_dir {
    uint64_t id[INODE_LISTS];          /* INODE_NO_LIST: none */
    struct dirlist *list[INODE_LISTS]; /* NULL: not in memory */
    uint32_t version;                  /* counts changes of entries */
};

struct inode {
    uint64_t ino;
    enum inode_state state;
    unsigned pins;
    bool dirty, orphan;
    bool linkable;       /* made without a name (O_TMPFILE): may get one */
    bool detached;       /* not in the table any more; freed with the last pin */
    int load_error;      /* detached because loading failed */
    uint64_t commit_seq; /* newest commit that holds it; gone: the one that deletes it */
    bool based;          /* a commit, or the meta namespace, has it as a whole */
    bool unstored;       /* the newest commit that holds it is not in the meta namespace yet */
    TAILQ_ENTRY(inode) store;
    bool classic; /* the stored record is one of the original, with this checksum */
    uint32_t classic_crc;
    struct inode_attr a;
    struct inode *hash_next;
    TAILQ_ENTRY(inode) lru, link; /* link: dirty list or orphans */
    uint8_t *xattrs;              /* encoded: format/xattr.h */
    size_t xattrs_len;
    uint8_t *extra; /* fields of the tail that are not ours */
    size_t extra_len;
    /* files */
    bool write_busy;
    unsigned write_waiting;
    struct bfile blocks;
    uint32_t *slot;                   /* data key of each block, 0: hole */
    uint32_t nslots, slot_cap, nused; /* nused: slots that are not 0 */
    uint32_t *changed;                /* slots since the last commit */
    uint32_t nchanged;
    size_t changed_cap;
    bool whole;           /* too many for that */
    uint64_t booked;      /* bytes that fallocate promised and that are not written yet */
    uint64_t stable_size; /* size as of the newest commit, or what was left of it since */
    /* fsync has promised that the bytes below promised_size are there once what was acknowledged
     * up to promised_seq is */
    uint64_t promised_size, promised_seq;
    unsigned cuts;      /* how often it became shorter */
    unsigned writers;   /* open for writing in the kernel, which may have newer content */
    int write_error;    /* of background writing, for the next close or fsync */
    uint64_t read_next; /* where a sequential reader goes on */
    uint32_t read_window, read_ahead; /* blocks; first block that was not asked for yet */
    /* others */
    char *target;
    struct inode_dir *dir;
};

TAILQ_HEAD(inode_queue, inode);
TAILQ_HEAD(dirlist_queue, dirlist);

struct key_list { /* grows */
    uint64_t *key;
    size_t n, cap;
};

struct unsynced_key {
    uint64_t key, epoch, seq;
};

struct fs {
    const struct options *opt;
    struct kv *kv;
    bool read_only;
    uint64_t seed; /* of directory cookies */
    struct ids *ids;

    pthread_mutex_t lock;
    pthread_cond_t changed;     /* broadcast: a load, a write, a commit is done, memory is free */
    pthread_cond_t commit_work; /* for the thread that commits */
    pthread_cond_t write_work;  /* for the threads that store blocks */
    pthread_cond_t flush_work;  /* for the thread that flushes: something is dirty, or open for
                                   writing, that was not */
    struct inode **table;
    size_t table_cap, ninodes;
    struct inode_queue lru; /* all of them, most recently used first */
    struct dirlist_queue list_lru;
    uint64_t meta_bytes, meta_limit; /* of inodes and lists */
    struct bcache bc;
    struct refs *refs;
    struct stats stats;

    /* what the next commit will hold */
    struct inode_queue dirty;
    struct inode_queue unstored; /* what commits hold and the meta namespace does not yet */
    bool store_wanted;           /* somebody waits for that, to have more room */
    struct inode_queue orphans;  /* without a name, but known to the kernel */
    bool orphans_changed;
    struct key_list del_meta, del_data;
    struct key_list was; /* key and checksum of values of the original that are about to change */
    uint64_t dirty_meta_bytes, dirty_meta_limit;
    uint64_t dirty_since_ms; /* 0: nothing is dirty */
    uint64_t change_ms;      /* of the last change */
    unsigned writers;        /* opens for writing, of all files */
    uint64_t pass;           /* of writeback_all */
    uint64_t snap_seq;       /* commits encoded so far; the next one is snap_seq + 1 */
    uint64_t durable_seq;    /* of them on stable storage */
    uint64_t applied_seq;    /* of them in the meta namespace, on stable storage */
    uint64_t want_seq;       /* somebody waits for it */
    uint64_t commit_attempt, commit_failed; /* attempts to store: begun so far; the last that failed
                                             */
    int commit_error;
    struct unsynced_key *unsynced; /* of the data namespace, of no use any more, but not yet there
                                      for sure: oldest first */
    size_t nunsynced, unsynced_cap;
    uint64_t synced_seq; /* blocks acknowledged up to this (bc.acked_seq) are on stable storage */
    uint64_t order_seq;  /* names that have changed need blocks acknowledged up to this on stable
                            storage */
    bool data_full;      /* the last store of data had no space */
    bool stopping;

    /* points (txn/point) */
    uint64_t point_want, point_made; /* asked for; answered */
    int point_error;                 /* of the last one */
    struct point point;              /* the newest of this mount */

    /* free space, as last heard */
    struct kv_info info_meta, info_data;
    uint64_t info_ms;        /* 0: never */
    uint64_t inserted_bytes; /* stored in the data namespace since then, under new keys */
    uint64_t stored_bytes;   /* the same, updates too: what the disk has less */
    uint64_t admitted_bytes; /* taken from programs, but not dirty yet */
    uint64_t booked_bytes;   /* promised to files by fallocate */
    uint64_t space_reserve;  /* of the disk, see core/space; 0: not known yet */
    uint64_t refused_ms;     /* when a writer was last refused for want of space */
    bool space_low;          /* the disk is nearly full: the journal is kept small */
    bool info_wanted;
    pthread_cond_t info_work; /* for the thread that asks */
};

int fs_new(struct fs **out, const struct options *opt, struct kv *kv, struct ids *ids);
void fs_free(struct fs *fs);

static inline void fs_lock(struct fs *fs)
{
    pthread_mutex_lock(&fs->lock);
}
static inline void fs_unlock(struct fs *fs)
{
    pthread_mutex_unlock(&fs->lock);
}
/* With the lock, which is released meanwhile: until something changed or the time is over.  0 or
 * -EIO. */
int fs_wait(struct fs *fs, uint64_t deadline_ms);
void fs_changed(struct fs *fs);
struct timespec fs_now(void);

/* With the lock: so many bytes of metadata have become dirty. */
void fs_note_dirty(struct fs *fs, uint64_t bytes);
/* Without the lock, before a change: wait while too much metadata is dirty.  0, -ENOSPC, -EIO or
 * -EROFS (the volume belongs to another mount). */
int fs_throttle(struct fs *fs, uint64_t deadline_ms);

void fs_key_push(struct key_list *l, uint64_t key);
/* With the lock: the key is about to change; *classic is cleared. */
void fs_note_classic(struct fs *fs, bool *classic, uint64_t key, uint32_t crc);

/* With the lock.  A key that an insert has just returned and that nobody wants: it is deleted when
 * it is certain that no other server has given it away again. */
void fs_unsynced_push(struct fs *fs, uint64_t key, uint64_t epoch);
/* A SYNC of that epoch covers everything acknowledged up to seq: such keys can be deleted; those of
 * epochs before are forgotten. */
void fs_unsynced_settle(struct fs *fs, uint64_t epoch, uint64_t seq);

#endif
