/* Sums over the rows of [rows, c] arrays, per column: biases' gradients and BatchNormalization.
 * First a grid of blocks, each over CUDA_STRIP rows of COLUMNS columns, in float32; then a block
 * per column adds the strips in double. The order is fixed. */
#ifndef WML_CUDA_COLUMNS_CUH
#define WML_CUDA_COLUMNS_CUH

#include "kernel.cuh"

enum { COLUMNS = 32, LANES_OF_ROWS = CUDA_THREADS / COLUMNS, MAX_STRIPS = 512 };

/* Rows of a strip, so that there are at most MAX_STRIPS of them. */
static inline int64_t strip_rows(int64_t rows) {
  int64_t least = (rows + MAX_STRIPS - 1) / MAX_STRIPS;
  return least < 64 ? 64 : least;
}

static inline int64_t strip_count(int64_t rows) {
  return (rows + strip_rows(rows) - 1) / strip_rows(rows);
}

static inline int64_t strip_blocks(int64_t rows, int64_t c) {
  return strip_count(rows) * ((c + COLUMNS - 1) / COLUMNS);
}

/* What a thread of such a block looks at. */
typedef struct strip {
  int64_t column, first, end, number; /* rows first, first + LANES_OF_ROWS, ... below end */
} strip;

CUDA_FN strip strip_of(int64_t rows, int64_t c, int64_t rows_of_strip) {
  int64_t groups = (c + COLUMNS - 1) / COLUMNS;
  strip s;
  s.number = blockIdx.x / groups;
  s.column = blockIdx.x % groups * COLUMNS + threadIdx.x % COLUMNS;
  s.first = s.number * rows_of_strip + threadIdx.x / COLUMNS;
  s.end = (s.number + 1) * rows_of_strip < rows ? (s.number + 1) * rows_of_strip : rows;
  return s;
}

/* Adds what the threads of one column have; partial: [strips, c]. All threads call it. */
CUDA_FN void strip_sum(const strip &s, float own, int64_t c, float *partial) {
  __shared__ float part[CUDA_THREADS];
  part[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x < COLUMNS && s.column < c) {
    float sum = 0.0f;
    for (int i = 0; i < LANES_OF_ROWS; i++) sum += part[threadIdx.x + i * COLUMNS];
    partial[s.number * c + s.column] = sum;
  }
  __syncthreads();
}

/* The sum of one column's strips, for every thread of the block. */
CUDA_FN double column_total(const float *partial, int64_t strips, int64_t c, int64_t column) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < strips; i += CUDA_THREADS)
    sum += (double)partial[i * c + column];
  return block_sum(sum);
}

#endif
