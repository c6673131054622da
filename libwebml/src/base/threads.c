#define _GNU_SOURCE /* sched_getaffinity */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum { MESSAGE_BYTES = 1024 };

int wml_helper_count(void) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return n < 1 ? 1 : n > WML_MAX_HELPERS ? WML_MAX_HELPERS : n;
}

typedef struct helper {
  pthread_t thread;
  webml_status (*work)(void *arg, int helper);
  void *arg;
  int number;
  bool started;
  webml_status status;
  char message[MESSAGE_BYTES]; /* messages are kept per thread: carried over */
} helper;

static void *run(void *arg) {
  helper *h = arg;
  h->status = h->work(h->arg, h->number);
  if (h->status != WEBML_OK) snprintf(h->message, sizeof h->message, "%s", webml_last_error());
  return NULL;
}

webml_status wml_parallel(int helpers, webml_status (*work)(void *arg, int helper), void *arg) {
  helper h[WML_MAX_HELPERS];
  if (helpers > WML_MAX_HELPERS) helpers = WML_MAX_HELPERS;
  for (int i = 1; i < helpers; i++) {
    h[i] = (helper){.work = work, .arg = arg, .number = i};
    h[i].started = pthread_create(&h[i].thread, NULL, run, &h[i]) == 0;
  }
  webml_status status = work(arg, 0);
  for (int i = 1; i < helpers; i++) {
    if (!h[i].started) continue;
    pthread_join(h[i].thread, NULL);
    if (status == WEBML_OK && h[i].status != WEBML_OK)
      status = wml_fail(h[i].status, "%s", h[i].message);
  }
  return status;
}
