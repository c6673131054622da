/* Running a kernel on the host: its threads one after another, or, where they wait for each other,
 * as fibers that take turns. */
#ifndef WML_CUDA_EMULATION_THREADS_H
#define WML_CUDA_EMULATION_THREADS_H

#include "cuda_runtime_api.h"

#include <functional>
#include <math.h>

#define __global__
#define __device__
#define __host__
#define __shared__ static /* one block runs at a time */
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct emulated_index {
  unsigned x, y, z;
};
extern emulated_index threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();
/* Every lane gives a value and gets that of lane ^ mask. All 32 lanes take part. */
double emulated_exchange(double value, int mask);

template <typename T> static inline T __shfl_xor_sync(unsigned, T value, int mask) {
  return (T)emulated_exchange((double)value, mask);
}

/* Runs body for every thread of the grid, or records it where the stream is capturing. `together`:
 * the kernel uses __syncthreads or exchanges between lanes. */
void emulated_launch(long grid, int block, bool together, cudaStream_t stream,
                     std::function<void()> body);

#endif
