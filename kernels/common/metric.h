/* Metrics: each keeps running sums over an epoch ("state", doubles) and is finished at its end. */
#ifndef WML_COMMON_METRIC_H
#define WML_COMMON_METRIC_H

#include "kinds.h"
#include "loss.h"

#include <math.h>
#include <stddef.h>

typedef struct wml_metric {
  wml_metric_kind kind;
  int k;           /* top_k: how many */
  float threshold; /* precision, recall: positive above it */
} wml_metric;

enum { WML_AUC_THRESHOLDS = 200 };

/* Number of doubles of state for rows of n values. */
WML_FN long wml_metric_state_size(wml_metric_kind kind, long n) {
  switch (kind) {
  case WML_PRECISION:
  case WML_RECALL: return 3;
  case WML_AUC: return 2 * (WML_AUC_THRESHOLDS + 1);
  case WML_R2_SCORE: return 1 + 3 * n;
  default: return 2;
  }
}

WML_FN float wml_metric_target(wml_target t, long j) {
  return t.dense ? t.dense[j] : (j == t.label ? 1.0f : 0.0f);
}

WML_FN long wml_argmax(const float *p, long n) {
  long best = 0;
  for (long j = 1; j < n; j++)
    if (p[j] > p[best]) best = j;
  return best;
}

/* How many thresholds (-1e-7, i/199, 1+1e-7) lie strictly below p: p counts as positive there. */
WML_FN long wml_auc_bin(float p) {
  const long last = WML_AUC_THRESHOLDS - 1;
  if (!(p > -1e-7f)) return 0;
  if (p > 1.0f + 1e-7f) return WML_AUC_THRESHOLDS;
  long bin = (long)ceil((double)p * (double)last);
  bin = bin < 1 ? 1 : (bin > last ? last : bin);
  while (bin > 1 && !(p > (float)(bin - 1) / (float)last)) bin--;
  while (bin < last && p > (float)bin / (float)last) bin++;
  return bin;
}

WML_FN double wml_metric_row_value(const wml_metric *m, const float *p, wml_target t, long n) {
  double sum = 0.0;
  switch (m->kind) {
  case WML_CATEGORICAL_ACCURACY:
    return wml_argmax(p, n) == (t.dense ? wml_argmax(t.dense, n) : t.label) ? 1.0 : 0.0;
  case WML_SPARSE_CATEGORICAL_ACCURACY: return wml_argmax(p, n) == wml_target_index(t) ? 1.0 : 0.0;
  case WML_TOP_K_CATEGORICAL_ACCURACY: {
    long truth = t.dense ? wml_argmax(t.dense, n) : t.label, above = 0;
    for (long j = 0; j < n; j++) above += p[j] > p[truth];
    return above < m->k ? 1.0 : 0.0;
  }
  case WML_BINARY_ACCURACY:
    for (long j = 0; j < n; j++)
      sum += (p[j] > m->threshold ? 1.0f : 0.0f) == wml_metric_target(t, j) ? 1.0 : 0.0;
    return sum / (double)n;
  case WML_METRIC_COSINE_SIMILARITY: return -wml_cosine_row(p, t, n, NULL);
  case WML_METRIC_CROSSENTROPY: {
    wml_loss loss = {.kind = n == 1 ? WML_BINARY_CROSSENTROPY : WML_CATEGORICAL_CROSSENTROPY};
    return wml_loss_row(&loss, p, t, n, NULL);
  }
  default: /* squared or absolute error */
    for (long j = 0; j < n; j++) {
      double d = (double)p[j] - (double)wml_metric_target(t, j);
      sum += m->kind == WML_METRIC_MAE ? fabs(d) : d * d;
    }
    return sum / (double)n;
  }
}

/* Adds one row of n predictions with its weight. */
WML_FN void wml_metric_add(const wml_metric *m, const float *p, wml_target t, long n, double weight,
                           double *state) {
  switch (m->kind) {
  case WML_PRECISION:
  case WML_RECALL:
    for (long j = 0; j < n; j++) {
      bool truth = wml_metric_target(t, j) > 0.5f, said = p[j] > m->threshold;
      if (truth && said)
        state[0] += weight;
      else if (said)
        state[1] += weight;
      else if (truth)
        state[2] += weight;
    }
    return;
  case WML_AUC:
    for (long j = 0; j < n; j++) {
      bool truth = wml_metric_target(t, j) > 0.5f;
      state[(truth ? 0 : WML_AUC_THRESHOLDS + 1) + wml_auc_bin(p[j])] += weight;
    }
    return;
  case WML_R2_SCORE:
    state[0] += weight;
    for (long j = 0; j < n; j++) {
      double truth = (double)wml_metric_target(t, j), d = truth - (double)p[j];
      state[1 + 3 * j] += weight * truth;
      state[2 + 3 * j] += weight * truth * truth;
      state[3 + 3 * j] += weight * d * d;
    }
    return;
  default: state[0] += weight * wml_metric_row_value(m, p, t, n); state[1] += weight;
  }
}

/* Trapezoids over the ROC curve, from the highest threshold (nothing positive) to the lowest. */
WML_FN double wml_metric_auc(const double *state) {
  const double *positive = state, *negative = state + WML_AUC_THRESHOLDS + 1;
  double all_positive = 0.0, all_negative = 0.0, tp = 0.0, fp = 0.0, area = 0.0;
  for (long b = 0; b <= WML_AUC_THRESHOLDS; b++)
    all_positive += positive[b], all_negative += negative[b];
  if (all_positive == 0.0 || all_negative == 0.0) return 0.0;
  for (long b = WML_AUC_THRESHOLDS; b >= 1; b--) {
    double next_tp = tp + positive[b], next_fp = fp + negative[b];
    area += (next_fp - fp) / all_negative * (tp + next_tp) / (2.0 * all_positive);
    tp = next_tp;
    fp = next_fp;
  }
  return area;
}

WML_FN double wml_metric_value(const wml_metric *m, const double *state, long n) {
  switch (m->kind) {
  case WML_PRECISION: return state[0] > 0.0 ? state[0] / (state[0] + state[1]) : 0.0;
  case WML_RECALL: return state[0] > 0.0 ? state[0] / (state[0] + state[2]) : 0.0;
  case WML_AUC: return wml_metric_auc(state);
  case WML_R2_SCORE: {
    double sum = 0.0;
    for (long j = 0; j < n; j++) {
      double total = state[2 + 3 * j] - state[1 + 3 * j] * state[1 + 3 * j] / state[0];
      double r2 = 1.0 - state[3 + 3 * j] / total;
      sum += isinf(r2) || isnan(r2) ? 0.0 : r2;
    }
    return sum / (double)n;
  }
  case WML_ROOT_MEAN_SQUARED_ERROR: return state[1] > 0.0 ? sqrt(state[0] / state[1]) : 0.0;
  default: return state[1] > 0.0 ? state[0] / state[1] : 0.0;
  }
}

#endif
