/* BatchNormalization over the last axis: y = gamma (x - mean) / sqrt(var + eps) + beta with the
 * biased variance, two passes. Moving: m = m * momentum + batch * (1 - momentum). */
#include "ref.h"

typedef struct ref_channels {
  int64_t rows, c;
} ref_channels;

static ref_channels norm_of(const ref_step *s, int x) {
  const wml_tensor *t = &s->graph->tensors[x];
  int64_t c = t->dim[t->rank - 1];
  return (ref_channels){wml_elements(t) / c, c};
}

static void normalise(const ref_step *s, const wml_op *op, const float *mean, const float *var) {
  ref_channels n = norm_of(s, op->in[0]);
  const float *x = ref_f32(s, op->in[0]), *gamma = ref_f32(s, op->in[1]);
  const float *beta = ref_f32(s, op->in[2]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < n.rows * n.c; i++) {
    int64_t c = i % n.c;
    double xhat =
        ((double)x[i] - (double)mean[c]) / sqrt((double)var[c] + (double)op->u.batchnorm.epsilon);
    y[i] = (float)(xhat * (gamma ? (double)gamma[c] : 1.0) + (beta ? (double)beta[c] : 0.0));
  }
}

void ref_batchnorm_train(ref_step *s, const wml_op *op) {
  ref_channels n = norm_of(s, op->in[0]);
  const float *x = ref_f32(s, op->in[0]);
  float *moving_mean = ref_f32(s, op->in[3]), *moving_var = ref_f32(s, op->in[4]);
  float *mean = ref_f32(s, op->out[1]), *var = ref_f32(s, op->out[2]);
  float m = op->u.batchnorm.momentum;
  for (int64_t c = 0; c < n.c; c++) {
    double sum = 0.0, square = 0.0;
    for (int64_t r = 0; r < n.rows; r++) sum += (double)x[r * n.c + c];
    double mu = sum / (double)n.rows;
    for (int64_t r = 0; r < n.rows; r++) {
      double d = (double)x[r * n.c + c] - mu;
      square += d * d;
    }
    mean[c] = (float)mu;
    var[c] = (float)(square / (double)n.rows);
    moving_mean[c] = moving_mean[c] * m + mean[c] * (1.0f - m);
    moving_var[c] = moving_var[c] * m + var[c] * (1.0f - m);
  }
  normalise(s, op, mean, var);
}

void ref_batchnorm_infer(ref_step *s, const wml_op *op) {
  normalise(s, op, ref_f32(s, op->in[3]), ref_f32(s, op->in[4]));
}

/* dx = gamma / sqrt(var + eps) / N * (N dy - sum(dy) - xhat sum(dy xhat)); without the two sums
 * where the statistics are constants. */
static void backward(ref_step *s, const wml_op *op, bool batch_statistics) {
  ref_channels n = norm_of(s, op->in[1]);
  const float *dy = ref_f32(s, op->in[0]), *x = ref_f32(s, op->in[1]),
              *gamma = ref_f32(s, op->in[2]);
  const float *mean = ref_f32(s, op->in[3]), *var = ref_f32(s, op->in[4]);
  float *dx = ref_f32(s, op->out[0]), *dgamma = ref_f32(s, op->out[1]),
        *dbeta = ref_f32(s, op->out[2]);
  for (int64_t c = 0; c < n.c; c++) {
    double inverse = 1.0 / sqrt((double)var[c] + (double)op->u.batchnorm.epsilon);
    double sum = 0.0, dot = 0.0, g = gamma ? (double)gamma[c] : 1.0;
    for (int64_t i = c; i < n.rows * n.c; i += n.c) {
      sum += (double)dy[i];
      dot += (double)dy[i] * ((double)x[i] - (double)mean[c]) * inverse;
    }
    if (dgamma) dgamma[c] = (float)dot;
    if (dbeta) dbeta[c] = (float)sum;
    double count = batch_statistics ? 1.0 / (double)n.rows : 0.0;
    for (int64_t i = c; dx && i < n.rows * n.c; i += n.c) {
      double xhat = ((double)x[i] - (double)mean[c]) * inverse;
      dx[i] = (float)(g * inverse * ((double)dy[i] - count * (sum + xhat * dot)));
    }
  }
}

void ref_batchnorm_bwd(ref_step *s, const wml_op *op) {
  backward(s, op, true);
}

void ref_batchnorm_bwd_infer(ref_step *s, const wml_op *op) {
  backward(s, op, false);
}
