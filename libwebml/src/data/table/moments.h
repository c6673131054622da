/* Count, mean and sum of squared deviations, of pieces that are put together in their order. */
#ifndef WML_DATA_TABLE_MOMENTS_H
#define WML_DATA_TABLE_MOMENTS_H

#include <stdint.h>

typedef struct wml_moments {
  double n, mean, square;
} wml_moments;

/* Two passes; NaN does not count. sum, n: of those that do. */
static inline wml_moments wml_moments_of(const double *x, int64_t rows, double sum, int64_t n) {
  wml_moments m = {(double)n, n ? sum / (double)n : 0.0, 0.0};
  for (int64_t r = 0; r < rows; r++) {
    double d = x[r] - m.mean;
    m.square += d == d ? d * d : 0.0;
  }
  return m;
}

/* Chan, Golub, LeVeque: the moments of both. */
static inline void wml_moments_add(wml_moments *all, const wml_moments *m) {
  double n = all->n + m->n, d = m->mean - all->mean;
  if (m->n == 0.0) return;
  all->mean += d * (m->n / n);
  all->square += m->square + d * d * (all->n * m->n / n);
  all->n = n;
}

#endif
