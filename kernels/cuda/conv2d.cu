/* Conv2D on NHWC with kernels [f, kh, kw, c]. cuDNN first; the own kernels behind it serve what it
 * refuses, and as its oracle: they sum in double. First layers that are pooled have kernels in
 * conv2d_pooled.cu, depthwise convolutions in depthwise.cu. */
#include "conv2d.cuh"

#include "bias.h"

static __global__ void forward(conv v) {
  const wml_window *o = &v.window;
  CUDA_EACH(i, v.n * v.oh * v.ow * v.f) {
    int64_t f = i % v.f, ow = i / v.f % v.ow, oh = i / v.f / v.ow % v.oh, n = i / v.f / v.ow / v.oh;
    double exact = 0.0;
    for (int64_t kh = 0; kh < v.kh; kh++) {
      int64_t h = oh * o->stride[0] - o->pad_before[0] + kh * o->dilation[0];
      if (h < 0 || h >= v.h) continue;
      for (int64_t kw = 0; kw < v.kw; kw++) {
        int64_t w = ow * o->stride[1] - o->pad_before[1] + kw * o->dilation[1];
        if (w < 0 || w >= v.w) continue;
        int64_t x = ((n * v.h + h) * v.w + w) * v.c + f / v.fg * v.cg;
        int64_t k = ((f * v.kh + kh) * v.kw + kw) * v.cg;
        for (int64_t c = 0; c < v.cg; c++)
          exact += (double)view_get(v.x, x + c) * (double)view_get(v.kernel, k + c);
      }
    }
    if (v.bias) exact += (double)v.bias[f];
    float sum = (float)exact;
    view_set(v.y, i, v.relu && !(sum > 0.0f || sum != sum) ? 0.0f : sum);
  }
}

/* y is the gradient, x the result: each input asks the outputs that it took part in. */
static __global__ void backward_data(conv v) {
  const wml_window *o = &v.window;
  CUDA_EACH(i, v.n * v.h * v.w * v.c) {
    int64_t c = i % v.c, w = i / v.c % v.w, h = i / v.c / v.w % v.h, n = i / v.c / v.w / v.h;
    int64_t group = c / v.cg;
    double sum = 0.0;
    for (int64_t kh = 0; kh < v.kh; kh++) {
      int64_t down = h + o->pad_before[0] - kh * o->dilation[0], oh = down / o->stride[0];
      if (down < 0 || down % o->stride[0] || oh >= v.oh) continue;
      for (int64_t kw = 0; kw < v.kw; kw++) {
        int64_t right = w + o->pad_before[1] - kw * o->dilation[1], ow = right / o->stride[1];
        if (right < 0 || right % o->stride[1] || ow >= v.ow) continue;
        int64_t y = ((n * v.oh + oh) * v.ow + ow) * v.f;
        for (int64_t f = group * v.fg; f < (group + 1) * v.fg; f++)
          sum += (double)view_get(v.y, y + f) *
                 (double)view_get(v.kernel, ((f * v.kh + kh) * v.kw + kw) * v.cg + c % v.cg);
      }
    }
    view_set(v.x, i, (float)sum);
  }
}

/* A block per element of the kernel. */
static __global__ void backward_weights(conv v) {
  const wml_window *o = &v.window;
  int64_t i = blockIdx.x, c = i % v.cg, kw = i / v.cg % v.kw, kh = i / v.cg / v.kw % v.kh,
          f = i / v.cg / v.kw / v.kh;
  double own = 0.0;
  for (int64_t p = threadIdx.x; p < v.n * v.oh * v.ow; p += CUDA_THREADS) {
    int64_t ow = p % v.ow, oh = p / v.ow % v.oh, n = p / v.ow / v.oh;
    int64_t h = oh * o->stride[0] - o->pad_before[0] + kh * o->dilation[0];
    int64_t w = ow * o->stride[1] - o->pad_before[1] + kw * o->dilation[1];
    if (h < 0 || h >= v.h || w < 0 || w >= v.w) continue;
    own += (double)view_get(v.x, ((n * v.h + h) * v.w + w) * v.c + f / v.fg * v.cg + c) *
           (double)view_get(v.y, p * v.f + f);
  }
  double sum = block_sum(own);
  if (threadIdx.x == 0) view_set(v.kernel, i, (float)sum);
}

/* ---- shapes ---- */

cuda_conv cuda_conv_of(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  bool weights = op->kind == WML_OP_CONV2D_BWD_WEIGHTS, data = op->kind == WML_OP_CONV2D_BWD_DATA;
  int x = data ? op->out[0] : op->in[0], kernel = weights ? op->out[0] : op->in[1],
      y = data      ? op->in[0]
          : weights ? op->in[1]
                    : op->out[0];
  cuda_conv c = {};
  c.pass = weights ? CUDA_CONV_WEIGHTS : data ? CUDA_CONV_DATA : CUDA_CONV_FORWARD;
  c.window = op->u.window;
  for (int i = 0; i < 4; i++) {
    c.x[i] = cuda_info(plan, x)->dim[i];
    c.kernel[i] = cuda_info(plan, kernel)->dim[i];
    c.y[i] = cuda_info(plan, y)->dim[i];
  }
  c.type = plan->graph.precision == WML_MIXED_BFLOAT16 ? CUDA_BF16_T : CUDA_F32_T;
  c.bias = op->kind == WML_OP_CONV2D && op->in[2] >= 0;
  c.relu = node->relu;
  c.strict = plan->graph.precision == WML_FLOAT32_STRICT;
  c.deterministic = plan->graph.deterministic;
  return c;
}

/* ---- own ---- */

static void run_forward_own(cuda_call *call, const cuda_node *node) {
  conv v = conv_of(call->plan, node);
  CUDA_LAUNCH(forward, cuda_blocks(v.n * v.oh * v.ow * v.f, 1 << 20), CUDA_THREADS, call->stream,
              v);
}

static void run_data_own(cuda_call *call, const cuda_node *node) {
  conv v = conv_of(call->plan, node);
  CUDA_LAUNCH(backward_data, cuda_blocks(v.n * v.h * v.w * v.c, 1 << 20), CUDA_THREADS,
              call->stream, v);
}

static void run_weights_own(cuda_call *call, const cuda_node *node) {
  if (node->op.out[0] >= 0) {
    conv v = conv_of(call->plan, node);
    CUDA_LAUNCH_TOGETHER(backward_weights, v.f * v.kh * v.kw * v.cg, CUDA_THREADS, call->stream, v);
  }
  cuda_bias_run(call, node);
}

static wml_result plan_forward_own(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:thread per element";
  node->run = run_forward_own;
  return WML_OK;
}

static wml_result plan_data_own(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own:thread per element";
  node->run = run_data_own;
  return WML_OK;
}

static wml_result plan_weights_own(wml_plan *plan, cuda_node *node) {
  node->name = "own:block per element";
  node->run = run_weights_own;
  return cuda_bias_plan(plan, node);
}

/* ---- cuDNN ---- */

static void run_dnn(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  conv v = conv_of(plan, node);
  void *workspace = node->temp[0] >= 0 ? plan->tensors[node->temp[0]].data : NULL;
  void *bias = NULL, *kernel = v.kernel.data;
  if (op->kind == WML_OP_CONV2D && op->in[2] >= 0) bias = cuda_weight(plan, op->in[2]).data;
  if (node->temp[2] >= 0) kernel = plan->tensors[node->temp[2]].data;
  call->result = cuda_dnn_run(plan->device, (const cuda_dnn_plan *)node->vendor, call->stream,
                              v.x.data, kernel, v.y.data, bias, workspace);
}

/* The gradient of the kernel comes in the type of the values and is kept in float32. */
static void run_weights_dnn(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  run_dnn(call, node);
  if (node->temp[2] >= 0) {
    cuda_view from = {plan->tensors[node->temp[2]].data, CUDA_BF16_T};
    cuda_convert(call->stream, from, cuda_view_of(plan, node->op.out[0]),
                 wml_elements(cuda_info(plan, node->op.out[0])));
  }
  cuda_bias_run(call, node);
}

/* All of a graph's tensors have one type: what leaves the network in float32 goes the own way. */
static bool has_one_type(const wml_plan *plan, const cuda_node *node, cuda_type type) {
  const wml_op *op = &node->op;
  bool weights = op->kind == WML_OP_CONV2D_BWD_WEIGHTS;
  return plan->tensors[op->in[0]].type == type &&
         plan->tensors[weights ? op->in[1] : op->out[0]].type == type;
}

static const cuda_tuning tuning = {cuda_dnn_count, cuda_dnn_select, cuda_dnn_key};

static wml_result plan_dnn(wml_plan *plan, cuda_node *node) {
  cuda_conv c;
  cuda_dnn_plan *vendor = NULL;
  if (node->op.out[0] < 0) return WML_UNSUPPORTED;
  c = cuda_conv_of(plan, node);
  if (!has_one_type(plan, node, c.type)) {
    node->why = "operands of two types";
    return WML_UNSUPPORTED;
  }
  wml_result result = cuda_dnn_plan_conv(plan->device, &c, &vendor, &node->why);
  if (result != WML_OK) return result;
  node->vendor = vendor;
  node->release = cuda_dnn_release;
  node->tuning = &tuning;
  node->name = cuda_dnn_name(vendor);
  node->run = c.pass == CUDA_CONV_WEIGHTS ? run_weights_dnn : run_dnn;
  if (cuda_dnn_workspace(vendor) > 0 &&
      (node->temp[0] = cuda_add_temporary(plan, cuda_dnn_workspace(vendor))) < 0)
    return WML_OUT_OF_MEMORY;
  if (c.pass != CUDA_CONV_WEIGHTS) return WML_OK;
  if (c.type != CUDA_F32_T) {
    size_t bytes = (size_t)wml_elements(cuda_info(plan, node->op.out[0])) * cuda_type_size(c.type);
    node->temp[2] = cuda_add_temporary(plan, bytes);
    if (node->temp[2] < 0) return WML_OUT_OF_MEMORY;
  }
  return cuda_bias_plan(plan, node);
}

const cuda_implementation cuda_conv2d[] = {
    {cuda_plan_pooled}, {cuda_plan_depthwise}, {plan_dnn}, {plan_forward_own}, {NULL}};
const cuda_implementation cuda_conv2d_bwd_data[] = {
    {cuda_plan_depthwise}, {plan_dnn}, {plan_data_own}, {NULL}};
const cuda_implementation cuda_conv2d_bwd_weights[] = {
    {cuda_plan_pooled_weights}, {cuda_plan_depthwise}, {plan_dnn}, {plan_weights_own}, {NULL}};
