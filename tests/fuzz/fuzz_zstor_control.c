/* The daemon's socket and its job files: any bytes are requests, an error, or not enough; a job
 * that decodes encodes to itself. */
#include "tests/fuzz/fuzz.h"

#include <inttypes.h>

#include "common/crc.h"
#include "common/resp.h"
#include "zstor/daemon/protocol.h"
#include "zstor/queue/journal.h"

static void requests(struct slice in)
{
    struct resp_limits lim = {.max_args = CONTROL_ARGS_MAX,
                              .max_bulk = CONTROL_PATH_MAX + 1,
                              .max_header = 64};
    struct resp_parser p;
    struct resp_req raw;

    resp_init(&p, &lim);
    while (resp_next(&p, in, &raw) == 1) {
        struct control_req req, again;
        struct err e = {0};

        if (control_proto_decode(&req, raw.argc, raw.argv, &e) == 0) {
            struct slice argv[CONTROL_ARGS_MAX];
            unsigned argc = control_proto_argv(&req, argv);

            FUZZ_CHECK(control_proto_decode(&again, argc, argv, &e) == 0 && again.op == req.op);
            control_proto_fini(&again);
        } else {
            FUZZ_CHECK(e.text[0]);
        }
        control_proto_fini(&req);
        in = slice_of(in.p + raw.bytes, in.len - raw.bytes);
    }
    resp_fini(&p);
}

static void job(struct slice in)
{
    struct journal_rec *rec = xcalloc(1, sizeof *rec), *again = xcalloc(1, sizeof *again);
    struct buf b = BUF_INIT;
    struct err e = {0};

    if (journal_decode(rec, in, &e) == 0) {
        journal_encode(rec, &b);
        FUZZ_CHECK(journal_decode(again, buf_slice(&b), &e) == 0);
        FUZZ_CHECK(strcmp(again->name, rec->name) == 0 && again->op == rec->op &&
                   again->bytes == rec->bytes);
        buf_fini(&b);
    }
    journal_rec_free(again);
    journal_rec_free(rec);
}

/* With a checksum that matches, so that what is behind it is looked at. */
static void job_body(struct slice body)
{
    struct buf b = BUF_INIT;

    buf_printf(&b, "%08" PRIx32 "\n", crc_std(0, body.p, body.len));
    buf_put_slice(&b, body);
    job(buf_slice(&b));
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    requests(slice_of(data, size));
    job(slice_of(data, size));
    job_body(slice_of(data, size));
    return 0;
}
