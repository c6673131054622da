/* BatchNormalization over the last axis. Statistics in one pass: sums of (x - shift) and of its
 * square, shift being the first row, so that cancellation is harmless; strips are added in double.
 * y = gamma (x - mean) / sqrt(variance + epsilon) + beta, biased variance. */
#include "columns.cuh"

typedef struct bn {
  cuda_view x;
  int64_t rows, c;
  float epsilon, momentum;
} bn;

static __global__ void statistic_strips(bn n, int64_t rows_of_strip, float *partial) {
  strip s = strip_of(n.rows, n.c, rows_of_strip);
  float sum = 0.0f, square = 0.0f;
  if (s.column < n.c) {
    float shift = view_get(n.x, s.column);
    for (int64_t r = s.first; r < s.end; r += LANES_OF_ROWS) {
      float d = view_get(n.x, r * n.c + s.column) - shift;
      sum += d;
      square += d * d;
    }
  }
  strip_sum(s, sum, n.c, partial);
  strip_sum(s, square, n.c, partial + MAX_STRIPS * n.c);
}

/* A block per channel. */
static __global__ void statistics(bn n, int64_t strips, const float *partial, float *mean,
                                  float *variance, float *moving_mean, float *moving_variance) {
  int64_t c = blockIdx.x;
  double sum = column_total(partial, strips, n.c, c);
  double square = column_total(partial + MAX_STRIPS * n.c, strips, n.c, c);
  if (threadIdx.x != 0) return;
  double count = (double)n.rows, v = (square - sum * sum / count) / count;
  mean[c] = (float)((double)view_get(n.x, c) + sum / count);
  variance[c] = (float)(v > 0.0 || v != v ? v : 0.0);
  moving_mean[c] = moving_mean[c] * n.momentum + mean[c] * (1.0f - n.momentum);
  moving_variance[c] = moving_variance[c] * n.momentum + variance[c] * (1.0f - n.momentum);
}

static __global__ void normalise(bn n, const float *gamma, const float *beta, const float *mean,
                                 const float *variance, cuda_view y) {
  CUDA_EACH(i, n.rows * n.c) {
    int64_t c = i % n.c;
    float scale = (gamma ? gamma[c] : 1.0f) / sqrtf(variance[c] + n.epsilon);
    view_set(y, i, (view_get(n.x, i) - mean[c]) * scale + (beta ? beta[c] : 0.0f));
  }
}

static __global__ void gradient_strips(bn n, cuda_view dy, const float *mean, const float *variance,
                                       int64_t rows_of_strip, float *partial) {
  strip s = strip_of(n.rows, n.c, rows_of_strip);
  float sum = 0.0f, dot = 0.0f;
  if (s.column < n.c) {
    float mu = mean[s.column], inverse = 1.0f / sqrtf(variance[s.column] + n.epsilon);
    for (int64_t r = s.first; r < s.end; r += LANES_OF_ROWS) {
      int64_t i = r * n.c + s.column;
      float d = view_get(dy, i);
      sum += d;
      dot += d * (view_get(n.x, i) - mu) * inverse;
    }
  }
  strip_sum(s, sum, n.c, partial);
  strip_sum(s, dot, n.c, partial + MAX_STRIPS * n.c);
}

/* sums: [2, c]: of dy and of dy * xhat */
static __global__ void gradients(int64_t strips, int64_t c, const float *partial, float *sums,
                                 float *dgamma, float *dbeta) {
  double sum = column_total(partial, strips, c, blockIdx.x);
  double dot = column_total(partial + MAX_STRIPS * c, strips, c, blockIdx.x);
  if (threadIdx.x != 0) return;
  sums[blockIdx.x] = (float)sum;
  sums[c + blockIdx.x] = (float)dot;
  if (dbeta) dbeta[blockIdx.x] = (float)sum;
  if (dgamma) dgamma[blockIdx.x] = (float)dot;
}

/* share: 1 / rows, or 0 where the statistics are constants. */
static __global__ void input_gradient(bn n, cuda_view dy, const float *gamma, const float *mean,
                                      const float *variance, const float *sums, float share,
                                      cuda_view dx) {
  CUDA_EACH(i, n.rows * n.c) {
    int64_t c = i % n.c;
    float inverse = 1.0f / sqrtf(variance[c] + n.epsilon), g = gamma ? gamma[c] : 1.0f;
    float xhat = (view_get(n.x, i) - mean[c]) * inverse;
    view_set(dx, i, g * inverse * (view_get(dy, i) - share * (sums[c] + xhat * sums[n.c + c])));
  }
}

static bn bn_of(const wml_plan *plan, const cuda_node *node, int x) {
  const wml_tensor *t = cuda_info(plan, x);
  int64_t c = t->dim[t->rank - 1];
  return bn{cuda_view_of(plan, x), wml_elements(t) / c, c, node->op.u.batchnorm.epsilon,
            node->op.u.batchnorm.momentum};
}

static void apply(cuda_call *call, const cuda_node *node, const bn &n, const float *mean,
                  const float *variance) {
  const wml_plan *plan = call->plan;
  CUDA_LAUNCH(normalise, cuda_blocks(n.rows * n.c, 65536), CUDA_THREADS, call->stream, n,
              cuda_f32(plan, node->op.in[1]), cuda_f32(plan, node->op.in[2]), mean, variance,
              cuda_view_of(plan, node->op.out[0]));
}

static void run_train(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  bn n = bn_of(plan, node, op->in[0]);
  float *partial = (float *)plan->tensors[node->temp[0]].data;
  CUDA_LAUNCH_TOGETHER(statistic_strips, strip_blocks(n.rows, n.c), CUDA_THREADS, call->stream, n,
                       strip_rows(n.rows), partial);
  CUDA_LAUNCH_TOGETHER(statistics, n.c, CUDA_THREADS, call->stream, n, strip_count(n.rows), partial,
                       cuda_f32(plan, op->out[1]), cuda_f32(plan, op->out[2]),
                       cuda_f32(plan, op->in[3]), cuda_f32(plan, op->in[4]));
  apply(call, node, n, cuda_f32(plan, op->out[1]), cuda_f32(plan, op->out[2]));
}

static void run_infer(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  apply(call, node, bn_of(plan, node, node->op.in[0]), cuda_f32(plan, node->op.in[3]),
        cuda_f32(plan, node->op.in[4]));
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  bn n = bn_of(plan, node, op->in[1]);
  float *partial = (float *)plan->tensors[node->temp[0]].data,
        *sums = partial + 2 * MAX_STRIPS * n.c;
  const float *mean = cuda_f32(plan, op->in[3]), *variance = cuda_f32(plan, op->in[4]);
  cuda_view dy = cuda_view_of(plan, op->in[0]);
  float share = op->kind == WML_OP_BATCHNORM_BWD ? 1.0f / (float)n.rows : 0.0f;
  CUDA_LAUNCH_TOGETHER(gradient_strips, strip_blocks(n.rows, n.c), CUDA_THREADS, call->stream, n,
                       dy, mean, variance, strip_rows(n.rows), partial);
  CUDA_LAUNCH_TOGETHER(gradients, n.c, CUDA_THREADS, call->stream, strip_count(n.rows), n.c,
                       partial, sums, cuda_f32(plan, op->out[1]), cuda_f32(plan, op->out[2]));
  if (op->out[0] >= 0)
    CUDA_LAUNCH(input_gradient, cuda_blocks(n.rows * n.c, 65536), CUDA_THREADS, call->stream, n, dy,
                cuda_f32(plan, op->in[2]), mean, variance, sums, share,
                cuda_view_of(plan, op->out[0]));
}

static wml_result add_scratch(wml_plan *plan, cuda_node *node, int x) {
  const wml_tensor *t = cuda_info(plan, x);
  size_t c = (size_t)t->dim[t->rank - 1];
  node->temp[0] = cuda_add_temporary(plan, 2 * (MAX_STRIPS + 1) * c * sizeof(float));
  node->name = "own:nhwc";
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_train(wml_plan *plan, cuda_node *node) {
  node->run = run_train;
  return add_scratch(plan, node, node->op.in[0]);
}

static wml_result plan_infer(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:nhwc";
  node->run = run_infer;
  return WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  node->run = run_backward;
  return add_scratch(plan, node, node->op.in[1]);
}

const cuda_implementation cuda_batchnorm_train[] = {{plan_train}, {NULL}};
const cuda_implementation cuda_batchnorm_infer[] = {{plan_infer}, {NULL}};
const cuda_implementation cuda_batchnorm_bwd[] = {{plan_backward}, {NULL}};
