/* DepthwiseConv2D: [h, w, c] -> [oh, ow, c * depth_multiplier]: each channel has filters of its
 * own. Kernel [kh, kw, c, depth_multiplier] as in Keras, which as it lies is the kernel [kh, kw, 1,
 * c * depth_multiplier] of a convolution in c groups; then bias, then activation. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "layers/convolution.h"

typedef struct depthwise_options {
  wml_layer_options layer;
  int depth_multiplier;
  wml_convolution window;
  wml_linear_options linear; /* kernel: the depthwise one */
} depthwise_options;

static const wml_field fields[] = {
    WML_KERNEL_SIZE_FIELD(depthwise_options, window),
    WML_STRIDES_FIELD(depthwise_options, window, "How far the filters move between two outputs."),
    WML_PADDING_FIELD(depthwise_options, window.padding),
    WML_DEPTH_MULTIPLIER_FIELD(depthwise_options, depth_multiplier),
    WML_DILATION_RATE_FIELD(depthwise_options, window),
    WML_ACTIVATION_FIELD(depthwise_options, linear.activation),
    WML_USE_BIAS_FIELD(depthwise_options, linear.use_bias),
    WML_INITIALIZER_FIELD("depthwise", depthwise_options, linear.kernel_initializer,
                          "glorot_uniform", "How the weights are set before training."),
    WML_INITIALIZER_FIELD("bias", depthwise_options, linear.bias_initializer, "zeros",
                          "How the biases are set before training."),
    WML_REGULARIZER_FIELD("depthwise", depthwise_options, linear.kernel_regularizer,
                          "A penalty on large weights that is added to the loss."),
    WML_REGULARIZER_FIELD("bias", depthwise_options, linear.bias_regularizer,
                          "A penalty on large biases that is added to the loss."),
    WML_CONSTRAINT_FIELD("depthwise", depthwise_options, linear.kernel_constraint,
                         "What the weights must keep to after each update."),
    WML_CONSTRAINT_FIELD("bias", depthwise_options, linear.bias_constraint,
                         "What the biases must keep to after each update."),
    WML_CHANNELS_LAST_FIELD,
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  const depthwise_options *o = s->options;
  const int *k = o->window.kernel_size;
  int64_t c = s->in[0].dim[2], m = o->depth_multiplier, filters = c * m;
  int before = s->issues->count;
  wml_convolution_shape(s, &o->window);
  if (c <= 0 || s->issues->count > before) return WEBML_OK;
  s->out.dim[2] = filters;
  int64_t n = wml_shape_elements(&s->out);
  if (n > 0) s->flops = (double)n * (2 * k[0] * k[1] + o->linear.use_bias);
  WML_TRY(wml_shaping_param(s, "kernel",
                            (wml_param){.rank = 4,
                                        .dim = {k[0], k[1], c, m},
                                        .seen_rank = 4,
                                        .seen_dim = {k[0], k[1], 1, filters},
                                        .initializer = o->linear.kernel_initializer,
                                        .regularizer = o->linear.kernel_regularizer,
                                        .constraint = o->linear.kernel_constraint}));
  return wml_convolution_bias(s, &o->linear, filters);
}

/* ---- a step ---- */

static wml_window window_of(const wml_emission *e) {
  const depthwise_options *o = e->options;
  const wml_shape *in = wml_emit_in_shape(e, 0);
  return wml_convolution_window(&o->window, in, (int)in->dim[2]);
}

static int forward(wml_emission *e) {
  const depthwise_options *o = e->options;
  wml_shape shape = e->node->out;
  shape.dim[2] = wml_emit_in_shape(e, 0)->dim[2] * o->depth_multiplier; /* glu gives half of it */
  wml_window window = window_of(e);
  int pre = wml_emit_convolution(e, e->in[0], 0, 1, &window, "pre/", &shape);
  return wml_emit_activation(e, pre, &o->linear.activation);
}

static void backward(wml_emission *e, int dy) {
  const depthwise_options *o = e->options;
  wml_window window = window_of(e);
  dy = wml_emit_activation_backward(e, dy, &o->linear.activation);
  wml_emit_convolution_weights(e, e->in[0], dy, 0, 1, &window);
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0,
                      wml_emit_convolution_data(e, dy, 0, &window, "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const depthwise_options *o = c->options;
  const int *k = o->window.kernel_size;
  const wml_named_tensor *bias = wml_onnx_param(c, "bias");
  int64_t channels = wml_onnx_shape(c, 0)->dim[2];
  const int64_t hwio[] = {k[0], k[1], 1, channels * o->depth_multiplier};
  const char *kernel = NULL, *x = wml_onnx_input(c, 0, true);
  WML_TRY(wml_onnx_turned(c, "kernel", hwio, &kernel));
  const char *b = bias ? wml_onnx_floats(c, bias->name, 1, bias->dim, bias->data) : NULL;
  wml_onnx_window(c, k, o->window.strides, o->window.dilation_rate, o->window.padding);
  wml_onnx_int(c, "group", channels);
  x = wml_onnx_node(c, "Conv", (const char *[]){x, kernel, b, NULL});
  return wml_onnx_finish(c, x, true, &o->linear.activation);
}

/* TensorFlow.js reads the dilation of a depthwise layer, but computes without it. */
static webml_status tfjs(wml_tfjs_call *c) {
  const depthwise_options *o = c->options;
  const int *dilation = o->window.dilation_rate;
  if (dilation[0] > 1 || dilation[1] > 1) return wml_tfjs_refuse(c, "dilated depthwise layer");
  wml_tfjs_pair(c, "kernel_size", o->window.kernel_size);
  wml_tfjs_pair(c, "strides", o->window.strides);
  wml_tfjs_int(c, "depth_multiplier", o->depth_multiplier);
  wml_tfjs_padding(c, o->window.padding);
  wml_tfjs_flag(c, "use_bias", o->linear.use_bias);
  return wml_tfjs_activation(c, &o->linear.activation);
}

const wml_layer_class wml_layer_depthwise_conv2d = {
    .name = "DepthwiseConv2D",
    .snake = "depthwise_conv2d",
    .about = "Slides filters over each channel of a picture by itself.",
    .takes = "an image [height, width, channels]",
    .rank = 3,
    .gives = 3,
    .options_size = sizeof(depthwise_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs,
    .tfjs_kernel = "depthwise_kernel"};
