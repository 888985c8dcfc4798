/* golden_example - the worked example of spec zstor-format 12, byte for byte, as hex text. */
#ifndef TESTS_ZSTOR_GOLDEN_EXAMPLE_H
#define TESTS_ZSTOR_GOLDEN_EXAMPLE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/parse.h"

static const char EX_KEY[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
static const char EX_NONCE[] = "a0a1a2a3a4a5a6a7a8a9aaab";
static const char EX_META_NONCE[] = "b0b1b2b3b4b5b6b7b8b9babb";
static const char EX_FILE[] = "48656c6c6f2c207a73746f72210a";
static const char EX_CHECKSUM[] = "d958b01fbc7ef51a6641c49fe95ef1a1";
static const char EX_SNAPPY[] = "ff060000734e6150705901120000ba46f5be48656c6c6f2c207a73746f72210a";
static const char EX_BLOB[] = "a0a1a2a3a4a5a6a7a8a9aaab191e7c2d368563ef123c86c1077a7a9885121175fedb"
                              "2d40bc7455f210d9540be1008a80"
                              "c07419576be1e2f9eefc8346";
static const char *const EX_SHARD[4] = {
    "a0a1a2a3a4a5a6a7a8a9aaab191e7c2d368563ef123c86c1077a7a98851211",
    "75fedb2d40bc7455f210d9540be1008a80c07419576be1e2f9eefc83460202",
    "171f50a271971f5e1cc64c483dfd847e470f4d1e98924887e64f6bae1e3237",
    "c240292c958ecdac467f3fb72f02f8d9f14a5ae8ddc52fa418dbedb5dd2224"};
static const char *const EX_SHARD_SUM[4] = {"f9f0199352aee2425c2876e2aac74627",
                                            "1b85072b0fcbe7eb67bde18f48656425",
                                            "9aa74c5f2a9cb5ed6c8dfd844473b904",
                                            "adc47dbc2feb672c8e1d9b26e382657c"};
static const char EX_RECORD[] = "02000000000000000200000000000000d958b01fbc7ef51a6641c49fe95ef1a100"
                                "000000400000000000000030303031"
                                "303230333034303530363037303830393061306230633064306530663130313131"
                                "323133313431353136313731383139"
                                "3161316231633164316531660000000004000000000000000000000000000000f9"
                                "f0199352aee2425c2876e2aac74627"
                                "0100000000000000010000000000000000000000000000007f000001ad26000001"
                                "000000000000001b85072b0fcbe7eb"
                                "67bde18f486564250100000000000000010000000700000000000000000000007f"
                                "000001ae260103000000000000006e"
                                "73320002000000000000009aa74c5f2a9cb5ed6c8dfd844473b904010000000000"
                                "000000000000020100000100000020"
                                "010db8000000000000000000000001af260103000000000000006e733301060000"
                                "000000000073656372657403000000"
                                "00000000adc47dbc2feb672c8e1d9b26e382657c01000000000000000100000001"
                                "00000001000000000000000a000004"
                                "b0260000";
static const char EX_RECORD_SEALED[] =
    "b0b1b2b3b4b5b6b7b8b9babb9b555aabeccdbb5f45f897a2cd5d88c25d64f9cda9507a2f388f466eb5dc03b7054b23"
    "3a"
    "23dea6b8a55ba04a0c89b2841d5f27f42b0f72c57dbc5c0734a310c682890ed63adf56be29b99238af36d30077a2f8"
    "81"
    "994c44e8c4cd49a71a613e8652c14f39ffb407726f2b2bba92dac08009b6b79773f3cd3a7807f7d91e0e2f22b05dbe"
    "1d"
    "51a0716c3e7d7bc486d8773c82bd44d0cb63431db0f123dd49c1fc94f2d2c1fc3f6755318f1b43b3e062ebb1335010"
    "b1"
    "9cee41bc4e964caa8f486eb53a6a457fbd6220ae29346cd907602d95cb29867059362dc453364095c335e91c050089"
    "76"
    "3ed70f673315864da1419a26e4f84105a63956a7d0f9529c30f91a688bcaad7c21e9ab8334f2c752bba671504418d8"
    "1f"
    "d8a6b90065be3df211499c10dedff442807e1d2eb9694dcb9828e3aabede8e2ceb59bf049e4ae8c167914d0cf4dae2"
    "2c"
    "15990e7e1e45ba5a540aaad34b081c88e98ded21dcd47b0c90bb612513481abf154c17dbbe25e104ba4fef42eb3b05"
    "e7"
    "bcefd407c5716cdbf6105903abebbab10d0abc8354eb445afbee52187fd20f11";
static const char *const EX_VALUE[4] = {
    "00b0b1b2b3b4b5b6b7b8b9babb9b555aabeccdbb5f45f897a2cd5d88c25d64f9cda9507a2f388f466eb5dc03b7054b"
    "23"
    "3a23dea6b8a55ba04a0c89b2841d5f27f42b0f72c57dbc5c0734a310c682890ed63adf56be29b99238af36d30077a2"
    "f8"
    "81994c44e8c4cd49a71a613e8652c14f39ffb407726f2b2bba92dac08009b6b79773f3cd3a7807f7d91e0e2f22b05d"
    "be"
    "1d51a0716c3e7d7bc486d8773c82bd44d0cb63431db0f123dd49c1fc94f2d2c1fc3f6755318f1b43b3e062ebb13350"
    "10"
    "b19cee41bc4e964caa8f486eb53a6a457fbdb21aa56883adc2fcc7a83c5a88206d98",
    "016220ae29346cd907602d95cb29867059362dc453364095c335e91c050089763ed70f673315864da1419a26e4f841"
    "05"
    "a63956a7d0f9529c30f91a688bcaad7c21e9ab8334f2c752bba671504418d81fd8a6b90065be3df211499c10dedff4"
    "42"
    "807e1d2eb9694dcb9828e3aabede8e2ceb59bf049e4ae8c167914d0cf4dae22c15990e7e1e45ba5a540aaad34b081c"
    "88"
    "e98ded21dcd47b0c90bb612513481abf154c17dbbe25e104ba4fef42eb3b05e7bcefd407c5716cdbf6105903abebba"
    "b1"
    "0d0abc8354eb445afbee52187fd20f110202eab0eb3c53590c165ac6b2b016c06b97",
    "02098e8a9aa91a68ca158ce45be2ee0e5245104547a39593602028bd51e7a3fa3655ee4017629d50ed40504911e25f"
    "6f"
    "1f17d3a4681d49d8befbb21b9aaea69143b25a8d3a7e4a40620d1a90dfab2b2cca1f13fa151aac526a7e7f48a13a0e"
    "91"
    "834aee904a83d050d97e780bf6575f8980aea201b725b0e21d94e94568b21e9c8eba14b6720260b0de365bcaf0dddf"
    "d2"
    "e8f43ad111f771956cfcb7d3620beeaf47d88b6e4687d16d13459d9d6a7d618d7c821cf1c46ef56e391d1426859e99"
    "4f"
    "d4ad4ad871192f60084d7c823cf7a0ed85deced426bacf51694f8b8accf4ad67ca3a",
    "03db1f960029c3077acd18cb2b503d24a09ff03a4bd02d9101d89c2996ba4e75c52bb15d0b4f945b22b4166c421f55"
    "49"
    "830d5ba5004140e4c40e21c1957954ca9670fe7ccbf1314ede9fc8d05d317a3dc48375acce8d28324398d58b7f9258"
    "2b"
    "82adbffa1b2e50d2e64cfa9fcedb10ea5208a9025b007308c0977e891c614a070c50e905563fdd1d5322ff3699659e"
    "e4"
    "1c287781a11d77e238c10e814dc14954825ffff6e512c14a7443b32315b4b6ab3c52afa3309082f67ced2fce9f4673"
    "ee"
    "683b181a99bcfd76592c66f4f61fc5b9f8616262c691eb1a58d6397d8fad7cb0bfa5"};

/* Bytes of a hex text; given (buf_fini). */
static inline struct buf unhex(const char *text)
{
    struct buf b = BUF_INIT;
    size_t n = strlen(text) / 2;
    uint8_t *p = buf_reserve(&b, n + 1);

    ck_assert_int_eq(parse_hex(slice_str(text), p, n), 0);
    buf_commit(&b, n);
    return b;
}

#define ck_assert_bytes_hex(ptr, n, text)                     \
    do {                                                      \
        struct buf want_ = unhex(text);                       \
        ck_assert_uint_eq((n), want_.len);                    \
        ck_assert_mem_eq((ptr), buf_data(&want_), want_.len); \
        buf_fini(&want_);                                     \
    } while (0)

#endif
