/* crc - see crc.h.  isa-l picks the fastest implementation of the processor at run time. */
#include "common/crc.h"

#include <isa-l/crc.h>

/* isa-l leaves the upper halves of the vector registers in use, and then every SSE instruction that
 * follows is slow (seen in profiles: 0.8 us in a SET of 4 KiB). */
static inline void leave_vectors(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroupper" ::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                               "xmm15");
#endif
}

/* crc32_iscsi neither inverts at the start nor at the end, takes an int as length and a non-const
 * pointer. */
static uint32_t update(uint32_t crc, const uint8_t *p, size_t n)
{
    while (n) {
        int part = (int)MIN(n, (size_t)1 << 30);
        crc = crc32_iscsi((unsigned char *)(uintptr_t)p, part, crc);
        p += part;
        n -= (size_t)part;
    }
    leave_vectors();
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
