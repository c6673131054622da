#include "events.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEPT = 1024, BUCKETS = 257 };

typedef struct event {
  int64_t id, owner, session;
  char *text; /* as it is sent */
  size_t size;
} event;

struct event_hub {
  pthread_mutex_t mutex;
  event kept[KEPT]; /* by id modulo KEPT */
  int64_t first, last;
  /* By user, so that what concerns one does not look at the others; administrators in the first. */
  event_listener *listeners[BUCKETS];
  int n_listeners;
  event_sink sink;
};

event_hub *events_create(void) {
  event_hub *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  pthread_mutex_init(&h->mutex, NULL);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  /* Microseconds: larger than any of an earlier start. */
  h->last = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
  h->first = h->last;
  return h;
}

void events_destroy(event_hub *h) {
  if (!h) return;
  for (int i = 0; i < KEPT; i++) free(h->kept[i].text);
  pthread_mutex_destroy(&h->mutex);
  free(h);
}

void events_set_sink(event_hub *h, event_sink sink) {
  h->sink = sink;
}

void events_lock(event_hub *h) {
  pthread_mutex_lock(&h->mutex);
}

void events_unlock(event_hub *h) {
  pthread_mutex_unlock(&h->mutex);
}

int64_t events_last(event_hub *h) {
  pthread_mutex_lock(&h->mutex);
  int64_t last = h->last;
  pthread_mutex_unlock(&h->mutex);
  return last;
}

static bool is_for(const event_listener *l, const event *e) {
  return (l->admin || e->owner == EVENT_FOR_ALL || e->owner == l->user) &&
         (!l->session || l->session == e->session);
}

static event_listener **bucket_of(event_hub *h, bool admin, int64_t user) {
  return &h->listeners[admin ? 0 : 1 + user % (BUCKETS - 1)];
}

/* Adds the streams of a bucket that the event is for. */
static int collect(const event_listener *l, const event *e, void **streams, int n) {
  for (; l; l = l->next)
    if (is_for(l, e)) streams[n++] = l->stream;
  return n;
}

/* Without memory nobody hears it live; it is replayed. */
static void send_to_all(event_hub *h, const event *e) {
  void **streams = malloc((size_t)h->n_listeners * sizeof *streams);
  if (!streams) return;
  int n = collect(h->listeners[0], e, streams, 0);
  if (e->owner == EVENT_FOR_ALL)
    for (int i = 1; i < BUCKETS; i++) n = collect(h->listeners[i], e, streams, n);
  else if (e->owner > 0)
    n = collect(*bucket_of(h, false, e->owner), e, streams, n);
  if (n) h->sink(streams, n, e->text, e->size);
  free(streams);
}

void event_send(const context *c, const char *kind, int64_t owner, int64_t session, json_t *json) {
  event_hub *h = c->events;
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

/* ---- listeners; the hub is locked ---- */

int events_count(event_hub *h, int64_t user, bool admin) {
  int n = 0;
  for (const event_listener *l = *bucket_of(h, admin, user); l; l = l->next) n += l->user == user;
  return n;
}

static void send_one(event_hub *h, event_listener *l, const char *bytes, size_t size) {
  h->sink(&l->stream, 1, bytes, size);
}

static void replay(event_hub *h, event_listener *l, int64_t seen) {
  int64_t oldest = h->last - KEPT > h->first ? h->last - KEPT : h->first;
  if (seen < oldest) {
    char text[96];
    int n = snprintf(text, sizeof text, "id: %lld\nevent: reset\ndata: {\"last\":%lld}\n\n",
                     (long long)h->last, (long long)h->last);
    send_one(h, l, text, (size_t)n);
    return;
  }
  for (int64_t id = seen + 1; id <= h->last; id++) {
    const event *e = &h->kept[id % KEPT];
    if (e->id == id && is_for(l, e)) send_one(h, l, e->text, e->size);
  }
}

void events_add(event_hub *h, event_listener *l, int64_t seen) {
  event_listener **bucket = bucket_of(h, l->admin, l->user);
  l->next = *bucket;
  *bucket = l;
  h->n_listeners++;
  if (seen < h->last) replay(h, l, seen);
}

void events_remove(event_hub *h, event_listener *l) {
  for (event_listener **p = bucket_of(h, l->admin, l->user); *p; p = &(*p)->next)
    if (*p == l) {
      *p = l->next;
      h->n_listeners--;
      return;
    }
}

void events_each(event_hub *h, int64_t user, void (*each)(event_listener *l, void *arg),
                 void *arg) {
  for (int i = 0; i < BUCKETS; i++)
    for (event_listener *l = h->listeners[i], *next; l; l = next) {
      next = l->next;
      if (!user || l->user == user) each(l, arg);
    }
}
