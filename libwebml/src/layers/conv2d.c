/* Conv2D: [h, w, c] -> [oh, ow, filters]. Cross-correlation, kernel [kh, kw, c/groups, filters],
 * then bias, then activation. valid: out = floor((n - ke) / s) + 1, ke = (k - 1) d + 1; same:
 * out = ceil(n / s). */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "layers/convolution.h"

#include <stdio.h>

typedef struct conv2d_options {
  wml_layer_options layer;
  int filters, groups;
  wml_convolution window;
  wml_linear_options linear;
} conv2d_options;

#define AT(member) offsetof(conv2d_options, member)

static const wml_field fields[] = {
    WML_FILTERS_FIELD(conv2d_options, filters),
    WML_KERNEL_SIZE_FIELD(conv2d_options, window),
    WML_STRIDES_FIELD(conv2d_options, window, "How far the filters move between two outputs."),
    WML_PADDING_FIELD(conv2d_options, window.padding),
    WML_DILATION_RATE_FIELD(conv2d_options, window),
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

static webml_status add_params(wml_shaping *s, const conv2d_options *o) {
  const int *k = o->window.kernel_size;
  WML_TRY(
      wml_shaping_param(s, "kernel",
                        (wml_param){.rank = 4,
                                    .dim = {k[0], k[1], s->in[0].dim[2] / o->groups, o->filters},
                                    .initializer = o->linear.kernel_initializer,
                                    .regularizer = o->linear.kernel_regularizer,
                                    .constraint = o->linear.kernel_constraint}));
  return wml_convolution_bias(s, &o->linear, o->filters);
}

static webml_status shape(wml_shaping *s) {
  const conv2d_options *o = s->options;
  int before = s->issues->count;
  const int *k = o->window.kernel_size;
  int64_t c = s->in[0].dim[2], *out = s->out.dim;
  wml_convolution_shape(s, &o->window);
  check_groups(c, o->filters, o->groups, s->place, s->issues);
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
  return wml_convolution_window(&o->window, wml_emit_in_shape(e, 0), o->groups);
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
  wml_window window = window_of(e);
  int pre = wml_emit_convolution(e, e->in[0], 0, 1, &window, "pre/", &shape);
  return wml_emit_activation(e, pre, &o->linear.activation);
}

static void backward(wml_emission *e, int dy) {
  const conv2d_options *o = e->options;
  wml_window window = window_of(e);
  dy = wml_emit_activation_backward(e, dy, &o->linear.activation);
  wml_emit_convolution_weights(e, e->in[0], dy, 0, 1, &window);
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0,
                      wml_emit_convolution_data(e, dy, 0, &window, "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const conv2d_options *o = c->options;
  const char *kernel = NULL;
  const wml_named_tensor *bias = wml_onnx_param(c, "bias");
  const char *x = wml_onnx_quantized_input(c, 0, true);
  WML_TRY(wml_onnx_kernel(c, true, &kernel));
  const char *b = bias ? wml_onnx_floats(c, bias->name, 1, bias->dim, bias->data) : NULL;
  wml_onnx_window(c, o->window.kernel_size, o->window.strides, o->window.dilation_rate,
                  o->window.padding);
  wml_onnx_int(c, "group", o->groups);
  x = wml_onnx_node(c, "Conv", (const char *[]){x, kernel, b, NULL});
  return wml_onnx_finish(c, x, true, &o->linear.activation);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const conv2d_options *o = c->options;
  if (o->groups != 1) return wml_tfjs_refuse(c, "convolution in groups");
  wml_tfjs_int(c, "filters", o->filters);
  wml_tfjs_pair(c, "kernel_size", o->window.kernel_size);
  wml_tfjs_pair(c, "strides", o->window.strides);
  wml_tfjs_pair(c, "dilation_rate", o->window.dilation_rate);
  wml_tfjs_padding(c, o->window.padding);
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
