/* Products of matrices, for dense layers and MATMUL: by cuBLASLt, or by a kernel of our own. */
#ifndef WML_CUDA_PRODUCT_H
#define WML_CUDA_PRODUCT_H

#include "vendor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the node cuBLASLt's; takes its first temporary. WML_UNSUPPORTED with node->why. */
wml_result cuda_product_plan_fast(wml_plan *plan, cuda_node *node, const cuda_product *p);
/* Into the node's first output, by the vendor's plan where it has one. bias: a tensor, or -1. */
void cuda_product_run(cuda_call *call, const cuda_node *node, const cuda_product *p, cuda_view a,
                      cuda_view b, int bias);

#ifdef __cplusplus
}
#endif

#endif
