/* wire - see fuse/wire.h.
 *
 * FUSE_HANDLE_KILLPRIV_V2: the kernel leaves set-id bits to us, and in return does not ask for the
 * capability of a file (a GETXATTR) at each write to it. */
#include "zdbfs/fuse/wire.h"

#include <linux/fuse.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic uint64_t init_request; /* its number while it is not answered, 0: none */
static _Atomic uint32_t offered;

static ssize_t receive(int fd, void *buf, size_t len, void *userdata)
{
    struct fuse_in_header head;
    struct fuse_init_in init;
    ssize_t n = read(fd, buf, len);

    (void)userdata;
    if (n < (ssize_t)(sizeof head + offsetof(struct fuse_init_in, flags2)))
        return n;
    memcpy(&head, buf, sizeof head);
    if (head.opcode != FUSE_INIT)
        return n;
    memcpy(&init, (const char *)buf + sizeof head, offsetof(struct fuse_init_in, flags2));
    atomic_store(&offered, init.flags);
    atomic_store(&init_request, head.unique);
    return n;
}

static ssize_t answer(int fd, struct iovec *iov, int count, void *userdata)
{
    struct fuse_out_header head;
    struct fuse_init_out init;
    uint64_t request = atomic_load(&init_request);

    (void)userdata;
    if (request && count == 2 && iov[0].iov_len == sizeof head && iov[1].iov_len <= sizeof init &&
        iov[1].iov_len > offsetof(struct fuse_init_out, flags) + sizeof init.flags) {
        memcpy(&head, iov[0].iov_base, sizeof head);
        if (head.unique == request && head.error == 0) {
            memcpy(&init, iov[1].iov_base, iov[1].iov_len);
            init.flags |= atomic_load(&offered) & FUSE_HANDLE_KILLPRIV_V2;
            atomic_store(&init_request, 0);
            return writev(fd, (struct iovec[]){iov[0], {&init, iov[1].iov_len}}, 2);
        }
    }
    return writev(fd, iov, count);
}

int wire_complete(struct fuse_session *se)
{
    static const struct fuse_custom_io io = {.writev = answer, .read = receive};

    return fuse_session_custom_io(se, &io, fuse_session_fd(se));
}
