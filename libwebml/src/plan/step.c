#include "plan/builder.h"

#include <stdio.h>
#include <string.h>

/* The feed of an input or a target; `shared`: that of those before it in the same rows, or -1. */
static int feed_of(wml_builder *b, const char *name, const wml_feed_spec *spec,
                   const wml_shape *shape, int shared) {
  wml_tensor t = {.dtype = spec->type,
                  .role = WML_ROLE_FEED,
                  .rank = shape->rank + 1,
                  .dim = {b->spec->batch},
                  .like = -1};
  if (spec->row_cells && shared >= 0) return shared;
  for (int i = 0; i < shape->rank; i++) t.dim[i + 1] = shape->dim[i];
  if (spec->n_cells) t.dim[1] = spec->n_cells;
  if (spec->row_cells) {
    t.dtype = WML_F32;
    t.rank = 2;
    t.dim[1] = spec->row_cells;
  }
  return wml_build_tensor(b, t, "feed/", name);
}

/* A feed with the operation that gathers its rows; returns the gathered value. */
static int add_feed(wml_builder *b, const char *name, const wml_feed_spec *spec,
                    const wml_shape *shape, int shared, int *feed) {
  wml_tensor t = {.dtype = spec->type == WML_U8 ? WML_F32 : spec->type,
                  .role = WML_ROLE_VALUE,
                  .rank = shape->rank + 1,
                  .dim = {b->spec->batch},
                  .like = -1};
  for (int i = 0; i < shape->rank; i++) t.dim[i + 1] = shape->dim[i];
  *feed = feed_of(b, name, spec, shape, shared);
  int value = wml_build_tensor(b, t, "batch/", name);
  wml_op *op = wml_build_op(b, WML_OP_GATHER, name);
  op->in[0] = *feed;
  op->out[0] = value;
  op->u.gather.scale = 1.0f / 255.0f;
  op->u.gather.widths = spec->n_cells ? spec->widths : NULL;
  if (spec->row_cells) {
    op->u.gather.first = spec->first;
    op->u.gather.cells = spec->n_cells;
  }
  return value;
}

/* ---- parameters ---- */

static void add_slots(wml_builder *b, const wml_param *p, wml_tensor t, wml_update_item *item) {
  static const char *const prefix[] = {"slot0/", "slot1/", "slot2/", "slot3/", "slot4/"};
  int slots = wml_optimizer_slots(&b->spec->model->optimizer);
  for (int s = 0; s < slots && b->spec->mode == WML_MODE_TRAIN; s++) {
    t.role = WML_ROLE_SLOT;
    t.like = item->param;
    item->slot[s] = wml_build_tensor(b, t, prefix[s], p->name);
  }
}

static void add_param(wml_builder *b, int layer, int k) {
  const wml_param *p = &b->spec->model->layers[layer].params[k];
  wml_tensor t = {.dtype = WML_F32,
                  .role = p->statistic ? WML_ROLE_STATE : WML_ROLE_PARAM,
                  .rank = p->seen_rank ? p->seen_rank : p->rank,
                  .like = -1};
  memcpy(t.dim, p->seen_rank ? p->seen_dim : p->dim, sizeof t.dim);
  if (b->spec->quantization && k == 0) t.scales = b->spec->quantization[layer].scales;
  int tensor = b->params[layer * WML_MAX_PARAMS + k] = wml_build_tensor(b, t, "", p->name);
  bool penalty = p->regularizer.l1 != 0.0f || p->regularizer.l2 != 0.0f;
  bool wanted = b->spec->mode == WML_MODE_TRAIN || (b->spec->mode == WML_MODE_EVALUATE && penalty);
  if (!p->trainable || !wanted) return; /* frozen: its penalty is in no loss, as in Keras 3 */
  wml_update_item *item = &b->items[b->n_items++];
  *item = (wml_update_item){.param = tensor,
                            .grad = -1,
                            .slot = {-1, -1, -1, -1, -1},
                            .l1 = p->regularizer.l1,
                            .l2 = p->regularizer.l2,
                            .rate_factor = b->spec->model->layers[layer].learning_rate_multiplier,
                            .constraint = p->constraint};
  t.scales = NULL;
  add_slots(b, p, t, item);
}

static void add_params(wml_builder *b) {
  const webml_model *m = b->spec->model;
  for (int i = 0; i < m->n_layers; i++)
    for (int k = 0; k < m->layers[i].n_params; k++) add_param(b, i, k);
}

/* ---- forward ---- */

static void add_inputs(wml_builder *b) {
  const wml_step_spec *spec = b->spec;
  const webml_model *m = spec->model;
  for (int i = 0; i < m->n_inputs; i++) {
    b->value[i] = add_feed(b, m->inputs[i].name, &spec->inputs[i], &m->nodes[i].out,
                           i ? b->step->inputs[0] : -1, &b->step->inputs[i]);
    if (spec->mode == WML_MODE_TRAIN && spec->inputs[i].type == WML_U8)
      b->ops[b->n_ops - 1].u.gather.augment = spec->augment;
  }
}

static bool is_trained(const wml_layer *l) {
  bool trained = false;
  for (int k = 0; k < l->n_params; k++) trained |= l->params[k].trainable;
  return trained;
}

static webml_status begin_emission(wml_builder *b, int index, wml_emission *e) {
  const webml_model *m = b->spec->model;
  const wml_node *node = &m->nodes[index];
  *e = (wml_emission){.builder = b,
                      .layer = &m->layers[node->layer],
                      .options = m->layers[node->layer].options,
                      .node = node,
                      .trains = b->spec->mode == WML_MODE_TRAIN,
                      .has_loss = b->spec->mode != WML_MODE_PREDICT,
                      .batch = b->spec->batch,
                      .n_inputs = node->n_inputs,
                      .pre = -1,
                      .logit_gradient = -1};
  size_t bytes = (size_t)node->n_inputs * sizeof *e->in;
  e->in = wml_arena_alloc(&b->step->arena, bytes);
  e->kept_of = wml_arena_alloc(&b->step->arena, bytes);
  if (!e->in || !e->kept_of) return wml_no_memory(bytes, "the graph of a step");
  b->wanted[index] = is_trained(e->layer);
  for (int i = 0; i < node->n_inputs; i++) {
    e->in[i] = b->value[node->inputs[i]];
    e->kept_of[i] = -1;
    b->wanted[index] |= b->wanted[node->inputs[i]];
  }
  for (int k = 0; k < WML_MAX_PARAMS; k++) {
    e->param[k] = k < e->layer->n_params ? b->params[node->layer * WML_MAX_PARAMS + k] : -1;
    e->param_gradient[k] = -1;
  }
  for (int k = 0; k < WML_MAX_KEPT; k++) e->kept[k] = -1;
  return WEBML_OK;
}

static webml_status add_forward(wml_builder *b) {
  const webml_model *m = b->spec->model;
  for (int i = m->n_inputs; i < m->n_nodes; i++) {
    wml_emission *e = &b->emissions[i];
    WML_TRY(begin_emission(b, i, e));
    const wml_layer_quantization *q =
        b->spec->quantization ? &b->spec->quantization[m->nodes[i].layer] : NULL;
    if (q && q->scales) {
      b->tensors[e->in[0]].scale = q->input_scale;
      b->tensors[e->in[0]].is_signed = q->input_signed;
    }
    b->value[i] = e->out = e->layer->class->forward(e);
  }
  return WEBML_OK;
}

/* ---- losses and metrics ---- */

bool wml_loss_uses_logits(const webml_model *m, int output) {
  const wml_model_output *out = &m->outputs[output];
  const wml_layer *last = wml_node_layer(m, out->node);
  wml_activation_kind kind = last ? wml_layer_activation(last).kind : WML_LINEAR;
  switch (out->loss.kind) {
  case WML_BINARY_CROSSENTROPY: /* Keras does not ask which of the two it was */
  case WML_CATEGORICAL_CROSSENTROPY:
  case WML_SPARSE_CATEGORICAL_CROSSENTROPY: return kind == WML_SOFTMAX || kind == WML_SIGMOID;
  /* the same function, without the clipping of Keras's */
  case WML_BINARY_FOCAL_CROSSENTROPY: return kind == WML_SIGMOID;
  case WML_CATEGORICAL_FOCAL_CROSSENTROPY:
  case WML_CATEGORICAL_GENERALIZED_CROSS_ENTROPY: return kind == WML_SOFTMAX;
  default: return false;
  }
}

/* The gradient of a loss joins what it reads: the node's result, or what its activation reads. */
static void join_gradient(wml_builder *b, int node, bool logits, int dp) {
  wml_emission *e = &b->emissions[node];
  if (logits)
    e->logit_gradient = wml_build_sum(b, e->logit_gradient, dp, "dlosses", b->n_ops, e->node->name);
  else
    wml_build_gradient(b, node, dp);
}

/* Of one of several outputs: "<output>_<name>". */
static const char *full_name(wml_builder *b, int output, const char *name) {
  const webml_model *m = b->spec->model;
  if (m->n_outputs < 2) return name;
  size_t n = strlen(m->outputs[output].name) + strlen(name) + 2;
  char *text = wml_arena_alloc(&b->step->arena, n);
  if (text)
    snprintf(text, n, "%s_%s", m->outputs[output].name, name);
  else
    b->failed = true;
  return text ? text : "";
}

static void add_loss(wml_builder *b, int output, int target, int weight) {
  const webml_model *m = b->spec->model;
  const wml_model_output *out = &m->outputs[output];
  bool logits = wml_loss_uses_logits(m, output);
  int p = logits ? b->emissions[out->node].pre : b->value[out->node], dp = -1;
  if (b->spec->mode == WML_MODE_TRAIN) {
    char prefix[32] = "d";
    if (output) snprintf(prefix, sizeof prefix, "d%d", output);
    wml_tensor t = b->tensors[p];
    dp = wml_build_tensor(b, t, prefix, t.name);
  }
  wml_op *op = wml_build_op(b, WML_OP_LOSS, "loss");
  op->in[0] = p;
  op->in[1] = target;
  op->in[2] = weight;
  op->out[0] = dp;
  op->u.loss.loss = out->loss;
  op->u.loss.loss.from_logits |= logits;
  op->u.loss.weight = out->loss_weight;
  op->u.loss.class_weight = output == 0 ? b->spec->class_weight : NULL;
  op->u.loss.n_classes = b->spec->n_classes;
  op->u.loss.result = -1;
  if (m->n_outputs > 1) {
    op->u.loss.result = b->step->graph.n_results++;
    b->step->metrics[b->step->n_metrics++] = (wml_step_metric){.is_loss = true,
                                                               .name = full_name(b, output, "loss"),
                                                               .output = output,
                                                               .result = op->u.loss.result};
  }
  if (dp >= 0) join_gradient(b, out->node, logits, dp);
}

/* "accuracy" is decided by shapes alone, as Keras does. */
static wml_metric resolve(const wml_builder *b, int output, const wml_metric_spec *spec,
                          int64_t width) {
  const wml_feed_spec *target = &b->spec->targets[output];
  wml_metric metric = spec->metric;
  if (!spec->by_shape) return metric;
  bool sparse = target->type == WML_I32 || target->width == 1;
  metric.kind = width == 1 ? WML_BINARY_ACCURACY
                : sparse   ? WML_SPARSE_CATEGORICAL_ACCURACY
                           : WML_CATEGORICAL_ACCURACY;
  return metric;
}

static void add_metrics(wml_builder *b, int output, int target, int weight) {
  const wml_model_output *out = &b->spec->model->outputs[output];
  wml_step *step = b->step;
  int p = b->value[out->node];
  int64_t width = b->tensors[p].dim[b->tensors[p].rank - 1];
  for (int i = 0; i < out->n_metrics; i++) {
    wml_step_metric *metric = &step->metrics[step->n_metrics++];
    *metric = (wml_step_metric){.metric = resolve(b, output, &out->metrics[i], width),
                                .name = full_name(b, output, out->metrics[i].name),
                                .output = output,
                                .result = step->graph.n_results};
    step->graph.n_results += (int)wml_metric_state_size(metric->metric.kind, (long)width);
    wml_op *op = wml_build_op(b, WML_OP_METRIC, metric->name);
    op->in[0] = p;
    op->in[1] = target;
    op->in[2] = weight;
    op->u.metric.metric = metric->metric;
    op->u.metric.result = metric->result;
  }
}

/* ---- backward ---- */

/* Gradients of one parameter from several uses of its layer are added up as they lie. */
static void collect_param_gradients(wml_builder *b, wml_emission *e) {
  for (int k = 0; k < e->layer->n_params; k++) {
    if (e->param_gradient[k] < 0) continue;
    int i = 0;
    while (b->items[i].param != e->param[k]) i++;
    b->items[i].grad =
        wml_build_sum(b, b->items[i].grad, e->param_gradient[k], "sum",
                      (int)(e->node - b->spec->model->nodes), e->layer->params[k].name);
  }
}

/* Layers below which nothing is trained need no gradient. */
static void add_backward(wml_builder *b) {
  const webml_model *m = b->spec->model;
  for (int i = m->n_nodes - 1; i >= m->n_inputs && !b->failed; i--) {
    wml_emission *e = &b->emissions[i];
    if (!b->wanted[i] || (b->gradient[i] < 0 && e->logit_gradient < 0)) continue;
    e->layer->class->backward(e, b->gradient[i]);
    if (!b->failed) collect_param_gradients(b, e);
  }
}

/* Items whose layer no loss reaches are not updated. */
static void drop_unreached(wml_builder *b) {
  int kept = 0;
  for (int i = 0; i < b->n_items; i++)
    if (b->items[i].grad >= 0) b->items[kept++] = b->items[i];
  b->n_items = kept;
}

static wml_shape target_shape(const wml_builder *b, int output) {
  const wml_feed_spec *target = &b->spec->targets[output];
  wml_shape shape = b->spec->model->nodes[b->spec->model->outputs[output].node].out;
  if (target->type == WML_I32) { /* a class for each row, or for each pixel */
    shape.rank--;
    return shape;
  }
  if (shape.rank == 1) shape.dim[0] = target->width;
  return shape;
}

static void add_targets(wml_builder *b) {
  const webml_model *m = b->spec->model;
  static const wml_feed_spec number = {.type = WML_F32};
  static const wml_shape scalar = {0};
  int target[WML_MAX_ENDS];
  for (int o = 0; o < m->n_outputs; o++) {
    wml_shape shape = target_shape(b, o);
    target[o] = add_feed(b, m->names_outputs ? m->outputs[o].name : "target", &b->spec->targets[o],
                         &shape, o ? b->step->targets[0] : -1, &b->step->targets[o]);
  }
  int weight =
      b->spec->sample_weight ? add_feed(b, "weight", &number, &scalar, -1, &b->step->weight) : -1;
  b->step->graph.n_results = WML_RESULT_METRICS;
  for (int o = 0; o < m->n_outputs; o++) add_loss(b, o, target[o], weight);
  for (int o = 0; o < m->n_outputs; o++) add_metrics(b, o, target[o], weight);
  if (b->spec->mode != WML_MODE_TRAIN) return;
  add_backward(b);
  drop_unreached(b);
  if (b->n_items) wml_build_op(b, WML_OP_UPDATE, "update");
}

/* ---- the graph ---- */

static webml_status list_outputs(wml_builder *b) {
  wml_step *step = b->step;
  const webml_model *m = b->spec->model;
  size_t most = (size_t)m->n_nodes + WML_MAX_ENDS;
  int *outputs = wml_arena_alloc(&step->arena, most * sizeof *outputs), n = 0;
  step->node_input = wml_arena_alloc(&step->arena, (size_t)m->n_nodes * sizeof *step->node_input);
  if (!outputs || !step->node_input) return wml_no_memory(most * sizeof *outputs, "outputs");
  step->n_outputs = m->n_outputs;
  for (int o = 0; o < m->n_outputs; o++)
    outputs[n++] = step->outputs[o] = b->value[m->outputs[o].node];
  for (int i = 0; i < m->n_nodes; i++) {
    step->node_input[i] = i < m->n_inputs ? -1 : b->emissions[i].in[0];
    if (b->spec->node_inputs && i >= m->n_inputs) outputs[n++] = step->node_input[i];
  }
  step->graph.n_outputs = b->spec->mode == WML_MODE_TRAIN ? 0 : n;
  step->graph.outputs = outputs;
  return WEBML_OK;
}

static webml_status build(wml_builder *b) {
  const wml_step_spec *spec = b->spec;
  wml_step *step = b->step;
  add_params(b);
  add_inputs(b);
  WML_TRY(add_forward(b));
  if (spec->mode != WML_MODE_PREDICT) add_targets(b);
  if (b->failed)
    return wml_no_memory((size_t)b->tensor_capacity * sizeof *b->tensors, "the graph of a step");
  WML_TRY(list_outputs(b));
  step->graph.batch = spec->batch;
  step->graph.precision = spec->precision;
  step->graph.deterministic = spec->deterministic;
  step->graph.n_tensors = b->n_tensors;
  step->graph.tensors = b->tensors;
  step->graph.n_ops = b->n_ops;
  step->graph.ops = b->ops;
  step->graph.update = (wml_update){spec->model->optimizer, b->n_items, b->items};
  return WEBML_OK;
}

void wml_step_rows(wml_step_spec *spec, wml_dtype type) {
  const webml_model *m = spec->model;
  int64_t at = 0;
  for (int i = 0; i < m->n_inputs; i++) {
    int64_t n = wml_shape_elements(&m->nodes[i].out);
    spec->inputs[i] = (wml_feed_spec){.type = type};
    if (m->n_inputs > 1 || m->nodes[i].dtype == WML_I32)
      spec->inputs[i] =
          (wml_feed_spec){.type = m->nodes[i].dtype, .n_cells = (int)n, .first = (int)at};
    at += n;
  }
  for (int i = 0; i < m->n_inputs; i++)
    if (spec->inputs[i].n_cells) spec->inputs[i].row_cells = (int)at;
}

/* Arrays whose size is known before. */
static bool allocate(wml_builder *b) {
  const webml_model *m = b->spec->model;
  wml_arena *arena = &b->step->arena;
  size_t nodes = (size_t)m->n_nodes, params = (size_t)m->n_layers * WML_MAX_PARAMS, metrics = 0;
  for (int o = 0; o < m->n_outputs; o++) metrics += 1 + (size_t)m->outputs[o].n_metrics;
  b->items = wml_arena_alloc(arena, params * sizeof *b->items);
  b->params = wml_arena_alloc(arena, params * sizeof *b->params);
  b->emissions = wml_arena_alloc(arena, nodes * sizeof *b->emissions);
  b->value = wml_arena_alloc(arena, nodes * sizeof *b->value);
  b->gradient = wml_arena_alloc(arena, nodes * sizeof *b->gradient);
  b->wanted = wml_arena_alloc(arena, nodes * sizeof *b->wanted);
  b->step->metrics = wml_arena_alloc(arena, metrics * sizeof *b->step->metrics);
  for (size_t i = 0; b->gradient && i < nodes; i++) b->gradient[i] = -1;
  b->tensor_capacity = b->op_capacity = 64; /* index 0 is good whatever fails later */
  b->tensors = wml_arena_alloc(arena, 64 * sizeof *b->tensors);
  b->ops = wml_arena_alloc(arena, 64 * sizeof *b->ops);
  return b->tensors && b->ops && b->items && b->params && b->emissions && b->value && b->gradient &&
         b->wanted && b->step->metrics;
}

webml_status wml_step_build(const wml_step_spec *spec, wml_step *step) {
  *step = (wml_step){.weight = -1};
  for (int i = 0; i < WML_MAX_ENDS; i++) step->inputs[i] = step->targets[i] = step->outputs[i] = -1;
  wml_builder b = {.spec = spec, .step = step};
  webml_status status = allocate(&b)
                            ? build(&b)
                            : wml_no_memory((size_t)spec->model->n_nodes * sizeof *b.emissions,
                                            "the graph of a step");
  if (status != WEBML_OK) wml_step_free(step);
  return status;
}

void wml_step_free(wml_step *step) {
  wml_arena_free(&step->arena);
}

void wml_step_metrics(const wml_step *step, const double *results, double *values) {
  for (int i = 0; i < step->n_metrics; i++) {
    const wml_step_metric *m = &step->metrics[i];
    const wml_tensor *t = &step->graph.tensors[step->outputs[m->output]];
    if (m->is_loss)
      values[i] = results[m->result] / results[WML_RESULT_COUNT];
    else
      values[i] = wml_metric_value(&m->metric, results + m->result, (long)t->dim[t->rank - 1]);
  }
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
