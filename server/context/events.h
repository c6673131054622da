/* Events: something has happened to an object; its owner and the administrators are told. The last
 * ones are kept, so that a listener who comes again misses nothing. How they reach anybody is the
 * sink's business: this room knows no connections. */
#ifndef SERVER_CONTEXT_EVENTS_H
#define SERVER_CONTEXT_EVENTS_H

#include "context.h"

enum { EVENT_FOR_ADMINS = 0, EVENT_FOR_ALL = -1 };

event_hub *events_create(void);
/* After the last listener has gone. */
void events_destroy(event_hub *hub);

/* Any thread. owner: who is told besides administrators, or one of the constants above.
 * session: the training session it is about, or 0. `data` is the call's from here on. */
void event_send(const context *c, const char *kind, int64_t owner, int64_t session, json_t *data);

/* ---- listeners ---- */

typedef struct event_listener {
  int64_t user, session; /* session 0: all of them */
  bool admin;
  void *stream; /* the sink's */
  /* The hub's. */
  struct event_listener *next;
} event_listener;

/* Sends bytes to the streams of several listeners; called while the hub is locked, must not block.
 * Set once, before the first listener. */
typedef void (*event_sink)(void *const *streams, int n, const void *bytes, size_t size);
void events_set_sink(event_hub *hub, event_sink sink);

/* Locks the hub, so that a stream can be started and added without missing anything in between. */
void events_lock(event_hub *hub);
void events_unlock(event_hub *hub);
/* How many listeners the user has. Locked. */
int events_count(event_hub *hub, int64_t user, bool admin);
/* Locked: adds the listener, which stays the caller's memory, and sends what it missed after the
 * event `seen` (INT64_MAX: nothing). Where that is too long ago an event "reset" comes first: the
 * listener must read the state anew. */
void events_add(event_hub *hub, event_listener *listener, int64_t seen);
/* Locked or not yet added: no harm if it is not there. */
void events_remove(event_hub *hub, event_listener *listener);
/* Calls `each` for every listener of the user (0: of everybody). Locked. */
void events_each(event_hub *hub, int64_t user, void (*each)(event_listener *l, void *arg),
                 void *arg);
/* The id of the last event. */
int64_t events_last(event_hub *hub);

#endif
