#include "waits.h"

#include "store/sessions.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_MS = 50, LOOK_SECONDS = 1, MOST_PER_ACCOUNT = 16 };

typedef struct wait {
  struct wait *next;
  api_call *call;
  char state[16]; /* which the client knows */
  double until;   /* context_monotonic() */
  double asked;   /* when the client was looked for */
  bool looked;    /* whether the session was looked at since the call came */
} wait;

struct api_waits {
  pthread_t thread;
  pthread_mutex_t mutex; /* of everything below */
  pthread_cond_t some;   /* the list is no longer empty, or the thread ends */
  wait *list;
  bool stop;
};

/* Sessions change with the store only: as long as its version stays, nothing is asked of it. */
static bool is_over(wait *w, bool changed, bool stopping, double now) {
  if (stopping || now >= w->until || http_is_gone(w->call->request)) return true;
  if (now - w->asked >= LOOK_SECONDS) {
    w->asked = now;
    http_look_for_client(w->call->request);
  }
  if (!changed && w->looked) return false;
  w->looked = true;
  return !session_is_in_state(w->call->store, w->call->ids[0], w->state);
}

/* Takes those out of the list that need not wait any longer. */
static wait *take_over(struct api_waits *s, bool changed, bool stopping) {
  wait *over = NULL;
  double now = context_monotonic();
  for (wait **at = &s->list, *w; (w = *at);) {
    if (!is_over(w, changed, stopping, now)) {
      at = &w->next;
      continue;
    }
    *at = w->next;
    w->next = over;
    over = w;
  }
  return over;
}

/* A log-in may have ended meanwhile: whose call it is, is asked again. */
static void answer(wait *over) {
  for (wait *w = over, *next; w; w = next) {
    next = w->next;
    w->call->waited = true;
    w->call->knows_user = false;
    api_requeue(w->call);
    free(w);
  }
}

static void *run(void *arg) {
  api *a = arg;
  struct api_waits *s = a->waits;
  uint64_t seen = 0;
  pthread_mutex_lock(&s->mutex);
  while (!s->stop) {
    if (!s->list) {
      pthread_cond_wait(&s->some, &s->mutex);
      continue;
    }
    uint64_t version = store_version(a->context.store);
    wait *over = take_over(s, version != seen, http_server_is_stopping(a->server));
    seen = version;
    pthread_mutex_unlock(&s->mutex);
    answer(over);
    nanosleep(&(struct timespec){0, TICK_MS * 1000000L}, NULL);
    pthread_mutex_lock(&s->mutex);
  }
  wait *rest = take_over(s, false, true);
  pthread_mutex_unlock(&s->mutex);
  answer(rest);
  return NULL;
}

static int count_of(const struct api_waits *s, int64_t user) {
  int n = 0;
  for (const wait *w = s->list; w; w = w->next) n += w->call->user.id == user;
  return n;
}

bool api_wait(api_call *call, const char *state, double seconds) {
  struct api_waits *s = call->api->waits;
  wait *w = calloc(1, sizeof *w);
  if (!w) return false;
  *w = (wait){.call = call, .until = context_monotonic() + seconds, .asked = context_monotonic()};
  snprintf(w->state, sizeof w->state, "%s", state);
  pthread_mutex_lock(&s->mutex);
  bool stop = s->stop, full = count_of(s, call->user.id) >= MOST_PER_ACCOUNT;
  if (!stop && !full) {
    w->next = s->list;
    s->list = w;
    pthread_cond_signal(&s->some);
  }
  pthread_mutex_unlock(&s->mutex);
  if (!stop && !full) return true;
  free(w);
  if (full && !stop)
    api_fail(call, 429, "%d calls of this account wait already; that is all that one may have",
             MOST_PER_ACCOUNT);
  return full && !stop;
}

bool api_waits_start(api *a) {
  struct api_waits *s = calloc(1, sizeof *s);
  if (!s) return false;
  pthread_mutex_init(&s->mutex, NULL);
  pthread_cond_init(&s->some, NULL);
  a->waits = s;
  if (pthread_create(&s->thread, NULL, run, a) == 0) return true;
  a->waits = NULL;
  pthread_mutex_destroy(&s->mutex);
  pthread_cond_destroy(&s->some);
  free(s);
  return false;
}

void api_waits_stop(api *a) {
  struct api_waits *s = a->waits;
  if (!s) return;
  pthread_mutex_lock(&s->mutex);
  s->stop = true;
  pthread_cond_signal(&s->some);
  pthread_mutex_unlock(&s->mutex);
  pthread_join(s->thread, NULL);
}

void api_waits_free(api *a) {
  struct api_waits *s = a->waits;
  if (!s) return;
  pthread_mutex_destroy(&s->mutex);
  pthread_cond_destroy(&s->some);
  free(s);
  a->waits = NULL;
}
