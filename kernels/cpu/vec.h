/* The project's own loops, compiled once for each instruction set (vec.c) and picked at run time.
 * Each works on a range, so that a caller can split it among threads without changing any bit.
 *
 * `const void *` and `void *` are values between operations: all of a call are float32 or, where
 * it is `narrow`, bfloat16. Arithmetic is in float32 always. */
#ifndef WML_CPU_VEC_H
#define WML_CPU_VEC_H

#include "../backend.h"

/* One image of a pooling. x: [h, w, c], y: [oh, ow, c], index: [oh, ow, c] place in the window. */
typedef struct vec_pool {
  int64_t h, w, c, oh, ow;
  const wml_window *window;
  bool narrow;
} vec_pool;

enum { VEC_POOL_CHANNELS = 1024 }; /* most that pool_bwd takes with `y`, or narrow */

/* Windows that share elements: pool_bwd adds up in float32 only. */
static inline bool vec_pool_overlaps(const wml_window *w) {
  return w->stride[0] < w->size[0] || w->stride[1] < w->size[1];
}

/* A convolution of stride 1 with 2x2 pooling behind it. */
typedef struct vec_pooled {
  int64_t w, c; /* of the picture, with what it is padded by */
  int64_t kh, kw;
  int64_t ph, pw, f; /* pooled */
  bool narrow;       /* dy and y */
} vec_pooled;

/* Whether there is code for kernels whose rows have so many values (width times channels). */
static inline bool vec_pooled_takes(int64_t row) {
  return (row >= 1 && row <= 9) || row == 12 || row == 15;
}

/* A depthwise convolution of one picture, or the gradient of its input. There are `c` channels on
 * both sides. The kernel is [kh, kw, c]. */
typedef struct vec_depthwise {
  int64_t h, w, oh, ow; /* of the operand, which is dy in the gradient; of the result */
  int64_t kh, kw, c;
  int64_t stride[2], dilation[2], pad[2]; /* of the convolution; pad: before */
  bool narrow;
} vec_depthwise;

enum { VEC_DEPTHWISE_SIZE = 15 }; /* largest kernel */

/* Stride 1 or dilation 1 along each axis; at least `width` channels. `row`: of the result of one
 * picture; y: its first value. */
typedef struct vec_depthwise_table {
  int64_t width;
  void (*forward)(const vec_depthwise *d, const void *x, const float *kernel, const float *bias,
                  int64_t row, void *y);
  /* h, w: of dy; oh, ow: of dx */
  void (*bwd_data)(const vec_depthwise *d, const void *dy, const float *kernel, int64_t row,
                   void *dx);
  /* sum[kh, kw, c] += the gradient of the kernel by `rows` rows of dy from `row` on; dy: the first
   * value of the picture */
  void (*bwd_weights)(const vec_depthwise *d, const void *x, const void *dy, int64_t row,
                      int64_t rows, float *sum);
  /* y[i * times + j] = x[i]; and back: x[i] = sum over j */
  void (*repeat)(const void *x, void *y, int64_t n, int64_t times, bool narrow);
  void (*add_repeated)(const void *y, void *x, int64_t n, int64_t times, bool narrow);
} vec_depthwise_table;

typedef struct vec_resize {
  int64_t w, c, ow;              /* columns of x and dx, and of y and dy */
  const wml_resize_tap *columns; /* [ow] */
  const struct vec_readers {
    int64_t begin, end;
  } * readers; /* [w] columns of dy whose taps have this one */
  bool narrow;
} vec_resize;

/* Each call makes one row of a picture, or adds to it; x and dy: the picture. */
typedef struct vec_spatial_table {
  void (*average)(const vec_pool *p, const void *x, int64_t row, void *y);
  void (*average_bwd)(const vec_pool *p, const void *dy, int64_t row, void *dx);
  void (*resize)(const vec_resize *r, const void *x, const wml_resize_tap *row, void *y);
  /* sum += factor * x */
  void (*add_row)(float *sum, const void *x, int64_t n, float factor, bool narrow);
  /* dx [w, c] from the sum of rows dy [ow, c] */
  void (*resize_columns_bwd)(const vec_resize *r, const float *dy, void *dx);
} vec_spatial_table;

/* Rows that each have statistics of their own. gamma, beta: [c] or NULL */
typedef struct vec_row_norm {
  const wml_norm *norm;
  const float *gamma, *beta;
  int64_t c;
  bool narrow;
} vec_row_norm;

/* Factors per channel, [c]. */
typedef struct vec_combine {
  const float *dy, *x, *mean, *one;
  int64_t c;
  bool narrow;
} vec_combine;

typedef struct vec_norm_table {
  /* mean, factor: [rows] or NULL */
  void (*rows)(const vec_row_norm *v, const void *x, void *y, float *mean, float *factor,
               int64_t rows);
  /* dx: or NULL. sum[0..c) += dy, sum[c..2c) += dy * z; or NULL. tile: [2 * c], scratch */
  void (*rows_bwd)(const vec_row_norm *v, const void *dy, const void *x, const float *mean,
                   const float *factor, void *dx, double *sum, float *tile, int64_t rows);
  /* y = k->dy * dy + k->x * (x - k->mean) + k->one; dy: or NULL */
  void (*combine)(const vec_combine *k, const void *dy, const void *x, void *y, int64_t rows);
} vec_norm_table;

typedef struct vec_norm { /* per channel, [c] */
  const float *gamma, *beta, *mean, *var;
  float epsilon;
  int64_t c;
  bool narrow;
} vec_norm;

/* Rows of an operand, `apart` elements from one another; `one`: each has one element, which stands
 * for all of the result's row. */
typedef struct vec_operand {
  const void *data;
  int64_t apart;
  bool one;
} vec_operand;

typedef struct vec_result {
  void *data;
  int64_t apart, rows, n; /* elements of a row */
} vec_result;

/* What BINARY_BWD sums up, or writes where nothing is broadcast. */
typedef struct vec_derivative {
  wml_binary kind;
  bool of_b; /* the derivative for b, else for a */
  vec_operand dy, a, b;
  bool narrow, narrow_result;
} vec_derivative;

typedef struct vec_elements_table {
  void (*binary)(wml_binary kind, const vec_operand *a, const vec_operand *b, const vec_result *y,
                 bool narrow);
  void (*derivative)(const vec_derivative *d, const vec_result *dx);
  /* float32: dx = dy where x is equal to y, else 0 */
  void (*where_equal)(const vec_operand *dy, const vec_operand *x, const vec_operand *y,
                      const vec_result *dx);
  /* y = scale * x + offset */
  void (*affine)(const vec_operand *x, float scale, float offset, const vec_result *y, bool narrow);
  /* rows of x and y lie one behind the other: y = x * scale where keeps[] is not 0, else 0 */
  void (*masked)(const void *x, const float *keeps, float scale, void *y, int64_t rows, int64_t n,
                 bool narrow);
  /* sum[n] += the rows of x; greatest[n]: the largest of it and them, or a NaN */
  void (*sums)(const void *x, int64_t apart, int64_t rows, int64_t n, double *sum, bool narrow);
  void (*greatest)(const void *x, int64_t apart, int64_t rows, int64_t n, double *greatest,
                   bool narrow);
  /* sum[0] += the absolute values, sum[1] += the squares */
  void (*magnitudes)(const float *x, int64_t n, double *sum);
} vec_elements_table;

typedef struct vec_update { /* one flat range; absent slots point anywhere readable */
  const wml_optimizer *optimizer;
  const wml_optimizer_step *step;
  float *w, *g, *s0, *s1, *s2;
  float factor; /* gradients are multiplied by it (clipping by norm) */
} vec_update;

typedef struct vec_table {
  const char *name;
  void (*from_u8)(const uint8_t *x, void *y, int64_t n, float scale, bool narrow);
  void (*widen)(const uint16_t *x, float *y, int64_t n);
  void (*narrow)(const float *x, uint16_t *y, int64_t n);
  /* augmented picture: x [h, w, c] bytes, y [h, w, c] */
  void (*warp)(const wml_warp *warp, const uint8_t *x, int64_t h, int64_t w, int64_t c, float scale,
               float *y);
  void (*activation)(const wml_activation *act, const void *x, void *y, int64_t n, bool narrow);
  void (*activation_bwd)(const wml_activation *act, const void *dy, const void *y, const void *x,
                         void *dx, int64_t n, bool narrow);
  /* y: [rows, out] = x: [rows, in] kernel: [in, out] + bias, kernel row-major */
  void (*dense)(const float *x, const float *kernel, const float *bias, float *y, int64_t rows,
                int64_t in, int64_t out);
  void (*pool)(const vec_pool *p, const void *x, void *y, uint8_t *index);
  /* the same of uint8 or int8 values, without index */
  void (*pool_bytes)(const vec_pool *p, const void *x, void *y, bool is_signed);
  /* y = x * inverse, rounded to even, in [0, 255] or [-128, 127]; NaN: 0 */
  void (*quantize)(const float *x, void *y, int64_t n, float inverse, bool is_signed);
  /* narrow: not for windows that overlap */
  /* y: NULL, or the pooled values: gradient passes only where they are positive (relu before) */
  void (*pool_bwd)(const vec_pool *p, const void *dy, const uint8_t *index, const void *y,
                   void *dx);
  /* `ph` rows of one picture's pooled convolution, relu before the pooling or not: y [ph, pw, f],
   * and index as `pool` writes it (NULL: none). x: from the first row read on; kernel [kh, kw, c,
   * f]; f: a multiple of 16; float32 only. */
  void (*pooled_forward)(const vec_pooled *p, const float *x, const float *kernel,
                         const float *bias, bool relu, float *y, uint8_t *index);
  /* One picture: sum[kh, kw, c, f] and behind it [f] += the gradient of the convolution's weights
   * and bias. dy, index, y: [ph, pw, f] as for pool_bwd. */
  void (*pooled_weights)(const vec_pooled *p, const float *x, const void *dy, const uint8_t *index,
                         const void *y, float *sum);
  /* sum[c] += x, or (x - mean)^2 with mean; of n only c and narrow count */
  void (*norm_sums)(const vec_norm *n, const void *x, const float *mean, double *sum, int64_t rows);
  void (*norm)(const vec_norm *n, const void *x, void *y, int64_t rows);
  /* sum[0..c) += dy, sum[c..2c) += dy * xhat */
  void (*norm_bwd_sums)(const vec_norm *n, const void *dy, const void *x, double *sum,
                        int64_t rows);
  /* dx = gamma * inv * (dy - sum[c] - xhat * sum[c+..]), sums already divided by their count */
  void (*norm_bwd)(const vec_norm *n, const void *dy, const void *x, const float *sum, void *dx,
                   int64_t rows);
  void (*dropout)(uint64_t seed, int64_t step, uint32_t stream, float rate, uint64_t first,
                  const void *x, void *y, int64_t n, bool narrow);
  /* Sum of squares; *finite is cleared when an element is not finite. */
  double (*squares)(const float *g, int64_t n, bool *finite);
  void (*update)(const vec_update *u, int64_t begin, int64_t end);
  /* lamb's first pass: g becomes the direction */
  void (*lamb)(const vec_update *u, int64_t begin, int64_t end);
  /* rows of `width` elements to bfloat16, two at a time with their elements in turn: rows 2r and
   * 2r + 1 become one of 2 * width. n: a multiple of that */
  void (*pair_rows)(const float *x, uint16_t *y, int64_t n, int64_t width);
  /* sum[i] = parts[i] + parts[apart + i] + ..., in this order; sum may be the first part */
  void (*add_parts)(const float *parts, int64_t n_parts, int64_t apart, float *sum, int64_t n);
  void (*average)(const wml_optimizer_step *step, const float *w, float *average, int64_t n);
  const vec_depthwise_table *depthwise; /* vec_depthwise.c */
  const vec_spatial_table *spatial;     /* vec_spatial.c */
  const vec_norm_table *norms;          /* vec_norm.c */
  const vec_elements_table *elements;   /* vec_elements.c */
} vec_table;

/* Those that this architecture has (CMakeLists.txt). */
extern const vec_table vec_baseline, vec_avx2, vec_avx512, vec_neon;

/* The best table this processor can run. On x86-64 WEBML_ISA=baseline|avx2|avx512 in the
 * environment lowers the choice (tests run all of them). */
const vec_table *vec_choose(void);

#endif
