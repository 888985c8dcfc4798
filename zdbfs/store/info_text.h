/* info_text - answers of INFO and NSINFO: "name: value" lines.  No state. */
#ifndef ZDBFS_STORE_INFO_TEXT_H
#define ZDBFS_STORE_INFO_TEXT_H

#include "common/bytes.h"

bool info_text_field(struct slice text, const char *name, struct slice *out);
uint64_t info_text_number(struct slice text, const char *name, uint64_t missing);
bool info_text_is(struct slice text, const char *name, const char *value);
/* next_internal_id: "0x" and the hexadecimal digits of the key as it is stored, without leading
 * zeros (spec zdbfs-format 1.2); 0 when it does not say. */
uint64_t info_text_next_key(struct slice text);

#endif
