/* events - what happens in the namespaces, as hooks with the exact arguments of spec
 * zdb-protocol 10.  Thread: the loop's. */
#ifndef ZDB_SERVER_EVENTS_H
#define ZDB_SERVER_EVENTS_H

#include "zdb/engine/namespace.h"

struct events;
struct hooks;
struct store;

struct events *events_new(struct hooks *hooks);
/* For struct store_conf; the answers go to the list named by events_bind. */
void events_fill(struct events *ev, struct ns_events *out);
void events_bind(struct events *ev, struct store *l);
void events_free(struct events *ev); /* no answer is given any more */

#endif
