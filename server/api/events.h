/* Events: something has happened to an object; its owner and the administrators are told, as
 * server-sent events. The last ones are kept, so that a client that comes again misses nothing. */
#ifndef SERVER_API_EVENTS_H
#define SERVER_API_EVENTS_H

#include "api.h"

bool events_start(api *a);
void events_stop(api *a);
/* Any thread. owner: who is told besides administrators, or one of these.
 * session: the training session it is about, or 0. `json` is the call's from here on. */
enum { EVENT_FOR_ADMINS = 0, EVENT_FOR_ALL = -1 };
void event_send(api *a, const char *kind, int64_t owner, int64_t session, json_t *json);

#endif
