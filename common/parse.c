/* parse - see parse.h. */
#include "common/parse.h"

#include <errno.h>

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Value of 1 or more digits; -ERANGE past 64 bits.  No limit on leading zeros. */
static int digits(const uint8_t *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    bool over = false;

    if (n == 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(p[i]))
            return -EINVAL;
        over = over || mul_ovf(v, (uint64_t)10, &v) || add_ovf(v, (uint64_t)(p[i] - '0'), &v);
    }
    if (over)
        return -ERANGE;
    *out = v;
    return 0;
}

int parse_u64_slice(struct slice text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t v;
    int r = digits(text.p, text.len, &v);

    if (r < 0)
        return r;
    if (v < min || v > max)
        return -ERANGE;
    *out = v;
    return 0;
}

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    return parse_u64_slice(slice_str(text), min, max, out);
}

int parse_i64_slice(struct slice text, int64_t min, int64_t max, int64_t *out)
{
    bool neg = text.len > 0 && text.p[0] == '-';
    uint64_t mag;
    int64_t v;

    int r = neg ? digits(text.p + 1, text.len - 1, &mag) : digits(text.p, text.len, &mag);
    if (r < 0)
        return r;
    if (mag > (uint64_t)INT64_MAX + (neg ? 1 : 0))
        return -ERANGE;
    v = neg ? (mag == 0 ? 0 : -(int64_t)(mag - 1) - 1) : (int64_t)mag;
    if (v < min || v > max)
        return -ERANGE;
    *out = v;
    return 0;
}

/* Power of 1024 of a unit letter; -1: none. */
static int unit_shift(char c)
{
    switch (c) {
    case 'k':
    case 'K':
        return 10;
    case 'M':
        return 20;
    case 'G':
        return 30;
    case 'T':
        return 40;
    default:
        return -1;
    }
}

int parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    const uint8_t *p = (const uint8_t *)text, *frac = NULL;
    size_t nint = 0, nfrac = 0;
    uint64_t v;
    int shift = 0;

    while (is_digit(p[nint]))
        nint++;
    const char *s = text + nint;
    if (*s == '.') {
        frac = (const uint8_t *)++s;
        while (is_digit(frac[nfrac]))
            nfrac++;
        if (nfrac == 0)
            return -EINVAL;
        s += nfrac;
    }
    if (unit_shift(*s) > 0) {
        shift = unit_shift(*s++);
        if (strcmp(s, "iB") == 0)
            s += 2;
    }
    if (strcmp(s, "B") == 0)
        s++;
    if (*s)
        return -EINVAL;
    int r = digits(p, nint, &v);
    if (r < 0)
        return r;
    if (v > UINT64_MAX >> shift)
        return -ERANGE;
    v <<= shift;
    /* Fraction of the unit, rounded down: long division digit by digit; 9 digits are more than any
     * unit resolves here. */
    uint64_t num = 0, den = 1;
    for (size_t i = 0; i < nfrac && i < 9; i++) {
        num = num * 10 + (uint64_t)(frac[i] - '0');
        den *= 10;
    }
    uint64_t part = (uint64_t)(((unsigned __int128)num << shift) / den);
    if (add_ovf(v, part, &v) || v < min || v > max)
        return -ERANGE;
    *out = v;
    return 0;
}

static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int parse_hex(struct slice text, uint8_t *out, size_t n)
{
    if (text.len / 2 != n || text.len % 2)
        return -EINVAL;
    for (size_t i = 0; i < text.len; i++)
        if (hex_value(text.p[i]) < 0)
            return -EINVAL;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)((unsigned)hex_value(text.p[2 * i]) << 4 |
                           (unsigned)hex_value(text.p[2 * i + 1]));
    return 0;
}

void parse_to_hex(const uint8_t *p, size_t n, char *out)
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digit[p[i] >> 4];
        out[2 * i + 1] = digit[p[i] & 15];
    }
    out[2 * n] = '\0';
}
