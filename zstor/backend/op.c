/* op - see backend/op.h. */
#include "zstor/backend/op.h"

#include <stdlib.h>

void backend_op_fini(struct backend_op *op)
{
    if (op->holder)
        op->release(op->holder);
    free(op->rows);
    op->holder = NULL;
    op->rows = NULL;
    op->nrows = 0;
    op->out = slice_of(NULL, 0);
}
