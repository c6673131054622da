/* The speed of a device, by training steps of six small networks. Each is mostly of one kind of
 * work; what is known of the other kinds is taken off its time. */
#include "base/alloc.h"
#include "plan/unit.h"
#include "train/forecast.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { ROWS = 256, ROUNDS = 6, MOST_STEPS = 64 };
static const double least_seconds = 5e-3; /* of a round */
static const double most_seconds = 0.5;   /* of all rounds but the first, on a slow device */

#define MODEL(size, layers)                                                                        \
  "{\"size\":" size ",\"optimizer\":\"adam\",\"loss\":\"categorical_crossentropy\","               \
  "\"layers\":[" layers "]}"
#define DENSE(units) "{\"type\":\"Dense\",\"layer\":{\"units\":" units ",\"activation\":\"relu\"}}"
#define LAST "{\"type\":\"Dense\",\"layer\":{\"units\":4,\"activation\":\"softmax\"}}"
#define CONV(filters)                                                                              \
  "{\"type\":\"Conv2D\",\"layer\":{\"filters\":" filters                                           \
  ",\"kernel_size\":3,\"activation\":\"relu\",\"padding\":\"same\"}}"
#define SPREAD                                                                                     \
  "{\"type\":\"Conv2D\",\"layer\":{\"filters\":8,\"kernel_size\":1,\"activation\":\"relu\"}}"
#define DROP "{\"type\":\"Dropout\",\"layer\":{\"rate\":0.3}}"
#define POOL "{\"type\":\"MaxPooling2D\"}"
#define FLAT "{\"type\":\"Flatten\"}"

enum { OPERATION, WEIGHTS, BYTES, FIRST, CONVOLUTION, MATRIX, N_PROBES };

/* In the order in which they are solved: each needs what those before it have told. */
static const struct {
  const char *model;
  int64_t batch;
} probes[N_PROBES] = {
    {MODEL("[8]", DENSE("8") "," DENSE("8") "," LAST), 4},
    {MODEL("[1024]", DENSE("4096") "," LAST), 4},
    {MODEL("[64,64,3]", SPREAD "," POOL "," DROP "," FLAT "," LAST), 32},
    {MODEL("[48,48,3]", CONV("32") "," POOL "," FLAT "," LAST), 32},
    {MODEL("[16,16,3]", CONV("32") "," CONV("64") "," CONV("64") "," POOL "," FLAT "," LAST), 32},
    {MODEL("[512]", DENSE("512") "," DENSE("512") "," DENSE("512") "," LAST), 256},
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- one network ---- */

typedef struct probe {
  wml_unit unit;
  wml_store *store;
  void *inputs;
  int32_t *labels;
  int64_t *rows; /* of MOST_STEPS steps */
  int64_t steps; /* of a round */
} probe;

static void close_probe(webml_device *d, probe *p) {
  wml_unit_destroy(&p->unit);
  if (p->store) d->backend->store_destroy(p->store);
  wml_free(p->inputs);
  wml_free(p->labels);
  wml_free(p->rows);
}

static webml_status make_rows(probe *p, int64_t width, bool bytes) {
  size_t n = (size_t)(ROWS * width);
  p->inputs = wml_calloc(n, bytes ? 1 : sizeof(float));
  p->labels = wml_calloc(ROWS, sizeof *p->labels);
  size_t places = MOST_STEPS * (size_t)p->unit.step.graph.batch;
  p->rows = wml_alloc(places * sizeof *p->rows);
  if (!p->inputs || !p->labels || !p->rows)
    return wml_no_memory(n * sizeof(float), "measuring a device");
  for (size_t i = 0; i < places; i++) p->rows[i] = (int64_t)(i % ROWS);
  for (size_t i = 0; i < n; i++) {
    if (bytes)
      ((uint8_t *)p->inputs)[i] = (uint8_t)(i * 2654435761u >> 24);
    else
      ((float *)p->inputs)[i] = (float)(i * 2654435761u % 1000) * 1e-3f;
  }
  for (int i = 0; i < ROWS; i++) p->labels[i] = i % 4;
  return WEBML_OK;
}

/* A GPU has memory of its own, and sixteen times the batch: less does not fill it. */
static int64_t batch_of(const webml_device *d, int which) {
  bool grows = !wml_device_shares_memory(d) && which != OPERATION && which != WEIGHTS;
  return probes[which].batch * (grows ? 16 : 1);
}

static webml_status open_probe(webml_device *d, wml_precision precision, int which, probe *p) {
  webml_model *model = NULL;
  const char *text = probes[which].model;
  *p = (probe){0};
  WML_TRY(webml_model_parse(text, strlen(text), &model));
  bool images = model->format == WML_FORMAT_IMAGES;
  webml_status status = wml_from_result(d->backend->store_create(d->handle, &p->store));
  wml_step_spec spec = {.model = model,
                        .mode = WML_MODE_TRAIN,
                        .batch = batch_of(d, which),
                        .inputs = {{.type = images ? WML_U8 : WML_F32}},
                        .targets = {{.type = WML_I32, .width = 1}},
                        .precision = precision};
  if (status == WEBML_OK) status = wml_unit_create(d, p->store, &spec, &p->unit);
  if (status == WEBML_OK) status = wml_unit_prepare(&p->unit);
  if (status == WEBML_OK) status = make_rows(p, wml_shape_elements(&model->nodes[0].out), images);
  webml_model_destroy(model);
  return status;
}

/* Seconds of so many steps. */
static webml_status run_probe(probe *p, int64_t steps, double *seconds) {
  float rates[MOST_STEPS];
  double results[2] = {0};
  wml_feed feeds[2];
  for (int i = 0; i < MOST_STEPS; i++) rates[i] = 1e-6f;
  wml_unit_feeds(&p->unit, p->inputs, p->labels, ROWS, feeds);
  double begin = now();
  for (int64_t left = steps; left > 0; left -= MOST_STEPS) {
    wml_run run = {.n_steps = left < MOST_STEPS ? left : MOST_STEPS,
                   .rows = p->rows,
                   .n_feeds = 2,
                   .feeds = feeds,
                   .learning_rate = rates,
                   .results = results};
    WML_TRY(wml_from_result(p->unit.device->backend->run(p->unit.plan, &run)));
  }
  *seconds = now() - begin;
  return WEBML_OK;
}

/* So many steps that they can be measured; *best: seconds of one, the first round's. */
static webml_status choose_steps(probe *p, double *best) {
  double took = 0.0;
  p->steps = 1;
  WML_TRY(run_probe(p, 2, &took)); /* caches, and what is chosen at the first run */
  for (;;) {
    WML_TRY(run_probe(p, p->steps, &took));
    *best = took / (double)p->steps;
    if (took >= least_seconds || p->steps >= 1 << 14) return WEBML_OK;
    p->steps *= took > least_seconds / 8.0 ? 2 : 8;
  }
}

/* ---- all of them ---- */

static double *rate_of(webml_speed *s, int which) {
  double *const rates[N_PROBES] = {&s->operation,         &s->weights,     &s->bytes,
                                   &s->first_convolution, &s->convolution, &s->dense};
  return rates[which];
}

static double work_in(const wml_work *w, int which) {
  const double work[N_PROBES] = {w->operations,        w->weights,     w->bytes,
                                 w->first_convolution, w->convolution, w->dense};
  return work[which];
}

/* The rate of this probe's kind: its time without what the known rates make of the rest, of which
 * at least a third is left. */
static void solve(int which, const wml_work *w, double seconds, webml_speed *s) {
  if (which == OPERATION) {
    s->operation = seconds / w->operations;
    return;
  }
  double known = 0.0;
  for (int i = 0; i < N_PROBES; i++) {
    double rate = *rate_of(s, i);
    if (i == which || rate <= 0.0) continue;
    known += i == OPERATION ? w->operations * rate : work_in(w, i) / rate;
  }
  double rest = seconds - known, least = seconds / 3.0;
  *rate_of(s, which) = work_in(w, which) / (rest > least ? rest : least);
}

/* The best of some rounds of all networks: a program that computes beside one round spoils one
 * figure of each, not all of one. */
static webml_status time_probes(probe *list, double *best) {
  double begin = now();
  for (int round = 1; round < ROUNDS && now() - begin < most_seconds; round++)
    for (int i = 0; i < N_PROBES; i++) {
      double took = 0.0;
      WML_TRY(run_probe(&list[i], list[i].steps, &took));
      best[i] = fmin(best[i], took / (double)list[i].steps);
    }
  return WEBML_OK;
}

static webml_status measure(webml_device *d, wml_precision precision, webml_speed *s) {
  probe list[N_PROBES] = {{.steps = 0}};
  double seconds[N_PROBES];
  webml_status status = WEBML_OK;
  *s = (webml_speed){0};
  for (int i = 0; i < N_PROBES && status == WEBML_OK; i++) {
    status = open_probe(d, precision, i, &list[i]);
    if (status == WEBML_OK) status = choose_steps(&list[i], &seconds[i]);
  }
  if (status == WEBML_OK) status = time_probes(list, seconds);
  for (int i = 0; i < N_PROBES; i++) {
    if (status == WEBML_OK) {
      wml_work work;
      wml_work_of(&list[i].unit.step.graph, &work);
      solve(i, &work, seconds[i], s);
    }
    close_probe(d, &list[i]);
  }
  return status;
}

webml_status webml_device_speed(webml_device *d, webml_precision precision, webml_speed *speed) {
  if (!d || !speed)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_device_speed: device and speed must not be NULL");
  WML_TRY(webml_device_check(d, precision));
  pthread_mutex_lock(&d->speed_mutex);
  webml_speed *kept = &d->speed[precision], measured;
  webml_status status = WEBML_OK;
  if (kept->operation == 0.0) {
    status = measure(d, (wml_precision)precision, &measured);
    if (status == WEBML_OK) *kept = measured;
  }
  *speed = *kept;
  pthread_mutex_unlock(&d->speed_mutex);
  return status;
}
