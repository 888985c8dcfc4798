/* namespace - bytes of a namespace descriptor `zdb-namespace`.  Spec zdb-files, section 3.
 * Little-endian, packed.
 *
 * 0 u32 version = 1 | 4 u8 n | 5 u8 p | 6 u64 maxsize | 14 u8 flags | 15 name, n bytes | password,
 * p bytes flags: 1 public, 2 worm, 4 always set when written.  Bytes behind the password are
 * left-overs and ignored. */
#ifndef ZDB_FORMAT_NAMESPACE_H
#define ZDB_FORMAT_NAMESPACE_H

#include "common/buf.h"

#define NS_FORMAT_FILE         "zdb-namespace"
#define NS_FORMAT_VERSION      1
#define NS_FORMAT_HEADER_SIZE  15
#define NS_FORMAT_NAME_MAX     255
#define NS_FORMAT_PASSWORD_MAX 255
#define NS_FORMAT_SIZE_MAX     (NS_FORMAT_HEADER_SIZE + NS_FORMAT_NAME_MAX + NS_FORMAT_PASSWORD_MAX)

struct ns_format {
    struct slice name, password; /* decode: borrowed from the bytes decoded */
    uint64_t max_size;
    bool is_public, worm;
};

/* name and password of at most 255 bytes each */
void ns_format_encode(struct buf *out, const struct ns_format *f);
/* 0, -ENODATA (shorter than its lengths say, or than the header), -EPROTONOSUPPORT (version),
 * -EBADMSG (unknown flags). */
int ns_format_decode(struct slice in, struct ns_format *out);

#endif
