/* Whole networks against TensorFlow.js and PyTorch: prediction, losses of several steps, weights
 * after them and, from PyTorch, gradients of the first, on `cpu` and `ref`. Where TF.js differs
 * from Keras 3, Keras 3 holds:
 * - the moving variance: TF.js takes an unbiased one, Keras 3 the biased: not compared;
 * - Adam's epsilon: TF.js adds it after bias correction, Keras 3 before. The golden has 1e-12,
 * where both mean the same; formulas_test tells the two apart.
 * - TF.js has no gradient of dilated convolutions: that layer is frozen.
 *
 * Of graphs a file has arrays of each input and output by their names, and the gradients of the
 * first step. */
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
    };
    for (int k = 0; k < model->n_inputs; k++) spec.inputs[k].type = model->nodes[k].dtype;
    for (int k = 0; k < model->n_outputs; k++)
      spec.targets[k] = (wml_feed_spec){.type = WML_F32,
                                        .width = model->nodes[model->outputs[k].node].out.dim[0]};
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

/* The arrays of the k-th input or output. */
static float *numbers_of(const wml_json *arrays, int k, int64_t *n) {
  if (arrays->kind == WML_JSON_ARRAY) return numbers(arrays, n);
  const wml_json *list = arrays->first;
  while (k-- > 0) list = list->next;
  return numbers(list, n);
}

/* Rows of every input, then of every target. */
static void make_feeds(const webml_model *m, const wml_json *g, wml_feed *feeds) {
  int64_t n;
  for (int i = 0; i < m->n_inputs; i++) {
    float *x = numbers_of(wml_json_get(g, "x"), i, &n);
    for (int64_t k = 0; k < n && m->nodes[i].dtype == WML_I32; k++)
      ((int32_t *)(void *)x)[k] = (int32_t)x[k];
    feeds[i].base = x;
  }
  for (int i = 0; i < m->n_outputs; i++)
    feeds[m->n_inputs + i].base = numbers_of(wml_json_get(g, "y"), i, &n);
}

/* Sets the tensors of the plan; returns the number of feeds. */
static int bind(const webml_model *m, const wml_step *step, bool predicts, wml_feed *feeds) {
  for (int i = 0; i < m->n_inputs; i++) feeds[i].tensor = step->inputs[i];
  for (int i = 0; i < m->n_outputs; i++) feeds[m->n_inputs + i].tensor = step->targets[i];
  return predicts ? m->n_inputs : m->n_inputs + m->n_outputs;
}

static void check_predictions(net *n, const webml_model *m, const wml_json *g, wml_feed *feeds,
                              const char *name) {
  wml_run run = {.n_steps = 1, .n_feeds = bind(m, &n->step[1], true, feeds), .feeds = feeds};
  CHECK(n->backend->run(n->plan[1], &run) == WML_OK);
  for (int o = 0; o < m->n_outputs; o++) {
    int64_t count;
    float *expected = numbers_of(wml_json_get(g, "prediction"), o, &count),
          *got = test_alloc((size_t)count * sizeof *got);
    CHECK(n->backend->read(n->plan[1], n->step[1].outputs[o], got) == WML_OK);
    double d = test_difference(got, expected, count);
    CHECKF(d < 2e-6, "%s on %s: prediction %d differs by %g", name, n->backend->name, o, d);
    free(expected);
    free(got);
  }
}

/* Of the first step, where the golden has them; the gradient of a layer that is used again is that
 * of all its uses. */
static void check_gradients(net *n, const webml_model *m, const wml_json *lists, const char *name) {
  const wml_graph *graph = &n->step[0].graph;
  const wml_json *list = lists ? lists->first : NULL;
  for (int l = 0; l < m->n_layers && list; l++)
    for (int k = 0; k < m->layers[l].n_params; k++, list = list->next) {
      const wml_param *p = &m->layers[l].params[k];
      int item = 0;
      if (!p->trainable) continue;
      while (strcmp(graph->tensors[graph->update.items[item].param].name, p->name) != 0) item++;
      int64_t count;
      float *expected = numbers(list, &count), *got = test_alloc((size_t)count * sizeof *got);
      const char *gradient = graph->tensors[graph->update.items[item].grad].name;
      CHECK(n->backend->get(n->store, gradient, got) == WML_OK);
      double d = test_difference(got, expected, count);
      CHECKF(d < 2e-6, "%s on %s: gradient of %s differs by %g", name, n->backend->name, p->name,
             d);
      free(expected);
      free(got);
    }
}

static void check_net(const wml_backend *backend, const webml_model *m, const wml_json *g,
                      const char *name) {
  net n;
  int64_t batch = (int64_t)wml_json_get_number(g, "batch", 0), step = 0;
  wml_feed feeds[2 * WML_MAX_ENDS] = {{0}};
  bool ok = open_net(&n, backend, m, batch);
  CHECKF(ok, "%s: %s", name, webml_last_error());
  if (!ok) return;
  put_or_compare(&n, m, wml_json_get(g, "start"), false, name);
  put_state(&n);
  make_feeds(m, g, feeds);
  check_predictions(&n, m, g, feeds, name);
  int n_feeds = bind(m, &n.step[0], false, feeds);
  for (const wml_json *h = wml_json_get(g, "history")->first; h; h = h->next, step++) {
    double results[2 + WML_MAX_ENDS] = {0};
    float rate = m->optimizer.learning_rate;
    wml_run run = {.n_steps = 1,
                   .step = step,
                   .n_feeds = n_feeds,
                   .feeds = feeds,
                   .learning_rate = &rate,
                   .results = results};
    CHECK(backend->run(n.plan[0], &run) == WML_OK);
    double loss = results[0] / results[1];
    CHECKF(fabs(loss - h->number) < 2e-5 * (1 + fabs(loss)),
           "%s on %s: loss of step %d is %.8g, the golden has %.8g", name, backend->name, (int)step,
           loss, h->number);
    if (step == 0) check_gradients(&n, m, wml_json_get(g, "gradients"), name);
  }
  CHECK(step >= 5);
  put_or_compare(&n, m, wml_json_get(g, "after"), true, name);
  for (int i = 0; i < 2 * WML_MAX_ENDS; i++) free((void *)(uintptr_t)feeds[i].base);
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
  CHECK(files >= 17);
  return test_report();
}
