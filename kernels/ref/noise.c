/* What is drawn anew in each step: dropout and noise (dropout.h, noise.h). */
#include "ref.h"

static void dropout_channels(const ref_step *s, const wml_op *op) {
  const wml_tensor *t = &s->graph->tensors[op->in[0]];
  int64_t channels = t->dim[t->rank - 1], row = wml_row_elements(t);
  const float *x = ref_f32(s, op->in[0]);
  float *y = ref_f32(s, op->out[0]), rate = op->u.dropout.rate, scale = wml_dropout_scale(rate);
  for (int64_t i = 0; i < wml_elements(t); i++) {
    uint64_t element = (uint64_t)(i / row * channels + i % channels);
    bool keeps = wml_dropout_keeps(s->run->seed, s->run->step + s->index, op->u.dropout.stream,
                                   rate, element);
    y[i] = keeps ? x[i] * scale : 0.0f;
  }
}

void ref_dropout(ref_step *s, const wml_op *op) {
  if (op->u.dropout.per_channel)
    dropout_channels(s, op);
  else
    wml_dropout_apply(s->run->seed, s->run->step + s->index, op->u.dropout.stream,
                      op->u.dropout.rate, 0, ref_f32(s, op->in[0]), ref_f32(s, op->out[0]),
                      ref_elements(s, op->in[0]));
}

void ref_noise(ref_step *s, const wml_op *op) {
  wml_noise_apply(&op->u.noise, s->run->seed, s->run->step + s->index, 0, ref_f32(s, op->in[0]),
                  ref_f32(s, op->out[0]), ref_elements(s, op->in[0]));
}
