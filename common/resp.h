/* resp - the redis protocol, version 2: incremental parser of requests (arrays of bulk strings) and
 * writer of replies and requests.  No I/O, no allocation per request.  Source:
 * https://redis.io/docs/reference/protocol-spec, spec zdb-protocol 2. */
#ifndef COMMON_RESP_H
#define COMMON_RESP_H

#include "common/buf.h"

struct resp_limits {
    unsigned max_args; /* 1..RESP_MAX_ARGS */
    size_t max_bulk;   /* bytes of one argument */
    size_t max_header; /* bytes of a header line, newline included */
};

#define RESP_MAX_ARGS 1024

enum resp_error {
    RESP_OK,
    RESP_NOT_ARRAY, /* first byte is not '*' (looked at once its line is complete) */
    RESP_NO_ARGS,   /* *0, or no number */
    RESP_NEGATIVE_ARGS,
    RESP_TOO_MANY_ARGS,
    RESP_NOT_BULK,      /* argument does not start with '$' */
    RESP_NEGATIVE_BULK, /* or no number */
    RESP_BULK_TOO_BIG,
    RESP_HEADER_TOO_LONG, /* max_header bytes and no newline */
    RESP_BAD_TERMINATOR,  /* the two bytes behind a bulk are not CR LF */
    RESP_REQUEST_TOO_BIG, /* the whole request, see resp_limit_request */
};

struct resp_parser { /* embedded; remembers how far it came, so no byte is looked at twice */
    struct resp_limits lim;
    size_t pos;  /* next byte to look at, from the start of the request */
    size_t line; /* start of the header line that is looked at */
    size_t max_request;
    unsigned argc, argi;
    bool in_bulk;
    size_t bulk_len;
    enum resp_error error; /* sticky */
    struct {
        size_t off, len;
    } * arg; /* grows to the most arguments seen */
    unsigned arg_cap;
    struct slice *argv;
};

struct resp_req {
    unsigned argc;
    const struct slice *argv; /* borrowed: into the bytes given to resp_next, until they move or the
                                 next call */
    size_t bytes; /* length of the request on the wire: consume this many, then call resp_next again
                   */
};

void resp_init(struct resp_parser *p, const struct resp_limits *lim);
void resp_fini(struct resp_parser *p);
/* Most bytes of one request (headers included); unlimited without it.  A bulk that would pass it is
 * RESP_REQUEST_TOO_BIG. */
void resp_limit_request(struct resp_parser *p, size_t max_bytes);

/* Look at the bytes of the current request; `in` always starts at its first byte and may have grown
 * or moved since the last call.  1: *out is a whole request, the parser is ready for the next one.
 * 0: more bytes are needed. -EPROTO: p->error says what; the stream cannot be resumed.  -ENOMEM:
 * nothing changed. */
int resp_next(struct resp_parser *p, struct slice in, struct resp_req *out);
/* Forget how far the current request was looked at: the next call begins at its first byte again,
 * or at that of an earlier one that is to be given once more. */
void resp_rewind(struct resp_parser *p);
/* Bytes that are still missing at the least (0 when unknown): how much room to reserve before the
 * next read. */
size_t resp_want(const struct resp_parser *p, size_t have);

/* Replies */
void resp_put_simple(struct buf *b, const char *text); /* +text */
void resp_put_error(struct buf *b, const char *text);  /* -text; CR and LF in it become blanks */
void resp_put_int(struct buf *b, int64_t v);
void resp_put_bulk(struct buf *b, struct slice s);
void resp_put_bulk_str(struct buf *b, const char *s);
void resp_put_bulk_head(struct buf *b, size_t len); /* $len CRLF: the caller adds len bytes and CRLF
                                                     */
void resp_put_nil(struct buf *b);                   /* $-1 */
void resp_put_array(struct buf *b, size_t n);
/* A whole request: *argc, then the arguments as bulks */
void resp_put_request(struct buf *b, unsigned argc, const struct slice *argv);

#endif
