/* AveragePooling1D: [steps, features] -> [outputs, features]: the mean of a window of steps;
 * padding is not counted. A picture one pixel wide for the operations. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "layers/window.h"
#include "plan/emission.h"

typedef struct pool_options {
  wml_layer_options layer;
  int pool_size, strides; /* strides 0: the pool size */
  wml_padding padding;
} pool_options;

static const wml_field fields[] = {
    {.key = "pool_size",
     .kind = WML_FIELD_INT,
     .offset = offsetof(pool_options, pool_size),
     .low = 1,
     .high = 1024,
     .otherwise = 2,
     .about = "How many steps the window has."},
    {.key = "strides",
     .kind = WML_FIELD_INT,
     .offset = offsetof(pool_options, strides),
     .low = 1,
     .high = 1024,
     .nullable = true,
     .about = "How far the window moves between two outputs; null: by its own size."},
    WML_PADDING_FIELD(pool_options, padding),
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static int stride_of(const pool_options *o) {
  return o->strides ? o->strides : o->pool_size;
}

static webml_status shape(wml_shaping *s) {
  const pool_options *o = s->options;
  int64_t steps = s->in[0].dim[0];
  s->out = s->in[0];
  if (steps <= 0) return WEBML_OK;
  s->out.dim[0] = wml_window_output(steps, o->pool_size, stride_of(o), 1, o->padding);
  if (s->out.dim[0] <= 0) {
    wml_issue(s->issues, s->place,
              "pool_size %d exceeds the %d steps of the input; use a smaller one or padding "
              "\"same\"",
              o->pool_size, (int)steps);
    wml_issue_cure(s->issues, "use padding \"same\"");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "padding", "\"same\"");
  } else if (s->in[0].dim[1] > 0)
    s->flops = (double)(s->out.dim[0] * s->out.dim[1] * o->pool_size);
  return WEBML_OK;
}

/* ---- a step ---- */

/* [steps, features] as a picture [steps, 1, features]. */
static wml_shape picture_of(const wml_shape *s) {
  return (wml_shape){3, {s->dim[0], 1, s->dim[1]}};
}

static wml_window window_of(const wml_emission *e) {
  const pool_options *o = e->options;
  wml_shape in = picture_of(wml_emit_in_shape(e, 0));
  return wml_layer_window(&in, (int[]){o->pool_size, 1}, (int[]){stride_of(o), 1}, NULL, 1,
                          o->padding);
}

static int forward(wml_emission *e) {
  wml_shape in = picture_of(wml_emit_in_shape(e, 0)), out = picture_of(&e->node->out);
  int x = wml_emit_reshape(e, e->in[0], "picture/", &in);
  wml_op *op = wml_emit_unary(e, WML_OP_AVGPOOL, x, "pooled/", &out);
  op->u.window = window_of(e);
  return wml_emit_reshape(e, op->out[0], "out/", &e->node->out);
}

static void backward(wml_emission *e, int dy) {
  wml_shape in = picture_of(wml_emit_in_shape(e, 0)), out = picture_of(&e->node->out);
  if (!wml_emit_wants(e, 0)) return;
  dy = wml_emit_reshape(e, dy, "dpooled/", &out);
  wml_op *op = wml_emit_unary(e, WML_OP_AVGPOOL_BWD, dy, "dpicture/", &in);
  op->u.window = window_of(e);
  wml_emit_gradient(e, 0, wml_emit_reshape(e, op->out[0], "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

/* ONNX pools along the last axis. */
static const char *exchanged(wml_onnx_call *c, const char *x) {
  wml_onnx_ints(c, "perm", 3, (const int[]){0, 2, 1});
  return wml_onnx_unary(c, "Transpose", x);
}

static webml_status onnx(wml_onnx_call *c) {
  const pool_options *o = c->options;
  const char *x = exchanged(c, wml_onnx_input(c, 0, false));
  int pads[2], stride = stride_of(o);
  wml_window_pads(wml_onnx_shape(c, 0)->dim[0], o->pool_size, stride, 1, o->padding, &pads[0],
                  &pads[1]);
  wml_onnx_ints(c, "kernel_shape", 1, &o->pool_size);
  wml_onnx_ints(c, "strides", 1, &stride);
  wml_onnx_ints(c, "pads", 2, pads);
  x = wml_onnx_unary(c, "AveragePool", x);
  return wml_onnx_result(c, exchanged(c, x), false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const pool_options *o = c->options;
  wml_tfjs_int(c, "pool_size", o->pool_size);
  wml_tfjs_int(c, "strides", stride_of(o));
  wml_tfjs_padding(c, o->padding);
  return WEBML_OK;
}

const wml_layer_class wml_layer_average_pooling1d = {
    .name = "AveragePooling1D",
    .snake = "average_pooling1d",
    .about = "Takes the mean of each window of steps and makes the sequence shorter.",
    .takes = "a sequence [steps, features]",
    .rank = 2,
    .gives = 2,
    .options_size = sizeof(pool_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
