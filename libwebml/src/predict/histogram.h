/* What values an input of a layer takes, and the steps that they are rounded to. */
#ifndef WML_PREDICT_HISTOGRAM_H
#define WML_PREDICT_HISTOGRAM_H

#include "webml.h"

#include <stdint.h>

enum { WML_HISTOGRAM_BINS = 2048 };

typedef struct wml_histogram {
  float least, greatest;
  int64_t count;
  int64_t bins[WML_HISTOGRAM_BINS]; /* of |value|, from 0 to the largest */
} wml_histogram;

/* First over all values, then wml_histogram_count() over the same. Values that are not finite do
 * not count. */
void wml_histogram_range(wml_histogram *c, const float *x, int64_t n);
void wml_histogram_count(wml_histogram *c, const float *x, int64_t n);
/* The scale: values are rounded to its multiples, up to 255 of them, or 127 to either side where
 * *is_signed. Never 0. percentile: of WEBML_CALIBRATION_PERCENTILE, in (0, 100]. */
float wml_histogram_scale(const wml_histogram *c, webml_calibration method, double percentile,
                          bool *is_signed);

#endif
