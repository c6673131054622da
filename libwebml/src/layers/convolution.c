#include "layers/convolution.h"

/* ---- shapes ---- */

/* A window larger than the picture. */
static void check_result(const wml_shaping *s, const wml_convolution *o) {
  const int *k = o->kernel_size, *d = o->dilation_rate;
  const int64_t *in = s->in[0].dim;
  bool known = in[0] > 0 && in[1] > 0;
  if (!known || (s->out.dim[0] > 0 && s->out.dim[1] > 0)) return;
  int kh = (k[0] - 1) * d[0] + 1, kw = (k[1] - 1) * d[1] + 1;
  wml_issue(s->issues, s->place,
            "kernel %dx%d exceeds the %dx%d input; use a smaller kernel or padding \"same\"", kh,
            kw, (int)in[0], (int)in[1]);
  wml_issue_cure(s->issues, "use padding \"same\"");
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "padding", "\"same\"");
}

void wml_convolution_shape(wml_shaping *s, const wml_convolution *o) {
  const int *stride = o->strides, *d = o->dilation_rate;
  if ((stride[0] > 1 || stride[1] > 1) && (d[0] > 1 || d[1] > 1)) {
    wml_issue(s->issues, s->place, "strides and dilation_rate cannot both be above 1");
    wml_issue_cure(s->issues, "set dilation_rate to 1");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "dilation_rate", "1");
  }
  for (int i = 0; i < 2; i++)
    if (s->in[0].dim[i] > 0)
      s->out.dim[i] =
          wml_window_output(s->in[0].dim[i], o->kernel_size[i], stride[i], d[i], o->padding);
  check_result(s, o);
}

webml_status wml_convolution_bias(wml_shaping *s, const wml_linear_options *linear,
                                  int64_t filters) {
  if (!linear->use_bias) return WEBML_OK;
  return wml_shaping_param(s, "bias",
                           (wml_param){.rank = 1,
                                       .dim = {filters},
                                       .initializer = linear->bias_initializer,
                                       .regularizer = linear->bias_regularizer,
                                       .constraint = linear->bias_constraint});
}

wml_window wml_convolution_window(const wml_convolution *o, const wml_shape *in, int groups) {
  return wml_layer_window(in, o->kernel_size, o->strides, o->dilation_rate, groups, o->padding);
}

/* ---- a step ---- */

static int param_of(const wml_emission *e, int k) {
  return k < 0 ? -1 : e->param[k];
}

int wml_emit_convolution(wml_emission *e, int x, int kernel, int bias, const wml_window *window,
                         const char *prefix, const wml_shape *shape) {
  wml_op *op = wml_emit_unary(e, WML_OP_CONV2D, x, prefix, shape);
  op->in[1] = e->param[kernel];
  op->in[2] = param_of(e, bias);
  op->u.window = *window;
  return op->out[0];
}

void wml_emit_convolution_weights(wml_emission *e, int x, int dy, int kernel, int bias,
                                  const wml_window *window) {
  int dkernel = wml_emit_param_gradient(e, kernel), dbias = wml_emit_param_gradient(e, bias);
  if (dkernel < 0) return;
  wml_op *op = wml_emit_op(e, WML_OP_CONV2D_BWD_WEIGHTS);
  op->in[0] = x;
  op->in[1] = dy;
  op->out[0] = dkernel;
  op->out[1] = dbias;
  op->u.window = *window;
}

int wml_emit_convolution_data(wml_emission *e, int dy, int kernel, const wml_window *window,
                              const char *prefix, const wml_shape *shape) {
  wml_op *op = wml_emit_unary(e, WML_OP_CONV2D_BWD_DATA, dy, prefix, shape);
  op->in[1] = e->param[kernel];
  op->u.window = *window;
  return op->out[0];
}
