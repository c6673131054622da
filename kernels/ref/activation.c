/* Activations: element by element, or by rows of the last axis. */
#include "ref.h"

void ref_activation(ref_step *s, const wml_op *op) {
  const wml_tensor *t = &s->graph->tensors[op->in[0]];
  const float *x = ref_f32(s, op->in[0]);
  float *y = ref_f32(s, op->out[0]);
  int64_t total = wml_elements(t), n = t->dim[t->rank - 1];
  const wml_activation *act = &op->u.activation;
  if (WML_ACTIVATION_IS_ROW(act->kind))
    for (int64_t r = 0; r < total / n; r++)
      wml_activation_row_forward(act->kind, x + r * n, y + r * wml_activation_width(act->kind, n),
                                 n);
  else
    for (int64_t i = 0; i < total; i++) y[i] = wml_activation_forward(act, x[i]);
}

void ref_activation_bwd(ref_step *s, const wml_op *op) {
  const wml_tensor *t = &s->graph->tensors[op->out[0]];
  const float *dy = ref_f32(s, op->in[0]), *y = ref_f32(s, op->in[1]), *x = ref_f32(s, op->in[2]);
  float *dx = ref_f32(s, op->out[0]);
  int64_t total = wml_elements(t), n = t->dim[t->rank - 1];
  const wml_activation *act = &op->u.activation;
  int64_t width = wml_activation_width(act->kind, n);
  if (WML_ACTIVATION_IS_ROW(act->kind))
    for (int64_t r = 0; r < total / n; r++)
      wml_activation_row_backward(act->kind, dy + r * width, x ? x + r * n : NULL, y + r * width,
                                  dx + r * n, n);
  else
    for (int64_t i = 0; i < total; i++)
      dx[i] = dy[i] * wml_activation_derivative(act, x ? x[i] : 0.0f, y[i]);
}
