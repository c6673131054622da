/* Dropout's mask: a function of (seed, step, stream, element), never stored. */
#ifndef WML_COMMON_DROPOUT_H
#define WML_COMMON_DROPOUT_H

#include "philox.h"

#include <stdbool.h>

/* What a kept element is multiplied by: 1/(1-rate); a rate of 1 keeps nothing. */
WML_FN float wml_dropout_scale(float rate) {
  return rate < 1.0f ? 1.0f / (1.0f - rate) : 0.0f;
}

/* y[i] = x[i] * scale where the element is kept (u >= rate), else 0, for elements
 * [4 * first, 4 * first + n): one generator call serves four elements. */
WML_FN void wml_dropout_apply(uint64_t seed, int64_t step, uint32_t stream, float rate,
                              uint64_t first, const float *x, float *y, int64_t n) {
  float scale = wml_dropout_scale(rate);
  uint32_t lane = wml_random_lane(WML_RANDOM_DROPOUT, stream);
  for (int64_t i = 0; i < n; i += 4) {
    wml_philox r = wml_philox_at(seed, lane, (uint32_t)step, first + (uint64_t)i / 4);
    for (int64_t j = 0; j < 4 && i + j < n; j++)
      y[i + j] = wml_uniform(r.word[j]) >= rate ? x[i + j] * scale : 0.0f;
  }
}

/* Whether element `element` of the mask is kept: for masks that are read out of order, or by many
 * elements at once. One generator call per element. */
WML_FN bool wml_dropout_keeps(uint64_t seed, int64_t step, uint32_t stream, float rate,
                              uint64_t element) {
  wml_philox r =
      wml_philox_at(seed, wml_random_lane(WML_RANDOM_DROPOUT, stream), (uint32_t)step, element / 4);
  return wml_uniform(r.word[element % 4]) >= rate;
}

#endif
