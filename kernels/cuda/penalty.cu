/* l1 * sum |x| + l2 * sum x^2 joins the loss: of parameters, and of values. */
#include "kernel.cuh"

static __global__ void penalty_pieces(cuda_view x, int64_t n, float l1, float l2, double *partial) {
  double one = 0.0, two = 0.0;
  CUDA_EACH(i, n) {
    double v = (double)view_get(x, i);
    one += fabs(v);
    two += v * v;
  }
  one = block_sum(one);
  two = block_sum(two);
  if (threadIdx.x == 0) partial[blockIdx.x] = (double)l1 * one + (double)l2 * two;
}

static __global__ void add_penalty(const double *partial, int64_t n, cuda_state *state) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += CUDA_THREADS) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) state->loss += sum;
}

static __global__ void penalty_gradient(cuda_view x, cuda_view dx, int64_t n, float l1, float l2) {
  CUDA_EACH(i, n / 4) {
    cuda_float4 v = view_get4(x, i * 4);
    for (int k = 0; k < 4; k++) v.v[k] = l1 * wml_sign(v.v[k]) + 2.0f * l2 * v.v[k];
    view_set4(dx, i * 4, v);
  }
  CUDA_EACH(i, n % 4) {
    int64_t at = n - 1 - i;
    float v = view_get(x, at);
    view_set(dx, at, l1 * wml_sign(v) + 2.0f * l2 * v);
  }
}

static void add_to_loss(cuda_call *call, cuda_view x, int64_t n, float l1, float l2,
                        double *partial) {
  long blocks = cuda_blocks(n, CUDA_PENALTY_BLOCKS);
  CUDA_LAUNCH_TOGETHER(penalty_pieces, blocks, CUDA_THREADS, call->stream, x, n, l1, l2, partial);
  CUDA_LAUNCH_TOGETHER(add_penalty, 1, CUDA_THREADS, call->stream, partial, (int64_t)blocks,
                       call->plan->state);
}

void cuda_penalty(cuda_call *call) {
  const wml_plan *plan = call->plan;
  for (int i = 0; i < plan->graph.update.n_items; i++) {
    const wml_update_item *item = &plan->graph.update.items[i];
    if (item->l1 == 0.0f && item->l2 == 0.0f) continue;
    add_to_loss(call, cuda_view_of(plan, item->param), plan->tensors[item->param].entry->elements,
                item->l1, item->l2, plan->penalty);
  }
}

static void run_penalty(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  float l1 = op->u.penalty.l1, l2 = op->u.penalty.l2;
  cuda_view x = cuda_view_of(plan, op->in[0]), dx = cuda_view_of(plan, op->out[0]);
  int64_t n = wml_elements(cuda_info(plan, op->in[0]));
  add_to_loss(call, x, n, l1, l2, (double *)plan->tensors[node->temp[0]].data);
  if (dx.data)
    CUDA_LAUNCH(penalty_gradient, cuda_blocks(n / 4, 65536), CUDA_THREADS, call->stream, x, dx, n,
                l1, l2);
}

static wml_result plan_penalty(wml_plan *plan, cuda_node *node) {
  node->name = "own";
  node->run = run_penalty;
  return cuda_take_temporary(plan, node, 0, CUDA_PENALTY_BLOCKS * sizeof(double));
}

const cuda_implementation cuda_penalties[] = {{plan_penalty}, {NULL}};
