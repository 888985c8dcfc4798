/* record - the metadata record of one object: bincode 1.3 struct as upstream writes it, and
 * our optional tail behind it. Spec zstor-format 8, 9, 10.  Bytes in, struct out and back; no I/O,
 * no cryptography.
 *
 * Tail (upstream ignores and drops it):
 *   0  "QZT\1"            magic
 *   4  u16 version (1)    unknown: refused
 *   6  u16 flags (0)      unknown: refused
 *   8  u32 n              bytes of entries, at most 64 KiB
 *  12  entries            u16 type, u16 length, value; unknown types are skipped
 * 12+n u32 crc_std over bytes 0..12+n
 * Bytes that do not start with the magic, or whose checksum is wrong, are a stranger's and count as
 * no tail. */
#ifndef ZSTOR_FORMAT_RECORD_H
#define ZSTOR_FORMAT_RECORD_H

#include "common/buf.h"
#include "common/err.h"
#include "zstor/format/address.h"
#include "zstor/format/types.h"

#define META_SIZE_UNKNOWN UINT64_MAX

struct meta_key { /* of one value in a sequential namespace */
    bool v2;      /* 8 bytes on the wire, else 4 */
    uint64_t id;
};

struct meta_shard { /* its position in the record is its index */
    bool present; /* listed; our own records list all (a shard that could not be stored has no keys)
                   */
    uint8_t digest[ZSTOR_DIGEST_LEN];
    struct meta_key *keys; /* owned */
    size_t nkeys;
    uint64_t born; /* tail: when its backend wrote the last of its values, by the backend's clock;
                      0: not told */
    struct backend_addr addr; /* owned; of a kind that is not a 0-db: BACKEND_ELSEWHERE after
                                 meta_format_decode */
};

struct meta_record {
    struct geometry geo;
    uint8_t checksum[ZSTOR_DIGEST_LEN]; /* of the file */
    uint8_t key[ZSTOR_KEY_LEN];         /* of the object's data */
    struct meta_shard *shards;          /* geometry_total(geo) entries, owned */
    bool irregular; /* decoded from a list that was not complete and in order; upstream's rebuild
                       takes keys by position and would lose shards: write it again */

    bool has_tail;       /* the rest is only meaningful then */
    uint64_t generation; /* the newest wins; > 0 */
    uint64_t time_ns;    /* of the store, unix */
    uint64_t size;       /* of the file; META_SIZE_UNKNOWN: not told */
    uint64_t blob_len;   /* of nonce || ciphertext || tag; 0: not told */
    char *name;      /* path without the root, as it was hashed to the key; NULL: not told; owned */
    char *path;      /* with the root; only records before `name` have it; NULL: none; owned */
    char *host;      /* that stored it, NULL: not told; owned */
    bool has_writer; /* the two that follow are told */
    uint8_t writer[ZSTOR_INSTANCE_LEN]; /* instance that wrote the record */
    uint64_t epoch;                     /* of its lease then */
};

void meta_record_init(struct meta_record *m, struct geometry geo); /* shards allocated, none present
                                                                    */
void meta_record_fini(struct meta_record *m); /* wipes the key; m is then empty */
void meta_record_copy(struct meta_record *out, const struct meta_record *m);

/* Record (and tail when has_tail) appended to out. */
void meta_format_encode(const struct meta_record *m, struct buf *out);
/* -EBADMSG: truncated, out of range, index twice, ...; -EPROTO: tail of a version or with flags we
 * do not know. *out is empty then. */
int meta_format_decode(struct slice in, struct meta_record *out, struct err *e);
/* Bytes that meta_format_encode would write for shards with nkeys values each: an upper bound, for
 * limits. */
uint64_t meta_format_bound(const struct meta_record *m, uint64_t nkeys);

/* Key on the wire: 4 or 8 bytes.  len of out: 8.  Returns the length. */
size_t meta_key_to_wire(const struct meta_key *k, uint8_t out[8]);
int meta_key_from_wire(struct slice s, struct meta_key *out); /* -EPROTO: neither 4 nor 8 bytes */

/* Upstream's JSON form of one record (spec section 13), indented by `indent` blanks on continuation
 * lines, without a newline at the end. */
void meta_format_json(const struct meta_record *m, unsigned indent, struct buf *out);

#endif
