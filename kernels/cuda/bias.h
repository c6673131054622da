/* Gradients of biases, for convolutions and dense layers. */
#ifndef WML_CUDA_BIAS_H
#define WML_CUDA_BIAS_H

#include "cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

size_t cuda_bias_scratch(int64_t rows, int64_t c); /* bytes */
/* dy: [rows, c]; db: [c] float32 */
void cuda_bias_gradient(cudaStream_t stream, cuda_view dy, int64_t rows, int64_t c, float *scratch,
                        float *db);

#ifdef __cplusplus
}
#endif

#endif
