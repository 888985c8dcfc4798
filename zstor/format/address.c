/* address - see format/address.h.  Text forms are those of inet_ntop, which are upstream's for
 * every address that a server can have. */
#include "zstor/format/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/digest.h"
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

uint64_t backend_addr_number(const char *name)
{
    uint8_t sum[DIGEST_LEN];

    digest_of(slice_str(name), sum);
    return le64_get(sum);
}

void backend_addr_elsewhere(struct backend_addr *out, uint64_t number)
{
    *out = (struct backend_addr){.place = BACKEND_ELSEWHERE, .number = number};
    snprintf(out->address, sizeof out->address, "elsewhere:%016" PRIx64, number);
}

/* "dir:/path": one way to write it only, so that two places are the same when their texts are. */
static int parse_dir(struct backend_addr *out, const char *text, struct err *e)
{
    const char *path = text + strlen("dir:");
    size_t len = strlen(text);

    if (len > BACKEND_ADDRESS_MAX)
        return err_set(e, EINVAL, "has %zu characters, at most %d are allowed", len,
                       BACKEND_ADDRESS_MAX);
    if (path[0] != '/' || !path[1] || path[strlen(path) - 1] == '/' || strstr(path, "//") ||
        strstr(path, "/./") || strstr(path, "/../") || strpbrk(path, " \n\r\t"))
        return err_set(
            e, EINVAL,
            "`%s` is not a directory, dir:/path is allowed, absolute, without blanks, /./, /../, "
            "// and without a / at the end",
            text);
    *out = (struct backend_addr){.place = BACKEND_AT_DIR, .number = backend_addr_number(text)};
    memcpy(out->address, text, len + 1);
    return 0;
}

/* "IPv4:port" or "[IPv6]:port". */
static int parse_socket(const char *text, bool *is_v6, uint8_t ip[16], uint64_t *port)
{
    const char *colon = strrchr(text, ':');
    char host[64] = "";
    bool v6 = text[0] == '[';
    size_t len = colon ? (size_t)(colon - text) : 0;

    *is_v6 = v6;
    if (!colon || len >= sizeof host || parse_u64(colon + 1, 1, 65535, port) < 0)
        return -EINVAL;
    if (v6) {
        if (len < 2 || colon[-1] != ']')
            return -EINVAL;
        memcpy(host, text + 1, len - 2);
        host[len - 2] = '\0';
    } else {
        memcpy(host, text, len);
        host[len] = '\0';
    }
    return inet_pton(v6 ? AF_INET6 : AF_INET, host, ip) == 1 ? 0 : -EINVAL;
}

static int parse_redis(struct backend_addr *out, const char *text, const char *password,
                       struct err *e)
{
    const char *at = text + strlen("redis://"), *slash = strchr(at, '/');
    char socket[64] = "";
    uint64_t port = 0, db = 0;
    uint8_t ip[16];
    bool v6;

    if (slash && (size_t)(slash - at) < sizeof socket)
        memcpy(socket, at, (size_t)(slash - at));
    if (!slash || parse_u64(slash + 1, 0, 65535, &db) < 0 ||
        parse_socket(socket, &v6, ip, &port) < 0)
        return err_set(e, EINVAL,
                       "`%s` is not a redis, redis://IPv4:port/db and redis://[IPv6]:port/db are "
                       "allowed",
                       text);
    backend_addr_make(out, v6, ip, (uint16_t)port, NULL, password);
    snprintf(out->db, sizeof out->db, "%u", (unsigned)db);
    snprintf(out->address, sizeof out->address, v6 ? "redis://[%s]:%s/%s" : "redis://%s:%s/%s",
             out->host, out->port_text, out->db);
    out->place = BACKEND_AT_REDIS;
    out->number = backend_addr_number(out->address);
    return 0;
}

int backend_addr_parse(struct backend_addr *out, const char *text, const char *ns,
                       const char *password, struct err *e)
{
    uint8_t ip[16];
    uint64_t port = 0;
    bool v6;

    *out = (struct backend_addr){0};
    if (strncmp(text, "dir:", 4) == 0)
        return parse_dir(out, text, e);
    if (strncmp(text, "redis://", 8) == 0)
        return parse_redis(out, text, password, e);
    if (parse_socket(text, &v6, ip, &port) < 0)
        return err_set(e, EINVAL,
                       "`%s` is not a backend address, allowed are IPv4:port, [IPv6]:port, "
                       "dir:/path and redis://IP:port/db",
                       text);
    backend_addr_make(out, v6, ip, (uint16_t)port, ns, password);
    return 0;
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

const char *backend_addr_path(const struct backend_addr *a)
{
    return a->address + strlen("dir:");
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

    if (a->place != BACKEND_AT_ZDB || b->place != BACKEND_AT_ZDB)
        return a->place != BACKEND_AT_ZDB && b->place != BACKEND_AT_ZDB && a->number == b->number &&
               a->names == b->names;
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
