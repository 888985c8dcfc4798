/* snappy - the snappy framing format over libsnappy's block codec (spec zstor-format 3;
 * github.com/google/snappy, framing_format.txt).  No I/O; any thread. */
#ifndef ZSTOR_FORMAT_SNAPPY_H
#define ZSTOR_FORMAT_SNAPPY_H

#include "common/bytes.h"

#define SNAPPY_BLOCK 65536 /* input bytes of one chunk */
#define SNAPPY_CHUNK_MAX \
    76490 /* largest length field that a reader accepts; = largest block the compressor makes */
#define SNAPPY_FRAME_ROOM (8 + SNAPPY_CHUNK_MAX)
#define SNAPPY_ID_LEN     10

extern const uint8_t snappy_frame_id[SNAPPY_ID_LEN]; /* starts every stream that is not empty */

/* One chunk from 1..SNAPPY_BLOCK input bytes; out has SNAPPY_FRAME_ROOM bytes.  Returns the bytes
 * written.  Stored as is when compression gains less than an eighth. */
size_t snappy_frame(const uint8_t *in, size_t n, uint8_t *out);

/* Decoder: fed with pieces of any size, gives the content to a callback (at most SNAPPY_BLOCK bytes
 * at once). */
typedef int snappy_out_fn(void *arg, const uint8_t *p, size_t n); /* 0, or a value that ends the
                                                                     decoding */
struct snappy_unframe;

struct snappy_unframe *snappy_unframe_new(snappy_out_fn *fn, void *arg);
void snappy_unframe_free(struct snappy_unframe *s);
/* 0; -EBADMSG: not a valid stream; or what the callback returned.  Sticky. */
int snappy_unframe_feed(struct snappy_unframe *s, const uint8_t *p, size_t n);
int snappy_unframe_end(struct snappy_unframe *s); /* -EBADMSG inside a chunk */

#endif
