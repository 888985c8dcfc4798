/* share - see share.h.
 *
 *   anyhow   0 1 2, log, epoll, two wake-ups, two locks, two listeners                   12
 *            files and directories opened for a moment by the loop and by six helpers     8
 *            a connection that is refused, a hook that is started (pipe, pidfd)           4
 *   hooks    pipe and pidfd; left outputs of background children (OUTPUT_LEFT_MAX)
 *   files    what the cache holds; while all of it is in use (a sync, cold reads) it goes above by
 *            a quarter at most
 */
#include "zdb/share.h"

#include "zdb/file/descriptors.h"
#include "zdb/server/hooks.h"

#define ANYHOW    24
#define PER_HOOK  4 /* queued and urgent, two each */
#define FILES_MAX 512

struct share share_of(uint64_t all, uint64_t clients)
{
    uint64_t rest = all > ANYHOW ? all - ANYHOW : 0;
    struct share s = {
        .hooks = (unsigned)MAX(MIN(rest / 6 / PER_HOOK, (uint64_t)HOOK_MAX_QUEUED), (uint64_t)1),
        .files = (unsigned)MAX(MIN(rest / 4, (uint64_t)FILES_MAX), (uint64_t)FILES_MIN)};
    uint64_t others = (uint64_t)s.hooks * PER_HOOK + s.files + s.files / 4;

    rest = rest > others ? rest - others : 0;
    s.clients = (size_t)MAX(MIN(rest, clients), (uint64_t)2);
    return s;
}
