/* RepeatVector: [features] -> [n, features], the same row n times. Going forward is the gradient of
 * a sum over n, going backward is that sum. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct repeat_options {
  wml_layer_options layer;
  int n;
} repeat_options;

static const wml_field fields[] = {
    {.key = "n",
     .kind = WML_FIELD_INT,
     .offset = offsetof(repeat_options, n),
     .low = 1,
     .high = 1 << 16,
     .suggested = 2,
     .required = true,
     .about = "How many times the row is repeated."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  s->out = (wml_shape){2, {((const repeat_options *)s->options)->n, s->in[0].dim[0]}};
  return WEBML_OK;
}

static void assume(const void *options, wml_shape *out) {
  out->dim[0] = ((const repeat_options *)options)->n;
}

/* ---- a step ---- */

static wml_shape one_row(const wml_emission *e) {
  return (wml_shape){2, {1, e->node->out.dim[1]}};
}

static int forward(wml_emission *e) {
  wml_shape row = one_row(e);
  int x = wml_emit_reshape(e, e->in[0], "row/", &row);
  wml_op *op = wml_emit_unary(e, WML_OP_REDUCE_BWD, x, "out/", &e->node->out);
  op->u.reduction = WML_REDUCE_SUM;
  return op->out[0];
}

static void backward(wml_emission *e, int dy) {
  wml_shape row = one_row(e);
  if (!wml_emit_wants(e, 0)) return;
  wml_op *op = wml_emit_unary(e, WML_OP_REDUCE, dy, "drow/", &row);
  op->u.reduction = WML_REDUCE_SUM;
  wml_emit_gradient(e, 0, wml_emit_reshape(e, op->out[0], "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const wml_shape row = {2, {1, c->node->out.dim[1]}};
  const int64_t repeats[] = {1, ((const repeat_options *)c->options)->n, 1};
  const char *x = wml_onnx_reshape(c, wml_onnx_input(c, 0, false), &row);
  x = wml_onnx_binary(c, "Tile", x, wml_onnx_int64s(c, "repeats", 3, repeats));
  return wml_onnx_result(c, x, false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  wml_tfjs_int(c, "n", ((const repeat_options *)c->options)->n);
  return WEBML_OK;
}

const wml_layer_class wml_layer_repeat_vector = {.name = "RepeatVector",
                                                 .snake = "repeat_vector",
                                                 .about = "Repeats a row of numbers.",
                                                 .takes = "a row [features]",
                                                 .rank = 1,
                                                 .gives = 2,
                                                 .keeps_range = true,
                                                 .options_size = sizeof(repeat_options),
                                                 .fields = fields,
                                                 .n_fields = sizeof fields / sizeof *fields,
                                                 .shape = shape,
                                                 .assume = assume,
                                                 .forward = forward,
                                                 .backward = backward,
                                                 .onnx = onnx,
                                                 .tfjs = tfjs};
