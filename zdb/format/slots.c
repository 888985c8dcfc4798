/* slots - see the header. */
#include "zdb/format/slots.h"

/* Slots name the one before them, and one that was updated names a later one as its former version.
 */
int slots_vote_mode(const uint8_t *block, size_t n)
{
    size_t fit = 0, later = 0;

    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = block + i * INDEX_SEQ_REC;
        uint32_t off = (uint32_t)(INDEX_HEADER_SIZE + i * INDEX_SEQ_REC);
        fit += p[0] == INDEX_SEQ_KEY && (i == 0 || le32_get(p + 9) == off - INDEX_SEQ_REC);
        later += p[0] == INDEX_SEQ_KEY && le32_get(p + 30) > off &&
                 le32_get(p + 30) < off + (n - i) * INDEX_SEQ_REC;
    }
    if (later > 0 && fit * 2 > n)
        return 2;
    return n > 1 && fit * 2 <= n ? -1 : 0;
}

uint64_t slots_vote_first(const uint8_t *block, size_t n, uint64_t expected, uint64_t *weight,
                          uint64_t *agree)
{
    uint64_t best = 0;

    *weight = *agree = 0;
    for (size_t slot = 0; slot < n; slot++) {
        const uint8_t *p = block + slot * INDEX_SEQ_REC;
        uint64_t id = le64_get(p + INDEX_REC_SIZE);
        if (p[0] != INDEX_SEQ_KEY || id < slot || (p[INDEX_FLAGS_AT] & INDEX_DELETED))
            continue;
        if (*weight == 0)
            best = id - slot;
        if (best == id - slot)
            ++*weight;
        else
            --*weight;
        *agree += expected == id - slot;
    }
    return best;
}
