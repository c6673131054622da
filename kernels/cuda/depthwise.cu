/* Convolutions whose groups have one channel each, and `fg` filters for it (a depth multiplier).
 * Each element is read for a few multiplications only, so what counts is reading four channels at
 * once and each picture once; cuDNN's engines for groups are made for wider ones. A block has
 * CHANNELS channels and their weights in shared memory; a thread has four of them. */
#include "conv2d.cuh"
#include "reduction.cuh"

#include "bias.h"

enum {
  CHANNELS = 32,
  FOURS = CHANNELS / 4,         /* threads across them */
  LANES = CUDA_THREADS / FOURS, /* and over places */
  PLACES = 4 * LANES,           /* of a block */
  MOST_WEIGHTS = 64,            /* of a channel: places of the window times filters */
  CHUNK = 9                     /* places of the window that one thread sums gradients of */
};

static const int64_t FAR_OUTSIDE = -((int64_t)1 << 40); /* of any picture */

/* What a thread looks at. */
typedef struct seat {
  int64_t channel, block; /* the first of four channels; the block among those with them */
  int lane, column;       /* column: of the first channel in the block */
} seat;

CUDA_FN seat seat_of(const conv &v) {
  int64_t tiles = (v.c + CHANNELS - 1) / CHANNELS;
  int column = (int)threadIdx.x % FOURS * 4;
  return seat{blockIdx.x % tiles * CHANNELS + column, blockIdx.x / tiles, (int)threadIdx.x / FOURS,
              column};
}

/* Filter `m` of four channels, at the place that begins at `base`; step: filters of a channel. */
CUDA_FN cuda_float4 take(const conv &v, cuda_view from, int64_t base, int64_t channel, int64_t step,
                         int64_t m) {
  if (step == 1 && v.c % 4 == 0 && channel < v.c) return view_get4(from, base + channel);
  cuda_float4 r = {{0.0f, 0.0f, 0.0f, 0.0f}};
  for (int k = 0; k < 4 && channel + k < v.c; k++)
    r.v[k] = view_get(from, base + (channel + k) * step + m);
  return r;
}

CUDA_FN void put(const conv &v, cuda_view to, int64_t base, int64_t channel, int64_t step,
                 int64_t m, const cuda_float4 &x) {
  if (step == 1 && v.c % 4 == 0 && channel < v.c) {
    view_set4(to, base + channel, x);
    return;
  }
  for (int k = 0; k < 4 && channel + k < v.c; k++)
    view_set(to, base + (channel + k) * step + m, x.v[k]);
}

/* weights: [places of the window, filters, CHANNELS] */
CUDA_FN void load_weights(const conv &v, int64_t first, float *weights) {
  int64_t taps = v.kh * v.kw;
  for (int64_t i = threadIdx.x; i < taps * v.fg * CHANNELS; i += CUDA_THREADS) {
    int64_t channel = first + i % CHANNELS, m = i / CHANNELS % v.fg, tap = i / CHANNELS / v.fg;
    weights[i] = channel < v.c ? view_get(v.kernel, (channel * v.fg + m) * taps + tap) : 0.0f;
  }
  __syncthreads();
}

CUDA_FN void add_products(cuda_float4 *sum, const cuda_float4 &x, const float *weights) {
  for (int k = 0; k < 4; k++) sum->v[k] += x.v[k] * weights[k];
}

static __global__ void forward(conv v) {
  __shared__ float weights[MOST_WEIGHTS * CHANNELS];
  const wml_window *o = &v.window;
  seat s = seat_of(v);
  load_weights(v, s.channel - s.column, weights);
  for (int64_t p = s.block * PLACES + s.lane, i = 0; i < PLACES && p < v.n * v.oh * v.ow;
       i += LANES, p += LANES) {
    int64_t ow = p % v.ow, oh = p / v.ow % v.oh, n = p / v.ow / v.oh;
    for (int64_t m = 0; m < v.fg; m++) {
      cuda_float4 sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
      if (v.bias) sum = take(v, cuda_view{(void *)v.bias, CUDA_F32_T}, 0, s.channel, v.fg, m);
      for (int64_t kh = 0; kh < v.kh; kh++) {
        int64_t h = oh * o->stride[0] - o->pad_before[0] + kh * o->dilation[0];
        if (h < 0 || h >= v.h) continue;
        for (int64_t kw = 0; kw < v.kw; kw++) {
          int64_t w = ow * o->stride[1] - o->pad_before[1] + kw * o->dilation[1];
          if (w < 0 || w >= v.w) continue;
          add_products(&sum, take(v, v.x, ((n * v.h + h) * v.w + w) * v.c, s.channel, 1, 0),
                       weights + ((kh * v.kw + kw) * v.fg + m) * CHANNELS + s.column);
        }
      }
      for (int k = 0; v.relu && k < 4; k++)
        sum.v[k] = sum.v[k] > 0.0f || sum.v[k] != sum.v[k] ? sum.v[k] : 0.0f;
      put(v, v.y, p * v.f, s.channel, v.fg, m, sum);
    }
  }
}

/* Each input asks the outputs that it took part in. */
static __global__ void backward_data(conv v) {
  __shared__ float weights[MOST_WEIGHTS * CHANNELS];
  const wml_window *o = &v.window;
  seat s = seat_of(v);
  load_weights(v, s.channel - s.column, weights);
  for (int64_t p = s.block * PLACES + s.lane, i = 0; i < PLACES && p < v.n * v.h * v.w;
       i += LANES, p += LANES) {
    int64_t w = p % v.w, h = p / v.w % v.h, n = p / v.w / v.h;
    cuda_float4 sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    for (int64_t kh = 0; kh < v.kh; kh++) {
      int64_t down = h + o->pad_before[0] - kh * o->dilation[0], oh = down / o->stride[0];
      if (down < 0 || down % o->stride[0] || oh >= v.oh) continue;
      for (int64_t kw = 0; kw < v.kw; kw++) {
        int64_t right = w + o->pad_before[1] - kw * o->dilation[1], ow = right / o->stride[1];
        if (right < 0 || right % o->stride[1] || ow >= v.ow) continue;
        const float *own = weights + (kh * v.kw + kw) * v.fg * CHANNELS + s.column;
        for (int64_t m = 0; m < v.fg; m++)
          add_products(&sum, take(v, v.y, ((n * v.oh + oh) * v.ow + ow) * v.f, s.channel, v.fg, m),
                       own + m * CHANNELS);
      }
    }
    put(v, v.x, p * v.c, s.channel, 1, 0, sum);
  }
}

/* What blocks of the weights' gradient share: strips of places, for each filter of a channel and
 * each CHUNK of the window. */
typedef struct strips {
  int64_t count, places, chunks;
} strips;

/* partial: [strips, filters, window] */
static __global__ void backward_weights(conv v, strips t, float *partial) {
  __shared__ float part[CHUNK][LANES][CHANNELS];
  const wml_window *o = &v.window;
  seat s = seat_of(v);
  int64_t chunk = s.block % t.chunks, m = s.block / t.chunks % v.fg,
          strip = s.block / t.chunks / v.fg, taps = v.kh * v.kw;
  int64_t end = (strip + 1) * t.places, all = v.n * v.oh * v.ow;
  if (end > all) end = all;
  cuda_float4 sum[CHUNK];
  int64_t down[CHUNK], right[CHUNK]; /* of the window's places */
  CUDA_FOR(j, CHUNK) {
    int64_t tap = chunk * CHUNK + j;
    sum[j] = cuda_float4{{0.0f, 0.0f, 0.0f, 0.0f}};
    down[j] = tap < taps ? tap / v.kw * o->dilation[0] - o->pad_before[0] : FAR_OUTSIDE;
    right[j] = tap % v.kw * o->dilation[1] - o->pad_before[1];
  }
  for (int64_t p = strip * t.places + s.lane; p < end; p += LANES) {
    int64_t ow = p % v.ow, oh = p / v.ow % v.oh, n = p / v.ow / v.oh;
    cuda_float4 d = take(v, v.y, p * v.f, s.channel, v.fg, m);
    CUDA_FOR(j, CHUNK) {
      int64_t h = oh * o->stride[0] + down[j], w = ow * o->stride[1] + right[j];
      if (h < 0 || h >= v.h || w < 0 || w >= v.w) continue;
      add_products(&sum[j], take(v, v.x, ((n * v.h + h) * v.w + w) * v.c, s.channel, 1, 0), d.v);
    }
  }
  CUDA_FOR(j, CHUNK)
    CUDA_FOR(k, 4) part[j][s.lane][s.column + k] = sum[j].v[k];
  __syncthreads();
  int64_t first = s.channel - s.column;
  for (int i = (int)threadIdx.x; i < CHUNK * CHANNELS; i += CUDA_THREADS) {
    int64_t channel = first + i % CHANNELS, tap = chunk * CHUNK + i / CHANNELS;
    if (channel >= v.c || tap >= taps) continue;
    float total = 0.0f;
    for (int lane = 0; lane < LANES; lane++) total += part[i / CHANNELS][lane][i % CHANNELS];
    partial[(strip * v.f + channel * v.fg + m) * taps + tap] = total;
  }
}

struct store_total : sum_functor {
  static constexpr int N = 1;
  float *out;
  __device__ void finish(int64_t output, const double *total) const {
    out[output] = (float)total[0];
  }
};

/* ---- running ---- */

static int64_t tiles_of(const conv &v) {
  return (v.c + CHANNELS - 1) / CHANNELS;
}

/* As many blocks as fill a card, as far as there are places for each. */
static strips strips_of(const conv &v) {
  strips t = {0, 0, (v.kh * v.kw + CHUNK - 1) / CHUNK};
  int64_t all = v.n * v.oh * v.ow, wanted = 2048 / (tiles_of(v) * v.fg * t.chunks);
  int64_t most = (all + 4 * LANES - 1) / (4 * LANES);
  if (wanted > most) wanted = most;
  if (wanted > MAX_PIECES) wanted = MAX_PIECES;
  if (wanted < 1) wanted = 1;
  t.places = (all + wanted - 1) / wanted;
  t.count = (all + t.places - 1) / t.places;
  return t;
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  conv v = conv_of(call->plan, node);
  int64_t blocks = (v.n * v.oh * v.ow + PLACES - 1) / PLACES;
  CUDA_LAUNCH_TOGETHER(forward, blocks * tiles_of(v), CUDA_THREADS, call->stream, v);
}

static void run_data(cuda_call *call, const cuda_node *node) {
  conv v = conv_of(call->plan, node);
  int64_t blocks = (v.n * v.h * v.w + PLACES - 1) / PLACES;
  CUDA_LAUNCH_TOGETHER(backward_data, blocks * tiles_of(v), CUDA_THREADS, call->stream, v);
}

static void run_weights(cuda_call *call, const cuda_node *node) {
  conv v = conv_of(call->plan, node);
  strips t = strips_of(v);
  float *partial = cuda_f32(call->plan, node->temp[0]);
  store_total f;
  f.out = (float *)v.kernel.data;
  CUDA_LAUNCH_TOGETHER(backward_weights, t.count * v.fg * t.chunks * tiles_of(v), CUDA_THREADS,
                       call->stream, v, t, partial);
  reduction_total(call->stream, v.f * v.kh * v.kw, t.count, f, partial);
  cuda_bias_run(call, node);
}

static wml_result plan_weights(wml_plan *plan, cuda_node *node) {
  conv v = conv_of(plan, node);
  size_t bytes = (size_t)(strips_of(v).count * v.f * v.kh * v.kw) * sizeof(float);
  wml_result result = cuda_take_temporary(plan, node, 0, bytes);
  node->run = run_weights;
  return result == WML_OK ? cuda_bias_plan(plan, node) : result;
}

wml_result cuda_plan_depthwise(wml_plan *plan, cuda_node *node) {
  const wml_op *op = &node->op;
  bool weights = op->kind == WML_OP_CONV2D_BWD_WEIGHTS;
  if (op->u.window.groups == 1 || (weights && op->out[0] < 0)) return WML_UNSUPPORTED;
  cuda_conv c = cuda_conv_of(plan, node);
  int64_t filters = c.kernel[3] / op->u.window.groups;
  if (c.kernel[2] != 1 || c.kernel[0] * c.kernel[1] * filters > MOST_WEIGHTS)
    return WML_UNSUPPORTED;
  node->name = "own:depthwise";
  if (weights) return plan_weights(plan, node);
  node->run = op->kind == WML_OP_CONV2D_BWD_DATA ? run_data : run_forward;
  return WML_OK;
}
