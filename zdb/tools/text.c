/* text - see the header. */
#include "zdb/tools/text.h"

void check_text_put(FILE *out, struct slice s, bool json)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c == '\\' || (json && c == '"'))
            fprintf(out, "\\%c", c);
        else if ((c > ' ' || (json && c == ' ')) && c < 0x7f)
            putc(c, out);
        else
            fprintf(out, json ? "\\u%04x" : "\\x%02x", c);
    }
}

void check_text_hex(FILE *out, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        fprintf(out, "%02x", s.p[i]);
}
