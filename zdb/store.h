/* store - all namespaces of a server: roots and locks, load at start, create, find, remove, the
 * engine's timer and helper threads.  Thread: the zdb loop.  Spec zdb-files, sections 1 and 3;
 * zdb-protocol, sections 4, 7 and 8. */
#ifndef ZDB_STORE_H
#define ZDB_STORE_H

#include "zdb/engine/namespace.h"

struct loop;
struct nslist;

struct nslist_conf {
    const char *data_dir, *index_dir; /* as given by the user; borrowed as long as the list lives */
    enum ns_mode mode;                /* NS_MIXED: each namespace its own */
    uint64_t datasize;                /* rotation threshold */
    uint64_t reserve;    /* bytes of disk reserved ahead of a growing active data file, 0 = none */
    bool sync;           /* --sync: writes are answered when durable (ns_must_sync) */
    unsigned synctime_s; /* --synctime: dirty files are synced when the last sync is older, 0 =
                            never */
    bool secure;         /* --secure: closing files are synced at each jump */
    unsigned rotate_s;   /* --rotate: timed rotation, 0 = never */
    unsigned max_files;  /* open segment files kept for reading, over all namespaces; 0 = 512 */
    struct ns_events events; /* any function may be NULL */
};

struct nslist_stats { /* INFO; since start */
    uint64_t index_read_failed, index_write_failed, data_read_failed, data_write_failed;
    uint64_t index_read_bytes, index_write_bytes, data_read_bytes, data_write_bytes;
    uint64_t misses, cold_reads, syncs; /* fetches asked for, reads handed to a helper, sync rounds
                                           done */
};

/* Makes the roots (0700, with parents), refuses equal ones, takes the locks (index, then data),
 * starts helpers and timer. Nothing is loaded yet: that is the moment for the namespaces-init hook.
 */
int nslist_new(struct nslist **out, const struct nslist_conf *conf, struct loop *loop,
               struct err *e);
/* Load (and repair, with one log line each) `default`, then every other namespace by name.  A
 * namespace that cannot be loaded is logged and left out; `default` or a wrong mode fails the
 * whole. */
int nslist_load(struct nslist *l, struct err *e);
/* Everything is in the files and on stable storage, and the jumps are told of; 0 or the first
 * error.  Nothing may be written afterwards. */
int nslist_settle(struct nslist *l);
/* Orderly end: waits for running syncs, makes all files durable, fires what jumps are outstanding
 * and closing for each namespace.  0 or the first error.  Afterwards only nslist_free is allowed.
 */
int nslist_close(struct nslist *l);
void nslist_free(struct nslist *l); /* also without nslist_close (then nothing is synced) */

/* Records of SET and DEL may be kept in memory until the end of the round: nslist_commit hands them
 * to the kernel and comes before their replies are sent.  0 or the first error: then who wrote
 * since nslist_appended was last looked at is not answered; the records are tried again, no others
 * are taken before they are written. */
int nslist_commit(struct nslist *l);
uint64_t nslist_appended(const struct nslist *l); /* grows with each such record */

struct ns *nslist_default(struct nslist *l);
struct ns *nslist_find(struct nslist *l, struct slice name); /* NULL when absent */
size_t nslist_slots(const struct nslist *l);
struct ns *nslist_at(struct nslist *l, size_t slot); /* NULL: free slot.  Slot 0 is default; NSLIST
                                                        order */

/* A name that may be created: 1..128 bytes, not ".", "..", "default", no '/', no NUL, not of
 * engine/trash.h. */
bool nslist_name_ok(struct slice name);
/* NSNEW.  0, -EINVAL (name), -EEXIST, -EINPROGRESS (what had the name is being removed), -EBUSY
 * (and could not be), or -errno.  Directories that are there already are loaded.  Fires created. */
int nslist_create(struct nslist *l, struct slice name, struct ns_wait *w, struct err *e);
/* NSDEL.  The caller has detached all clients of ns and ended their waits, and ns_idle() gave 0; ns
 * is gone afterwards.
 * -EINPROGRESS: w is called when its directories are durably gone (their space is given back later,
 * by a helper) and deleted was fired; -EPERM (default); or why its files stay until the next start.
 */
int nslist_remove(struct nslist *l, struct ns *ns, struct ns_wait *w);

/* Jump events that will be fired when the closed segment is durable (jump_index and jump_data count
 * one each). */
size_t nslist_pending(const struct nslist *l);

/* Answer to an event with a token; status 0 = success. */
void nslist_hook_done(struct nslist *l, uint64_t token, int status);

void nslist_stats(const struct nslist *l, struct nslist_stats *out);

#endif
