/* What the files of Conv2D share. */
#ifndef WML_CUDA_CONV2D_H
#define WML_CUDA_CONV2D_H

#include "vendor.h"

#ifdef __cplusplus
extern "C" {
#endif

cuda_conv cuda_conv_of(const wml_plan *plan, const cuda_node *node);
/* conv2d_pooled.cu: for nodes that plan.c has fused with relu and pooling, and for no others. */
wml_result cuda_plan_pooled(wml_plan *plan, cuda_node *node);
wml_result cuda_plan_pooled_weights(wml_plan *plan, cuda_node *node);
/* depthwise.cu: the three passes of convolutions whose groups have one channel each. */
wml_result cuda_plan_depthwise(wml_plan *plan, cuda_node *node);

#ifdef __cplusplus
}
#endif

#endif
