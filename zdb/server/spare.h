/* spare - the larger buffers go from hand to hand, so that idle connections have none, and the
 * memory in use is in the processor's cache.  Thread: the loop's. */
#ifndef ZDB_SERVER_SPARE_H
#define ZDB_SERVER_SPARE_H

#include "common/buf.h"

/* An empty b without much memory gets that of spare. */
void spare_borrow(struct buf *b, struct buf *spare);
/* An empty b gives its memory to spare, or back, when it is that much (from) and no more than to.
 */
void spare_return(struct buf *b, struct buf *spare, size_t from, size_t to);

#endif
