/* wire - see fuse/wire.h.
 *
 * FUSE_HANDLE_KILLPRIV_V2: the kernel leaves set-id bits to us, and in return does not ask for the
 * capability of a file (a GETXATTR) at each write to it.
 * FUSE_TMPFILE is told to the library as a create, whose arguments and answer are the same;
 * FUSE_STATX as a getattr, which it begins like. */
#include "zdbfs/fuse/wire.h"

#include <linux/fuse.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OP_STATX = 52 /* since 7.39 */ };

struct statx_answer { /* struct fuse_statx_out */
    uint64_t valid_s;
    uint32_t valid_ns, flags;
    uint64_t spare[2];
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare2;
    uint64_t ino, size, blocks, attributes_mask;
    struct statx_timestamp atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare3[14];
};
_Static_assert(sizeof(struct statx_answer) == 32 + 256, "as linux/fuse.h has it");

static _Thread_local enum { PLAIN, TMPFILE, STATX } kind; /* of the request read last */

static _Atomic uint64_t init_request; /* its number while it is not answered, 0: none */
static _Atomic uint32_t offered;

static ssize_t receive(int fd, void *buf, size_t len, void *userdata)
{
    struct fuse_in_header head;
    struct fuse_init_in init;
    ssize_t n = read(fd, buf, len);

    (void)userdata;
    kind = PLAIN;
    if (n < (ssize_t)sizeof head)
        return n;
    memcpy(&head, buf, sizeof head);
    if (head.opcode == FUSE_TMPFILE || head.opcode == OP_STATX) {
        kind = head.opcode == OP_STATX ? STATX : TMPFILE;
        head.opcode = head.opcode == OP_STATX ? FUSE_GETATTR : FUSE_CREATE;
        memcpy(buf, &head, sizeof head);
    }
    if (head.opcode != FUSE_INIT ||
        n < (ssize_t)(sizeof head + offsetof(struct fuse_init_in, flags2)))
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

bool wire_is_tmpfile(void)
{
    return kind == TMPFILE;
}

bool wire_is_statx(void)
{
    return kind == STATX;
}

static struct statx_timestamp stamp(struct timespec t)
{
    return (struct statx_timestamp){.tv_sec = t.tv_sec, .tv_nsec = (uint32_t)t.tv_nsec};
}

int wire_reply_statx(fuse_req_t req, const struct stat *st, struct timespec btime, double valid_s)
{
    struct statx_answer a = {
        .valid_s = (uint64_t)valid_s,
        .mask = STATX_BASIC_STATS | STATX_BTIME,
        .blksize = (uint32_t)st->st_blksize,
        .nlink = (uint32_t)st->st_nlink,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .mode = (uint16_t)st->st_mode,
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .blocks = (uint64_t)st->st_blocks,
        .atime = stamp(st->st_atim),
        .btime = stamp(btime),
        .ctime = stamp(st->st_ctim),
        .mtime = stamp(st->st_mtim),
        .rdev_major = major(st->st_rdev),
        .rdev_minor = minor(st->st_rdev),
    };

    return fuse_reply_buf(req, (const char *)&a, sizeof a);
}
