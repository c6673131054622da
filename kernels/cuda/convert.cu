/* One type to another, element by element. */
#include "kernel.cuh"

static __global__ void convert(cuda_view from, cuda_view to, int64_t n) {
  CUDA_EACH(i, n / 4) view_set4(to, i * 4, view_get4(from, i * 4));
  CUDA_EACH(i, n % 4) view_set(to, n - 1 - i, view_get(from, n - 1 - i));
}

void cuda_convert(cudaStream_t stream, cuda_view from, cuda_view to, int64_t n) {
  CUDA_LAUNCH(convert, cuda_blocks(n / 4, 4096), CUDA_THREADS, stream, from, to, n);
}
