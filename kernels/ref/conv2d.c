/* Conv2D: y[n,oh,ow,f] = bias[f] + sum over kh,kw,c of x[n, oh*s-p+kh*d, ow*s-p+kw*d, c] *
 * kernel[kh,kw,c,f]: cross-correlation with zero padding. Group g reads its own C/groups channels
 * and writes its own F/groups filters. */
#include "ref.h"

/* Everything the three loops need to know; x: [n,h,w,c], kernel: [kh,kw,cg,f], y: [n,oh,ow,f] */
typedef struct ref_conv {
  const wml_window *window;
  int64_t n, h, w, c, kh, kw, cg, f, oh, ow, fg;
} ref_conv;

static ref_conv conv_of(const ref_step *s, const wml_op *op, int x, int kernel, int y) {
  const int64_t *xd = ref_dim(s, x), *kd = ref_dim(s, kernel), *yd = ref_dim(s, y);
  return (ref_conv){.window = &op->u.window,
                    .n = xd[0],
                    .h = xd[1],
                    .w = xd[2],
                    .c = xd[3],
                    .kh = kd[0],
                    .kw = kd[1],
                    .cg = kd[2],
                    .f = kd[3],
                    .oh = yd[1],
                    .ow = yd[2],
                    .fg = kd[3] / op->u.window.groups};
}

typedef void (*ref_visit)(void *arg, int64_t x, int64_t kernel, int64_t y);

/* Calls visit with the three indices of every product x * kernel -> y. */
static void conv_visit(const ref_conv *v, ref_visit visit, void *arg) {
  const wml_window *o = v->window;
  for (int64_t i = 0; i < v->n * v->oh * v->ow * v->f; i++) {
    int64_t f = i % v->f, ow = i / v->f % v->ow, oh = i / v->f / v->ow % v->oh;
    int64_t n = i / v->f / v->ow / v->oh, first_channel = f / v->fg * v->cg;
    for (int64_t kh = 0; kh < v->kh; kh++)
      for (int64_t kw = 0; kw < v->kw; kw++) {
        int64_t h = oh * o->stride[0] - o->pad_before[0] + kh * o->dilation[0];
        int64_t w = ow * o->stride[1] - o->pad_before[1] + kw * o->dilation[1];
        if (h < 0 || h >= v->h || w < 0 || w >= v->w) continue;
        for (int64_t c = 0; c < v->cg; c++)
          visit(arg, ((n * v->h + h) * v->w + w) * v->c + first_channel + c,
                ((kh * v->kw + kw) * v->cg + c) * v->f + f, i);
      }
  }
}

typedef struct ref_product {
  const float *a, *b;
  double *sum;
} ref_product;

static void visit_forward(void *arg, int64_t x, int64_t kernel, int64_t y) {
  ref_product *p = arg;
  p->sum[y] += (double)p->a[x] * (double)p->b[kernel];
}

static void visit_data(void *arg, int64_t x, int64_t kernel, int64_t y) {
  ref_product *p = arg;
  p->sum[x] += (double)p->a[y] * (double)p->b[kernel];
}

static void visit_weights(void *arg, int64_t x, int64_t kernel, int64_t y) {
  ref_product *p = arg;
  p->sum[kernel] += (double)p->a[x] * (double)p->b[y];
}

static void conv_run(const ref_step *s, const ref_conv *v, ref_visit visit, const float *a,
                     const float *b, int out) {
  conv_visit(v, visit, &(ref_product){a, b, ref_sums(s, out)});
  ref_store_sums(s, out);
}

void ref_conv2d(ref_step *s, const wml_op *op) {
  ref_conv v = conv_of(s, op, op->in[0], op->in[1], op->out[0]);
  conv_run(s, &v, visit_forward, ref_input(s, op), ref_f32(s, op->in[1]), op->out[0]);
  const float *bias = ref_f32(s, op->in[2]);
  float *y = ref_f32(s, op->out[0]);
  if (bias)
    for (int64_t i = 0; i < v.n * v.oh * v.ow * v.f; i++) y[i] += bias[i % v.f];
}

void ref_conv2d_bwd_data(ref_step *s, const wml_op *op) {
  ref_conv v = conv_of(s, op, op->out[0], op->in[1], op->in[0]);
  conv_run(s, &v, visit_data, ref_f32(s, op->in[0]), ref_f32(s, op->in[1]), op->out[0]);
}

void ref_conv2d_bwd_weights(ref_step *s, const wml_op *op) {
  ref_conv v = conv_of(s, op, op->in[0], op->out[0], op->in[1]);
  const float *dy = ref_f32(s, op->in[1]);
  conv_run(s, &v, visit_weights, ref_f32(s, op->in[0]), dy, op->out[0]);
  float *dbias = ref_f32(s, op->out[1]);
  if (!dbias) return;
  for (int64_t f = 0; f < v.f; f++) {
    double sum = 0.0;
    for (int64_t i = f; i < v.n * v.oh * v.ow * v.f; i += v.f) sum += (double)dy[i];
    dbias[f] = (float)sum;
  }
}
