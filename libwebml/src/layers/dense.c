/* Dense: [.., in] -> [.., units]: x kernel + bias over the last axis, then activation. units null
 * is open until the model is shaped to a data set. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct dense_options {
  wml_layer_options layer;
  int units; /* 0: open */
  wml_linear_options linear;
} dense_options;

static const wml_field fields[] = {
    {.key = "units",
     .kind = WML_FIELD_INT,
     .offset = offsetof(dense_options, units),
     .low = 1,
     .high = 1 << 24,
     .suggested = 64,
     .required = true,
     .nullable = true,
     .about = "The number of outputs; null, in the last Dense: as many as the data set has."},
    WML_LINEAR_FIELDS(dense_options, linear),
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status add_params(wml_shaping *s, const dense_options *o, int64_t in) {
  WML_TRY(wml_shaping_param(s, "kernel",
                            (wml_param){.rank = 2,
                                        .dim = {in, o->units},
                                        .initializer = o->linear.kernel_initializer,
                                        .regularizer = o->linear.kernel_regularizer,
                                        .constraint = o->linear.kernel_constraint}));
  if (!o->linear.use_bias) return WEBML_OK;
  return wml_shaping_param(s, "bias",
                           (wml_param){.rank = 1,
                                       .dim = {o->units},
                                       .initializer = o->linear.bias_initializer,
                                       .regularizer = o->linear.bias_regularizer,
                                       .constraint = o->linear.bias_constraint});
}

static webml_status shape(wml_shaping *s) {
  const dense_options *o = s->options;
  int64_t in = s->in[0].dim[s->in[0].rank - 1], units = o->units;
  if (in <= 0 || units == 0) return WEBML_OK;
  if (in * units > (int64_t)1 << 31) {
    wml_issue(s->issues, s->place, "a kernel of %lld x %lld is too large (at most 2^31 weights)",
              (long long)in, (long long)units);
    wml_issue_cure(s->issues,
                   "use fewer units, or make the picture smaller by MaxPooling2D before");
    return WEBML_OK;
  }
  int64_t rows = wml_shape_elements(&s->in[0]) / in;
  if (rows > 0) s->flops = (double)rows * (double)units * (double)(2 * in + o->linear.use_bias);
  return add_params(s, o, in);
}

static void assume(const void *options, wml_shape *out) {
  int units = ((const dense_options *)options)->units;
  out->dim[out->rank - 1] = units > 0 ? units : -1;
}

static bool quantizes(const void *options) {
  (void)options;
  return true;
}

/* ---- a step ---- */

static int forward(wml_emission *e) {
  const dense_options *o = e->options;
  wml_shape shape = e->node->out;
  shape.dim[shape.rank - 1] = o->units; /* glu gives half of it */
  wml_op *op = wml_emit_unary(e, WML_OP_DENSE, e->in[0], "pre/", &shape);
  op->in[1] = e->param[0];
  op->in[2] = e->param[1];
  return wml_emit_activation(e, op->out[0], &o->linear.activation);
}

static void backward(wml_emission *e, int dy) {
  const dense_options *o = e->options;
  dy = wml_emit_activation_backward(e, dy, &o->linear.activation);
  int dkernel = wml_emit_param_gradient(e, 0), dbias = wml_emit_param_gradient(e, 1);
  if (dkernel >= 0) {
    wml_op *op = wml_emit_op(e, WML_OP_DENSE_BWD_WEIGHTS);
    op->in[0] = e->in[0];
    op->in[1] = dy;
    op->out[0] = dkernel;
    op->out[1] = dbias;
  }
  if (!wml_emit_wants(e, 0)) return;
  wml_op *op = wml_emit_unary(e, WML_OP_DENSE_BWD_DATA, dy, "dx/", wml_emit_in_shape(e, 0));
  op->in[1] = e->param[0];
  wml_emit_gradient(e, 0, op->out[0]);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const dense_options *o = c->options;
  const wml_named_tensor *bias = wml_onnx_param(c, "bias");
  const char *kernel = NULL, *x = wml_onnx_quantized_input(c, 0, false);
  WML_TRY(wml_onnx_kernel(c, false, &kernel));
  x = wml_onnx_binary(c, "MatMul", x, kernel);
  if (bias)
    x = wml_onnx_binary(c, "Add", x, wml_onnx_floats(c, bias->name, 1, bias->dim, bias->data));
  return wml_onnx_finish(c, x, false, &o->linear.activation);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const dense_options *o = c->options;
  wml_tfjs_int(c, "units", o->units);
  wml_tfjs_flag(c, "use_bias", o->linear.use_bias);
  return wml_tfjs_activation(c, &o->linear.activation);
}

const wml_layer_class wml_layer_dense = {.name = "Dense",
                                         .snake = "dense",
                                         .about = "Connects every input with every output.",
                                         .options_size = sizeof(dense_options),
                                         .fields = fields,
                                         .n_fields = sizeof fields / sizeof *fields,
                                         .shape = shape,
                                         .assume = assume,
                                         .quantizes = quantizes,
                                         .forward = forward,
                                         .backward = backward,
                                         .onnx = onnx,
                                         .tfjs = tfjs};
