/* AveragePooling2D: the mean of those elements of the window that are not padding, as in Keras. A
 * window of padding alone gives 0. */
#include "ref.h"

/* The elements [begin, end) along one axis that window `i` covers. */
typedef struct ref_range {
  int64_t begin, end;
} ref_range;

static ref_range range_of(const wml_window *window, int axis, int64_t i, int64_t size) {
  int64_t begin = i * window->stride[axis] - window->pad_before[axis];
  int64_t end = begin + window->size[axis];
  return (ref_range){begin < 0 ? 0 : begin, end > size ? size : end};
}

void ref_avgpool(ref_step *s, const wml_op *op) {
  const int64_t *xd = ref_dim(s, op->in[0]), *yd = ref_dim(s, op->out[0]);
  int64_t H = xd[1], W = xd[2], C = xd[3], OH = yd[1], OW = yd[2];
  const float *x = ref_f32(s, op->in[0]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < yd[0] * OH * OW * C; i++) {
    int64_t c = i % C, ow = i / C % OW, oh = i / C / OW % OH, n = i / C / OW / OH;
    ref_range rows = range_of(&op->u.window, 0, oh, H), columns = range_of(&op->u.window, 1, ow, W);
    double sum = 0.0, count = 0.0;
    for (int64_t h = rows.begin; h < rows.end; h++)
      for (int64_t w = columns.begin; w < columns.end; w++) {
        sum += (double)x[((n * H + h) * W + w) * C + c];
        count += 1.0;
      }
    y[i] = count > 0.0 ? (float)(sum / count) : 0.0f;
  }
}

void ref_avgpool_bwd(ref_step *s, const wml_op *op) {
  const int64_t *xd = ref_dim(s, op->out[0]), *yd = ref_dim(s, op->in[0]);
  int64_t H = xd[1], W = xd[2], C = xd[3], OH = yd[1], OW = yd[2];
  const float *dy = ref_f32(s, op->in[0]);
  double *sum = ref_sums(s, op->out[0]);
  for (int64_t i = 0; i < yd[0] * OH * OW * C; i++) {
    int64_t c = i % C, ow = i / C % OW, oh = i / C / OW % OH, n = i / C / OW / OH;
    ref_range rows = range_of(&op->u.window, 0, oh, H), columns = range_of(&op->u.window, 1, ow, W);
    int64_t count = (rows.end - rows.begin) * (columns.end - columns.begin);
    for (int64_t h = rows.begin; h < rows.end; h++)
      for (int64_t w = columns.begin; w < columns.end; w++)
        sum[((n * H + h) * W + w) * C + c] += (double)dy[i] / (double)count;
  }
  ref_store_sums(s, op->out[0]);
}
