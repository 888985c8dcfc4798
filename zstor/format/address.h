/* address - where a namespace lives: numeric socket address, namespace, password.  Layer 0, no
 * I/O. Host names are refused as upstream does: records carry binary addresses (spec zstor-format
 * 9). */
#ifndef ZSTOR_FORMAT_ADDRESS_H
#define ZSTOR_FORMAT_ADDRESS_H

#include "common/bytes.h"
#include "common/err.h"

struct backend_addr {
    char address[64]; /* canonical text: "1.2.3.4:9900", "[2001:db8::1]:9900" */
    char host[48];    /* numeric, without brackets */
    char port_text[8];
    bool v6;
    uint8_t ip[16]; /* network order; the first 4 when !v6 */
    uint16_t port;
    char *ns;       /* NULL: the default namespace, no SELECT; owned */
    char *password; /* NULL: none; owned.  Never printed */
};

/* Parse "IPv4:port" or "[IPv6]:port"; ns and password are copied and may be NULL.  -EINVAL: e says
 * what is allowed; *out is then empty (fini is allowed). */
int backend_addr_parse(struct backend_addr *out, const char *text, const char *ns,
                       const char *password, struct err *e);
/* From binary parts, as in a record.  ns and password are copied and may be NULL. */
void backend_addr_make(struct backend_addr *out, bool v6, const uint8_t *ip, uint16_t port,
                       const char *ns, const char *password);
void backend_addr_copy(struct backend_addr *out, const struct backend_addr *a);
void backend_addr_fini(struct backend_addr *a); /* wipes the password */

/* The same namespace of the same server?  No namespace counts as "default", an IPv4-mapped address
 * as the IPv4 one; the password does not matter. */
bool backend_addr_same(const struct backend_addr *a, const struct backend_addr *b);
/* "1.2.3.4:9900 ns" for messages (the namespace is left out when there is none). */
void backend_addr_name(const struct backend_addr *a, char *out, size_t size);

#endif
