/* A convolution as own kernels take it. */
#ifndef WML_CUDA_CONV2D_CUH
#define WML_CUDA_CONV2D_CUH

#include "kernel.cuh"

#include "conv2d.h"

/* cg, fg: channels and filters of a group. */
typedef struct conv {
  cuda_view x, kernel, y;
  const float *bias;
  int64_t n, h, w, c, kh, kw, cg, f, fg, oh, ow;
  wml_window window;
  bool relu;
} conv;

static inline conv conv_of(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  cuda_conv c = cuda_conv_of(plan, node);
  conv v = {};
  v.n = c.x[0], v.h = c.x[1], v.w = c.x[2], v.c = c.x[3];
  v.kh = c.kernel[0], v.kw = c.kernel[1], v.cg = c.kernel[2], v.f = c.kernel[3];
  v.oh = c.y[1], v.ow = c.y[2];
  v.window = op->u.window;
  v.fg = v.f / v.window.groups;
  v.relu = node->relu;
  switch (c.pass) {
  case CUDA_CONV_FORWARD:
    v.x = cuda_view_of(plan, op->in[0]), v.kernel = cuda_weight(plan, op->in[1]);
    v.y = cuda_view_of(plan, op->out[0]), v.bias = cuda_f32(plan, op->in[2]);
    break;
  case CUDA_CONV_DATA:
    v.y = cuda_view_of(plan, op->in[0]), v.kernel = cuda_weight(plan, op->in[1]);
    v.x = cuda_view_of(plan, op->out[0]);
    break;
  default:
    v.x = cuda_view_of(plan, op->in[0]), v.y = cuda_view_of(plan, op->in[1]);
    v.kernel = cuda_view_of(plan, op->out[0]);
  }
  return v;
}

#endif
