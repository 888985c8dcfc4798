/* address - where a backend is: a namespace of a 0-db, or a place of another kind.  Layer 0, no
 * I/O. A 0-db is a numeric socket address, namespace and password; host names are refused as
 * upstream does: records carry binary addresses (spec zstor-format 9).  Of the other kinds a record
 * carries a number made from the configured name (spec zstor-format 14), nothing else. */
#ifndef ZSTOR_FORMAT_ADDRESS_H
#define ZSTOR_FORMAT_ADDRESS_H

#include "common/bytes.h"
#include "common/err.h"

#define BACKEND_ADDRESS_MAX 255 /* characters of an address */

enum backend_place {
    BACKEND_AT_ZDB,    /* IPv4:port, [IPv6]:port */
    BACKEND_AT_DIR,    /* dir:/path */
    BACKEND_AT_REDIS,  /* redis://IPv4:port/db, redis://[IPv6]:port/db */
    BACKEND_ELSEWHERE, /* from a record: only the number is known */
};

struct backend_addr {
    enum backend_place place;
    char address[BACKEND_ADDRESS_MAX + 1]; /* canonical text: "1.2.3.4:9900", "[2001:db8::1]:9900",
                                              "dir:/mnt/nas" */
    uint64_t number;                       /* what a record says of it; not for a 0-db */
    bool names;        /* it keeps metadata; not for a 0-db, which says it itself */
    uint64_t capacity; /* bytes it may hold, 0: all that is there; not for a 0-db */
    unsigned weight;   /* its room counts so many times; 0 counts as 1 */
    /* of a 0-db or a redis */
    char host[48]; /* numeric, without brackets */
    char port_text[8];
    bool v6;
    uint8_t ip[16]; /* network order; the first 4 when !v6 */
    uint16_t port;
    char *ns;       /* NULL: the default namespace, no SELECT; owned */
    char db[8];     /* of a redis: the number of its database */
    char *password; /* NULL: none; owned.  Never printed */
};

/* Parse an address of any kind; ns and password are copied and may be NULL.  -EINVAL: e says what
 * is allowed; *out is then empty (fini is allowed). */
int backend_addr_parse(struct backend_addr *out, const char *text, const char *ns,
                       const char *password, struct err *e);
/* A 0-db from binary parts, as in a record.  ns and password are copied and may be NULL. */
void backend_addr_make(struct backend_addr *out, bool v6, const uint8_t *ip, uint16_t port,
                       const char *ns, const char *password);
/* Not a 0-db, from what a record says. */
void backend_addr_elsewhere(struct backend_addr *out, uint64_t number);
/* The number of a name: the first 8 bytes of its BLAKE2b-128, little endian. */
uint64_t backend_addr_number(const char *name);
void backend_addr_copy(struct backend_addr *out, const struct backend_addr *a);
void backend_addr_fini(struct backend_addr *a); /* wipes the password */

/* The path of a directory; borrowed from a. */
const char *backend_addr_path(const struct backend_addr *a);

/* The same place?  Of a 0-db: the same namespace of the same server; no namespace counts as
 * "default", an IPv4-mapped address as the IPv4 one; the password does not matter.  Of the others:
 * the same name, for the same use. */
bool backend_addr_same(const struct backend_addr *a, const struct backend_addr *b);
/* "1.2.3.4:9900 ns" for messages (the namespace is left out when there is none). */
void backend_addr_name(const struct backend_addr *a, char *out, size_t size);

#endif
