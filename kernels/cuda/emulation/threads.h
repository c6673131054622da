/* Running a kernel on the host: its threads one after another, or, where they wait for each other,
 * as fibers that take turns. */
#ifndef WML_CUDA_EMULATION_THREADS_H
#define WML_CUDA_EMULATION_THREADS_H

#include "cuda_runtime_api.h"

#include <functional>
#include <math.h>
#include <stdint.h>
#include <string.h>

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

enum { EMULATED_LANE_BYTES = 64 };

/* Every lane of a warp gives some bytes and gets those of all 32, in the order of lanes; they are
 * there until the lane's next exchange but one. All lanes take part. */
const char (*emulated_share(const void *mine, size_t bytes))[EMULATED_LANE_BYTES];

template <typename T> static inline T __shfl_xor_sync(unsigned, T value, int mask) {
  T result;
  const char(*all)[EMULATED_LANE_BYTES] = emulated_share(&value, sizeof value);
  memcpy(&result, all[(threadIdx.x % 32) ^ (unsigned)mask], sizeof result);
  return result;
}

/* Runs body for every thread of the grid now. `together`: the kernel uses __syncthreads or
 * exchanges between lanes. */
void emulated_grid(long grid, int block, bool together, const std::function<void()> &body);

/* A call of a kernel with arguments as they are now, as a launch copies them. */
template <typename K, typename... A>
static inline std::function<void()> emulated_call(K kernel, A... a) {
  return [=] { kernel(a...); };
}

/* The same as work of a stream. */
void emulated_launch(long grid, int block, bool together, cudaStream_t stream,
                     std::function<void()> body);

/* What decides everything that CUDA leaves open; runtime.cc. */
uint64_t emulated_random();

#endif
