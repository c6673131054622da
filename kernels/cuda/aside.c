/* Operations that nothing waits for at once run on a second stream beside what follows them: the
 * gradients of weights beside those of the values, metrics and the rows of labels beside the
 * network. At small batches an operation is a few microseconds, of which one is the gap before it,
 * so what matters is how many stand one behind the other.
 *
 * The second stream takes them in their order. An operation of the first stream waits for those
 * whose results it reads; the update, or the end of the step, for all. Values that an operation
 * aside touches keep their bytes until then, which takes more memory: plans to which that matters
 * keep everything in order. */
#include "cuda.h"

/* Whether it computes gradients of parameters and nothing else. */
static bool is_weights(const wml_plan *plan, const cuda_node *node) {
  int found = 0;
  for (int i = 0; i < 3; i++) {
    if (node->op.out[i] < 0) continue;
    if (cuda_info(plan, node->op.out[i])->role != WML_ROLE_GRAD) return false;
    found++;
  }
  return found > 0;
}

/* Whether something behind it could run meanwhile. */
static bool has_company(const wml_plan *plan, int node) {
  for (int k = node + 1; k < plan->n_nodes; k++)
    if (plan->nodes[k].op.kind != WML_OP_UPDATE && plan->nodes[k].op.kind != WML_OP_RESHAPE &&
        !plan->nodes[k].aside)
      return true;
  return false;
}

/* From the back: what is last of its kind stays where it is. */
void cuda_aside_plan(wml_plan *plan) {
  for (int k = plan->n_nodes - 1; k >= 0; k--) {
    cuda_node *node = &plan->nodes[k];
    bool candidate = is_weights(plan, node) || node->op.kind == WML_OP_METRIC ||
                     (node->op.kind == WML_OP_GATHER && k > 0);
    node->aside = plan->device->asides && !plan->in_order && candidate && has_company(plan, k);
  }
}

static bool shares(const wml_plan *plan, const cuda_node *node, int tensor) {
  for (int i = 0; i < WML_MAX_OPERANDS; i++)
    if (cuda_same_bytes(plan, node->op.in[i], tensor)) return true;
  for (int i = 0; i < 3; i++)
    if (cuda_same_bytes(plan, node->op.out[i], tensor)) return true;
  return cuda_same_bytes(plan, node->pooled, tensor);
}

/* Whether an operation of the first stream must wait for one aside. */
static bool depends(const wml_plan *plan, const cuda_node *node, const cuda_node *aside) {
  if (node->op.kind == WML_OP_UPDATE) return true;
  if (node->op.kind == WML_OP_RESHAPE) return false;
  for (int i = 0; i < 3; i++)
    if (aside->op.out[i] >= 0 && shares(plan, node, aside->op.out[i])) return true;
  return false;
}

int cuda_aside_until(const wml_plan *plan, int node) {
  for (int k = node + 1; k < plan->n_nodes; k++)
    if (!plan->nodes[k].aside && depends(plan, &plan->nodes[k], &plan->nodes[node])) return k;
  return plan->n_nodes;
}

wml_result cuda_aside_start(wml_plan *plan) {
  wml_device *device = plan->device;
  wml_result result = WML_OK;
  for (int k = 0; k < plan->n_nodes && result == WML_OK; k++) {
    if (!plan->nodes[k].aside) continue;
    if (!plan->side) result = cuda_new_stream(device, true, &plan->side);
    if (result == WML_OK) result = cuda_new_event(device, &plan->nodes[k].ran);
  }
  return result;
}

void cuda_aside_stop(wml_plan *plan) {
  for (int k = 0; plan->nodes && k < plan->n_nodes; k++)
    if (plan->nodes[k].ran) (void)cudaEventDestroy(plan->nodes[k].ran);
  if (plan->side) (void)cudaStreamDestroy(plan->side);
}

/* node: that of the first stream which is next, or the end of the step. */
static wml_result join(cuda_call *call, int node) {
  const wml_plan *plan = call->plan;
  int last = -1;
  for (int k = call->joined + 1; k < node; k++)
    if (plan->nodes[k].aside &&
        (node == plan->n_nodes || depends(plan, &plan->nodes[node], &plan->nodes[k])))
      last = k;
  if (last < 0) return WML_OK;
  call->joined = last;
  CUDA_TRY(plan->device, cudaStreamWaitEvent(plan->store->stream, plan->nodes[last].ran, 0));
  return WML_OK;
}

wml_result cuda_aside_before(cuda_call *call, int node) {
  const wml_plan *plan = call->plan;
  cudaStream_t first = plan->store->stream;
  call->stream = first;
  if (node == plan->n_nodes || !plan->nodes[node].aside) return join(call, node);
  CUDA_TRY(plan->device, cudaEventRecord(plan->fork, first));
  CUDA_TRY(plan->device, cudaStreamWaitEvent(plan->side, plan->fork, 0));
  call->stream = plan->side;
  return WML_OK;
}

wml_result cuda_aside_after(cuda_call *call, int node) {
  const wml_plan *plan = call->plan;
  if (plan->nodes[node].aside)
    CUDA_TRY(plan->device, cudaEventRecord(plan->nodes[node].ran, plan->side));
  return WML_OK;
}
