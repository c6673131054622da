/* Losses, one row at a time, with their gradients (Keras 3, TensorFlow back end). A row is the last
 * axis; the loss object divides the sum of the rows by their count. e = 1e-7. */
#ifndef WML_COMMON_LOSS_H
#define WML_COMMON_LOSS_H

#include "activation.h"
#include "kinds.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct wml_loss {
  wml_loss_kind kind;
  bool from_logits;      /* cross-entropies: p holds pre-activation values; no clipping applies */
  float delta;           /* huber */
  float label_smoothing; /* binary and categorical cross-entropy */
  bool signed_labels;    /* hinge: this batch's labels are all 0 or 1 and become -1 or 1 */
} wml_loss;

/* A target row: dense values, or the index of the class (dense == NULL). */
typedef struct wml_target {
  const float *dense;
  int label;
} wml_target;

#define WML_EPSILON 1e-7f

WML_FN float wml_target_at(const wml_loss *loss, wml_target target, long j, long k) {
  float t = target.dense ? target.dense[j] : (j == target.label ? 1.0f : 0.0f);
  if (loss->label_smoothing > 0.0f) {
    float s = loss->label_smoothing;
    if (loss->kind == WML_BINARY_CROSSENTROPY)
      t = t * (1.0f - s) + 0.5f * s;
    else if (loss->kind == WML_CATEGORICAL_CROSSENTROPY)
      t = t * (1.0f - s) + s / (float)k;
  }
  return loss->signed_labels ? 2.0f * t - 1.0f : t;
}

WML_FN float wml_sign(float x) {
  return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : 0.0f);
}

/* Index of a sparse target: class labels come as an index or as a dense row of one number. */
WML_FN long wml_target_index(wml_target target) {
  return target.dense ? (long)target.dense[0] : target.label;
}

/* softmax cross-entropy on logits: logsumexp(z) * sum(t) - sum(t * z); dz = softmax * sum(t) - t */
WML_FN double wml_loss_softmax_logits(const wml_loss *loss, const float *z, wml_target target,
                                      long k, float *dz) {
  bool sparse = loss->kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY;
  long index = sparse ? wml_target_index(target) : 0;
  float top = z[0];
  for (long j = 1; j < k; j++) top = z[j] > top ? z[j] : top;
  double sum = 0.0, mass = 0.0, dot = 0.0;
  for (long j = 0; j < k; j++) {
    float t = sparse ? (j == index ? 1.0f : 0.0f) : wml_target_at(loss, target, j, k);
    sum += (double)expf(z[j] - top);
    mass += (double)t;
    dot += (double)t * (double)(z[j] - top);
  }
  if (dz)
    for (long j = 0; j < k; j++) {
      float t = sparse ? (j == index ? 1.0f : 0.0f) : wml_target_at(loss, target, j, k);
      dz[j] = (float)((double)expf(z[j] - top) / sum * mass) - t;
    }
  return log(sum) * mass - dot;
}

/* categorical cross-entropy on probabilities: p is renormalised, then clipped to [e, 1-e] */
WML_FN double wml_loss_categorical(const wml_loss *loss, const float *p, wml_target target, long k,
                                   float *dp) {
  float sum = 0.0f;
  for (long j = 0; j < k; j++) sum += p[j];
  double value = 0.0, dot = 0.0;
  for (long j = 0; j < k; j++) {
    float q = p[j] / sum, t = wml_target_at(loss, target, j, k);
    float c = wml_clip(q, WML_EPSILON, 1.0f - WML_EPSILON);
    value -= (double)(t * logf(c));
    float dq = q == c ? -t / q : 0.0f;
    dot += (double)(dq * q);
    if (dp) dp[j] = dq;
  }
  if (dp)
    for (long j = 0; j < k; j++) dp[j] = (dp[j] - (float)dot) / sum;
  return value;
}

/* sparse: log(clip(p)) goes to a softmax cross-entropy, which renormalises it */
WML_FN double wml_loss_sparse(const float *p, wml_target target, long k, float *dp) {
  long index = wml_target_index(target);
  float sum = 0.0f;
  for (long j = 0; j < k; j++) sum += wml_clip(p[j], WML_EPSILON, 1.0f - WML_EPSILON);
  float own = wml_clip(p[index], WML_EPSILON, 1.0f - WML_EPSILON);
  if (dp)
    for (long j = 0; j < k; j++) {
      bool inside = p[j] >= WML_EPSILON && p[j] <= 1.0f - WML_EPSILON;
      dp[j] = inside ? 1.0f / sum - (j == index ? 1.0f / own : 0.0f) : 0.0f;
    }
  return (double)(logf(sum) - logf(own));
}

/* -sum(t^ * p^), x^ = x / max(|x|, 1e-7) */
WML_FN double wml_cosine_row(const float *p, wml_target target, long k, float *dp) {
  double pp = 0.0, tt = 0.0, pt = 0.0;
  for (long j = 0; j < k; j++) {
    double t = target.dense ? (double)target.dense[j] : (j == target.label ? 1.0 : 0.0);
    pp += (double)p[j] * p[j];
    tt += t * t;
    pt += (double)p[j] * t;
  }
  double np = fmax(sqrt(pp), 1e-7), nt = fmax(sqrt(tt), 1e-7), cosine = pt / (np * nt);
  if (dp)
    for (long j = 0; j < k; j++) {
      double t = target.dense ? (double)target.dense[j] : (j == target.label ? 1.0 : 0.0);
      double along = sqrt(pp) > 1e-7 ? cosine * p[j] / (np * np) : 0.0;
      dp[j] = (float)(along - t / (nt * np));
    }
  return -cosine;
}

/* max(max((1-t)p) - sum(t*p) + 1, 0); a tie of maxima shares the gradient evenly */
WML_FN double wml_loss_categorical_hinge(const wml_loss *loss, const float *p, wml_target target,
                                         long k, float *dp) {
  float positive = 0.0f, negative = -INFINITY;
  for (long j = 0; j < k; j++) {
    float t = wml_target_at(loss, target, j, k);
    positive += t * p[j];
    negative = fmaxf(negative, (1.0f - t) * p[j]);
  }
  float margin = negative - positive + 1.0f;
  if (dp) {
    float ties = 0.0f;
    for (long j = 0; j < k; j++)
      if ((1.0f - wml_target_at(loss, target, j, k)) * p[j] == negative) ties += 1.0f;
    for (long j = 0; j < k; j++) {
      float t = wml_target_at(loss, target, j, k);
      float d = -t + ((1.0f - t) * p[j] == negative ? (1.0f - t) / ties : 0.0f);
      dp[j] = margin >= 0.0f ? d : 0.0f;
    }
  }
  return margin != margin ? (double)margin : (double)fmaxf(margin, 0.0f);
}

/* Losses that treat each element alone: value and derivative of one element before the mean. */
WML_FN float wml_loss_element(const wml_loss *loss, float p, float t, float *d) {
  const float e = WML_EPSILON;
  float x = p - t;
  switch (loss->kind) {
  case WML_MEAN_ABSOLUTE_ERROR: *d = wml_sign(x); return fabsf(x);
  case WML_MEAN_ABSOLUTE_PERCENTAGE_ERROR: {
    float size = fmaxf(fabsf(t), e);
    *d = 100.0f * wml_sign(x) / size;
    return 100.0f * fabsf(x / size);
  }
  case WML_MEAN_SQUARED_LOGARITHMIC_ERROR: {
    float above = p < e ? e : p;
    float diff = logf(above + 1.0f) - logf((t < e ? e : t) + 1.0f);
    *d = p >= e ? 2.0f * diff / (above + 1.0f) : 0.0f;
    return diff * diff;
  }
  case WML_BINARY_CROSSENTROPY: {
    if (loss->from_logits) {
      *d = wml_sigmoid(p) - t;
      return fmaxf(p, 0.0f) - p * t + log1pf(expf(-fabsf(p)));
    }
    float q = wml_clip(p, e, 1.0f - e);
    *d = q == p ? (1.0f - t) / (1.0f - q) - t / q : 0.0f;
    return -(t * logf(q) + (1.0f - t) * logf(1.0f - q));
  }
  case WML_HINGE: {
    float margin = 1.0f - t * p;
    *d = margin >= 0.0f ? -t : 0.0f;
    return margin < 0.0f ? 0.0f : margin;
  }
  case WML_SQUARED_HINGE: {
    float margin = 1.0f - t * p;
    margin = margin < 0.0f ? 0.0f : margin;
    *d = -2.0f * margin * t;
    return margin * margin;
  }
  case WML_HUBER:
    if (fabsf(x) <= loss->delta) {
      *d = x;
      return 0.5f * x * x;
    }
    *d = loss->delta * wml_sign(x);
    return loss->delta * fabsf(x) - 0.5f * loss->delta * loss->delta;
  case WML_LOG_COSH: *d = tanhf(x); return x + wml_softplus(-2.0f * x) - 0.69314718f;
  case WML_KL_DIVERGENCE: {
    float tc = wml_clip(t, e, 1.0f), pc = wml_clip(p, e, 1.0f);
    *d = pc == p ? -tc / pc : 0.0f;
    return tc * logf(tc / pc);
  }
  case WML_POISSON: *d = 1.0f - t / (p + e); return p - t * logf(p + e);
  default: *d = 2.0f * x; return x * x;
  }
}

/* Value of one row; dp: [k] gradient of the value, or NULL. */
WML_FN double wml_loss_row(const wml_loss *loss, const float *p, wml_target target, long k,
                           float *dp) {
  switch (loss->kind) {
  case WML_CATEGORICAL_CROSSENTROPY:
    return loss->from_logits ? wml_loss_softmax_logits(loss, p, target, k, dp)
                             : wml_loss_categorical(loss, p, target, k, dp);
  case WML_SPARSE_CATEGORICAL_CROSSENTROPY:
    return loss->from_logits ? wml_loss_softmax_logits(loss, p, target, k, dp)
                             : wml_loss_sparse(p, target, k, dp);
  case WML_CATEGORICAL_HINGE: return wml_loss_categorical_hinge(loss, p, target, k, dp);
  case WML_COSINE_SIMILARITY: return wml_cosine_row(p, target, k, dp);
  default: break;
  }
  double sum = 0.0;
  float scale = loss->kind == WML_KL_DIVERGENCE ? 1.0f : 1.0f / (float)k;
  for (long j = 0; j < k; j++) {
    float d;
    sum += (double)wml_loss_element(loss, p[j], wml_target_at(loss, target, j, k), &d);
    if (dp) dp[j] = d * scale;
  }
  return sum * (double)scale;
}

#endif
