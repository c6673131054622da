/* Dense: y[r, o] = bias[o] + sum over i of x[r, i] * kernel[i, o]. cuBLASLt first; an own kernel
 * behind it serves shapes that it refuses, and as its oracle. */
#include "bias.h"
#include "product.h"

/* Rows and widths of a dense operation. */
typedef struct shape {
  int64_t rows, in, out;
} shape;

static shape shape_of(const wml_plan *plan, int x, int y) {
  const wml_tensor *a = cuda_info(plan, x), *b = cuda_info(plan, y);
  int64_t in = a->dim[a->rank - 1];
  return shape{wml_elements(a) / in, in, b->dim[b->rank - 1]};
}

static shape shape_of_node(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  switch (op->kind) {
  case WML_OP_DENSE: return shape_of(plan, op->in[0], op->out[0]);
  case WML_OP_DENSE_BWD_DATA: return shape_of(plan, op->out[0], op->in[0]);
  default: return shape_of(plan, op->in[0], op->in[1]);
  }
}

static cuda_product product_of(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  shape s = shape_of_node(plan, node);
  cuda_product p = {};
  cuda_type weight = plan->graph.precision == WML_MIXED_BFLOAT16 ? CUDA_BF16_T : CUDA_F32_T;
  p.strict = plan->graph.precision == WML_FLOAT32_STRICT;
  p.deterministic = plan->graph.deterministic;
  p.batch = 1;
  p.m = s.rows, p.n = s.out, p.k = s.in;
  p.a = plan->tensors[op->in[0]].type;
  p.b = weight;
  p.c = op->out[0] >= 0 ? plan->tensors[op->out[0]].type : CUDA_F32_T;
  if (op->kind == WML_OP_DENSE) {
    p.bias = op->in[2] >= 0;
    p.relu = node->relu;
  } else if (op->kind == WML_OP_DENSE_BWD_DATA) {
    p.n = s.in, p.k = s.out;
    p.b_transposed = true;
  } else {
    p.m = s.in, p.k = s.rows;
    p.a_transposed = true;
    p.b = plan->tensors[op->in[1]].type;
  }
  return p;
}

static void run_product(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  if (op->out[0] < 0) return;
  cuda_product p = product_of(plan, node);
  cuda_view b = op->kind == WML_OP_DENSE_BWD_WEIGHTS ? cuda_view_of(plan, op->in[1])
                                                     : cuda_weight(plan, op->in[1]);
  cuda_product_run(call, node, &p, cuda_view_of(plan, op->in[0]), b,
                   op->kind == WML_OP_DENSE ? op->in[2] : -1);
}

static wml_result plan_blas(wml_plan *plan, cuda_node *node) {
  if (node->op.out[0] < 0) return WML_UNSUPPORTED;
  cuda_product p = product_of(plan, node);
  return cuda_product_plan_fast(plan, node, &p);
}

/* ---- the three passes ---- */

static wml_result plan_fast(wml_plan *plan, cuda_node *node) {
  node->run = run_product;
  return plan_blas(plan, node);
}

static wml_result plan_own(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:thread per element";
  node->run = run_product;
  return WML_OK;
}

static void run_weights(cuda_call *call, const cuda_node *node) {
  run_product(call, node);
  cuda_bias_run(call, node);
}

static wml_result plan_weights_fast(wml_plan *plan, cuda_node *node) {
  wml_result result = plan_blas(plan, node);
  node->run = run_weights;
  return result == WML_OK ? cuda_bias_plan(plan, node) : result;
}

static wml_result plan_weights_own(wml_plan *plan, cuda_node *node) {
  node->name = "own:thread per element";
  node->run = run_weights;
  return cuda_bias_plan(plan, node);
}

const cuda_implementation cuda_dense[] = {{plan_fast}, {plan_own}, {NULL}};
const cuda_implementation cuda_dense_bwd_data[] = {{plan_fast}, {plan_own}, {NULL}};
const cuda_implementation cuda_dense_bwd_weights[] = {
    {plan_weights_fast}, {plan_weights_own}, {NULL}};
