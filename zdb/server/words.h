/* words - what a hook is told: its name and its arguments.  Thread: any. */
#ifndef ZDB_SERVER_WORDS_H
#define ZDB_SERVER_WORDS_H

#include "common/base.h"

#define HOOK_MAX_ARGS 4

struct words {
    char *name, *args[HOOK_MAX_ARGS];
    unsigned nargs;
};

void words_init(struct words *w, const char *name, unsigned nargs,
                const char *const *args); /* copies
                                           */
void words_fini(struct words *w);
bool words_same(const struct words *w, const char *name, unsigned nargs, const char *const *args);
/* path, name, instance, arguments, NULL; borrowed */
void words_argv(const struct words *w, const char *path, const char *instance,
                const char *argv[HOOK_MAX_ARGS + 4]);
/* Somebody or the whole start or end waits for it: it has the short limit of time. */
bool words_waited_for(const struct words *w);
/* The first argument, "" without one: for messages. */
const char *words_first(const struct words *w);

#endif
