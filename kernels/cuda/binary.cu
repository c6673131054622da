/* Two operands, element by element, each of which may be broadcast. */
#include "reduction.cuh"

typedef struct operand {
  cuda_view view; /* no data: the operation does not read it */
  wml_strides strides;
  bool whole; /* has all elements of the result: nothing is broadcast */
} operand;

CUDA_FN float operand_get(const operand &o, int64_t i) {
  if (!o.view.data) return 0.0f;
  return view_get(o.view, o.whole ? i : wml_strides_at(&o.strides, i));
}

/* Four neighbours of one row. */
CUDA_FN cuda_float4 operand_get4(const operand &o, int64_t i) {
  cuda_float4 v = {{0.0f, 0.0f, 0.0f, 0.0f}};
  if (!o.view.data) return v;
  int64_t at = o.whole ? i : wml_strides_at(&o.strides, i);
  if (o.whole || o.strides.stride[WML_MAX_RANK - 1]) return view_get4(o.view, at);
  for (int k = 0; k < 4; k++) v.v[k] = view_get(o.view, at);
  return v;
}

/* The first `fours` groups of four, then the rest one by one. */
static __global__ void forward(wml_binary kind, operand a, operand b, cuda_view y, int64_t n,
                               int64_t fours) {
  CUDA_EACH(i, fours) {
    cuda_float4 x = operand_get4(a, i * 4), other = operand_get4(b, i * 4);
    for (int k = 0; k < 4; k++) x.v[k] = wml_binary_value(kind, x.v[k], other.v[k]);
    view_set4(y, i * 4, x);
  }
  CUDA_EACH(k, n - fours * 4) {
    int64_t i = fours * 4 + k;
    view_set(y, i, wml_binary_value(kind, operand_get(a, i), operand_get(b, i)));
  }
}

/* Of operands that have all elements; either result may be absent. */
static __global__ void backward(wml_binary kind, cuda_view dy, operand a, operand b, cuda_view da,
                                cuda_view db, int64_t n, int64_t fours) {
  CUDA_EACH(i, fours) {
    cuda_float4 d = view_get4(dy, i * 4), x = operand_get4(a, i * 4), y = operand_get4(b, i * 4);
    cuda_float4 of_a, of_b;
    for (int k = 0; k < 4; k++) {
      of_a.v[k] = d.v[k] * wml_binary_derivative_a(kind, x.v[k], y.v[k]);
      of_b.v[k] = d.v[k] * wml_binary_derivative_b(kind, x.v[k], y.v[k]);
    }
    if (da.data) view_set4(da, i * 4, of_a);
    if (db.data) view_set4(db, i * 4, of_b);
  }
  CUDA_EACH(k, n - fours * 4) {
    int64_t i = fours * 4 + k;
    float d = view_get(dy, i), x = operand_get(a, i), y = operand_get(b, i);
    if (da.data) view_set(da, i, d * wml_binary_derivative_a(kind, x, y));
    if (db.data) view_set(db, i, d * wml_binary_derivative_b(kind, x, y));
  }
}

/* The gradient of an operand that was broadcast. */
struct sum_gradients : sum_functor {
  static constexpr int N = 1;
  wml_binary kind;
  cuda_view dy, out;
  operand a, b;
  bool of_b;
  __device__ void add(int64_t, int64_t at, float *own) const {
    float x = operand_get(a, at), y = operand_get(b, at);
    own[0] += view_get(dy, at) *
              (of_b ? wml_binary_derivative_b(kind, x, y) : wml_binary_derivative_a(kind, x, y));
  }
  __device__ void finish(int64_t output, const double *total) const {
    view_set(out, output, (float)total[0]);
  }
};

static operand operand_of(const wml_plan *plan, const wml_tensor *result, int tensor) {
  operand o = {cuda_view_of(plan, tensor), {}, true};
  if (tensor < 0) return o;
  const wml_tensor *t = cuda_info(plan, tensor);
  o.strides = wml_strides_broadcast(result, t);
  o.whole = wml_elements(t) == wml_elements(result);
  return o;
}

/* Groups of four that lie in one row. */
static int64_t fours_of(const wml_tensor *result, const operand &a, const operand &b) {
  int64_t n = wml_elements(result);
  bool whole = a.whole && b.whole;
  return whole || result->dim[result->rank - 1] % 4 == 0 ? n / 4 : 0;
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *y = cuda_info(plan, op->out[0]);
  operand a = operand_of(plan, y, op->in[0]), b = operand_of(plan, y, op->in[1]);
  int64_t n = wml_elements(y), fours = fours_of(y, a, b);
  CUDA_LAUNCH(forward, cuda_blocks(fours ? fours : n, 65536), CUDA_THREADS, call->stream,
              op->u.binary, a, b, cuda_view_of(plan, op->out[0]), n, fours);
}

/* Whether output `which` (0: a's gradient, 1: b's) is summed over what was broadcast. */
static bool is_summed(const wml_plan *plan, const cuda_node *node, int which) {
  int out = node->op.out[which];
  return out >= 0 &&
         wml_elements(cuda_info(plan, out)) < wml_elements(cuda_info(plan, node->op.in[0]));
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *dy = cuda_info(plan, op->in[0]);
  operand a = operand_of(plan, dy, op->in[1]), b = operand_of(plan, dy, op->in[2]);
  cuda_view gradient = cuda_view_of(plan, op->in[0]), out[2];
  for (int i = 0; i < 2; i++) {
    out[i] = cuda_view_of(plan, op->out[i]);
    if (!is_summed(plan, node, i)) continue;
    sum_gradients f;
    f.kind = op->u.binary;
    f.dy = gradient, f.out = out[i], f.a = a, f.b = b, f.of_b = i == 1;
    reduction_run(call->stream, reduction_to(dy, cuda_info(plan, op->out[i])), f,
                  cuda_view_of(plan, node->temp[i]).data);
    out[i].data = NULL;
  }
  if (!out[0].data && !out[1].data) return;
  int64_t n = wml_elements(dy), fours = fours_of(dy, a, b);
  CUDA_LAUNCH(backward, cuda_blocks(fours ? fours : n, 65536), CUDA_THREADS, call->stream,
              op->u.binary, gradient, a, b, out[0], out[1], n, fours);
}

static wml_result plan_forward(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_forward;
  return WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  wml_result result = WML_OK;
  node->name = "own";
  node->run = run_backward;
  for (int i = 0; i < 2 && result == WML_OK; i++) {
    if (!is_summed(plan, node, i)) continue;
    reduction r = reduction_to(cuda_info(plan, node->op.in[0]), cuda_info(plan, node->op.out[i]));
    result = cuda_take_temporary(plan, node, i, reduction_bytes(&r, 1));
  }
  return result;
}

const cuda_implementation cuda_binary[] = {{plan_forward}, {NULL}};
const cuda_implementation cuda_binary_bwd[] = {{plan_backward}, {NULL}};
