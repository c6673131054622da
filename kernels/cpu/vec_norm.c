/* Normalisation by statistics of the sample itself (common/norm.h). */
#include "lanes.h"

enum { SUMS = 32, TILE = 64 };

/* Sum of (x - mean), or of its squares, over a row: in floats that are added in double. */
WML_FN double row_sum(const void *x, int64_t c, float mean, const bool squares, const bool narrow) {
  float sum[SUMS] = {0};
  double total = 0.0;
  int64_t i = 0;
  for (; i + SUMS <= c; i += SUMS)
    for (int j = 0; j < SUMS; j++) {
      float d = get(x, i + j, narrow) - mean;
      sum[j] += squares ? d * d : d;
    }
  for (int j = 0; j < SUMS; j++) total += (double)sum[j];
  for (; i < c; i++) {
    float d = get(x, i, narrow) - mean;
    total += (double)(squares ? d * d : d);
  }
  return total;
}

WML_FN void rows_of(const vec_row_norm *v, const void *x, void *y, float *mean, float *factor,
                    int64_t rows, const bool narrow) {
  const float *gamma = v->gamma, *beta = v->beta;
  const int64_t c = v->c, size = narrow ? 2 : 4;
  for (int64_t r = 0; r < rows; r++) {
    const void *from = (const uint8_t *)x + r * c * size;
    void *to = (uint8_t *)y + r * c * size;
    float m = 0.0f;
    if (v->norm->kind == WML_NORM_MEAN_VARIANCE)
      m = (float)(row_sum(from, c, 0.0f, false, narrow) / (double)c);
    float f = (float)wml_norm_factor(v->norm, row_sum(from, c, m, true, narrow), c);
    if (mean) mean[r] = m;
    if (factor) factor[r] = f;
    IN_PLACE for (int64_t i = 0; i < c; i++) {
      float z = (get(from, i, narrow) - m) * f;
      set(to, i, z * (gamma ? gamma[i] : 1.0f) + (beta ? beta[i] : 0.0f), narrow);
    }
  }
}

static void rows_forward(const vec_row_norm *v, const void *x, void *y, float *mean, float *factor,
                         int64_t rows) {
  BY_TYPE(v->narrow, rows, v, x, y, mean, factor, rows);
}

/* Sums of g = dy * gamma and of g * z over a row. */
WML_FN void row_sums_bwd(const vec_row_norm *v, const void *dy, const void *x, float mean,
                         float factor, double *g_sum, double *gz_sum, const bool narrow) {
  float a[SUMS] = {0}, b[SUMS] = {0};
  const float *gamma = v->gamma;
  int64_t i = 0;
  for (; i + SUMS <= v->c; i += SUMS)
    for (int j = 0; j < SUMS; j++) {
      float g = get(dy, i + j, narrow) * (gamma ? gamma[i + j] : 1.0f);
      a[j] += g;
      b[j] += g * ((get(x, i + j, narrow) - mean) * factor);
    }
  *g_sum = *gz_sum = 0.0;
  for (int j = 0; j < SUMS; j++) *g_sum += (double)a[j], *gz_sum += (double)b[j];
  for (; i < v->c; i++) {
    float g = get(dy, i, narrow) * (gamma ? gamma[i] : 1.0f);
    *g_sum += (double)g;
    *gz_sum += (double)(g * ((get(x, i, narrow) - mean) * factor));
  }
}

WML_FN void row_bwd(const vec_row_norm *v, const void *dy, const void *x, float mean, float factor,
                    void *dx, const bool narrow) {
  const float *gamma = v->gamma;
  double g_sum, gz_sum;
  row_sums_bwd(v, dy, x, mean, factor, &g_sum, &gz_sum, narrow);
  float g_mean = v->norm->kind == WML_NORM_MEAN_VARIANCE ? (float)(g_sum / (double)v->c) : 0.0f;
  float gz_share = (float)gz_sum * wml_norm_share(v->norm, factor, v->c);
  IN_PLACE for (int64_t i = 0; i < v->c; i++) {
    float g = get(dy, i, narrow) * (gamma ? gamma[i] : 1.0f);
    float z = (get(x, i, narrow) - mean) * factor;
    set(dx, i, factor * (g - g_mean - z * gz_share), narrow);
  }
}

/* dbeta and dgamma of the rows of a tile in floats, [2 * c], which then join the sums in double. */
WML_FN void rows_bwd_of(const vec_row_norm *v, const void *dy, const void *x, const float *mean,
                        const float *factor, void *dx, double *sum, float *restrict tile,
                        int64_t rows, const bool narrow) {
  const int64_t c = v->c, size = narrow ? 2 : 4;
  for (int64_t r0 = 0; r0 < rows; r0 += TILE) {
    int64_t end = r0 + TILE < rows ? r0 + TILE : rows;
    memset(tile, 0, (size_t)(2 * c) * sizeof *tile);
    for (int64_t r = r0; r < end; r++) {
      const void *g = (const uint8_t *)dy + r * c * size,
                 *value = (const uint8_t *)x + r * c * size;
      float m = mean ? mean[r] : 0.0f, f = factor[r];
      for (int64_t i = 0; sum && i < c; i++) {
        float d = get(g, i, narrow);
        tile[i] += d;
        tile[c + i] += d * ((get(value, i, narrow) - m) * f);
      }
      if (dx) row_bwd(v, g, value, m, f, (uint8_t *)dx + r * c * size, narrow);
    }
    for (int64_t i = 0; sum && i < 2 * c; i++) sum[i] += (double)tile[i];
  }
}

static void rows_bwd(const vec_row_norm *v, const void *dy, const void *x, const float *mean,
                     const float *factor, void *dx, double *sum, float *tile, int64_t rows) {
  BY_TYPE(v->narrow, rows_bwd, v, dy, x, mean, factor, dx, sum, tile, rows);
}

WML_FN void combine_of(const vec_combine *k, const void *dy, const void *x, void *y, int64_t rows,
                       const bool narrow) {
  const float *restrict a = k->dy, *restrict b = k->x, *restrict m = k->mean, *restrict d = k->one;
  const int64_t c = k->c;
  for (int64_t r = 0, at = 0; r < rows; r++, at += c) {
    if (dy) IN_PLACE for (int64_t i = 0; i < c; i++) {
        float v = a[i] * get(dy, at + i, narrow) + b[i] * (get(x, at + i, narrow) - m[i]) + d[i];
        set(y, at + i, v, narrow);
      }
    else
      IN_PLACE for (int64_t i = 0; i < c; i++)
          set(y, at + i, b[i] * (get(x, at + i, narrow) - m[i]) + d[i], narrow);
  }
}

static void combine(const vec_combine *k, const void *dy, const void *x, void *y, int64_t rows) {
  BY_TYPE(k->narrow, combine, k, dy, x, y, rows);
}

const vec_norm_table VEC_PART(norms) = {
    .rows = rows_forward, .rows_bwd = rows_bwd, .combine = combine};
