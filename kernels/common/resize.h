/* Which elements of the operand a position of the result reads when one axis is resized. Positions
 * are TensorFlow's with half-pixel centres (tf.image.resize, ResizeBilinear and
 * ResizeNearestNeighbor with half_pixel_centers): (i + 1/2) * in / out - 1/2. They are formed in
 * whole numbers, so that every back end picks the same neighbours. */
#ifndef WML_COMMON_RESIZE_H
#define WML_COMMON_RESIZE_H

#include "kinds.h"

#include <stdint.h>

typedef enum wml_resampling { WML_RESAMPLE_NEAREST, WML_RESAMPLE_BILINEAR } wml_resampling;

/* (1 - weight) * x[low] + weight * x[high] */
typedef struct wml_resize_tap {
  int64_t low, high;
  float weight;
} wml_resize_tap;

/* a / b rounded down, for b > 0. */
WML_FN int64_t wml_floor_divide(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* What position i of `out` reads of `in` elements. Beyond the outermost centres both neighbours are
 * the edge's element. */
WML_FN wml_resize_tap wml_resize_at(wml_resampling kind, int64_t i, int64_t in, int64_t out) {
  if (kind == WML_RESAMPLE_NEAREST) {
    int64_t nearest = (2 * i + 1) * in / (2 * out);
    wml_resize_tap tap = {nearest, nearest, 0.0f};
    return tap;
  }
  int64_t place = (2 * i + 1) * in - out; /* in units of 1 / (2 * out) */
  int64_t below = wml_floor_divide(place, 2 * out);
  wml_resize_tap tap = {below < 0 ? 0 : below, below + 1 < in ? below + 1 : in - 1,
                        (float)(place - below * 2 * out) / (float)(2 * out)};
  return tap;
}

/* The weight with which a tap reads element `at`; of an edge both neighbours may be the same. */
WML_FN float wml_resize_weight(const wml_resize_tap *tap, int64_t at) {
  return (tap->low == at ? 1.0f - tap->weight : 0.0f) + (tap->high == at ? tap->weight : 0.0f);
}

/* The positions [*begin, *end) of `out` that read element `at` of `in`, for gradients that gather:
 * those whose lower neighbour is `at` or the one before. */
WML_FN void wml_resize_readers(wml_resampling kind, int64_t at, int64_t in, int64_t out,
                               int64_t *begin, int64_t *end) {
  int64_t from = 2 * out * at - in, to = 2 * out * (at + 1) - in;
  if (kind == WML_RESAMPLE_BILINEAR) from -= out, to += out;
  from = -wml_floor_divide(-from, 2 * in); /* rounded up */
  to = -wml_floor_divide(-to, 2 * in);
  *begin = from < 0 ? 0 : from;
  *end = to > out ? out : to;
}

#endif
