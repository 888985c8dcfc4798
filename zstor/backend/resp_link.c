/* resp_link - see backend/resp_link.h. */
#include "zstor/backend/resp_link.h"

#include <poll.h>

#include "common/zclient.h"

static struct zclient *client_of(const void *link)
{
    return ((const struct resp_link *)link)->client;
}

void resp_link_want(const void *link, struct pollfd *out)
{
    short events = zclient_events(client_of(link));

    *out = (struct pollfd){.fd = events ? zclient_fd(client_of(link)) : -1, .events = events};
}

void resp_link_move(void *link, short revents)
{
    zclient_move(client_of(link), revents);
}

void resp_link_flush(void *link)
{
    zclient_flush(client_of(link));
}

uint64_t resp_link_moved(const void *link)
{
    return zclient_moved(client_of(link));
}

bool resp_link_idle(const void *link)
{
    struct pollfd pfd = {.fd = zclient_fd(client_of(link)), .events = POLLIN};

    return zclient_pending(client_of(link)) == 0 && zclient_status(client_of(link)) == 0 &&
           poll(&pfd, 1, 0) == 0;
}
