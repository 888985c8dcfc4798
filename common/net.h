/* net - stream sockets, tcp and unix: listen, accept, connect.  All descriptors are close-on-exec
 * and non-blocking; tcp has TCP_NODELAY and keep-alive.  0 (fd in *out) or -errno with text. */
#ifndef COMMON_NET_H
#define COMMON_NET_H

#include "common/err.h"
#include <sys/types.h>

/* First result of getaddrinfo for host and port (numeric or service name). */
int net_listen_tcp(const char *host, const char *port, int *out, struct err *e);
/* A stale socket file (nobody accepts) is replaced, a live one is -EADDRINUSE; other kinds of file
 * are never removed. mode: permission bits of the socket, in force from the first moment. */
int net_listen_unix(const char *path, mode_t mode, int *out, struct err *e);
/* -EAGAIN when nobody waits; -EMFILE and kin are for the caller to log. */
int net_accept(int listen_fd, int *out);
/* Non-blocking connect: 0 = connected, 1 = in progress (wait for writable, then
 * net_connect_result). */
int net_connect_tcp(const char *host, const char *port, int *out, struct err *e);
/* The same in two steps, for who wants to try all addresses of a name: resolving waits for the name
 * service. */
struct net_addrs;
int net_resolve(struct net_addrs **out, const char *host, const char *port,
                struct err *e);                    /* given:
                                                      net_addrs_free
                                                    */
size_t net_addrs_count(const struct net_addrs *a); /* 1 or more */
int net_connect_addr(const struct net_addrs *a, size_t i, int *out, struct err *e);
void net_addrs_free(struct net_addrs *a);
int net_connect_unix(const char *path, int *out, struct err *e);
int net_connect_result(int fd); /* 0 or -errno of a connect that was in progress */
int net_local_port(int fd);     /* port a tcp socket is bound to (for port "0"), or -errno */

#endif
