/* What the two ways to a pooled first convolution share: conv2d_pooled.cu in float32,
 * conv2d_pooled_tensor.cu on the tensor cores. */
#ifndef WML_CUDA_CONV2D_POOLED_CUH
#define WML_CUDA_CONV2D_POOLED_CUH

#include "kernel.cuh"

typedef struct pooled {
  cuda_view x, kernel, y; /* y: [n, ph, pw, f]; going back its gradient */
  const float *bias;
  uint8_t *index;   /* [n, ph, pw, f], or NULL */
  cuda_view values; /* going back: the pooled values */
  float *partial;   /* going back: [blocks, f, kh * kw * c + 1]; the last is the bias's */
  int64_t n, h, w, f, ph, pw, pad_h, pad_w;
} pooled;

/* A shape of kernels on the tensor cores, and where its launches are; NULL: there are none. */
typedef struct pooled_tensor {
  int64_t kh, kw, c;
  void (*forward)(cudaStream_t stream, const pooled &p);
  void (*backward)(cudaStream_t stream, const pooled &p, int64_t blocks);
  int64_t (*items)(const pooled &p); /* pieces that the blocks of `backward` take in turn */
} pooled_tensor;

/* x and kernel (going back x and y) are of this type. */
const pooled_tensor *pooled_tensor_find(const int64_t *kernel, cuda_type type);

#endif
