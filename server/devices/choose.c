#include "choose.h"

#include <stdio.h>
#include <string.h>

int64_t device_free(const device_state *d) {
  int64_t rest = d->total - d->foreign;
  for (int i = 0; i < d->n_running; i++) rest -= d->running[i];
  return rest > 0 ? rest : 0;
}

bool device_is_wanted(const device_state *d, const char *wanted) {
  if (strcmp(wanted, "auto") == 0) return true;
  if (strcmp(wanted, "cuda") == 0) return d->gpu;
  return strcmp(wanted, d->name) == 0 || (d->uuid[0] && strcmp(wanted, d->uuid) == 0);
}

static int64_t need_on(const device_state *d, const device_need *need) {
  return d->gpu ? need->on_gpu : need->on_cpu;
}

device_fit device_fits(const device_state *d, const device_need *need, char *why, size_t size) {
  int64_t bytes = need_on(d, need), rest = device_free(d);
  snprintf(why, size, "%s", "");
  if (!device_is_wanted(d, need->wanted)) {
    snprintf(why, size, "%s was asked for", need->wanted);
    return NOT_WANTED;
  }
  if (need->bfloat16 && d->no_bfloat16) {
    snprintf(why, size, "it does not compute in bfloat16, which mixed_bfloat16 needs");
    return UNABLE;
  }
  if (d->closed) {
    snprintf(why, size, "an administrator has closed it");
    return CLOSED;
  }
  if (bytes > d->total) {
    snprintf(why, size, "%.2f GB are needed, it has %.2f in all", (double)bytes / 1e9,
             (double)d->total / 1e9);
    return NEVER;
  }
  if (d->n_running >= d->slots || d->n_running >= CHOOSE_MOST_RUNNING) {
    snprintf(why, size, "%d %s on it, that is all at a time", d->n_running,
             d->n_running == 1 ? "training runs" : "trainings run");
    return LATER;
  }
  if (bytes > rest) {
    snprintf(why, size, "%.2f GB are needed, %.2f of %.2f are free", (double)bytes / 1e9,
             (double)rest / 1e9, (double)d->total / 1e9);
    return LATER;
  }
  return FITS;
}

int device_choose(const device_state *list, int n, const device_need *need, bool *ever) {
  int best = -1, cpu = -1;
  bool some_gpu = false;
  char why[160];
  *ever = false;
  for (int i = 0; i < n; i++) {
    device_fit fit = device_fits(&list[i], need, why, sizeof why);
    if (fit != FITS && fit != LATER) continue;
    *ever = true;
    if (!list[i].gpu) {
      if (fit == FITS) cpu = i;
      continue;
    }
    some_gpu = true;
    if (fit == FITS && (best < 0 || device_free(&list[i]) > device_free(&list[best]))) best = i;
  }
  return best >= 0 ? best : some_gpu ? -1 : cpu;
}

/* The device when only the runs of `left` (bits) are still there, and `more` (or NULL) beside. */
static device_state after(const device_state *d, unsigned left, const int64_t *more) {
  device_state then = *d;
  then.n_running = 0;
  for (int i = 0; i < d->n_running; i++)
    if (left >> i & 1) then.running[then.n_running++] = d->running[i];
  if (more) then.running[then.n_running++] = *more;
  return then;
}

bool device_delays(const device_state *d, const device_need *blocked, const device_need *other) {
  enum { MOST = 12 };
  char why[160];
  int64_t more = need_on(d, other);
  device_fit fit = device_fits(d, blocked, why, sizeof why);
  if (fit != FITS && fit != LATER) return false;
  if (d->n_running > MOST) return true; /* too many to look at every order: rather not */
  for (unsigned left = 0; left < 1u << d->n_running; left++) {
    device_state without = after(d, left, NULL), with = after(d, left, &more);
    if (device_fits(&without, blocked, why, sizeof why) == FITS &&
        device_fits(&with, blocked, why, sizeof why) != FITS)
      return true;
  }
  return false;
}
