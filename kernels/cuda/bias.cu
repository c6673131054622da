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

size_t cuda_bias_scratch(int64_t rows, int64_t c) {
  return (size_t)(strip_count(rows) * c) * sizeof(float);
}

void cuda_bias_gradient(cudaStream_t stream, cuda_view dy, int64_t rows, int64_t c, float *scratch,
                        float *db) {
  CUDA_LAUNCH_TOGETHER(strips, strip_blocks(rows, c), CUDA_THREADS, stream, dy, rows, c,
                       strip_rows(rows), scratch);
  CUDA_LAUNCH_TOGETHER(totals, c, CUDA_THREADS, stream, scratch, strip_count(rows), c, db);
}
