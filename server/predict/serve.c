#define _GNU_SOURCE /* memfd_create */
#include "pool.h"
#include "store/sessions.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

serve_pool *serve_create(const context *c, size_t budget, serve_hooks hooks) {
  serve_pool *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  pthread_rwlock_init(&p->lock, NULL);
  pthread_mutex_init(&p->loading, NULL);
  p->budget = budget;
  p->context = c;
  serve_executor_start(&p->executor, hooks);
  return p;
}

static void destroy(served *s) {
  webml_predictor_destroy(s->predictor);
  for (int i = 0; i < SHARDS; i++) pthread_mutex_destroy(&s->shards[i].mutex);
  free(s);
  malloc_trim(0); /* "unloaded" means that the memory is free */
}

void serve_destroy(serve_pool *p) {
  if (!p) return;
  serve_executor_stop(&p->executor);
  for (served *s = p->list, *next; s; s = next) {
    next = s->next;
    destroy(s);
  }
  webml_device_destroy(p->device);
  pthread_rwlock_destroy(&p->lock);
  pthread_mutex_destroy(&p->loading);
  free(p);
}

/* ---- the list; its lock is held ---- */

static served *find(serve_pool *p, int64_t weights) {
  for (served *s = p->list; s; s = s->next)
    if (s->weights == weights && !s->doomed) return s;
  return NULL;
}

static void take_out(serve_pool *p, served *s) {
  for (served **at = &p->list; *at; at = &(*at)->next)
    if (*at == s) {
      *at = s->next;
      p->bytes -= s->bytes;
      return;
    }
}

/* What is idle for longest, until `bytes` more fit. Returns a chain to destroy outside the lock.
 */
static served *make_room(serve_pool *p, size_t bytes) {
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

static webml_status run(served *s, const void *x, int64_t n, float *y) {
  return s->shape.images ? webml_predictor_run_pixels(s->predictor, x, n, y)
                         : webml_predictor_run(s->predictor, x, n, y);
}

/* The first run of every size costs more than the others: it is not a client's. Then one row is
 * timed. */
static bool warm_up(served *s) {
  float *x = calloc((size_t)(SERVE_MOST_BATCH * s->shape.inputs), sizeof *x),
        *y = calloc((size_t)(SERVE_MOST_BATCH * s->shape.outputs), sizeof *y);
  bool ok = x && y;
  s->row_seconds = 1e9;
  for (int n = SERVE_MOST_BATCH; ok && n >= 1; n /= 2) ok = run(s, x, n, y) == WEBML_OK;
  for (int i = 0; ok && i < 4; i++) {
    double began = serve_now();
    ok = run(s, x, 1, y) == WEBML_OK;
    if (serve_now() - began < s->row_seconds) s->row_seconds = serve_now() - began;
  }
  free(x);
  free(y);
  return ok;
}

/* NULL: what it has. */
static void set_batching(served *s, const serve_batching *b) {
  if (!b) return;
  atomic_store(&s->max_batch, b->max_batch_size);
  atomic_store(&s->delay, b->max_queue_delay_microseconds);
  atomic_store(&s->max_queue, b->max_queue_size);
}

static served *load(serve_pool *p, int64_t weights, const char *path, char *error, size_t size) {
  struct stat info;
  served *s = calloc(1, sizeof *s);
  snprintf(error, size, "out of memory");
  if (!s) return NULL;
  s->pool = p;
  s->weights = weights;
  atomic_store(&s->holders, 1);
  s->last = &s->first;
  set_batching(s, &(serve_batching){SERVE_MOST_BATCH, 0, SERVE_QUEUE});
  for (int i = 0; i < SHARDS; i++) pthread_mutex_init(&s->shards[i].mutex, NULL);
  if (stat(path, &info) == 0) s->bytes = (size_t)info.st_size * 3 + ((size_t)1 << 20);
  pthread_rwlock_wrlock(&p->lock);
  served *chain = make_room(p, s->bytes);
  pthread_rwlock_unlock(&p->lock);
  destroy_chain(chain);
  bool ok = (p->device || webml_device_open("auto", 0, &p->device) == WEBML_OK) &&
            webml_predictor_load(path, p->device, SERVE_MOST_BATCH, &s->predictor) == WEBML_OK &&
            read_shape(s) && warm_up(s);
  if (ok) return s;
  snprintf(error, size, "%s", webml_last_error());
  hide_paths(p->context, error);
  destroy(s);
  return NULL;
}

served *serve_find(serve_pool *p, int64_t weights, const serve_batching *batching) {
  pthread_rwlock_rdlock(&p->lock);
  served *s = find(p, weights);
  if (s) {
    atomic_fetch_add(&s->holders, 1);
    set_batching(s, batching);
  }
  pthread_rwlock_unlock(&p->lock);
  return s;
}

served *serve_acquire(serve_pool *p, int64_t weights, const char *path,
                      const serve_batching *batching, char *error, size_t size) {
  served *s = serve_find(p, weights, batching);
  if (s) return s;
  pthread_mutex_lock(&p->loading);
  s = serve_find(p, weights, batching); /* another one may have loaded it meanwhile */
  if (!s && (s = load(p, weights, path, error, size))) {
    set_batching(s, batching);
    pthread_rwlock_wrlock(&p->lock);
    s->next = p->list;
    p->list = s;
    p->bytes += s->bytes;
    pthread_rwlock_unlock(&p->lock);
  }
  pthread_mutex_unlock(&p->loading);
  return s;
}

/* Frees the predictor when it is doomed and nobody holds it. It may be gone already: only its
 * address is known here. */
static void bury(serve_pool *p, const served *which) {
  pthread_rwlock_wrlock(&p->lock);
  served *s = p->list;
  while (s && s != which) s = s->next;
  bool dead = s && atomic_load(&s->doomed) && atomic_load(&s->holders) == 0;
  if (dead) take_out(p, s);
  pthread_rwlock_unlock(&p->lock);
  if (dead) destroy(s);
}

void serve_release(served *s) {
  serve_pool *p = s->pool;
  atomic_store_explicit(&s->used, serve_now(), memory_order_relaxed);
  pthread_rwlock_rdlock(&p->lock);
  bool last = atomic_fetch_sub(&s->holders, 1) == 1 && atomic_load(&s->doomed);
  pthread_rwlock_unlock(&p->lock);
  if (last) bury(p, s);
}

bool serve_unload(serve_pool *p, int64_t weights) {
  pthread_rwlock_rdlock(&p->lock);
  served *s = find(p, weights);
  if (s) atomic_store(&s->doomed, true);
  pthread_rwlock_unlock(&p->lock);
  if (s) bury(p, s);
  return s != NULL;
}

void serve_unload_all(serve_pool *p) {
  for (bool some = true; some;) {
    pthread_rwlock_rdlock(&p->lock);
    served *s = p->list;
    while (s && atomic_load(&s->doomed)) s = s->next;
    some = s != NULL;
    if (s) atomic_store(&s->doomed, true);
    pthread_rwlock_unlock(&p->lock);
    if (some) bury(p, s);
  }
}

void serve_unload_gone(serve_pool *p) {
  int64_t *ids = NULL;
  int n = 0;
  pthread_rwlock_rdlock(&p->lock);
  for (served *s = p->list; s; s = s->next) n++;
  if (n) ids = malloc((size_t)n * sizeof *ids);
  n = 0;
  for (served *s = p->list; s && ids; s = s->next) ids[n++] = s->weights;
  pthread_rwlock_unlock(&p->lock);
  for (int i = 0; i < n; i++)
    if (!weights_exist(p->context->store, ids[i])) serve_unload(p, ids[i]);
  free(ids);
}

bool serve_is_loaded(serve_pool *p, int64_t weights) {
  pthread_rwlock_rdlock(&p->lock);
  bool loaded = find(p, weights) != NULL;
  pthread_rwlock_unlock(&p->lock);
  return loaded;
}

/* ---- running ---- */

const serve_shape *serve_shape_of(const served *s) {
  return &s->shape;
}

serve_batching serve_batching_of(const served *s) {
  served *x = (served *)(uintptr_t)s;
  return (serve_batching){.max_batch_size = atomic_load(&x->max_batch),
                          .max_queue_delay_microseconds = atomic_load(&x->delay),
                          .max_queue_size = atomic_load(&x->max_queue)};
}

static bool answered(served *s, webml_status status, double began, char *error, size_t size) {
  serve_count_call(s, status == WEBML_OK, 1, began);
  if (status != WEBML_OK) snprintf(error, size, "%s", webml_last_error());
  return status == WEBML_OK;
}

char *serve_row(served *s, const char *row, char *error, size_t size) {
  double began = serve_now();
  char *json = NULL;
  webml_status status = webml_predictor_row(s->predictor, row, &json);
  return answered(s, status, began, error, size) ? json : NULL;
}

/* The library reads pictures from files: a nameless one in memory. */
char *serve_picture(served *s, const void *bytes, size_t n, char *error, size_t size) {
  double began = serve_now();
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
  if (answered(s, status, began, error, size)) return json;
  char *at = strstr(error, path);
  if (at)
    memcpy(at, "picture", 7), memmove(at + 7, at + strlen(path), strlen(at + strlen(path)) + 1);
  return NULL;
}

int serve_all_stats(serve_pool *p, serve_stats *list, int most) {
  int n = 0;
  pthread_rwlock_rdlock(&p->lock);
  for (served *s = p->list; s; s = s->next, n++)
    if (n < most) serve_read_stats(s, &list[n]);
  pthread_rwlock_unlock(&p->lock);
  return n;
}
