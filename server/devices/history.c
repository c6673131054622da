#include "history.h"

#include "context/log.h"
#include "store/samples.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MINUTE = 60, QUARTER = 900, PURGE_MINUTES = 60 };
_Static_assert((int)SAMPLE_FIGURES == (int)READING_FIGURES, "samples are made of readings");

static const char *const figures[SAMPLE_FIGURES] = {"utilisation", "memory", "power",
                                                    "temperature"};

typedef struct second {
  int64_t time; /* 0: none */
  double figures[SAMPLE_FIGURES];
  int n_people;
  reading_person people[READING_MOST_PEOPLE];
} second;

typedef struct person {
  int64_t user;
  double seconds, memory; /* memory: the sum over the seconds */
} person;

/* A minute as far as it was seen. */
typedef struct minute {
  int64_t time;
  int seconds, n[SAMPLE_FIGURES], n_people;
  double sum[SAMPLE_FIGURES], greatest[SAMPLE_FIGURES];
  person people[READING_MOST_PEOPLE];
} minute;

typedef struct device {
  char id[96];
  second *ring;  /* HISTORY_SECONDS, by time modulo their number; the mutex's */
  minute minute; /* the thread's */
} device;

struct device_history {
  const context *context;
  monitor *monitor;
  pthread_t thread;
  bool started;
  pthread_mutex_t mutex; /* of the devices' list and rings, and of stop */
  pthread_cond_t wake;
  bool stop;
  int n_devices, minutes;
  int64_t minute; /* that is being seen */
  device devices[CHOOSE_MOST_DEVICES];
};

/* ---- one second ---- */

/* NULL: not known, and no room or memory. */
static device *device_of(device_history *h, const char *id, bool add) {
  for (int i = 0; i < h->n_devices; i++)
    if (strcmp(h->devices[i].id, id) == 0) return &h->devices[i];
  if (!add || h->n_devices == CHOOSE_MOST_DEVICES) return NULL;
  device *d = &h->devices[h->n_devices];
  if (!(d->ring = calloc(HISTORY_SECONDS, sizeof *d->ring))) return NULL;
  snprintf(d->id, sizeof d->id, "%s", id);
  h->n_devices++;
  return d;
}

static void add_person(minute *m, const reading_person *p) {
  int i = 0;
  while (i < m->n_people && m->people[i].user != p->user) i++;
  if (i == READING_MOST_PEOPLE) return;
  if (i == m->n_people) m->people[m->n_people++] = (person){.user = p->user};
  m->people[i].seconds += 1;
  m->people[i].memory += p->memory;
}

static void add_to_minute(minute *m, const second *s) {
  m->time = s->time / MINUTE * MINUTE;
  m->seconds++;
  for (int k = 0; k < SAMPLE_FIGURES; k++) {
    double v = s->figures[k];
    if (isnan(v)) continue;
    m->greatest[k] = m->n[k] && m->greatest[k] > v ? m->greatest[k] : v;
    m->sum[k] += v;
    m->n[k]++;
  }
  for (int i = 0; i < s->n_people; i++) add_person(m, &s->people[i]);
}

static void put(device_history *h, int64_t now, const device_reading *r) {
  pthread_mutex_lock(&h->mutex);
  device *d = device_of(h, r->id, true);
  second *s = d ? &d->ring[now % HISTORY_SECONDS] : NULL;
  bool is_new = s && s->time != now; /* a second counts once, even if the clock is put back */
  if (is_new) {
    *s = (second){.time = now, .n_people = r->n_people};
    memcpy(s->figures, r->figures, sizeof s->figures);
    memcpy(s->people, r->people, sizeof s->people);
  }
  pthread_mutex_unlock(&h->mutex);
  if (is_new) add_to_minute(&d->minute, s); /* only this thread changes it */
}

/* ---- once a minute ---- */

static sample sample_of(const device *d) {
  const minute *m = &d->minute;
  sample s = {.device = d->id, .level = MINUTE, .time = m->time, .seconds = m->seconds};
  for (int k = 0; k < SAMPLE_FIGURES; k++) {
    s.mean[k] = m->n[k] ? m->sum[k] / m->n[k] : NAN;
    s.greatest[k] = m->n[k] ? m->greatest[k] : NAN;
  }
  return s;
}

static bool write_device(store *st, const device *d) {
  const minute *m = &d->minute;
  sample s = sample_of(d);
  bool ok = true;
  for (int k = 0; k < 2; k++) {
    ok = ok && sample_add(st, &s);
    for (int i = 0; i < m->n_people; i++)
      ok = ok && sample_add_person(st, &s, m->people[i].user, m->people[i].seconds,
                                   m->people[i].memory / m->people[i].seconds);
    s.level = QUARTER;
    s.time = s.time / QUARTER * QUARTER;
  }
  return ok;
}

static bool purge(store *st, const char *id, int64_t now) {
  return samples_purge(st, id, MINUTE, now - HISTORY_MINUTES) &&
         samples_purge(st, id, QUARTER, now - HISTORY_QUARTERS);
}

/* A minute that cannot be written, on a full disk, is a gap. */
static void write_minute(device_history *h) {
  store *st = h->context->store;
  bool some = false, is_time = ++h->minutes % PURGE_MINUTES == 0;
  for (int i = 0; i < h->n_devices; i++) some = some || h->devices[i].minute.seconds;
  if (!some) return;
  bool ok = store_begin(st);
  if (ok) {
    for (int i = 0; i < h->n_devices; i++) {
      const device *d = &h->devices[i];
      if (d->minute.seconds) ok = ok && write_device(st, d);
      if (is_time) ok = ok && purge(st, d->id, context_now());
    }
    if (ok)
      ok = store_commit(st);
    else
      store_rollback(st);
  }
  if (!ok) log_event("history", 0, NULL, store_error());
  for (int i = 0; i < h->n_devices; i++) h->devices[i].minute = (minute){0};
}

/* ---- the thread ---- */

static void see(device_history *h, device_reading *list) {
  int64_t now = context_now();
  int n = monitor_readings(h->monitor, list);
  if (now / MINUTE != h->minute) write_minute(h);
  h->minute = now / MINUTE;
  for (int i = 0; i < n; i++) put(h, now, &list[i]);
}

/* Until a second has begun: by a clock that nobody sets, so that one that is put back stops
 * nothing. Locked. */
static void wait_for_second(device_history *h) {
  enum { LATE_NS = 20000000 }; /* time() may be some milliseconds behind */
  struct timespec real, until;
  clock_gettime(CLOCK_REALTIME, &real);
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += 1000000000L - real.tv_nsec + LATE_NS;
  until.tv_sec += until.tv_nsec / 1000000000L;
  until.tv_nsec %= 1000000000L;
  while (!h->stop && pthread_cond_timedwait(&h->wake, &h->mutex, &until) == 0) {
  }
}

static void *run(void *arg) {
  device_history *h = arg;
  device_reading *list = calloc(CHOOSE_MOST_DEVICES, sizeof *list);
  pthread_mutex_lock(&h->mutex);
  while (list && !h->stop) {
    wait_for_second(h);
    if (h->stop) break;
    pthread_mutex_unlock(&h->mutex);
    see(h, list);
    pthread_mutex_lock(&h->mutex);
  }
  pthread_mutex_unlock(&h->mutex);
  free(list);
  return NULL;
}

device_history *history_create(const context *c, monitor *m) {
  pthread_condattr_t attributes;
  device_history *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  h->context = c;
  h->monitor = m;
  h->minute = context_now() / MINUTE;
  pthread_mutex_init(&h->mutex, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&h->wake, &attributes);
  pthread_condattr_destroy(&attributes);
  if (!purge(c->store, NULL, context_now())) log_event("history", 0, NULL, store_error());
  return h;
}

bool history_start(device_history *h) {
  h->started = pthread_create(&h->thread, NULL, run, h) == 0;
  return h->started;
}

void history_stop(device_history *h) {
  if (!h || !h->started) return;
  pthread_mutex_lock(&h->mutex);
  h->stop = true;
  pthread_cond_signal(&h->wake);
  pthread_mutex_unlock(&h->mutex);
  pthread_join(h->thread, NULL);
  h->started = false;
  write_minute(h);
}

void history_destroy(device_history *h) {
  if (!h) return;
  for (int i = 0; i < h->n_devices; i++) free(h->devices[i].ring);
  pthread_mutex_destroy(&h->mutex);
  pthread_cond_destroy(&h->wake);
  free(h);
}

/* ---- answers ---- */

int64_t history_step(int64_t now, int64_t from, int64_t to, int64_t wanted) {
  static const int64_t steps[] = {1,    60,    120,   300,   600,   900,   1800,
                                  3600, 10800, 21600, 43200, 86400, 604800};
  int64_t least = from < now - HISTORY_MINUTES   ? QUARTER
                  : from < now - HISTORY_SECONDS ? MINUTE
                                                 : 1;
  size_t i = 0, last = sizeof steps / sizeof *steps - 1;
  while (i < last &&
         (steps[i] < least || steps[i] < wanted || (to - from) / steps[i] >= HISTORY_MOST_POINTS))
    i++;
  return steps[i];
}

/* Rows as the store gives them. */
static void read_ring(device_history *h, const char *id, int64_t from, int64_t to, json_t *samples,
                      json_t *people) {
  pthread_mutex_lock(&h->mutex);
  const device *d = device_of(h, id, false);
  for (int64_t t = from; d && t < to; t++) {
    const second *s = &d->ring[t % HISTORY_SECONDS];
    if (s->time != t) continue;
    json_t *row = json_pack("{s:I}", "time", (json_int_t)t);
    for (int k = 0; k < SAMPLE_FIGURES; k++) {
      char greatest[32];
      snprintf(greatest, sizeof greatest, "%s_max", figures[k]);
      if (isnan(s->figures[k])) continue;
      json_object_set_new(row, figures[k], json_real(s->figures[k]));
      json_object_set_new(row, greatest, json_real(s->figures[k]));
    }
    json_array_append_new(samples, row);
    for (int i = 0; i < s->n_people; i++)
      json_array_append_new(people, json_pack("{s:I, s:I, s:i, s:f}", "time", (json_int_t)t, "user",
                                              (json_int_t)s->people[i].user, "seconds", 1, "memory",
                                              s->people[i].memory));
  }
  pthread_mutex_unlock(&h->mutex);
}

static json_t *column(size_t n, json_t *(*value)(void)) {
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) json_array_append_new(list, value());
  return list;
}

static json_t *zero(void) {
  return json_integer(0);
}

typedef struct range {
  int64_t from, step;
  size_t n;
} range;

static json_t *figures_json(const range *r, const json_t *samples) {
  json_t *json = json_object(), *times = json_array(), *row;
  size_t i;
  for (size_t t = 0; t < r->n; t++)
    json_array_append_new(times, json_integer(r->from + (int64_t)t * r->step));
  json_object_set_new(json, "times", times);
  for (int k = 0; k < 2 * SAMPLE_FIGURES; k++) {
    char name[32];
    snprintf(name, sizeof name, "%s%s", figures[k / 2], k % 2 ? "_max" : "");
    json_t *list = column(r->n, json_null);
    json_array_foreach((json_t *)(uintptr_t)samples, i, row) {
      json_t *v = json_object_get(row, name);
      size_t at = (size_t)((store_integer(row, "time") - r->from) / r->step);
      if (v && at < r->n) json_array_set(list, at, v);
    }
    json_object_set_new(json, name, list);
  }
  return json;
}

static json_t *find_person(json_t *people, int64_t user, size_t n) {
  json_t *one;
  size_t i;
  json_array_foreach(people, i, one) {
    if (store_integer(one, "user") == user) return one;
  }
  one = json_pack("{s:I, s:o, s:o}", "user", (json_int_t)user, "seconds", column(n, zero), "memory",
                  column(n, zero));
  json_array_append_new(people, one);
  return one;
}

static json_t *people_json(const range *r, const json_t *rows) {
  json_t *people = json_array(), *row;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    size_t at = (size_t)((store_integer(row, "time") - r->from) / r->step);
    json_t *one = find_person(people, store_integer(row, "user"), r->n);
    if (at >= r->n) continue;
    json_array_set(json_object_get(one, "seconds"), at, json_object_get(row, "seconds"));
    json_array_set(json_object_get(one, "memory"), at, json_object_get(row, "memory"));
  }
  return people;
}

json_t *history_json(device_history *h, const char *id, int64_t from, int64_t to, int64_t step) {
  from = from / step * step;
  range r = {from, step, (size_t)((to - from + step - 1) / step)};
  int64_t level = step >= QUARTER ? QUARTER : MINUTE, end = from + (int64_t)r.n * step;
  json_t *samples, *people, *json = NULL;
  if (step == 1) {
    samples = json_array();
    people = json_array();
    read_ring(h, id, from, end, samples, people);
  } else {
    samples = samples_between(h->context->store, id, level, from, end, step);
    people = samples_of_people(h->context->store, id, level, from, end, step);
  }
  if (samples && people) {
    json = figures_json(&r, samples);
    json_object_set_new(json, "people", people_json(&r, people));
  }
  json_decref(samples);
  json_decref(people);
  return json;
}
