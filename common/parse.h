/* parse - text to numbers, whole text or nothing, with ranges.  No locale, no thread. */
#ifndef COMMON_PARSE_H
#define COMMON_PARSE_H

#include "common/bytes.h"

/* Decimal digits only (no sign, no blanks).  0, or -EINVAL, or -ERANGE; *out untouched on failure.
 */
int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out);
int parse_u64_slice(struct slice text, uint64_t min, uint64_t max, uint64_t *out);
int parse_i64_slice(struct slice text, int64_t min, int64_t max, int64_t *out); /* optional leading
                                                                                   '-' */
/* Digits, optional fraction, optional unit k K M G T (1024-based), optional B or iB behind the
 * unit: "64M", "1.5G", "4096" */
int parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* Exactly n bytes from 2n hex digits (either case). */
int parse_hex(struct slice text, uint8_t *out, size_t n);
void parse_to_hex(const uint8_t *p, size_t n, char *out); /* 2n digits, lower case, and a NUL */

#endif
