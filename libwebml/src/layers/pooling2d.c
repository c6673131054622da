/* MaxPooling2D and AveragePooling2D: [h, w, c] -> [oh, ow, c], the greatest value or the mean of a
 * window. Padding never wins and is not counted; the first maximum in row-major order takes the
 * gradient. One file, since the two differ in the operation alone. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "layers/window.h"
#include "plan/emission.h"

typedef struct pool_options {
  wml_layer_options layer;
  int pool_size[2], strides[2]; /* strides 0: the pool size */
  wml_padding padding;
} pool_options;

/* What tells one class from the other. */
typedef struct pooling {
  wml_op_kind forward, backward;
  bool keeps_winners; /* the gradient needs to know which element won */
  const char *onnx;
} pooling;

static const pooling greatest = {WML_OP_MAXPOOL, WML_OP_MAXPOOL_BWD, true, "MaxPool"},
                     mean = {WML_OP_AVGPOOL, WML_OP_AVGPOOL_BWD, false, "AveragePool"};

#define AT(member) offsetof(pool_options, member)

static const wml_field fields[] = {
    {.key = "pool_size",
     .kind = WML_FIELD_PAIR,
     .offset = AT(pool_size),
     .low = 1,
     .high = 16,
     .otherwise = 2,
     .about = "Height and width of the window."},
    {.key = "strides",
     .kind = WML_FIELD_PAIR,
     .offset = AT(strides),
     .low = 1,
     .high = 64,
     .nullable = true,
     .about = "How far the window moves between two outputs; null: by its own size."},
    WML_PADDING_FIELD(pool_options, padding),
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static void strides_of(const pool_options *o, int strides[2]) {
  for (int i = 0; i < 2; i++) strides[i] = o->strides[i] ? o->strides[i] : o->pool_size[i];
}

static webml_status shape(wml_shaping *s) {
  const pool_options *o = s->options;
  const int *k = o->pool_size;
  const int64_t *in = s->in[0].dim;
  int strides[2];
  strides_of(o, strides);
  s->out = s->in[0];
  for (int i = 0; i < 2; i++)
    if (in[i] > 0) s->out.dim[i] = wml_window_output(in[i], k[i], strides[i], 1, o->padding);
  bool known = in[0] > 0 && in[1] > 0;
  if (known && (s->out.dim[0] <= 0 || s->out.dim[1] <= 0)) {
    wml_issue(s->issues, s->place,
              "pool %dx%d exceeds the %dx%d input; use a smaller pool_size or padding \"same\"",
              k[0], k[1], (int)in[0], (int)in[1]);
    wml_issue_cure(s->issues, "use padding \"same\"");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "padding", "\"same\"");
  } else if (known && in[2] > 0)
    s->flops = (double)(s->out.dim[0] * s->out.dim[1] * in[2]) * k[0] * k[1];
  return WEBML_OK;
}

/* ---- a step ---- */

static wml_window window_of(const wml_emission *e) {
  const pool_options *o = e->options;
  int strides[2];
  strides_of(o, strides);
  return wml_layer_window(wml_emit_in_shape(e, 0), o->pool_size, strides, NULL, 1, o->padding);
}

static int forward(wml_emission *e) {
  const pooling *p = e->layer->class->member;
  int y = wml_emit_value(e, "out/", &e->node->out);
  if (e->trains && p->keeps_winners) {
    e->kept[0] = wml_emit_value(e, "index/", &e->node->out);
    wml_emit_set_dtype(e, e->kept[0], WML_I32);
  }
  wml_op *op = wml_emit_op(e, p->forward);
  op->in[0] = e->in[0];
  op->out[0] = y;
  op->out[1] = e->kept[0];
  op->u.window = window_of(e);
  return y;
}

static void backward(wml_emission *e, int dy) {
  const pooling *p = e->layer->class->member;
  if (!wml_emit_wants(e, 0)) return;
  wml_op *op = wml_emit_unary(e, p->backward, dy, "dx/", wml_emit_in_shape(e, 0));
  op->in[1] = e->kept[0];
  op->u.window = window_of(e);
  wml_emit_gradient(e, 0, op->out[0]);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const pool_options *o = c->options;
  const char *x = wml_onnx_input(c, 0, true);
  int strides[2];
  strides_of(o, strides);
  wml_onnx_window(c, o->pool_size, strides, NULL, o->padding);
  const pooling *p = c->layer->class->member;
  return wml_onnx_result(c, wml_onnx_unary(c, p->onnx, x), true);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const pool_options *o = c->options;
  int strides[2];
  strides_of(o, strides);
  wml_tfjs_pair(c, "pool_size", o->pool_size);
  wml_tfjs_pair(c, "strides", strides);
  wml_tfjs_padding(c, o->padding);
  return WEBML_OK;
}

#define POOLING(class_name, snake_name, row, text)                                                 \
  {                                                                                                \
    .name = class_name, .snake = snake_name, .about = text,                                        \
    .takes = "an image [height, width, channels]", .rank = 3, .gives = 3, .keeps_range = true,     \
    .member = row, .options_size = sizeof(pool_options), .fields = fields,                         \
    .n_fields = sizeof fields / sizeof *fields, .shape = shape, .forward = forward,                \
    .backward = backward, .onnx = onnx, .tfjs = tfjs                                               \
  }

const wml_layer_class wml_layer_max_pooling2d =
    POOLING("MaxPooling2D", "max_pooling2d", &greatest,
            "Keeps the greatest value of each window and makes the picture smaller.");
const wml_layer_class wml_layer_average_pooling2d =
    POOLING("AveragePooling2D", "average_pooling2d", &mean,
            "Takes the mean of each window and makes the picture smaller.");
