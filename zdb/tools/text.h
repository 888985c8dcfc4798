/* text - bytes that may be anything, in lines for people and in JSON strings.  No state. */
#ifndef ZDB_TOOLS_TEXT_H
#define ZDB_TOOLS_TEXT_H

#include "common/bytes.h"
#include <stdio.h>

/* What is not printable as \xHH, in JSON as \u00HH; quotes only in JSON need a backslash. */
void check_text_put(FILE *out, struct slice s, bool json);
void check_text_hex(FILE *out, struct slice s);

#endif
