/* Rows of a table, and the sums of their gradients. Going back, the positions are sorted by the row
 * that they ask for, a digit at a time and stably, so that those of one row stand one behind the
 * other in their order; sums over them are formed in pieces. */
#include "kernel.cuh"

/* ---- forward ---- */

/* each: elements that move at once, 1 or 4 */
static __global__ void look_up(const int32_t *index, cuda_view table, int64_t rows, int64_t width,
                               cuda_view y, int64_t n, int each) {
  const cuda_float4 zeros = {{0.0f, 0.0f, 0.0f, 0.0f}};
  CUDA_EACH(i, n / each) {
    int64_t row = index[i * each / width], column = i * each % width;
    bool outside = row < 0 || row >= rows;
    view_put(y, i * each, outside ? zeros : view_take(table, row * width + column, each), each);
  }
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *table = cuda_info(plan, op->in[1]);
  int64_t width = table->dim[1], n = wml_elements(cuda_info(plan, op->out[0]));
  int each = width % 4 ? 1 : 4;
  CUDA_LAUNCH(look_up, cuda_blocks(n / each, 65536), CUDA_THREADS, call->stream,
              (const int32_t *)cuda_view_of(plan, op->in[0]).data, cuda_weight(plan, op->in[1]),
              table->dim[0], width, cuda_view_of(plan, op->out[0]), n, each);
}

/* ---- sorting ---- */

enum { DIGIT_BITS = 4, DIGITS = 1 << DIGIT_BITS, EACH = 8, SORT_TILE = CUDA_THREADS * EACH };

/* A position and the row that it asks for; the row behind the last stands for none. */
typedef struct wish {
  int32_t row, position;
} wish;

CUDA_FN int digit_of(wish w, int shift) {
  return (int)((uint32_t)w.row >> shift) % DIGITS;
}

static __global__ void list_wishes(const int32_t *index, int64_t n, int32_t rows, wish *out) {
  CUDA_EACH(i, n) out[i] = wish{index[i] < 0 || index[i] >= rows ? rows : index[i], (int32_t)i};
}

/* counts: [DIGITS, tiles] */
static __global__ void count_digits(const wish *in, int64_t n, int shift, int64_t tiles,
                                    int32_t *counts) {
  __shared__ int16_t part[DIGITS][CUDA_THREADS];
  int64_t first = (int64_t)blockIdx.x * SORT_TILE + threadIdx.x * EACH;
  for (int d = 0; d < DIGITS; d++) part[d][threadIdx.x] = 0;
  for (int64_t i = first; i < first + EACH && i < n; i++)
    part[digit_of(in[i], shift)][threadIdx.x]++;
  __syncthreads();
  if (threadIdx.x >= DIGITS) return;
  int32_t sum = 0;
  for (int t = 0; t < CUDA_THREADS; t++) sum += part[threadIdx.x][t];
  counts[threadIdx.x * tiles + blockIdx.x] = sum;
}

/* Each count becomes the sum of those before it. One block. */
static __global__ void sum_counts(int32_t *counts, int64_t n) {
  __shared__ int32_t part[CUDA_THREADS];
  int64_t each = (n + CUDA_THREADS - 1) / CUDA_THREADS, first = threadIdx.x * each;
  int64_t end = first + each < n ? first + each : n;
  int32_t sum = 0;
  for (int64_t i = first; i < end; i++) sum += counts[i];
  part[threadIdx.x] = sum;
  __syncthreads();
  int32_t before = 0;
  for (int t = 0; t < (int)threadIdx.x; t++) before += part[t];
  for (int64_t i = first; i < end; i++) {
    int32_t own = counts[i];
    counts[i] = before;
    before += own;
  }
}

/* before: [DIGITS, tiles], where those of a tile with a digit begin. */
static __global__ void move_wishes(const wish *in, int64_t n, int shift, int64_t tiles,
                                   const int32_t *before, wish *out) {
  __shared__ int16_t part[DIGITS][CUDA_THREADS];
  int64_t first = (int64_t)blockIdx.x * SORT_TILE + threadIdx.x * EACH;
  for (int d = 0; d < DIGITS; d++) part[d][threadIdx.x] = 0;
  for (int64_t i = first; i < first + EACH && i < n; i++)
    part[digit_of(in[i], shift)][threadIdx.x]++;
  __syncthreads();
  if (threadIdx.x < DIGITS) {
    int16_t sum = 0;
    for (int t = 0; t < CUDA_THREADS; t++) {
      int16_t own = part[threadIdx.x][t];
      part[threadIdx.x][t] = sum;
      sum = (int16_t)(sum + own);
    }
  }
  __syncthreads();
  for (int64_t i = first; i < first + EACH && i < n; i++) {
    int digit = digit_of(in[i], shift);
    out[before[digit * tiles + blockIdx.x] + part[digit][threadIdx.x]++] = in[i];
  }
}

/* ---- sums ---- */

enum { PIECE = 32 }; /* wishes of a piece */

/* Of each piece the sum of those that go on with the row of the piece before, and of those whose
 * row goes on in the next: [pieces, 2, width]. A row that is inside one piece is complete. */
static __global__ void sum_pieces(const wish *wishes, int64_t n, int32_t rows, cuda_view dy,
                                  int64_t width, int64_t pieces, float *open, float *dtable) {
  CUDA_EACH(k, pieces * width) {
    int64_t piece = k / width, column = k % width, i = piece * PIECE;
    int64_t end = i + PIECE < n ? i + PIECE : n;
    while (i < end && wishes[i].row < rows) {
      int32_t row = wishes[i].row;
      bool begins = i == 0 || wishes[i - 1].row != row;
      float sum = 0.0f;
      for (; i < end && wishes[i].row == row; i++)
        sum += view_get(dy, wishes[i].position * width + column);
      bool ends = i == n || wishes[i].row != row;
      if (begins && ends)
        dtable[row * width + column] = sum;
      else
        open[(piece * 2 + (begins ? 1 : 0)) * width + column] = sum;
    }
  }
}

/* The rows that go over several pieces: where such a row begins, its pieces are added. */
static __global__ void join_pieces(const wish *wishes, int64_t n, int32_t rows, int64_t width,
                                   int64_t pieces, const float *open, float *dtable) {
  CUDA_EACH(k, (pieces - 1) * width) {
    int64_t piece = k / width, column = k % width, next = (piece + 1) * PIECE;
    int32_t row = wishes[next - 1].row;
    bool begins = piece == 0 || wishes[piece * PIECE - 1].row != row;
    if (row >= rows || !begins || wishes[next].row != row) continue;
    double sum = (double)open[(piece * 2 + 1) * width + column];
    for (; next < n && wishes[next].row == row; next += PIECE)
      sum += (double)open[next / PIECE * 2 * width + column];
    dtable[row * width + column] = (float)sum;
  }
}

/* ---- backward ---- */

/* n: how many indices there are. */
typedef struct sorting {
  int64_t n, tiles, pieces;
} sorting;

static sorting sorting_of(const wml_plan *plan, const cuda_node *node) {
  int64_t n = wml_elements(cuda_info(plan, node->op.in[0]));
  return sorting{n, (n + SORT_TILE - 1) / SORT_TILE, (n + PIECE - 1) / PIECE};
}

/* Returns where the sorted list is: one of two. */
static const wish *sort(cuda_call *call, const sorting &s, int32_t rows, wish *lists[2],
                        int32_t *counts) {
  int which = 0;
  for (int shift = 0; (int64_t)rows >> shift > 0; shift += DIGIT_BITS, which ^= 1) {
    CUDA_LAUNCH_TOGETHER(count_digits, s.tiles, CUDA_THREADS, call->stream, lists[which], s.n,
                         shift, s.tiles, counts);
    CUDA_LAUNCH_TOGETHER(sum_counts, 1, CUDA_THREADS, call->stream, counts, s.tiles * DIGITS);
    CUDA_LAUNCH_TOGETHER(move_wishes, s.tiles, CUDA_THREADS, call->stream, lists[which], s.n, shift,
                         s.tiles, counts, lists[which ^ 1]);
  }
  return lists[which];
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  const wml_tensor *table = cuda_info(plan, op->out[0]);
  sorting s = sorting_of(plan, node);
  int32_t rows = (int32_t)table->dim[0];
  int64_t width = table->dim[1];
  wish *first = (wish *)plan->tensors[node->temp[0]].data, *lists[2] = {first, first + s.n};
  float *open = cuda_f32(plan, node->temp[2]), *dtable = cuda_f32(plan, op->out[0]);
  size_t bytes = (size_t)wml_elements(table) * sizeof *dtable;
  call->result =
      cuda_check(plan->device, cudaMemsetAsync(dtable, 0, bytes, call->stream), "cudaMemsetAsync");
  if (call->result != WML_OK) return;
  CUDA_LAUNCH(list_wishes, cuda_blocks(s.n, 4096), CUDA_THREADS, call->stream,
              (const int32_t *)cuda_view_of(plan, op->in[0]).data, s.n, rows, first);
  const wish *sorted = sort(call, s, rows, lists, (int32_t *)plan->tensors[node->temp[1]].data);
  CUDA_LAUNCH(sum_pieces, cuda_blocks(s.pieces * width, 65536), CUDA_THREADS, call->stream, sorted,
              s.n, rows, cuda_view_of(plan, op->in[1]), width, s.pieces, open, dtable);
  if (s.pieces > 1)
    CUDA_LAUNCH(join_pieces, cuda_blocks((s.pieces - 1) * width, 65536), CUDA_THREADS, call->stream,
                sorted, s.n, rows, width, s.pieces, open, dtable);
}

static wml_result plan_forward(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_forward;
  return WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  sorting s = sorting_of(plan, node);
  size_t width = (size_t)cuda_info(plan, node->op.out[0])->dim[1];
  node->name = "own:sorted";
  node->run = run_backward;
  wml_result result = cuda_take_temporary(plan, node, 0, 2 * (size_t)s.n * sizeof(wish));
  if (result == WML_OK)
    result = cuda_take_temporary(plan, node, 1, (size_t)s.tiles * DIGITS * sizeof(int32_t));
  if (result == WML_OK)
    result = cuda_take_temporary(plan, node, 2, (size_t)s.pieces * 2 * width * sizeof(float));
  return result;
}

const cuda_implementation cuda_embedding[] = {{plan_forward}, {NULL}};
const cuda_implementation cuda_embedding_bwd[] = {{plan_backward}, {NULL}};
