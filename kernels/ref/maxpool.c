/* MaxPooling2D: padding never wins. The first maximum in row-major order takes the gradient;
 * overlapping windows accumulate. index: the winner's place h*W+w in its image. */
#include "ref.h"

void ref_maxpool(ref_step *s, const wml_op *op) {
  const wml_window *o = &op->u.window;
  const int64_t *xd = ref_dim(s, op->in[0]), *yd = ref_dim(s, op->out[0]);
  int64_t H = xd[1], W = xd[2], C = xd[3], OH = yd[1], OW = yd[2];
  const float *x = ref_f32(s, op->in[0]);
  float *y = ref_f32(s, op->out[0]);
  int32_t *index = op->out[1] < 0 ? NULL : s->data[op->out[1]];
  for (int64_t i = 0; i < yd[0] * OH * OW * C; i++) {
    int64_t c = i % C, ow = i / C % OW, oh = i / C / OW % OH, n = i / C / OW / OH;
    int64_t best = -1;
    float top = -INFINITY;
    for (int kh = 0; kh < o->size[0]; kh++)
      for (int kw = 0; kw < o->size[1]; kw++) {
        int64_t h = oh * o->stride[0] - o->pad_before[0] + kh;
        int64_t w = ow * o->stride[1] - o->pad_before[1] + kw;
        if (h < 0 || h >= H || w < 0 || w >= W) continue;
        float value = x[((n * H + h) * W + w) * C + c];
        if (best >= 0 && !(value > top) && value == value) continue; /* a NaN wins */
        top = value;
        best = h * W + w;
      }
    y[i] = top;
    if (index) index[i] = (int32_t)best;
  }
}

void ref_maxpool_bwd(ref_step *s, const wml_op *op) {
  const int64_t *xd = ref_dim(s, op->out[0]), *yd = ref_dim(s, op->in[0]);
  int64_t C = xd[3], per_image = yd[1] * yd[2] * C;
  const float *dy = ref_f32(s, op->in[0]);
  const int32_t *index = s->data[op->in[1]];
  float *dx = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < xd[0] * xd[1] * xd[2] * C; i++) dx[i] = 0.0f;
  for (int64_t i = 0; i < yd[0] * per_image; i++)
    if (index[i] >= 0) dx[(i / per_image * xd[1] * xd[2] + index[i]) * C + i % C] += dy[i];
}
