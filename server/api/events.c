#include "events.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 1024, MOST_WAITING = 1 << 20, BUCKETS = 257 };

typedef struct listener {
  struct listener *next;
  struct event_hub *hub;
  http_stream *stream;
  int64_t user, session; /* session 0: all of them */
  bool admin;
} listener;

typedef struct event {
  int64_t id, owner, session;
  char *text; /* as it is sent */
  size_t size;
} event;

struct event_hub {
  pthread_mutex_t mutex;
  event kept[KEPT]; /* by id modulo KEPT */
  int64_t last;
  /* By user, so that what concerns one does not look at the others; administrators in the first. */
  listener *listeners[BUCKETS];
  int n_listeners;
  bool stopping;
};

bool events_start(api *a) {
  struct event_hub *h = calloc(1, sizeof *h);
  if (!h) return false;
  pthread_mutex_init(&h->mutex, NULL);
  h->last = (int64_t)api_now() << 20; /* larger than any of an earlier start */
  a->events = h;
  return true;
}

/* After the web server has ended, and with it every stream. */
void events_stop(api *a) {
  struct event_hub *h = a->events;
  if (!h) return;
  for (int i = 0; i < KEPT; i++) free(h->kept[i].text);
  pthread_mutex_destroy(&h->mutex);
  free(h);
  a->events = NULL;
}

static bool is_for(const listener *l, const event *e) {
  return (l->admin || e->owner == EVENT_FOR_ALL || e->owner == l->user) &&
         (!l->session || l->session == e->session);
}

static listener **bucket_of(struct event_hub *h, bool admin, int64_t user) {
  return &h->listeners[admin ? 0 : 1 + user % (BUCKETS - 1)];
}

/* Adds the streams of a bucket that the event is for. */
static int collect(const listener *l, const event *e, http_stream **streams, int n) {
  for (; l; l = l->next)
    if (is_for(l, e)) streams[n++] = l->stream;
  return n;
}

/* The hub is locked: the streams stay. Without memory nobody hears it live; it is replayed. */
static void send_to_all(struct event_hub *h, const event *e) {
  http_stream **streams = malloc((size_t)h->n_listeners * sizeof(http_stream *));
  if (!streams) return;
  int n = collect(h->listeners[0], e, streams, 0);
  if (e->owner == EVENT_FOR_ALL)
    for (int i = 1; i < BUCKETS; i++) n = collect(h->listeners[i], e, streams, n);
  else if (e->owner > 0)
    n = collect(*bucket_of(h, false, e->owner), e, streams, n);
  http_stream_send_all(streams, n, e->text, e->size);
  free(streams);
}

void event_send(api *a, const char *kind, int64_t owner, int64_t session, json_t *json) {
  struct event_hub *h = a->events;
  char *data = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
  json_decref(json);
  if (!data || !h) {
    free(data);
    return;
  }
  pthread_mutex_lock(&h->mutex);
  int64_t id = h->last + 1;
  size_t size = strlen(data) + strlen(kind) + 64;
  char *text = malloc(size);
  if (text) {
    event *e = &h->kept[id % KEPT];
    free(e->text);
    int n = snprintf(text, size, "id: %lld\nevent: %s\ndata: %s\n\n", (long long)id, kind, data);
    *e = (event){id, owner, session, text, (size_t)n};
    h->last = id;
    if (h->n_listeners) send_to_all(h, e);
  }
  pthread_mutex_unlock(&h->mutex);
  free(data);
}

static void on_closed(void *user) {
  listener *l = user;
  struct event_hub *h = l->hub;
  pthread_mutex_lock(&h->mutex);
  for (listener **p = bucket_of(h, l->admin, l->user); *p; p = &(*p)->next)
    if (*p == l) {
      *p = l->next;
      h->n_listeners--;
      break;
    }
  pthread_mutex_unlock(&h->mutex);
  free(l);
}

/* What has happened since the event that the client has seen last. The hub is locked. */
static void replay(struct event_hub *h, listener *l, int64_t seen) {
  int64_t first = h->last - KEPT + 1 > seen + 1 ? h->last - KEPT + 1 : seen + 1;
  for (int64_t id = first; id <= h->last; id++) {
    const event *e = &h->kept[id % KEPT];
    if (e->id == id && is_for(l, e)) http_stream_send(l->stream, e->text, e->size);
  }
}

static void listen_to(api_call *call) {
  struct event_hub *h = call->api->events;
  const char *seen = http_header(call->request, "last-event-id");
  http_field fields[16];
  int n = api_fixed_headers(call, 200, fields);
  listener *l = calloc(1, sizeof *l);
  if (!l) {
    api_fail(call, 503, "out of memory");
    return;
  }
  *l = (listener){.hub = h,
                  .user = call->user.id,
                  .admin = call->user.admin,
                  .session = api_integer(call, "session", 0)};
  int64_t from = seen ? strtoll(seen, NULL, 10) : INT64_MAX;
  http_response head = {
      .status = 200, .content_type = "text/event-stream", .n_fields = n, .fields = fields};
  call->status = 200;
  api_log("request", call, call->user.id, NULL, "listens");
  /* Locked until it is in the list: nothing is sent to a stream that is not known, none is missed.
   */
  pthread_mutex_lock(&h->mutex);
  l->stream = http_stream_start(call->request, &head, MOST_WAITING, on_closed, l);
  if (l->stream) {
    listener **bucket = bucket_of(h, l->admin, l->user);
    l->next = *bucket;
    *bucket = l;
    h->n_listeners++;
    if (from < h->last) replay(h, l, from);
  } else
    free(l);
  pthread_mutex_unlock(&h->mutex);
  json_decref(call->input);
  free(call);
}

/* For maintenance and the like. */
static void announce(api_call *call) {
  event_send(call->api, "notice", EVENT_FOR_ALL, 0,
             json_pack("{s:s, s:s}", "from", call->user.name, "text", api_text(call, "text")));
  api_reply_empty(call);
}

static const api_field notice_fields[] = {
    {"text", API_TEXT, true, false, 1, 2000, "for everybody who listens", NULL}, {0}};

static const api_field fields[] = {
    {"session", API_ID, false, true, 0, 0, "only events of this training session", NULL}, {0}};

static const api_route routes[] = {
    {"GET", "/api/v1/events", API_USER,
     "events as they happen (text/event-stream); Last-Event-ID goes on from there", fields,
     listen_to, 0},
    {"POST", "/api/v1/events", API_ADMIN, "tell everybody something", notice_fields, announce, 0},
    {0}};

const api_resource api_events = {"events", "What happens, as it happens.", routes};
