/* zsend - requests on their way to a socket: headers and short arguments are collected, long
 * arguments are sent from where they are (one sendmsg for many of them).  Part of zclient. */
#ifndef COMMON_ZSEND_H
#define COMMON_ZSEND_H

#include "common/buf.h"

#define ZSEND_COPY_MAX 512 /* longer arguments are borrowed until they are sent or dropped */

struct zsend_seg;
struct zsend {             /* embedded; zero is empty */
    struct buf head;       /* what was collected and is unsent */
    struct zsend_seg *seg; /* seg[first..n) are unsent */
    size_t first, n, cap;
    size_t sent; /* bytes of seg[first] that are gone */
};

void zsend_fini(struct zsend *z);
/* 0, -EINVAL without arguments, -ENOMEM; on failure nothing was added. */
int zsend_push(struct zsend *z, unsigned argc, const struct slice *argv);
/* As much as the socket takes without waiting.  0 (zsend_left tells whether that was all) or
 * -errno. */
int zsend_flush(struct zsend *z, int fd);
bool zsend_left(const struct zsend *z);
void zsend_drop(struct zsend *z); /* forget what is unsent: borrowed memory is not touched again */
void zsend_wipe(struct zsend *z); /* overwrite the memory of what was sent; only when nothing is
                                     left */

#endif
