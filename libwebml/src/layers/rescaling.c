/* Rescaling: y = scale * x + offset. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct rescaling_options {
  wml_layer_options layer;
  float scale, offset;
} rescaling_options;

static const wml_field fields[] = {
    {.key = "scale",
     .kind = WML_FIELD_FLOAT,
     .offset = offsetof(rescaling_options, scale),
     .low = -1e9,
     .high = 1e9,
     .suggested = 2,
     .required = true,
     .about = "The factor. Pictures come in with values from 0 to 1."},
    {.key = "offset",
     .kind = WML_FIELD_FLOAT,
     .offset = offsetof(rescaling_options, offset),
     .low = -1e9,
     .high = 1e9,
     .about = "What is added then."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  int64_t n = wml_shape_elements(&s->in[0]);
  s->out = s->in[0];
  if (n > 0) s->flops = 2.0 * (double)n;
  return WEBML_OK;
}

static int affine(wml_emission *e, int x, const char *prefix, float offset) {
  wml_op *op = wml_emit_unary(e, WML_OP_AFFINE, x, prefix, &e->node->out);
  op->u.affine.scale = ((const rescaling_options *)e->options)->scale;
  op->u.affine.offset = offset;
  return op->out[0];
}

static int forward(wml_emission *e) {
  return affine(e, e->in[0], "out/", ((const rescaling_options *)e->options)->offset);
}

static void backward(wml_emission *e, int dy) {
  if (wml_emit_wants(e, 0)) wml_emit_gradient(e, 0, affine(e, dy, "dx/", 0.0f));
}

/* In whichever layout the value is. */
static webml_status onnx(wml_onnx_call *c) {
  const rescaling_options *o = c->options;
  bool nchw = c->in[0].nchw;
  const char *x = wml_onnx_input(c, 0, nchw);
  x = wml_onnx_binary(c, "Mul", x, wml_onnx_scalar(c, o->scale));
  return wml_onnx_result(c, wml_onnx_binary(c, "Add", x, wml_onnx_scalar(c, o->offset)), nchw);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const rescaling_options *o = c->options;
  wml_tfjs_number(c, "scale", (double)o->scale);
  wml_tfjs_number(c, "offset", (double)o->offset);
  return WEBML_OK;
}

const wml_layer_class wml_layer_rescaling = {
    .name = "Rescaling",
    .snake = "rescaling",
    .about = "Multiplies all values by a number and adds another.",
    .options_size = sizeof(rescaling_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
