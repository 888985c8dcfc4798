/* commands - the handlers of the commands (server/values.c, server/scan.c, server/namespaces.c,
 * server/admin.c, server/redis.c).  A handler runs after the checks of its entry in
 * server/dispatch.c (rights, number of arguments, key length, namespace state) and appends its
 * reply to r->out. */
#ifndef ZDB_SERVER_COMMANDS_H
#define ZDB_SERVER_COMMANDS_H

#include "zdb/server/request.h"

request_fn cmd_set, cmd_get, cmd_mget, cmd_del, cmd_exists, cmd_check, cmd_length, cmd_keytime,
    cmd_keycur, cmd_dbsize, cmd_sync;
request_fn cmd_scan, cmd_rscan, cmd_kscan, cmd_history, cmd_data_raw, cmd_index;
request_fn cmd_nsnew, cmd_nsdel, cmd_nslist, cmd_nsinfo, cmd_nsset, cmd_nsjump, cmd_select,
    cmd_reload, cmd_flush, cmd_clean, cmd_segments;
request_fn cmd_invalid, cmd_ping, cmd_time, cmd_auth, cmd_hooks, cmd_info, cmd_stop, cmd_mirror,
    cmd_master;
request_fn cmd_hello, cmd_client, cmd_echo, cmd_quit;

/* WAIT needs the command table: server/dispatch.c gives the number of the command that was named
 * (-1: unknown). */
enum request_result cmd_wait(struct request *r, int watched);

#endif
