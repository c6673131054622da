/* Loops over elements of two operands, sums of rows, and what else needs no more than a row. See
 * vec.c for how they are compiled. */
#include "lanes.h"

#include <math.h>

enum { BLOCK = 64 };

/* m elements of a row from `at` on. */
WML_FN void load_of(const vec_operand *o, int64_t row, int64_t at, const int m, float *restrict to,
                    const bool narrow) {
  if (o->one) {
    float v = get(o->data, row * o->apart, narrow);
    for (int j = 0; j < m; j++) to[j] = v;
  } else
    for (int j = 0; j < m; j++) to[j] = get(o->data, row * o->apart + at + j, narrow);
}

WML_FN void store_of(const vec_result *y, int64_t row, int64_t at, const int m,
                     const float *restrict from, const bool narrow) {
  for (int j = 0; j < m; j++) set(y->data, row * y->apart + at + j, from[j], narrow);
}

/* body(row, at, m) for all blocks of the rows, with a constant m where they are full. */
#define BY_BLOCKS(result, body, ...)                                                               \
  for (int64_t row = 0; row < (result)->rows; row++)                                               \
    for (int64_t at = 0; at < (result)->n; at += BLOCK) {                                          \
      if ((result)->n - at >= BLOCK)                                                               \
        body(row, at, BLOCK, __VA_ARGS__);                                                         \
      else                                                                                         \
        body(row, at, (int)((result)->n - at), __VA_ARGS__);                                       \
    }

/* Calls the function with a constant kind, so that its switch is gone before the loop is compiled.
 */
#define WITH_CONSTANT_BINARY(is, function, ...)                                                    \
  switch (is) {                                                                                    \
  case WML_BINARY_ADD: function(WML_BINARY_ADD, __VA_ARGS__); break;                               \
  case WML_BINARY_SUBTRACT: function(WML_BINARY_SUBTRACT, __VA_ARGS__); break;                     \
  case WML_BINARY_MULTIPLY: function(WML_BINARY_MULTIPLY, __VA_ARGS__); break;                     \
  case WML_BINARY_MAXIMUM: function(WML_BINARY_MAXIMUM, __VA_ARGS__); break;                       \
  case WML_BINARY_MINIMUM: function(WML_BINARY_MINIMUM, __VA_ARGS__); break;                       \
  case WML_BINARY_PRELU: function(WML_BINARY_PRELU, __VA_ARGS__); break;                           \
  }

WML_FN void binary_alike(const wml_binary kind, const vec_operand *a, const vec_operand *b,
                         const vec_result *y, const bool narrow) {
  for (int64_t row = 0; row < y->rows; row++) {
    int64_t i = row * a->apart, k = row * b->apart, o = row * y->apart;
    IN_PLACE for (int64_t j = 0; j < y->n; j++) set(
        y->data, o + j,
        wml_binary_value(kind, get(a->data, i + j, narrow), get(b->data, k + j, narrow)), narrow);
  }
}

WML_FN void binary_block(int64_t row, int64_t at, const int m, const wml_binary kind,
                         const vec_operand *a, const vec_operand *b, const vec_result *y,
                         const bool narrow) {
  float va[BLOCK], vb[BLOCK];
  load_of(a, row, at, m, va, narrow);
  load_of(b, row, at, m, vb, narrow);
  for (int j = 0; j < m; j++) va[j] = wml_binary_value(kind, va[j], vb[j]);
  store_of(y, row, at, m, va, narrow);
}

WML_FN void binary_blocks(const wml_binary kind, const vec_operand *a, const vec_operand *b,
                          const vec_result *y,
                          const bool narrow){BY_BLOCKS(y, binary_block, kind, a, b, y, narrow)}

WML_FN void binary_of(wml_binary kind, const vec_operand *a, const vec_operand *b,
                      const vec_result *y, const bool narrow) {
  if (a->one || b->one)
    WITH_CONSTANT_BINARY(kind, binary_blocks, a, b, y, narrow)
  else
    WITH_CONSTANT_BINARY(kind, binary_alike, a, b, y, narrow)
}

static void binary(wml_binary kind, const vec_operand *a, const vec_operand *b, const vec_result *y,
                   bool narrow) {
  BY_TYPE(narrow, binary, kind, a, b, y);
}

WML_FN void derivative_block(int64_t row, int64_t at, const int m, const wml_binary kind,
                             const vec_derivative *d, const vec_result *dx, const bool narrow) {
  float g[BLOCK], a[BLOCK], b[BLOCK];
  load_of(&d->dy, row, at, m, g, narrow);
  load_of(&d->a, row, at, m, a, narrow);
  load_of(&d->b, row, at, m, b, narrow);
  if (d->of_b)
    for (int j = 0; j < m; j++) g[j] *= wml_binary_derivative_b(kind, a[j], b[j]);
  else
    for (int j = 0; j < m; j++) g[j] *= wml_binary_derivative_a(kind, a[j], b[j]);
  if (d->narrow_result)
    store_of(dx, row, at, m, g, true);
  else
    store_of(dx, row, at, m, g, false);
}

WML_FN void derivative_blocks(const wml_binary kind, const vec_derivative *d, const vec_result *dx,
                              const bool narrow){
    BY_BLOCKS(dx, derivative_block, kind, d, dx, narrow)}

WML_FN void derivative_of(const vec_derivative *d, const vec_result *dx, const bool narrow) {
  WITH_CONSTANT_BINARY(d->kind, derivative_blocks, d, dx, narrow)
}

static void derivative(const vec_derivative *d, const vec_result *dx) {
  BY_TYPE(d->narrow, derivative, d, dx);
}

WML_FN void equal_block(int64_t row, int64_t at, const int m, const vec_operand *dy,
                        const vec_operand *x, const vec_operand *y, const vec_result *dx) {
  float g[BLOCK], a[BLOCK], b[BLOCK];
  load_of(dy, row, at, m, g, false);
  load_of(x, row, at, m, a, false);
  load_of(y, row, at, m, b, false);
  for (int j = 0; j < m; j++) g[j] = keep_if(a[j] == b[j], g[j]);
  store_of(dx, row, at, m, g, false);
}

static void where_equal(const vec_operand *dy, const vec_operand *x, const vec_operand *y,
                        const vec_result *dx){BY_BLOCKS(dx, equal_block, dy, x, y, dx)}

WML_FN void affine_of(const vec_operand *x, float scale, float offset, const vec_result *y,
                      const bool narrow) {
  for (int64_t row = 0; row < y->rows; row++) {
    int64_t i = row * x->apart, o = row * y->apart;
    if (x->one) {
      float v = scale * get(x->data, i, narrow) + offset;
      for (int64_t j = 0; j < y->n; j++) set(y->data, o + j, v, narrow);
    } else
      IN_PLACE for (int64_t j = 0; j < y->n; j++)
          set(y->data, o + j, scale * get(x->data, i + j, narrow) + offset, narrow);
  }
}

static void affine(const vec_operand *x, float scale, float offset, const vec_result *y,
                   bool narrow) {
  BY_TYPE(narrow, affine, x, scale, offset, y);
}

WML_FN void masked_of(const void *x, const float *keeps, float scale, void *y, int64_t rows,
                      int64_t n, const bool narrow) {
  for (int64_t row = 0; row < rows; row++) IN_PLACE for (int64_t j = 0; j < n; j++) {
      float v = get(x, row * n + j, narrow) * scale;
      set(y, row * n + j, keep_if(keeps[j] != 0.0f, v), narrow);
    }
}

static void masked(const void *x, const float *keeps, float scale, void *y, int64_t rows, int64_t n,
                   bool narrow) {
  BY_TYPE(narrow, masked, x, keeps, scale, y, rows, n);
}

/* Sums of some rows in float32, then in double. */
enum { ROWS_IN_FLOAT = 32 };

WML_FN void sum_block(const void *x, int64_t at, int64_t apart, int64_t rows, const int m,
                      double *restrict sum, const bool narrow) {
  float s[BLOCK] = {0};
  for (int64_t r = 0; r < rows; r++, at += apart)
    for (int j = 0; j < m; j++) s[j] += get(x, at + j, narrow);
  for (int j = 0; j < m; j++) sum[j] += (double)s[j];
}

WML_FN void sums_of(const void *x, int64_t apart, int64_t rows, int64_t n, double *sum,
                    const bool narrow) {
  for (int64_t r = 0; r < rows; r += ROWS_IN_FLOAT) {
    int64_t some = rows - r < ROWS_IN_FLOAT ? rows - r : ROWS_IN_FLOAT;
    for (int64_t c = 0; c < n; c += BLOCK) {
      if (n - c >= BLOCK)
        sum_block(x, r * apart + c, apart, some, BLOCK, sum + c, narrow);
      else
        sum_block(x, r * apart + c, apart, some, (int)(n - c), sum + c, narrow);
    }
  }
}

static void sums(const void *x, int64_t apart, int64_t rows, int64_t n, double *sum, bool narrow) {
  BY_TYPE(narrow, sums, x, apart, rows, n, sum);
}

WML_FN void greatest_block(const void *x, int64_t at, int64_t apart, int64_t rows, const int m,
                           double *restrict greatest, const bool narrow) {
  float best[BLOCK];
  for (int j = 0; j < m; j++) best[j] = (float)greatest[j];
  for (int64_t r = 0; r < rows; r++, at += apart)
    for (int j = 0; j < m; j++) {
      float v = get(x, at + j, narrow);
      best[j] = ((v > best[j]) | (v != v)) ? v : best[j];
    }
  for (int j = 0; j < m; j++) greatest[j] = (double)best[j];
}

WML_FN void greatest_of(const void *x, int64_t apart, int64_t rows, int64_t n, double *greatest,
                        const bool narrow) {
  for (int64_t c = 0; c < n; c += BLOCK) {
    if (n - c >= BLOCK)
      greatest_block(x, c, apart, rows, BLOCK, greatest + c, narrow);
    else
      greatest_block(x, c, apart, rows, (int)(n - c), greatest + c, narrow);
  }
}

static void greatest(const void *x, int64_t apart, int64_t rows, int64_t n, double *greatest,
                     bool narrow) {
  BY_TYPE(narrow, greatest, x, apart, rows, n, greatest);
}

static void magnitudes(const float *x, int64_t n, double *sum) {
  double absolute[WIDTH] = {0}, square[WIDTH] = {0};
  int64_t i = 0;
  for (; i + WIDTH <= n; i += WIDTH)
    for (int j = 0; j < WIDTH; j++) {
      absolute[j] += (double)fabsf(x[i + j]);
      square[j] += (double)x[i + j] * (double)x[i + j];
    }
  for (int j = 0; j < WIDTH; j++) sum[0] += absolute[j], sum[1] += square[j];
  for (; i < n; i++) {
    sum[0] += (double)fabsf(x[i]);
    sum[1] += (double)x[i] * (double)x[i];
  }
}

const vec_elements_table VEC_PART(elements) = {.binary = binary,
                                               .derivative = derivative,
                                               .where_equal = where_equal,
                                               .affine = affine,
                                               .masked = masked,
                                               .sums = sums,
                                               .greatest = greatest,
                                               .magnitudes = magnitudes};
