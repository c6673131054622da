/* Operations that only move elements. */
#include "ref.h"

#include "../common/strides.h"

/* part[i] = whole[place of i] */
static void read_part(const ref_step *s, const wml_strides *strides, int whole, int part) {
  const float *from = ref_f32(s, whole);
  float *to = ref_f32(s, part);
  for (int64_t i = 0; i < ref_elements(s, part); i++) to[i] = from[wml_strides_at(strides, i)];
}

/* whole[place of i] = part[i] */
static void write_part(const ref_step *s, const wml_strides *strides, int part, int whole) {
  const float *from = ref_f32(s, part);
  float *to = ref_f32(s, whole);
  for (int64_t i = 0; i < ref_elements(s, part); i++) to[wml_strides_at(strides, i)] = from[i];
}

void ref_transpose(ref_step *s, const wml_op *op) {
  const wml_tensor *t = s->graph->tensors;
  wml_strides strides = wml_strides_transposed(&t[op->out[0]], &t[op->in[0]], op->u.axes);
  read_part(s, &strides, op->in[0], op->out[0]);
}

void ref_concat(ref_step *s, const wml_op *op) {
  const wml_tensor *t = s->graph->tensors;
  int64_t begin[WML_MAX_RANK] = {0};
  for (int k = 0; k < WML_MAX_OPERANDS && op->in[k] >= 0; k++) {
    wml_strides strides = wml_strides_box(&t[op->in[k]], &t[op->out[0]], begin);
    write_part(s, &strides, op->in[k], op->out[0]);
    begin[op->u.axis] += t[op->in[k]].dim[op->u.axis];
  }
}

void ref_crop(ref_step *s, const wml_op *op) {
  const wml_tensor *t = s->graph->tensors;
  wml_strides strides = wml_strides_box(&t[op->out[0]], &t[op->in[0]], op->u.begin);
  read_part(s, &strides, op->in[0], op->out[0]);
}

void ref_pad(ref_step *s, const wml_op *op) {
  const wml_tensor *t = s->graph->tensors;
  wml_strides strides = wml_strides_box(&t[op->in[0]], &t[op->out[0]], op->u.begin);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < ref_elements(s, op->out[0]); i++) y[i] = 0.0f;
  write_part(s, &strides, op->in[0], op->out[0]);
}
