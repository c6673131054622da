/* Events over HTTP: server-sent events (HTML standard, 9.2). A stream lives as long as the log-in
 * or the API token that it was opened with. */
#include "context/events.h"

#include "api.h"
#include "store/tokens.h"
#include "store/users.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_WAITING = 1 << 20, MOST_STREAMS = 8, HEARTBEAT_SECONDS = 15 };

typedef struct stream {
  event_listener listener; /* first */
  event_hub *hub;
  api_user user;
  bool ending;
} stream;

static void sink(void *const *streams, int n, const void *bytes, size_t size) {
  http_stream_send_all((http_stream *const *)streams, n, bytes, size);
}

static void on_closed(void *user) {
  stream *s = user;
  events_lock(s->hub);
  events_remove(s->hub, &s->listener);
  events_unlock(s->hub);
  free(s);
}

/* The last event that the client has seen; INT64_MAX: it has not said so. */
static int64_t seen_by(const api_call *call) {
  const char *header = http_header(call->request, "last-event-id");
  return header ? strtoll(header, NULL, 10) : api_integer(call, "after", INT64_MAX);
}

static void listen_to(api_call *call) {
  event_hub *h = call->api->context.events;
  stream *s = calloc(1, sizeof *s);
  if (!s) {
    api_fail(call, 503, "out of memory");
    return;
  }
  *s = (stream){.hub = h,
                .user = call->user,
                .listener = {.user = call->user.id,
                             .admin = call->user.admin,
                             .session = api_integer(call, "session", 0)}};
  int64_t seen = seen_by(call);
  /* Locked until it is in the list: nothing is sent to a stream that is not known, none is missed.
   */
  events_lock(h);
  if (events_count(h, call->user.id, call->user.admin) >= MOST_STREAMS) {
    events_unlock(h);
    free(s);
    api_fail(call, 429, "this account listens %d times already; that is all that one may",
             MOST_STREAMS);
    return;
  }
  s->listener.stream = api_reply_stream(call, MOST_WAITING, on_closed, s);
  if (s->listener.stream)
    events_add(h, &s->listener, seen);
  else
    free(s);
  events_unlock(h);
}

void api_events_prepare(api *a) {
  events_set_sink(a->context.events, sink);
}

/* ---- once a second ---- */

typedef struct tending {
  api *api;
  int64_t now;
  bool heartbeat;
} tending;

static void tend(event_listener *l, void *arg) {
  const tending *t = arg;
  stream *s = (stream *)l;
  if (s->ending) return;
  if (!api_may_go_on(t->api, &s->user, t->now)) {
    s->ending = true;
    http_stream_end(l->stream);
  } else if (t->heartbeat)
    http_stream_send(l->stream, ":\n\n", 3);
}

void api_events_tend(api *a, int64_t now) {
  tending t = {a, now, now % HEARTBEAT_SECONDS == 0};
  events_lock(a->context.events);
  events_each(a->context.events, 0, tend, &t);
  events_unlock(a->context.events);
}

/* For maintenance and the like. */
static void announce(api_call *call) {
  event_send(&call->api->context, "notice", EVENT_FOR_ALL, 0,
             json_pack("{s:s, s:s}", "from", call->user.name, "text", api_text(call, "text")));
  api_reply_empty(call);
}

static const api_field notice_fields[] = {
    {"text", API_TEXT, true, false, 1, 2000, "for everybody who listens", NULL}, {0}};

static const api_field fields[] = {
    {"session", API_ID, false, true, 0, 0, "only events of this training session", NULL},
    {"after", API_ID, false, true, 0, 0, "go on after this event, as Last-Event-ID does", NULL},
    {0}};

/* ---- kinds of events ---- */

static const char *const outcome_names[] = {"ready", "broken", NULL};
static const char *const backup_states[] = {"ready", "failed", NULL};
static const shape_member session_members[] = {
    {"session", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"state", SHAPE_TEXT, 0, NULL, NULL, api_session_states},
    {"error", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"waits_for", SHAPE_TEXT, SHAPE_OPTIONAL, "why it cannot start, device by device", NULL, NULL},
    {0}};
static const shape_member dataset_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"state", SHAPE_TEXT, 0, NULL, NULL, outcome_names},
    {"error", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {0}};
static const shape_member notice_members[] = {{"from", SHAPE_TEXT, 0, "an account", NULL, NULL},
                                              {"text", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                              {0}};
static const shape_member registration_members[] = {
    {"user", SHAPE_INTEGER, 0, NULL, NULL, NULL}, {"name", SHAPE_TEXT, 0, NULL, NULL, NULL}, {0}};
static const shape_member backup_members[] = {
    {"backup", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"state", SHAPE_TEXT, 0, NULL, NULL, backup_states},
    {"error", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {0}};
static const shape_member reset_members[] = {
    {"last", SHAPE_INTEGER, 0, "the event to go on from", NULL, NULL}, {0}};
static const answer_shape session_event = {"SessionEvent", session_members, NULL, NULL},
                          progress_event = {"ProgressEvent", NULL, NULL, NULL},
                          dataset_event = {"DatasetEvent", dataset_members, NULL, NULL},
                          notice_event = {"NoticeEvent", notice_members, NULL, NULL},
                          registration_event = {"RegistrationEvent", registration_members, NULL,
                                                NULL},
                          backup_event = {"BackupEvent", backup_members, NULL, NULL},
                          reset_event = {"ResetEvent", reset_members, NULL, NULL};

const api_event api_event_kinds[] = {
    {"session", "a training has come to another state, or waits for something else",
     &session_event},
    {"progress", "a line of a training: webml train --progress json", &progress_event},
    {"dataset", "a data set was looked at", &dataset_event},
    {"devices", "what the machine's devices do has changed", &api_devices_shape},
    {"notice", "an administrator tells everybody something", &notice_event},
    {"registration", "an account waits to be let in; for administrators", &registration_event},
    {"backup", "a backup is ready, or has failed; for administrators", &backup_event},
    {"reset", "events were missed: read the state anew", &reset_event},
    {0}};

/* ---- routes ---- */

static const api_route routes[] = {
    {.id = "listenToEvents",
     .method = "GET",
     .path = "/api/v1/events",
     .right = API_USER,
     .about =
         "events as they happen (text/event-stream); Last-Event-ID goes on from there, or an event "
         "\"reset\" says that it is too long ago",
     .fields = fields,
     .run = listen_to,
     .content = "text/event-stream"},
    {.id = "announce",
     .method = "POST",
     .path = "/api/v1/events",
     .right = API_ADMIN,
     .about = "tell everybody something",
     .fields = notice_fields,
     .run = announce},
    {0}};

const api_resource api_events = {"events", "What happens, as it happens.", routes};
