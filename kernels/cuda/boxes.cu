/* Copies of what lies elsewhere: pieces put one behind the other, boxes, exchanged dimensions. Four
 * neighbours move at once where rows allow. */
#include "kernel.cuh"

#include "../common/strides.h"

/* ---- concatenation: [outer, width] arrays side by side ---- */

typedef struct parts {
  int n;
  cuda_view from[WML_MAX_OPERANDS];
  int64_t begin[WML_MAX_OPERANDS + 1]; /* of each part in a row of y; the last: y's width */
} parts;

/* each: elements that move at once, 1 or 4 */
static __global__ void concatenate(parts p, cuda_view y, int64_t n, int each) {
  int64_t width = p.begin[p.n];
  CUDA_EACH(i, n / each) {
    int64_t row = i * each / width, column = i * each % width;
    int part = 0;
    while (column >= p.begin[part + 1]) part++;
    int64_t from = row * (p.begin[part + 1] - p.begin[part]) + column - p.begin[part];
    view_put(y, i * each, view_take(p.from[part], from, each), each);
  }
}

static void run_concat(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *y = cuda_info(plan, op->out[0]);
  int64_t inner = wml_strides_step(y, op->u.axis), n = wml_elements(y);
  parts p = {};
  int each = 4;
  for (; p.n < WML_MAX_OPERANDS && op->in[p.n] >= 0; p.n++) {
    p.from[p.n] = cuda_view_of(plan, op->in[p.n]);
    p.begin[p.n + 1] = p.begin[p.n] + cuda_info(plan, op->in[p.n])->dim[op->u.axis] * inner;
    if (p.begin[p.n + 1] % 4) each = 1;
  }
  CUDA_LAUNCH(concatenate, cuda_blocks(n / each, 65536), CUDA_THREADS, call->stream, p,
              cuda_view_of(plan, op->out[0]), n, each);
}

/* ---- boxes ---- */

/* Four neighbours of y are neighbours in x, too, where they move at once. */
static __global__ void copy_from(wml_strides from, cuda_view x, cuda_view y, int64_t n, int each) {
  CUDA_EACH(i, n / each)
    view_put(y, i * each, view_take(x, wml_strides_at(&from, i * each), each), each);
}

/* x as a box of y: where it begins, and how large it is. */
typedef struct inner_box {
  int64_t whole[WML_MAX_RANK], begin[WML_MAX_RANK], dim[WML_MAX_RANK];
} inner_box;

/* The element of x for element i of y, or -1: outside. */
CUDA_FN int64_t inside(const inner_box &b, int64_t i) {
  int64_t at = 0, step = 1;
  for (int d = WML_MAX_RANK - 1; d >= 0; d--) {
    int64_t place = i % b.whole[d] - b.begin[d];
    if (place < 0 || place >= b.dim[d]) return -1;
    at += place * step;
    step *= b.dim[d];
    i /= b.whole[d];
  }
  return at;
}

static __global__ void pad(inner_box box, cuda_view x, cuda_view y, int64_t n, int each) {
  const cuda_float4 zeros = {{0.0f, 0.0f, 0.0f, 0.0f}};
  CUDA_EACH(i, n / each) {
    int64_t from = inside(box, i * each);
    view_put(y, i * each, from < 0 ? zeros : view_take(x, from, each), each);
  }
}

/* Whether rows of the two begin at multiples of four in each other. */
static int elements_at_once(const wml_tensor *a, const wml_tensor *b, int64_t begin) {
  int last = a->rank - 1;
  return a->dim[last] % 4 || b->dim[last] % 4 || begin % 4 ? 1 : 4;
}

static void run_crop(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *x = cuda_info(plan, op->in[0]), *y = cuda_info(plan, op->out[0]);
  int64_t n = wml_elements(y);
  int each = elements_at_once(x, y, op->u.begin[y->rank - 1]);
  CUDA_LAUNCH(copy_from, cuda_blocks(n / each, 65536), CUDA_THREADS, call->stream,
              wml_strides_box(y, x, op->u.begin), cuda_view_of(plan, op->in[0]),
              cuda_view_of(plan, op->out[0]), n, each);
}

static void run_pad(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *x = cuda_info(plan, op->in[0]), *y = cuda_info(plan, op->out[0]);
  int64_t n = wml_elements(y);
  int each = elements_at_once(x, y, op->u.begin[y->rank - 1]);
  inner_box box;
  for (int d = 0; d < WML_MAX_RANK; d++) {
    int at = d - WML_MAX_RANK + y->rank;
    box.whole[d] = at < 0 ? 1 : y->dim[at];
    box.dim[d] = at < 0 ? 1 : x->dim[at];
    box.begin[d] = at < 0 ? 0 : op->u.begin[at];
  }
  CUDA_LAUNCH(pad, cuda_blocks(n / each, 65536), CUDA_THREADS, call->stream, box,
              cuda_view_of(plan, op->in[0]), cuda_view_of(plan, op->out[0]), n, each);
}

/* ---- transposition ---- */

enum { TILE = 32, TILE_ROWS = CUDA_THREADS / TILE };

/* The last dimension of x is dimension `across` of y. Tiles of the two go through shared memory, so
 * that both sides are touched row by row. */
typedef struct exchange {
  wml_strides outer;        /* of the dimensions of y that are neither; those two are 1 here */
  wml_strides outer_y;      /* where they lie in y */
  int64_t rows, columns;    /* dimension `across` of y, which are neighbours in x; y's last one */
  int64_t row_step, x_step; /* between rows in y, between columns in x */
  int64_t tiles_down, tiles_across;
} exchange;

static __global__ void transpose_tiles(exchange e, cuda_view x, cuda_view y) {
  __shared__ float tile[TILE][TILE + 1];
  int64_t tiles = e.tiles_down * e.tiles_across, outer = blockIdx.x / tiles;
  int64_t row = blockIdx.x % tiles / e.tiles_across * TILE,
          column = blockIdx.x % tiles % e.tiles_across * TILE;
  int64_t from = wml_strides_at(&e.outer, outer), to = wml_strides_at(&e.outer_y, outer);
  int near = (int)threadIdx.x % TILE, far = (int)threadIdx.x / TILE;
  for (int k = far; k < TILE; k += TILE_ROWS)
    if (row + near < e.rows && column + k < e.columns)
      tile[k][near] = view_get(x, from + (column + k) * e.x_step + row + near);
  __syncthreads();
  for (int k = far; k < TILE; k += TILE_ROWS)
    if (row + k < e.rows && column + near < e.columns)
      view_set(y, to + (row + k) * e.row_step + column + near, tile[near][k]);
}

static exchange exchange_of(const wml_tensor *x, const wml_tensor *y, const int *axes) {
  exchange e = {wml_strides_transposed(y, x, axes), wml_strides_broadcast(y, y), 0, 0, 0, 0, 0, 0};
  int skipped = WML_MAX_RANK - y->rank, last = WML_MAX_RANK - 1, across = 0;
  for (int d = 0; d < y->rank; d++)
    if (axes[d] == y->rank - 1) across = d + skipped;
  e.rows = e.outer.dim[across], e.columns = e.outer.dim[last];
  e.row_step = e.outer_y.stride[across], e.x_step = e.outer.stride[last];
  e.outer.dim[across] = e.outer.dim[last] = 1;
  e.outer_y.dim[across] = e.outer_y.dim[last] = 1;
  e.tiles_down = (e.rows + TILE - 1) / TILE, e.tiles_across = (e.columns + TILE - 1) / TILE;
  return e;
}

static void run_transpose(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *x = cuda_info(plan, op->in[0]), *y = cuda_info(plan, op->out[0]);
  cuda_view from = cuda_view_of(plan, op->in[0]), to = cuda_view_of(plan, op->out[0]);
  int64_t n = wml_elements(y);
  if (op->u.axes[y->rank - 1] == y->rank - 1) { /* rows move as they are */
    int each = elements_at_once(x, y, 0);
    CUDA_LAUNCH(copy_from, cuda_blocks(n / each, 65536), CUDA_THREADS, call->stream,
                wml_strides_transposed(y, x, op->u.axes), from, to, n, each);
    return;
  }
  exchange e = exchange_of(x, y, op->u.axes);
  int64_t outer = n / e.rows / e.columns;
  CUDA_LAUNCH_TOGETHER(transpose_tiles, outer * e.tiles_down * e.tiles_across, CUDA_THREADS,
                       call->stream, e, from, to);
}

/* ---- the operations ---- */

static wml_result plan_concat(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_concat;
  return WML_OK;
}

static wml_result plan_crop(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_crop;
  return WML_OK;
}

static wml_result plan_pad(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_pad;
  return WML_OK;
}

static wml_result plan_transpose(wml_plan *plan, cuda_node *node) {
  int last = cuda_info(plan, node->op.out[0])->rank - 1;
  node->name = node->op.u.axes[last] == last ? "own:rows" : "own:tiles";
  node->run = run_transpose;
  return WML_OK;
}

const cuda_implementation cuda_concat[] = {{plan_concat}, {NULL}};
const cuda_implementation cuda_crop[] = {{plan_crop}, {NULL}};
const cuda_implementation cuda_pad[] = {{plan_pad}, {NULL}};
const cuda_implementation cuda_transpose[] = {{plan_transpose}, {NULL}};
