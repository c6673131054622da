/* Losses and metrics, and the end of a step. Rows are the last axis of the prediction. */
#include "kernel.cuh"

#include "../common/rows.h"

static wml_rows rows_of(const wml_plan *plan, const cuda_node *node) {
  const int *in = node->op.in;
  return wml_rows_of(cuda_info(plan, in[0]), cuda_f32(plan, in[0]), cuda_info(plan, in[1]),
                     plan->tensors[in[1]].data, cuda_f32(plan, in[2]));
}

static int64_t row_count(const wml_plan *plan, const cuda_node *node) {
  const wml_tensor *p = cuda_info(plan, node->op.in[0]);
  return wml_elements(p) / p->dim[p->rank - 1];
}

/* The operation as kernels take it: arrays on the device. */
static wml_op device_op(const cuda_node *node) {
  wml_op op = node->op;
  if (op.kind == WML_OP_LOSS && op.u.loss.class_weight)
    op.u.loss.class_weight = (const float *)node->constant;
  return op;
}

/* hinge: whether all labels of the batch are 0 or 1. One block. */
static __global__ void find_binary(wml_rows rows, int64_t n, double *binary) {
  double others = 0.0;
  for (int64_t i = threadIdx.x; rows.target_dense && i < n * rows.target_k; i += CUDA_THREADS)
    if (rows.target_dense[i] != 0.0f && rows.target_dense[i] != 1.0f) others += 1.0;
  others = block_sum(others);
  if (threadIdx.x == 0) *binary = others == 0.0;
}

/* values: [n] of each row, and behind them whether labels are binary. */
static __global__ void loss_rows(wml_op op, wml_rows rows, int64_t n, bool hinge, double *values,
                                 float *dp) {
  wml_loss loss = op.u.loss.loss;
  if (hinge) loss.signed_labels = values[n] != 0.0;
  CUDA_EACH(r, n) values[r] = wml_rows_loss(&op, &loss, &rows, n, r, r + 1, dp);
}

/* The common case, softmax cross-entropy on logits: a warp per row, the gradient in the type that
 * the layer before reads. */
static __global__ void softmax_loss(wml_op op, wml_rows rows, int64_t n, double *values,
                                    cuda_view dp) {
  int64_t row = (int64_t)blockIdx.x * (CUDA_THREADS / 32) + threadIdx.x / 32;
  int lane = (int)(threadIdx.x % 32);
  bool own = row < n; /* warps behind the last row work on it, too, and write nothing */
  if (!own) row = n - 1;
  const wml_loss *loss = &op.u.loss.loss;
  const float *z = rows.p + row * rows.k;
  wml_target t = wml_rows_target(&rows, row);
  float top = -INFINITY, sum = 0.0f, mass = 0.0f, dot = 0.0f;
  bool broken = false; /* a NaN must not be lost in the comparison */
  for (int64_t j = lane; j < rows.k; j += 32) {
    top = z[j] > top ? z[j] : top;
    broken = broken || z[j] != z[j];
  }
  for (int mask = 16; mask > 0; mask >>= 1) {
    float other = __shfl_xor_sync(0xFFFFFFFFu, top, mask);
    top = other > top ? other : top;
  }
  for (int64_t j = lane; j < rows.k; j += 32) {
    float target = wml_target_at(loss, t, (long)j, (long)rows.k);
    sum += expf(z[j] - top);
    mass += target;
    dot += target * (z[j] - top);
  }
  if (broken) sum = NAN;
  for (int mask = 16; mask > 0; mask >>= 1) {
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, mask);
    mass += __shfl_xor_sync(0xFFFFFFFFu, mass, mask);
    dot += __shfl_xor_sync(0xFFFFFFFFu, dot, mask);
  }
  double weight = wml_rows_weight(&rows, &op, row, t) / (double)n;
  float dp_weight = (float)(weight * (double)op.u.loss.weight);
  for (int64_t j = lane; own && dp.data && j < rows.k; j += 32) {
    float target = wml_target_at(loss, t, (long)j, (long)rows.k);
    view_set(dp, row * rows.k + j, (expf(z[j] - top) / sum * mass - target) * dp_weight);
  }
  if (own && lane == 0) values[row] = weight * (log((double)sum) * (double)mass - (double)dot);
}

/* One block: the sum in a fixed order joins the step's loss, and the result of this loss itself
 * where there is one. */
static __global__ void add_loss(const double *values, int64_t n, double weight, cuda_state *state,
                                double *result, double batch) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += CUDA_THREADS) sum += values[i];
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  state->loss += sum * weight;
  if (result) *result += sum * batch;
}

static void run_add(cuda_call *call, const cuda_node *node, const double *values, int64_t n) {
  const wml_plan *plan = call->plan;
  int result = node->op.u.loss.result;
  CUDA_LAUNCH_TOGETHER(add_loss, 1, CUDA_THREADS, call->stream, values, n,
                       (double)node->op.u.loss.weight, plan->state,
                       result < 0 ? NULL : plan->results + result, (double)plan->graph.batch);
}

/* ---- losses of the whole batch ---- */

enum { OVERLAP_BLOCKS = 256 };

static __global__ void overlap_sums(wml_op op, wml_rows rows, int64_t n, wml_overlap *partial) {
  wml_overlap sum = {0.0, 0.0, 0.0, 0.0};
  CUDA_EACH(r, n) {
    wml_overlap row = wml_rows_overlap(&op, &rows, r, r + 1);
    wml_overlap_add(&sum, &row);
  }
  sum.both = block_sum(sum.both);
  sum.target = block_sum(sum.target);
  sum.predicted = block_sum(sum.predicted);
  sum.weight = block_sum(sum.weight);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/* One thread: the value joins the step's loss, and what the gradient needs takes the place of the
 * first partial sum. */
static __global__ void add_overlap(wml_op op, wml_overlap *partial, int blocks, int64_t n,
                                   cuda_state *state, double *result, double batch) {
  wml_overlap sum = partial[0];
  for (int i = 1; i < blocks; i++) wml_overlap_add(&sum, &partial[i]);
  wml_overlap_loss loss = wml_overlap_value(&op, &sum, n);
  state->loss += loss.value * (double)op.u.loss.weight;
  if (result) *result += loss.value * batch;
  *(wml_overlap_loss *)partial = loss;
}

static __global__ void overlap_gradient(wml_op op, wml_rows rows, int64_t n,
                                        const wml_overlap *partial, float *dp) {
  const wml_overlap_loss *loss = (const wml_overlap_loss *)partial;
  CUDA_EACH(r, n) wml_rows_overlap_gradient(&op, loss, &rows, r, r + 1, dp);
}

/* ---- the operation ---- */

static bool is_softmax(const wml_op *op) {
  const wml_loss *loss = &op->u.loss.loss;
  return loss->from_logits && (loss->kind == WML_CATEGORICAL_CROSSENTROPY ||
                               loss->kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY);
}

static void run_softmax(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  int64_t n = row_count(plan, node);
  double *values = (double *)plan->tensors[node->temp[0]].data;
  int64_t blocks = (n + CUDA_THREADS / 32 - 1) / (CUDA_THREADS / 32);
  CUDA_LAUNCH_TOGETHER(softmax_loss, blocks, CUDA_THREADS, call->stream, device_op(node),
                       rows_of(plan, node), n, values, cuda_view_of(plan, node->op.out[0]));
  run_add(call, node, values, n);
}

static void launch_rows(cuda_call *call, const cuda_node *node, float *gradient) {
  const wml_plan *plan = call->plan;
  int64_t n = row_count(plan, node);
  double *values = (double *)plan->tensors[node->temp[0]].data;
  wml_loss_kind kind = node->op.u.loss.loss.kind;
  bool hinge = kind == WML_HINGE || kind == WML_SQUARED_HINGE;
  wml_rows rows = rows_of(plan, node);
  if (hinge) CUDA_LAUNCH_TOGETHER(find_binary, 1, CUDA_THREADS, call->stream, rows, n, values + n);
  CUDA_LAUNCH(loss_rows, cuda_blocks(n, 16384), CUDA_THREADS, call->stream, device_op(node), rows,
              n, hinge, values, gradient);
  run_add(call, node, values, n);
}

static void launch_overlap(cuda_call *call, const cuda_node *node, float *gradient) {
  const wml_plan *plan = call->plan;
  int64_t n = row_count(plan, node);
  wml_overlap *partial = (wml_overlap *)plan->tensors[node->temp[0]].data;
  wml_rows rows = rows_of(plan, node);
  wml_op op = device_op(node);
  long blocks = cuda_blocks(n, OVERLAP_BLOCKS);
  CUDA_LAUNCH_TOGETHER(overlap_sums, blocks, CUDA_THREADS, call->stream, op, rows, n, partial);
  int result = op.u.loss.result;
  CUDA_LAUNCH(add_overlap, 1, 1, call->stream, op, partial, (int)blocks, n, plan->state,
              result < 0 ? NULL : plan->results + result, (double)plan->graph.batch);
  if (gradient)
    CUDA_LAUNCH(overlap_gradient, cuda_blocks(n, 16384), CUDA_THREADS, call->stream, op, rows, n,
                partial, gradient);
}

static void run_loss(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  int dp = node->op.out[0];
  float *gradient = node->temp[1] >= 0 ? cuda_f32(plan, node->temp[1]) : cuda_f32(plan, dp);
  if (WML_LOSS_IS_OF_BATCH(node->op.u.loss.loss.kind))
    launch_overlap(call, node, gradient);
  else
    launch_rows(call, node, gradient);
  if (node->temp[1] < 0) return;
  cuda_view from = {gradient, CUDA_F32_T};
  cuda_convert(call->stream, from, cuda_view_of(plan, dp), wml_elements(cuda_info(plan, dp)));
}

static wml_result plan_loss(wml_plan *plan, cuda_node *node) {
  const wml_op *op = &node->op;
  size_t n = (size_t)row_count(plan, node);
  bool softmax = is_softmax(op);
  node->name = softmax ? "own:softmax" : "own";
  node->run = softmax ? run_softmax : run_loss;
  size_t bytes = WML_LOSS_IS_OF_BATCH(op->u.loss.loss.kind) ? OVERLAP_BLOCKS * sizeof(wml_overlap)
                                                            : (n + 1) * sizeof(double);
  node->temp[0] = cuda_add_temporary(plan, bytes);
  if (node->temp[0] < 0) return WML_OUT_OF_MEMORY;
  if (!softmax && op->out[0] >= 0 && plan->tensors[op->out[0]].type != CUDA_F32_T) {
    bytes = (size_t)wml_elements(cuda_info(plan, op->out[0])) * sizeof(float);
    node->temp[1] = cuda_add_temporary(plan, bytes);
    if (node->temp[1] < 0) return WML_OUT_OF_MEMORY;
  }
  if (!op->u.loss.class_weight || plan->device->planning) return WML_OK;
  return cuda_constant(plan, op->u.loss.class_weight, (size_t)op->u.loss.n_classes * sizeof(float),
                       &node->constant);
}

/* ---- metrics: one block each, sums in a fixed order ---- */

/* Metrics of two sums, and those of three counts. */
static __global__ void metric_sums(wml_op op, wml_rows rows, int64_t n, double *state) {
  double own[3] = {0.0, 0.0, 0.0};
  for (int64_t r = threadIdx.x; r < n; r += CUDA_THREADS) {
    wml_target t = wml_rows_target(&rows, r);
    wml_metric_add(&op.u.metric.metric, rows.p + r * rows.k, t, (long)rows.k,
                   wml_rows_weight(&rows, &op, r, t), own);
  }
  long size = wml_metric_state_size(op.u.metric.metric.kind, (long)rows.k);
  for (int i = 0; i < 3; i++) {
    double sum = block_sum(own[i]);
    if (threadIdx.x == 0 && i < size) state[i] += sum;
  }
}

/* AUC: a thread per bin looks for what falls into it. */
static __global__ void metric_bins(wml_op op, wml_rows rows, int64_t n, double *state) {
  for (int s = (int)threadIdx.x; s < 2 * (WML_AUC_THRESHOLDS + 1); s += CUDA_THREADS) {
    bool positive = s <= WML_AUC_THRESHOLDS;
    long bin = positive ? s : s - (WML_AUC_THRESHOLDS + 1);
    for (int64_t r = 0; r < n; r++) {
      wml_target t = wml_rows_target(&rows, r);
      for (long j = 0; j < (long)rows.k; j++)
        if ((wml_metric_target(t, j) > 0.5f) == positive &&
            wml_auc_bin(rows.p[r * rows.k + j]) == bin)
          state[s] += wml_rows_weight(&rows, &op, r, t);
    }
  }
}

/* R2: a thread per output. */
static __global__ void metric_r2(wml_op op, wml_rows rows, int64_t n, double *state) {
  CUDA_EACH(j, rows.k)
    for (int64_t r = 0; r < n; r++) {
      wml_target t = wml_rows_target(&rows, r);
      double weight = wml_rows_weight(&rows, &op, r, t);
      double truth = (double)wml_metric_target(t, (long)j),
             d = truth - (double)rows.p[r * rows.k + j];
      if (j == 0) state[0] += weight;
      state[1 + 3 * j] += weight * truth;
      state[2 + 3 * j] += weight * truth * truth;
      state[3 + 3 * j] += weight * d * d;
    }
}

static void run_metric(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  wml_rows rows = rows_of(plan, node);
  int64_t n = row_count(plan, node);
  double *state = plan->results + node->op.u.metric.result;
  wml_metric_kind kind = node->op.u.metric.metric.kind;
  if (kind == WML_AUC)
    CUDA_LAUNCH(metric_bins, 1, CUDA_THREADS, call->stream, node->op, rows, n, state);
  else if (kind == WML_R2_SCORE)
    CUDA_LAUNCH(metric_r2, 1, CUDA_THREADS, call->stream, node->op, rows, n, state);
  else
    CUDA_LAUNCH_TOGETHER(metric_sums, 1, CUDA_THREADS, call->stream, node->op, rows, n, state);
}

static wml_result plan_metric(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_metric;
  return WML_OK;
}

/* ---- the end of a step without an update ---- */

/* As on the CPU: only a step that updates asks whether it was finite. */
static __global__ void end_pass(cuda_state *state, double *results, int n_results, double batch) {
  if (n_results > 0) {
    results[WML_RESULT_LOSS] += state->loss * batch;
    results[WML_RESULT_COUNT] += batch;
  }
  state->loss = 0.0;
  state->index++;
  state->step++;
}

void cuda_end_pass(cuda_call *call) {
  const wml_plan *plan = call->plan;
  CUDA_LAUNCH(end_pass, 1, 1, call->stream, plan->state, plan->results, plan->graph.n_results,
              (double)plan->graph.batch);
}

const cuda_implementation cuda_loss[] = {{plan_loss}, {NULL}};
const cuda_implementation cuda_metric[] = {{plan_metric}, {NULL}};
