/* handover - see server/handover.h.  The script is text in a memory file, the standard input of
 * sh; timeout(1) ends what takes too long. */
#include "zdb/server/handover.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"

#define KILL_AFTER_S 2 /* between TERM and KILL */

extern char **environ;

static uint64_t seconds(uint64_t ms)
{
    return MAX(ms / 1000, (uint64_t)1);
}

void handover_await(struct handover *h, pid_t pid, uint64_t timeout_ms)
{
    /* until it is gone or a zombie */
    buf_printf(&h->script,
               "i=0; while grep -qs '^State:[[:space:]]*[A-WYa-y]' /proc/%d/status; do"
               " [ $i -ge %" PRIu64 " ] && kill -9 -%d; i=$((i + 1)); sleep 0.1; done\n",
               (int)pid, 10 * seconds(timeout_ms), (int)pid);
}

static void put_quoted(struct buf *b, const char *s)
{
    buf_put_str(b, " '");
    for (; *s; s++) {
        if (*s == '\'')
            buf_put_str(b, "'\\''");
        else
            buf_put_u8(b, (uint8_t)*s);
    }
    buf_put_str(b, "'");
}

void handover_add(struct handover *h, const char *const *argv, uint64_t timeout_ms)
{
    buf_printf(&h->script, "timeout -k %d %" PRIu64, KILL_AFTER_S, seconds(timeout_ms));
    for (; *argv; argv++)
        put_quoted(&h->script, *argv);
    buf_put_str(&h->script, " </dev/null\n");
    h->runs++;
}

static int memory_file(struct slice text)
{
    int fd = memfd_create("hooks", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : io_pwrite_full(fd, text.p, text.len, 0);

    if (r == 0)
        return fd;
    base_close(&fd);
    return r;
}

static int run(int script, struct err *e)
{
    static const char *const argv[] = {"/bin/sh", NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none, all;
    pid_t pid;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawn_file_actions_adddup2(&fa, script, 0);
    posix_spawn_file_actions_adddup2(&fa, log_fd(), 1);
    posix_spawn_file_actions_adddup2(&fa, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                      POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&at, 0);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &all);
    int code = posix_spawn(&pid, argv[0], &fa, &at, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return code == 0 ? 0 : err_sys(e, code, "run %s", argv[0]);
}

int handover_start(struct handover *h, struct err *e)
{
    int r = 0;

    if (h->runs > 0) {
        CLEANUP(base_close) int fd = memory_file(buf_slice(&h->script));
        r = fd < 0 ? err_sys(e, -fd, "list of hooks") : run(fd, e);
    }
    buf_fini(&h->script);
    *h = (struct handover)HANDOVER_INIT;
    return r;
}
