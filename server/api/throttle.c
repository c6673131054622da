/* Log-ins that failed: after a few, one has to wait, each time longer. Per account and address, so
 * that nobody can lock another one out from elsewhere; and per address. */
#include "api.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ENTRIES = 4096, FREE_TRIES = 5, MOST_WAIT = 900, FORGET = 3600 };

typedef struct entry {
  char key[120];
  int failures;
  int64_t last;
} entry;

struct api_throttle {
  pthread_mutex_t mutex;
  entry entries[ENTRIES];
};

static struct api_throttle *get(api *a) {
  static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&making);
  if (!a->throttle && (a->throttle = calloc(1, sizeof *a->throttle)))
    pthread_mutex_init(&a->throttle->mutex, NULL);
  pthread_mutex_unlock(&making);
  return a->throttle;
}

/* The entry, or the place that may be taken for it: a free or the oldest of a few. */
static entry *find(struct api_throttle *t, const char *key) {
  uint32_t hash = 2166136261u;
  for (const char *c = key; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
  entry *best = NULL;
  for (uint32_t i = 0; i < 8; i++) {
    entry *e = &t->entries[(hash + i) % ENTRIES];
    if (strcmp(e->key, key) == 0) return e;
    if (!best || e->last < best->last) best = e;
  }
  snprintf(best->key, sizeof best->key, "%s", key);
  best->failures = 0;
  best->last = 0;
  return best;
}

static void make_key(char *key, size_t size, const char *name, const char *address) {
  snprintf(key, size, "%.63s %.47s", name, address);
  for (char *c = key; *c; c++)
    if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
}

static int wait_of(const entry *e, int free_tries) {
  int over = e->failures - free_tries;
  if (over < 0 || api_now() - e->last > FORGET) return 0;
  int64_t wait = over > 9 ? MOST_WAIT : (int64_t)2 << over, left = e->last + wait - api_now();
  if (wait > MOST_WAIT) left = e->last + MOST_WAIT - api_now();
  return left > 0 ? (int)left : 0;
}

int api_throttle_wait(api *a, const char *name, const char *address) {
  struct api_throttle *t = get(a);
  char key[120];
  if (!t) return 1;
  make_key(key, sizeof key, name, address);
  pthread_mutex_lock(&t->mutex);
  int one = wait_of(find(t, key), FREE_TRIES), all = wait_of(find(t, address), FREE_TRIES * 10);
  pthread_mutex_unlock(&t->mutex);
  return one > all ? one : all;
}

static void note(entry *e) {
  if (api_now() - e->last > FORGET) e->failures = 0;
  e->failures++;
  e->last = api_now();
}

void api_throttle_failed(api *a, const char *name, const char *address) {
  struct api_throttle *t = get(a);
  char key[120];
  if (!t) return;
  make_key(key, sizeof key, name, address);
  pthread_mutex_lock(&t->mutex);
  note(find(t, key));
  note(find(t, address));
  pthread_mutex_unlock(&t->mutex);
}

void api_throttle_passed(api *a, const char *name, const char *address) {
  struct api_throttle *t = get(a);
  char key[120];
  if (!t) return;
  make_key(key, sizeof key, name, address);
  pthread_mutex_lock(&t->mutex);
  find(t, key)->failures = 0;
  pthread_mutex_unlock(&t->mutex);
}
