#define _GNU_SOURCE /* gettid */
#include "lane.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Somebody with tasks that wait or run. */
typedef struct bringer {
  struct bringer *next;
  int64_t key;
  lane_task *first, **last;
  int waiting, running;
} bringer;

struct lane {
  lane_options options;
  pthread_mutex_t mutex;
  pthread_cond_t some;
  bringer *turn, **end; /* whose turn it is first */
  int waiting, n_threads;
  pthread_t *threads;
  bool stop;
};

static bringer *find(lane *l, int64_t key) {
  for (bringer *b = l->turn; b; b = b->next)
    if (b->key == key) return b;
  return NULL;
}

static void append(lane *l, bringer *b) {
  b->next = NULL;
  *l->end = b;
  l->end = &b->next;
}

static void take_out(lane *l, bringer **place) {
  bringer *b = *place;
  *place = b->next;
  if (l->end == &b->next) l->end = place;
}

static bringer *add(lane *l, int64_t key) {
  bringer *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->key = key;
  b->last = &b->first;
  append(l, b);
  return b;
}

/* The next task, and who brought it, who goes to the end of the line. NULL: none may run. */
static lane_task *take(lane *l, bringer **whose) {
  int most = l->options.running_per_key;
  for (bringer **at = &l->turn; *at; at = &(*at)->next) {
    bringer *b = *at;
    if (!b->first || (most && b->running >= most && !l->stop)) continue;
    lane_task *task = b->first;
    b->first = task->next;
    if (!b->first) b->last = &b->first;
    b->waiting--;
    b->running++;
    l->waiting--;
    take_out(l, at);
    append(l, b);
    *whose = b;
    return task;
  }
  return NULL;
}

static void finish(lane *l, bringer *b) {
  b->running--;
  if (b->first || b->running) {
    if (b->first && l->options.running_per_key) pthread_cond_signal(&l->some);
    return;
  }
  for (bringer **at = &l->turn; *at; at = &(*at)->next)
    if (*at == b) {
      take_out(l, at);
      break;
    }
  free(b);
}

static void *work(void *arg) {
  lane *l = arg;
  bringer *whose;
  if (l->options.background) setpriority(PRIO_PROCESS, (id_t)gettid(), 10);
  pthread_mutex_lock(&l->mutex);
  for (;;) {
    lane_task *task = take(l, &whose);
    if (!task && l->stop) break;
    if (!task) {
      pthread_cond_wait(&l->some, &l->mutex);
      continue;
    }
    pthread_mutex_unlock(&l->mutex);
    task->run(task);
    pthread_mutex_lock(&l->mutex);
    finish(l, whose);
  }
  pthread_mutex_unlock(&l->mutex);
  return NULL;
}

lane *lane_create(const lane_options *o) {
  lane *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->options = *o;
  l->end = &l->turn;
  pthread_mutex_init(&l->mutex, NULL);
  pthread_cond_init(&l->some, NULL);
  l->threads = calloc((size_t)o->threads, sizeof *l->threads);
  while (l->threads && l->n_threads < o->threads &&
         pthread_create(&l->threads[l->n_threads], NULL, work, l) == 0)
    l->n_threads++;
  if (l->n_threads) return l;
  lane_destroy(l);
  return NULL;
}

void lane_stop(lane *l) {
  if (!l) return;
  pthread_mutex_lock(&l->mutex);
  l->stop = true;
  pthread_cond_broadcast(&l->some);
  pthread_mutex_unlock(&l->mutex);
  for (int i = 0; i < l->n_threads; i++) pthread_join(l->threads[i], NULL);
  l->n_threads = 0;
}

void lane_destroy(lane *l) {
  if (!l) return;
  lane_stop(l);
  pthread_mutex_destroy(&l->mutex);
  pthread_cond_destroy(&l->some);
  free(l->threads);
  free(l);
}

bool lane_put(lane *l, int64_t key, lane_task *task) {
  pthread_mutex_lock(&l->mutex);
  bringer *b = find(l, key);
  bool ok = !l->stop && l->waiting < l->options.most &&
            (!b || b->waiting < l->options.most_per_key) && (b || (b = add(l, key)));
  if (ok) {
    task->next = NULL;
    *b->last = task;
    b->last = &task->next;
    b->waiting++;
    l->waiting++;
    pthread_cond_signal(&l->some);
  }
  pthread_mutex_unlock(&l->mutex);
  return ok;
}
