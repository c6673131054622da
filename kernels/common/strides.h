/* Where the elements of one array lie in another one: broadcast operands, transposed arrays and
 * boxes. Back ends differ in how they loop, not in where they read. */
#ifndef WML_COMMON_STRIDES_H
#define WML_COMMON_STRIDES_H

#include "../backend.h"

/* Dimensions are aligned at the last one; those that an array lacks are 1. */
typedef struct wml_strides {
  int64_t dim[WML_MAX_RANK];    /* of the array whose elements are counted, row-major */
  int64_t stride[WML_MAX_RANK]; /* in the other array; 0 where that is broadcast */
  int64_t first;                /* the other array's element for element 0 */
} wml_strides;

/* The place in the other array of element i. */
WML_FN int64_t wml_strides_at(const wml_strides *s, int64_t i) {
  int64_t at = s->first;
  for (int d = WML_MAX_RANK - 1; d >= 0; d--) {
    at += i % s->dim[d] * s->stride[d];
    i /= s->dim[d];
  }
  return at;
}

/* Elements of `t` from one index to the next in dimension d of its rank. */
static inline int64_t wml_strides_step(const wml_tensor *t, int d) {
  int64_t n = 1;
  for (int i = d + 1; i < t->rank; i++) n *= t->dim[i];
  return n;
}

/* Elements of `result` in `operand`, which is broadcast (NumPy's rules, as in backend.h). A
 * reduction reads the same way: from the operand's elements to those of its result. */
static inline wml_strides wml_strides_broadcast(const wml_tensor *result,
                                                const wml_tensor *operand) {
  wml_strides s = {{0}, {0}, 0};
  for (int d = 0; d < WML_MAX_RANK; d++) {
    int r = d - WML_MAX_RANK + result->rank, o = d - WML_MAX_RANK + operand->rank;
    s.dim[d] = r >= 0 ? result->dim[r] : 1;
    s.stride[d] = o >= 0 && operand->dim[o] != 1 ? wml_strides_step(operand, o) : 0;
  }
  return s;
}

/* Elements of `result` in `operand`, where result.dim[i] = operand.dim[axes[i]]. */
static inline wml_strides wml_strides_transposed(const wml_tensor *result,
                                                 const wml_tensor *operand, const int *axes) {
  wml_strides s = {{0}, {0}, 0};
  for (int d = 0; d < WML_MAX_RANK; d++) {
    int r = d - WML_MAX_RANK + result->rank;
    s.dim[d] = r >= 0 ? result->dim[r] : 1;
    s.stride[d] = r >= 0 ? wml_strides_step(operand, axes[r]) : 0;
  }
  return s;
}

/* Elements of `box` in `whole`, where the box begins at `begin`. */
static inline wml_strides wml_strides_box(const wml_tensor *box, const wml_tensor *whole,
                                          const int64_t *begin) {
  wml_strides s = {{0}, {0}, 0};
  for (int d = 0; d < WML_MAX_RANK; d++) {
    int r = d - WML_MAX_RANK + box->rank;
    s.dim[d] = r >= 0 ? box->dim[r] : 1;
    s.stride[d] = r >= 0 ? wml_strides_step(whole, r) : 0;
    if (r >= 0) s.first += begin[r] * s.stride[d];
  }
  return s;
}

#endif
