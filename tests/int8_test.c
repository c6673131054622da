/* Inference in int8: the CPU's primitives against the reference, which rounds the same inputs to
 * the same steps and multiplies in double. Both have the same weights in whole steps, so they
 * differ by the rounding of sums, and where a sum lies in the middle between two steps by one of
 * them. */
#include "base/status.h"
#include "devices/device.h"
#include "model/layer.h"
#include "plan/step.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 12, MAX_FILTERS = 512 };

typedef struct int8_case {
  const char *name;
  int64_t batch;
  wml_dtype input;
  const char *model; /* JSON with ' for " */
  int in_int8;       /* operations that multiply in int8 */
} int8_case;

static float scales[MAX_LAYERS][MAX_FILTERS];
static wml_layer_quantization quantization[MAX_LAYERS];
static int team = 2;
static bool keeps_inputs;

static webml_model *parse(const char *text) {
  char *json = strdup(text);
  for (char *c = json; *c; c++)
    if (*c == '\'') *c = '"';
  webml_model *model = NULL;
  CHECK_OK(webml_model_parse(json, strlen(json), &model));
  free(json);
  return model;
}

typedef struct rig {
  const wml_backend *backend;
  wml_device *device;
  wml_store *store;
  wml_step step;
  wml_plan *plan;
} rig;

static bool rig_open(rig *r, const wml_backend *backend, const int8_case *c,
                     const webml_model *model) {
  *r = (rig){.backend = backend};
  wml_device_config config = {.threads = team};
  wml_step_spec spec = {.model = model,
                        .mode = WML_MODE_PREDICT,
                        .batch = c->batch,
                        .inputs = {{.type = c->input}},
                        .quantization = quantization,
                        .node_inputs = keeps_inputs};
  return backend->open(&wml_library_host, &config, &r->device) == WML_OK &&
         backend->store_create(r->device, &r->store) == WML_OK &&
         wml_step_build(&spec, &r->step) == WEBML_OK &&
         backend->compile(r->store, &r->step.graph, &r->plan) == WML_OK &&
         backend->prepare(r->plan) == WML_OK;
}

static void rig_close(rig *r) {
  r->backend->plan_destroy(r->plan);
  wml_step_free(&r->step);
  r->backend->store_destroy(r->store);
  r->backend->close(r->device);
}

/* Weights of quantized layers in whole steps, the others as they come. */
static void put_weights(rig *r, const webml_model *model) {
  test_random random = {11};
  for (int i = 0; i < model->n_layers; i++)
    for (int k = 0; k < model->layers[i].n_params; k++) {
      const wml_param *p = &model->layers[i].params[k];
      int64_t n = 1, filters = p->dim[p->rank - 1];
      for (int d = 0; d < p->rank; d++) n *= p->dim[d];
      float *w = test_alloc((size_t)n * sizeof *w);
      bool positive = strstr(p->name, "variance") || strstr(p->name, "gamma");
      test_fill(&random, w, n, positive ? 0.5f : -0.6f, positive ? 1.5f : 0.6f);
      for (int64_t j = 0; k == 0 && quantization[i].scales && j < n; j++) {
        float step = quantization[i].scales[j % filters];
        w[j] = step * nearbyintf(w[j] / step);
      }
      CHECK(r->backend->put(r->store, p->name, w) == WML_OK);
      free(w);
    }
}

static void predict(rig *r, const void *input, float *output) {
  wml_feed feed = {.tensor = r->step.inputs[0], .base = input};
  wml_run run = {.n_steps = 1, .n_feeds = 1, .feeds = &feed};
  CHECK(r->backend->run(r->plan, &run) == WML_OK);
  CHECK(r->backend->read(r->plan, r->step.outputs[0], output) == WML_OK);
}

/* Steps of kernels, and of inputs: those of pictures are bytes; a layer after a relu has no
 * negative ones. */
static void quantize(const webml_model *model, const int8_case *c) {
  memset(quantization, 0, sizeof quantization);
  bool positive = c->input == WML_U8, first = true;
  for (int i = 0; i < model->n_layers; i++) {
    const wml_layer *l = &model->layers[i];
    bool multiplies = l->class->quantizes != NULL;
    if (multiplies && l->class->quantizes(l->options)) {
      const wml_param *p = &l->params[0];
      for (int64_t f = 0; f < p->dim[p->rank - 1]; f++)
        scales[i][f] = 0.6f / 127.0f * (1.0f + 0.1f * (float)(f % 5));
      float range = first ? 1.0f : 4.0f;
      quantization[i] =
          (wml_layer_quantization){scales[i], range / (positive ? 255.0f : 127.0f), !positive};
    }
    if (multiplies) positive = wml_layer_activation(l).kind == WML_RELU, first = false;
    if (strcmp(l->class->name, "BatchNormalization") == 0) positive = false;
  }
}

static int count(const rig *r, const char *words) {
  int n = 0;
  const char *name;
  for (int i = 0; (name = r->backend->implementation(r->plan, i)) != NULL; i++)
    n += strstr(name, words) != NULL;
  return n;
}

static void compare(const int8_case *c) {
  webml_model *model = parse(c->model);
  quantize(model, c);
  rig ref, cpu;
  bool open =
      rig_open(&ref, &wml_backend_ref, c, model) && rig_open(&cpu, &wml_backend_cpu, c, model);
  CHECKF(open, "%s: %s", c->name, webml_last_error());
  if (!open) return;
  put_weights(&ref, model);
  put_weights(&cpu, model);
  wml_shape out = wml_model_output_shape(model);
  int64_t in = c->batch * wml_shape_elements(&model->nodes[0].out),
          n = c->batch * wml_shape_elements(&out);
  test_random random = {3};
  float *x = test_alloc((size_t)in * sizeof *x), *a = test_alloc((size_t)n * sizeof *a),
        *b = test_alloc((size_t)n * sizeof *b);
  uint8_t *bytes = (uint8_t *)x;
  test_fill(&random, x, in, -1.2f, 1.2f);
  if (c->input == WML_U8)
    for (int64_t i = 0; i < in; i++) bytes[i] = (uint8_t)(test_uniform(&random) * 256);
  predict(&ref, x, b);
  predict(&cpu, x, a);
  double difference = 0.0, norm = 0.0;
  for (int64_t i = 0; i < n; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    norm += (double)b[i] * (double)b[i];
  }
  double d = sqrt(difference / norm);
  CHECKF(d <= 1e-4, "%s: differs by %g of the norm", c->name, d);
  int in_int8 = count(&cpu, "vnni") + count(&cpu, "amx_int8");
  CHECKF(in_int8 == c->in_int8, "%s: %d operations in int8, not %d", c->name, in_int8, c->in_int8);
  free(x);
  free(a);
  free(b);
  rig_close(&ref);
  rig_close(&cpu);
  webml_model_destroy(model);
}

/* What calibration reads: every layer's input is an output of the graph. */
static void compare_inputs(const int8_case *c) {
  webml_model *model = parse(c->model);
  memset(quantization, 0, sizeof quantization);
  rig ref, cpu;
  keeps_inputs = true;
  CHECKF(rig_open(&ref, &wml_backend_ref, c, model) && rig_open(&cpu, &wml_backend_cpu, c, model),
         "%s: %s", c->name, webml_last_error());
  keeps_inputs = false;
  put_weights(&ref, model);
  put_weights(&cpu, model);
  enum { MOST = 1 << 20 };
  float *x = test_alloc(MOST * sizeof *x), *a = test_alloc(MOST * sizeof *a),
        *b = test_alloc(MOST * sizeof *b);
  test_random random = {3};
  test_fill(&random, x, MOST, -1.2f, 1.2f);
  predict(&ref, x, b);
  predict(&cpu, x, a);
  for (int i = 0; i < model->n_layers; i++) {
    int tensor = ref.step.node_input[model->n_inputs + i];
    int64_t n = wml_elements(&ref.step.graph.tensors[tensor]);
    CHECK(n <= MOST && ref.backend->read(ref.plan, tensor, b) == WML_OK &&
          cpu.backend->read(cpu.plan, tensor, a) == WML_OK);
    double d = test_difference(a, b, n);
    CHECKF(d <= 2e-4, "%s: the input of %s differs by %g", c->name, model->layers[i].name, d);
  }
  free(x);
  free(a);
  free(b);
  rig_close(&ref);
  rig_close(&cpu);
  webml_model_destroy(model);
}

static const int8_case cases[] = {
    {"dense layers on a table", 5, WML_F32,
     "{'size':[70],'optimizer':'sgd','loss':'mse','layers':[{'type':'Dense','layer':{'units':96,"
     "'activation':'relu'}},{'type':'Dense','layer':{'units':33,'activation':'tanh'}},"
     "{'type':'Dense','layer':{'units':3}}]}",
     3},
    {"pictures with pooling", 4, WML_U8,
     "{'size':[19,17,3],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D','layer':"
     "{'filters':32,'kernel_size':3,'activation':'relu'}},{'type':'MaxPooling2D'},{'type':'Conv2D',"
     "'layer':{'filters':16,'kernel_size':3,'padding':'same','activation':'relu'}},"
     "{'type':'MaxPooling2D','layer':{'pool_size':3,'strides':2,'padding':'same'}},"
     "{'type':'Flatten'},{'type':'Dense','layer':{'units':40,'activation':'relu'}},"
     "{'type':'Dense','layer':{'units':5,'activation':'softmax'}}]}",
     4},
    {"one picture in bands", 1, WML_U8,
     "{'size':[40,40,3],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D','layer':"
     "{'filters':64,'kernel_size':3,'activation':'relu'}},{'type':'MaxPooling2D'},{'type':'Conv2D',"
     "'layer':{'filters':32,'kernel_size':5,'strides':2,'padding':'same','activation':'relu'}},"
     "{'type':'Flatten'},{'type':'Dense','layer':{'units':128,'activation':'relu'}},"
     "{'type':'Dense','layer':{'units':5,'activation':'softmax'}}]}",
     4},
    {"few channels without pooling", 9, WML_U8,
     "{'size':[11,13,1],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D','layer':"
     "{'filters':48,'kernel_size':5,'padding':'same','activation':'relu'}},{'type':'Conv2D','layer'"
     ":"
     "{'filters':16,'kernel_size':3,'activation':'relu'}},{'type':'Flatten'},{'type':'Dense','"
     "layer':"
     "{'units':5}}]}",
     3},
    {"few channels, padded, pooled, and results below zero", 2, WML_U8,
     "{'size':[12,9,4],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D','layer':"
     "{'filters':64,'kernel_size':[3,2],'padding':'same','use_bias':false}},"
     "{'type':'MaxPooling2D'},{'type':'Conv2D','layer':{'filters':8,'kernel_size':3}},"
     "{'type':'Flatten'},{'type':'Dense','layer':{'units':5}}]}",
     3},
    {"values that may be negative", 3, WML_F32,
     "{'size':[12,12,4],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D','layer':"
     "{'filters':16,'kernel_size':3,'activation':'tanh','use_bias':false}},{'type':'MaxPooling2D'},"
     "{'type':'Conv2D','layer':{'filters':8,'kernel_size':3,'activation':'linear'}},"
     "{'type':'BatchNormalization'},{'type':'Conv2D','layer':{'filters':8,'kernel_size':1,"
     "'activation':'sigmoid'}},{'type':'Flatten'},{'type':'Dense','layer':{'units':5}}]}",
     4},
    {"a grouped convolution before a normalisation", 4, WML_F32,
     "{'size':[8,8,3],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D','layer':{'filters':"
     "4,'kernel_size':3}},{'type':'Conv2D','layer':{'filters':4,'kernel_size':2,'groups':2}},"
     "{'type':'BatchNormalization'},{'type':'MaxPooling2D'},{'type':'Flatten'},{'type':'Dense',"
     "'layer':{'units':2,'activation':'softmax'}}]}",
     2},
    {"a grouped convolution stays float32", 2, WML_U8,
     "{'size':[10,10,4],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D','layer':"
     "{'filters':8,'kernel_size':3,'activation':'relu'}},{'type':'Conv2D','layer':{'filters':8,"
     "'kernel_size':3,'groups':2,'activation':'relu'}},{'type':'Flatten'},{'type':'Dense','layer':"
     "{'units':5}}]}",
     2}};

/* A plan that folds a normalisation is there first, and has got the weights: one that does not fold
 * it finds them as they lie. */
static void check_late_layout(void) {
  const int8_case c = {"late", 3, WML_F32,
                       "{'size':[8,8,16],'optimizer':'sgd','loss':'mse','layers':[{'type':'Conv2D',"
                       "'layer':{'filters':144,'kernel_size':3}},{'type':'BatchNormalization'},"
                       "{'type':'Flatten'},{'type':'Dense','layer':{'units':96}},"
                       "{'type':'BatchNormalization'}]}",
                       0};
  webml_model *model = parse(c.model);
  memset(quantization, 0, sizeof quantization);
  rig first, late;
  CHECK(rig_open(&first, &wml_backend_cpu, &c, model));
  put_weights(&first, model);
  float x[3 * 8 * 8 * 16], a[3 * 96], b[3 * 96];
  test_random random = {3};
  test_fill(&random, x, sizeof x / sizeof *x, -1.2f, 1.2f);
  predict(&first, x, a);
  late = first;
  keeps_inputs = true;
  wml_step_spec spec = {.model = model,
                        .mode = WML_MODE_PREDICT,
                        .batch = 3,
                        .inputs = {{.type = WML_F32}},
                        .node_inputs = true};
  CHECK(wml_step_build(&spec, &late.step) == WEBML_OK &&
        late.backend->compile(late.store, &late.step.graph, &late.plan) == WML_OK &&
        late.backend->prepare(late.plan) == WML_OK);
  keeps_inputs = false;
  predict(&late, x, b);
  double d = test_difference(a, b, 3 * 96);
  CHECKF(d <= 2e-4, "plans that fold and do not fold differ by %g", d);
  late.backend->plan_destroy(late.plan);
  wml_step_free(&late.step);
  rig_close(&first);
  webml_model_destroy(model);
}

int main(void) {
  check_late_layout();
  wml_device_info info;
  int n;
  CHECK(wml_backend_cpu.enumerate(&wml_library_host, &info, 1, &n) == WML_OK);
  if (!info.int8) {
    test_skip("inference in int8", "this processor does not multiply bytes (VNNI)");
    return test_report();
  }
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    setenv("WEBML_CPU_FINEST_PIECES", "0", 1);
    team = 2;
    compare(&cases[i]);
    setenv("WEBML_CPU_FINEST_PIECES", "1", 1);
    team = 3;
    compare(&cases[i]);
    compare_inputs(&cases[i]);
  }
  return test_report();
}
