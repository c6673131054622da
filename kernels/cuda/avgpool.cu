/* AveragePooling2D: the mean of what a window has inside the picture. Going back, each input asks
 * the windows that it lies in. */
#include "pool.cuh"

/* The part of a window that is inside: rows or columns [first, last). */
CUDA_FN void window_inside(const pool &p, int axis, int64_t at, int64_t *first, int64_t *last) {
  int64_t size = axis ? p.w : p.h;
  *first = at * p.window.stride[axis] - p.window.pad_before[axis];
  *last = *first + p.window.size[axis];
  if (*first < 0) *first = 0;
  if (*last > size) *last = size;
}

CUDA_FN float share_of(const pool &p, int64_t oh, int64_t ow) {
  int64_t h0, h1, w0, w1;
  window_inside(p, 0, oh, &h0, &h1);
  window_inside(p, 1, ow, &w0, &w1);
  return 1.0f / (float)((h1 - h0) * (w1 - w0));
}

/* each: channels of a thread, 1 or 4 */
static __global__ void forward(pool p, cuda_view x, cuda_view y, int each) {
  CUDA_EACH(i, p.n * p.oh * p.ow * p.c / each) {
    int64_t at = i * each, c = at % p.c, ow = at / p.c % p.ow, oh = at / p.c / p.ow % p.oh,
            n = at / p.c / p.ow / p.oh, h0, h1, w0, w1;
    cuda_float4 sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    window_inside(p, 0, oh, &h0, &h1);
    window_inside(p, 1, ow, &w0, &w1);
    for (int64_t h = h0; h < h1; h++)
      for (int64_t w = w0; w < w1; w++) {
        cuda_float4 v = view_take(x, ((n * p.h + h) * p.w + w) * p.c + c, each);
        for (int k = 0; k < 4; k++) sum.v[k] += v.v[k];
      }
    bool empty = h1 <= h0 || w1 <= w0; /* of padding alone: the sum stays 0 */
    float count = empty ? 1.0f : (float)((h1 - h0) * (w1 - w0));
    for (int k = 0; k < 4; k++) sum.v[k] /= count;
    view_put(y, at, sum, each);
  }
}

static __global__ void backward(pool p, cuda_view dy, cuda_view dx, int each) {
  CUDA_EACH(i, p.n * p.h * p.w * p.c / each) {
    int64_t at = i * each, c = at % p.c, w = at / p.c % p.w, h = at / p.c / p.w % p.h,
            n = at / p.c / p.w / p.h, oh0, oh1, ow0, ow1;
    cuda_float4 sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    windows_of(h, p.window.size[0], p.window.stride[0], p.window.pad_before[0], p.oh, &oh0, &oh1);
    windows_of(w, p.window.size[1], p.window.stride[1], p.window.pad_before[1], p.ow, &ow0, &ow1);
    for (int64_t oh = oh0; oh <= oh1; oh++)
      for (int64_t ow = ow0; ow <= ow1; ow++) {
        cuda_float4 d = view_take(dy, ((n * p.oh + oh) * p.ow + ow) * p.c + c, each);
        float share = share_of(p, oh, ow);
        for (int k = 0; k < 4; k++) sum.v[k] += d.v[k] * share;
      }
    view_put(dx, at, sum, each);
  }
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  pool p = pool_of(plan, node, node->op.in[0], node->op.out[0]);
  int each = p.c % 4 ? 1 : 4;
  CUDA_LAUNCH(forward, cuda_blocks(p.n * p.oh * p.ow * p.c / each, 1 << 20), CUDA_THREADS,
              call->stream, p, cuda_view_of(plan, node->op.in[0]),
              cuda_view_of(plan, node->op.out[0]), each);
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  pool p = pool_of(plan, node, node->op.out[0], node->op.in[0]);
  int each = p.c % 4 ? 1 : 4;
  CUDA_LAUNCH(backward, cuda_blocks(p.n * p.h * p.w * p.c / each, 1 << 20), CUDA_THREADS,
              call->stream, p, cuda_view_of(plan, node->op.in[0]),
              cuda_view_of(plan, node->op.out[0]), each);
}

static wml_result plan_forward(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:nhwc";
  node->run = run_forward;
  return WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:nhwc";
  node->run = run_backward;
  return WML_OK;
}

const cuda_implementation cuda_avgpool[] = {{plan_forward}, {NULL}};
const cuda_implementation cuda_avgpool_bwd[] = {{plan_backward}, {NULL}};
