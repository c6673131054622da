/* MaxPooling2D. index: the place of the winner in its window, a byte; the first maximum in
 * row-major order wins, padding never, a NaN always. Going back, each input asks the windows that
 * it lies in: no atomics, whatever the overlap. */
#include "pool.cuh"

static __global__ void forward(pool p, cuda_view x, cuda_view y, uint8_t *index) {
  CUDA_EACH(i, p.n * p.oh * p.ow * p.c) {
    int64_t c = i % p.c, ow = i / p.c % p.ow, oh = i / p.c / p.ow % p.oh, n = i / p.c / p.ow / p.oh;
    float top = -INFINITY;
    int best = -1;
    for (int kh = 0; kh < p.window.size[0]; kh++) {
      int64_t h = oh * p.window.stride[0] - p.window.pad_before[0] + kh;
      if (h < 0 || h >= p.h) continue;
      for (int kw = 0; kw < p.window.size[1]; kw++) {
        int64_t w = ow * p.window.stride[1] - p.window.pad_before[1] + kw;
        if (w < 0 || w >= p.w) continue;
        float value = view_get(x, ((n * p.h + h) * p.w + w) * p.c + c);
        if (best >= 0 && !(value > top) && value == value) continue;
        top = value;
        best = kh * p.window.size[1] + kw;
      }
    }
    view_set(y, i, top);
    if (index) index[i] = (uint8_t)best;
  }
}

/* pooled: the output of relu and pooling, where relu's gradient is taken along; else no data. */
static __global__ void backward(pool p, cuda_view dy, const uint8_t *index, cuda_view pooled,
                                cuda_view dx) {
  CUDA_EACH(i, p.n * p.h * p.w * p.c) {
    int64_t c = i % p.c, w = i / p.c % p.w, h = i / p.c / p.w % p.h, n = i / p.c / p.w / p.h;
    int64_t oh0, oh1, ow0, ow1;
    windows_of(h, p.window.size[0], p.window.stride[0], p.window.pad_before[0], p.oh, &oh0, &oh1);
    windows_of(w, p.window.size[1], p.window.stride[1], p.window.pad_before[1], p.ow, &ow0, &ow1);
    float sum = 0.0f;
    for (int64_t oh = oh0; oh <= oh1; oh++)
      for (int64_t ow = ow0; ow <= ow1; ow++) {
        int64_t at = ((n * p.oh + oh) * p.ow + ow) * p.c + c;
        int64_t kh = h + p.window.pad_before[0] - oh * p.window.stride[0];
        int64_t kw = w + p.window.pad_before[1] - ow * p.window.stride[1];
        if (index[at] != kh * p.window.size[1] + kw) continue;
        if (!pooled.data || view_get(pooled, at) > 0.0f) sum += view_get(dy, at);
      }
    view_set(dx, i, sum);
  }
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  pool p = pool_of(plan, node, node->op.in[0], node->op.out[0]);
  CUDA_LAUNCH(forward, cuda_blocks(p.n * p.oh * p.ow * p.c, 1 << 20), CUDA_THREADS, call->stream, p,
              cuda_view_of(plan, node->op.in[0]), cuda_view_of(plan, node->op.out[0]),
              (uint8_t *)cuda_view_of(plan, node->op.out[1]).data);
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  pool p = pool_of(plan, node, node->op.out[0], node->op.in[0]);
  CUDA_LAUNCH(backward, cuda_blocks(p.n * p.h * p.w * p.c, 1 << 20), CUDA_THREADS, call->stream, p,
              cuda_view_of(plan, node->op.in[0]),
              (const uint8_t *)cuda_view_of(plan, node->op.in[1]).data,
              cuda_view_of(plan, node->pooled), cuda_view_of(plan, node->op.out[0]));
}

static wml_result plan_forward(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:nhwc";
  node->run = run_forward;
  return WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = node->pooled >= 0 ? "own:nhwc+relu" : "own:nhwc";
  node->run = run_backward;
  return WML_OK;
}

const cuda_implementation cuda_maxpool[] = {{plan_forward}, {NULL}};
const cuda_implementation cuda_maxpool_bwd[] = {{plan_backward}, {NULL}};
