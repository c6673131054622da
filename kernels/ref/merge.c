/* Operations on two operands that are broadcast (binary.h), element by element on one, and products
 * of matrices. */
#include "ref.h"

#include "../common/strides.h"

void ref_affine(ref_step *s, const wml_op *op) {
  const float *x = ref_f32(s, op->in[0]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < ref_elements(s, op->in[0]); i++)
    y[i] = op->u.affine.scale * x[i] + op->u.affine.offset;
}

void ref_binary(ref_step *s, const wml_op *op) {
  const wml_tensor *t = s->graph->tensors, *result = &t[op->out[0]];
  wml_strides in_a = wml_strides_broadcast(result, &t[op->in[0]]);
  wml_strides in_b = wml_strides_broadcast(result, &t[op->in[1]]);
  const float *a = ref_f32(s, op->in[0]), *b = ref_f32(s, op->in[1]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < wml_elements(result); i++)
    y[i] = wml_binary_value(op->u.binary, a[wml_strides_at(&in_a, i)], b[wml_strides_at(&in_b, i)]);
}

/* The gradient of one operand, summed over what was broadcast: dy times the derivative. */
static void binary_gradient(ref_step *s, const wml_op *op, int which) {
  int out = op->out[which];
  if (out < 0) return;
  const wml_tensor *t = s->graph->tensors, *result = &t[op->in[0]];
  const float *dy = ref_f32(s, op->in[0]), *a = ref_f32(s, op->in[1]), *b = ref_f32(s, op->in[2]);
  wml_strides in_out = wml_strides_broadcast(result, &t[out]);
  wml_strides in_a = a ? wml_strides_broadcast(result, &t[op->in[1]]) : in_out;
  wml_strides in_b = b ? wml_strides_broadcast(result, &t[op->in[2]]) : in_out;
  double *sum = ref_sums(s, out);
  for (int64_t i = 0; i < wml_elements(result); i++) {
    float at_a = a ? a[wml_strides_at(&in_a, i)] : 0.0f;
    float at_b = b ? b[wml_strides_at(&in_b, i)] : 0.0f;
    float derivative = which == 0 ? wml_binary_derivative_a(op->u.binary, at_a, at_b)
                                  : wml_binary_derivative_b(op->u.binary, at_a, at_b);
    sum[wml_strides_at(&in_out, i)] += (double)dy[i] * (double)derivative;
  }
  ref_store_sums(s, out);
}

void ref_binary_bwd(ref_step *s, const wml_op *op) {
  binary_gradient(s, op, 0);
  binary_gradient(s, op, 1);
}

void ref_matmul(ref_step *s, const wml_op *op) {
  const wml_tensor *ta = &s->graph->tensors[op->in[0]], *ty = &s->graph->tensors[op->out[0]];
  bool turn_a = op->u.matmul.transpose_a, turn_b = op->u.matmul.transpose_b;
  int64_t rows = ty->dim[ty->rank - 2], columns = ty->dim[ty->rank - 1];
  int64_t inner = ta->dim[ta->rank - (turn_a ? 2 : 1)];
  const float *a = ref_f32(s, op->in[0]), *b = ref_f32(s, op->in[1]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < wml_elements(ty); i++) {
    int64_t c = i % columns, r = i / columns % rows, matrix = i / columns / rows;
    const float *ma = a + matrix * rows * inner, *mb = b + matrix * inner * columns;
    double sum = 0.0;
    for (int64_t k = 0; k < inner; k++)
      sum += (double)ma[turn_a ? k * rows + r : r * inner + k] *
             (double)mb[turn_b ? c * inner + k : k * columns + c];
    y[i] = (float)sum;
  }
}
