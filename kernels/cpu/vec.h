/* The project's own loops, compiled once for each instruction set (vec.c) and picked at run time.
 * Each works on a range, so that a caller can split it among threads without changing any bit. */
#ifndef WML_CPU_VEC_H
#define WML_CPU_VEC_H

#include "../backend.h"

/* One image of a pooling. x: [h, w, c], y: [oh, ow, c], index: [oh, ow, c] place in the window. */
typedef struct vec_pool {
  int64_t h, w, c, oh, ow;
  const wml_window *window;
} vec_pool;

/* A convolution of stride 1 with 2x2 pooling behind it. */
typedef struct vec_pooled {
  int64_t w, c; /* of the picture, with what it is padded by */
  int64_t kh, kw;
  int64_t ph, pw, f; /* pooled */
} vec_pooled;

/* Whether there is code for kernels whose rows have so many values (width times channels). */
static inline bool vec_pooled_takes(int64_t row) {
  return (row >= 1 && row <= 9) || row == 12 || row == 15;
}

typedef struct vec_norm { /* per channel, [c] */
  const float *gamma, *beta, *mean, *var;
  float epsilon;
  int64_t c;
} vec_norm;

typedef struct vec_update { /* one flat range; absent slots point anywhere readable */
  const wml_optimizer *optimizer;
  const wml_optimizer_step *step;
  float *w, *g, *s0, *s1, *s2;
  float factor; /* gradients are multiplied by it (clipping by norm) */
} vec_update;

typedef struct vec_table {
  const char *name;
  void (*from_u8)(const uint8_t *x, float *y, int64_t n, float scale);
  /* augmented picture: x [h, w, c] bytes, y [h, w, c] */
  void (*warp)(const wml_warp *warp, const uint8_t *x, int64_t h, int64_t w, int64_t c, float scale,
               float *y);
  void (*activation)(const wml_activation *act, const float *x, float *y, int64_t n);
  void (*activation_bwd)(const wml_activation *act, const float *dy, const float *y, const float *x,
                         float *dx, int64_t n);
  /* y: [rows, out] = x: [rows, in] kernel: [in, out] + bias, kernel row-major */
  void (*dense)(const float *x, const float *kernel, const float *bias, float *y, int64_t rows,
                int64_t in, int64_t out);
  void (*pool)(const vec_pool *p, const float *x, float *y, uint8_t *index);
  /* y: NULL, or the pooled values: gradient passes only where they are positive (relu before) */
  void (*pool_bwd)(const vec_pool *p, const float *dy, const uint8_t *index, const float *y,
                   float *dx);
  /* One picture: sum[kh, kw, c, f] and behind it [f] += the gradient of the convolution's weights
   * and bias. dy, index, y: [ph, pw, f] as for pool_bwd. */
  void (*pooled_weights)(const vec_pooled *p, const float *x, const float *dy, const uint8_t *index,
                         const float *y, float *sum);
  /* sum[c] += x, or (x - mean)^2 with mean */
  void (*norm_sums)(const float *x, const float *mean, double *sum, int64_t rows, int64_t c);
  void (*norm)(const vec_norm *n, const float *x, float *y, int64_t rows);
  /* sum[0..c) += dy, sum[c..2c) += dy * xhat */
  void (*norm_bwd_sums)(const vec_norm *n, const float *dy, const float *x, double *sum,
                        int64_t rows);
  /* dx = gamma * inv * (dy - sum[c] - xhat * sum[c+..]), sums already divided by their count */
  void (*norm_bwd)(const vec_norm *n, const float *dy, const float *x, const float *sum, float *dx,
                   int64_t rows);
  void (*dropout)(uint64_t seed, int64_t step, uint32_t stream, float rate, uint64_t first,
                  const float *x, float *y, int64_t n);
  /* Sum of squares; *finite is cleared when an element is not finite. */
  double (*squares)(const float *g, int64_t n, bool *finite);
  void (*update)(const vec_update *u, int64_t begin, int64_t end);
  /* lamb's first pass: g becomes the direction */
  void (*lamb)(const vec_update *u, int64_t begin, int64_t end);
  void (*average)(const wml_optimizer_step *step, const float *w, float *average, int64_t n);
} vec_table;

extern const vec_table vec_baseline, vec_avx2, vec_avx512;

/* The best table this processor can run. WEBML_ISA=baseline|avx2|avx512 in the environment lowers
 * the choice (tests run all of them). */
const vec_table *vec_choose(void);

#endif
