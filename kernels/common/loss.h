/* Losses, one row at a time, with their gradients (Keras 3, TensorFlow back end). A row is the last
 * axis; the loss object divides the sum of the rows by their count. e = 1e-7. Those that have one
 * value for the whole batch are in rows.h. */
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
  float label_smoothing; /* cross-entropies, but for the generalized one */
  float gamma;           /* focal cross-entropies: the power of what is missing to certainty */
  float alpha, beta; /* focal: of class 1, or a factor; tversky: of false positives, negatives */
  float q;           /* generalized cross-entropy, in (0, 1) */
  bool apply_class_balancing; /* binary focal: alpha counts */
  bool signed_labels;         /* hinge: this batch's labels are all 0 or 1 and become -1 or 1 */
} wml_loss;

/* A target row: dense values, or the index of the class (dense == NULL). */
typedef struct wml_target {
  const float *dense;
  int label;
} wml_target;

#define WML_EPSILON 1e-7f

/* Index of a sparse target: class labels come as an index or as a dense row of one number. */
WML_FN long wml_target_index(wml_target target) {
  return target.dense ? (long)target.dense[0] : target.label;
}

/* Losses of one class out of several. */
WML_FN bool wml_loss_is_categorical(wml_loss_kind kind) {
  return kind == WML_CATEGORICAL_CROSSENTROPY || kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY ||
         kind == WML_CATEGORICAL_FOCAL_CROSSENTROPY ||
         kind == WML_CATEGORICAL_GENERALIZED_CROSS_ENTROPY;
}

/* Losses of outputs that are each a yes or no. */
WML_FN bool wml_loss_is_binary(wml_loss_kind kind) {
  return kind == WML_BINARY_CROSSENTROPY || kind == WML_BINARY_FOCAL_CROSSENTROPY;
}

/* Whether the target is the index of the class. */
WML_FN bool wml_loss_is_sparse(wml_loss_kind kind) {
  return kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY ||
         kind == WML_CATEGORICAL_GENERALIZED_CROSS_ENTROPY;
}

WML_FN float wml_target_at(const wml_loss *loss, wml_target target, long j, long k) {
  bool by_index = !target.dense || wml_loss_is_sparse(loss->kind);
  float t = by_index ? (j == wml_target_index(target) ? 1.0f : 0.0f) : target.dense[j];
  float s = loss->label_smoothing;
  if (s > 0.0f) {
    t = t * (1.0f - s) + (wml_loss_is_binary(loss->kind) ? 0.5f * s : s / (float)k);
  }
  return loss->signed_labels ? 2.0f * t - 1.0f : t;
}

WML_FN float wml_sign(float x) {
  return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : 0.0f);
}

/* softmax cross-entropy on logits: logsumexp(z) * sum(t) - sum(t * z); dz = softmax * sum(t) - t */
WML_FN double wml_loss_softmax_logits(const wml_loss *loss, const float *z, wml_target target,
                                      long k, float *dz) {
  float top = z[0];
  for (long j = 1; j < k; j++) top = z[j] > top ? z[j] : top;
  double sum = 0.0, mass = 0.0, dot = 0.0;
  for (long j = 0; j < k; j++) {
    float t = wml_target_at(loss, target, j, k);
    sum += (double)expf(z[j] - top);
    mass += (double)t;
    dot += (double)t * (double)(z[j] - top);
  }
  if (dz)
    for (long j = 0; j < k; j++) {
      float t = wml_target_at(loss, target, j, k);
      dz[j] = (float)((double)expf(z[j] - top) / sum * mass) - t;
    }
  return log(sum) * mass - dot;
}

/* What one class adds to a categorical loss: t is its target, q its probability, rest = 1 - q.
 * *slope: q times the derivative for q.
 * Cross-entropy: -t log q. Focal (Lin et al. 2018): -t alpha rest^gamma log q. Generalized (Zhang
 * and Sabuncu 2018): t (1 - q^loss.q) / loss.q. */
WML_FN double wml_loss_class(const wml_loss *loss, double q, double rest, double log_q, double t,
                             double *slope) {
  if (t == 0.0) return *slope = 0.0;
  if (loss->kind == WML_CATEGORICAL_GENERALIZED_CROSS_ENTROPY) {
    double power = exp(log_q * (double)loss->q);
    *slope = -t * power;
    return t * (1.0 - power) / (double)loss->q;
  }
  if (loss->kind == WML_CATEGORICAL_FOCAL_CROSSENTROPY) {
    double gamma = (double)loss->gamma, factor = t * (double)loss->alpha, power = pow(rest, gamma);
    double bend = rest > 0.0 ? gamma * power / rest : 0.0; /* no derivative at 0 where gamma < 1 */
    *slope = factor * (bend * q * log_q - power);
    return -factor * power * log_q;
  }
  *slope = -t;
  return -t * log_q;
}

/* The same of softmax(z): dz = slope - q * sum of slopes, finite however small q is. */
WML_FN double wml_loss_classes_logits(const wml_loss *loss, const float *z, wml_target target,
                                      long k, float *dz) {
  float top = z[0];
  for (long j = 1; j < k; j++) top = z[j] > top ? z[j] : top;
  double sum = 0.0, value = 0.0, slopes = 0.0, slope;
  for (long j = 0; j < k; j++) sum += (double)expf(z[j] - top);
  double log_sum = log(sum);
  for (long j = 0; j < k; j++) {
    double share = (double)expf(z[j] - top), t = (double)wml_target_at(loss, target, j, k);
    value += wml_loss_class(loss, share / sum, (sum - share) / sum, (double)(z[j] - top) - log_sum,
                            t, &slope);
    slopes += slope;
    if (dz) dz[j] = (float)slope;
  }
  if (dz)
    for (long j = 0; j < k; j++) dz[j] -= (float)((double)expf(z[j] - top) / sum * slopes);
  return value;
}

/* categorical cross-entropies on probabilities: p is renormalised, then clipped to [e, 1-e] */
WML_FN double wml_loss_categorical(const wml_loss *loss, const float *p, wml_target target, long k,
                                   float *dp) {
  float sum = 0.0f;
  for (long j = 0; j < k; j++) sum += p[j];
  double value = 0.0, dot = 0.0, slope;
  for (long j = 0; j < k; j++) {
    float q = p[j] / sum, t = wml_target_at(loss, target, j, k);
    float c = wml_clip(q, WML_EPSILON, 1.0f - WML_EPSILON);
    value +=
        wml_loss_class(loss, (double)c, (double)(1.0f - c), (double)logf(c), (double)t, &slope);
    float dq = q == c ? (float)slope / q : 0.0f;
    dot += (double)(dq * q);
    if (dp) dp[j] = dq;
  }
  if (dp)
    for (long j = 0; j < k; j++) dp[j] = (dp[j] - (float)dot) / sum;
  return value;
}

/* sparse: log(clip(p)) goes to a softmax cross-entropy, which renormalises it. Keras has no label
 * smoothing here; this one is categorical_crossentropy's. */
WML_FN double wml_loss_sparse(const wml_loss *loss, const float *p, wml_target target, long k,
                              float *dp) {
  float sum = 0.0f;
  double dot = 0.0;
  for (long j = 0; j < k; j++) {
    float t = wml_target_at(loss, target, j, k);
    float c = wml_clip(p[j], WML_EPSILON, 1.0f - WML_EPSILON);
    sum += c;
    if (t != 0.0f) dot += (double)(t * logf(c));
  }
  if (dp)
    for (long j = 0; j < k; j++) {
      bool inside = p[j] >= WML_EPSILON && p[j] <= 1.0f - WML_EPSILON;
      dp[j] = inside ? 1.0f / sum - wml_target_at(loss, target, j, k) / p[j] : 0.0f;
    }
  return (double)logf(sum) - dot;
}

/* generalized cross-entropy on probabilities. The derivative -p^(q - 1) is infinite at 0: it is
 * that of e there. */
WML_FN double wml_loss_generalized(const wml_loss *loss, const float *p, wml_target target, long k,
                                   float *dp) {
  float own = 0.0f;
  for (long j = 0; j < k; j++) own += wml_target_at(loss, target, j, k) * p[j];
  float slope = -powf(fmaxf(own, WML_EPSILON), loss->q - 1.0f);
  if (dp)
    for (long j = 0; j < k; j++) dp[j] = slope * wml_target_at(loss, target, j, k);
  return (1.0 - pow((double)own, (double)loss->q)) / (double)loss->q;
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

/* binary cross-entropy of a probability, or of a logit */
WML_FN float wml_loss_binary(const wml_loss *loss, float p, float t, float *d) {
  if (loss->from_logits) {
    *d = wml_sigmoid(p) - t;
    return fmaxf(p, 0.0f) - p * t + log1pf(expf(-fabsf(p)));
  }
  float q = wml_clip(p, WML_EPSILON, 1.0f - WML_EPSILON);
  *d = q == p ? (1.0f - t) / (1.0f - q) - t / q : 0.0f;
  return -(t * logf(q) + (1.0f - t) * logf(1.0f - q));
}

/* Focal (Lin et al. 2018): binary cross-entropy times miss^gamma, miss = t (1 - p) + (1 - t) p. */
WML_FN float wml_loss_focal(const wml_loss *loss, float p, float t, float *d) {
  float right = loss->from_logits ? wml_sigmoid(p) : p;
  float wrong = loss->from_logits ? wml_sigmoid(-p) : 1.0f - p; /* not 1 - right, which rounds */
  float miss = t * wrong + (1.0f - t) * right, power = powf(miss, loss->gamma);
  float bend = miss > 0.0f ? loss->gamma * power / miss : 0.0f; /* none at 0 where gamma < 1 */
  float inner = (1.0f - 2.0f * t) * (loss->from_logits ? right * wrong : 1.0f), slope;
  float value = wml_loss_binary(loss, p, t, &slope);
  float weight = t * loss->alpha + (1.0f - t) * (1.0f - loss->alpha);
  if (!loss->apply_class_balancing) weight = 1.0f;
  *d = weight * (bend * inner * value + power * slope);
  return weight * power * value;
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
  case WML_BINARY_CROSSENTROPY: return wml_loss_binary(loss, p, t, d);
  case WML_BINARY_FOCAL_CROSSENTROPY: return wml_loss_focal(loss, p, t, d);
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
                             : wml_loss_sparse(loss, p, target, k, dp);
  case WML_CATEGORICAL_FOCAL_CROSSENTROPY:
    return loss->from_logits ? wml_loss_classes_logits(loss, p, target, k, dp)
                             : wml_loss_categorical(loss, p, target, k, dp);
  case WML_CATEGORICAL_GENERALIZED_CROSS_ENTROPY:
    return loss->from_logits ? wml_loss_classes_logits(loss, p, target, k, dp)
                             : wml_loss_generalized(loss, p, target, k, dp);
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
