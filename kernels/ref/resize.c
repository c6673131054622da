/* Pictures of another height and width: positions and weights are those of resize.h, along rows and
 * along columns. */
#include "ref.h"

/* One of the up to four elements of x that an element of y reads, and its weight. */
typedef struct ref_sample {
  int64_t place;
  double weight;
} ref_sample;

/* xd, yd: [n, h, w, c] of both pictures; i: the element of y. */
static void samples_of(wml_resampling kind, const int64_t *xd, const int64_t *yd, int64_t i,
                       ref_sample samples[4]) {
  int64_t c = i % yd[3], column = i / yd[3] % yd[2], row = i / yd[3] / yd[2] % yd[1];
  int64_t n = i / yd[3] / yd[2] / yd[1];
  wml_resize_tap r = wml_resize_at(kind, row, xd[1], yd[1]);
  wml_resize_tap q = wml_resize_at(kind, column, xd[2], yd[2]);
  for (int k = 0; k < 4; k++) {
    int64_t h = k / 2 ? r.high : r.low, w = k % 2 ? q.high : q.low;
    double in_row = k / 2 ? (double)r.weight : 1.0 - (double)r.weight;
    double in_column = k % 2 ? (double)q.weight : 1.0 - (double)q.weight;
    samples[k] = (ref_sample){((n * xd[1] + h) * xd[2] + w) * xd[3] + c, in_row * in_column};
  }
}

void ref_resize(ref_step *s, const wml_op *op) {
  const float *x = ref_f32(s, op->in[0]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < ref_elements(s, op->out[0]); i++) {
    ref_sample samples[4];
    samples_of(op->u.resampling, ref_dim(s, op->in[0]), ref_dim(s, op->out[0]), i, samples);
    double sum = 0.0;
    for (int k = 0; k < 4; k++)
      if (samples[k].weight > 0.0) sum += samples[k].weight * (double)x[samples[k].place];
    y[i] = (float)sum;
  }
}

void ref_resize_bwd(ref_step *s, const wml_op *op) {
  const float *dy = ref_f32(s, op->in[0]);
  double *sum = ref_sums(s, op->out[0]);
  for (int64_t i = 0; i < ref_elements(s, op->in[0]); i++) {
    ref_sample samples[4];
    samples_of(op->u.resampling, ref_dim(s, op->out[0]), ref_dim(s, op->in[0]), i, samples);
    for (int k = 0; k < 4; k++) sum[samples[k].place] += samples[k].weight * (double)dy[i];
  }
  ref_store_sums(s, op->out[0]);
}
