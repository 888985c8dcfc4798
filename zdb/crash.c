/* crash - see crash.h.  The handler uses async-signal-safe calls only; then the signal takes its
 * usual way (core, 139). */
#include "zdb/crash.h"

#include "common/base.h"
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CRASH_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CRASH_SANITIZED 1
#endif
#endif

#ifdef CRASH_SANITIZED

void crash_init(const char *path, const char *instance)
{
    (void)path;
    (void)instance;
}

#else

static char *crash_argv[4]; /* set before any signal can come, then constant */
extern char **environ;

static void on_crash(int signo)
{
    static const char text[] = "zdb: fatal signal\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);

    (void)n;
    if (crash_argv[0]) {
        pid_t pid = _Fork();
        if (pid == 0) {
            execve(crash_argv[0], crash_argv, environ);
            _exit(127);
        }
    }
    raise(signo); /* SA_RESETHAND: the default action */
}

void crash_init(const char *path, const char *instance)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction sa = {.sa_handler = on_crash,
                           .sa_flags = (int)(SA_RESETHAND | SA_NODEFER | SA_ONSTACK)};
    stack_t stack = {.ss_size = 64 * KIB};

    stack.ss_sp = xcalloc(1, stack.ss_size);
    if (sigaltstack(&stack, NULL) < 0)
        sa.sa_flags &= ~SA_ONSTACK;
    if (path) {
        crash_argv[0] = xstrdup(path);
        crash_argv[1] = xstrdup("crash");
        crash_argv[2] = xstrdup(instance);
    }
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        sigaction(signals[i], &sa, NULL);
}

#endif
