/* intake - the way into the durable queue.  One helper thread copies what changes, writes the
 * journal and hands the finished jobs to the loop; requests are served in the order of asking.
 * Thread: the loop's, for every function. */
#ifndef ZSTOR_QUEUE_INTAKE_H
#define ZSTOR_QUEUE_INTAKE_H

#include "common/err.h"
#include "zstor/queue/journal.h"

struct engine;
struct loop;
struct intake;

struct intake_conf {
    struct loop *loop;
    struct journal *journal;
    struct engine *engine; /* a reference is taken; NULL: object paths are not checked against a
                              root */
    void (*added)(void *arg, struct journal_rec *rec); /* loop: a job is durable; rec is taken */
    void *arg;
};

/* rc 0: all jobs are durable and `added` ran for each; else -errno, and those before the failing
 * one are queued. */
typedef void intake_done_fn(void *arg, int rc, const struct err *e);

int intake_new(struct intake **out, const struct intake_conf *c, struct err *e);
/* Waits for what was asked; nobody is told any more, what is durable stays so.  The loop must not
 * run afterwards. */
void intake_free(struct intake *in);
void intake_swap(struct intake *in, struct engine *g); /* for what is asked from now on; a reference
                                                          is taken */

/* Queue file, or the files of a directory, to be stored (under key_path when given).  remove: the
 * source goes, a copied one as soon as its job is durable, else once it is stored.  done runs once,
 * never inside the call. */
int intake_store(struct intake *in, const char *file, const char *key_path, bool remove,
                 intake_done_fn *done, void *arg);
/* Queue one file to be stored under exactly this object path; done may be NULL (a failure is then
 * logged). */
int intake_store_as(struct intake *in, const char *file, const char *object_path, bool remove,
                    intake_done_fn *done, void *arg);
/* Queue a rebuild of an object. */
int intake_rebuild(struct intake *in, const char *object_path);

/* Names of the objects that file, or the files of a directory, would be stored as: what a store
 * that somebody waits for begins with.  Given in done: *n names of files and of objects;
 * path_list_free both. */
typedef void intake_list_fn(void *arg, int rc, const struct err *e, char **files, char **objects,
                            size_t n);
int intake_list(struct intake *in, const char *file, const char *key_path, intake_list_fn *done,
                void *arg);

/* fn(arg) on the loop when everything that was asked before is done. */
int intake_after(struct intake *in, void (*fn)(void *arg), void *arg);

#endif
