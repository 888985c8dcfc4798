/* note - small sealed messages that stand in the metadata namespaces beside the records, under
 * names outside of what the original lists: "/<prefix>/zstor/<name>".  Each backend has a whole
 * copy.  Bytes in, struct out and back; no I/O.
 *
 *   0  "QZN\1"   magic
 *   4  u16 version (1), u16 kind
 *   8  u32 n     bytes of the blob, at most 4 KiB
 *  12  blob      nonce || AES-256-GCM(u16 kind, body) || tag, with the top-level key
 * 12+n b2 over bytes 0..12+n, so that a note of another key is told from a damaged one */
#ifndef ZSTOR_FORMAT_NOTE_H
#define ZSTOR_FORMAT_NOTE_H

#include "common/buf.h"
#include "zstor/format/crypt.h"

enum note_kind {
    NOTE_KEY = 1,   /* body: 16 bytes, identity of the volume; it is there to be opened */
    NOTE_LEASE = 2, /* body: struct note_lease */
};

#define NOTE_HOST_MAX 255

struct note_lease {
    uint8_t instance[ZSTOR_INSTANCE_LEN]; /* who may write */
    uint64_t epoch;                       /* one more at each change of owner */
    uint64_t serial;                      /* one more at each writing */
    uint64_t expiry_ns;                   /* unix; of when it was written last, plus its duration */
    bool held;                            /* else given back */
    char host[NOTE_HOST_MAX + 1];
};

/* "/<prefix>/zstor/<key|lease>", given (free). */
char *note_name(const char *prefix, enum note_kind kind);

int note_seal(enum note_kind kind, const uint8_t key[ZSTOR_KEY_LEN],
              const uint8_t nonce[CRYPT_NONCE_LEN], struct slice body, struct buf *out);
/* Body appended to out.  -EBADMSG: no note of this kind (damaged, cut, of the future);
 * -EKEYREJECTED: intact, but not made with this key. */
int note_open(enum note_kind kind, const uint8_t key[ZSTOR_KEY_LEN], struct slice bytes,
              struct buf *out);

void note_lease_encode(const struct note_lease *l, struct buf *out);
int note_lease_decode(struct slice body, struct note_lease *out); /* -EBADMSG */

#endif
