/* owner - who a mount is, so that another one can tell whether it still lives.  No I/O but /proc
 * and /etc/machine-id.  Any thread. */
#ifndef ZDBFS_STORE_OWNER_H
#define ZDBFS_STORE_OWNER_H

#include "zdbfs/format/head.h"

enum owner_state {
    OWNER_GONE,      /* a process of this boot that is not there any more: it sends nothing */
    OWNER_REBOOTED,  /* a process of an earlier boot of this machine */
    OWNER_ALIVE,     /* a process of this machine that runs */
    OWNER_ELSEWHERE, /* on another machine, or in another container: nobody can tell from here */
};

/* This process, with a new instance.  where: its mount point. */
void owner_self(struct head_owner *o, const char *where);
void owner_refresh_process(struct head_owner *o); /* after a fork */
enum owner_state owner_look(const struct head_owner *o);
/* "process 12 on host name, mounted at /mnt, heard of 5 s ago", for messages. */
void owner_describe(const struct head_owner *o, char *out, size_t size);

#endif
