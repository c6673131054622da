/* GlobalAveragePooling2D and GlobalMaxPooling2D: [h, w, c] -> [c], the mean or the greatest value
 * of each channel; with keepdims [1, 1, c]. All places of the greatest value share the gradient.
 * One file, since the two differ in the reduction alone. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct global_options {
  wml_layer_options layer;
  bool keepdims;
} global_options;

/* What tells one class from the other. */
typedef struct reducing {
  wml_reduction reduction;
  bool reads_values; /* the gradient depends on them */
  const char *onnx;
} reducing;

static const reducing mean = {WML_REDUCE_MEAN, false, "GlobalAveragePool"},
                      greatest = {WML_REDUCE_MAX, true, "GlobalMaxPool"};

static const wml_field fields[] = {
    {.key = "keepdims",
     .kind = WML_FIELD_BOOL,
     .offset = offsetof(global_options, keepdims),
     .about = "Whether the result is still an image, of one pixel."},
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static void assume(const void *options, wml_shape *out) {
  if (((const global_options *)options)->keepdims) *out = (wml_shape){3, {1, 1, -1}};
}

static webml_status shape(wml_shaping *s) {
  const global_options *o = s->options;
  int64_t c = s->in[0].dim[2], n = wml_shape_elements(&s->in[0]);
  s->out = o->keepdims ? (wml_shape){3, {1, 1, c}} : (wml_shape){1, {c}};
  if (n > 0) s->flops = (double)n;
  return WEBML_OK;
}

/* ---- a step ---- */

static wml_shape one_pixel(const wml_emission *e) {
  return (wml_shape){3, {1, 1, wml_emit_in_shape(e, 0)->dim[2]}};
}

/* kept: the result as REDUCE gives it. */
static int forward(wml_emission *e) {
  const reducing *r = e->layer->class->member;
  wml_shape pixel = one_pixel(e);
  wml_op *op = wml_emit_unary(e, WML_OP_REDUCE, e->in[0], "pixel/", &pixel);
  op->u.reduction = r->reduction;
  e->kept[0] = op->out[0];
  bool is_pixel = ((const global_options *)e->options)->keepdims;
  return is_pixel ? e->kept[0] : wml_emit_reshape(e, e->kept[0], "out/", &e->node->out);
}

static void backward(wml_emission *e, int dy) {
  const reducing *r = e->layer->class->member;
  wml_shape pixel = one_pixel(e);
  if (!wml_emit_wants(e, 0)) return;
  if (!((const global_options *)e->options)->keepdims)
    dy = wml_emit_reshape(e, dy, "dpixel/", &pixel);
  wml_op *op = wml_emit_unary(e, WML_OP_REDUCE_BWD, dy, "dx/", wml_emit_in_shape(e, 0));
  if (r->reads_values) {
    op->in[1] = e->in[0];
    op->in[2] = e->kept[0];
  }
  op->u.reduction = r->reduction;
  wml_emit_gradient(e, 0, op->out[0]);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const reducing *r = c->layer->class->member;
  const char *x = wml_onnx_unary(c, r->onnx, wml_onnx_input(c, 0, true));
  if (((const global_options *)c->options)->keepdims) return wml_onnx_result(c, x, true);
  return wml_onnx_result(c, wml_onnx_unary(c, "Flatten", x), false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  if (((const global_options *)c->options)->keepdims)
    return wml_tfjs_refuse(c, "global pooling with keepdims");
  return WEBML_OK;
}

#define GLOBAL_POOLING(class_name, snake_name, row, text)                                          \
  {                                                                                                \
    .name = class_name, .snake = snake_name, .about = text,                                        \
    .takes = "an image [height, width, channels]", .rank = 3, .gives = 1, .keeps_range = true,     \
    .member = row, .options_size = sizeof(global_options), .fields = fields,                       \
    .n_fields = sizeof fields / sizeof *fields, .shape = shape, .assume = assume,                  \
    .forward = forward, .backward = backward, .onnx = onnx, .tfjs = tfjs                           \
  }

const wml_layer_class wml_layer_global_average_pooling2d =
    GLOBAL_POOLING("GlobalAveragePooling2D", "global_average_pooling2d", &mean,
                   "Takes the mean of each channel over the whole picture.");
const wml_layer_class wml_layer_global_max_pooling2d =
    GLOBAL_POOLING("GlobalMaxPooling2D", "global_max_pooling2d", &greatest,
                   "Keeps the greatest value of each channel of the whole picture.");
