/* Gradients of biases: the sum of dy over its rows. */
#include "columns.cuh"

#include "bias.h"

static __global__ void strips(cuda_view dy, int64_t rows, int64_t c, int64_t rows_of_strip,
                              float *partial) {
  strip s = strip_of(rows, c, rows_of_strip);
  float sum = 0.0f;
  if (s.column < c)
    for (int64_t r = s.first; r < s.end; r += LANES_OF_ROWS) sum += view_get(dy, r * c + s.column);
  strip_sum(s, sum, c, partial);
}

static __global__ void totals(const float *partial, int64_t count, int64_t c, float *db) {
  double sum = column_total(partial, count, c, blockIdx.x);
  if (threadIdx.x == 0) db[blockIdx.x] = (float)sum;
}

/* dy: [rows, c] */
static void shape_of(const wml_plan *plan, const cuda_node *node, int64_t *rows, int64_t *c) {
  const wml_tensor *dy = cuda_info(plan, node->op.in[1]);
  *c = dy->dim[dy->rank - 1];
  *rows = wml_elements(dy) / *c;
}

wml_result cuda_bias_plan(wml_plan *plan, cuda_node *node) {
  int64_t rows, c;
  if (node->op.out[1] < 0) return WML_OK;
  shape_of(plan, node, &rows, &c);
  size_t bytes = (size_t)(strip_count(rows) * c) * sizeof(float);
  node->temp[1] = cuda_add_temporary(plan, bytes);
  return node->temp[1] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

void cuda_bias_run(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  int64_t rows, c;
  if (node->op.out[1] < 0) return;
  shape_of(plan, node, &rows, &c);
  bool one = strip_count(rows) == 1; /* of few rows a strip is the sum */
  float *scratch = cuda_f32(plan, one ? node->op.out[1] : node->temp[1]);
  CUDA_LAUNCH_TOGETHER(strips, strip_blocks(rows, c), CUDA_THREADS, call->stream,
                       cuda_view_of(plan, node->op.in[1]), rows, c, strip_rows(rows), scratch);
  if (one) return;
  CUDA_LAUNCH_TOGETHER(totals, c, CUDA_THREADS, call->stream, scratch, strip_count(rows), c,
                       cuda_f32(plan, node->op.out[1]));
}
