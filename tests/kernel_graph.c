#include "kernel_graph.h"

#include "devices/device.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

int graph_tensor(kernel_graph *g, wml_role role, wml_dtype dtype, const int64_t *dim, int like) {
  int k = g->n_tensors++;
  CHECK(k < GRAPH_TENSORS);
  snprintf(g->name[k], sizeof g->name[k], "tensor%d", k);
  wml_tensor *t = &g->tensor[k];
  *t = (wml_tensor){.name = g->name[k], .dtype = dtype, .role = role, .like = like};
  while (t->rank < WML_MAX_RANK && dim[t->rank] > 0) {
    t->dim[t->rank] = dim[t->rank];
    t->rank++;
  }
  return k;
}

int graph_gradient(kernel_graph *g, int of) {
  bool param = g->tensor[of].role == WML_ROLE_PARAM;
  return graph_tensor(g, param ? WML_ROLE_GRAD : WML_ROLE_VALUE, WML_F32, g->tensor[of].dim,
                      param ? of : -1);
}

wml_op *graph_op(kernel_graph *g, wml_op op, int a, int b, int c) {
  CHECK(g->n_ops < GRAPH_OPS);
  wml_op *added = &g->op[g->n_ops++];
  *added = op;
  added->layer = "test";
  for (int i = 0; i < WML_MAX_OPERANDS; i++) added->in[i] = -1;
  for (int i = 0; i < 3; i++) added->out[i] = -1;
  added->in[0] = a;
  added->in[1] = b;
  added->in[2] = c;
  return added;
}

int graph_feed(kernel_graph *g, wml_dtype dtype, const int64_t *dim, float *data) {
  int feed = graph_tensor(g, WML_ROLE_FEED, dtype, dim, -1);
  int value = graph_tensor(g, WML_ROLE_VALUE, dtype, dim, -1);
  g->data[feed] = data;
  g->batch = dim[0];
  graph_op(g, (wml_op){.kind = WML_OP_GATHER}, feed, -1, -1)->out[0] = value;
  return value;
}

int graph_param(kernel_graph *g, const int64_t *dim, float *data) {
  int param = graph_tensor(g, WML_ROLE_PARAM, WML_F32, dim, -1);
  g->data[param] = data;
  return param;
}

void graph_observe(kernel_graph *g, int tensor) {
  CHECK(g->n_observed < GRAPH_OBSERVED);
  if (g->copies && g->tensor[tensor].role == WML_ROLE_VALUE) {
    int copy = graph_tensor(g, WML_ROLE_VALUE, WML_F32, g->tensor[tensor].dim, -1);
    graph_op(g, (wml_op){.kind = WML_OP_ACTIVATION, .u.activation.kind = WML_LINEAR}, tensor, -1,
             -1)
        ->out[0] = copy;
    tensor = copy;
  }
  g->observed[g->n_observed++] = tensor;
}

void graph_free(kernel_graph *g) {
  for (int i = 0; i < g->n_tensors; i++) free(g->data[i]);
}

/* ---- the graph of a case ---- */

/* Multiples of 1/64, and for each operand others: bfloat16 holds them, and two operands never have
 * the same number. */
static float fill_number(const kernel_operand *o, test_random *random, int which, int64_t i,
                         int64_t n) {
  double u = test_uniform(random);
  switch (o->fill) {
  case FILL_DISTINCT: return (float)(((i * 89 + 7) % n - n / 2) * 2 + 1) / 256.0f;
  case FILL_TIES: return (float)((int)(u * 5.0) - 2) * 0.5f;
  case FILL_INDEX: return (float)((int)(u * 8.0) - 1);
  case FILL_MANY: return u < 0.3 ? 3.0f : (float)((int)(u * 52.0) - 1);
  default: return (float)((int)(u * 127.0) * 2 - 126 + which) / 128.0f;
  }
}

static bool is_index(const kernel_operand *o) {
  return o->fill == FILL_INDEX || o->fill == FILL_MANY;
}

/* Floats, or int32 for indices. */
static float *fill_operand(const kernel_operand *o, int which) {
  int64_t n = 1;
  for (int i = 0; i < WML_MAX_RANK && o->dim[i]; i++) n *= o->dim[i];
  float *x = test_alloc((size_t)n * sizeof *x);
  test_random random = {(uint64_t)(31 + which)};
  for (int64_t i = 0; i < n; i++) {
    x[i] = o->values ? o->values[i] : fill_number(o, &random, which, i, n);
    if (is_index(o)) ((int32_t *)(void *)x)[i] = (int32_t)x[i];
  }
  return x;
}

static void add_operand(case_graph *g, const kernel_operand *o) {
  int k = g->n_operands++;
  float *data = fill_operand(o, k % 2);
  if (o->role == WML_ROLE_PARAM) {
    g->operand[k] = g->feed[k] = graph_param(&g->graph, o->dim, data);
    return;
  }
  wml_dtype dtype = is_index(o) ? WML_I32 : WML_F32;
  g->operand[k] = graph_feed(&g->graph, dtype, o->dim, data);
  g->feed[k] = g->operand[k] - 1;
}

/* NORM's mean and factor, one for each group of statistics. */
static void add_statistics(case_graph *g, wml_op *op) {
  const wml_tensor *x = &g->graph.tensor[g->operand[0]];
  int64_t last = x->dim[x->rank - 1];
  int64_t groups[WML_MAX_RANK] = {wml_elements(x) / op->u.norm.positions / last *
                                  op->u.norm.groups};
  for (int i = op->u.norm.kind == WML_NORM_MEAN_VARIANCE ? 1 : 2; i < 3; i++)
    op->out[i] = graph_tensor(&g->graph, WML_ROLE_VALUE, WML_F32, groups, -1);
}

static void add_product(case_graph *g, int out, int a, int b, bool transpose_a, bool transpose_b) {
  graph_op(&g->graph, (wml_op){.kind = WML_OP_MATMUL, .u.matmul = {transpose_a, transpose_b}}, a, b,
           -1)
      ->out[0] = out;
}

static void matmul_backward(case_graph *g, const wml_op *op) {
  int a = g->operand[0], b = g->operand[1], dy = g->dy, da = g->gradient[0], db = g->gradient[1];
  bool ta = op->u.matmul.transpose_a, tb = op->u.matmul.transpose_b;
  if (ta)
    add_product(g, da, b, dy, tb, true);
  else
    add_product(g, da, dy, b, false, !tb);
  if (tb)
    add_product(g, db, dy, a, true, ta);
  else
    add_product(g, db, a, dy, !ta, false);
}

static void concat_backward(case_graph *g, const wml_op *op) {
  wml_op crop = {.kind = WML_OP_CROP};
  for (int k = 0; k < g->n_operands; k++) {
    graph_op(&g->graph, crop, g->dy, -1, -1)->out[0] = g->gradient[k];
    crop.u.begin[op->u.axis] += g->graph.tensor[g->operand[k]].dim[op->u.axis];
  }
}

static void binary_backward(case_graph *g, const wml_op *op) {
  bool reads = op->u.binary != WML_BINARY_ADD && op->u.binary != WML_BINARY_SUBTRACT;
  wml_op back = *op;
  back.kind = WML_OP_BINARY_BWD;
  wml_op *added =
      graph_op(&g->graph, back, g->dy, reads ? g->operand[0] : -1, reads ? g->operand[1] : -1);
  added->out[0] = g->gradient[0];
  added->out[1] = g->gradient[1];
}

static void norm_backward(case_graph *g, const wml_op *op) {
  wml_op back = *op;
  back.kind = WML_OP_NORM_BWD;
  wml_op *added = graph_op(&g->graph, back, g->dy, g->operand[0], g->operand[1]);
  added->in[3] = op->out[1];
  added->in[4] = op->out[2];
  for (int i = 0; i < 3; i++) added->out[i] = g->gradient[i];
}

/* y = CONV2D or, forward too, CONV2D_BWD_DATA of an operand and a kernel. */
static void conv_backward(case_graph *g, const wml_op *op) {
  bool transposed = op->kind == WML_OP_CONV2D_BWD_DATA;
  wml_op data = *op, weights = *op;
  data.kind = transposed ? WML_OP_CONV2D : WML_OP_CONV2D_BWD_DATA;
  weights.kind = WML_OP_CONV2D_BWD_WEIGHTS;
  int x = g->operand[0];
  graph_op(&g->graph, data, g->dy, g->operand[1], -1)->out[0] = g->gradient[0];
  wml_op *added = graph_op(&g->graph, weights, transposed ? g->dy : x, transposed ? x : g->dy, -1);
  added->out[0] = g->gradient[1];
  added->out[1] = g->gradient[2];
}

/* An operation of one operand whose gradient is an operation of dy. */
static void unary_backward(case_graph *g, const wml_op *op) {
  wml_op back = *op;
  int x = -1, y = -1;
  if (g->gradient[0] < 0) return;
  switch (op->kind) {
  case WML_OP_TRANSPOSE:
    for (int i = 0; i < g->graph.tensor[g->operand[0]].rank; i++) back.u.axes[op->u.axes[i]] = i;
    break;
  case WML_OP_CROP: back.kind = WML_OP_PAD; break;
  case WML_OP_PAD: back.kind = WML_OP_CROP; break;
  case WML_OP_AFFINE: back.u.affine.offset = 0.0f; break;
  case WML_OP_NOISE: back.u.noise.b = back.u.noise.c = 0.0f; break;
  case WML_OP_REDUCE:
    back.kind = WML_OP_REDUCE_BWD;
    if (op->u.reduction != WML_REDUCE_MAX) break;
    x = g->operand[0];
    y = g->result;
    break;
  case WML_OP_AVGPOOL: back.kind = WML_OP_AVGPOOL_BWD; break;
  case WML_OP_RESIZE: back.kind = WML_OP_RESIZE_BWD; break;
  default: break; /* DROPOUT */
  }
  graph_op(&g->graph, back, g->dy, x, y)->out[0] = g->gradient[0];
}

static void add_backward(case_graph *g, const wml_op *op) {
  switch (op->kind) {
  case WML_OP_BINARY: binary_backward(g, op); break;
  case WML_OP_CONCAT: concat_backward(g, op); break;
  case WML_OP_MATMUL: matmul_backward(g, op); break;
  case WML_OP_NORM: norm_backward(g, op); break;
  case WML_OP_CONV2D:
  case WML_OP_CONV2D_BWD_DATA: conv_backward(g, op); break;
  case WML_OP_EMBEDDING:
    graph_op(&g->graph, (wml_op){.kind = WML_OP_EMBEDDING_BWD}, g->operand[0], g->dy, -1)->out[0] =
        g->gradient[1];
    break;
  case WML_OP_NOISE: /* what is added has no part in the gradient */
    if (op->u.noise.kind == WML_NOISE_ADD) {
      g->gradient[0] = -1;
      break;
    }
    unary_backward(g, op);
    break;
  default: unary_backward(g, op);
  }
}

static void add_gradients(case_graph *g, const kernel_case *c) {
  for (int k = 0; k < g->n_operands; k++)
    if (!c->operand[k].constant && !is_index(&c->operand[k]))
      g->gradient[k] = graph_gradient(&g->graph, g->operand[k]);
}

void case_graph_build(case_graph *g, const kernel_case *c, case_variant variant) {
  *g = (case_graph){.graph = {.precision = variant.precision, .copies = variant.copies},
                    .result = -1,
                    .dy = -1,
                    .dy_feed = -1};
  for (int k = 0; k < KERNEL_OPERANDS; k++) g->operand[k] = g->gradient[k] = -1;
  while (g->n_operands < KERNEL_OPERANDS && c->operand[g->n_operands].dim[0])
    add_operand(g, &c->operand[g->n_operands]);
  bool penalty = c->op.kind == WML_OP_PENALTY;
  kernel_graph *graph = &g->graph;
  graph->has_results = variant.backward || penalty;
  if (variant.backward || penalty) add_gradients(g, c);
  wml_op *op = graph_op(graph, c->op, g->operand[0], g->operand[1], g->operand[2]);
  if (penalty)
    op->out[0] = g->gradient[0];
  else
    op->out[0] = g->result = graph_tensor(graph, WML_ROLE_VALUE, WML_F32, c->result, -1);
  if (op->kind == WML_OP_NORM && variant.backward) add_statistics(g, op);
  if (variant.backward && !penalty) {
    kernel_operand dy = {.values = c->dy};
    memcpy(dy.dim, c->result, sizeof dy.dim);
    g->dy = graph_feed(graph, WML_F32, c->result, fill_operand(&dy, 3));
    g->dy_feed = g->dy - 1;
    add_backward(g, op);
  }
  if (g->result >= 0) graph_observe(graph, g->result);
  for (int k = 0; k < g->n_operands; k++)
    if (g->gradient[k] >= 0) graph_observe(graph, g->gradient[k]);
}

/* ---- running ---- */

static wml_result compile(kernel_rig *r) {
  const kernel_graph *g = r->graph;
  int outputs[GRAPH_OBSERVED], n_outputs = 0;
  for (int i = 0; i < g->n_observed; i++)
    if (g->tensor[g->observed[i]].role == WML_ROLE_VALUE) outputs[n_outputs++] = g->observed[i];
  wml_graph graph = {.batch = g->batch,
                     .precision = g->precision,
                     .n_tensors = g->n_tensors,
                     .n_ops = g->n_ops,
                     .n_results = g->has_results ? GRAPH_RESULTS : 0,
                     .tensors = g->tensor,
                     .ops = g->op,
                     .n_outputs = n_outputs,
                     .outputs = outputs};
  wml_result result = r->backend->compile(r->store, &graph, &r->plan);
  return result == WML_OK ? r->backend->prepare(r->plan) : result;
}

wml_result rig_join(kernel_rig *r, const kernel_rig *owner, const kernel_graph *g) {
  *r = (kernel_rig){
      .backend = owner->backend, .graph = g, .device = owner->device, .store = owner->store};
  return compile(r);
}

void rig_leave(kernel_rig *r) {
  r->backend->plan_destroy(r->plan);
}

wml_result rig_open(kernel_rig *r, const wml_backend *backend, int threads, const kernel_graph *g) {
  *r = (kernel_rig){.backend = backend, .graph = g};
  wml_device_config config = {.threads = threads};
  wml_result result = backend->open(&wml_library_host, &config, &r->device);
  if (result == WML_OK) result = backend->store_create(r->device, &r->store);
  if (result == WML_OK) result = compile(r);
  if (result == WML_OK) rig_put(r);
  return result;
}

void rig_put(kernel_rig *r) {
  const kernel_graph *g = r->graph;
  for (int i = 0; i < g->n_tensors; i++)
    if (g->tensor[i].role == WML_ROLE_PARAM)
      CHECK(r->backend->put(r->store, g->name[i], g->data[i]) == WML_OK);
}

wml_result rig_run(kernel_rig *r) {
  const kernel_graph *g = r->graph;
  wml_feed feeds[GRAPH_TENSORS];
  wml_run run = {.n_steps = 1, .step = 4, .seed = 99, .feeds = feeds};
  for (int i = 0; i < g->n_tensors; i++)
    if (g->tensor[i].role == WML_ROLE_FEED)
      feeds[run.n_feeds++] = (wml_feed){.tensor = i, .base = g->data[i]};
  memset(r->results, 0, sizeof r->results);
  run.results = g->has_results ? r->results : NULL;
  wml_result result = r->backend->run(r->plan, &run);
  CHECK(result != WML_OK || run.not_finite == -1);
  return result;
}

float *rig_read(kernel_rig *r, int k) {
  int tensor = r->graph->observed[k];
  const wml_tensor *t = &r->graph->tensor[tensor];
  float *x = test_alloc((size_t)wml_elements(t) * sizeof *x);
  CHECK((t->role == WML_ROLE_VALUE ? r->backend->read(r->plan, tensor, x)
                                   : r->backend->get(r->store, t->name, x)) == WML_OK);
  return x;
}

void rig_close(kernel_rig *r) {
  if (r->plan) r->backend->plan_destroy(r->plan);
  r->backend->store_destroy(r->store);
  r->backend->close(r->device);
}
