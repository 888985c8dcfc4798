/* redo - records of the journal in the temp namespace.  No state, no I/O.
 *
 * A record is a stream of operations cut into chunks; each chunk is one value:
 *   0 magic "QFSREDO1"   8 u8 kind   9 u8 flags, bit 0: last chunk   10 u16 zero   12 u32 index,
 * from 0   16 u64 sequence 24 u64 generation   32 u32 length of the payload   36 u32 CRC-32C (usual
 * one) of bytes 0..35 and the payload 40 payload A record counts when its chunks 0..last are all
 * there and its generation is that of the volume (key 0 of meta): the generation changes when all
 * records have had their effect, so that none of them can come back.  Operations of kind
 * REDO_COMMIT: u8 1 | u64 key | u32 length | bytes     meta SET u8 2 | u32 n | n times u64 meta DEL
 *   u8 3 | u32 n | n times u32              data DEL, to be done after the record is durable
 *   u8 4 | u32 n | n times u64              all inodes that exist without a name
 *   u8 5 | u32 n | n times u64, u32         meta keys that held a value of the original before they
 * are first changed, and its CRC-32C
 *   u8 6 | u64 key | u32 length | inode without blocks | u32 blocks | u32 n | n times u32 block,
 * u32 key   file: the inode is so now, has so many blocks (cut, or holes behind), and these are so
 *   u8 7 | u64 key | u64 inode, 0: none | u16 length, name   list: the name is that inode's now
 * 6 and 7 change a value that is in the meta namespace, or set by an operation before.  Each
 * operation says how something is, not by how much it has changed: so to do all of them again, in
 * order, gives the same, whatever of them was done.
 * Payload of REDO_IDS: u64 keys of the meta namespace that are reserved and unused as long as their
 * value is "X". */
#ifndef ZDBFS_FORMAT_REDO_H
#define ZDBFS_FORMAT_REDO_H

#include "common/buf.h"

#define REDO_HEAD      40u
#define REDO_MAX_CHUNK (4u * 1024 * 1024) /* bytes of one value, head included */

enum redo_kind { REDO_COMMIT = 1, REDO_IDS = 2 };
enum redo_op {
    REDO_SET = 1,
    REDO_DEL_META = 2,
    REDO_DEL_DATA = 3,
    REDO_ORPHANS = 4,
    REDO_WAS = 5,
    REDO_INODE = 6,
    REDO_ENTRY = 7,
};

struct redo_chunk {
    enum redo_kind kind;
    bool last;
    uint32_t index;
    uint64_t seq, generation;
    struct slice payload; /* borrowed */
};

/* 0 and *out; -ENOMSG: not of the journal; -EUCLEAN: torn or of an unknown version. */
int redo_format_decode_chunk(struct slice v, struct redo_chunk *out);

/* How many chunks a stream of that length makes, and the i-th of them (b is overwritten).  0 or
 * -ENOMEM. */
uint32_t redo_format_chunks(size_t stream_len);
int redo_format_encode_chunk(struct buf *b, enum redo_kind kind, uint64_t generation, uint64_t seq,
                             struct slice stream, uint32_t index);

/* Operations into a stream; -ENOMEM leaves the stream as it was. */
int redo_format_put_set(struct buf *stream, uint64_t key, struct slice value);
int redo_format_put_keys(struct buf *stream, enum redo_op op, const uint64_t *keys, uint32_t n);
/* n times key, checksum */
int redo_format_put_was(struct buf *stream, const uint64_t *pairs, uint32_t n);

/* pairs: n times block, its data key */
int redo_format_put_inode(struct buf *stream, uint64_t key, struct slice inode, uint32_t nslots,
                          const uint32_t *pairs, uint32_t n);
int redo_format_put_entry(struct buf *stream, uint64_t key, struct slice name, uint64_t ino);

struct redo_item {
    enum redo_op op;
    uint64_t key;       /* REDO_SET, REDO_INODE, REDO_ENTRY */
    struct slice value; /* REDO_SET: the value; REDO_INODE: that without blocks; REDO_ENTRY: the
                           name; else the packed keys */
    uint64_t ino;       /* REDO_ENTRY */
    uint32_t nslots;    /* REDO_INODE */
    struct slice pairs; /* REDO_INODE: 8 bytes each */
};

/* 1: next operation; 0: the end; -EUCLEAN. */
int redo_format_next(struct rd *r, struct redo_item *out);
uint32_t redo_format_count(const struct redo_item *it); /* of the keys of a list operation */
uint64_t redo_format_key(const struct redo_item *it, uint32_t i);
uint32_t redo_format_was(const struct redo_item *it, uint32_t i); /* REDO_WAS: the checksum */

#endif
