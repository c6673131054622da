/* Conv2D: [h, w, c] -> [oh, ow, filters]. Cross-correlation, kernel [kh, kw, c/groups, filters],
 * then bias, then activation. valid: out = floor((n - ke) / s) + 1, ke = (k - 1) d + 1; same:
 * out = ceil(n / s). */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "layers/window.h"
#include "plan/emission.h"

#include <stdio.h>

typedef struct conv2d_options {
  wml_layer_options layer;
  int filters, kernel_size[2], strides[2], dilation_rate[2], groups;
  wml_padding padding;
  wml_linear_options linear;
} conv2d_options;

#define AT(member) offsetof(conv2d_options, member)

static const wml_field fields[] = {
    {.key = "filters",
     .kind = WML_FIELD_INT,
     .offset = AT(filters),
     .low = 1,
     .high = 1024,
     .suggested = 32,
     .required = true,
     .about = "The number of filters, which is that of the output's channels."},
    {.key = "kernel_size",
     .kind = WML_FIELD_PAIR,
     .offset = AT(kernel_size),
     .low = 1,
     .high = 64,
     .suggested = 3,
     .required = true,
     .about = "Height and width of the filters."},
    {.key = "strides",
     .kind = WML_FIELD_PAIR,
     .offset = AT(strides),
     .low = 1,
     .high = 64,
     .otherwise = 1,
     .about = "How far the filters move between two outputs."},
    WML_PADDING_FIELD(conv2d_options, padding),
    {.key = "dilation_rate",
     .kind = WML_FIELD_PAIR,
     .offset = AT(dilation_rate),
     .low = 1,
     .high = 64,
     .otherwise = 1,
     .about = "The distance of the pixels that a filter looks at."},
    {.key = "groups",
     .kind = WML_FIELD_INT,
     .offset = AT(groups),
     .low = 1,
     .high = 1024,
     .otherwise = 1,
     .about = "Into how many groups the channels are divided, each with filters of its own."},
    WML_LINEAR_FIELDS(conv2d_options, linear),
    WML_CHANNELS_LAST_FIELD,
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* Greatest common divisor. */
static int64_t divisor(int64_t a, int64_t b) {
  return b ? divisor(b, a % b) : a;
}

static void check_groups(int64_t c, int64_t filters, int64_t groups, const wml_json_path *place,
                         wml_issues *issues) {
  char right[32];
  int before = issues->count;
  if (filters % groups)
    wml_issue(issues, place, "filters %d is not a multiple of groups %d", (int)filters,
              (int)groups);
  else if (c > 0 && c % groups)
    wml_issue(issues, place, "the %d input channels are not a multiple of groups %d", (int)c,
              (int)groups);
  if (issues->count == before) return;
  int64_t fits = divisor(filters, groups);
  if (c > 0) fits = divisor(c, fits);
  snprintf(right, sizeof right, "%lld", (long long)fits);
  wml_issue_cure(issues, "set groups to %s", right);
  wml_patch_set(issues, WML_OPTIONS_OF(place), "groups", right);
}

/* Cures what cannot be computed from the options. */
static void check_options(const wml_shaping *s, const conv2d_options *o) {
  const int *stride = o->strides, *d = o->dilation_rate;
  if ((stride[0] > 1 || stride[1] > 1) && (d[0] > 1 || d[1] > 1)) {
    wml_issue(s->issues, s->place, "strides and dilation_rate cannot both be above 1");
    wml_issue_cure(s->issues, "set dilation_rate to 1");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "dilation_rate", "1");
  }
  check_groups(s->in[0].dim[2], o->filters, o->groups, s->place, s->issues);
}

/* A window larger than the picture. */
static void check_result(const wml_shaping *s, const conv2d_options *o) {
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

static webml_status add_params(wml_shaping *s, const conv2d_options *o) {
  const int *k = o->kernel_size;
  WML_TRY(
      wml_shaping_param(s, "kernel",
                        (wml_param){.rank = 4,
                                    .dim = {k[0], k[1], s->in[0].dim[2] / o->groups, o->filters},
                                    .initializer = o->linear.kernel_initializer,
                                    .regularizer = o->linear.kernel_regularizer,
                                    .constraint = o->linear.kernel_constraint}));
  if (!o->linear.use_bias) return WEBML_OK;
  return wml_shaping_param(s, "bias",
                           (wml_param){.rank = 1,
                                       .dim = {o->filters},
                                       .initializer = o->linear.bias_initializer,
                                       .regularizer = o->linear.bias_regularizer,
                                       .constraint = o->linear.bias_constraint});
}

static webml_status shape(wml_shaping *s) {
  const conv2d_options *o = s->options;
  int before = s->issues->count;
  const int *k = o->kernel_size;
  int64_t c = s->in[0].dim[2], *out = s->out.dim;
  check_options(s, o);
  for (int i = 0; i < 2; i++)
    if (s->in[0].dim[i] > 0)
      out[i] =
          wml_window_output(s->in[0].dim[i], k[i], o->strides[i], o->dilation_rate[i], o->padding);
  check_result(s, o);
  if (c <= 0 || s->issues->count > before) return WEBML_OK;
  if (wml_shape_elements(&s->out) > 0)
    s->flops = (double)(out[0] * out[1] * o->filters) *
               (double)(2 * k[0] * k[1] * c / o->groups + o->linear.use_bias);
  return add_params(s, o);
}

static void assume(const void *options, wml_shape *out) {
  const conv2d_options *o = options;
  if (o->filters > 0) out->dim[2] = o->filters;
}

static bool quantizes(const void *options) {
  return ((const conv2d_options *)options)->groups == 1;
}

/* ---- a step ---- */

static wml_window window_of(const wml_emission *e) {
  const conv2d_options *o = e->options;
  return wml_layer_window(wml_emit_in_shape(e, 0), o->kernel_size, o->strides, o->dilation_rate,
                          o->groups, o->padding);
}

/* Shape before the activation: glu's is twice as wide. */
static wml_shape pre_shape(const wml_emission *e, const conv2d_options *o) {
  wml_shape shape = e->node->out;
  shape.dim[2] = o->filters;
  return shape;
}

static int forward(wml_emission *e) {
  const conv2d_options *o = e->options;
  wml_shape shape = pre_shape(e, o);
  wml_op *op = wml_emit_unary(e, WML_OP_CONV2D, e->in[0], "pre/", &shape);
  op->in[1] = e->param[0];
  op->in[2] = e->param[1];
  op->u.window = window_of(e);
  return wml_emit_activation(e, op->out[0], &o->linear.activation);
}

static void backward(wml_emission *e, int dy) {
  const conv2d_options *o = e->options;
  dy = wml_emit_activation_backward(e, dy, &o->linear.activation);
  int dkernel = wml_emit_param_gradient(e, 0), dbias = wml_emit_param_gradient(e, 1);
  if (dkernel >= 0) {
    wml_op *op = wml_emit_op(e, WML_OP_CONV2D_BWD_WEIGHTS);
    op->in[0] = e->in[0];
    op->in[1] = dy;
    op->out[0] = dkernel;
    op->out[1] = dbias;
    op->u.window = window_of(e);
  }
  if (!wml_emit_wants(e, 0)) return;
  wml_op *op = wml_emit_unary(e, WML_OP_CONV2D_BWD_DATA, dy, "dx/", wml_emit_in_shape(e, 0));
  op->in[1] = e->param[0];
  op->u.window = window_of(e);
  wml_emit_gradient(e, 0, op->out[0]);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const conv2d_options *o = c->options;
  const char *kernel = NULL;
  const wml_named_tensor *bias = wml_onnx_param(c, "bias");
  const char *x = wml_onnx_quantized_input(c, 0, true);
  WML_TRY(wml_onnx_kernel(c, true, &kernel));
  const char *b = bias ? wml_onnx_floats(c, bias->name, 1, bias->dim, bias->data) : NULL;
  wml_onnx_window(c, o->kernel_size, o->strides, o->dilation_rate, o->padding);
  wml_onnx_int(c, "group", o->groups);
  x = wml_onnx_node(c, "Conv", (const char *[]){x, kernel, b, NULL});
  return wml_onnx_finish(c, x, true, &o->linear.activation);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const conv2d_options *o = c->options;
  if (o->groups != 1) return wml_tfjs_refuse(c, "convolution in groups");
  wml_tfjs_int(c, "filters", o->filters);
  wml_tfjs_pair(c, "kernel_size", o->kernel_size);
  wml_tfjs_pair(c, "strides", o->strides);
  wml_tfjs_pair(c, "dilation_rate", o->dilation_rate);
  wml_tfjs_padding(c, o->padding);
  wml_tfjs_flag(c, "use_bias", o->linear.use_bias);
  return wml_tfjs_activation(c, &o->linear.activation);
}

const wml_layer_class wml_layer_conv2d = {
    .name = "Conv2D",
    .snake = "conv2d",
    .about = "Slides filters over a picture; each finds one pattern wherever it is.",
    .takes = "an image [height, width, channels]",
    .rank = 3,
    .gives = 3,
    .options_size = sizeof(conv2d_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .assume = assume,
    .quantizes = quantizes,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
