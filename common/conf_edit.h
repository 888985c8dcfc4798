/* conf_edit - one value of a YAML text is read or changed in place: everything else, comments too,
 * stays byte for byte.  The place is named by the keys down to it, with dots between, and numbers
 * (from 0) in lists: "meta.config.backends.0.address".  No state; any thread. */
#ifndef COMMON_CONF_EDIT_H
#define COMMON_CONF_EDIT_H

#include "common/buf.h"
#include "common/conf.h"

/* The value at the place below root: 1 and *out (borrowed), 0: there is none. */
int conf_find(const struct conf_node *root, const char *place, const struct conf_node **out);

/* text gets this value at the place.  A key that is not there yet is added to its map, when that is
 * there.  1: changed; 0: it has that value; -EINVAL: no valid YAML, the place is a map or a list,
 * or there is no such map or list (then text is untouched).  name stands for the file in messages.
 */
int conf_edit(struct buf *text, const char *name, const char *place, const char *value,
              struct err *e);

#endif
