/* fuzz - what every fuzz target is: fuzz_<name>.c defines LLVMFuzzerTestOneInput, and says with
 * FUZZ_CHECK what must hold. By its name a target is linked with a daemon: fuzz_zdb_*,
 * fuzz_zdbfs_*, fuzz_zstor_*; the others only with common/. Seeds are in
 * tests/fuzz/corpus/fuzz_<name>/; what a run finds goes to build/fuzz/corpus/. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(claim) \
    do {                  \
        if (!(claim))     \
            abort();      \
    } while (0)

#endif
