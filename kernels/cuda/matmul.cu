/* Products of the matrices in the last two dimensions, all of a batch at once. */
#include "product.h"

static cuda_product product_of(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  const wml_tensor *a = cuda_info(plan, op->in[0]), *y = cuda_info(plan, op->out[0]);
  cuda_product p = {};
  p.m = y->dim[y->rank - 2], p.n = y->dim[y->rank - 1];
  p.k = a->dim[a->rank - (op->u.matmul.transpose_a ? 2 : 1)];
  p.batch = wml_elements(y) / p.m / p.n;
  p.a_transposed = op->u.matmul.transpose_a;
  p.b_transposed = op->u.matmul.transpose_b;
  p.a = plan->tensors[op->in[0]].type;
  p.b = plan->tensors[op->in[1]].type;
  p.c = plan->tensors[op->out[0]].type;
  p.strict = plan->graph.precision == WML_FLOAT32_STRICT;
  p.deterministic = plan->graph.deterministic;
  return p;
}

static void run_matmul(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  cuda_product p = product_of(plan, node);
  cuda_product_run(call, node, &p, cuda_view_of(plan, node->op.in[0]),
                   cuda_view_of(plan, node->op.in[1]), -1);
}

static wml_result plan_fast(wml_plan *plan, cuda_node *node) {
  cuda_product p = product_of(plan, node);
  node->run = run_matmul;
  return cuda_product_plan_fast(plan, node, &p);
}

static wml_result plan_own(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:thread per element";
  node->run = run_matmul;
  return WML_OK;
}

const cuda_implementation cuda_matmul[] = {{plan_fast}, {plan_own}, {NULL}};
