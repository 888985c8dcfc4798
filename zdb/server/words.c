/* words - see server/words.h. */
#include "zdb/server/words.h"

#include <stdlib.h>
#include <string.h>

void words_init(struct words *w, const char *name, unsigned nargs, const char *const *args)
{
    *w = (struct words){.name = xstrdup(name), .nargs = MIN(nargs, (unsigned)HOOK_MAX_ARGS)};
    for (unsigned i = 0; i < w->nargs; i++)
        w->args[i] = xstrdup(args[i]);
}

void words_fini(struct words *w)
{
    free(w->name);
    for (unsigned i = 0; i < w->nargs; i++)
        free(w->args[i]);
    *w = (struct words){0};
}

bool words_same(const struct words *w, const char *name, unsigned nargs, const char *const *args)
{
    if (strcmp(w->name, name) != 0 || w->nargs != nargs)
        return false;
    for (unsigned i = 0; i < nargs; i++)
        if (strcmp(w->args[i], args[i]) != 0)
            return false;
    return true;
}

void words_argv(const struct words *w, const char *path, const char *instance,
                const char *argv[HOOK_MAX_ARGS + 4])
{
    argv[0] = path;
    argv[1] = w->name;
    argv[2] = instance;
    for (unsigned i = 0; i < w->nargs; i++)
        argv[3 + i] = w->args[i];
    argv[3 + w->nargs] = NULL;
}

bool words_waited_for(const struct words *w)
{
    static const char *const names[] = {"missing-data", "namespaces-init", "ready", "close"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(w->name, names[i]) == 0)
            return true;
    return false;
}

const char *words_first(const struct words *w)
{
    return w->nargs ? w->args[0] : "";
}
