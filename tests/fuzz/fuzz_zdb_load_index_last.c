/* The index file of the active segment. */
#include "tests/fuzz/fuzz_zdb_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return load_one(LOAD_I1, data, size);
}
