/* SeparableConv2D: [h, w, c] -> [oh, ow, filters]. A depthwise convolution with depth_multiplier
 * filters for each channel, then a convolution of 1 x 1 that mixes the channels, then bias, then
 * activation. depthwise_kernel [kh, kw, c, m], pointwise_kernel [1, 1, c * m, filters]. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "layers/convolution.h"

typedef struct separable_options {
  wml_layer_options layer;
  int filters, depth_multiplier;
  wml_convolution window;
  wml_linear_options linear; /* kernel: the pointwise one */
  wml_initializer depthwise_initializer;
  wml_regularizer depthwise_regularizer;
  wml_constraint depthwise_constraint;
} separable_options;

static const wml_field fields[] = {
    WML_FILTERS_FIELD(separable_options, filters),
    WML_KERNEL_SIZE_FIELD(separable_options, window),
    WML_STRIDES_FIELD(separable_options, window, "How far the filters move between two outputs."),
    WML_PADDING_FIELD(separable_options, window.padding),
    WML_DILATION_RATE_FIELD(separable_options, window),
    WML_DEPTH_MULTIPLIER_FIELD(separable_options, depth_multiplier),
    WML_ACTIVATION_FIELD(separable_options, linear.activation),
    WML_USE_BIAS_FIELD(separable_options, linear.use_bias),
    WML_INITIALIZER_FIELD("depthwise", separable_options, depthwise_initializer, "glorot_uniform",
                          "How the weights of each channel are set before training."),
    WML_INITIALIZER_FIELD("pointwise", separable_options, linear.kernel_initializer,
                          "glorot_uniform", "How the mixing weights are set before training."),
    WML_INITIALIZER_FIELD("bias", separable_options, linear.bias_initializer, "zeros",
                          "How the biases are set before training."),
    WML_REGULARIZER_FIELD("depthwise", separable_options, depthwise_regularizer,
                          "A penalty on large weights of each channel."),
    WML_REGULARIZER_FIELD("pointwise", separable_options, linear.kernel_regularizer,
                          "A penalty on large mixing weights."),
    WML_REGULARIZER_FIELD("bias", separable_options, linear.bias_regularizer,
                          "A penalty on large biases that is added to the loss."),
    WML_CONSTRAINT_FIELD("depthwise", separable_options, depthwise_constraint,
                         "What the weights of each channel must keep to after each update."),
    WML_CONSTRAINT_FIELD("pointwise", separable_options, linear.kernel_constraint,
                         "What the mixing weights must keep to after each update."),
    WML_CONSTRAINT_FIELD("bias", separable_options, linear.bias_constraint,
                         "What the biases must keep to after each update."),
    WML_CHANNELS_LAST_FIELD,
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

enum { DEPTHWISE, POINTWISE, BIAS };

static webml_status add_params(wml_shaping *s, const separable_options *o) {
  const int *k = o->window.kernel_size;
  int64_t c = s->in[0].dim[2], m = o->depth_multiplier;
  WML_TRY(wml_shaping_param(s, "depthwise_kernel",
                            (wml_param){.rank = 4,
                                        .dim = {k[0], k[1], c, m},
                                        .seen_rank = 4,
                                        .seen_dim = {k[0], k[1], 1, c * m},
                                        .initializer = o->depthwise_initializer,
                                        .regularizer = o->depthwise_regularizer,
                                        .constraint = o->depthwise_constraint}));
  WML_TRY(wml_shaping_param(s, "pointwise_kernel",
                            (wml_param){.rank = 4,
                                        .dim = {1, 1, c * m, o->filters},
                                        .initializer = o->linear.kernel_initializer,
                                        .regularizer = o->linear.kernel_regularizer,
                                        .constraint = o->linear.kernel_constraint}));
  return wml_convolution_bias(s, &o->linear, o->filters);
}

static webml_status shape(wml_shaping *s) {
  const separable_options *o = s->options;
  const int *k = o->window.kernel_size;
  int64_t c = s->in[0].dim[2], m = o->depth_multiplier;
  int before = s->issues->count;
  wml_convolution_shape(s, &o->window);
  if (c <= 0 || s->issues->count > before) return WEBML_OK;
  if (wml_shape_elements(&s->out) > 0)
    s->flops = (double)(s->out.dim[0] * s->out.dim[1]) *
               ((double)(2 * k[0] * k[1] * c * m) +
                (double)(o->filters * (2 * c * m + o->linear.use_bias)));
  return add_params(s, o);
}

static void assume(const void *options, wml_shape *out) {
  const separable_options *o = options;
  if (o->filters > 0) out->dim[2] = o->filters;
}

/* ---- a step ---- */

static wml_window depthwise_window(const wml_emission *e) {
  const separable_options *o = e->options;
  const wml_shape *in = wml_emit_in_shape(e, 0);
  return wml_convolution_window(&o->window, in, (int)in->dim[2]);
}

static const wml_window pointwise_window = {
    .size = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};

/* Between the two convolutions. */
static wml_shape middle_shape(const wml_emission *e) {
  const separable_options *o = e->options;
  wml_shape shape = e->node->out;
  shape.dim[2] = wml_emit_in_shape(e, 0)->dim[2] * o->depth_multiplier;
  return shape;
}

/* kept: what lies between the two. */
static int forward(wml_emission *e) {
  const separable_options *o = e->options;
  wml_window window = depthwise_window(e);
  wml_shape middle = middle_shape(e), shape = e->node->out;
  shape.dim[2] = o->filters; /* glu gives half of it */
  e->kept[0] = wml_emit_convolution(e, e->in[0], DEPTHWISE, -1, &window, "middle/", &middle);
  int pre = wml_emit_convolution(e, e->kept[0], POINTWISE, BIAS, &pointwise_window, "pre/", &shape);
  return wml_emit_activation(e, pre, &o->linear.activation);
}

static void backward(wml_emission *e, int dy) {
  const separable_options *o = e->options;
  wml_window window = depthwise_window(e);
  wml_shape middle = middle_shape(e);
  dy = wml_emit_activation_backward(e, dy, &o->linear.activation);
  wml_emit_convolution_weights(e, e->kept[0], dy, POINTWISE, BIAS, &pointwise_window);
  if (!wml_emit_wants(e, 0) && !e->layer->params[DEPTHWISE].trainable) return;
  int dmiddle = wml_emit_convolution_data(e, dy, POINTWISE, &pointwise_window, "dmiddle/", &middle);
  wml_emit_convolution_weights(e, e->in[0], dmiddle, DEPTHWISE, -1, &window);
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(
        e, 0,
        wml_emit_convolution_data(e, dmiddle, DEPTHWISE, &window, "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const separable_options *o = c->options;
  const int *k = o->window.kernel_size;
  const wml_named_tensor *bias = wml_onnx_param(c, "bias");
  int64_t channels = wml_onnx_shape(c, 0)->dim[2], between = channels * o->depth_multiplier;
  const int64_t depthwise[] = {k[0], k[1], 1, between}, pointwise[] = {1, 1, between, o->filters};
  const char *kernel = NULL, *x = wml_onnx_input(c, 0, true);
  WML_TRY(wml_onnx_turned(c, "depthwise_kernel", depthwise, &kernel));
  wml_onnx_window(c, k, o->window.strides, o->window.dilation_rate, o->window.padding);
  wml_onnx_int(c, "group", channels);
  x = wml_onnx_binary(c, "Conv", x, kernel);
  WML_TRY(wml_onnx_turned(c, "pointwise_kernel", pointwise, &kernel));
  const char *b = bias ? wml_onnx_floats(c, bias->name, 1, bias->dim, bias->data) : NULL;
  x = wml_onnx_node(c, "Conv", (const char *[]){x, kernel, b, NULL});
  return wml_onnx_finish(c, x, true, &o->linear.activation);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const separable_options *o = c->options;
  wml_tfjs_int(c, "filters", o->filters);
  wml_tfjs_pair(c, "kernel_size", o->window.kernel_size);
  wml_tfjs_pair(c, "strides", o->window.strides);
  wml_tfjs_pair(c, "dilation_rate", o->window.dilation_rate);
  wml_tfjs_int(c, "depth_multiplier", o->depth_multiplier);
  wml_tfjs_padding(c, o->window.padding);
  wml_tfjs_flag(c, "use_bias", o->linear.use_bias);
  return wml_tfjs_activation(c, &o->linear.activation);
}

const wml_layer_class wml_layer_separable_conv2d = {
    .name = "SeparableConv2D",
    .snake = "separable_conv2d",
    .about = "Slides filters over each channel by itself, then mixes the channels of each pixel.",
    .takes = "an image [height, width, channels]",
    .rank = 3,
    .gives = 3,
    .options_size = sizeof(separable_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .assume = assume,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
