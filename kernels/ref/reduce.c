/* Sums, means and greatest elements over the dimensions in which the result has 1. */
#include "ref.h"

#include "../common/strides.h"

/* Elements of x for each of y's. */
static double count_of(const ref_step *s, int x, int y) {
  return (double)(ref_elements(s, x) / ref_elements(s, y));
}

void ref_reduce(ref_step *s, const wml_op *op) {
  int out = op->out[0];
  wml_strides in_y = wml_strides_broadcast(&s->graph->tensors[op->in[0]], &s->graph->tensors[out]);
  const float *x = ref_f32(s, op->in[0]);
  double *sum = ref_sums(s, out);
  bool max = op->u.reduction == WML_REDUCE_MAX;
  for (int64_t i = 0; max && i < ref_elements(s, out); i++) sum[i] = -INFINITY;
  for (int64_t i = 0; i < ref_elements(s, op->in[0]); i++) {
    double *y = &sum[wml_strides_at(&in_y, i)];
    if (!max)
      *y += (double)x[i];
    else if ((double)x[i] > *y || x[i] != x[i]) /* a NaN stays: nothing is greater */
      *y = (double)x[i];
  }
  double count = op->u.reduction == WML_REDUCE_MEAN ? count_of(s, op->in[0], out) : 1.0;
  for (int64_t i = 0; i < ref_elements(s, out); i++) sum[i] /= count;
  ref_store_sums(s, out);
}

void ref_reduce_bwd(ref_step *s, const wml_op *op) {
  int out = op->out[0];
  wml_strides in_y = wml_strides_broadcast(&s->graph->tensors[out], &s->graph->tensors[op->in[0]]);
  const float *dy = ref_f32(s, op->in[0]);
  float *dx = ref_f32(s, out);
  double count = op->u.reduction == WML_REDUCE_MEAN ? count_of(s, out, op->in[0]) : 1.0;
  for (int64_t i = 0; i < ref_elements(s, out); i++)
    dx[i] = (float)((double)dy[wml_strides_at(&in_y, i)] / count);
  if (op->u.reduction != WML_REDUCE_MAX) return;
  const float *x = ref_f32(s, op->in[1]), *y = ref_f32(s, op->in[2]);
  double *ties = ref_sums(s, op->in[2]); /* how many elements are as great as y */
  for (int64_t i = 0; i < ref_elements(s, out); i++) {
    int64_t at = wml_strides_at(&in_y, i);
    if (x[i] == y[at]) ties[at] += 1.0;
  }
  for (int64_t i = 0; i < ref_elements(s, out); i++) {
    int64_t at = wml_strides_at(&in_y, i);
    dx[i] = x[i] == y[at] ? (float)((double)dx[i] / ties[at]) : 0.0f;
  }
}
