/* Flatten: [h, w, c] -> [h * w * c], row-major. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

static const wml_field fields[] = {
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  s->out = (wml_shape){1, {wml_shape_elements(&s->in[0])}};
  s->out_dtype = s->dtype;
  return WEBML_OK;
}

static int forward(wml_emission *e) {
  return wml_emit_reshape(e, e->in[0], "out/", &e->node->out);
}

static void backward(wml_emission *e, int dy) {
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0, wml_emit_reshape(e, dy, "dx/", wml_emit_in_shape(e, 0)));
}

static webml_status onnx(wml_onnx_call *c) {
  const char *x = wml_onnx_input(c, 0, false);
  wml_onnx_int(c, "axis", 1);
  return wml_onnx_result(c, wml_onnx_unary(c, "Flatten", x), false);
}

const wml_layer_class wml_layer_flatten = {
    .name = "Flatten",
    .snake = "flatten",
    .about = "Makes one row of numbers of a picture; dense layers read rows.",
    .gives = 1,
    .takes_any_type = true,
    .hands_on = true,
    .keeps_range = true,
    .options_size = sizeof(wml_layer_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = wml_tfjs_nothing};
