/* Another height and width. Going back, each input asks the positions that read it. */
#include "kernel.cuh"

typedef struct resize {
  wml_resampling kind;
  int64_t n, h, w, c, oh, ow;
} resize;

/* each: channels of a thread, 1 or 4 */
static __global__ void forward(resize r, cuda_view x, cuda_view y, int each) {
  CUDA_EACH(i, r.n * r.oh * r.ow * r.c / each) {
    int64_t at = i * each, c = at % r.c, n = at / r.c / r.ow / r.oh;
    wml_resize_tap down = wml_resize_at(r.kind, at / r.c / r.ow % r.oh, r.h, r.oh);
    wml_resize_tap right = wml_resize_at(r.kind, at / r.c % r.ow, r.w, r.ow);
    int64_t top = (n * r.h + down.low) * r.w, bottom = (n * r.h + down.high) * r.w;
    cuda_float4 a = view_take(x, (top + right.low) * r.c + c, each);
    if (r.kind == WML_RESAMPLE_BILINEAR) {
      cuda_float4 b = view_take(x, (top + right.high) * r.c + c, each);
      cuda_float4 d = view_take(x, (bottom + right.low) * r.c + c, each);
      cuda_float4 e = view_take(x, (bottom + right.high) * r.c + c, each);
      for (int k = 0; k < 4; k++) {
        float above = a.v[k] + (b.v[k] - a.v[k]) * right.weight;
        float below = d.v[k] + (e.v[k] - d.v[k]) * right.weight;
        a.v[k] = above + (below - above) * down.weight;
      }
    }
    view_put(y, at, a, each);
  }
}

static __global__ void backward(resize r, cuda_view dy, cuda_view dx, int each) {
  CUDA_EACH(i, r.n * r.h * r.w * r.c / each) {
    int64_t at = i * each, c = at % r.c, w = at / r.c % r.w, h = at / r.c / r.w % r.h,
            n = at / r.c / r.w / r.h, oh0, oh1, ow0, ow1;
    cuda_float4 sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    wml_resize_readers(r.kind, h, r.h, r.oh, &oh0, &oh1);
    wml_resize_readers(r.kind, w, r.w, r.ow, &ow0, &ow1);
    for (int64_t oh = oh0; oh < oh1; oh++) {
      wml_resize_tap down = wml_resize_at(r.kind, oh, r.h, r.oh);
      float weight = wml_resize_weight(&down, h);
      for (int64_t ow = ow0; ow < ow1; ow++) {
        wml_resize_tap right = wml_resize_at(r.kind, ow, r.w, r.ow);
        float both = weight * wml_resize_weight(&right, w);
        cuda_float4 d = view_take(dy, ((n * r.oh + oh) * r.ow + ow) * r.c + c, each);
        for (int k = 0; k < 4; k++) sum.v[k] += d.v[k] * both;
      }
    }
    view_put(dx, at, sum, each);
  }
}

static resize resize_of(const wml_plan *plan, const cuda_node *node, int x, int y) {
  const int64_t *xd = cuda_info(plan, x)->dim, *yd = cuda_info(plan, y)->dim;
  return resize{node->op.u.resampling, xd[0], xd[1], xd[2], xd[3], yd[1], yd[2]};
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  resize r = resize_of(plan, node, node->op.in[0], node->op.out[0]);
  int each = r.c % 4 ? 1 : 4;
  CUDA_LAUNCH(forward, cuda_blocks(r.n * r.oh * r.ow * r.c / each, 1 << 20), CUDA_THREADS,
              call->stream, r, cuda_view_of(plan, node->op.in[0]),
              cuda_view_of(plan, node->op.out[0]), each);
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  resize r = resize_of(plan, node, node->op.out[0], node->op.in[0]);
  int each = r.c % 4 ? 1 : 4;
  CUDA_LAUNCH(backward, cuda_blocks(r.n * r.h * r.w * r.c / each, 1 << 20), CUDA_THREADS,
              call->stream, r, cuda_view_of(plan, node->op.in[0]),
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

const cuda_implementation cuda_resize[] = {{plan_forward}, {NULL}};
const cuda_implementation cuda_resize_bwd[] = {{plan_backward}, {NULL}};
