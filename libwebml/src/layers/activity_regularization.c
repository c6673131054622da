/* ActivityRegularization: hands its input on and adds l1 * sum |x| + l2 * sum x^2, divided by the
 * batch size, to the loss. Keras 2 divides so, and Keras 3 since 3.14 (Layer.__call__; before, the
 * penalty grew with the batch). It belongs to the loss of an evaluation, too. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct activity_options {
  wml_layer_options layer;
  wml_regularizer penalty;
} activity_options;

static const wml_field fields[] = {
    {.key = "l1",
     .kind = WML_FIELD_FLOAT,
     .offset = offsetof(activity_options, penalty.l1),
     .low = 0,
     .high = 1e6,
     .about = "The factor of the sum of absolute values."},
    {.key = "l2",
     .kind = WML_FIELD_FLOAT,
     .offset = offsetof(activity_options, penalty.l2),
     .low = 0,
     .high = 1e6,
     .about = "The factor of the sum of squares."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  s->out = s->in[0];
  return WEBML_OK;
}

/* kept[0]: the penalty's own gradient. */
static int forward(wml_emission *e) {
  const activity_options *o = e->options;
  if (!e->has_loss || (o->penalty.l1 == 0.0f && o->penalty.l2 == 0.0f)) return e->in[0];
  if (e->trains && wml_emit_wants(e, 0)) e->kept[0] = wml_emit_like(e, "dpenalty/", e->in[0]);
  wml_op *op = wml_emit_op(e, WML_OP_PENALTY);
  op->in[0] = e->in[0];
  op->out[0] = e->kept[0];
  op->u.penalty.l1 = o->penalty.l1 / (float)e->batch;
  op->u.penalty.l2 = o->penalty.l2 / (float)e->batch;
  return e->in[0];
}

static void backward(wml_emission *e, int dy) {
  wml_emit_gradient(e, 0, dy);
  wml_emit_gradient(e, 0, e->kept[0]);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  c->out = c->in[0];
  return WEBML_OK;
}

/* TensorFlow.js has no such layer, but one that hands its input on. */
static webml_status tfjs(wml_tfjs_call *c) {
  c->class_name = "Activation";
  wml_tfjs_word(c, "activation", "linear");
  return WEBML_OK;
}

const wml_layer_class wml_layer_activity_regularization = {
    .name = "ActivityRegularization",
    .snake = "activity_regularization",
    .about = "Adds a penalty on large values of its input to the loss.",
    .hands_on = true,
    .keeps_range = true,
    .options_size = sizeof(activity_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
