/* address - see format/address.h.  Text forms are those of inet_ntop, which are upstream's for
 * every address that a server can have. */
#include "zstor/format/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/parse.h"

void backend_addr_make(struct backend_addr *out, bool v6, const uint8_t *ip, uint16_t port,
                       const char *ns, const char *password)
{
    *out = (struct backend_addr){.v6 = v6, .port = port};
    memcpy(out->ip, ip, v6 ? 16 : 4);
    if (!inet_ntop(v6 ? AF_INET6 : AF_INET, out->ip, out->host, sizeof out->host))
        out->host[0] = '\0'; /* cannot happen: the buffer holds the longest form */
    snprintf(out->port_text, sizeof out->port_text, "%u", (unsigned)port);
    snprintf(out->address, sizeof out->address, v6 ? "[%s]:%u" : "%s:%u", out->host,
             (unsigned)port);
    out->ns = ns ? xstrdup(ns) : NULL;
    out->password = password ? xstrdup(password) : NULL;
}

int backend_addr_parse(struct backend_addr *out, const char *text, const char *ns,
                       const char *password, struct err *e)
{
    const char *colon = strrchr(text, ':');
    char host[64] = "";
    uint8_t ip[16];
    uint64_t port = 0;
    bool v6 = text[0] == '[';
    size_t len = colon ? (size_t)(colon - text) : 0;

    *out = (struct backend_addr){0};
    if (!colon || len >= sizeof host || parse_u64(colon + 1, 1, 65535, &port) < 0)
        goto bad;
    if (v6) {
        if (len < 2 || colon[-1] != ']')
            goto bad;
        memcpy(host, text + 1, len - 2);
        host[len - 2] = '\0';
    } else {
        memcpy(host, text, len);
        host[len] = '\0';
    }
    if (inet_pton(v6 ? AF_INET6 : AF_INET, host, ip) != 1)
        goto bad;
    backend_addr_make(out, v6, ip, (uint16_t)port, ns, password);
    return 0;
bad:
    return err_set(e, EINVAL,
                   "`%s` is not a backend address, allowed are IPv4:port and [IPv6]:port", text);
}

void backend_addr_copy(struct backend_addr *out, const struct backend_addr *a)
{
    *out = *a;
    out->ns = a->ns ? xstrdup(a->ns) : NULL;
    out->password = a->password ? xstrdup(a->password) : NULL;
}

void backend_addr_fini(struct backend_addr *a)
{
    if (a->password)
        sodium_memzero(a->password, strlen(a->password));
    free(a->password);
    free(a->ns);
    *a = (struct backend_addr){0};
}

/* The 4 bytes of an IPv4 or IPv4-mapped address, else NULL. */
static const uint8_t *as_v4(const struct backend_addr *a)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

    if (!a->v6)
        return a->ip;
    return memcmp(a->ip, mapped, sizeof mapped) == 0 ? a->ip + 12 : NULL;
}

bool backend_addr_same(const struct backend_addr *a, const struct backend_addr *b)
{
    const uint8_t *va = as_v4(a), *vb = as_v4(b);

    if (a->port != b->port || !va != !vb)
        return false;
    if ((va ? memcmp(va, vb, 4) : memcmp(a->ip, b->ip, 16)) != 0)
        return false;
    return strcmp(a->ns ? a->ns : "default", b->ns ? b->ns : "default") == 0;
}

void backend_addr_name(const struct backend_addr *a, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", a->address, a->ns ? " " : "", a->ns ? a->ns : "");
}
