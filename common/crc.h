/* crc - CRC-32C (Castagnoli) over isa-l.  Two variants:
 *   crc_raw   initial value 0, no final xor: what zdb stores (spec zdb-files, "Checksum");
 * chainable crc_std   the usual CRC-32C (initial and final xor 0xffffffff): snappy frames and our
 * own structures; chainable with the former result, starting with 0 Check: crc_raw(0,"123456789") =
 * 0x58e3fa20, crc_std(0,"123456789") = 0xe3069283 */
#ifndef COMMON_CRC_H
#define COMMON_CRC_H

#include "common/bytes.h"

uint32_t crc_raw(uint32_t crc, const void *p, size_t n);
uint32_t crc_std(uint32_t crc, const void *p, size_t n);

#endif
