#include "downloads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct download {
  struct download *next, **place;
  struct api_downloads *all;
  api_user user;
  atomic_bool over;
} download;

struct api_downloads {
  pthread_mutex_t mutex;
  download *list;
};

bool api_downloads_start(api *a) {
  if (!(a->downloads = calloc(1, sizeof *a->downloads))) return false;
  pthread_mutex_init(&a->downloads->mutex, NULL);
  return true;
}

void api_downloads_stop(api *a) {
  if (!a->downloads) return;
  pthread_mutex_destroy(&a->downloads->mutex);
  free(a->downloads);
  a->downloads = NULL;
}

static bool may_go_on(void *user) {
  return !atomic_load(&((download *)user)->over);
}

static void on_closed(void *user) {
  download *d = user;
  struct api_downloads *all = d->all;
  pthread_mutex_lock(&all->mutex);
  *d->place = d->next;
  if (d->next) d->next->place = d->place;
  pthread_mutex_unlock(&all->mutex);
  free(d);
}

bool api_download_begin(api *a, const api_user *user, http_watch *watch) {
  struct api_downloads *all = a->downloads;
  download *d = calloc(1, sizeof *d);
  if (!d) return false;
  d->all = all;
  d->user = *user;
  pthread_mutex_lock(&all->mutex);
  d->place = &all->list;
  d->next = all->list;
  if (d->next) d->next->place = &d->next;
  all->list = d;
  pthread_mutex_unlock(&all->mutex);
  *watch = (http_watch){may_go_on, on_closed, d};
  return true;
}

void api_downloads_tend(api *a, int64_t now) {
  struct api_downloads *all = a->downloads;
  pthread_mutex_lock(&all->mutex);
  for (download *d = all->list; d; d = d->next) {
    api_user user = d->user;
    /* A large file takes longer than a token of a log-in is good for; what counts is the log-in. */
    if (!user.token) user.expires = INT64_MAX;
    if (!api_may_go_on(a, &user, now)) atomic_store(&d->over, true);
  }
  pthread_mutex_unlock(&all->mutex);
}
