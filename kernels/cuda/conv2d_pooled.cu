/* The first convolution of a network with relu and 2x2 pooling in one kernel, and the gradient of
 * its weights in another. Inputs have one or three channels, so a filter's weights fit into the
 * registers of a thread, and what is large (the convolution's output, 252 MB in float32 for the
 * reference network at batch 256, and its gradient) never reaches memory: what is read and written
 * is a quarter of one of them and a byte per pooled value.
 *
 * Forward: a block takes one row of pooled values of one picture and 32 filters; its input rows lie
 * in shared memory, a warp takes every eighth place, a lane one filter. Backward: the same, summing
 * for each filter the patch under the winner of each window. Both in float32; where the arithmetic
 * may be TF32's or bfloat16's, the kernels of conv2d_pooled_tensor.cu do the same. */
#include "conv2d_pooled.cuh"

#include "conv2d.h"

enum { FILTERS = 32, WARPS = CUDA_THREADS / FILTERS, TILE = 4096 };
static const int64_t max_partials =
    264; /* blocks per 32 filters: two per multiprocessor of an H200 */

/* Rows 2 * row - pad_h and the following of picture n, as float32 with zeros around. */
template <int KH, int KW, int C>
static __device__ void load_tile(const pooled &p, int64_t n, int64_t row, float *tile) {
  int64_t width = (2 * p.pw + KW - 1) * C, first = 2 * row - p.pad_h;
  for (int64_t i = threadIdx.x; i < (KH + 1) * width; i += CUDA_THREADS) {
    int64_t h = first + i / width, at = i % width, w = at / C - p.pad_w;
    bool inside = h >= 0 && h < p.h && w >= 0 && w < p.w;
    tile[i] = inside ? view_get(p.x, ((n * p.h + h) * p.w + w) * C + at % C) : 0.0f;
  }
}

template <int KH, int KW, int C> static __global__ void forward(pooled p) {
  enum { K = KH * KW * C };
  __shared__ float tile[TILE];
  int64_t groups = (p.f + FILTERS - 1) / FILTERS, group = blockIdx.x % groups,
          row = blockIdx.x / groups % p.ph, n = blockIdx.x / groups / p.ph;
  int64_t f = group * FILTERS + threadIdx.x % FILTERS, width = (2 * p.pw + KW - 1) * C;
  float weight[K], bias = f < p.f && p.bias ? p.bias[f] : 0.0f;
  for (int k = 0; k < K; k++) weight[k] = f < p.f ? view_get(p.kernel, f * K + k) : 0.0f;
  load_tile<KH, KW, C>(p, n, row, tile);
  __syncthreads();
  if (f >= p.f) return;
  for (int64_t at = threadIdx.x / FILTERS; at < p.pw; at += WARPS) {
    float top = -INFINITY;
    int best = 0;
    for (int place = 0; place < 4; place++) {
      const float *patch = tile + (place / 2) * width + (2 * at + place % 2) * C;
      float sum = bias;
      for (int kh = 0; kh < KH; kh++)
        for (int k = 0; k < KW * C; k++) sum += patch[kh * width + k] * weight[kh * KW * C + k];
      if (!(sum > 0.0f) && sum == sum) sum = 0.0f;
      if (place && !(sum > top) && sum == sum) continue;
      top = sum;
      best = place;
    }
    int64_t out = ((n * p.ph + row) * p.pw + at) * p.f + f;
    view_set(p.y, out, top);
    if (p.index) p.index[out] = (uint8_t)best;
  }
}

/* Blocks take rows of pooled values in turn; the last column of `partial` is the bias's. */
template <int KH, int KW, int C> static __global__ void backward(pooled p, int64_t blocks) {
  enum { K = KH * KW * C };
  __shared__ float tile[TILE];
  int64_t group = blockIdx.x / blocks, block = blockIdx.x % blocks;
  int64_t f = group * FILTERS + threadIdx.x % FILTERS, width = (2 * p.pw + KW - 1) * C;
  float sum[K + 1];
  for (int k = 0; k <= K; k++) sum[k] = 0.0f;
  for (int64_t r = block; r < p.n * p.ph; r += blocks) {
    load_tile<KH, KW, C>(p, r / p.ph, r % p.ph, tile);
    __syncthreads();
    for (int64_t at = threadIdx.x / FILTERS; f < p.f && at < p.pw; at += WARPS) {
      int64_t out = (r * p.pw + at) * p.f + f;
      float d = view_get(p.values, out) > 0.0f ? view_get(p.y, out) : 0.0f;
      int place = p.index[out];
      const float *patch = tile + (place / 2) * width + (2 * at + place % 2) * C;
      for (int kh = 0; kh < KH; kh++)
        for (int k = 0; k < KW * C; k++) sum[kh * KW * C + k] += d * patch[kh * width + k];
      sum[K] += d;
    }
    __syncthreads();
  }
  for (int k = 0; k <= K; k++) { /* the warps of the block, in their order */
    tile[threadIdx.x] = sum[k];
    __syncthreads();
    if (threadIdx.x < FILTERS && f < p.f) {
      float total = 0.0f;
      for (int i = 0; i < WARPS; i++) total += tile[i * FILTERS + threadIdx.x];
      p.partial[(block * p.f + f) * (K + 1) + k] = total;
    }
    __syncthreads();
  }
}

/* A block per element of the kernel and of the bias. */
static __global__ void total(const float *partial, int64_t blocks, int64_t f, int64_t k,
                             float *dkernel, float *dbias) {
  int64_t filter = blockIdx.x / (k + 1), at = blockIdx.x % (k + 1);
  double sum = 0.0;
  for (int64_t b = threadIdx.x; b < blocks; b += CUDA_THREADS)
    sum += (double)partial[b * f * (k + 1) + blockIdx.x];
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  if (at < k && dkernel) dkernel[filter * k + at] = (float)sum;
  if (at == k && dbias) dbias[filter] = (float)sum;
}

/* ---- the shapes that there are kernels for ---- */

template <int KH, int KW, int C> static void launch_forward(cudaStream_t stream, const pooled &p) {
  auto kernel = forward<KH, KW, C>;
  CUDA_LAUNCH_TOGETHER(kernel, p.n * p.ph * ((p.f + FILTERS - 1) / FILTERS), CUDA_THREADS, stream,
                       p);
}

template <int KH, int KW, int C>
static void launch_backward(cudaStream_t stream, const pooled &p, int64_t blocks) {
  auto kernel = backward<KH, KW, C>;
  CUDA_LAUNCH_TOGETHER(kernel, blocks * ((p.f + FILTERS - 1) / FILTERS), CUDA_THREADS, stream, p,
                       blocks);
}

static const struct {
  int64_t kh, kw, c;
  void (*forward)(cudaStream_t stream, const pooled &p);
  void (*backward)(cudaStream_t stream, const pooled &p, int64_t blocks);
} shapes[] = {
    {2, 2, 1, launch_forward<2, 2, 1>, launch_backward<2, 2, 1>},
    {2, 2, 3, launch_forward<2, 2, 3>, launch_backward<2, 2, 3>},
    {3, 3, 1, launch_forward<3, 3, 1>, launch_backward<3, 3, 1>},
    {3, 3, 3, launch_forward<3, 3, 3>, launch_backward<3, 3, 3>},
    {5, 5, 1, launch_forward<5, 5, 1>, launch_backward<5, 5, 1>},
};

static int shape_of(const int64_t *kernel) {
  for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++)
    if (kernel[0] == shapes[i].kh && kernel[1] == shapes[i].kw && kernel[2] == shapes[i].c)
      return i;
  return -1;
}

bool cuda_conv_can_pool(const wml_plan *plan, const cuda_node *node) {
  const wml_window *w = &node->op.u.window;
  const int64_t *y = cuda_info(plan, node->op.out[0])->dim,
                *k = cuda_info(plan, node->op.in[1])->dim;
  bool simple = w->groups == 1;
  for (int i = 0; i < 2; i++) simple = simple && w->stride[i] == 1 && w->dilation[i] == 1;
  return simple && shape_of(k) >= 0 && y[1] >= 2 && y[2] >= 2 &&
         (k[0] + 1) * (y[2] / 2 * 2 + k[1] - 1) * k[2] <= TILE;
}

/* ---- the operations ---- */

static pooled pooled_of(const wml_plan *plan, const cuda_node *node, int y) {
  const wml_op *op = &node->op;
  const int64_t *xd = cuda_info(plan, op->in[0])->dim, *yd = cuda_info(plan, y)->dim;
  pooled p = {};
  p.x = cuda_view_of(plan, op->in[0]);
  p.y = cuda_view_of(plan, y);
  p.n = xd[0], p.h = xd[1], p.w = xd[2];
  p.ph = yd[1], p.pw = yd[2], p.f = yd[3];
  p.pad_h = op->u.window.pad_before[0], p.pad_w = op->u.window.pad_before[1];
  return p;
}

/* The kernels on the tensor cores, where the card has them, the precision allows them and both
 * operands have the type of the values; else NULL. */
static const pooled_tensor *on_tensor_cores(const wml_plan *plan, const int64_t *kernel, int a,
                                            int b) {
  cuda_type type = plan->graph.precision == WML_MIXED_BFLOAT16 ? CUDA_BF16_T : CUDA_F32_T;
  bool allowed = plan->device->capability >= 80 && plan->graph.precision != WML_FLOAT32_STRICT &&
                 plan->tensors[a].type == type && (b < 0 || plan->tensors[b].type == type);
  return allowed ? pooled_tensor_find(kernel, type) : NULL;
}

static const pooled_tensor *forward_on_tensor_cores(const wml_plan *plan, const cuda_node *node) {
  return on_tensor_cores(plan, cuda_info(plan, node->op.in[1])->dim, node->op.in[0], -1);
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const pooled_tensor *tensor = forward_on_tensor_cores(plan, node);
  pooled p = pooled_of(plan, node, op->out[0]);
  p.kernel = cuda_weight(plan, op->in[1]);
  p.bias = cuda_f32(plan, op->in[2]);
  p.index = (uint8_t *)cuda_view_of(plan, op->out[1]).data;
  int shape = shape_of(cuda_info(plan, op->in[1])->dim);
  (tensor ? tensor->forward : shapes[shape].forward)(call->stream, p);
}

/* Blocks that take the items in turn, so that none has much more than another. */
static int64_t blocks_for(int64_t items) {
  int64_t turns = (items + max_partials - 1) / max_partials;
  return (items + turns - 1) / turns;
}

static int64_t partials(const wml_plan *plan, const cuda_node *node, const pooled_tensor *tensor) {
  pooled p = pooled_of(plan, node, node->op.in[1]);
  return blocks_for(tensor ? tensor->items(p) : p.n * p.ph);
}

static const pooled_tensor *weights_on_tensor_cores(const wml_plan *plan, const cuda_node *node) {
  const int64_t *kernel = cuda_info(plan, node->op.out[0])->dim;
  return on_tensor_cores(plan, kernel, node->op.in[0], node->op.in[1]);
}

static void run_weights(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const int64_t *k = cuda_info(plan, op->out[0])->dim;
  const pooled_tensor *tensor = weights_on_tensor_cores(plan, node);
  pooled p = pooled_of(plan, node, op->in[1]);
  p.index = (uint8_t *)cuda_view_of(plan, op->in[2]).data;
  p.values = cuda_view_of(plan, node->pooled);
  p.partial = (float *)plan->tensors[node->temp[0]].data;
  int64_t blocks = partials(plan, node, tensor), size = k[0] * k[1] * k[2];
  (tensor ? tensor->backward : shapes[shape_of(k)].backward)(call->stream, p, blocks);
  CUDA_LAUNCH_TOGETHER(total, p.f * (size + 1), CUDA_THREADS, call->stream, p.partial, blocks, p.f,
                       size, cuda_f32(plan, op->out[0]), cuda_f32(plan, op->out[1]));
}

wml_result cuda_plan_pooled(wml_plan *plan, cuda_node *node) {
  if (!node->pools) return WML_UNSUPPORTED;
  node->name = forward_on_tensor_cores(plan, node) ? "own:convolution+relu+pooling on tensor cores"
                                                   : "own:convolution+relu+pooling";
  node->run = run_forward;
  return WML_OK;
}

wml_result cuda_plan_pooled_weights(wml_plan *plan, cuda_node *node) {
  if (!node->pools) return WML_UNSUPPORTED;
  const int64_t *k = cuda_info(plan, node->op.out[0])->dim;
  const pooled_tensor *tensor = weights_on_tensor_cores(plan, node);
  int64_t blocks = partials(plan, node, tensor);
  size_t bytes = (size_t)(blocks * k[3] * (k[0] * k[1] * k[2] + 1)) * sizeof(float);
  node->temp[0] = cuda_add_temporary(plan, bytes);
  node->name = tensor ? "own:pooling+relu+weights on tensor cores" : "own:pooling+relu+weights";
  node->run = run_weights;
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}
