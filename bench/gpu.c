/* webml-bench gpu: the reference network on a GPU. Steps only, over a data set of GTSRB's size that
 * lies on the device, and the latency of a prediction from host memory to host memory. */
#include "bench.h"

#include "base/status.h"
#include "devices/device.h"
#include "plan/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 39209, CLASSES = 43, PIXELS = 64 * 64 * 3 };

typedef struct gpu_options {
  const char *device, *precision;
  int64_t batch, images;
  int epochs, rounds, calls;
  bool augment, deterministic;
} gpu_options;

typedef struct gpu_rig {
  webml_device *device;
  wml_store *store;
  wml_step step;
  wml_plan *plan;
} gpu_rig;

static const wml_augment augmentation = {.rotation = 20, .shear = 10, .zoom = 0.2f, .flip = true};

static int complain(const char *what) {
  fprintf(stderr, "webml-bench: %s: %s\n", what, webml_last_error());
  return 1;
}

static void rig_close(gpu_rig *r) {
  if (!r->device) return;
  const wml_backend *b = r->device->backend;
  b->plan_destroy(r->plan);
  b->store_destroy(r->store);
  wml_step_free(&r->step);
  webml_device_destroy(r->device);
  *r = (gpu_rig){0};
}

static wml_precision precision_of(const char *name) {
  return strcmp(name, "mixed_bfloat16") == 0   ? WML_MIXED_BFLOAT16
         : strcmp(name, "float32_strict") == 0 ? WML_FLOAT32_STRICT
                                               : WML_FLOAT32;
}

/* Initial weights as Keras's glorot_uniform, near enough for speed. */
static void put_weights(gpu_rig *r) {
  uint32_t state = 1;
  for (int i = 0; i < r->step.graph.n_tensors; i++) {
    const wml_tensor *t = &r->step.graph.tensors[i];
    if (t->role != WML_ROLE_PARAM) continue;
    int64_t n = wml_elements(t), out = t->dim[t->rank - 1];
    float *w = malloc((size_t)n * sizeof *w), limit = sqrtf(6.0f / (float)(n / out + out));
    for (int64_t k = 0; w && k < n; k++) {
      state = state * 1664525u + 1013904223u;
      w[k] = t->rank == 1 ? 0.0f : limit * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
    if (w) r->device->backend->put(r->store, t->name, w);
    free(w);
  }
}

static bool rig_open(gpu_rig *r, const gpu_options *o, wml_mode mode, int64_t batch) {
  webml_model *model = NULL;
  *r = (gpu_rig){0};
  if (webml_model_parse(bench_reference, strlen(bench_reference), &model) != WEBML_OK) return false;
  wml_step_spec spec = {.model = model,
                        .mode = mode,
                        .batch = batch,
                        .inputs = {{.type = WML_U8}},
                        .targets = {{.type = WML_I32, .width = 1}},
                        .precision = precision_of(o->precision),
                        .deterministic = o->deterministic};
  if (o->augment && mode == WML_MODE_TRAIN) spec.augment = augmentation;
  bool ok = webml_device_open(o->device, 0, &r->device) == WEBML_OK;
  if (ok) {
    const wml_backend *b = r->device->backend;
    ok = b->store_create(r->device->handle, &r->store) == WML_OK &&
         wml_step_build(&spec, &r->step) == WEBML_OK &&
         b->compile(r->store, &r->step.graph, &r->plan) == WML_OK && b->prepare(r->plan) == WML_OK;
  }
  webml_model_destroy(model);
  if (ok) put_weights(r);
  return ok;
}

typedef struct gpu_data {
  uint8_t *images;
  int32_t *labels;
  int64_t *rows;
  float *rates;
} gpu_data;

static bool make_data(gpu_data *d, int64_t n) {
  d->images = malloc((size_t)n * PIXELS);
  d->labels = malloc((size_t)n * sizeof *d->labels);
  d->rows = malloc((size_t)n * sizeof *d->rows);
  d->rates = malloc((size_t)n * sizeof *d->rates);
  if (!d->images || !d->labels || !d->rows || !d->rates) return false;
  uint32_t state = 7;
  for (int64_t i = 0; i < n * PIXELS; i++) {
    state = state * 1664525u + 1013904223u;
    d->images[i] = (uint8_t)(state >> 24);
  }
  for (int64_t i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    d->labels[i] = (int32_t)((state >> 8) % CLASSES);
    d->rows[i] = (i * 7919) % n; /* 7919 and 39209 have no common divisor: an order that jumps */
    d->rates[i] = 1e-4f;
  }
  return true;
}

/* Seconds of `epochs` epochs of whole batches. */
static double train(gpu_rig *r, const gpu_options *o, const gpu_data *d) {
  int64_t steps = o->images / o->batch;
  double start = bench_now();
  for (int e = 0; e < o->epochs; e++) {
    double results[2] = {0};
    wml_feed feeds[] = {{r->step.inputs[0], d->images, o->images},
                        {r->step.targets[0], d->labels, o->images}};
    wml_run run = {.n_steps = steps,
                   .step = e * steps,
                   .seed = 1,
                   .epoch = (uint32_t)e,
                   .rows = d->rows,
                   .n_feeds = 2,
                   .feeds = feeds,
                   .learning_rate = d->rates,
                   .results = results};
    if (r->device->backend->run(r->plan, &run) != WML_OK || run.not_finite >= 0) return NAN;
  }
  return bench_now() - start;
}

static void print_nodes(const gpu_rig *r) {
  const char *name;
  for (int i = 0; (name = r->device->backend->implementation(r->plan, i)) != NULL; i++)
    fprintf(stderr, "  %2d  %s\n", i, name);
}

/* Microseconds of a prediction of one picture. */
static double predict(gpu_rig *r, const gpu_data *d, int calls) {
  float y[CLASSES];
  double start = bench_now();
  for (int i = 0; i < calls; i++) {
    wml_feed feed = {.tensor = r->step.inputs[0], .base = d->images + (i % 64) * PIXELS};
    wml_run run = {.n_steps = 1, .n_feeds = 1, .feeds = &feed};
    if (r->device->backend->run(r->plan, &run) != WML_OK ||
        r->device->backend->read(r->plan, r->step.outputs[0], y) != WML_OK)
      return NAN;
  }
  return (bench_now() - start) / calls * 1e6;
}

static void print_series(const char *name, const bench_series *s) {
  printf("\"%s\": {\"median\": %.6g, \"least\": %.6g, \"most\": %.6g, \"runs\": %d}", name,
         bench_median(s), bench_quantile(s, 0.0), bench_quantile(s, 1.0), s->n);
}

static int measure(const gpu_options *o) {
  gpu_data d = {0};
  gpu_rig trained, predicted;
  bench_series seconds = {0}, latency = {0};
  if (!make_data(&d, o->images)) return complain("memory");
  double start = bench_now();
  if (!rig_open(&trained, o, WML_MODE_TRAIN, o->batch)) return complain("the training");
  double planned = bench_now() - start;
  if (!rig_open(&predicted, o, WML_MODE_PREDICT, 1)) return complain("the prediction");
  gpu_options warm = *o;
  warm.epochs = 1;
  if (isnan(train(&trained, &warm, &d))) return complain("a step");
  for (int i = 0; i < o->rounds; i++) bench_add(&seconds, train(&trained, o, &d));
  predict(&predicted, &d, o->calls / 10);
  for (int i = 0; i < o->rounds; i++) bench_add(&latency, predict(&predicted, &d, o->calls));
  fprintf(stderr, "operations of a step:\n");
  print_nodes(&trained);
  fprintf(stderr, "of a prediction:\n");
  print_nodes(&predicted);
  printf("{\"device\": \"%s\", \"precision\": \"%s\", \"batch\": %lld, \"images\": %lld, "
         "\"epochs\": %d, \"augmentation\": %s, \"planned_seconds\": %.3f, ",
         webml_device_identity(trained.device), o->precision, (long long)o->batch,
         (long long)o->images, o->epochs, o->augment ? "true" : "false", planned);
  print_series("training_seconds", &seconds);
  printf(", ");
  print_series("prediction_us", &latency);
  printf("}\n");
  rig_close(&trained);
  rig_close(&predicted);
  free(d.images);
  free(d.labels);
  free(d.rows);
  free(d.rates);
  return 0;
}

int bench_gpu(int argc, char **argv) {
  gpu_options o = {.device = "cuda",
                   .precision = "mixed_bfloat16",
                   .batch = 64,
                   .images = IMAGES,
                   .epochs = 10,
                   .rounds = 3,
                   .calls = 1000,
                   .augment = true};
  for (int i = 0; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(argv[i], "--plain") == 0)
      o.augment = false;
    else if (strcmp(argv[i], "--deterministic") == 0)
      o.deterministic = true;
    else if (strcmp(argv[i], "--device") == 0)
      o.device = value, i++;
    else if (strcmp(argv[i], "--precision") == 0)
      o.precision = value, i++;
    else if (strcmp(argv[i], "--batch") == 0)
      o.batch = atoll(value), i++;
    else if (strcmp(argv[i], "--images") == 0)
      o.images = atoll(value), i++;
    else if (strcmp(argv[i], "--epochs") == 0)
      o.epochs = atoi(value), i++;
    else if (strcmp(argv[i], "--rounds") == 0)
      o.rounds = atoi(value), i++;
    else if (strcmp(argv[i], "--calls") == 0)
      o.calls = atoi(value), i++;
    else
      return fprintf(stderr, "usage: webml-bench gpu [--device D] [--precision P] [--batch N] "
                             "[--images N] [--epochs N] [--rounds N] [--calls N] [--plain] "
                             "[--deterministic]\n"),
             2;
  }
  if (o.batch < 1 || o.images < o.batch || o.images < 64 || o.epochs < 1 || o.rounds < 1)
    return fprintf(stderr, "webml-bench gpu: numbers out of range\n"), 2;
  return measure(&o);
}
