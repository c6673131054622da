/* Normalisation by statistics of the sample itself: LayerNormalization and GroupNormalization
 * (Keras 3: 1 / sqrt of the biased variance + epsilon), RMSNormalization (Zhang and Sennrich 2019)
 * and UnitNormalization (TensorFlow's l2_normalize: rsqrt(max(sum of squares, epsilon))).
 *
 * x is seen as [n, positions, groups, width] with groups * width its last dimension; each of the
 * n * groups has statistics of its own over positions and width. gamma and beta: [groups * width].
 * y = (x - mean) * factor * gamma + beta.
 *
 * Going back, with g = dy * gamma, z = (x - mean) * factor and means over the group:
 * MEAN_VARIANCE: dx = factor * (g - mean(g) - z * mean(g * z)); ROOT_MEAN_SQUARE: the same without
 * mean(g); UNIT: dx = factor * (g - z * sum(g * z)), and factor * g where the factor is bounded.
 * dgamma = sum(dy * z) and dbeta = sum(dy) over n and positions. */
#ifndef WML_COMMON_NORM_H
#define WML_COMMON_NORM_H

#include "kinds.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum wml_norm_kind {
  WML_NORM_MEAN_VARIANCE,    /* factor = 1 / sqrt(variance + epsilon), the biased variance */
  WML_NORM_ROOT_MEAN_SQUARE, /* mean 0, factor = 1 / sqrt(mean of squares + epsilon) */
  WML_NORM_UNIT              /* mean 0, factor = 1 / sqrt(max(sum of squares, epsilon)) */
} wml_norm_kind;

typedef struct wml_norm {
  wml_norm_kind kind;
  int64_t positions, groups;
  float epsilon;
} wml_norm;

/* squares: sum of (x - mean)^2 over the `count` elements of a group. */
WML_FN double wml_norm_factor(const wml_norm *norm, double squares, int64_t count) {
  double epsilon = (double)norm->epsilon;
  if (norm->kind != WML_NORM_UNIT) return 1.0 / sqrt(squares / (double)count + epsilon);
  return 1.0 / sqrt(squares > epsilon || squares != squares ? squares : epsilon);
}

/* Whether the epsilon of UNIT bounds this factor, which then does not depend on x. Factors are
 * float32: one within rounding of the bound counts as bounded. */
WML_FN bool wml_norm_bounded(const wml_norm *norm, float factor) {
  return norm->kind == WML_NORM_UNIT && factor * factor * norm->epsilon > 1.0f - 1e-5f;
}

/* What sum(g * z) over a group is multiplied by to be taken from g, per z. */
WML_FN float wml_norm_share(const wml_norm *norm, float factor, int64_t count) {
  if (norm->kind != WML_NORM_UNIT) return 1.0f / (float)count;
  return wml_norm_bounded(norm, factor) ? 0.0f : 1.0f;
}

#endif
