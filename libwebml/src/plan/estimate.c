/* The memory of a GPU's plan, computed without the GPU: what kernels/cuda does, rounded up. */
#include "plan/estimate.h"

#include "base/alloc.h"
#include "kernels/common/packing.h"

#include <string.h>

/* Layers from so many parameters on are updated beside the backward pass: their weights and slots
 * lie twice (kernels/cuda/branch.c). */
static const int64_t two_sides_from = 1 << 20;
/* What cuDNN may have for itself where there are convolutions: as much as the back end allows for
 * the plan of full training batches, which has the most to gain from it, a quarter of that for the
 * others. What cuBLASLt may have. Row numbers, rates and results of a chunk of steps. */
static const size_t convolution_workspace = (size_t)256 << 20, workspace = (size_t)32 << 20,
                    of_steps = (size_t)2 << 20;
enum { ALIGNMENT = 256 }; /* of values in a GPU's arena */

static bool is_mixed(const wml_graph *g) {
  return g->precision == WML_MIXED_BFLOAT16;
}

/* ---- what stays ---- */

static void add_persistent(const wml_graph *g, webml_memory *memory) {
  for (int i = 0; i < g->n_tensors; i++) {
    const wml_tensor *t = &g->tensors[i];
    size_t n = (size_t)wml_elements(t);
    bool weights = t->role == WML_ROLE_PARAM, slot = t->role == WML_ROLE_SLOT;
    size_t bytes = n * (weights && is_mixed(g) ? 6 : 4);
    if (!wml_role_is_persistent(t->role)) continue;
    if (weights || t->role == WML_ROLE_STATE)
      memory->weights += bytes;
    else
      memory->state += bytes;
    if ((weights || slot) && (int64_t)n >= two_sides_from) memory->state += bytes;
  }
}

/* ---- values ---- */

static size_t value_bytes(const wml_graph *g, const wml_tensor *t) {
  if (t->role != WML_ROLE_VALUE) return 0;
  size_t size = t->dtype == WML_F32 && is_mixed(g) ? 2 : wml_dtype_size(t->dtype);
  return wml_round_up((size_t)wml_elements(t) * size, ALIGNMENT);
}

static void touch(wml_lifetime *life, const int *root, int tensor, int from, int to) {
  if (tensor < 0) return;
  wml_lifetime *l = &life[root[tensor]];
  if (l->first < 0 || from < l->first) l->first = from;
  if (to > l->last) l->last = to;
}

/* Metrics, and what computes gradients of parameters alone, run beside the first stream and keep
 * their operands until the end (kernels/cuda/aside.c). */
static bool runs_aside(const wml_graph *g, const wml_op *op) {
  bool weights = false;
  for (int i = 0; i < 3; i++) {
    if (op->out[i] < 0) continue;
    if (g->tensors[op->out[i]].role != WML_ROLE_GRAD) return false;
    weights = true;
  }
  return weights || op->kind == WML_OP_METRIC;
}

static void find_lifetimes(const wml_graph *g, wml_lifetime *life, int *root) {
  for (int i = 0; i < g->n_tensors; i++) {
    life[i] = (wml_lifetime){value_bytes(g, &g->tensors[i]), -1, -1, 0};
    root[i] = i;
  }
  for (int k = 0; k < g->n_ops; k++) {
    const wml_op *op = &g->ops[k];
    if (op->kind == WML_OP_RESHAPE) { /* a view */
      life[op->out[0]].bytes = 0;
      root[op->out[0]] = root[op->in[0]];
    }
    if (op->kind == WML_OP_MAXPOOL && op->out[1] >= 0) /* a byte says which one won */
      life[op->out[1]].bytes =
          wml_round_up((size_t)wml_elements(&g->tensors[op->out[1]]), ALIGNMENT);
    for (int i = 1; op->kind == WML_OP_NORM && i < 3; i++) /* float32 always */
      if (op->out[i] >= 0)
        life[op->out[i]].bytes =
            wml_round_up((size_t)wml_elements(&g->tensors[op->out[i]]) * sizeof(float), ALIGNMENT);
    int last = runs_aside(g, op) ? g->n_ops : k;
    for (int i = 0; i < WML_MAX_OPERANDS; i++) touch(life, root, op->in[i], k, last);
    for (int i = 0; i < 3; i++) touch(life, root, op->out[i], k, last);
  }
  for (int i = 0; i < g->n_outputs; i++) touch(life, root, g->outputs[i], g->n_ops, g->n_ops);
  for (int i = 0; i < g->n_tensors; i++)
    if (life[i].first < 0) life[i].bytes = 0;
}

/* Outputs are float32. Several lie together behind all other values; returns their bytes. */
static size_t take_outputs(const wml_graph *g, wml_lifetime *life, const int *root) {
  size_t bytes = 0;
  for (int i = 0; i < g->n_outputs; i++) {
    wml_lifetime *l = &life[root[g->outputs[i]]];
    size_t n = (size_t)wml_elements(&g->tensors[g->outputs[i]]);
    if (l->bytes) l->bytes = wml_round_up(n * sizeof(float), ALIGNMENT);
    if (g->n_outputs == 1) break;
    bytes += l->bytes;
    l->bytes = 0;
  }
  return bytes;
}

/* Bytes of values that outlive the forward pass. */
static size_t saved_bytes(const wml_graph *g, const wml_lifetime *life) {
  size_t saved = 0;
  int forward = 0;
  while (forward < g->n_ops && g->ops[forward].kind != WML_OP_LOSS) forward++;
  for (int i = 0; i < g->n_tensors && forward < g->n_ops; i++)
    if (life[i].first < forward && life[i].last > forward) saved += life[i].bytes;
  return saved;
}

static size_t workspace_of(const wml_graph *g, bool first) {
  for (int k = 0; k < g->n_ops; k++)
    if (g->ops[k].kind == WML_OP_CONV2D || g->ops[k].kind == WML_OP_CONV2D_BWD_DATA)
      return convolution_workspace / (first ? 1 : 4);
  return workspace;
}

webml_status wml_estimate_memory(const wml_graph *g, bool shared, webml_memory *memory) {
  size_t n = (size_t)g->n_tensors;
  wml_lifetime *life = wml_alloc(n * sizeof *life);
  int *root = wml_alloc(n * sizeof *root), *order = wml_alloc(n * sizeof *order);
  webml_status status = WEBML_OK;
  if (life && root && order) {
    find_lifetimes(g, life, root);
    size_t values = take_outputs(g, life, root);
    values += wml_pack(life, (int)n, order);
    size_t saved = saved_bytes(g, life);
    if (saved > values) saved = values;
    if (!shared) add_persistent(g, memory);
    memory->saved += saved;
    memory->scratch += values - saved + workspace_of(g, !shared) + of_steps;
    memory->total = memory->weights + memory->state + memory->saved + memory->scratch;
  } else
    status = wml_no_memory(n * sizeof *life, "an estimate");
  wml_free(life);
  wml_free(root);
  wml_free(order);
  return status;
}
