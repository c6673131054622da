/* Sums, or something joined like them, over some dimensions of an array: reductions, gradients of
 * operands that were broadcast, statistics of normalisations. A functor F says what is joined:
 *   N                      how many numbers at once
 *   start()                what joining begins with
 *   join(a, b)             of floats and of doubles
 *   add(output, at, own)   element `at` of the array joins own[N]
 *   finish(output, total)  writes a result from the double total[N]
 * First a grid of blocks, each over a piece of the elements of some outputs, in float32; then the
 * pieces are joined in double. The order is fixed. */
#ifndef WML_CUDA_REDUCTION_CUH
#define WML_CUDA_REDUCTION_CUH

#include "../common/strides.h"
#include "kernel.cuh"

enum { MAX_PIECES = 512 };

/* Neighbouring dimensions of a kind count as one, so that up to two are kept and two reduced, in
 * turns. Output o begins at o / kept * kept_stride[0] + o % kept * kept_stride[1], and its element
 * e lies e / reduced * reduced_stride[0] + e % reduced * reduced_stride[1] behind that. */
typedef struct reduction {
  int64_t outputs, elements; /* elements: of one output */
  int64_t kept, kept_stride[2], reduced, reduced_stride[2];
  bool across; /* the last dimension is reduced: neighbouring threads share an output */
  int lanes;   /* threads of a block for one output, a power of 2 */
  int64_t piece, pieces;
} reduction;

/* ---- planning ---- */

static inline void reduction_add(int64_t *total, int64_t *inner, int64_t stride[2], int64_t dim,
                                 int64_t step, bool joins) {
  if (*total == 1)
    stride[1] = step, *inner = dim;
  else if (joins && *total == *inner)
    *inner *= dim;
  else if (*total == *inner)
    stride[0] = step;
  *total *= dim;
}

/* Blocks where all threads have about as much to do, and pieces that keep sums in float32 short. */
static inline void reduction_divide(reduction *r) {
  r->lanes = r->across ? 1 : CUDA_THREADS / 32;
  while (r->across ? r->lanes < CUDA_THREADS && r->lanes * 16 < r->elements
                   : r->lanes < CUDA_THREADS && CUDA_THREADS / r->lanes / 2 >= r->outputs)
    r->lanes *= 2;
  while (r->lanes > 1 && r->lanes / 2 >= r->elements) r->lanes /= 2;
  int64_t columns = CUDA_THREADS / r->lanes, blocks = (r->outputs + columns - 1) / columns;
  int64_t least = r->lanes * (blocks < 256 ? 16 : 64);
  int64_t pieces = (r->elements + least - 1) / least;
  if (pieces > MAX_PIECES) pieces = MAX_PIECES;
  r->piece = (r->elements + pieces - 1) / pieces;
  r->pieces = (r->elements + r->piece - 1) / r->piece;
}

/* dim: [rank], row-major; reduced: which of them. */
static inline reduction reduction_of(int rank, const int64_t *dim, const bool *reduced) {
  reduction r = {1, 1, 1, {0, 0}, 1, {0, 0}, false, 1, 1, 1};
  int64_t step = 1;
  int before = -1; /* the kind of the dimension behind this one */
  for (int d = rank - 1; d >= 0; d--) {
    if (dim[d] == 1) continue;
    if (before < 0) r.across = reduced[d];
    if (reduced[d])
      reduction_add(&r.elements, &r.reduced, r.reduced_stride, dim[d], step, before == 1);
    else
      reduction_add(&r.outputs, &r.kept, r.kept_stride, dim[d], step, before == 0);
    before = reduced[d];
    step *= dim[d];
  }
  reduction_divide(&r);
  return r;
}

/* Over the dimensions of x that are 1 in y, which may lack some of the first ones. */
static inline reduction reduction_to(const wml_tensor *x, const wml_tensor *y) {
  bool reduced[WML_MAX_RANK];
  for (int d = 0; d < x->rank; d++) {
    int at = d - x->rank + y->rank;
    reduced[d] = at < 0 || y->dim[at] == 1;
  }
  return reduction_of(x->rank, x->dim, reduced);
}

/* Bytes of the pieces' sums, of `numbers` at once; 0: there is one piece. */
static inline size_t reduction_bytes(const reduction *r, int numbers) {
  return r->pieces > 1 ? (size_t)(r->pieces * r->outputs * numbers) * sizeof(float) : 0;
}

/* ---- on the device ---- */

CUDA_FN int64_t reduction_begin(const reduction &r, int64_t output) {
  if (r.kept == r.outputs) return output * r.kept_stride[1];
  return output / r.kept * r.kept_stride[0] + output % r.kept * r.kept_stride[1];
}

CUDA_FN int64_t reduction_at(const reduction &r, int64_t element) {
  if (r.reduced == r.elements) return element * r.reduced_stride[1];
  return element / r.reduced * r.reduced_stride[0] + element % r.reduced * r.reduced_stride[1];
}

/* The place of a thread, `lanes` of which have an output; across: they are neighbours. */
CUDA_FN int thread_of(int lane, int column, int lanes, bool across) {
  return across ? column * lanes + lane : lane * (CUDA_THREADS / lanes) + column;
}

/* Joins what the lanes of each column have into what lane 0 has. All threads call it. */
template <typename F, typename T>
static __device__ inline void join_lanes(T *part, int lane, int column, int lanes, bool across) {
  for (int half = lanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) {
      T *own = &part[thread_of(lane, column, lanes, across)];
      *own = F::join(*own, part[thread_of(lane + half, column, lanes, across)]);
    }
  }
}

template <typename F> static __global__ void reduce_pieces(reduction r, F f, float *partial) {
  __shared__ float part[F::N][CUDA_THREADS];
  int columns = CUDA_THREADS / r.lanes, thread = (int)threadIdx.x;
  int lane = r.across ? thread % r.lanes : thread / columns;
  int column = r.across ? thread / r.lanes : thread % columns;
  int64_t groups = (r.outputs + columns - 1) / columns, piece = blockIdx.x / groups;
  int64_t output = blockIdx.x % groups * columns + column;
  int64_t end = (piece + 1) * r.piece < r.elements ? (piece + 1) * r.piece : r.elements;
  float own[F::N];
  CUDA_FOR(k, F::N) own[k] = F::start();
  if (output < r.outputs) {
    int64_t begin = reduction_begin(r, output);
    for (int64_t e = piece * r.piece + lane; e < end; e += r.lanes)
      f.add(output, begin + reduction_at(r, e), own);
  }
  CUDA_FOR(k, F::N) part[k][thread] = own[k];
  CUDA_FOR(k, F::N) join_lanes<F>(part[k], lane, column, r.lanes, r.across);
  if (lane > 0 || output >= r.outputs) return;
  double total[F::N];
  CUDA_FOR(k, F::N) total[k] = (double)part[k][thread];
  if (r.pieces == 1)
    f.finish(output, total);
  else
    CUDA_FOR(k, F::N) partial[(piece * F::N + k) * r.outputs + output] = part[k][thread];
}

enum { TOTAL_COLUMNS = 32, TOTAL_LANES = CUDA_THREADS / TOTAL_COLUMNS };

template <typename F>
static __global__ void reduce_totals(int64_t outputs, int64_t pieces, F f, const float *partial) {
  __shared__ double part[F::N][CUDA_THREADS];
  int thread = (int)threadIdx.x, lane = thread / TOTAL_COLUMNS, column = thread % TOTAL_COLUMNS;
  int64_t output = (int64_t)blockIdx.x * TOTAL_COLUMNS + column;
  double total[F::N];
  CUDA_FOR(k, F::N) {
    total[k] = (double)F::start();
    for (int64_t p = lane; output < outputs && p < pieces; p += TOTAL_LANES)
      total[k] = F::join(total[k], (double)partial[(p * F::N + k) * outputs + output]);
    part[k][thread] = total[k];
  }
  CUDA_FOR(k, F::N) join_lanes<F>(part[k], lane, column, TOTAL_LANES, false);
  if (lane > 0 || output >= outputs) return;
  CUDA_FOR(k, F::N) total[k] = part[k][thread];
  f.finish(output, total);
}

/* Joins the sums of pieces, [pieces, N, outputs]. */
template <typename F>
static void reduction_total(cudaStream_t stream, int64_t outputs, int64_t pieces, const F &f,
                            const float *partial) {
  CUDA_LAUNCH_TOGETHER(reduce_totals<F>, (outputs + TOTAL_COLUMNS - 1) / TOTAL_COLUMNS,
                       CUDA_THREADS, stream, outputs, pieces, f, partial);
}

/* partial: of reduction_bytes(), or NULL. */
template <typename F>
static void reduction_run(cudaStream_t stream, const reduction &r, const F &f, void *partial) {
  int64_t columns = CUDA_THREADS / r.lanes, groups = (r.outputs + columns - 1) / columns;
  CUDA_LAUNCH_TOGETHER(reduce_pieces<F>, groups * r.pieces, CUDA_THREADS, stream, r, f,
                       (float *)partial);
  if (r.pieces > 1) reduction_total(stream, r.outputs, r.pieces, f, (const float *)partial);
}

/* What functors of sums have in common. */
struct sum_functor {
  static __device__ float start() { return 0.0f; }
  template <typename T> static __device__ T join(T a, T b) { return a + b; }
};

#endif
