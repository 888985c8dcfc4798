/* The data file of a closed segment. */
#include "tests/fuzz/fuzz_zdb_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return load_one(LOAD_D0, data, size);
}
