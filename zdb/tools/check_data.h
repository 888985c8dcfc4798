/* check_data - data files against what the index says of them.  Blocks. */
#ifndef ZDB_TOOLS_CHECK_DATA_H
#define ZDB_TOOLS_CHECK_DATA_H

#include "zdb/tools/check_state.h"

/* The data file of s; s->known is filled, and empty afterwards.  0 or -errno (it could not be
 * read). */
int check_data(struct check *c, struct check_seg *s, struct err *e);
/* When all are read: data records that no index record names and that are not superseded. */
void check_data_pending(struct check *c);

#endif
