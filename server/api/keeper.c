/* What time demands: log-ins and failures that are over go, event streams are kept alive or ended,
 * memory goes back to the system, and the store's ballast is filled again. */
#include "api.h"

#include "downloads.h"
#include "store/idempotency.h"
#include "store/logins.h"
#include "store/resets.h"
#include "store/tokens.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* TOKEN_SECONDS: how long API tokens are listed after they have expired. */
enum { TRIM_SECONDS = 3, PURGE_SECONDS = 600, TOKEN_SECONDS = 30 * 86400 };

struct api_keeper {
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  bool stop;
  atomic_bool trim;
  int64_t trimmed; /* bytes that were left by the last time */
};

static void purge(api *a) {
  logins_purge(a->context.store, context_now(), context_now() - API_COOKIE_SECONDS);
  resets_purge(a->context.store, context_now());
  idempotency_purge(a->context.store, context_now() - API_KEY_SECONDS);
  tokens_purge(a->context.store, context_now() - TOKEN_SECONDS);
  throttle_purge(a->throttle);
  store_fill_ballast(a->context.store);
}

/* Bytes in memory. */
static int64_t resident(void) {
  long long pages = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  if (f && fscanf(f, "%*s %lld", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return pages * (int64_t)sysconf(_SC_PAGESIZE);
}

/* What was taken for a while goes back: asked for, or seen. */
static void trim(struct api_keeper *k) {
  enum { MUCH = 16 << 20 };
  bool asked = atomic_exchange(&k->trim, false);
  if (!asked && resident() < k->trimmed + MUCH) return;
  malloc_trim(0);
  k->trimmed = resident();
}

static void *keep(void *arg) {
  api *a = arg;
  struct api_keeper *k = a->keeper;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  pthread_mutex_lock(&k->mutex);
  for (int second = 0; !k->stop; second++) {
    pthread_mutex_unlock(&k->mutex);
    if (second % PURGE_SECONDS == 0) purge(a);
    api_events_tend(a, context_now());
    api_downloads_tend(a, context_now());
    if (second % TRIM_SECONDS == 0) trim(k);
    pthread_mutex_lock(&k->mutex);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    if (!k->stop) pthread_cond_timedwait(&k->wake, &k->mutex, &until);
  }
  pthread_mutex_unlock(&k->mutex);
  return NULL;
}

bool api_keeper_start(api *a) {
  struct api_keeper *k = calloc(1, sizeof *k);
  if (!k) return false;
  pthread_mutex_init(&k->mutex, NULL);
  pthread_cond_init(&k->wake, NULL);
  a->keeper = k;
  if (pthread_create(&k->thread, NULL, keep, a) == 0) return true;
  free(k);
  a->keeper = NULL;
  return false;
}

void api_keeper_stop(api *a) {
  struct api_keeper *k = a->keeper;
  if (!k) return;
  pthread_mutex_lock(&k->mutex);
  k->stop = true;
  pthread_cond_signal(&k->wake);
  pthread_mutex_unlock(&k->mutex);
  pthread_join(k->thread, NULL);
  pthread_mutex_destroy(&k->mutex);
  pthread_cond_destroy(&k->wake);
  free(k);
  a->keeper = NULL;
}

void api_keeper_trim(api *a) {
  if (a->keeper) atomic_store(&a->keeper->trim, true);
}
