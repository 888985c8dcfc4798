/* reconstruct - the shards of an object that are at hand, read as one blob: data shards that are
 * missing are computed on the way from any geo.data others.  Spec zstor-format 5, 6.  One thread.
 */
#ifndef ZSTOR_OBJECT_RECONSTRUCT_H
#define ZSTOR_OBJECT_RECONSTRUCT_H

#include "zstor/object/fetch.h"

struct shardread;

/* f has geo.data good and kept shards; borrowed.  -EBADMSG: lengths differ, or the padding is
 * malformed. */
int shardread_new(struct shardread **out, struct geometry geo, const struct fetch *f);
void shardread_free(struct shardread *s);
uint64_t shardread_blob_len(const struct shardread *s); /* without padding */
/* decode_read_fn; arg is a struct shardread */
int shardread_blob(void *arg, uint64_t off, uint8_t *p, size_t n);

uint64_t shardread_shard_len(const struct shardread *s);
const unsigned *shardread_have(const struct shardread *s); /* geo.data indexes; upload_source.have
                                                            */
int shardread_source(void *arg, unsigned j, uint64_t off, uint8_t *p,
                     size_t n); /* upload_source.read
                                 */

#endif
