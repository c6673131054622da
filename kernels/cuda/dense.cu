/* Dense: y[r, o] = bias[o] + sum over i of x[r, i] * kernel[i, o]. cuBLASLt first; the own kernels
 * behind it serve shapes that it refuses, and as its oracle. */
#include "kernel.cuh"

#include "bias.h"
#include "vendor.h"

/* c[m, n] = a[m, k] b[k, n] (+ bias, relu): a thread per element, summing in double. strides: of a
 * and b, so that either may be read transposed. */
typedef struct product {
  cuda_view a, b, c;
  const float *bias;
  int64_t m, n, k, a_row, a_column, b_row, b_column;
  bool relu;
} product;

static __global__ void multiply(product p) {
  CUDA_EACH(i, p.m * p.n) {
    int64_t row = i / p.n, column = i % p.n;
    double exact = 0.0;
    for (int64_t k = 0; k < p.k; k++)
      exact += (double)view_get(p.a, row * p.a_row + k * p.a_column) *
               (double)view_get(p.b, k * p.b_row + column * p.b_column);
    if (p.bias) exact += (double)p.bias[column];
    float sum = (float)exact;
    view_set(p.c, i, p.relu && !(sum > 0.0f || sum != sum) ? 0.0f : sum);
  }
}

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

/* ---- own ---- */

static void run_own(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  cuda_product v = product_of(plan, node);
  product p = {cuda_view_of(plan, op->in[0]),
               {},
               cuda_view_of(plan, op->out[0]),
               NULL,
               v.m,
               v.n,
               v.k,
               v.k,
               1,
               v.n,
               1,
               v.relu};
  if (op->kind == WML_OP_DENSE) {
    p.b = cuda_weight(plan, op->in[1]);
    p.bias = cuda_f32(plan, op->in[2]);
  } else if (op->kind == WML_OP_DENSE_BWD_DATA) {
    p.b = cuda_weight(plan, op->in[1]);
    p.b_row = 1, p.b_column = v.k;
  } else {
    p.b = cuda_view_of(plan, op->in[1]);
    p.a_row = 1, p.a_column = v.m;
  }
  if (op->out[0] >= 0)
    CUDA_LAUNCH(multiply, cuda_blocks(p.m * p.n, 1 << 20), CUDA_THREADS, call->stream, p);
}

/* ---- cuBLASLt ---- */

static void run_blas(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const void *b = op->kind == WML_OP_DENSE_BWD_WEIGHTS ? plan->tensors[op->in[1]].data
                                                       : cuda_weight(plan, op->in[1]).data;
  const void *bias = NULL;
  if (op->kind == WML_OP_DENSE && op->in[2] >= 0)
    bias = plan->tensors[op->out[0]].type == CUDA_BF16_T ? cuda_weight(plan, op->in[2]).data
                                                         : cuda_f32(plan, op->in[2]);
  void *workspace = node->temp[0] >= 0 ? plan->tensors[node->temp[0]].data : NULL;
  call->result = cuda_blas_run(plan->device, (const cuda_blas_plan *)node->vendor, call->stream,
                               plan->tensors[op->in[0]].data, b, plan->tensors[op->out[0]].data,
                               bias, workspace);
}

static const cuda_tuning tuning = {cuda_blas_count, cuda_blas_select, cuda_blas_key};

static wml_result plan_blas(wml_plan *plan, cuda_node *node) {
  cuda_blas_plan *vendor = NULL;
  if (node->op.out[0] < 0) return WML_UNSUPPORTED;
  cuda_product p = product_of(plan, node);
  wml_result result = cuda_blas_plan_product(plan->device, &p, &vendor, &node->why);
  if (result != WML_OK) return result;
  node->vendor = vendor;
  node->release = cuda_blas_release;
  node->tuning = &tuning;
  node->name = cuda_blas_name(vendor);
  if (cuda_blas_workspace(vendor) > 0) {
    node->temp[0] = cuda_add_temporary(plan, cuda_blas_workspace(vendor));
    if (node->temp[0] < 0) return WML_OUT_OF_MEMORY;
  }
  return WML_OK;
}

/* ---- the three passes ---- */

static wml_result plan_fast(wml_plan *plan, cuda_node *node) {
  node->run = run_blas;
  return plan_blas(plan, node);
}

static wml_result plan_own(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:thread per element";
  node->run = run_own;
  return WML_OK;
}

static void run_weights_fast(cuda_call *call, const cuda_node *node) {
  run_blas(call, node);
  cuda_bias_run(call, node);
}

static void run_weights_own(cuda_call *call, const cuda_node *node) {
  run_own(call, node);
  cuda_bias_run(call, node);
}

static wml_result plan_weights_fast(wml_plan *plan, cuda_node *node) {
  wml_result result = plan_blas(plan, node);
  node->run = run_weights_fast;
  return result == WML_OK ? cuda_bias_plan(plan, node) : result;
}

static wml_result plan_weights_own(wml_plan *plan, cuda_node *node) {
  node->name = "own:thread per element";
  node->run = run_weights_own;
  return cuda_bias_plan(plan, node);
}

const cuda_implementation cuda_dense[] = {{plan_fast}, {plan_own}, {NULL}};
const cuda_implementation cuda_dense_bwd_data[] = {{plan_fast}, {plan_own}, {NULL}};
const cuda_implementation cuda_dense_bwd_weights[] = {
    {plan_weights_fast}, {plan_weights_own}, {NULL}};
