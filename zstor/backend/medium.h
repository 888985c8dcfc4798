/* medium - a directory that keeps files for zstor: a disk, a mount of NFS, a stick.  Calls wait;
 * one thread.  docs/FORMATS.md says what stands in it.
 *
 * It is used only when the mark is in it, which `zstor mark` makes: where nothing is mounted there
 * is no mark, so that an absent medium is absent and never empty.  All is done relative to the
 * opened directory: what is mounted over it or away later is not written to.  Nothing in it is
 * trusted: no link is followed, only regular files are read. */
#ifndef ZSTOR_BACKEND_MEDIUM_H
#define ZSTOR_BACKEND_MEDIUM_H

#include <stdatomic.h>

#include "common/buf.h"
#include "common/err.h"

#define MEDIUM_MARK     "qsfs-backend"
#define MEDIUM_ID_LEN   32 /* hex digits */
#define MEDIUM_FOLDERS  256u
#define MEDIUM_NAME_MAX 255

struct medium;

/* Make the mark in an empty directory (lost+found does not count); *id: its new identity. -EEXIST:
 * it is there already; -ENOTEMPTY. */
int medium_mark(const char *path, char id[MEDIUM_ID_LEN + 1], struct err *e);

/* part: the folder in it that keeps the files, made when it is not there.  -ENODEV: no mark. */
int medium_open(struct medium **out, const char *path, const char *part, struct err *e);
void medium_close(struct medium *m); /* NULL is fine */
const char *medium_id(const struct medium *m);
/* Does the path still lead to it? */
bool medium_here(const struct medium *m);
int medium_room(const struct medium *m, uint64_t *free_bytes, bool *readonly);

/* Files, by folder and name (1 to MEDIUM_NAME_MAX characters, no slash, no dot in front).  0,
 * -ENOENT, or what the system says. */

/* Whole and durable, or as it was before.  replace false: -EEXIST when it is there.  *old: bytes of
 * what was replaced; UINT64_MAX: it is new. */
int medium_write(struct medium *m, unsigned folder, const char *name, struct slice value,
                 bool replace, uint64_t *old, atomic_ullong *moved);
/* Bytes [off, off + len) (len 0: to the end) appended to out; -EMSGSIZE: more than max. */
int medium_read(struct medium *m, unsigned folder, const char *name, uint64_t off, uint64_t len,
                size_t max, struct buf *out, atomic_ullong *moved);
int medium_stat(struct medium *m, unsigned folder, const char *name, uint64_t *size,
                uint64_t *time_s);
int medium_remove(struct medium *m, unsigned folder, const char *name, uint64_t *size);
/* fn for each file of the folder; stops when it answers < 0. */
int medium_list(struct medium *m, unsigned folder, int (*fn)(void *arg, const char *name),
                void *arg);

#endif
