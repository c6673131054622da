/* Whole networks against TensorFlow.js and PyTorch: prediction, losses of several steps, weights
 * after them and, from PyTorch, gradients of the first, on `cpu` and `ref`. Where TF.js differs
 * from Keras 3, Keras 3 holds:
 * - the moving variance: TF.js takes an unbiased one, Keras 3 the biased: not compared;
 * - Adam's epsilon: TF.js adds it after bias correction, Keras 3 before. The golden has 1e-12,
 * where both mean the same; formulas_test tells the two apart.
 * - TF.js has no gradient of dilated convolutions: that layer is frozen. */
#include "base/file.h"
#include "base/json.h"
#include "plan/step.h"
#include "support.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *numbers(const wml_json *list, int64_t *n) {
  float *x = test_alloc((size_t)(list ? list->count : 0) * sizeof *x + 4);
  *n = 0;
  for (const wml_json *v = list ? list->first : NULL; v; v = v->next) x[(*n)++] = (float)v->number;
  return x;
}

typedef struct net {
  const wml_backend *backend;
  wml_device *device;
  wml_store *store;
  wml_step step[2];
  wml_plan *plan[2]; /* train, predict */
} net;

static bool open_net(net *n, const wml_backend *backend, const webml_model *model, int64_t batch) {
  wml_device_config config = {.threads = 2};
  *n = (net){.backend = backend};
  bool ok = backend->open(&wml_library_host, &config, &n->device) == WML_OK &&
            backend->store_create(n->device, &n->store) == WML_OK;
  for (int i = 0; i < 2 && ok; i++) {
    wml_step_spec spec = {
        .model = model,
        .mode = i ? WML_MODE_PREDICT : WML_MODE_TRAIN,
        .batch = batch,
        .inputs = {{.type = WML_F32}},
        .targets = {{.type = WML_F32, .width = wml_model_output_shape(model).dim[0]}}};
    ok = wml_step_build(&spec, &n->step[i]) == WEBML_OK &&
         backend->compile(n->store, &n->step[i].graph, &n->plan[i]) == WML_OK &&
         backend->prepare(n->plan[i]) == WML_OK;
  }
  return ok;
}

static void close_net(net *n) {
  for (int i = 0; i < 2; i++) {
    n->backend->plan_destroy(n->plan[i]);
    wml_step_free(&n->step[i]);
  }
  n->backend->store_destroy(n->store);
  n->backend->close(n->device);
}

/* Calls visit for every parameter, in Keras's order, with its list in `lists`. */
static void put_or_compare(net *n, const webml_model *m, const wml_json *lists, bool compare,
                           const char *name) {
  const wml_json *list = lists->first;
  for (int l = 0; l < m->n_layers; l++)
    for (int k = 0; k < m->layers[l].n_params; k++, list = list->next) {
      const wml_param *p = &m->layers[l].params[k];
      int64_t count;
      float *expected = numbers(list, &count), *got = test_alloc((size_t)count * sizeof *got);
      if (!compare)
        CHECK(n->backend->put(n->store, p->name, expected) == WML_OK);
      else if (!strstr(p->name, "moving_variance")) {
        CHECK(n->backend->get(n->store, p->name, got) == WML_OK);
        double d = test_difference(got, expected, count);
        CHECKF(d < 5e-5, "%s on %s: %s after the steps differs by %g", name, n->backend->name,
               p->name, d);
      }
      free(expected);
      free(got);
    }
}

/* Those of the first step, in the same order; a golden may have none. */
static void compare_gradients(net *n, const webml_model *m, const wml_json *lists,
                              const char *name) {
  const wml_json *list = lists ? lists->first : NULL;
  for (int l = 0; l < m->n_layers; l++)
    for (int k = 0; k < m->layers[l].n_params && list; k++, list = list->next) {
      int64_t count;
      char gradient[300];
      float *expected = numbers(list, &count), *got = test_alloc((size_t)count * sizeof *got);
      snprintf(gradient, sizeof gradient, "grad/%s", m->layers[l].params[k].name);
      CHECK(n->backend->get(n->store, gradient, got) == WML_OK);
      double d = test_difference(got, expected, count);
      CHECKF(d < 2e-6, "%s on %s: %s differs by %g", name, n->backend->name, gradient, d);
      free(expected);
      free(got);
    }
}

/* Accumulators of adagrad do not start at 0. */
static void put_state(net *n) {
  const wml_graph *g = &n->step[0].graph;
  float initial = wml_optimizer_initial(&g->update.optimizer, 0);
  for (int i = 0; i < g->update.n_items && initial != 0.0f; i++) {
    const wml_tensor *t = &g->tensors[g->update.items[i].slot[0]];
    float *values = test_alloc((size_t)wml_elements(t) * sizeof *values);
    for (int64_t k = 0; k < wml_elements(t); k++) values[k] = initial;
    CHECK(n->backend->put(n->store, t->name, values) == WML_OK);
    free(values);
  }
}

static void check_net(const wml_backend *backend, const webml_model *m, const wml_json *g,
                      const char *name) {
  net n;
  int64_t batch = (int64_t)wml_json_get_number(g, "batch", 0), count, features, targets;
  bool ok = open_net(&n, backend, m, batch);
  CHECKF(ok, "%s: %s", name, webml_last_error());
  if (!ok) return;
  put_or_compare(&n, m, wml_json_get(g, "start"), false, name);
  put_state(&n);
  float *x = numbers(wml_json_get(g, "x"), &features), *y = numbers(wml_json_get(g, "y"), &targets);
  float *expected = numbers(wml_json_get(g, "prediction"), &count),
        *got = test_alloc((size_t)count * sizeof *got);
  wml_feed feeds[] = {{.tensor = n.step[1].inputs[0], .base = x}, {.base = y}};
  wml_run run = {.n_steps = 1, .n_feeds = 1, .feeds = feeds};
  CHECK(backend->run(n.plan[1], &run) == WML_OK);
  CHECK(backend->read(n.plan[1], n.step[1].outputs[0], got) == WML_OK);
  CHECKF(test_difference(got, expected, count) < 2e-6, "%s on %s: prediction differs by %g", name,
         backend->name, test_difference(got, expected, count));
  feeds[0].tensor = n.step[0].inputs[0];
  feeds[1].tensor = n.step[0].targets[0];
  int64_t step = 0;
  for (const wml_json *h = wml_json_get(g, "history")->first; h; h = h->next, step++) {
    double results[2] = {0};
    float rate = m->optimizer.learning_rate;
    run = (wml_run){.n_steps = 1,
                    .step = step,
                    .n_feeds = 2,
                    .feeds = feeds,
                    .learning_rate = &rate,
                    .results = results};
    CHECK(backend->run(n.plan[0], &run) == WML_OK);
    double loss = results[0] / results[1];
    CHECKF(fabs(loss - h->number) < 2e-5 * (1 + fabs(loss)),
           "%s on %s: loss of step %d is %.8g, the golden has %.8g", name, backend->name, (int)step,
           loss, h->number);
    if (step == 0) compare_gradients(&n, m, wml_json_get(g, "gradients"), name);
  }
  CHECK(step >= 5);
  put_or_compare(&n, m, wml_json_get(g, "after"), true, name);
  free(x);
  free(y);
  free(expected);
  free(got);
  close_net(&n);
}

static void check_file(const char *path) {
  wml_arena arena = {0};
  const wml_json *g = NULL;
  char *text = NULL;
  size_t size = 0;
  webml_model *model = NULL;
  CHECK_OK(wml_file_read(path, 1 << 24, &text, &size));
  CHECK_OK(wml_json_parse(&arena, text, size, path, &g));
  CHECK_OK(wml_model_build(g, &model));
  if (model) {
    check_net(&wml_backend_ref, model, g, path);
    check_net(&wml_backend_cpu, model, g, path);
  }
  webml_model_destroy(model);
  wml_arena_free(&arena);
  wml_free(text);
}

int main(void) {
  DIR *dir = opendir("tests/goldens");
  int files = 0;
  for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
    char path[400];
    if (!strstr(e->d_name, ".json")) continue;
    snprintf(path, sizeof path, "tests/goldens/%s", e->d_name);
    check_file(path);
    files++;
  }
  if (dir) closedir(dir);
  CHECK(files >= 11);
  return test_report();
}
