/* resp_link - the bytes of a link that speaks the redis protocol: what struct backend_kind wants of
 * them.  Its struct is the first member of the kind's own link.  One thread at a time. */
#ifndef ZSTOR_BACKEND_RESP_LINK_H
#define ZSTOR_BACKEND_RESP_LINK_H

#include <stdbool.h>
#include <stdint.h>

struct pollfd;
struct zclient;

struct resp_link {
    struct zclient *client; /* owned by the kind */
};

void resp_link_want(const void *link, struct pollfd *out);
void resp_link_move(void *link, short revents);
void resp_link_flush(void *link);
uint64_t resp_link_moved(const void *link);
bool resp_link_idle(const void *link);

#endif
