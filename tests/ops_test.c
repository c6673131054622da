/* Every case of the table on every back end: `cpu` against `ref` through a training step, an
 * evaluation and a prediction; `ref` against finite differences. */
#include "base/status.h"
#include "cases.h"
#include "plan/step.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A case on one back end: a store with a plan per mode. */
typedef struct rig {
  const wml_backend *backend;
  wml_device *device;
  wml_store *store;
  wml_step step[3];
  wml_plan *plan[3];
} rig;

typedef struct case_data {
  float *input, *target, *weight, *class_weight;
  int64_t width;
} case_data;

static bool rig_open(rig *r, const wml_backend *backend, const op_case *c, const webml_model *model,
                     const case_data *d) {
  *r = (rig){.backend = backend};
  wml_device_config config = {.threads = 2};
  if (backend->open(&wml_library_host, &config, &r->device) != WML_OK) return false;
  if (backend->store_create(r->device, &r->store) != WML_OK) return false;
  for (int mode = 0; mode < 3; mode++) {
    wml_step_spec spec = {.model = model,
                          .mode = (wml_mode)mode,
                          .batch = c->batch,
                          .input = WML_F32,
                          .target = WML_F32,
                          .target_width = d->width,
                          .sample_weight = true};
    if (wml_step_build(&spec, &r->step[mode]) != WEBML_OK) return false;
    if (backend->compile(r->store, &r->step[mode].graph, &r->plan[mode]) != WML_OK) return false;
    if (backend->prepare(r->plan[mode]) != WML_OK) return false;
  }
  return true;
}

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

static wml_result run(rig *r, wml_mode mode, const case_data *d, float rate, double *results) {
  wml_feed feeds[3] = {{r->step[mode].input, d->input},
                       {r->step[mode].target, d->target},
                       {r->step[mode].weight, d->weight}};
  wml_run call = {.n_steps = 1,
                  .step = 4,
                  .seed = 99,
                  .feeds = feeds,
                  .n_feeds = mode == WML_MODE_PREDICT ? 1 : 3,
                  .learning_rate = &rate,
                  .results = mode == WML_MODE_PREDICT ? NULL : results};
  wml_result result = r->backend->run(r->plan[mode], &call);
  CHECK(call.not_finite == -1);
  return result;
}

static float *get(rig *r, const wml_tensor *t) {
  float *x = test_alloc((size_t)wml_elements(t) * sizeof *x);
  CHECK(r->backend->get(r->store, t->name, x) == WML_OK);
  return x;
}

static case_data make_data(const op_case *c, const webml_model *model) {
  case_data d;
  test_random random = {12345};
  wml_shape out = wml_model_output(model);
  int64_t in = wml_shape_elements(&model->input),
          rows = wml_shape_elements(&out) / out.dim[out.rank - 1];
  bool sparse = model->loss.kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY;
  d.width = sparse ? 1 : out.dim[out.rank - 1];
  d.input = test_alloc((size_t)(c->batch * in) * sizeof(float));
  d.target = test_alloc((size_t)(c->batch * rows * d.width) * sizeof(float));
  d.weight = test_alloc((size_t)c->batch * sizeof(float));
  test_fill(&random, d.input, c->batch * in, -1.0f, 1.0f);
  test_fill(&random, d.weight, c->batch, 0.5f, 1.5f);
  for (int64_t i = 0; i < c->batch * rows; i++) { /* one-hot, so that every loss has a meaning */
    int64_t k = (int64_t)(test_uniform(&random) * (double)out.dim[out.rank - 1]);
    if (sparse)
      d.target[i] = (float)k;
    else
      d.target[i * d.width + k] = 1.0f;
  }
  return d;
}

static void free_data(case_data *d) {
  free(d->input);
  free(d->target);
  free(d->weight);
}

/* Tolerance: both back ends sum in another order, oneDNN in float32. */
static const double tolerance = 2e-4;

static void compare_stores(const op_case *c, rig *ref, rig *other) {
  const wml_graph *g = &ref->step[WML_MODE_TRAIN].graph;
  for (int i = 0; i < g->n_tensors; i++) {
    const wml_tensor *t = &g->tensors[i];
    if (t->role == WML_ROLE_FEED || t->role == WML_ROLE_VALUE) continue;
    float *a = get(other, t), *b = get(ref, t);
    double d = test_difference(a, b, wml_elements(t));
    CHECKF(d <= tolerance, "%s: %s %s differs by %g", c->name, other->backend->name, t->name, d);
    free(a);
    free(b);
  }
}

static void compare_outputs(const op_case *c, rig *ref, rig *other, wml_mode mode) {
  const wml_tensor *t = &ref->step[mode].graph.tensors[ref->step[mode].output];
  int64_t n = wml_elements(t);
  float *a = test_alloc((size_t)n * sizeof *a), *b = test_alloc((size_t)n * sizeof *b);
  ref->backend->read(ref->plan[mode], ref->step[mode].output, b);
  other->backend->read(other->plan[mode], other->step[mode].output, a);
  double d = test_difference(a, b, n);
  CHECKF(d <= tolerance, "%s: %s output of mode %d differs by %g", c->name, other->backend->name,
         mode, d);
  free(a);
  free(b);
}

static void compare_results(const op_case *c, rig *ref, const double *a, const double *b,
                            wml_mode mode) {
  for (int i = 0; i < ref->step[mode].graph.n_results; i++)
    CHECKF(fabs(a[i] - b[i]) <= tolerance * (1.0 + fabs(b[i])),
           "%s: result %d of mode %d: %g, ref %g", c->name, i, mode, a[i], b[i]);
}

static void compare_case(const op_case *c) {
  webml_model *model = op_case_model(c);
  case_data data = make_data(c, model);
  rig ref, cpu;
  bool open = rig_open(&ref, &wml_backend_ref, c, model, &data) &&
              rig_open(&cpu, &wml_backend_cpu, c, model, &data);
  CHECKF(open, "%s: %s", c->name, webml_last_error());
  if (!open) return;
  put_weights(&ref, 7);
  put_weights(&cpu, 7);
  for (int mode = 0; mode < 3; mode++) {
    double *a = test_alloc(8192 * sizeof *a), *b = test_alloc(8192 * sizeof *b);
    CHECK(run(&ref, (wml_mode)mode, &data, 0.05f, b) == WML_OK);
    CHECK(run(&cpu, (wml_mode)mode, &data, 0.05f, a) == WML_OK);
    if (mode != WML_MODE_PREDICT) compare_results(c, &ref, a, b, (wml_mode)mode);
    if (mode != WML_MODE_TRAIN) compare_outputs(c, &ref, &cpu, (wml_mode)mode);
    compare_stores(c, &ref, &cpu);
    free(a);
    free(b);
  }
  rig_close(&ref);
  rig_close(&cpu);
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
  if (!rig_open(&r, &wml_backend_ref, c, model, &data)) return INFINITY;
  put_weights(&r, 7);
  const wml_graph *g = &r.step[WML_MODE_TRAIN].graph;
  loss_at(&r, &data);
  for (int i = 0; i < g->n_tensors; i++) {
    const wml_tensor *t = &g->tensors[i];
    if (t->role != WML_ROLE_GRAD) continue;
    const wml_tensor *p = &g->tensors[t->like];
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

/* Augmented bytes on both back ends, and the same pictures whatever the number of threads. */
static void compare_augmentation(void) {
  static const op_case c = {
      "augmentation", 5,
      "{'size':[9,7,3],'optimizer':'sgd','loss':'mse','layers':[{'type':'Flatten'},"
      "{'type':'Dense','layer':{'units':4}}]}",
      true};
  enum { ROWS = 8, ROW = 9 * 7 * 3 };
  webml_model *model = op_case_model(&c);
  uint8_t pixels[ROWS * ROW];
  float target[ROWS * 4], rate = 0.0f, *gradient[3];
  int64_t rows[] = {7, 0, 3, 3, 5};
  test_random random = {77};
  for (int i = 0; i < ROWS * ROW; i++) pixels[i] = (uint8_t)(test_uniform(&random) * 256);
  test_fill(&random, target, ROWS * 4, -1, 1);
  for (int k = 0; k < 3; k++) { /* ref, cpu with one thread, cpu with two */
    rig r = {.backend = k ? &wml_backend_cpu : &wml_backend_ref};
    wml_device_config config = {.threads = k ? k : 1};
    wml_step_spec spec = {.model = model,
                          .mode = WML_MODE_TRAIN,
                          .batch = 5,
                          .input = WML_U8,
                          .target = WML_F32,
                          .target_width = 4,
                          .augment = {40, 20, 0.3f, 0.2f, 0.1f, 0.3f, 0.4f, true, true}};
    CHECK(r.backend->open(&wml_library_host, &config, &r.device) == WML_OK &&
          r.backend->store_create(r.device, &r.store) == WML_OK);
    CHECK(wml_step_build(&spec, &r.step[0]) == WEBML_OK &&
          r.backend->compile(r.store, &r.step[0].graph, &r.plan[0]) == WML_OK);
    CHECK(r.backend->prepare(r.plan[0]) == WML_OK);
    put_weights(&r, 3);
    wml_feed feeds[] = {{r.step[0].input, pixels}, {r.step[0].target, target}};
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
    gradient[k] = test_alloc(ROW * 4 * sizeof(float));
    CHECK(r.backend->get(r.store, "grad/dense/kernel", gradient[k]) == WML_OK);
    r.step[1] = r.step[2] = (wml_step){0};
    rig_close(&r);
  }
  CHECK(test_difference(gradient[1], gradient[0], ROW * 4) < tolerance);
  CHECK(test_difference(gradient[2], gradient[1], ROW * 4) < 1e-6);
  for (int k = 0; k < 3; k++) free(gradient[k]);
  webml_model_destroy(model);
}

int main(void) {
  for (int i = 0; i < n_op_cases; i++) {
    compare_case(&op_cases[i]);
    if (!op_cases[i].smooth) continue;
    double error = gradient_error(&op_cases[i], false);
    CHECKF(error < 2e-2, "%s: finite differences disagree by %g", op_cases[i].name, error);
  }
  compare_augmentation();
  CHECK(gradient_error(&op_cases[0], true) > 0.5); /* the tester, tested */
  test_skip("cuda rows of the table", "this build has no CUDA back end");
  return test_report();
}
