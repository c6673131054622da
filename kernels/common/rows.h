/* Losses and metrics over a range of rows: the bookkeeping of weights around the formulas. */
#ifndef WML_COMMON_ROWS_H
#define WML_COMMON_ROWS_H

#include "../backend.h"

/* p: [rows, k]; target: [rows, kt] float32, or int32 class per row; weight: per row of the batch or
 * NULL. `rows_per_sample` > 1 where the output is an image. */
typedef struct wml_rows {
  const float *p;
  const float *target_dense; /* one of the two */
  const int32_t *target_label;
  const float *weight;
  int64_t k, target_k, rows_per_sample;
} wml_rows;

WML_FN wml_target wml_rows_target(const wml_rows *r, int64_t row) {
  wml_target t = {r->target_dense ? r->target_dense + row * r->target_k : NULL, 0};
  if (!t.dense) t.label = (int)r->target_label[row];
  return t;
}

/* hinge: labels that are all 0 or 1 stand for -1 and 1 */
WML_FN bool wml_rows_are_binary(const wml_rows *r, int64_t rows) {
  if (!r->target_dense) return true;
  for (int64_t i = 0; i < rows * r->target_k; i++)
    if (r->target_dense[i] != 0.0f && r->target_dense[i] != 1.0f) return false;
  return true;
}

WML_FN double wml_rows_weight(const wml_rows *r, const wml_op *op, int64_t row, wml_target t) {
  double w = r->weight ? (double)r->weight[row / r->rows_per_sample] : 1.0;
  if (op->kind != WML_OP_LOSS || !op->u.loss.class_weight) return w;
  long c =
      t.dense ? (r->target_k == 1 ? (long)t.dense[0] : wml_argmax(t.dense, r->target_k)) : t.label;
  return c >= 0 && c < op->u.loss.n_classes ? w * (double)op->u.loss.class_weight[c] : w;
}

/* Sum over rows [begin, end) of weight * value, divided by `rows`: without the weight of the loss
 * itself. Writes the gradient dp: [rows, k], which has it, unless NULL. `loss` is the op's with
 * signed_labels set for this batch. */
WML_FN double wml_rows_loss(const wml_op *op, const wml_loss *loss, const wml_rows *r, int64_t rows,
                            int64_t begin, int64_t end, float *dp) {
  double sum = 0.0;
  for (int64_t row = begin; row < end; row++) {
    wml_target t = wml_rows_target(r, row);
    double w = wml_rows_weight(r, op, row, t) / (double)rows;
    float *d = dp ? dp + row * r->k : NULL;
    sum += w * wml_loss_row(loss, r->p + row * r->k, t, (long)r->k, d);
    if (d)
      for (int64_t j = 0; j < r->k; j++) d[j] *= (float)(w * (double)op->u.loss.weight);
  }
  return sum;
}

/* ---- losses with one value for the whole batch ----
 * tversky (Salehi et al. 2017): 1 - both / (both + alpha * false positives + beta * false negatives
 * + e), each summed over all elements; dice is that with both weights 1/2, and e/2. Weights of rows
 * count as in Keras: the value is multiplied by their mean. */

typedef struct wml_overlap {
  double both, target, predicted; /* sums of t * p, t, p */
  double weight;                  /* of rows */
} wml_overlap;

WML_FN void wml_overlap_add(wml_overlap *sum, const wml_overlap *part) {
  sum->both += part->both;
  sum->target += part->target;
  sum->predicted += part->predicted;
  sum->weight += part->weight;
}

/* Of rows [begin, end). */
WML_FN wml_overlap wml_rows_overlap(const wml_op *op, const wml_rows *r, int64_t begin,
                                    int64_t end) {
  wml_overlap sum = {0.0, 0.0, 0.0, 0.0};
  for (int64_t row = begin; row < end; row++) {
    wml_target target = wml_rows_target(r, row);
    sum.weight += wml_rows_weight(r, op, row, target);
    for (int64_t j = 0; j < r->k; j++) {
      double p = (double)r->p[row * r->k + j];
      double t = (double)wml_target_at(&op->u.loss.loss, target, (long)j, (long)r->k);
      sum.both += t * p;
      sum.target += t;
      sum.predicted += p;
    }
  }
  return sum;
}

/* The loss of a batch, without the weight of the loss; its gradient, with it, is
 * constant + slope * t. */
typedef struct wml_overlap_loss {
  double value, constant, slope;
} wml_overlap_loss;

WML_FN wml_overlap_loss wml_overlap_value(const wml_op *op, const wml_overlap *sum, int64_t rows) {
  const wml_loss *loss = &op->u.loss.loss;
  bool dice = loss->kind == WML_DICE;
  double alpha = dice ? 0.5 : (double)loss->alpha, beta = dice ? 0.5 : (double)loss->beta;
  double whole = sum->both + alpha * (sum->predicted - sum->both) +
                 beta * (sum->target - sum->both) + (double)WML_EPSILON * (dice ? 0.5 : 1.0);
  double weight = sum->weight / (double)rows, dp_weight = weight * (double)op->u.loss.weight;
  wml_overlap_loss l;
  l.value = weight * (1.0 - sum->both / whole);
  l.constant = dp_weight * alpha * sum->both / (whole * whole);
  l.slope = -dp_weight * (whole - (1.0 - alpha - beta) * sum->both) / (whole * whole);
  return l;
}

WML_FN void wml_rows_overlap_gradient(const wml_op *op, const wml_overlap_loss *l,
                                      const wml_rows *r, int64_t begin, int64_t end, float *dp) {
  for (int64_t row = begin; row < end; row++) {
    wml_target target = wml_rows_target(r, row);
    for (int64_t j = 0; j < r->k; j++) {
      double t = (double)wml_target_at(&op->u.loss.loss, target, (long)j, (long)r->k);
      dp[row * r->k + j] = (float)(l->constant + l->slope * t);
    }
  }
}

WML_FN void wml_rows_metric(const wml_op *op, const wml_rows *r, int64_t rows, double *state) {
  for (int64_t row = 0; row < rows; row++) {
    wml_target t = wml_rows_target(r, row);
    wml_metric_add(&op->u.metric.metric, r->p + row * r->k, t, (long)r->k,
                   wml_rows_weight(r, op, row, t), state);
  }
}

/* The rows that a LOSS or METRIC operation sees: its operands' shapes and addresses; weight may be
 * NULL. */
static inline wml_rows wml_rows_of(const wml_tensor *p, const void *p_data, const wml_tensor *t,
                                   const void *t_data, const void *weight) {
  wml_rows r = {
      .p = (const float *)p_data, .weight = (const float *)weight, .k = p->dim[p->rank - 1]};
  if (t->dtype == WML_I32)
    r.target_label = (const int32_t *)t_data;
  else
    r.target_dense = (const float *)t_data;
  r.rows_per_sample = wml_elements(p) / r.k / p->dim[0];
  r.target_k = wml_elements(t) / (wml_elements(p) / r.k);
  return r;
}

#endif
