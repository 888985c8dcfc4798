/* store - all namespaces of a server: roots and locks, load at start, create, find, remove, the
 * engine's timer and helper threads.  Thread: the zdb loop.  Spec zdb-files, sections 1 and 3;
 * zdb-protocol, sections 4, 7 and 8. */
#ifndef ZDB_STORE_H
#define ZDB_STORE_H

#include "zdb/engine/namespace.h"

struct loop;
struct store;

struct store_conf {
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

struct store_stats { /* INFO; since start */
    uint64_t index_read_failed, index_write_failed, data_read_failed, data_write_failed;
    uint64_t index_read_bytes, index_write_bytes, data_read_bytes, data_write_bytes;
    uint64_t misses, cold_reads, syncs; /* fetches asked for, reads handed to a helper, sync rounds
                                           done */
};

/* Makes the roots (0700, with parents), refuses equal ones, takes the locks (index, then data),
 * starts helpers and timer. Nothing is loaded yet: that is the moment for the namespaces-init hook.
 */
int store_new(struct store **out, const struct store_conf *conf, struct loop *loop, struct err *e);
/* Load (and repair, with one log line each) `default`, then every other namespace by name.  A
 * namespace that cannot be loaded is logged and left out; `default` or a wrong mode fails the
 * whole. */
int store_load(struct store *l, struct err *e);
/* Everything is in the files and on stable storage, and the jumps are told of; 0 or the first
 * error.  Nothing may be written afterwards. */
int store_settle(struct store *l);
/* Orderly end: waits for running syncs, makes all files durable, fires what jumps are outstanding
 * and closing for each namespace.  0 or the first error.  Afterwards only store_free is allowed.
 */
int store_close(struct store *l);
void store_free(struct store *l); /* also without store_close (then nothing is synced) */

/* Records of SET and DEL may be kept in memory until the end of the round: store_commit hands them
 * to the kernel and comes before their replies are sent.  0 or the first error: then who wrote
 * since store_appended was last looked at is not answered; the records are tried again, no others
 * are taken before they are written. */
int store_commit(struct store *l);
uint64_t store_appended(const struct store *l); /* grows with each such record */

struct ns *store_default(struct store *l);
struct ns *store_find(struct store *l, struct slice name); /* NULL when absent */
size_t store_slots(const struct store *l);
struct ns *store_at(struct store *l, size_t slot); /* NULL: free slot.  Slot 0 is default; NSLIST
                                                        order */

/* A name that may be created: 1..128 bytes, not ".", "..", "default", no '/', no NUL, not of
 * engine/trash.h. */
bool store_name_ok(struct slice name);
/* NSNEW.  0, -EINVAL (name), -EEXIST, -EINPROGRESS (what had the name is being removed), -EBUSY
 * (and could not be), or -errno.  Directories that are there already are loaded.  Fires created. */
int store_create(struct store *l, struct slice name, struct ns_wait *w, struct err *e);
/* NSDEL.  The caller has detached all clients of ns and ended their waits, and ns_idle() gave 0; ns
 * is gone afterwards.
 * -EINPROGRESS: w is called when its directories are durably gone (their space is given back later,
 * by a helper) and deleted was fired; -EPERM (default); or why its files stay until the next start.
 */
int store_remove(struct store *l, struct ns *ns, struct ns_wait *w);

/* Jump events that will be fired when the closed segment is durable (jump_index and jump_data count
 * one each). */
size_t store_pending(const struct store *l);

/* Answer to an event with a token; status 0 = success. */
void store_hook_done(struct store *l, uint64_t token, int status);

void store_stats(const struct store *l, struct store_stats *out);

#endif
