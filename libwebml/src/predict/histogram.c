#include "predict/histogram.h"

#include <math.h>

void wml_histogram_range(wml_histogram *c, const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) continue;
    if (x[i] < c->least) c->least = x[i];
    if (x[i] > c->greatest) c->greatest = x[i];
  }
}

static double largest(const wml_histogram *c) {
  return fmax(fabs((double)c->least), fabs((double)c->greatest));
}

void wml_histogram_count(wml_histogram *c, const float *x, int64_t n) {
  double factor = largest(c) > 0.0 ? WML_HISTOGRAM_BINS / largest(c) : 0.0;
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) continue;
    int bin = (int)(fabs((double)x[i]) * factor);
    c->bins[bin < WML_HISTOGRAM_BINS ? bin : WML_HISTOGRAM_BINS - 1]++;
    c->count++;
  }
}

/* The least upper edge of a bin below which so many percent of the values lie. */
static double percentile_of(const wml_histogram *c, double percent) {
  double wanted = (double)c->count * percent / 100.0, below = 0.0;
  int bin = 0;
  while (bin < WML_HISTOGRAM_BINS - 1 && (below += (double)c->bins[bin]) < wanted) bin++;
  return largest(c) * (bin + 1) / WML_HISTOGRAM_BINS;
}

/* Mean square error of values rounded to `steps` steps up to `range`. */
static double error_of(const wml_histogram *c, double range, int steps) {
  double width = largest(c) / WML_HISTOGRAM_BINS, step = range / steps, sum = 0.0;
  for (int i = 0; i < WML_HISTOGRAM_BINS; i++) {
    double value = (i + 0.5) * width, rounded = fmin(nearbyint(value / step), steps) * step;
    sum += (double)c->bins[i] * (value - rounded) * (value - rounded);
  }
  return sum;
}

/* Between a twentieth and all of the largest value. */
static double least_error(const wml_histogram *c, int steps) {
  double best = largest(c), least = error_of(c, best, steps);
  for (int i = 5; i < 100; i++) {
    double range = largest(c) * i / 100.0, error = error_of(c, range, steps);
    if (error < least) least = error, best = range;
  }
  return best;
}

float wml_histogram_scale(const wml_histogram *c, webml_calibration method, double percentile,
                          bool *is_signed) {
  *is_signed = c->least < 0.0f;
  int steps = *is_signed ? 127 : 255;
  double range = largest(c);
  if (range > 0.0 && method == WEBML_CALIBRATION_PERCENTILE) range = percentile_of(c, percentile);
  if (range > 0.0 && method == WEBML_CALIBRATION_MSE) range = least_error(c, steps);
  return range > 0.0 ? (float)(range / steps) : 1.0f;
}
