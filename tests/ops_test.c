/* Every case of the table on every back end against `ref`, through a training step, an evaluation
 * and a prediction; `ref` against finite differences. The CUDA back end takes part twice: over an
 * emulation of the CUDA runtime, everywhere, and on the machine's GPU where there is one. */
#include "base/status.h"
#include "cases.h"
#include "devices/device.h"
#include "kernels/cuda/emulation/cuda_runtime_api.h"
#include "plan/step.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A back end with the arithmetic it is asked for. Tolerances: all sum in another order; oneDNN and
 * the own kernels in float32. TF32 has 10 bits behind the point, bfloat16 7, so that single
 * elements say little: where operands are rounded, the norm of the difference is compared with that
 * of the array. */
typedef struct subject {
  const char *name;
  const wml_backend *backend;
  wml_precision precision;
  double tolerance;
  bool rounds;
} subject;

/* A case on one back end: a store with a plan per mode. */
typedef struct rig {
  const subject *subject;
  const wml_backend *backend;
  wml_device *device;
  wml_store *store;
  wml_step step[3];
  wml_plan *plan[3];
} rig;

/* Rows of every input (float32, or indices) and of every target. */
typedef struct case_data {
  int n_inputs, n_outputs;
  void *input[WML_MAX_ENDS];
  float *target[WML_MAX_ENDS], *weight;
} case_data;

enum { MAX_FEEDS = 2 * WML_MAX_ENDS + 1 };

static int team = 2; /* threads of the CPU */

static bool rig_open(rig *r, const subject *s, const op_case *c, const webml_model *model) {
  const wml_backend *backend = s->backend;
  *r = (rig){.subject = s, .backend = backend};
  wml_device_config config = {.threads = team};
  if (backend->open(&wml_library_host, &config, &r->device) != WML_OK) return false;
  if (backend->store_create(r->device, &r->store) != WML_OK) return false;
  for (int mode = 0; mode < 3; mode++) {
    wml_step_spec spec = {.model = model,
                          .mode = (wml_mode)mode,
                          .batch = c->batch,
                          .precision = s->precision,
                          .sample_weight = true};
    op_case_ends(model, &spec);
    if (wml_step_build(&spec, &r->step[mode]) != WEBML_OK) return false;
    if (backend->compile(r->store, &r->step[mode].graph, &r->plan[mode]) != WML_OK) return false;
    if (backend->prepare(r->plan[mode]) != WML_OK) return false;
  }
  return true;
}

/* Also of a rig that was opened in part. */
static void rig_close(rig *r) {
  for (int mode = 0; mode < 3; mode++) {
    r->backend->plan_destroy(r->plan[mode]);
    wml_step_free(&r->step[mode]);
  }
  r->backend->store_destroy(r->store);
  r->backend->close(r->device);
}

static void put_weights(rig *r, uint64_t seed) {
  const wml_graph *g = &r->step[WML_MODE_TRAIN].graph;
  test_random random = {seed};
  for (int i = 0; i < g->n_tensors; i++) {
    const wml_tensor *t = &g->tensors[i];
    if (t->role != WML_ROLE_PARAM && t->role != WML_ROLE_STATE) continue;
    int64_t n = wml_elements(t);
    float *w = test_alloc((size_t)n * sizeof *w);
    bool positive = strstr(t->name, "variance") || strstr(t->name, "gamma");
    test_fill(&random, w, n, positive ? 0.5f : -0.6f, positive ? 1.5f : 0.6f);
    r->backend->put(r->store, t->name, w);
    free(w);
  }
}

/* rows: 0 where they are sent. Returns the number of feeds. */
static int list_feeds(const rig *r, wml_mode mode, const case_data *d, int64_t rows,
                      wml_feed feeds[MAX_FEEDS]) {
  const wml_step *step = &r->step[mode];
  int n = 0;
  for (int i = 0; i < d->n_inputs; i++) feeds[n++] = (wml_feed){step->inputs[i], d->input[i], rows};
  if (mode == WML_MODE_PREDICT) return n;
  for (int i = 0; i < d->n_outputs; i++)
    feeds[n++] = (wml_feed){step->targets[i], d->target[i], rows};
  feeds[n++] = (wml_feed){step->weight, d->weight, rows};
  return n;
}

static wml_result run(rig *r, wml_mode mode, const case_data *d, float rate, double *results) {
  /* In one mode the rows are said to stay as they are, in the others they are sent. */
  int64_t rows = mode == WML_MODE_EVALUATE ? r->step[mode].graph.batch : 0;
  wml_feed feeds[MAX_FEEDS];
  int n_feeds = list_feeds(r, mode, d, rows, feeds);
  wml_run call = {.n_steps = 1,
                  .step = 4,
                  .seed = 99,
                  .feeds = feeds,
                  .n_feeds = n_feeds,
                  .learning_rate = &rate,
                  .results = mode == WML_MODE_PREDICT ? NULL : results};
  wml_result result = r->backend->run(r->plan[mode], &call);
  CHECK(result != WML_OK || call.not_finite == -1);
  return result;
}

static float *get(rig *r, const wml_tensor *t) {
  float *x = test_alloc((size_t)wml_elements(t) * sizeof *x);
  CHECK(r->backend->get(r->store, t->name, x) == WML_OK);
  return x;
}

/* Of a case's data. Where the two largest values of a window, or a value and 0, are nearer than
 * rounding, another order of sums picks another winner, whose gradient goes elsewhere: a case that
 * meets such a window takes other data. */
static uint64_t seed_of(const op_case *c) {
  return strcmp(c->name, "conv chain with pooling") == 0 ? 1 : 12345;
}

/* Numbers from -1 to 1; indices from 0 to 6. */
static void *make_input(test_random *random, int64_t n, wml_dtype type) {
  float *x = test_alloc((size_t)n * sizeof *x);
  test_fill(random, x, n, -1.0f, 1.0f);
  for (int64_t i = 0; i < n && type == WML_I32; i++)
    ((int32_t *)(void *)x)[i] = (int32_t)((x[i] + 1.0f) * 3.499f);
  return x;
}

/* One-hot, so that every loss has a meaning; a class where the loss is sparse. */
static float *make_target(test_random *random, int64_t batch, const wml_model_output *output,
                          const wml_shape *shape) {
  bool sparse = wml_loss_is_sparse(output->loss.kind);
  int64_t classes = shape->dim[shape->rank - 1],
          rows = batch * (wml_shape_elements(shape) / classes), width = sparse ? 1 : classes;
  float *target = test_alloc((size_t)(rows * width) * sizeof *target);
  for (int64_t i = 0; i < rows; i++) {
    int64_t k = (int64_t)(test_uniform(random) * (double)classes);
    if (sparse)
      target[i] = (float)k;
    else
      target[i * width + k] = 1.0f;
  }
  return target;
}

static case_data make_data(const op_case *c, const webml_model *model) {
  case_data d = {.n_inputs = model->n_inputs, .n_outputs = model->n_outputs};
  test_random random = {seed_of(c)};
  for (int i = 0; i < d.n_inputs; i++) {
    const wml_node *node = &model->nodes[i];
    d.input[i] = make_input(&random, c->batch * wml_shape_elements(&node->out), node->dtype);
  }
  d.weight = test_alloc((size_t)c->batch * sizeof(float));
  test_fill(&random, d.weight, c->batch, 0.5f, 1.5f);
  for (int i = 0; i < d.n_outputs; i++) {
    const wml_model_output *output = &model->outputs[i];
    d.target[i] = make_target(&random, c->batch, output, &model->nodes[output->node].out);
  }
  return d;
}

static void free_data(case_data *d) {
  for (int i = 0; i < WML_MAX_ENDS; i++) {
    free(d->input[i]);
    free(d->target[i]);
  }
  free(d->weight);
}

/* As far as `a` is from `b`, by the rule of the subject. Where a network has kinks, rounding to
 * fewer bits sends some elements the other way (another winner of a pooling, the other side of an
 * absolute value), and their whole gradient with them: there a distance of 0.9 passes, which still
 * tells a gradient that is missing (1) or negated (2). */
static double distance(const op_case *c, const subject *s, const float *a, const float *b,
                       int64_t n) {
  if (!s->rounds) return test_difference(a, b, n);
  double difference = 0.0, norm = 0.0;
  for (int64_t i = 0; i < n; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    norm += (double)b[i] * (double)b[i];
  }
  double d = sqrt(difference) / (0.5 * sqrt((double)n) + sqrt(norm));
  return c->smooth ? d : d / 30.0;
}

static const subject reference = {"ref", &wml_backend_ref, WML_FLOAT32, 0.0, false};

static void compare_stores(const op_case *c, rig *ref, rig *other) {
  const wml_graph *g = &ref->step[WML_MODE_TRAIN].graph;
  for (int i = 0; i < g->n_tensors; i++) {
    const wml_tensor *t = &g->tensors[i];
    if (t->role == WML_ROLE_FEED || t->role == WML_ROLE_VALUE) continue;
    float *a = get(other, t), *b = get(ref, t);
    double d = distance(c, other->subject, a, b, wml_elements(t));
    CHECKF(d <= other->subject->tolerance, "%s: %s %s differs by %g", c->name, other->subject->name,
           t->name, d);
    free(a);
    free(b);
  }
}

static void compare_output(const op_case *c, rig *ref, rig *other, wml_mode mode, int output) {
  int tensor = ref->step[mode].outputs[output];
  int64_t n = wml_elements(&ref->step[mode].graph.tensors[tensor]);
  float *a = test_alloc((size_t)n * sizeof *a), *b = test_alloc((size_t)n * sizeof *b);
  CHECK(ref->backend->read(ref->plan[mode], tensor, b) == WML_OK);
  CHECK(other->backend->read(other->plan[mode], other->step[mode].outputs[output], a) == WML_OK);
  double d = distance(c, other->subject, a, b, n);
  CHECKF(d <= other->subject->tolerance, "%s: %s output %d of mode %d differs by %g", c->name,
         other->subject->name, output, mode, d);
  free(a);
  free(b);
}

static void compare_results(const op_case *c, rig *ref, rig *other, const double *a,
                            const double *b, wml_mode mode) {
  if (other->subject->rounds) { /* counts follow winners: the loss alone, of squares at most */
    double d = fabs(a[0] - b[0]) / (1.0 + fabs(b[0])) / (c->smooth ? 1.0 : 10.0);
    CHECKF(d <= 2.0 * other->subject->tolerance, "%s: %s loss of mode %d: %g, ref %g", c->name,
           other->subject->name, mode, a[0], b[0]);
    return;
  }
  for (int i = 0; i < ref->step[mode].graph.n_results; i++)
    CHECKF(fabs(a[i] - b[i]) <= other->subject->tolerance * (1.0 + fabs(b[i])),
           "%s: %s result %d of mode %d: %g, ref %g", c->name, other->subject->name, i, mode, a[i],
           b[i]);
}

static void compare_case(const op_case *c, const subject *s) {
  webml_model *model = op_case_model(c);
  case_data data = make_data(c, model);
  rig ref, other;
  bool open = rig_open(&ref, &reference, c, model) && rig_open(&other, s, c, model);
  CHECKF(open, "%s: %s: %s", c->name, s->name, webml_last_error());
  if (!open) return;
  put_weights(&ref, 7);
  put_weights(&other, 7);
  for (int mode = 0; mode < 3; mode++) {
    double *a = test_alloc(8192 * sizeof *a), *b = test_alloc(8192 * sizeof *b);
    CHECK(run(&ref, (wml_mode)mode, &data, 0.05f, b) == WML_OK);
    CHECKF(run(&other, (wml_mode)mode, &data, 0.05f, a) == WML_OK, "%s: %s: %s", c->name, s->name,
           webml_last_error());
    if (mode != WML_MODE_PREDICT) compare_results(c, &ref, &other, a, b, (wml_mode)mode);
    for (int o = 0; o < model->n_outputs && mode != WML_MODE_TRAIN; o++)
      compare_output(c, &ref, &other, (wml_mode)mode, o);
    compare_stores(c, &ref, &other);
    free(a);
    free(b);
  }
  rig_close(&ref);
  rig_close(&other);
  free_data(&data);
  webml_model_destroy(model);
}

static double loss_at(rig *r, const case_data *d) {
  double results[8192] = {0};
  run(r, WML_MODE_TRAIN, d, 0.0f, results);
  return results[WML_RESULT_LOSS] / results[WML_RESULT_COUNT];
}

/* Central differences of the loss for some elements of every parameter. `wrong`: negate the
 * gradient, to see that the check would notice. Returns the largest relative error. */
static double gradient_error(const op_case *c, bool wrong) {
  webml_model *model = op_case_model(c);
  case_data data = make_data(c, model);
  rig r;
  double worst = 0.0;
  if (!rig_open(&r, &reference, c, model)) return INFINITY;
  put_weights(&r, 7);
  const wml_graph *g = &r.step[WML_MODE_TRAIN].graph;
  loss_at(&r, &data);
  for (int i = 0; i < g->update.n_items; i++) {
    const wml_tensor *t = &g->tensors[g->update.items[i].grad];
    const wml_tensor *p = &g->tensors[g->update.items[i].param];
    int64_t n = wml_elements(p);
    loss_at(&r, &data);
    float *gradient = get(&r, t), *w = get(&r, p);
    for (int64_t k = 0; k < 6; k++) {
      int64_t j = k * n / 6;
      float kept = w[j], h = 5e-3f;
      w[j] = kept + h;
      r.backend->put(r.store, p->name, w);
      double above = loss_at(&r, &data);
      w[j] = kept - h;
      r.backend->put(r.store, p->name, w);
      double below = loss_at(&r, &data);
      w[j] = kept;
      r.backend->put(r.store, p->name, w);
      double numeric = (above - below) / (2.0 * (double)h),
             analytic = (double)gradient[j] * (wrong ? -1.0 : 1.0);
      double error = fabs(numeric - analytic) / (0.05 + fabs(numeric));
      if (!(error <= worst)) worst = error;
    }
    free(gradient);
    free(w);
  }
  rig_close(&r);
  free_data(&data);
  webml_model_destroy(model);
  return worst;
}

/* Under AddressSanitizer every exchange between emulated threads is two calls of the system. */
#if defined(__SANITIZE_ADDRESS__)
enum { LONG_STEPS = 34, ORDER_STRIDE = 8 };
#else
enum { LONG_STEPS = 1402, ORDER_STRIDE = 2 };
#endif

enum { ROWS = 8, ROW = 9 * 7 * 3 };

/* The gradient of a layer behind augmented bytes. */
static float *augmented_gradient(const subject *s, int threads, const webml_model *model,
                                 const wml_augment *augment) {
  uint8_t pixels[ROWS * ROW];
  float target[ROWS * 4], rate = 0.0f;
  int64_t rows[] = {7, 0, 3, 3, 5};
  test_random random = {77};
  for (int i = 0; i < ROWS * ROW; i++) pixels[i] = (uint8_t)(test_uniform(&random) * 256);
  test_fill(&random, target, ROWS * 4, -1, 1);
  rig r = {.subject = s, .backend = s->backend};
  wml_device_config config = {.threads = threads};
  wml_step_spec spec = {.model = model,
                        .mode = WML_MODE_TRAIN,
                        .batch = 5,
                        .inputs = {{.type = WML_U8}},
                        .targets = {{.type = WML_F32, .width = 4}},
                        .precision = s->precision,
                        .augment = *augment};
  CHECK(r.backend->open(&wml_library_host, &config, &r.device) == WML_OK &&
        r.backend->store_create(r.device, &r.store) == WML_OK);
  CHECK(wml_step_build(&spec, &r.step[0]) == WEBML_OK &&
        r.backend->compile(r.store, &r.step[0].graph, &r.plan[0]) == WML_OK);
  CHECK(r.backend->prepare(r.plan[0]) == WML_OK);
  put_weights(&r, 3);
  wml_feed feeds[] = {{r.step[0].inputs[0], pixels, ROWS}, {r.step[0].targets[0], target, ROWS}};
  double results[2] = {0};
  wml_run call = {.n_steps = 1,
                  .seed = 5,
                  .epoch = 2,
                  .rows = rows,
                  .n_feeds = 2,
                  .feeds = feeds,
                  .learning_rate = &rate,
                  .results = results};
  CHECK(r.backend->run(r.plan[0], &call) == WML_OK);
  float *gradient = test_alloc(ROW * 4 * sizeof *gradient);
  CHECK(r.backend->get(r.store, "grad/dense/kernel", gradient) == WML_OK);
  r.step[1] = r.step[2] = (wml_step){0};
  rig_close(&r);
  return gradient;
}

/* The same pictures on every back end, whatever the number of threads. */
static void compare_augmentation(const subject *s) {
  static const op_case c = {
      "augmentation", 5,
      "{'size':[9,7,3],'optimizer':'sgd','loss':'mse','layers':[{'type':'Flatten'},"
      "{'type':'Dense','layer':{'units':4}}]}",
      true};
  static const wml_augment augments[] = {
      {40, 20, 0.3f, 0.2f, 0.1f, 0.3f, 0.4f, true, true, 0.0f, WML_FILL_NEAREST, 0.0f},
      {.rotation = 90, .width_shift = 0.4f, .fill = WML_FILL_CONSTANT, .fill_value = 77},
      {.zoom = 0.9f, .height_shift = 0.4f, .channel_shift = 100, .fill = WML_FILL_REFLECT},
      {.shear = 30, .zoom = 0.9f, .brightness = 0.5f, .channel_shift = 60, .fill = WML_FILL_WRAP},
      {.channel_shift = 200, .flip = true}};
  webml_model *model = op_case_model(&c);
  for (size_t i = 0; i < sizeof augments / sizeof *augments; i++) {
    float *ref = augmented_gradient(&reference, 1, model, &augments[i]),
          *one = augmented_gradient(s, 1, model, &augments[i]),
          *two = augmented_gradient(s, 2, model, &augments[i]);
    double d = test_difference(one, ref, ROW * 4);
    CHECKF(d < s->tolerance, "%s: augmented pictures %zu differ by %g", s->name, i, d);
    CHECK(test_difference(two, one, ROW * 4) < 1e-6);
    free(ref);
    free(one);
    free(two);
  }
  webml_model_destroy(model);
}

/* Several runs of several steps each, over chunks that the device takes one after another: the same
 * weights as step by step on the reference. */
static void compare_steps(const subject *s, int batch, int steps) {
  const op_case c = {
      "steps", batch,
      "{'size':[6],'optimizer':'adam','loss':'mse','layers':[{'type':'Dense','layer':{'units':5,"
      "'activation':'tanh'}},{'type':'Dense','layer':{'units':2}}]}",
      true};
  enum { SAMPLES = 50 };
  webml_model *model = op_case_model(&c);
  float *x = test_alloc(SAMPLES * 6 * sizeof *x), *y = test_alloc(SAMPLES * 2 * sizeof *y),
        *rates = test_alloc((size_t)steps * sizeof *rates), *w[2];
  int64_t *rows = test_alloc((size_t)(steps * batch) * sizeof *rows);
  double results[2][2] = {{0}};
  test_random random = {5};
  test_fill(&random, x, SAMPLES * 6, -1, 1);
  test_fill(&random, y, SAMPLES * 2, -1, 1);
  for (int i = 0; i < steps; i++) rates[i] = 0.01f / (1.0f + (float)i * 0.01f);
  for (int i = 0; i < steps * batch; i++) rows[i] = (int64_t)(test_uniform(&random) * SAMPLES);
  for (int k = 0; k < 2; k++) {
    rig r;
    bool open = rig_open(&r, k ? s : &reference, &c, model);
    CHECKF(open, "%s: %s", s->name, webml_last_error());
    if (!open) return;
    put_weights(&r, 7);
    float ones[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) ones[i] = 1.0f;
    for (int first = 0; first < steps; first += steps / 2) {
      int64_t kept = first ? SAMPLES : 0; /* once sent, once kept on the device */
      wml_feed feeds[] = {{r.step[0].inputs[0], x, kept},
                          {r.step[0].targets[0], y, kept},
                          {r.step[0].weight, ones, kept}};
      wml_run call = {.n_steps = steps / 2,
                      .step = first,
                      .rows = rows + first * batch,
                      .n_feeds = 3,
                      .feeds = feeds,
                      .learning_rate = rates + first,
                      .results = results[k]};
      CHECK(r.backend->run(r.plan[0], &call) == WML_OK);
    }
    w[k] = test_alloc(30 * sizeof **w);
    CHECK(r.backend->get(r.store, "dense/kernel", w[k]) == WML_OK);
    rig_close(&r);
  }
  double d = test_difference(w[1], w[0], 30);
  CHECKF(d < 5 * s->tolerance, "%s: weights after %d steps differ by %g", s->name, steps, d);
  CHECK(results[1][WML_RESULT_COUNT] == steps * batch);
  CHECK(fabs(results[1][0] - results[0][0]) < 5 * s->tolerance * results[0][0]);
  for (int k = 0; k < 2; k++) free(w[k]);
  free(x);
  free(y);
  free(rates);
  free(rows);
  webml_model_destroy(model);
}

/* A step that is not finite is named, and it and what follows change no weight. */
static void check_not_finite(const subject *s) {
  webml_model *model = op_case_model(&op_cases[0]);
  case_data d = make_data(&op_cases[0], model);
  rig r;
  bool open = rig_open(&r, s, &op_cases[0], model);
  CHECK(open);
  if (!open) return;
  put_weights(&r, 7);
  const wml_tensor *kernel = NULL;
  for (int i = 0; i < r.step[0].graph.n_tensors && !kernel; i++)
    if (r.step[0].graph.tensors[i].role == WML_ROLE_PARAM) kernel = &r.step[0].graph.tensors[i];
  float *before = get(&r, kernel), rates[3] = {0.1f, 0.1f, 0.1f};
  double results[2] = {0};
  ((float *)d.input[0])[5] = NAN;
  wml_feed feeds[MAX_FEEDS];
  int n_feeds = list_feeds(&r, WML_MODE_TRAIN, &d, 0, feeds);
  int64_t batch = r.step[0].graph.batch, *rows = test_alloc((size_t)(3 * batch) * sizeof *rows);
  for (int64_t i = 0; i < 3 * batch; i++) rows[i] = i % batch;
  wml_run call = {.n_steps = 3,
                  .step = 10,
                  .rows = rows,
                  .n_feeds = n_feeds,
                  .feeds = feeds,
                  .learning_rate = rates,
                  .results = results};
  CHECK(r.backend->run(r.plan[0], &call) == WML_OK);
  CHECKF(call.not_finite == 11, "%s: step %lld was not finite", s->name,
         (long long)call.not_finite);
  float *after = get(&r, kernel);
  CHECK(memcmp(before, after, (size_t)wml_elements(kernel) * sizeof *after) == 0);
  free(before);
  free(after);
  free(rows);
  rig_close(&r);
  free_data(&d);
  webml_model_destroy(model);
}

/* only: part of the names of the cases that are wanted, NULL for all and what is beside them. */
static void check_subject(const subject *s, const char *only) {
  for (int i = 0; i < n_op_cases; i++)
    if (!only || strstr(op_cases[i].name, only)) compare_case(&op_cases[i], s);
  if (only) return;
  compare_augmentation(s);
  compare_steps(s, 4, LONG_STEPS); /* a run is three chunks of the CUDA back end, and odd */
  check_not_finite(s);
}

const wml_backend *wml_backend_module(uint32_t version); /* of the emulation, linked in */

/* No room, and no such device, are refused with reasons. */
static void check_emulated_limits(const wml_backend *cuda) {
  wml_device_config config = {.index = 3};
  wml_device *device = NULL;
  CHECK(cuda->open(&wml_library_host, &config, &device) == WML_UNSUPPORTED);
  CHECK(strstr(webml_last_error(), "there is no cuda:3") != NULL);
  webml_model *model = op_case_model(&op_cases[0]);
  case_data d = make_data(&op_cases[0], model);
  subject s = {"cuda (emulated)", cuda, WML_FLOAT32, 0.0, false};
  rig r;
  cuda_emulation_set_memory(4096);
  CHECK(!rig_open(&r, &s, &op_cases[0], model));
  CHECKF(strstr(webml_last_error(), "has no room for") != NULL, "%s", webml_last_error());
  rig_close(&r);
  cuda_emulation_set_memory((size_t)1 << 30);
  free_data(&d);
  webml_model_destroy(model);
}

/* Every CUDA call of opening, preparing and running fails in turn: an error and no leak, and after
 * one that loses the context the device takes no more calls while the process lives on. */
static void check_failing_calls(const wml_backend *cuda, cudaError_t error) {
  webml_model *model = op_case_model(&op_cases[0]);
  case_data d = make_data(&op_cases[0], model);
  subject s = {"cuda (emulated)", cuda, WML_FLOAT32, 0.0, false};
  bool sticky = error == cudaErrorIllegalAddress, done = false;
  long n = 0;
  while (!done && n < 5000) {
    rig r;
    double results[2] = {0};
    cuda_emulation_fail(++n, error);
    bool opened = rig_open(&r, &s, &op_cases[0], model);
    bool ran = opened && run(&r, WML_MODE_TRAIN, &d, 0.1f, results) == WML_OK;
    done = cuda_emulation_fail(0, cudaSuccess) < n; /* nothing was left that could fail */
    CHECKF(ran == done, "call %ld of %s", n, webml_last_error());
    if (!ran) CHECKF(strlen(webml_last_error()) > 10, "call %ld: \"%s\"", n, webml_last_error());
    if (!ran && opened && sticky) {
      CHECK(run(&r, WML_MODE_TRAIN, &d, 0.1f, results) == WML_DEVICE_FAILED);
      CHECK(strstr(webml_last_error(), "takes no more calls") != NULL);
    }
    rig_close(&r);
  }
  CHECKF(n > 100 && n < 5000, "%ld calls", n);
  free_data(&d);
  webml_model_destroy(model);
}

/* Three steps in one run. */
static void train_three(rig *r, const op_case *c, const case_data *d) {
  double results[8192] = {0};
  float rates[] = {0.005f, 0.003f, 0.002f};
  int64_t rows[3 * 300];
  for (int64_t i = 0; i < 3 * c->batch; i++) rows[i] = i % c->batch;
  wml_feed feeds[MAX_FEEDS];
  int n_feeds = list_feeds(r, WML_MODE_TRAIN, d, 0, feeds);
  wml_run call = {.n_steps = 3,
                  .step = 4,
                  .seed = 99,
                  .rows = rows,
                  .n_feeds = n_feeds,
                  .feeds = feeds,
                  .learning_rate = rates,
                  .results = results};
  CHECKF(r->backend->run(r->plan[0], &call) == WML_OK && call.not_finite == -1, "%s: %s", c->name,
         r->subject->name);
}

/* The store after three steps and one more run of one, every tensor behind the one before. */
static float *trained(const op_case *c, const subject *s, const webml_model *model,
                      const case_data *d, int64_t *n) {
  rig r;
  double results[8192] = {0};
  bool open = rig_open(&r, s, c, model);
  CHECKF(open, "%s: %s", c->name, webml_last_error());
  if (!open) exit(1);
  put_weights(&r, 7);
  train_three(&r, c, d);
  CHECK(run(&r, WML_MODE_TRAIN, d, 0.005f, results) == WML_OK);
  const wml_graph *g = &r.step[WML_MODE_TRAIN].graph;
  float *all = NULL;
  *n = 0;
  for (int i = 0; i < g->n_tensors; i++) {
    const wml_tensor *t = &g->tensors[i];
    if (!wml_role_is_persistent(t->role)) continue;
    all = realloc(all, (size_t)(*n + wml_elements(t)) * sizeof *all);
    float *x = get(&r, t);
    memcpy(all + *n, x, (size_t)wml_elements(t) * sizeof *x);
    *n += wml_elements(t);
    free(x);
  }
  rig_close(&r);
  return all;
}

static void use_branches(bool use) {
  setenv("WEBML_CUDA_BRANCH_ELEMENTS", use ? "1" : "0", 1);
  setenv("WEBML_CUDA_ASIDES", use ? "1" : "0", 1);
}

static void use_defaults(void) {
  unsetenv("WEBML_CUDA_BRANCH_ELEMENTS");
  unsetenv("WEBML_CUDA_ASIDES");
}

/* The same bits, whatever order the device takes blocks, threads and branches in, and whether there
 * are branches. Some cases, from `first_case`: each in one of the two precisions. */
static void check_orders(const subject *s, int first_case) {
  for (int i = first_case; i < n_op_cases; i += ORDER_STRIDE) {
    const op_case *c = &op_cases[i];
    webml_model *model = op_case_model(c);
    case_data d = make_data(c, model);
    int64_t n, others;
    cuda_emulation_seed(1);
    use_branches(false);
    float *first = trained(c, s, model, &d, &n);
    cuda_emulation_seed(2);
    use_branches(true);
    float *other = trained(c, s, model, &d, &others);
    CHECKF(n == others && memcmp(first, other, (size_t)n * sizeof *first) == 0,
           "%s: %s: other bits in another order", c->name, s->name);
    free(first);
    free(other);
    free_data(&d);
    webml_model_destroy(model);
  }
  use_branches(true);
  compare_steps(s, 4, LONG_STEPS);
  compare_steps(s, 1000, 140); /* chunks of an odd number */
  check_not_finite(s);
  use_defaults();
}

static void check_gpu(const char *only) {
  const char *reason;
  const wml_backend *cuda = wml_cuda_backend(&reason);
  wml_device_info info;
  int count = 0;
  if (cuda && cuda->enumerate(&wml_library_host, &info, 1, &count) != WML_OK)
    reason = webml_last_error();
  if (!cuda || count == 0) {
    test_skip("cuda rows of the table", reason);
    return;
  }
  const subject subjects[] = {{"cuda strict", cuda, WML_FLOAT32_STRICT, 2e-4, false},
                              {"cuda tf32", cuda, WML_FLOAT32, 5e-3, true},
                              {"cuda bfloat16", cuda, WML_MIXED_BFLOAT16, 3e-2, true}};
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) check_subject(&subjects[i], only);
}

/* Whether the subject can run the case at all; else says why not. */
static bool takes(const subject *s, const op_case *c) {
  webml_model *model = op_case_model(c);
  case_data d = make_data(c, model);
  rig r;
  bool open = rig_open(&r, s, c, model);
  rig_close(&r);
  free_data(&d);
  webml_model_destroy(model);
  return open;
}

/* For the CPU alone: the emulation would take minutes for them. */
enum { MANY_CHANNELS, LARGE_DENSE, WIDE_DENSE, N_CPU_CASES };
static const op_case cpu_cases[N_CPU_CASES] = {
    [MANY_CHANNELS] = {"3x3 on many channels", 2,
                       "{'size':[8,8,16],'optimizer':'sgd','loss':'mse','layers':["
                       "{'type':'Conv2D','layer':{'filters':32,'kernel_size':3,'padding':'same',"
                       "'activation':'relu'}},{'type':'Conv2D','layer':{'filters':16,"
                       "'kernel_size':3,'activation':'relu'}},{'type':'MaxPooling2D'},"
                       "{'type':'Flatten'},{'type':'Dense','layer':{'units':2}}]}",
                       false},
    [LARGE_DENSE] = {"large dense layer", 5,
                     "{'size':[128],'optimizer':'sgd','loss':'mse','layers':[{'type':'Dense',"
                     "'layer':{'units':640,'activation':'sigmoid'}},"
                     "{'type':'Dense','layer':{'units':3}}]}",
                     true},
    [WIDE_DENSE] = {"wide dense layers in several pieces", 70,
                    "{'size':[300],'optimizer':'sgd','loss':'mse','layers':[{'type':'Dense',"
                    "'layer':{'units':256,'activation':'relu'}},{'type':'Dense','layer':{'units':"
                    "320,'activation':'tanh'}},{'type':'Dense','layer':{'units':3}}]}",
                    false}};

/* Several steps in one run: near the reference. */
static void compare_trained(const op_case *c, const subject *s) {
  webml_model *model = op_case_model(c);
  case_data d = make_data(c, model);
  rig ref, other;
  bool open = rig_open(&ref, &reference, c, model) && rig_open(&other, s, c, model);
  CHECKF(open, "%s: %s: %s", c->name, s->name, webml_last_error());
  if (!open) return;
  put_weights(&ref, 7);
  put_weights(&other, 7);
  train_three(&ref, c, &d);
  train_three(&other, c, &d);
  compare_stores(c, &ref, &other);
  rig_close(&ref);
  rig_close(&other);
  free_data(&d);
  webml_model_destroy(model);
}

/* Training gives the same bits with any number of threads, in the usual pieces and in the finest;
 * the last time with fewer pictures a piece where a pooling follows. */
static void check_same_bits(const subject *s, const op_case *c) {
  static const int threads[] = {1, 2, 3, 2};
  webml_model *model = op_case_model(c);
  case_data d = make_data(c, model);
  for (int fine = 0; fine < 2; fine++) {
    if (fine) setenv("WEBML_CPU_FINEST_PIECES", "1", 1);
    float *first = NULL;
    int64_t n = 0;
    for (int k = 0; k < 4; k++) {
      int64_t again;
      team = threads[k];
      if (k == 3) setenv("WEBML_CPU_PART_BYTES", "1", 1);
      float *bits = trained(c, s, model, &d, &again);
      if (!first) n = again, first = bits;
      CHECKF(n == again && memcmp(first, bits, (size_t)n * sizeof *first) == 0,
             "%s: %s: other bits with %d threads%s", c->name, s->name, team,
             fine ? " in the finest pieces" : "");
      if (bits != first) free(bits);
    }
    free(first);
    unsetenv("WEBML_CPU_PART_BYTES");
  }
  unsetenv("WEBML_CPU_FINEST_PIECES");
  team = 2;
  free_data(&d);
  webml_model_destroy(model);
}

/* Grouped convolutions with every activation that can follow them: oneDNN describes some of them in
 * bfloat16 that it cannot make, and another way has to be found. */
static void check_groups(const subject *s) {
  static const char *const activations[] = {"relu",       "elu",      "sigmoid", "exponential",
                                            "tanh",       "gelu",     "silu",    "mish",
                                            "leaky_relu", "softplus", "selu"};
  static const int channels[] = {1, 3, 4, 8, 16}, sizes[] = {7, 13, 16};
  for (size_t a = 0; a < sizeof activations / sizeof *activations; a++)
    for (size_t k = 0; k < sizeof channels / sizeof *channels; k++)
      for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++) {
        char name[64], model[512];
        int groups = 2 + (int)(a + k + z) % 2;
        snprintf(name, sizeof name, "%d groups of %d channels, %d wide, %s", groups, channels[k],
                 sizes[z], activations[a]);
        snprintf(model, sizeof model,
                 "{'size':[%d,%d,%d],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D',"
                 "'layer':{'filters':%d,'kernel_size':3,'padding':'same','groups':%d,"
                 "'activation':'%s'}},{'type':'Flatten'},{'type':'Dense','layer':{'units':2}}]}",
                 sizes[z], sizes[z], groups * channels[k], groups * channels[k], groups,
                 activations[a]);
        const op_case c = {name, 2, model, false};
        if (strcmp(activations[a], "exponential") == 0) /* values grow beyond all bounds */
          CHECKF(takes(s, &c), "%s: %s: %s", c.name, s->name, webml_last_error());
        else
          compare_case(&c, s);
      }
}

static void check_again(const subject *s) {
  for (int i = 0; i < n_op_cases; i++) check_same_bits(s, &op_cases[i]);
  for (int i = 0; i < N_CPU_CASES; i++) check_same_bits(s, &cpu_cases[i]);
  setenv("WEBML_CPU_WINOGRAD_CHANNELS", "1", 1);
  check_same_bits(s, &cpu_cases[MANY_CHANNELS]);
  unsetenv("WEBML_CPU_WINOGRAD_CHANNELS");
}

/* Every operation in as many pieces as it can be cut into, on more threads than there may be cores.
 */
static void check_pieces(const subject *s, const char *only) {
  setenv("WEBML_CPU_FINEST_PIECES", "1", 1);
  team = 3;
  check_subject(s, only);
  for (int i = 0; i < N_CPU_CASES; i++) compare_case(&cpu_cases[i], s);
  team = 2;
  unsetenv("WEBML_CPU_FINEST_PIECES");
}

/* A convolution and the pooling behind it work on parts of the batch. */
static void check_in_parts(const subject *s) {
  setenv("WEBML_CPU_PART_BYTES", "1", 1);
  check_subject(s, "pool");
  unsetenv("WEBML_CPU_PART_BYTES");
}

/* How many operations of the case's training run by what has these words in its name; *avx512: own
 * code, at least, is for that. */
static int count_of(const subject *s, const op_case *c, const char *words, bool *avx512) {
  webml_model *model = op_case_model(c);
  case_data d = make_data(c, model);
  rig r;
  int count = 0;
  const char *name;
  CHECK(rig_open(&r, s, c, model));
  for (int i = 0; (name = s->backend->implementation(r.plan[WML_MODE_TRAIN], i)) != NULL; i++)
    count += strstr(name, words) != NULL;
  *avx512 = strstr(s->backend->identity(r.device), "avx512") != NULL;
  rig_close(&r);
  free_data(&d);
  webml_model_destroy(model);
  return count;
}

/* Winograd's convolutions, which want more channels than the cases have. */
static void check_winograd(const subject *s) {
  setenv("WEBML_CPU_WINOGRAD_CHANNELS", "1", 1);
  bool avx512;
  int count = count_of(s, &cpu_cases[MANY_CHANNELS], "wino", &avx512);
  if (count == 0 && !(avx512 && !getenv("DNNL_MAX_CPU_ISA")))
    test_skip("Winograd's convolutions", "oneDNN has them for AVX-512 only");
  else {
    bool amx = s->precision == WML_MIXED_BFLOAT16 && count == 0; /* whose products are faster */
    CHECKF(count == 5 || amx, "%d of 5 convolutions by Winograd's way", count);
    compare_case(&cpu_cases[MANY_CHANNELS], s);
    check_subject(s, "3x3");
    check_subject(s, "no bias");
  }
  unsetenv("WEBML_CPU_WINOGRAD_CHANNELS");
}

static void check_cpu(const char *only) {
  const subject cpu = {"cpu", &wml_backend_cpu, WML_FLOAT32, 2e-4, false},
                narrow = {"cpu bfloat16", &wml_backend_cpu, WML_MIXED_BFLOAT16, 3e-2, true};
  check_subject(&cpu, only);
  check_pieces(&cpu, only);
  check_in_parts(&cpu);
  for (int i = 0; i < N_CPU_CASES; i++) compare_case(&cpu_cases[i], &cpu);
  check_winograd(&cpu);
  if (!only) check_again(&cpu);
  if (!takes(&narrow, &op_cases[0])) {
    CHECK(strstr(webml_last_error(), "needs a processor that computes in bfloat16") != NULL);
    test_skip("cpu rows of the table in bfloat16", webml_last_error());
    return;
  }
  check_subject(&narrow, only);
  check_pieces(&narrow, only);
  check_in_parts(&narrow);
  for (int i = 0; i < N_CPU_CASES; i++) compare_case(&cpu_cases[i], &narrow);
  compare_trained(&cpu_cases[LARGE_DENSE], &narrow);
  check_winograd(&narrow);
  check_groups(&narrow);
  if (!only) check_again(&narrow);
}

/* The first operation of that kind in the step of a case; .kind is WML_N_OPS where there is none.
 */
static wml_op find_op(const char *name, wml_mode mode, wml_op_kind kind) {
  const op_case *c = op_cases;
  while (strcmp(c->name, name) != 0) c++;
  webml_model *model = op_case_model(c);
  wml_step_spec spec = {.model = model, .mode = mode, .batch = c->batch};
  wml_step step;
  wml_op found = {.kind = WML_N_OPS};
  op_case_ends(model, &spec);
  CHECK(wml_step_build(&spec, &step) == WEBML_OK);
  for (int i = 0; i < step.graph.n_ops && found.kind == WML_N_OPS; i++)
    if (step.graph.ops[i].kind == kind) found = step.graph.ops[i];
  wml_step_free(&step);
  webml_model_destroy(model);
  return found;
}

static bool near(float value, double expected) {
  return fabs((double)value - expected) < 1e-6;
}

/* Numbers that no gradient tells: of noise, by Keras's formulas for a rate of 0.3, and of a penalty
 * for a batch of five. */
static void check_numbers(void) {
  wml_noise noise = find_op("GaussianNoise", WML_MODE_TRAIN, WML_OP_NOISE).u.noise;
  CHECK(noise.kind == WML_NOISE_ADD && near(noise.a, 0.3));
  noise = find_op("GaussianDropout", WML_MODE_TRAIN, WML_OP_NOISE).u.noise;
  CHECK(noise.kind == WML_NOISE_MULTIPLY && near(noise.a, 0.65465367));
  noise = find_op("AlphaDropout", WML_MODE_TRAIN, WML_OP_NOISE).u.noise;
  CHECK(noise.kind == WML_NOISE_ALPHA && near(noise.rate, 0.3) && near(noise.a, 0.86095262) &&
        near(noise.b, 0.45409207) && near(noise.c, -1.05954816));
  wml_op drop = find_op("SpatialDropout2D", WML_MODE_TRAIN, WML_OP_DROPOUT);
  CHECK(drop.u.dropout.per_channel && near(drop.u.dropout.rate, 0.4));
  CHECK(!find_op("dropout", WML_MODE_TRAIN, WML_OP_DROPOUT).u.dropout.per_channel);
  CHECK(find_op("AlphaDropout", WML_MODE_EVALUATE, WML_OP_NOISE).kind == WML_N_OPS);
  for (int mode = 0; mode < 3; mode++) {
    wml_op penalty = find_op("ActivityRegularization", (wml_mode)mode, WML_OP_PENALTY);
    if (mode == WML_MODE_PREDICT)
      CHECK(penalty.kind == WML_N_OPS);
    else
      CHECK(penalty.kind == WML_OP_PENALTY && near(penalty.u.penalty.l2, 0.14));
  }
}

/* The reference's gradients against finite differences. */
static void check_gradients(const char *only) {
  for (int i = 0; i < n_op_cases; i++) {
    if (!op_cases[i].smooth || (only && !strstr(op_cases[i].name, only))) continue;
    double error = gradient_error(&op_cases[i], false);
    CHECKF(error < 2e-2, "%s: finite differences disagree by %g", op_cases[i].name, error);
  }
}

/* ops_test gpu [WORDS]: the GPU alone, and of the cases those with these words in their names.
 * ops_test cpu [WORDS]: the CPU alone, for the instruction set that WEBML_ISA names.
 * ops_test ref [WORDS]: the reference against finite differences. */
int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "gpu") == 0) {
    check_gpu(argc > 2 ? argv[2] : NULL);
    return test_report();
  }
  if (argc > 1 && strcmp(argv[1], "cpu") == 0) {
    check_cpu(argc > 2 ? argv[2] : NULL);
    return test_report();
  }
  if (argc > 1 && strcmp(argv[1], "ref") == 0) {
    check_gradients(argc > 2 ? argv[2] : NULL);
    check_numbers();
    return test_report();
  }
  const wml_backend *emulated = wml_backend_module(WML_BACKEND_VERSION);
  CHECK(wml_backend_module(WML_BACKEND_VERSION + 1) == NULL);
  const subject subjects[] = {
      {"cuda strict (emulated)", emulated, WML_FLOAT32_STRICT, 2e-4, false},
      {"cuda bfloat16 (emulated)", emulated, WML_MIXED_BFLOAT16, 3e-2, true}};
  check_cpu(NULL);
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) check_subject(&subjects[i], NULL);
  const subject tf32 = {"cuda tf32 (emulated)", emulated, WML_FLOAT32, 2e-4, false};
  check_subject(&tf32, "pool"); /* other operations have the strict kernels in the emulation */
  check_gradients(NULL);
  check_numbers();
  CHECK(gradient_error(&op_cases[0], true) > 0.5); /* the tester, tested */
  check_orders(&tf32, 0);
  check_orders(&subjects[1], 1);
  check_emulated_limits(emulated);
  use_branches(true);
  check_failing_calls(emulated, cudaErrorMemoryAllocation);
  use_defaults();
  check_failing_calls(emulated, cudaErrorIllegalAddress);
  check_gpu(NULL);
  return test_report();
}
