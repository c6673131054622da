/* What poolings have in common: shapes, and the windows that an element lies in. */
#ifndef WML_CUDA_POOL_CUH
#define WML_CUDA_POOL_CUH

#include "kernel.cuh"

typedef struct pool {
  int64_t n, h, w, c, oh, ow;
  wml_window window;
} pool;

static inline pool pool_of(const wml_plan *plan, const cuda_node *node, int x, int y) {
  const int64_t *xd = cuda_info(plan, x)->dim, *yd = cuda_info(plan, y)->dim;
  return pool{xd[0], xd[1], xd[2], xd[3], yd[1], yd[2], node->op.u.window};
}

/* The windows that a row or column lies in: first and last (behind the last: first > last). */
CUDA_FN void windows_of(int64_t at, int size, int stride, int pad, int64_t count, int64_t *first,
                        int64_t *last) {
  int64_t from = at + pad - size + 1, to = at + pad;
  *first = from <= 0 ? 0 : (from + stride - 1) / stride;
  *last = to < 0 ? -1 : to / stride;
  if (*last >= count) *last = count - 1;
}

#endif
