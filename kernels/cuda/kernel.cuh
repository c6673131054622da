/* What every kernel file needs: launching, typed access to views, sums over a block. The same
 * source is compiled by nvcc for the device and by a C++ compiler for the emulation. */
#ifndef WML_CUDA_KERNEL_CUH
#define WML_CUDA_KERNEL_CUH

#include "../common/bfloat16.h"
#include "cuda.h"

#include <math.h>

#if defined(__CUDACC__)
#define CUDA_LAUNCH(kernel, grid, block, stream, ...)                                              \
  kernel<<<(unsigned)(grid), (unsigned)(block), 0, stream>>>(__VA_ARGS__)
#define CUDA_LAUNCH_TOGETHER CUDA_LAUNCH
#else
#include "emulation/threads.h"
#define CUDA_LAUNCH(kernel, grid, block, stream, ...)                                              \
  emulated_launch((long)(grid), (int)(block), false, stream, emulated_call(kernel, __VA_ARGS__))
/* Kernels whose threads wait for each other. */
#define CUDA_LAUNCH_TOGETHER(kernel, grid, block, stream, ...)                                     \
  emulated_launch((long)(grid), (int)(block), true, stream, emulated_call(kernel, __VA_ARGS__))
#endif

#define CUDA_FN static __device__ inline

enum { CUDA_THREADS = 256 };

/* Blocks of CUDA_THREADS for n items; kernels that stride over more ask for at most `most`. */
static inline long cuda_blocks(int64_t n, long most) {
  int64_t blocks = (n + CUDA_THREADS - 1) / CUDA_THREADS;
  return blocks < 1 ? 1 : blocks > most ? most : (long)blocks;
}

/* for (i: 0 to n, known when this is compiled), unrolled, so that arrays with index i lie in
 * registers */
#if defined(__CUDACC__)
#define CUDA_FOR(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)
#else
#define CUDA_FOR(i, n) for (int i = 0; i < (n); i++)
#endif

/* for (i: each of n items, spread over the grid) */
#define CUDA_EACH(i, n)                                                                            \
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                        \
       i += (int64_t)gridDim.x * blockDim.x)

/* ---- access to views; the type is the same for a whole launch ---- */

CUDA_FN float view_get(cuda_view v, int64_t i) {
  return v.type == CUDA_BF16_T ? wml_bf16_to_float(((const uint16_t *)v.data)[i])
                               : ((const float *)v.data)[i];
}

CUDA_FN void view_set(cuda_view v, int64_t i, float x) {
  if (v.type == CUDA_BF16_T)
    ((uint16_t *)v.data)[i] = wml_bf16_from_float(x);
  else
    ((float *)v.data)[i] = x;
}

/* Two neighbours, the first an even one. */
CUDA_FN void view_set2(cuda_view v, int64_t i, float a, float b) {
  if (v.type == CUDA_BF16_T) {
    *(uint32_t *)((uint16_t *)v.data + i) =
        wml_bf16_from_float(a) | (uint32_t)wml_bf16_from_float(b) << 16;
    return;
  }
  ((float *)v.data)[i] = a;
  ((float *)v.data)[i + 1] = b;
}

struct alignas(16) cuda_float4 {
  float v[4];
};
struct alignas(8) cuda_half4 {
  uint16_t v[4];
};

/* Four neighbours, the first a multiple of four: one access of 16 or 8 bytes. */
CUDA_FN cuda_float4 view_get4(cuda_view v, int64_t i) {
  if (v.type != CUDA_BF16_T) return *(const cuda_float4 *)((const float *)v.data + i);
  cuda_half4 h = *(const cuda_half4 *)((const uint16_t *)v.data + i);
  cuda_float4 r;
  for (int k = 0; k < 4; k++) r.v[k] = wml_bf16_to_float(h.v[k]);
  return r;
}

CUDA_FN void view_set4(cuda_view v, int64_t i, cuda_float4 x) {
  if (v.type != CUDA_BF16_T) {
    *(cuda_float4 *)((float *)v.data + i) = x;
    return;
  }
  cuda_half4 h;
  for (int k = 0; k < 4; k++) h.v[k] = wml_bf16_from_float(x.v[k]);
  *(cuda_half4 *)((uint16_t *)v.data + i) = h;
}

/* `each` neighbours, 4 as above or 1: then the others count as 0. */
CUDA_FN cuda_float4 view_take(cuda_view v, int64_t i, int each) {
  if (each == 4) return view_get4(v, i);
  cuda_float4 one = {{view_get(v, i), 0.0f, 0.0f, 0.0f}};
  return one;
}

CUDA_FN void view_put(cuda_view v, int64_t i, cuda_float4 x, int each) {
  if (each == 4)
    view_set4(v, i, x);
  else
    view_set(v, i, x.v[0]);
}

/* ---- sums over a block of CUDA_THREADS threads, in a fixed order; every thread gets the sum ----
 */

template <typename T> static __device__ T block_sum(T x) {
  __shared__ T part[CUDA_THREADS / 32];
  for (int mask = 16; mask > 0; mask >>= 1) x += __shfl_xor_sync(0xFFFFFFFFu, x, mask);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = 0;
  for (int i = 0; i < CUDA_THREADS / 32; i++) sum += part[i];
  __syncthreads(); /* `part` may be written again */
  return sum;
}

#endif
