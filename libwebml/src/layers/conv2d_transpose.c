/* Conv2DTranspose: [h, w, c] -> [oh, ow, filters], the gradient of a convolution from the result
 * back to the input; kernel [kh, kw, filters, c], then bias, then activation. Size as in Keras:
 * valid: n s + max(k - s, 0); same: n s; with output_padding p: (n - 1) s + k - 2 q + p, q = k / 2
 * rounded down for same and 0 for valid. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "layers/convolution.h"

typedef struct transpose_options {
  wml_layer_options layer;
  int filters, output_padding[2]; /* -1: by Keras's rule */
  wml_convolution window;
  wml_linear_options linear;
} transpose_options;

static const wml_field fields[] = {
    WML_FILTERS_FIELD(transpose_options, filters),
    WML_KERNEL_SIZE_FIELD(transpose_options, window),
    WML_STRIDES_FIELD(transpose_options, window, "How many times larger the picture becomes."),
    WML_PADDING_FIELD(transpose_options, window.padding),
    {.key = "output_padding",
     .kind = WML_FIELD_PAIR,
     .offset = offsetof(transpose_options, output_padding),
     .low = 0,
     .high = 63,
     .otherwise = -1,
     .nullable = true,
     .about = "How many rows and columns are added below and to the right; null: as they come."},
    {.key = "dilation_rate",
     .kind = WML_FIELD_PAIR,
     .offset = offsetof(transpose_options, window.dilation_rate),
     .low = 1,
     .high = 1,
     .otherwise = 1,
     .about = "The distance of the pixels that a filter writes to: 1."},
    WML_LINEAR_FIELDS(transpose_options, linear),
    WML_CHANNELS_LAST_FIELD,
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static int64_t output_size(const transpose_options *o, int i, int64_t n) {
  int k = o->window.kernel_size[i], s = o->window.strides[i], p = o->output_padding[i];
  bool same = o->window.padding == WML_PADDING_SAME;
  if (p >= 0) return (n - 1) * s + k - (same ? 2 * (k / 2) : 0) + p;
  return n * s + (!same && k > s ? k - s : 0);
}

/* The convolution back from the output has the input's size, else there is no such gradient. */
static void check_result(const wml_shaping *s, const transpose_options *o) {
  for (int i = 0; i < 2; i++) {
    int64_t n = s->in[0].dim[i], out = s->out.dim[i];
    const wml_convolution *w = &o->window;
    if (n <= 0 ||
        (out > 0 && wml_window_output(out, w->kernel_size[i], w->strides[i], 1, w->padding) == n))
      continue;
    wml_issue(s->issues, s->place,
              "output_padding %d does not go with kernel_size %d and strides %d: it must be below "
              "the strides and give an output that the filters fill",
              o->output_padding[i], w->kernel_size[i], w->strides[i]);
    wml_issue_cure(s->issues, "set output_padding to null");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "output_padding", "null");
    return;
  }
}

static webml_status shape(wml_shaping *s) {
  const transpose_options *o = s->options;
  const int *k = o->window.kernel_size;
  const wml_shape *in = &s->in[0];
  int before = s->issues->count;
  for (int i = 0; i < 2; i++)
    if (in->dim[i] > 0) s->out.dim[i] = output_size(o, i, in->dim[i]);
  check_result(s, o);
  if (in->dim[2] <= 0 || s->issues->count > before) return WEBML_OK;
  int64_t n = wml_shape_elements(in), out = wml_shape_elements(&s->out);
  if (n > 0 && out > 0)
    s->flops = 2.0 * (double)n * k[0] * k[1] * o->filters + (o->linear.use_bias ? (double)out : 0);
  WML_TRY(wml_shaping_param(s, "kernel",
                            (wml_param){.rank = 4,
                                        .dim = {k[0], k[1], o->filters, in->dim[2]},
                                        .initializer = o->linear.kernel_initializer,
                                        .regularizer = o->linear.kernel_regularizer,
                                        .constraint = o->linear.kernel_constraint}));
  return wml_convolution_bias(s, &o->linear, o->filters);
}

static void assume(const void *options, wml_shape *out) {
  const transpose_options *o = options;
  if (o->filters > 0) out->dim[2] = o->filters;
}

/* ---- a step ---- */

/* Before the activation: glu's is twice as wide. */
static wml_shape pre_shape(const wml_emission *e) {
  wml_shape shape = e->node->out;
  shape.dim[2] = ((const transpose_options *)e->options)->filters;
  return shape;
}

/* Of the convolution back from the result. */
static wml_window window_of(const wml_emission *e) {
  wml_shape shape = pre_shape(e);
  return wml_convolution_window(&((const transpose_options *)e->options)->window, &shape, 1);
}

static int forward(wml_emission *e) {
  const transpose_options *o = e->options;
  wml_shape shape = pre_shape(e);
  wml_window window = window_of(e);
  int y = wml_emit_convolution_data(e, e->in[0], 0, &window, "sums/", &shape);
  if (o->linear.use_bias) y = wml_emit_binary(e, WML_BINARY_ADD, y, e->param[1], "pre/", &shape);
  return wml_emit_activation(e, y, &o->linear.activation);
}

static void backward(wml_emission *e, int dy) {
  const transpose_options *o = e->options;
  wml_window window = window_of(e);
  dy = wml_emit_activation_backward(e, dy, &o->linear.activation);
  wml_emit_convolution_weights(e, dy, e->in[0], 0, -1, &window);
  int dbias = o->linear.use_bias ? wml_emit_param_gradient(e, 1) : -1;
  if (dbias >= 0) {
    wml_op *op = wml_emit_op(e, WML_OP_BINARY_BWD);
    op->in[0] = dy;
    op->out[1] = dbias;
    op->u.binary = WML_BINARY_ADD;
  }
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0,
                      wml_emit_convolution(e, dy, 0, -1, &window, "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

/* ONNX's output is (n - 1) s + k - pads + output_padding; our pads are those of the convolution
 * back. */
static webml_status onnx(wml_onnx_call *c) {
  const transpose_options *o = c->options;
  const wml_convolution *w = &o->window;
  const wml_shape *in = wml_onnx_shape(c, 0);
  const wml_named_tensor *k = wml_onnx_param(c, "kernel"), *bias = wml_onnx_param(c, "bias");
  const char *kernel = NULL, *x = wml_onnx_input(c, 0, true);
  wml_shape shape = c->node->out;
  int beyond[2];
  WML_TRY(wml_onnx_turned(c, "kernel", k->dim, &kernel));
  const char *b = bias ? wml_onnx_floats(c, bias->name, 1, bias->dim, bias->data) : NULL;
  for (int i = 0; i < 2; i++) {
    int before, after;
    wml_window_pads(shape.dim[i], w->kernel_size[i], w->strides[i], 1, w->padding, &before, &after);
    beyond[i] =
        (int)(shape.dim[i] - (in->dim[i] - 1) * w->strides[i] - w->kernel_size[i]) + before + after;
  }
  wml_onnx_window_over(c, &shape, w->kernel_size, w->strides, NULL, w->padding);
  wml_onnx_ints(c, "output_padding", 2, beyond);
  x = wml_onnx_node(c, "ConvTranspose", (const char *[]){x, kernel, b, NULL});
  return wml_onnx_finish(c, x, true, &o->linear.activation);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const transpose_options *o = c->options;
  if (o->output_padding[0] >= 0)
    return wml_tfjs_refuse(c, "transposed convolution with output_padding");
  wml_tfjs_int(c, "filters", o->filters);
  wml_tfjs_pair(c, "kernel_size", o->window.kernel_size);
  wml_tfjs_pair(c, "strides", o->window.strides);
  wml_tfjs_padding(c, o->window.padding);
  wml_tfjs_flag(c, "use_bias", o->linear.use_bias);
  return wml_tfjs_activation(c, &o->linear.activation);
}

const wml_layer_class wml_layer_conv2d_transpose = {
    .name = "Conv2DTranspose",
    .snake = "conv2d_transpose",
    .about = "Paints a larger picture with filters, one for each pixel that it reads.",
    .takes = "an image [height, width, channels]",
    .rank = 3,
    .gives = 3,
    .options_size = sizeof(transpose_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .assume = assume,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
