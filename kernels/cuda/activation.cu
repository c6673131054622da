/* Activations that were not fused into the operation before them. */
#include "kernel.cuh"

static __global__ void forward(wml_activation act, cuda_view x, cuda_view y, int64_t n) {
  CUDA_EACH(i, n / 4) {
    cuda_float4 v = view_get4(x, i * 4);
    for (int k = 0; k < 4; k++) v.v[k] = wml_activation_forward(&act, v.v[k]);
    view_set4(y, i * 4, v);
  }
  CUDA_EACH(i, n % 4) {
    int64_t at = n - 1 - i;
    view_set(y, at, wml_activation_forward(&act, view_get(x, at)));
  }
}

/* x is absent where the output suffices. */
static __global__ void backward(wml_activation act, cuda_view dy, cuda_view y, cuda_view x,
                                cuda_view dx, int64_t n) {
  CUDA_EACH(i, n / 4) {
    cuda_float4 d = view_get4(dy, i * 4), out = view_get4(y, i * 4);
    cuda_float4 in = x.data ? view_get4(x, i * 4) : out;
    for (int k = 0; k < 4; k++) d.v[k] *= wml_activation_derivative(&act, in.v[k], out.v[k]);
    view_set4(dx, i * 4, d);
  }
  CUDA_EACH(i, n % 4) {
    int64_t at = n - 1 - i;
    float out = view_get(y, at), in = x.data ? view_get(x, at) : out;
    view_set(dx, at, view_get(dy, at) * wml_activation_derivative(&act, in, out));
  }
}

/* A thread per row: rows are short, and there are many. */
static __global__ void row_forward(wml_activation_kind kind, const float *x, float *y, int64_t rows,
                                   int64_t n, int64_t width) {
  CUDA_EACH(r, rows) wml_activation_row_forward(kind, x + r * n, y + r * width, (long)n);
}

static __global__ void row_backward(wml_activation_kind kind, const float *dy, const float *x,
                                    const float *y, float *dx, int64_t rows, int64_t n,
                                    int64_t width) {
  CUDA_EACH(r, rows)
    wml_activation_row_backward(kind, dy + r * width, x ? x + r * n : NULL, y + r * width,
                                dx + r * n, (long)n);
}

/* softmax, a warp per row: its lanes share the row's columns. */
static __global__ void softmax(cuda_view x, cuda_view y, int64_t rows, int64_t n) {
  int64_t row = (int64_t)blockIdx.x * (CUDA_THREADS / 32) + threadIdx.x / 32;
  int64_t first = row < rows ? row * n : 0; /* all lanes exchange */
  int lane = (int)threadIdx.x % 32;
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = lane; i < n; i += 32) top = fmaxf(top, view_get(x, first + i));
  for (int mask = 16; mask > 0; mask >>= 1)
    top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, mask));
  for (int64_t i = lane; i < n; i += 32) sum += expf(view_get(x, first + i) - top);
  for (int mask = 16; mask > 0; mask >>= 1) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, mask);
  for (int64_t i = lane; i < n && row < rows; i += 32)
    view_set(y, first + i, expf(view_get(x, first + i) - top) / sum);
}

static __global__ void softmax_gradient(cuda_view dy, cuda_view y, cuda_view dx, int64_t rows,
                                        int64_t n) {
  int64_t row = (int64_t)blockIdx.x * (CUDA_THREADS / 32) + threadIdx.x / 32;
  int64_t first = row < rows ? row * n : 0; /* all lanes exchange */
  int lane = (int)threadIdx.x % 32;
  float dot = 0.0f;
  for (int64_t i = lane; i < n; i += 32) dot += view_get(dy, first + i) * view_get(y, first + i);
  for (int mask = 16; mask > 0; mask >>= 1) dot += __shfl_xor_sync(0xFFFFFFFFu, dot, mask);
  for (int64_t i = lane; i < n && row < rows; i += 32)
    view_set(dx, first + i, view_get(y, first + i) * (view_get(dy, first + i) - dot));
}

static void run_softmax(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_tensor *t = cuda_info(plan, node->op.in[0]);
  int64_t n = t->dim[t->rank - 1], rows = wml_elements(t) / n, warps = CUDA_THREADS / 32;
  CUDA_LAUNCH_TOGETHER(softmax, (rows + warps - 1) / warps, CUDA_THREADS, call->stream,
                       cuda_view_of(plan, node->op.in[0]), cuda_view_of(plan, node->op.out[0]),
                       rows, n);
}

static void run_softmax_gradient(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_tensor *t = cuda_info(plan, node->op.in[0]);
  int64_t n = t->dim[t->rank - 1], rows = wml_elements(t) / n, warps = CUDA_THREADS / 32;
  CUDA_LAUNCH_TOGETHER(softmax_gradient, (rows + warps - 1) / warps, CUDA_THREADS, call->stream,
                       cuda_view_of(plan, node->op.in[0]), cuda_view_of(plan, node->op.in[1]),
                       cuda_view_of(plan, node->op.out[0]), rows, n);
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  int64_t n = wml_elements(cuda_info(plan, node->op.in[0]));
  CUDA_LAUNCH(forward, cuda_blocks(n / 4, 65536), CUDA_THREADS, call->stream, node->op.u.activation,
              cuda_view_of(plan, node->op.in[0]), cuda_view_of(plan, node->op.out[0]), n);
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const int *in = node->op.in;
  int64_t n = wml_elements(cuda_info(plan, in[0]));
  CUDA_LAUNCH(backward, cuda_blocks(n / 4, 65536), CUDA_THREADS, call->stream,
              node->op.u.activation, cuda_view_of(plan, in[0]), cuda_view_of(plan, in[1]),
              cuda_view_of(plan, in[2]), cuda_view_of(plan, node->op.out[0]), n);
}

/* ---- rows: in float32; bfloat16 operands are converted around, into temporaries ---- */

static float *as_f32(cuda_call *call, int tensor, int temp) {
  const wml_plan *plan = call->plan;
  if (tensor < 0) return NULL;
  if (temp < 0 || plan->tensors[tensor].type == CUDA_F32_T) return cuda_f32(plan, tensor);
  cuda_view to = {plan->tensors[temp].data, CUDA_F32_T};
  cuda_convert(call->stream, cuda_view_of(plan, tensor), to, wml_elements(cuda_info(plan, tensor)));
  return (float *)to.data;
}

static float *f32_or(const wml_plan *plan, int tensor, int temp) {
  bool own = plan->tensors[tensor].type == CUDA_F32_T;
  return (float *)plan->tensors[own ? tensor : temp].data;
}

static void back_from_f32(cuda_call *call, int tensor, const float *from) {
  const wml_plan *plan = call->plan;
  if (from == cuda_f32(plan, tensor)) return;
  cuda_view v = {(void *)from, CUDA_F32_T};
  cuda_convert(call->stream, v, cuda_view_of(plan, tensor), wml_elements(cuda_info(plan, tensor)));
}

static void run_row_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_tensor *t = cuda_info(plan, node->op.in[0]), *out = cuda_info(plan, node->op.out[0]);
  int64_t n = t->dim[t->rank - 1], rows = wml_elements(t) / n;
  const float *x = as_f32(call, node->op.in[0], node->temp[0]);
  float *y = f32_or(plan, node->op.out[0], node->temp[1]);
  CUDA_LAUNCH(row_forward, cuda_blocks(rows, 65536), CUDA_THREADS, call->stream,
              node->op.u.activation.kind, x, y, rows, n, out->dim[out->rank - 1]);
  back_from_f32(call, node->op.out[0], y);
}

static void run_row_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const int *in = node->op.in;
  const wml_tensor *t = cuda_info(plan, node->op.out[0]), *out = cuda_info(plan, in[0]);
  int64_t n = t->dim[t->rank - 1], rows = wml_elements(t) / n;
  const float *dy = as_f32(call, in[0], node->temp[0]), *y = as_f32(call, in[1], node->temp[1]);
  /* glu reads its input; the third temporary serves it first and the result afterwards */
  const float *x = as_f32(call, in[2], node->temp[2]);
  float *dx = f32_or(plan, node->op.out[0], node->temp[2]);
  CUDA_LAUNCH(row_backward, cuda_blocks(rows, 65536), CUDA_THREADS, call->stream,
              node->op.u.activation.kind, dy, x, y, dx, rows, n, out->dim[out->rank - 1]);
  back_from_f32(call, node->op.out[0], dx);
}

static wml_result add_f32(wml_plan *plan, cuda_node *node, int which, int tensor) {
  if (tensor < 0 || plan->tensors[tensor].type == CUDA_F32_T) return WML_OK;
  size_t bytes = (size_t)wml_elements(cuda_info(plan, tensor)) * sizeof(float);
  node->temp[which] = cuda_add_temporary(plan, bytes);
  return node->temp[which] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_softmax(wml_plan *plan, cuda_node *node) {
  (void)plan;
  if (node->op.u.activation.kind != WML_SOFTMAX) return WML_UNSUPPORTED;
  node->name = "own:warp per row";
  node->run = node->op.kind == WML_OP_ACTIVATION ? run_softmax : run_softmax_gradient;
  return WML_OK;
}

static wml_result plan_forward(wml_plan *plan, cuda_node *node) {
  bool row = WML_ACTIVATION_IS_ROW(node->op.u.activation.kind);
  wml_result result = WML_OK;
  if (row) result = add_f32(plan, node, 0, node->op.in[0]);
  if (row && result == WML_OK) result = add_f32(plan, node, 1, node->op.out[0]);
  node->name = row ? "own:row" : "own";
  node->run = row ? run_row_forward : run_forward;
  return result;
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  bool row = WML_ACTIVATION_IS_ROW(node->op.u.activation.kind);
  wml_result result = WML_OK;
  if (row) result = add_f32(plan, node, 0, node->op.in[0]);
  if (row && result == WML_OK) result = add_f32(plan, node, 1, node->op.in[1]);
  if (row && result == WML_OK) result = add_f32(plan, node, 2, node->op.out[0]);
  node->name = row ? "own:row" : "own";
  node->run = row ? run_row_backward : run_backward;
  return result;
}

const cuda_implementation cuda_activation[] = {{plan_softmax}, {plan_forward}, {NULL}};
const cuda_implementation cuda_activation_bwd[] = {{plan_softmax}, {plan_backward}, {NULL}};
