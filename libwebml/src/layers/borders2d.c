/* ZeroPadding2D: [h, w, c] -> [top + h + bottom, left + w + right, c], zeros around the picture;
 * Cropping2D takes as much away. One file, since each is the other's gradient. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct border_options {
  wml_layer_options layer;
  int border[4]; /* top, bottom, left, right */
} border_options;

static const wml_field padding_fields[] = {
    {.key = "padding",
     .kind = WML_FIELD_BOX,
     .offset = offsetof(border_options, border),
     .low = 0,
     .high = 1024,
     .otherwise = 1,
     .about = "Rows and columns of zeros: one number, [height, width] for both sides, or "
              "[[top, bottom], [left, right]]."},
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field cropping_fields[] = {
    {.key = "cropping",
     .kind = WML_FIELD_BOX,
     .offset = offsetof(border_options, border),
     .low = 0,
     .high = 1024,
     .otherwise = 0,
     .about = "Rows and columns that are cut off: one number, [height, width] for both sides, or "
              "[[top, bottom], [left, right]]."},
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* What tells one class from the other. */
typedef struct bordering {
  wml_op_kind forward, backward;
  int sign;
} bordering;

static const bordering adding = {WML_OP_PAD, WML_OP_CROP, 1},
                       cutting = {WML_OP_CROP, WML_OP_PAD, -1};

static webml_status shape(wml_shaping *s) {
  const border_options *o = s->options;
  const bordering *b = s->layer->class->member;
  char text[WML_SHAPE_TEXT];
  s->out = s->in[0];
  for (int i = 0; i < 2; i++)
    if (s->in[0].dim[i] > 0) s->out.dim[i] += b->sign * (o->border[2 * i] + o->border[2 * i + 1]);
  for (int i = 0; i < 2; i++) {
    if (s->in[0].dim[i] <= 0 || s->out.dim[i] > 0) continue;
    wml_issue(s->issues, s->place, "cropping leaves nothing of the %s of an input of %s",
              i ? "width" : "height", wml_shape_text(&s->in[0], text));
    wml_issue_cure(s->issues, "crop less");
    return WEBML_OK;
  }
  return WEBML_OK;
}

/* ---- a step ---- */

static int move(wml_emission *e, wml_op_kind kind, int x, const char *prefix,
                const wml_shape *shape) {
  const border_options *o = e->options;
  wml_op *op = wml_emit_unary(e, kind, x, prefix, shape);
  for (int i = 0; i < 2; i++) op->u.begin[i + 1] = o->border[2 * i];
  return op->out[0];
}

static int forward(wml_emission *e) {
  const bordering *b = e->layer->class->member;
  return move(e, b->forward, e->in[0], "out/", &e->node->out);
}

static void backward(wml_emission *e, int dy) {
  const bordering *b = e->layer->class->member;
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0, move(e, b->backward, dy, "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

static webml_status onnx_padding(wml_onnx_call *c) {
  const int *b = ((const border_options *)c->options)->border;
  const int64_t pads[] = {0, 0, b[0], b[2], 0, 0, b[1], b[3]};
  const char *x = wml_onnx_input(c, 0, true), *p = wml_onnx_int64s(c, "pads", 8, pads);
  return wml_onnx_result(c, wml_onnx_binary(c, "Pad", x, p), true);
}

static webml_status onnx_cropping(wml_onnx_call *c) {
  const int *b = ((const border_options *)c->options)->border;
  const int64_t *out = c->node->out.dim, from[] = {b[0], b[2]}, axes[] = {2, 3};
  const int64_t to[] = {b[0] + out[0], b[2] + out[1]};
  const char *x = wml_onnx_input(c, 0, true);
  x = wml_onnx_node(c, "Slice",
                    (const char *[]){x, wml_onnx_int64s(c, "starts", 2, from),
                                     wml_onnx_int64s(c, "ends", 2, to),
                                     wml_onnx_int64s(c, "axes", 2, axes), NULL});
  return wml_onnx_result(c, x, true);
}

static webml_status tfjs_border(wml_tfjs_call *c, const char *key) {
  const int *b = ((const border_options *)c->options)->border;
  wml_json_key(c->text, key);
  wml_json_open(c->text, '[');
  for (int i = 0; i < 2; i++) {
    wml_json_open(c->text, '[');
    wml_json_int(c->text, b[2 * i]);
    wml_json_int(c->text, b[2 * i + 1]);
    wml_json_close(c->text, ']');
  }
  wml_json_close(c->text, ']');
  return WEBML_OK;
}

static webml_status tfjs_padding(wml_tfjs_call *c) {
  return tfjs_border(c, "padding");
}
static webml_status tfjs_cropping(wml_tfjs_call *c) {
  return tfjs_border(c, "cropping");
}

#define BORDER(class_name, snake_name, row, list, text, to_onnx, to_tfjs)                          \
  {                                                                                                \
    .name = class_name, .snake = snake_name, .about = text,                                        \
    .takes = "an image [height, width, channels]", .rank = 3, .gives = 3, .keeps_range = true,     \
    .member = row, .options_size = sizeof(border_options), .fields = list,                         \
    .n_fields = sizeof list / sizeof *list, .shape = shape, .forward = forward,                    \
    .backward = backward, .onnx = to_onnx, .tfjs = to_tfjs                                         \
  }

const wml_layer_class wml_layer_zero_padding2d =
    BORDER("ZeroPadding2D", "zero_padding2d", &adding, padding_fields,
           "Puts zeros around a picture.", onnx_padding, tfjs_padding);
const wml_layer_class wml_layer_cropping2d =
    BORDER("Cropping2D", "cropping2d", &cutting, cropping_fields,
           "Cuts rows and columns off the edges of a picture.", onnx_cropping, tfjs_cropping);
