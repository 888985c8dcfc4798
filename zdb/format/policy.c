/* policy - see the header.  Pure functions. */
#include "zdb/format/policy.h"
#include "common/crc.h"
#include <errno.h>

#define VERSION 1
#define SUM_AT  (POLICY_SIZE - 4)

static const uint8_t magic[4] = {'Z', 'P', 'L', '1'};

void policy_encode(uint8_t out[POLICY_SIZE], const struct policy *p)
{
    memset(out, 0, POLICY_SIZE);
    memcpy(out, magic, sizeof magic);
    le32_put(out + 4, VERSION);
    out[8] = p->reclaim;
    out[9] = p->percent;
    le32_put(out + SUM_AT, crc_raw(0, out, SUM_AT));
}

int policy_decode(struct slice in, struct policy *out)
{
    if (in.len < POLICY_SIZE)
        return -ENODATA;
    if (memcmp(in.p, magic, sizeof magic) != 0 ||
        le32_get(in.p + SUM_AT) != crc_raw(0, in.p, SUM_AT))
        return -EBADMSG;
    if (le32_get(in.p + 4) != VERSION || in.p[8] > 1 || le16_get(in.p + 10) != 0)
        return -EPROTONOSUPPORT;
    *out = (struct policy){.reclaim = in.p[8] == 1, .percent = in.p[9]};
    if (out->reclaim ? out->percent < 1 || out->percent > 99 : out->percent != 0)
        return -EBADMSG;
    return 0;
}
