/* Files of zdb with any bytes: the offline tools read them without harm, --dump ends or names an
 * offset, and a journal or policy that is taken for one is encoded to the same bytes.  The files
 * are in memory. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "zdb/format/compaction.h"
#include "zdb/format/policy.h"
#include "zdb/tools/dump_file.h"

static void journal(struct slice in)
{
    struct compact_list l = {0};
    struct buf b = BUF_INIT;

    if (compact_format_decode(in, &l) < 0) {
        FUZZ_CHECK(!l.entries);
        return;
    }
    compact_format_encode(&b, &l);
    FUZZ_CHECK(slice_eq(buf_slice(&b), in));
    buf_fini(&b);
    compact_list_fini(&l);
}

static void policy(struct slice in)
{
    uint8_t bytes[POLICY_SIZE];
    struct policy p;

    if (policy_decode(in, &p) < 0)
        return;
    policy_encode(bytes, &p);
    FUZZ_CHECK(memcmp(bytes, in.p, sizeof bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *null;
    static int fd = -1;
    struct err e = {0};
    char path[32];
    int r;

    if (!null)
        null = fopen("/dev/null", "w");
    if (fd < 0)
        fd = memfd_create("file", MFD_CLOEXEC);
    FUZZ_CHECK(null && fd >= 0 && ftruncate(fd, 0) == 0 &&
               pwrite(fd, data, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    r = dump_file(path, size % 2, null, &e);
    FUZZ_CHECK(r <= 0 && (r == 0) == (e.text[0] == '\0'));
    journal(slice_of(data, size));
    policy(slice_of(data, size));
    return 0;
}
