/* report - what a check found: one line each, for people or as JSON, and counted. */
#ifndef ZDB_TOOLS_REPORT_H
#define ZDB_TOOLS_REPORT_H

#include "common/bytes.h"
#include <stdio.h>

enum check_kind {
    CHECK_FAULT,   /* something is wrong that no start sets right without loss, or at all */
    CHECK_UNCLEAN, /* not closed in order: the next start completes it */
    CHECK_NOTE,    /* worth to know, and in order */
    CHECK_KINDS
};

struct check_report {
    FILE *out; /* NULL: only counted */
    bool json;
    const char *ns;              /* namespace at hand; borrowed */
    uint64_t count[CHECK_KINDS]; /* of the namespace at hand */
};

#define CHECK_NO_OFFSET UINT64_MAX

struct check_finding {
    enum check_kind kind;
    const char *code;   /* word for programs; part of the contract (zdb(8)) */
    const char *file;   /* path, or NULL */
    uint64_t off;       /* or CHECK_NO_OFFSET */
    struct slice key;   /* len 0: none */
    const char *remedy; /* or NULL */
};

/* fmt: what was found, without the file, the offset and the key. */
void check_say(struct check_report *r, const struct check_finding *f, const char *fmt, ...)
    PRINTF(3, 4);

#endif
