/* info_text - see store/info_text.h. */
#include "zdbfs/store/info_text.h"

#include <string.h>

#include "common/parse.h"

bool info_text_field(struct slice text, const char *name, struct slice *out)
{
    size_t n = strlen(name);

    while (text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        size_t len = nl ? (size_t)(nl - text.p) : text.len;
        if (len > n + 2 && memcmp(text.p, name, n) == 0 && text.p[n] == ':' &&
            text.p[n + 1] == ' ') {
            *out = slice_of(text.p + n + 2, len - n - 2);
            return true;
        }
        text = slice_of(text.p + len + (nl != NULL), text.len - len - (nl != NULL));
    }
    return false;
}

uint64_t info_text_number(struct slice text, const char *name, uint64_t missing)
{
    struct slice v;
    uint64_t n;

    return info_text_field(text, name, &v) && parse_u64_slice(v, 0, UINT64_MAX, &n) == 0 ? n
                                                                                         : missing;
}

bool info_text_is(struct slice text, const char *name, const char *value)
{
    struct slice v;
    return info_text_field(text, name, &v) && slice_eq_str(v, value);
}

uint64_t info_text_next_key(struct slice text)
{
    struct slice v;
    uint64_t n = 0;

    if (!info_text_field(text, "next_internal_id", &v) || v.len < 3 || v.len > 18 ||
        v.p[0] != '0' || v.p[1] != 'x')
        return 0;
    for (size_t i = 2; i < v.len; i++) {
        const char *digits = "0123456789abcdef", *at = strchr(digits, v.p[i]);
        if (!v.p[i] || !at)
            return 0;
        n = n << 4 | (uint64_t)(at - digits);
    }
    return __builtin_bswap64(n);
}
