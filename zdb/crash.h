/* crash - the `crash` hook: started, not waited for, when the process dies of SIGSEGV, SIGBUS,
 * SIGFPE, SIGILL or SIGABRT. */
#ifndef ZDB_CRASH_H
#define ZDB_CRASH_H

/* path: NULL for no hook.  Both are borrowed for ever.  No effect under a sanitizer, which has its
 * own handlers. */
void crash_init(const char *path, const char *instance);

#endif
