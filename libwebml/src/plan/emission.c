#include "plan/builder.h"

#include <stdio.h>
#include <string.h>

/* ---- tensors ---- */

/* Doubles an array of the step's arena when it is full. */
static bool has_room(wml_builder *b, void **array, int n, int *capacity, size_t size) {
  if (n < *capacity) return true;
  int more = *capacity ? 2 * *capacity : 256;
  void *grown = wml_arena_alloc(&b->step->arena, (size_t)more * size);
  if (!grown) {
    b->failed = true;
    return false;
  }
  if (n) memcpy(grown, *array, (size_t)n * size);
  *array = grown;
  *capacity = more;
  return true;
}

int wml_build_tensor(wml_builder *b, wml_tensor tensor, const char *prefix, const char *name) {
  size_t n = strlen(prefix) + strlen(name) + 1;
  char *text = wml_arena_alloc(&b->step->arena, n);
  void *tensors = b->tensors;
  if (!text || !has_room(b, &tensors, b->n_tensors, &b->tensor_capacity, sizeof tensor)) {
    b->failed = true;
    return 0;
  }
  b->tensors = tensors;
  snprintf(text, n, "%s%s", prefix, name);
  tensor.name = text;
  b->tensors[b->n_tensors] = tensor;
  return b->n_tensors++;
}

int wml_emit_tensor(wml_emission *e, const char *prefix, int rank, const int64_t *dim) {
  wml_tensor t = {.dtype = WML_F32, .role = WML_ROLE_VALUE, .rank = rank, .like = -1};
  for (int i = 0; i < rank; i++) t.dim[i] = dim[i];
  return wml_build_tensor(e->builder, t, prefix, e->node->name);
}

int wml_emit_value(wml_emission *e, const char *prefix, const wml_shape *shape) {
  int64_t dim[WML_MAX_RANK] = {e->batch};
  for (int i = 0; i < shape->rank; i++) dim[i + 1] = shape->dim[i];
  return wml_emit_tensor(e, prefix, shape->rank + 1, dim);
}

int wml_emit_like(wml_emission *e, const char *prefix, int tensor) {
  const wml_tensor *t = wml_emit_info(e, tensor);
  return wml_emit_tensor(e, prefix, t->rank, t->dim);
}

void wml_emit_set_dtype(wml_emission *e, int tensor, wml_dtype dtype) {
  e->builder->tensors[tensor].dtype = dtype;
}

const wml_tensor *wml_emit_info(const wml_emission *e, int tensor) {
  return &e->builder->tensors[tensor];
}

const wml_shape *wml_emit_in_shape(const wml_emission *e, int i) {
  return wml_node_in(e->builder->spec->model, e->node, i);
}

/* ---- operations ---- */

wml_op *wml_build_op(wml_builder *b, wml_op_kind kind, const char *layer) {
  void *ops = b->ops;
  bool room = has_room(b, &ops, b->n_ops, &b->op_capacity, sizeof *b->ops);
  b->ops = ops;
  wml_op *op = room ? &b->ops[b->n_ops++] : &b->lost;
  *op = (wml_op){.kind = kind, .layer = layer};
  for (int i = 0; i < WML_MAX_OPERANDS; i++) op->in[i] = -1;
  for (int i = 0; i < 3; i++) op->out[i] = -1;
  return op;
}

wml_op *wml_emit_op(wml_emission *e, wml_op_kind kind) {
  return wml_build_op(e->builder, kind, e->node->name);
}

wml_op *wml_emit_unary(wml_emission *e, wml_op_kind kind, int x, const char *prefix,
                       const wml_shape *shape) {
  int y = wml_emit_value(e, prefix, shape);
  wml_op *op = wml_emit_op(e, kind);
  op->in[0] = x;
  op->out[0] = y;
  return op;
}

int wml_emit_reshape(wml_emission *e, int x, const char *prefix, const wml_shape *shape) {
  wml_op *op = wml_emit_unary(e, WML_OP_RESHAPE, x, prefix, shape);
  e->builder->tensors[op->out[0]].dtype = e->builder->tensors[x].dtype;
  return op->out[0];
}

int wml_emit_binary(wml_emission *e, wml_binary kind, int a, int b, const char *prefix,
                    const wml_shape *shape) {
  wml_op *op = wml_emit_unary(e, WML_OP_BINARY, a, prefix, shape);
  op->in[1] = b;
  op->u.binary = kind;
  return op->out[0];
}

uint32_t wml_emit_stream(wml_emission *e) {
  e->stream = (uint32_t)++e->builder->n_streams;
  return e->stream;
}

/* ---- activations ---- */

int wml_emit_activation(wml_emission *e, int x, const wml_activation *activation) {
  e->pre = x;
  if (activation->kind == WML_LINEAR) return x;
  wml_op *op = wml_emit_unary(e, WML_OP_ACTIVATION, x, "out/", &e->node->out);
  op->u.activation = *activation;
  return op->out[0];
}

int wml_emit_activation_backward(wml_emission *e, int dy, const wml_activation *activation) {
  int dpre = dy;
  if (dy >= 0 && activation->kind != WML_LINEAR) {
    dpre = wml_emit_like(e, "dpre/", e->pre);
    wml_op *op = wml_emit_op(e, WML_OP_ACTIVATION_BWD);
    op->in[0] = dy;
    op->in[1] = e->out;
    op->in[2] = wml_activation_from_output(activation) ? -1 : e->pre;
    op->out[0] = dpre;
    op->u.activation = *activation;
  }
  return wml_build_sum(e->builder, dpre, e->logit_gradient, "dlogits", 0, e->node->name);
}

/* ---- gradients ---- */

bool wml_emit_wants(const wml_emission *e, int i) {
  return e->builder->wanted[e->node->inputs[i]];
}

int wml_build_sum(wml_builder *b, int first, int second, const char *prefix, int index,
                  const char *of) {
  char text[48];
  if (first < 0 || second < 0) return first < 0 ? second : first;
  snprintf(text, sizeof text, "%s@%d/", prefix, index);
  int sum = wml_build_tensor(b, b->tensors[second], text, of);
  wml_op *op = wml_build_op(b, WML_OP_BINARY, of);
  op->in[0] = first;
  op->in[1] = second;
  op->out[0] = sum;
  op->u.binary = WML_BINARY_ADD;
  return sum;
}

void wml_build_gradient(wml_builder *b, int node, int tensor) {
  b->gradient[node] = wml_build_sum(b, b->gradient[node], tensor, "dsum", b->n_ops,
                                    b->spec->model->nodes[node].name);
}

void wml_emit_gradient(wml_emission *e, int i, int tensor) {
  if (wml_emit_wants(e, i)) wml_build_gradient(e->builder, e->node->inputs[i], tensor);
}

int wml_emit_param_gradient(wml_emission *e, int k) {
  if (k < 0 || e->param[k] < 0 || !e->layer->params[k].trainable) return -1;
  wml_builder *b = e->builder;
  wml_tensor g = b->tensors[e->param[k]];
  g.role = WML_ROLE_GRAD;
  g.like = e->param[k];
  g.scales = NULL;
  char prefix[32] = "grad/"; /* a layer that is used again has a gradient of each use */
  int use = (int)(e->node - b->spec->model->nodes);
  if (e->node->is_use) snprintf(prefix, sizeof prefix, "grad@%d/", use);
  e->param_gradient[k] = wml_build_tensor(b, g, prefix, e->layer->params[k].name);
  return e->param_gradient[k];
}
