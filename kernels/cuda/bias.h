/* Gradients of biases, for convolutions and dense layers: the sums of dy (in[1]) over its rows,
 * where the operation has them as its second output. */
#ifndef WML_CUDA_BIAS_H
#define WML_CUDA_BIAS_H

#include "cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes the node's second temporary. */
wml_result cuda_bias_plan(wml_plan *plan, cuda_node *node);
void cuda_bias_run(cuda_call *call, const cuda_node *node);

#ifdef __cplusplus
}
#endif

#endif
