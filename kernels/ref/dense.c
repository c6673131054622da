/* Dense: y = x kernel + bias over the last axis; x: [rows, in], kernel: [in, out], y: [rows, out]
 */
#include "ref.h"

typedef struct ref_matrix {
  int64_t rows, in, out;
} ref_matrix;

static ref_matrix matrix_of(const ref_step *s, int x, int y) {
  const wml_tensor *tx = &s->graph->tensors[x], *ty = &s->graph->tensors[y];
  int64_t in = tx->dim[tx->rank - 1], out = ty->dim[ty->rank - 1];
  return (ref_matrix){wml_elements(tx) / in, in, out};
}

void ref_dense(ref_step *s, const wml_op *op) {
  ref_matrix m = matrix_of(s, op->in[0], op->out[0]);
  const float *x = ref_input(s, op), *k = ref_f32(s, op->in[1]), *b = ref_f32(s, op->in[2]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t r = 0; r < m.rows; r++)
    for (int64_t o = 0; o < m.out; o++) {
      double sum = b ? (double)b[o] : 0.0;
      for (int64_t i = 0; i < m.in; i++) sum += (double)x[r * m.in + i] * (double)k[i * m.out + o];
      y[r * m.out + o] = (float)sum;
    }
}

void ref_dense_bwd_data(ref_step *s, const wml_op *op) {
  ref_matrix m = matrix_of(s, op->out[0], op->in[0]);
  const float *dy = ref_f32(s, op->in[0]), *k = ref_f32(s, op->in[1]);
  float *dx = ref_f32(s, op->out[0]);
  for (int64_t r = 0; r < m.rows; r++)
    for (int64_t i = 0; i < m.in; i++) {
      double sum = 0.0;
      for (int64_t o = 0; o < m.out; o++)
        sum += (double)dy[r * m.out + o] * (double)k[i * m.out + o];
      dx[r * m.in + i] = (float)sum;
    }
}

void ref_dense_bwd_weights(ref_step *s, const wml_op *op) {
  ref_matrix m = matrix_of(s, op->in[0], op->in[1]);
  const float *x = ref_f32(s, op->in[0]), *dy = ref_f32(s, op->in[1]);
  float *dk = ref_f32(s, op->out[0]), *db = ref_f32(s, op->out[1]);
  for (int64_t o = 0; o < m.out; o++) {
    double bias = 0.0;
    for (int64_t r = 0; r < m.rows; r++) bias += (double)dy[r * m.out + o];
    if (db) db[o] = (float)bias;
    for (int64_t i = 0; i < m.in; i++) {
      double sum = 0.0;
      for (int64_t r = 0; r < m.rows; r++)
        sum += (double)x[r * m.in + i] * (double)dy[r * m.out + o];
      dk[i * m.out + o] = (float)sum;
    }
  }
}
