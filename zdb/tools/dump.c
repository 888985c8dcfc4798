/* dump - see tools/dump.h */
#include "zdb/tools/dump.h"

#include <inttypes.h>

#include "common/loop.h"
#include "common/parse.h"
#include "zdb/tools/text.h"
#include "zdb/store.h"

struct dump {
    struct loop *loop;
    FILE *out;
    bool json;
    const char *ns;
    bool woken;
    uint8_t cursor[NS_CURSOR_SIZE]; /* of the last key printed */
    bool any;
    size_t given; /* in the last call */
};

static bool on_key(void *arg, struct slice key, const struct ns_entry *e)
{
    struct dump *d = arg;
    char hex[2 * NS_KEY_MAX + 1];

    if (d->json)
        fputs("{\"namespace\":\"", d->out);
    check_text_put(d->out, slice_str(d->ns), d->json);
    if (d->json) {
        parse_to_hex(key.p, key.len, hex);
        fprintf(d->out, "\",\"key\":\"%s\",\"length\":%" PRIu32 ",\"timestamp\":%" PRIu32 "}\n",
                hex, e->length, e->timestamp);
    } else {
        putc(' ', d->out);
        check_text_put(d->out, key, false);
        fprintf(d->out, " %" PRIu32 " %" PRIu32 "\n", e->length, e->timestamp);
    }
    ns_cursor_encode(e, d->cursor);
    d->any = true;
    d->given++;
    return true;
}

static void on_wake(void *arg)
{
    struct dump *d = arg;
    d->woken = true;
}

static int dump_ns(struct dump *d, struct ns *ns)
{
    struct ns_wait w;
    int r;

    d->ns = ns_name(ns);
    d->any = false;
    ns_wait_init(&w, on_wake, d);
    do { /* one call gives what is at hand; nothing given: the end */
        d->given = 0;
        r = ns_scan(ns, slice_of(d->cursor, d->any ? sizeof d->cursor : 0), NS_FORWARD, on_key, d,
                    &w);
        if (r == -EINPROGRESS)
            for (d->woken = false; !d->woken;)
                loop_once(d->loop, 1000);
    } while (r == -EINPROGRESS || (r == 0 && d->given > 0));
    ns_wait_end(&w);
    return r;
}

int dump_run(struct store *l, struct loop *loop, FILE *out, bool json, struct err *e)
{
    struct dump d = {.loop = loop, .out = out, .json = json};
    size_t n = store_slots(l);

    for (size_t i = 0; i < n; i++) {
        struct ns *ns = store_at(l, i);
        struct ns_info info;
        if (!ns)
            continue;
        ns_info(ns, &info);
        int r = info.mode == NS_USER ? dump_ns(&d, ns) : 0;
        if (r < 0)
            return err_sys(e, -r, "namespace %s", ns_name(ns));
    }
    if (fflush(out) != 0 || ferror(out))
        return err_set(e, EIO, "output could not be written");
    return 0;
}
