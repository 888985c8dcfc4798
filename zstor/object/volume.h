/* volume - who we are to the volume at the backends: our identity, kept in state_dir/instance, and
 * whether we may write now.  State and rules only; object/claim asks the backends.  Thread-safe.
 *
 *   state     means                                            left by
 *   unknown   not asked yet, or the lease has to be renewed    volume_hold, volume_refuse
 *   held      we may write until `until`                       time, volume_refuse
 *   refused   another's, or of another key                     never, but by a claim that succeeds
 */
#ifndef ZSTOR_OBJECT_VOLUME_H
#define ZSTOR_OBJECT_VOLUME_H

#include "common/err.h"
#include "zstor/format/record.h"

struct volume;

/* Reads state_dir/instance, makes directory and file when they are not there.  lease_ms: how long a
 * claim lasts. */
int volume_open(struct volume **out, const char *state_dir, uint64_t lease_ms, struct err *e);
/* The volume that the backends name by this id (ZSTOR_INSTANCE_LEN bytes): the first time it is
 * remembered on disk, then compared.  -EBUSY: state_dir is another volume's. */
int volume_bind(struct volume *v, const uint8_t *id, struct err *e);
bool volume_id(struct volume *v, uint8_t *id);       /* what is remembered; false: nothing */
bool volume_is(struct volume *v, const uint8_t *id); /* that one, or none is remembered */
void volume_close(struct volume *v);

const uint8_t *volume_instance(const struct volume *v); /* ZSTOR_INSTANCE_LEN bytes */
const char *volume_host(const struct volume *v);
uint64_t volume_lease_ms(const struct volume *v);
uint64_t volume_epoch(struct volume *v); /* of our last lease, also of former runs; 0: never one */
bool volume_new(const struct volume *v); /* the identity was made by this volume_open, in a
                                            state_dir that no daemon has used */

/* A claim was made: until_ms on the clock of base_now_ms.  The epoch is on disk when it returns. */
int volume_hold(struct volume *v, uint64_t epoch, uint64_t until_ms, struct err *e);
void volume_refuse(struct volume *v, const struct err *why);
void volume_forget(struct volume *v); /* given back: unknown again */
bool volume_held(struct volume *v);

/* 0: for need_ms from now; -EAGAIN: claim again; else why not. */
int volume_writable(struct volume *v, uint64_t need_ms, struct err *e);
/* May we replace or delete the object that this record is of?  0, or -EBUSY when another instance
 * wrote it and we have not taken the volume over since. */
int volume_may_replace(struct volume *v, const struct meta_record *old, struct err *e);
/* Sets writer and epoch of a record that is to be saved. */
/* What is known of the newest record of a key ("/<prefix>/meta/<32 hex digits>"),
 * object/generations. learn: of a record that was read, or (written) that we have just saved or
 * deleted. */
uint64_t volume_generation(struct volume *v, const char *key, bool *deleted);
int volume_learn(struct volume *v, const char *key, uint64_t generation, bool deleted,
                 bool written);
size_t volume_alive(struct volume *v); /* objects that this machine knows to be there */
int volume_compact(struct volume *v, struct err *e); /* by the daemon, at its start */
void volume_sign(struct volume *v, struct meta_record *m);

#endif
