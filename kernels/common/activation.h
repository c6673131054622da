/* Activations and their derivatives: one formula for every back end.
 * Formulas and the values at kinks follow Keras 3 and TensorFlow's gradients:
 * relu'(0) = 0, leaky_relu'(0) = elu'(0) = alpha, selu through the output, clip closed. */
#ifndef WML_COMMON_ACTIVATION_H
#define WML_COMMON_ACTIVATION_H

#include "kinds.h"

#include <math.h>
#include <stdbool.h>

typedef struct wml_activation {
  wml_activation_kind kind;
  float alpha;     /* slope below the threshold (relu family), alpha (elu, celu), lambda (shrink),
                      b (squareplus) */
  float max_value; /* relu: upper bound, INFINITY when there is none */
  float threshold; /* relu: values below it are scaled by alpha */
} wml_activation;

#define WML_SELU_SCALE 1.0507009873554805f
#define WML_SELU_SCALE_ALPHA 1.7580993408473768f

WML_FN float wml_sigmoid(float x) {
  float e = expf(-fabsf(x));
  return x >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
}

WML_FN float wml_softplus(float x) {
  return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

/* A NaN must stay a NaN: fminf/fmaxf would swallow it. */
WML_FN float wml_clip(float x, float low, float high) {
  return x < low ? low : (x > high ? high : x);
}

WML_FN float wml_activation_forward(const wml_activation *act, float x) {
  const float a = act->alpha;
  switch (act->kind) {
  case WML_RELU:
    if (x >= act->max_value) return act->max_value;
    if (x > act->threshold || x != x) return x;
    return a == 0.0f ? 0.0f : a * (x - act->threshold);
  case WML_RELU6: return wml_clip(x, 0.0f, 6.0f);
  case WML_LEAKY_RELU: return x > 0.0f ? x : a * x;
  case WML_ELU: return x >= 0.0f ? x : a * expm1f(x);
  case WML_SELU: return x >= 0.0f ? WML_SELU_SCALE * x : WML_SELU_SCALE_ALPHA * expm1f(x);
  case WML_CELU: return x >= 0.0f ? x : a * expm1f(x / a);
  case WML_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
  case WML_GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
  case WML_SIGMOID: return wml_sigmoid(x);
  case WML_TANH: return tanhf(x);
  case WML_EXPONENTIAL: return expf(x);
  case WML_HARD_SIGMOID: return wml_clip(x / 6.0f + 0.5f, 0.0f, 1.0f);
  case WML_HARD_SILU: return x * wml_clip(x / 6.0f + 0.5f, 0.0f, 1.0f);
  case WML_HARD_TANH: return wml_clip(x, -1.0f, 1.0f);
  case WML_LOG_SIGMOID: return -wml_softplus(-x);
  case WML_SOFTPLUS: return wml_softplus(x);
  case WML_SOFTSIGN: return x / (1.0f + fabsf(x));
  case WML_SILU: return x * wml_sigmoid(x);
  case WML_MISH: return x * tanhf(wml_softplus(x));
  case WML_SQUAREPLUS: return 0.5f * (x + sqrtf(x * x + a));
  case WML_SOFT_SHRINK: return x > a ? x - a : (x < -a ? x + a : (x == x ? 0.0f : x));
  default: return x;
  }
}

/* True where the derivative can be computed from the output alone, so that the input need not be
 * kept. The output must tell the two sides of a kink apart: with a negative slope or alpha, both
 * sides of relu, leaky_relu and elu have positive outputs, and with a bound below zero an output of
 * relu beyond the bound may lie on either side. */
WML_FN bool wml_activation_from_output(const wml_activation *act) {
  switch (act->kind) {
  case WML_LINEAR:
  case WML_RELU6:
  case WML_SELU:
  case WML_CELU: /* alpha may be negative: the outputs of negative inputs are so all the same */
  case WML_SIGMOID:
  case WML_TANH:
  case WML_EXPONENTIAL:
  case WML_HARD_SIGMOID:
  case WML_HARD_TANH:
  case WML_LOG_SIGMOID:
  case WML_SOFTPLUS:
  case WML_SOFTSIGN:
  case WML_SOFT_SHRINK:
  case WML_SOFTMAX:
  case WML_LOG_SOFTMAX:
  case WML_SPARSEMAX: return true;
  case WML_RELU: return act->threshold == 0.0f && act->alpha >= 0.0f && act->max_value >= 0.0f;
  case WML_LEAKY_RELU:
  case WML_ELU: return act->alpha >= 0.0f;
  default: return false;
  }
}

/* The derivative at x, where y = forward(x). x is read only where the output does not suffice. */
WML_FN float wml_activation_derivative(const wml_activation *act, float x, float y) {
  const float a = act->alpha;
  switch (act->kind) {
  case WML_RELU:
    if (wml_activation_from_output(act)) return y >= act->max_value ? 0.0f : (y > 0.0f ? 1.0f : a);
    return x >= act->max_value ? 0.0f : (x > act->threshold ? 1.0f : a);
  case WML_RELU6: return y > 0.0f && y < 6.0f ? 1.0f : 0.0f;
  case WML_LEAKY_RELU: return (a >= 0.0f ? y : x) > 0.0f ? 1.0f : a;
  case WML_ELU:
    if (a < 0.0f) return x > 0.0f ? 1.0f : a * expf(x);
    return y > 0.0f ? 1.0f : y + a;
  case WML_SELU: return y < 0.0f ? y + WML_SELU_SCALE_ALPHA : WML_SELU_SCALE;
  case WML_CELU: return y < 0.0f ? (y + a) / a : 1.0f;
  case WML_GELU:
    return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
  case WML_GELU_TANH: {
    float t = tanhf(0.79788456f * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + t) +
           0.5f * x * (1.0f - t * t) * 0.79788456f * (1.0f + 3.0f * 0.044715f * x * x);
  }
  case WML_SIGMOID: return y * (1.0f - y);
  case WML_TANH: return 1.0f - y * y;
  case WML_EXPONENTIAL: return y;
  case WML_HARD_SIGMOID: return y > 0.0f && y < 1.0f ? 1.0f / 6.0f : 0.0f;
  case WML_HARD_SILU: return x <= -3.0f ? 0.0f : (x >= 3.0f ? 1.0f : x / 3.0f + 0.5f);
  case WML_HARD_TANH: return y > -1.0f && y < 1.0f ? 1.0f : 0.0f;
  case WML_LOG_SIGMOID: return -expm1f(y);
  case WML_SOFTPLUS: return -expm1f(-y);
  case WML_SOFTSIGN: return (1.0f - fabsf(y)) * (1.0f - fabsf(y));
  case WML_SILU: {
    float s = wml_sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
  }
  case WML_MISH: {
    float t = tanhf(wml_softplus(x));
    return t + x * (1.0f - t * t) * wml_sigmoid(x);
  }
  case WML_SQUAREPLUS: {
    float root = sqrtf(x * x + a); /* 0 where x and b are: the limit as b goes to 0 */
    return root == 0.0f ? 0.5f : 0.5f * (1.0f + x / root);
  }
  case WML_SOFT_SHRINK: return y != 0.0f ? 1.0f : 0.0f;
  default: return 1.0f;
  }
}

/* Number of outputs of a row of n inputs. */
WML_FN long wml_activation_width(wml_activation_kind kind, long n) {
  return kind == WML_GLU ? n / 2 : n;
}

/* Threshold tau of sparsemax (Martins and Astudillo 2016) for the logits x - top, where top is the
 * largest: sum(max(x - top - tau, 0)) = 1, by repeated narrowing of the support. tau is at least
 * -1, so whatever is 1 below the top or more is outside from the start. Shifted logits and a tau in
 * double keep the sum of the outputs at 1 however large the logits are. NaN when one of them is.
 * O(n * support), rows are short. */
WML_FN double wml_sparsemax_threshold(const float *x, float top, long n) {
  double tau = -1.0;
  for (long round = 0; round <= n; round++) {
    double sum = 0.0;
    long count = 0;
    for (long i = 0; i < n; i++) {
      float z = x[i] - top;
      if (!((double)z <= tau)) sum += (double)z, count++; /* NaN belongs to the sum */
    }
    double next = (sum - 1.0) / (double)count; /* 0 / 0 does not occur: the top itself counts */
    if (next != next) return next;
    if (!(next > tau)) return tau;
    tau = next;
  }
  return tau;
}

/* x: [n], y: [wml_activation_width(n)]; y may be x except for glu. */
WML_FN void wml_activation_row_forward(wml_activation_kind kind, const float *x, float *y, long n) {
  if (kind == WML_GLU) {
    for (long i = 0; i < n / 2; i++) y[i] = x[i] * wml_sigmoid(x[n / 2 + i]);
    return;
  }
  float top = x[0], sum = 0.0f;
  for (long i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
  if (kind == WML_SPARSEMAX) {
    double tau = wml_sparsemax_threshold(x, top, n);
    for (long i = 0; i < n; i++) {
      double above = (double)(x[i] - top) - tau;
      y[i] = above <= 0.0 ? 0.0f : (float)above; /* NaN stays NaN */
    }
    return;
  }
  if (kind == WML_LOG_SOFTMAX) {
    for (long i = 0; i < n; i++) sum += expf(x[i] - top);
    float log_sum = logf(sum);
    for (long i = 0; i < n; i++) y[i] = x[i] - top - log_sum;
    return;
  }
  for (long i = 0; i < n; i++) {
    y[i] = expf(x[i] - top);
    sum += y[i];
  }
  for (long i = 0; i < n; i++) y[i] /= sum;
}

/* dy, y: [width], x: [n] (read by glu only), dx: [n]; dx may be dy except for glu. */
WML_FN void wml_activation_row_backward(wml_activation_kind kind, const float *dy, const float *x,
                                        const float *y, float *dx, long n) {
  if (kind == WML_GLU) {
    for (long i = 0; i < n / 2; i++) {
      float s = wml_sigmoid(x[n / 2 + i]);
      dx[n / 2 + i] = dy[i] * x[i] * s * (1.0f - s);
      dx[i] = dy[i] * s;
    }
    return;
  }
  float dot = 0.0f, support = 0.0f;
  for (long i = 0; i < n; i++) {
    if (kind == WML_SOFTMAX)
      dot += dy[i] * y[i];
    else if (kind == WML_LOG_SOFTMAX)
      dot += dy[i];
    else if (y[i] > 0.0f)
      dot += dy[i], support += 1.0f;
  }
  for (long i = 0; i < n; i++) {
    if (kind == WML_SOFTMAX)
      dx[i] = y[i] * (dy[i] - dot);
    else if (kind == WML_LOG_SOFTMAX)
      dx[i] = dy[i] - expf(y[i]) * dot;
    else if (y[i] > 0.0f)
      dx[i] = dy[i] - dot / support;
    else
      dx[i] = y[i]; /* 0, or NaN as the whole row */
  }
}

#endif
