#define _GNU_SOURCE /* memfd_create */
#include "serve.h"

#include "jobs/jobs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <webml.h>

enum { MOST_BATCH = 64 };

struct served {
  served *next;
  struct serve_pool *pool;
  int64_t weights;
  webml_predictor *predictor;
  serve_shape shape;
  size_t bytes;
  int holders; /* under the pool's mutex */
  bool doomed; /* goes with its last holder */
  double used;
  atomic_int_fast64_t requests, failures, rows, nanoseconds, last, buckets[SERVE_BUCKETS];
};

struct serve_pool {
  pthread_mutex_t mutex;   /* of the list */
  pthread_mutex_t loading; /* one at a time: two loads at once would pass the budget by */
  webml_device *device;
  served *list;
  size_t budget, bytes;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool serve_start(api *a, size_t budget) {
  struct serve_pool *p = calloc(1, sizeof *p);
  if (!p) return false;
  pthread_mutex_init(&p->mutex, NULL);
  pthread_mutex_init(&p->loading, NULL);
  p->budget = budget;
  a->serving = p;
  return true;
}

static void destroy(served *s) {
  webml_predictor_destroy(s->predictor);
  free(s);
}

void serve_stop(api *a) {
  struct serve_pool *p = a->serving;
  if (!p) return;
  for (served *s = p->list, *next; s; s = next) {
    next = s->next;
    destroy(s);
  }
  webml_device_destroy(p->device);
  pthread_mutex_destroy(&p->mutex);
  pthread_mutex_destroy(&p->loading);
  free(p);
  a->serving = NULL;
}

/* ---- the list; its mutex is held ---- */

static served *find(struct serve_pool *p, int64_t weights) {
  for (served *s = p->list; s; s = s->next)
    if (s->weights == weights && !s->doomed) return s;
  return NULL;
}

static void take_out(struct serve_pool *p, served *s) {
  for (served **at = &p->list; *at; at = &(*at)->next)
    if (*at == s) {
      *at = s->next;
      p->bytes -= s->bytes;
      return;
    }
}

/* What is idle for longest, until `bytes` more fit. Returns a chain to destroy outside the mutex.
 */
static served *make_room(struct serve_pool *p, size_t bytes) {
  served *chain = NULL;
  while (p->bytes + bytes > p->budget) {
    served *oldest = NULL;
    for (served *s = p->list; s; s = s->next)
      if (!s->holders && (!oldest || s->used < oldest->used)) oldest = s;
    if (!oldest) break;
    take_out(p, oldest);
    oldest->next = chain;
    chain = oldest;
  }
  return chain;
}

static void destroy_chain(served *s) {
  for (served *next; s; s = next) {
    next = s->next;
    destroy(s);
  }
}

/* ---- loading ---- */

static bool read_shape(served *s) {
  char *text = NULL;
  if (webml_model_to_json(webml_predictor_model(s->predictor), &text) != WEBML_OK) return false;
  json_t *model = json_loads(text, 0, NULL), *size = json_object_get(model, "size"), *value;
  size_t i;
  webml_free(text);
  json_array_foreach(size, i, value) {
    if (i < 3) s->shape.dim[i] = json_integer_value(value), s->shape.rank = (int)i + 1;
  }
  const char *format = json_string_value(json_object_get(model, "format"));
  s->shape.images = format && strcmp(format, "images") == 0;
  s->shape.inputs = (int64_t)webml_predictor_input_size(s->predictor);
  s->shape.outputs = (int64_t)webml_predictor_output_size(s->predictor);
  json_decref(model);
  return s->shape.rank > 0;
}

/* The first run of every size costs more than the others: it is not a client's. */
static bool warm_up(served *s) {
  char error[256];
  float *x = calloc((size_t)(MOST_BATCH * s->shape.inputs), sizeof *x),
        *y = calloc((size_t)(MOST_BATCH * s->shape.outputs), sizeof *y);
  bool ok = x && y;
  for (int n = 1; ok && n <= MOST_BATCH; n *= 8)
    ok = serve_run(s, x, s->shape.images, n, y, error, sizeof error);
  free(x);
  free(y);
  atomic_store(&s->requests, 0); /* warming up is nobody's request */
  atomic_store(&s->rows, 0);
  atomic_store(&s->nanoseconds, 0);
  for (int i = 0; i < SERVE_BUCKETS; i++) atomic_store(&s->buckets[i], 0);
  return ok;
}

static served *load(api *a, int64_t weights, int64_t session, char *error, size_t size) {
  struct serve_pool *p = a->serving;
  char path[4096];
  struct stat info;
  served *s = calloc(1, sizeof *s);
  jobs_path(a, session, "weights.safetensors", path, sizeof path);
  snprintf(error, size, "out of memory");
  if (!s) return NULL;
  s->pool = p;
  s->weights = weights;
  s->holders = 1;
  if (stat(path, &info) == 0) s->bytes = (size_t)info.st_size * 3 + ((size_t)1 << 20);
  pthread_mutex_lock(&p->mutex);
  served *chain = make_room(p, s->bytes);
  pthread_mutex_unlock(&p->mutex);
  destroy_chain(chain);
  bool ok = (p->device || webml_device_open("auto", 0, &p->device) == WEBML_OK) &&
            webml_predictor_load(path, p->device, MOST_BATCH, &s->predictor) == WEBML_OK &&
            read_shape(s) && warm_up(s);
  if (ok) return s;
  snprintf(error, size, "%s", webml_last_error());
  api_hide_paths(a, error);
  destroy(s);
  return NULL;
}

served *serve_acquire(api *a, int64_t weights, int64_t session, char *error, size_t size) {
  struct serve_pool *p = a->serving;
  pthread_mutex_lock(&p->mutex);
  served *s = find(p, weights);
  if (s) s->holders++, s->used = now();
  pthread_mutex_unlock(&p->mutex);
  if (s) return s;
  pthread_mutex_lock(&p->loading);
  pthread_mutex_lock(&p->mutex);
  s = find(p, weights); /* another one has loaded it meanwhile */
  if (s) s->holders++, s->used = now();
  pthread_mutex_unlock(&p->mutex);
  if (!s && (s = load(a, weights, session, error, size))) {
    pthread_mutex_lock(&p->mutex);
    s->used = now();
    s->next = p->list;
    p->list = s;
    p->bytes += s->bytes;
    pthread_mutex_unlock(&p->mutex);
  }
  pthread_mutex_unlock(&p->loading);
  return s;
}

void serve_release(served *s) {
  struct serve_pool *p = s->pool;
  pthread_mutex_lock(&p->mutex);
  s->used = now();
  bool last = --s->holders == 0 && s->doomed;
  if (last) take_out(p, s);
  pthread_mutex_unlock(&p->mutex);
  if (last) destroy(s);
}

bool serve_unload(api *a, int64_t weights) {
  struct serve_pool *p = a->serving;
  pthread_mutex_lock(&p->mutex);
  served *s = find(p, weights);
  bool idle = s && !s->holders;
  if (s) s->doomed = true;
  if (idle) take_out(p, s);
  pthread_mutex_unlock(&p->mutex);
  if (idle) destroy(s);
  return s != NULL;
}

bool serve_is_loaded(api *a, int64_t weights) {
  pthread_mutex_lock(&a->serving->mutex);
  bool loaded = find(a->serving, weights) != NULL;
  pthread_mutex_unlock(&a->serving->mutex);
  return loaded;
}

/* ---- running ---- */

const serve_shape *serve_shape_of(const served *s) {
  return &s->shape;
}

static bool count(served *s, webml_status status, int64_t n, double began, char *error,
                  size_t size) {
  static const double bounds[] = SERVE_BOUNDS;
  double took = now() - began;
  int bucket = 0;
  while (bucket < SERVE_BUCKETS - 1 && took > bounds[bucket]) bucket++;
  atomic_fetch_add(status == WEBML_OK ? &s->requests : &s->failures, 1);
  atomic_fetch_add(&s->rows, status == WEBML_OK ? n : 0);
  atomic_fetch_add(&s->nanoseconds, (int64_t)(took * 1e9));
  atomic_fetch_add(&s->buckets[bucket], 1);
  atomic_store(&s->last, (int64_t)time(NULL) * 1000);
  if (status != WEBML_OK) snprintf(error, size, "%s", webml_last_error());
  return status == WEBML_OK;
}

bool serve_run(served *s, const void *inputs, bool pixels, int64_t n, float *outputs, char *error,
               size_t size) {
  double began = now();
  webml_status status = pixels ? webml_predictor_run_pixels(s->predictor, inputs, n, outputs)
                               : webml_predictor_run(s->predictor, inputs, n, outputs);
  return count(s, status, n, began, error, size);
}

char *serve_row(served *s, const char *row, char *error, size_t size) {
  double began = now();
  char *json = NULL;
  return count(s, webml_predictor_row(s->predictor, row, &json), 1, began, error, size) ? json
                                                                                        : NULL;
}

/* The library reads pictures from files: a nameless one in memory. */
char *serve_picture(served *s, const void *bytes, size_t n, char *error, size_t size) {
  double began = now();
  char path[64], *json = NULL;
  int fd = memfd_create("picture", MFD_CLOEXEC);
  if (fd < 0 || write(fd, bytes, n) != (ssize_t)n) {
    snprintf(error, size, "out of memory");
    if (fd >= 0) close(fd);
    return NULL;
  }
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  webml_status status = webml_predictor_image(s->predictor, path, &json);
  close(fd);
  if (count(s, status, 1, began, error, size)) return json;
  char *at = strstr(error, path);
  if (at)
    memcpy(at, "picture", 7), memmove(at + 7, at + strlen(path), strlen(at + strlen(path)) + 1);
  return NULL;
}

void serve_read_stats(const served *s, serve_stats *stats) {
  served *x = (served *)(uintptr_t)s;
  *stats = (serve_stats){.weights = s->weights,
                         .requests = atomic_load(&x->requests),
                         .failures = atomic_load(&x->failures),
                         .rows = atomic_load(&x->rows),
                         .nanoseconds = atomic_load(&x->nanoseconds),
                         .last_ms = atomic_load(&x->last),
                         .bytes = (int64_t)s->bytes};
  for (int i = 0; i < SERVE_BUCKETS; i++) stats->buckets[i] = atomic_load(&x->buckets[i]);
}

int serve_all_stats(api *a, serve_stats *list, int most) {
  struct serve_pool *p = a->serving;
  int n = 0;
  pthread_mutex_lock(&p->mutex);
  for (const served *s = p->list; s; s = s->next, n++)
    if (n < most) {
      serve_read_stats(s, &list[n]);
      list[n].holders = s->holders;
    }
  pthread_mutex_unlock(&p->mutex);
  return n;
}
