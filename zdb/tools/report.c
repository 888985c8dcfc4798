/* report - see the header. */
#include "zdb/tools/report.h"
#include "zdb/tools/text.h"
#include <inttypes.h>
#include <stdarg.h>

static const char *const words[CHECK_KINDS] = {"fault", "unclean", "note"};

static void say_text(struct check_report *r, const struct check_finding *f, const char *what)
{
    fprintf(r->out, "%s: namespace ", words[f->kind]);
    check_text_put(r->out, slice_str(r->ns), false);
    if (f->file)
        fprintf(r->out, ": %s", f->file);
    if (f->off != CHECK_NO_OFFSET)
        fprintf(r->out, " at %" PRIu64, f->off);
    if (f->key.len) {
        fputs(": key ", r->out);
        check_text_put(r->out, f->key, false);
    }
    fprintf(r->out, ": %s", what);
    if (f->remedy)
        fprintf(r->out, "; %s", f->remedy);
    putc('\n', r->out);
}

static void put_field(FILE *out, const char *name, const char *text)
{
    fprintf(out, ",\"%s\":\"", name);
    check_text_put(out, slice_str(text), true);
    putc('"', out);
}

static void say_json(struct check_report *r, const struct check_finding *f, const char *what)
{
    fprintf(r->out, "{\"type\":\"finding\",\"severity\":\"%s\",\"code\":\"%s\"", words[f->kind],
            f->code);
    put_field(r->out, "namespace", r->ns);
    if (f->file)
        put_field(r->out, "file", f->file);
    if (f->off != CHECK_NO_OFFSET)
        fprintf(r->out, ",\"offset\":%" PRIu64, f->off);
    if (f->key.len) {
        fputs(",\"key\":\"", r->out);
        check_text_hex(r->out, f->key);
        putc('"', r->out);
    }
    put_field(r->out, "text", what);
    if (f->remedy)
        put_field(r->out, "remedy", f->remedy);
    fputs("}\n", r->out);
}

void check_say(struct check_report *r, const struct check_finding *f, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    r->count[f->kind]++;
    if (!r->out)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (r->json)
        say_json(r, f, what);
    else
        say_text(r, f, what);
}
