#include "plan/builder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int wml_build_tensor(wml_builder *b, wml_tensor tensor, const char *prefix, const char *name) {
  size_t n = strlen(prefix) + strlen(name) + 1;
  char *text = wml_arena_alloc(&b->step->arena, n);
  if (!text || b->n_tensors == b->max_tensors) {
    b->failed = true;
    return 0;
  }
  snprintf(text, n, "%s%s", prefix, name);
  tensor.name = text;
  b->tensors[b->n_tensors] = tensor;
  return b->n_tensors++;
}

int wml_build_value(wml_builder *b, const wml_layer *layer, const char *prefix,
                    const wml_shape *shape) {
  wml_tensor t = {.dtype = WML_F32,
                  .role = WML_ROLE_VALUE,
                  .rank = shape->rank + 1,
                  .dim = {b->spec->batch},
                  .like = -1};
  for (int i = 0; i < shape->rank; i++) t.dim[i + 1] = shape->dim[i];
  return wml_build_tensor(b, t, prefix, layer ? layer->name : "model");
}

wml_op *wml_build_op(wml_builder *b, wml_op_kind kind, const char *layer) {
  if (b->n_ops == b->max_ops) {
    b->failed = true;
    b->n_ops--;
  }
  wml_op *op = &b->ops[b->n_ops++];
  *op = (wml_op){.kind = kind, .layer = layer};
  for (int i = 0; i < WML_MAX_OPERANDS; i++) op->in[i] = -1;
  for (int i = 0; i < 3; i++) op->out[i] = -1;
  return op;
}

/* A feed with the operation that gathers its rows; returns the gathered value. n_cells > 0: the
 * feed holds rows of so many cells that are expanded to `widths`. */
static int add_feed(wml_builder *b, const char *name, wml_dtype dtype, const wml_shape *shape,
                    const int32_t *widths, int n_cells, int *feed) {
  wml_tensor t = {.dtype = dtype,
                  .role = WML_ROLE_FEED,
                  .rank = shape->rank + 1,
                  .dim = {b->spec->batch},
                  .like = -1};
  for (int i = 0; i < shape->rank; i++) t.dim[i + 1] = shape->dim[i];
  int64_t width = t.dim[1];
  if (n_cells) t.dim[1] = n_cells;
  *feed = wml_build_tensor(b, t, "feed/", name);
  t.dim[1] = width;
  t.role = WML_ROLE_VALUE;
  if (dtype == WML_U8) t.dtype = WML_F32;
  int value = wml_build_tensor(b, t, "batch/", name);
  wml_op *op = wml_build_op(b, WML_OP_GATHER, name);
  op->in[0] = *feed;
  op->out[0] = value;
  op->u.gather.scale = 1.0f / 255.0f;
  op->u.gather.widths = n_cells ? widths : NULL;
  return value;
}

static void add_params(wml_builder *b) {
  const webml_model *m = b->spec->model;
  int slots = b->spec->mode == WML_MODE_TRAIN ? wml_optimizer_slots(&m->optimizer) : 0;
  for (int i = 0; i < m->n_layers; i++)
    for (int k = 0; k < m->layers[i].n_params; k++) {
      const wml_param *p = &m->layers[i].params[k];
      wml_tensor t = {.dtype = WML_F32,
                      .role = p->statistic ? WML_ROLE_STATE : WML_ROLE_PARAM,
                      .rank = p->rank,
                      .like = -1};
      memcpy(t.dim, p->dim, sizeof t.dim);
      if (b->spec->quantization && k == 0) t.scales = b->spec->quantization[i].scales;
      int tensor = b->layers[i].param[k] = wml_build_tensor(b, t, "", p->name);
      bool penalty = p->regularizer.l1 != 0.0f || p->regularizer.l2 != 0.0f;
      bool wanted =
          b->spec->mode == WML_MODE_TRAIN || (b->spec->mode == WML_MODE_EVALUATE && penalty);
      if (!p->trainable || !wanted) continue; /* frozen: its penalty is in no loss, as in Keras 3 */
      wml_update_item *item = &b->items[b->n_items++];
      *item = (wml_update_item){tensor, -1, {-1, -1, -1, -1}, p->regularizer.l1, p->regularizer.l2};
      for (int s = 0; s < slots; s++) {
        static const char *const prefix[] = {"slot0/", "slot1/", "slot2/", "slot3/"};
        t.role = WML_ROLE_SLOT;
        t.like = tensor;
        item->slot[s] = wml_build_tensor(b, t, prefix[s], p->name);
      }
    }
}

static int add_forward(wml_builder *b, int x) {
  const webml_model *m = b->spec->model;
  for (int i = 0; i < m->n_layers; i++) {
    struct wml_layer_tensors *t = &b->layers[i];
    t->index = t->mean = t->variance = t->pre = -1;
    const wml_layer_quantization *q = b->spec->quantization ? &b->spec->quantization[i] : NULL;
    if (q && q->scales) {
      b->tensors[x].scale = q->input_scale;
      b->tensors[x].is_signed = q->input_signed;
    }
    t->out = wml_build_forward(b, &m->layers[i], t, x);
    x = t->out;
  }
  return x;
}

bool wml_loss_uses_logits(const webml_model *m) {
  const wml_layer *last = &m->layers[m->n_layers - 1];
  bool cross = m->loss.kind == WML_BINARY_CROSSENTROPY ||
               m->loss.kind == WML_CATEGORICAL_CROSSENTROPY ||
               m->loss.kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY;
  bool tagged = last->activation.kind == WML_SOFTMAX || last->activation.kind == WML_SIGMOID;
  return cross && tagged && (last->type == WML_LAYER_CONV2D || last->type == WML_LAYER_DENSE);
}

static int add_loss(wml_builder *b, int p, int target, int weight, bool logits) {
  const webml_model *m = b->spec->model;
  int dp = -1;
  if (b->spec->mode == WML_MODE_TRAIN) {
    wml_tensor t = b->tensors[p];
    dp = wml_build_tensor(b, t, "d", t.name);
  }
  wml_op *op = wml_build_op(b, WML_OP_LOSS, "loss");
  op->in[0] = p;
  op->in[1] = target;
  op->in[2] = weight;
  op->out[0] = dp;
  op->u.loss.loss = m->loss;
  op->u.loss.loss.from_logits |= logits;
  op->u.loss.weight = 1.0f;
  op->u.loss.class_weight = b->spec->class_weight;
  op->u.loss.n_classes = b->spec->n_classes;
  op->u.loss.result = -1;
  return dp;
}

/* "accuracy" is decided by shapes alone, as Keras does. */
static wml_metric resolve(const wml_builder *b, const wml_metric_spec *spec, int64_t width) {
  wml_metric metric = spec->metric;
  if (!spec->by_shape) return metric;
  bool sparse = b->spec->target == WML_I32 || b->spec->target_width == 1;
  metric.kind = width == 1 ? WML_BINARY_ACCURACY
                : sparse   ? WML_SPARSE_CATEGORICAL_ACCURACY
                           : WML_CATEGORICAL_ACCURACY;
  return metric;
}

static void add_metrics(wml_builder *b, int p, int target, int weight) {
  const webml_model *m = b->spec->model;
  wml_step *step = b->step;
  const wml_tensor *t = &b->tensors[p];
  int64_t width = t->dim[t->rank - 1];
  step->n_metrics = m->n_metrics;
  for (int i = 0; i < m->n_metrics; i++) {
    step->metrics[i] = resolve(b, &m->metrics[i], width);
    step->metric_result[i] = step->graph.n_results;
    step->graph.n_results += (int)wml_metric_state_size(step->metrics[i].kind, (long)width);
    wml_op *op = wml_build_op(b, WML_OP_METRIC, m->metrics[i].name);
    op->in[0] = p;
    op->in[1] = target;
    op->in[2] = weight;
    op->u.metric.metric = step->metrics[i];
    op->u.metric.result = step->metric_result[i];
  }
}

/* Layers below the first trainable one need no gradient. */
static void add_backward(wml_builder *b, int dy, bool from_logits) {
  const webml_model *m = b->spec->model;
  int first = 0;
  while (first < m->n_layers && !(m->layers[first].trainable && m->layers[first].n_params)) first++;
  for (int i = m->n_layers - 1; i >= first && dy >= 0; i--)
    dy = wml_build_backward(b, &m->layers[i], &b->layers[i], dy,
                            from_logits && i == m->n_layers - 1, i > first);
}

static void add_training(wml_builder *b, int output) {
  const wml_step_spec *spec = b->spec;
  const webml_model *m = spec->model;
  wml_shape target_shape = {1, {spec->target == WML_I32 ? 1 : spec->target_width}}, scalar = {0};
  wml_shape out = wml_model_output(m);
  if (spec->target == WML_F32 && out.rank > 1) target_shape = out;
  if (spec->target == WML_I32) target_shape.rank = 0;
  int target = add_feed(b, "target", spec->target, &target_shape, spec->target_widths,
                        spec->n_target_cells, &b->step->target);
  int weight =
      spec->sample_weight ? add_feed(b, "weight", WML_F32, &scalar, NULL, 0, &b->step->weight) : -1;
  bool logits = wml_loss_uses_logits(m);
  int p = logits ? b->layers[m->n_layers - 1].pre : output;
  b->step->graph.n_results = WML_RESULT_METRICS;
  int dp = add_loss(b, p, target, weight, logits);
  add_metrics(b, output, target, weight);
  if (spec->mode != WML_MODE_TRAIN) return;
  add_backward(b, dp, logits);
  if (b->n_items) wml_build_op(b, WML_OP_UPDATE, "update");
}

static webml_status build(wml_builder *b) {
  const wml_step_spec *spec = b->spec;
  wml_step *step = b->step;
  add_params(b);
  int x = add_feed(b, "input", spec->input, &spec->model->input, spec->input_widths,
                   spec->n_input_cells, &step->input);
  if (spec->mode == WML_MODE_TRAIN && spec->input == WML_U8)
    b->ops[b->n_ops - 1].u.gather.augment = spec->augment;
  step->output = add_forward(b, x);
  if (spec->mode != WML_MODE_PREDICT) add_training(b, step->output);
  if (b->failed)
    return wml_no_memory((size_t)b->max_tensors * sizeof *b->tensors, "the graph of a step");
  int n_layers = spec->model->n_layers, n_outputs = 1;
  int *outputs = wml_arena_alloc(&step->arena, (size_t)(n_layers + 1) * sizeof *outputs);
  step->layer_input = wml_arena_alloc(&step->arena, (size_t)n_layers * sizeof *step->layer_input);
  if (!outputs || !step->layer_input) return wml_no_memory(sizeof *outputs, "the graph of a step");
  outputs[0] = step->output;
  for (int i = 0; i < n_layers; i++) {
    step->layer_input[i] = b->layers[i].in;
    if (spec->layer_inputs) outputs[n_outputs++] = b->layers[i].in;
  }
  step->graph.batch = spec->batch;
  step->graph.precision = spec->precision;
  step->graph.deterministic = spec->deterministic;
  step->graph.n_tensors = b->n_tensors;
  step->graph.tensors = b->tensors;
  step->graph.n_ops = b->n_ops;
  step->graph.ops = b->ops;
  step->graph.update = (wml_update){spec->model->optimizer, b->n_items, b->items};
  step->graph.n_outputs = spec->mode == WML_MODE_TRAIN ? 0 : n_outputs;
  step->graph.outputs = outputs;
  return WEBML_OK;
}

webml_status wml_step_build(const wml_step_spec *spec, wml_step *step) {
  *step = (wml_step){.target = -1, .weight = -1};
  int layers = spec->model->n_layers;
  wml_builder b = {.spec = spec,
                   .step = step,
                   .max_tensors = layers * WML_LAYER_TENSORS + WML_OTHER_TENSORS,
                   .max_ops = layers * WML_LAYER_OPS + WML_OTHER_OPS};
  b.tensors = wml_arena_alloc(&step->arena, (size_t)b.max_tensors * sizeof *b.tensors);
  b.ops = wml_arena_alloc(&step->arena, (size_t)b.max_ops * sizeof *b.ops);
  b.items = wml_arena_alloc(&step->arena, (size_t)layers * WML_MAX_PARAMS * sizeof *b.items);
  b.layers = wml_arena_alloc(&step->arena, (size_t)layers * sizeof *b.layers);
  bool allocated = b.tensors && b.ops && b.items && b.layers;
  webml_status status =
      allocated ? build(&b)
                : wml_no_memory((size_t)b.max_tensors * sizeof *b.tensors, "the graph of a step");
  if (status != WEBML_OK) wml_step_free(step);
  return status;
}

void wml_step_free(wml_step *step) {
  wml_arena_free(&step->arena);
}

void wml_step_metrics(const wml_step *step, const double *results, double *values) {
  const wml_tensor *t = &step->graph.tensors[step->output];
  long width = (long)t->dim[t->rank - 1];
  for (int i = 0; i < step->n_metrics; i++)
    values[i] = wml_metric_value(&step->metrics[i], results + step->metric_result[i], width);
}

static const char *const precision_names[] = {[WML_FLOAT32] = "float32",
                                              [WML_FLOAT32_STRICT] = "float32_strict",
                                              [WML_MIXED_BFLOAT16] = "mixed_bfloat16"};

const char *wml_precision_name(wml_precision precision) {
  return precision_names[precision];
}

wml_precision wml_precision_named(const char *name) {
  for (int i = WML_FLOAT32; name && i <= WML_MIXED_BFLOAT16; i++)
    if (strcmp(name, precision_names[i]) == 0) return (wml_precision)i;
  return WML_FLOAT32;
}
