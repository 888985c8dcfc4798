/* crc - see crc.h.  isa-l picks the fastest implementation of the processor at run time. */
#include "common/crc.h"

#include <isa-l/crc.h>

/* crc32_iscsi neither inverts at the start nor at the end, takes an int as length and a non-const pointer. */
static uint32_t update(uint32_t crc, const uint8_t *p, size_t n)
{
    while (n) {
        int part = (int)MIN(n, (size_t)1 << 30);
        crc = crc32_iscsi((unsigned char *)(uintptr_t)p, part, crc);
        p += part;
        n -= (size_t)part;
    }
    return crc;
}

uint32_t crc_raw(uint32_t crc, const void *p, size_t n)
{
    return update(crc, p, n);
}

uint32_t crc_std(uint32_t crc, const void *p, size_t n)
{
    return ~update(~crc, p, n);
}
