/* Sums, means and maxima over dimensions, and their gradients. */
#include "reduction.cuh"

struct sum_elements : sum_functor {
  static constexpr int N = 1;
  cuda_view x, y;
  double share; /* what sums are multiplied by: 1, or of a mean 1 / elements */
  __device__ void add(int64_t, int64_t at, float *own) const { own[0] += view_get(x, at); }
  __device__ void finish(int64_t output, const double *total) const {
    view_set(y, output, (float)(total[0] * share));
  }
};

struct greatest_element {
  static constexpr int N = 1;
  cuda_view x, y;
  static __device__ float start() { return -INFINITY; }
  /* A NaN is the greatest. */
  template <typename T> static __device__ T join(T a, T b) { return a >= b || a != a ? a : b; }
  __device__ void add(int64_t, int64_t at, float *own) const {
    own[0] = join(own[0], view_get(x, at));
  }
  __device__ void finish(int64_t output, const double *total) const {
    view_set(y, output, (float)total[0]);
  }
};

/* Whether x is the greatest, y, which may be rounded more than x is. */
CUDA_FN bool is_greatest(float x, cuda_view y, int64_t at) {
  float greatest = view_get(y, at);
  return (y.type == CUDA_BF16_T ? wml_bf16_to_float(wml_bf16_from_float(x)) : x) == greatest;
}

/* How many elements are the greatest. */
struct count_greatest : sum_functor {
  static constexpr int N = 1;
  cuda_view x, y;
  float *count;
  __device__ void add(int64_t output, int64_t at, float *own) const {
    if (is_greatest(view_get(x, at), y, output)) own[0] += 1.0f;
  }
  __device__ void finish(int64_t output, const double *total) const {
    count[output] = (float)total[0];
  }
};

/* share: of every element; count: of the greatest ones, which alone have a gradient; or NULL.
 * each: elements that are written at once, 1 or 4 of one row */
static __global__ void spread(wml_strides from, cuda_view dy, cuda_view x, cuda_view y,
                              const float *count, float share, cuda_view dx, int64_t n, int each) {
  int64_t step = from.stride[WML_MAX_RANK - 1];
  CUDA_EACH(i, n / each) {
    int64_t first = wml_strides_at(&from, i * each);
    cuda_float4 d = {{0.0f, 0.0f, 0.0f, 0.0f}};
    CUDA_FOR(k, 4) {
      if (k >= each) break;
      int64_t at = first + k * step;
      d.v[k] = view_get(dy, at) * share;
      if (count) d.v[k] = is_greatest(view_get(x, i * each + k), y, at) ? d.v[k] / count[at] : 0.0f;
    }
    view_put(dx, i * each, d, each);
  }
}

static reduction reduction_of_node(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  bool back = op->kind == WML_OP_REDUCE_BWD;
  return reduction_to(cuda_info(plan, back ? op->out[0] : op->in[0]),
                      cuda_info(plan, back ? op->in[0] : op->out[0]));
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  reduction r = reduction_of_node(plan, node);
  void *partial = cuda_view_of(plan, node->temp[0]).data;
  cuda_view x = cuda_view_of(plan, op->in[0]), y = cuda_view_of(plan, op->out[0]);
  if (op->u.reduction == WML_REDUCE_MAX) {
    greatest_element f;
    f.x = x, f.y = y;
    reduction_run(call->stream, r, f, partial);
    return;
  }
  sum_elements f;
  f.x = x, f.y = y;
  f.share = op->u.reduction == WML_REDUCE_MEAN ? 1.0 / (double)r.elements : 1.0;
  reduction_run(call->stream, r, f, partial);
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  reduction r = reduction_of_node(plan, node);
  cuda_view x = cuda_view_of(plan, op->in[1]), y = cuda_view_of(plan, op->in[2]);
  const wml_tensor *dx = cuda_info(plan, op->out[0]);
  float *count = NULL;
  if (op->u.reduction == WML_REDUCE_MAX) {
    count_greatest f;
    count = cuda_f32(plan, node->temp[1]);
    f.x = x, f.y = y, f.count = count;
    reduction_run(call->stream, r, f, cuda_view_of(plan, node->temp[0]).data);
  }
  int64_t n = wml_elements(dx);
  int each = dx->dim[dx->rank - 1] % 4 ? 1 : 4;
  CUDA_LAUNCH(spread, cuda_blocks(n / each, 65536), CUDA_THREADS, call->stream,
              wml_strides_broadcast(dx, cuda_info(plan, op->in[0])), cuda_view_of(plan, op->in[0]),
              x, y, count,
              op->u.reduction == WML_REDUCE_MEAN ? (float)(1.0 / (double)r.elements) : 1.0f,
              cuda_view_of(plan, op->out[0]), n, each);
}

static wml_result plan_forward(wml_plan *plan, cuda_node *node) {
  reduction r = reduction_of_node(plan, node);
  node->name = "own:pieces";
  node->run = run_forward;
  return cuda_take_temporary(plan, node, 0, reduction_bytes(&r, 1));
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  reduction r = reduction_of_node(plan, node);
  node->name = "own";
  node->run = run_backward;
  if (node->op.u.reduction != WML_REDUCE_MAX) return WML_OK;
  wml_result result = cuda_take_temporary(plan, node, 0, reduction_bytes(&r, 1));
  if (result != WML_OK) return result;
  return cuda_take_temporary(plan, node, 1, (size_t)r.outputs * sizeof(float));
}

const cuda_implementation cuda_reduce[] = {{plan_forward}, {NULL}};
const cuda_implementation cuda_reduce_bwd[] = {{plan_backward}, {NULL}};
