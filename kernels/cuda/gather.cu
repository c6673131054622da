/* The rows of a batch: bytes become numbers, pictures are augmented, one-hots take their width. */
#include "kernel.cuh"

/* Row `i` of this step: its place in the feed's array. */
CUDA_FN int64_t place_of(const cuda_state *state, int feed, int64_t batch, int64_t i) {
  return state->place[feed][state->index * batch + i];
}

/* A block per picture and tile of CUDA_THREADS pixels; its warp is drawn once. c: 1 to 4. */
static __global__ void warp_pictures(const cuda_state *state, int feed, wml_augment augment,
                                     float scale, int64_t batch, int64_t h, int64_t w, int64_t c,
                                     int64_t tiles, cuda_view out) {
  __shared__ wml_warp warp;
  int64_t i = blockIdx.x / tiles, pixel = blockIdx.x % tiles * CUDA_THREADS + threadIdx.x;
  if (threadIdx.x == 0)
    warp = wml_augment_sample(&augment, state->seed, state->epoch,
                              (uint64_t)state->sample[state->index * batch + i], (long)h, (long)w);
  __syncthreads();
  if (pixel >= h * w) return;
  const uint8_t *in =
      (const uint8_t *)state->base[feed] + place_of(state, feed, batch, i) * h * w * c;
  float value[4];
  wml_warp_pixel(&warp, in, (long)h, (long)w, (long)c, (long)(pixel / w), (long)(pixel % w), scale,
                 value);
  for (int k = 0; k < c; k++) view_set(out, (i * h * w + pixel) * c + k, value[k]);
}

/* With a channel shift, which needs the range of the warped picture first: a block per picture goes
 * over its pixels twice. */
static __global__ void shift_pictures(const cuda_state *state, int feed, wml_augment augment,
                                      float scale, int64_t batch, int64_t h, int64_t w, int64_t c,
                                      cuda_view out) {
  __shared__ wml_warp warp;
  __shared__ float lowest[CUDA_THREADS], highest[CUDA_THREADS];
  int64_t i = blockIdx.x;
  if (threadIdx.x == 0)
    warp = wml_augment_sample(&augment, state->seed, state->epoch,
                              (uint64_t)state->sample[state->index * batch + i], (long)h, (long)w);
  __syncthreads();
  const uint8_t *in =
      (const uint8_t *)state->base[feed] + place_of(state, feed, batch, i) * h * w * c;
  wml_warp own = warp;
  float value[4], low = INFINITY, high = -INFINITY;
  own.shift = 0.0f;
  own.gain = 1.0f;
  for (int64_t pixel = threadIdx.x; pixel < h * w; pixel += blockDim.x) {
    wml_warp_pixel(&own, in, (long)h, (long)w, (long)c, (long)(pixel / w), (long)(pixel % w), 1.0f,
                   value);
    for (int k = 0; k < c; k++) {
      low = value[k] < low ? value[k] : low;
      high = value[k] > high ? value[k] : high;
    }
  }
  lowest[threadIdx.x] = low;
  highest[threadIdx.x] = high;
  __syncthreads();
  own = warp;
  for (int k = 0; k < CUDA_THREADS; k++) {
    low = lowest[k] < low ? lowest[k] : low;
    high = highest[k] > high ? highest[k] : high;
  }
  own.lowest = low;
  own.highest = high;
  for (int64_t pixel = threadIdx.x; pixel < h * w; pixel += blockDim.x) {
    wml_warp_pixel(&own, in, (long)h, (long)w, (long)c, (long)(pixel / w), (long)(pixel % w), scale,
                   value);
    for (int k = 0; k < c; k++) view_set(out, (i * h * w + pixel) * c + k, value[k]);
  }
}

static __global__ void scale_bytes(const cuda_state *state, int feed, float scale, int64_t batch,
                                   int64_t n, cuda_view out) {
  const uint8_t *base = (const uint8_t *)state->base[feed];
  CUDA_EACH(k, batch * n)
    view_set(out, k, (float)base[place_of(state, feed, batch, k / n) * n + k % n] * scale);
}

/* Cells [first, first + cells) of rows of n. */
static __global__ void copy_floats(const cuda_state *state, int feed, int64_t batch, int64_t n,
                                   int64_t first, int64_t cells, cuda_view out) {
  const float *base = (const float *)state->base[feed] + first;
  CUDA_EACH(k, batch * cells)
    view_set(out, k, base[place_of(state, feed, batch, k / cells) * n + k % cells]);
}

static __global__ void copy_whole(const cuda_state *state, int feed, int64_t batch, int64_t n,
                                  int64_t first, int64_t cells, int32_t *out) {
  const float *base = (const float *)state->base[feed] + first;
  CUDA_EACH(k, batch * cells)
    out[k] = (int32_t)base[place_of(state, feed, batch, k / cells) * n + k % cells];
}

static __global__ void copy_labels(const cuda_state *state, int feed, int64_t batch, int64_t n,
                                   int32_t *out) {
  const int32_t *base = (const int32_t *)state->base[feed];
  CUDA_EACH(k, batch * n) out[k] = base[place_of(state, feed, batch, k / n) * n + k % n];
}

/* Where a column of the expanded row comes from. */
typedef struct cuda_column {
  int32_t cell, index; /* index -1: the cell's number itself; else 1 where the cell is the index */
} cuda_column;

static __global__ void expand_rows(const cuda_state *state, int feed, int64_t batch, int64_t cells,
                                   int64_t width, const cuda_column *columns, cuda_view out) {
  const float *base = (const float *)state->base[feed];
  CUDA_EACH(k, batch * width) {
    cuda_column column = columns[k % width];
    float value = base[place_of(state, feed, batch, k / width) * cells + column.cell];
    view_set(out, k, column.index < 0 ? value : value == (float)column.index ? 1.0f : 0.0f);
  }
}

/* Feeds are numbered in the order of the plan's tensors, as run.c does. */
static int feed_number(const wml_plan *plan, int tensor) {
  int n = 0;
  for (int i = 0; i < tensor; i++) n += plan->tensors[i].info.role == WML_ROLE_FEED;
  return n;
}

static void run_gather(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_tensor *t = cuda_info(plan, node->op.in[0]);
  const wml_gather *g = &node->op.u.gather;
  const cuda_state *state = plan->state;
  cuda_view out = cuda_view_of(plan, node->op.out[0]);
  int feed = feed_number(plan, node->op.in[0]);
  int64_t batch = plan->graph.batch, n = wml_row_elements(t);
  int64_t width = wml_row_elements(cuda_info(plan, node->op.out[0]));
  int64_t cells = g->cells ? g->cells : n;
  long blocks = cuda_blocks(batch * width, 16384);
  if (g->widths)
    CUDA_LAUNCH(expand_rows, blocks, CUDA_THREADS, call->stream, state, feed, batch, n, width,
                (const cuda_column *)node->constant, out);
  else if (t->dtype == WML_U8 && g->augment.channel_shift != 0.0f)
    CUDA_LAUNCH_TOGETHER(shift_pictures, batch, CUDA_THREADS, call->stream, state, feed, g->augment,
                         g->scale, batch, t->dim[1], t->dim[2], t->dim[3], out);
  else if (t->dtype == WML_U8 && wml_augment_is_on(&g->augment)) {
    int64_t h = t->dim[1], w = t->dim[2], tiles = (h * w + CUDA_THREADS - 1) / CUDA_THREADS;
    CUDA_LAUNCH_TOGETHER(warp_pictures, batch * tiles, CUDA_THREADS, call->stream, state, feed,
                         g->augment, g->scale, batch, h, w, t->dim[3], tiles, out);
  } else if (t->dtype == WML_U8)
    CUDA_LAUNCH(scale_bytes, blocks, CUDA_THREADS, call->stream, state, feed, g->scale, batch, n,
                out);
  else if (t->dtype == WML_I32)
    CUDA_LAUNCH(copy_labels, blocks, CUDA_THREADS, call->stream, state, feed, batch, n,
                (int32_t *)out.data);
  else if (cuda_info(plan, node->op.out[0])->dtype == WML_I32)
    CUDA_LAUNCH(copy_whole, blocks, CUDA_THREADS, call->stream, state, feed, batch, n, g->first,
                cells, (int32_t *)out.data);
  else
    CUDA_LAUNCH(copy_floats, blocks, CUDA_THREADS, call->stream, state, feed, batch, n, g->first,
                cells, out);
}

static wml_result make_columns(wml_plan *plan, cuda_node *node) {
  const wml_tensor *t = cuda_info(plan, node->op.in[0]);
  const int32_t *widths = node->op.u.gather.widths;
  int64_t first = node->op.u.gather.first,
          cells = node->op.u.gather.cells ? node->op.u.gather.cells : wml_row_elements(t);
  size_t width = (size_t)wml_row_elements(cuda_info(plan, node->op.out[0])), at = 0;
  if (plan->device->planning) return WML_OK;
  cuda_column *columns = (cuda_column *)cuda_take(plan->device, width, sizeof *columns);
  if (!columns) return WML_OUT_OF_MEMORY;
  for (int64_t i = 0; i < cells; i++)
    for (int32_t k = 0; k < widths[i] && at < width; k++)
      columns[at++] = cuda_column{(int32_t)(first + i), widths[i] == 1 ? -1 : k};
  wml_result result = cuda_constant(plan, columns, width * sizeof *columns, &node->constant);
  plan->device->host.release(columns);
  return result;
}

static wml_result plan_gather(wml_plan *plan, cuda_node *node) {
  const wml_tensor *t = cuda_info(plan, node->op.in[0]);
  node->name = "own";
  node->run = run_gather;
  if (node->op.u.gather.widths) return make_columns(plan, node);
  if (t->dtype == WML_U8 && wml_augment_is_on(&node->op.u.gather.augment) && t->dim[3] > 4) {
    node->why = "pictures of more than 4 channels cannot be augmented";
    return WML_UNSUPPORTED;
  }
  return WML_OK;
}

/* ---- reshape: input and output share their bytes ---- */

static void run_reshape(cuda_call *call, const cuda_node *node) {
  (void)call;
  (void)node;
}

static wml_result plan_reshape(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "view";
  node->run = run_reshape;
  return WML_OK;
}

const cuda_implementation cuda_gather[] = {{plan_gather}, {NULL}};
const cuda_implementation cuda_reshape[] = {{plan_reshape}, {NULL}};
