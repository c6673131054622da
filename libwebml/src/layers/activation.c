/* Activation, ReLU, LeakyReLU, ELU and Softmax: [..] -> the same shape, an activation as a layer of
 * its own. One file, because they are one operation and differ in where its options stand:
 *
 * Activation  "activation", as Dense has it
 * ReLU        max_value (none), negative_slope (0), threshold (0): x from the threshold on, at most
 *             max_value, and negative_slope * (x - threshold) below it
 * LeakyReLU   negative_slope (0.3; the function leaky_relu has 0.2): x, below 0 times the slope
 * ELU         alpha (1): x, below 0 alpha * (e^x - 1)
 * Softmax     axis (-1): e^x over its sum along the last axis
 *
 * Names, defaults and mathematics are Keras 3's; Keras 2's "alpha" of LeakyReLU is read too. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <math.h>

static webml_status shape(wml_shaping *s) {
  s->out = s->in[0];
  if (wml_shaping_is_known(s)) s->flops = (double)wml_shape_elements(&s->in[0]);
  return WEBML_OK;
}

/* ---- a step ---- */

static int forward(wml_emission *e) {
  wml_activation activation = wml_layer_activation(e->layer);
  return wml_emit_activation(e, e->in[0], &activation);
}

static void backward(wml_emission *e, int dy) {
  wml_activation activation = wml_layer_activation(e->layer);
  dy = wml_emit_activation_backward(e, dy, &activation);
  wml_emit_gradient(e, 0, dy);
}

static webml_status onnx(wml_onnx_call *c) {
  wml_activation activation = wml_layer_activation(c->layer);
  bool nchw = c->in[0].nchw;
  return wml_onnx_finish(c, wml_onnx_input(c, 0, nchw), nchw, &activation);
}

/* ---- Activation ---- */

typedef struct activation_options {
  wml_layer_options layer;
  wml_activation activation;
} activation_options;

static const wml_field activation_fields[] = {
    {.key = "activation",
     .kind = WML_FIELD_ACTIVATION,
     .offset = offsetof(activation_options, activation),
     .required = true,
     .nullable = true,
     .word = "\"relu\"",
     .about = "The function that is applied to every value."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status activation_tfjs(wml_tfjs_call *c) {
  return wml_tfjs_activation(c, &((const activation_options *)c->options)->activation);
}

/* ---- ReLU, LeakyReLU, ELU ---- */

typedef struct relu_options {
  wml_layer_options layer;
  float max_value, slope, threshold;
} relu_options;

#define NUMBER(name, member, least, usual, text)                                                   \
  .key = name, .kind = WML_FIELD_FLOAT, .offset = offsetof(relu_options, member), .low = least,    \
  .high = 1e6, .otherwise = usual, .about = text

static const wml_field relu_fields[] = {
    {NUMBER("max_value", max_value, 0, INFINITY, "The greatest output; null: there is none."),
     .nullable = true},
    {NUMBER("negative_slope", slope, 0, 0, "The slope below the threshold.")},
    {NUMBER("threshold", threshold, 0, 0, "Values up to it count as below 0.")},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field leaky_relu_fields[] = {
    {NUMBER("negative_slope", slope, 0, 0.3, "The slope below 0."), .other_key = "alpha"},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field elu_fields[] = {
    {NUMBER("alpha", slope, -1e6, 1,
            "What the function goes to for very negative inputs, with a minus sign.")},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static wml_activation relu_activation(const void *options) {
  const relu_options *o = options;
  return (wml_activation){WML_RELU, o->slope, o->max_value, o->threshold};
}

static wml_activation leaky_relu_activation(const void *options) {
  float slope = ((const relu_options *)options)->slope;
  return (wml_activation){.kind = WML_LEAKY_RELU, .alpha = slope, .max_value = INFINITY};
}

static wml_activation elu_activation(const void *options) {
  float alpha = ((const relu_options *)options)->slope;
  return (wml_activation){.kind = WML_ELU, .alpha = alpha, .max_value = INFINITY};
}

static webml_status relu_tfjs(wml_tfjs_call *c) {
  const relu_options *o = c->options;
  if (o->slope != 0.0f || o->threshold != 0.0f)
    return wml_tfjs_refuse(c, "ReLU with negative_slope or threshold");
  if (!isinf(o->max_value)) wml_tfjs_number(c, "max_value", (double)o->max_value);
  return WEBML_OK;
}

static webml_status elu_tfjs(wml_tfjs_call *c) {
  if (((const relu_options *)c->options)->slope != 1.0f)
    return wml_tfjs_refuse(c, "ELU with another alpha than 1");
  return WEBML_OK;
}

/* TensorFlow.js calls the slope alpha, as Keras 2 did. */
static webml_status leaky_relu_tfjs(wml_tfjs_call *c) {
  wml_tfjs_number(c, "alpha", (double)((const relu_options *)c->options)->slope);
  return WEBML_OK;
}

/* ---- Softmax ---- */

typedef struct softmax_options {
  wml_layer_options layer;
  int axis;
} softmax_options;

static const wml_field softmax_fields[] = {
    {.key = "axis",
     .kind = WML_FIELD_INT,
     .offset = offsetof(softmax_options, axis),
     .low = -3,
     .high = 3,
     .otherwise = -1,
     .about = "The axis along which values add up to 1: the last."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static wml_activation softmax_activation(const void *options) {
  (void)options;
  return (wml_activation){.kind = WML_SOFTMAX, .max_value = INFINITY};
}

static webml_status softmax_shape(wml_shaping *s) {
  int axis = ((const softmax_options *)s->options)->axis, last = s->in[0].rank;
  if (axis == -1 || axis == last) return shape(s);
  wml_issue(s->issues, s->place, "axis %d is not the last axis; only -1 or %d is supported", axis,
            last);
  wml_issue_cure(s->issues, "set axis to -1");
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "axis", "-1");
  return WEBML_OK;
}

static webml_status softmax_tfjs(wml_tfjs_call *c) {
  wml_tfjs_int(c, "axis", -1);
  return WEBML_OK;
}

/* ---- classes ---- */

#define FIELDS(list) .fields = list, .n_fields = sizeof list / sizeof *list
#define COMMON .forward = forward, .backward = backward, .onnx = onnx

const wml_layer_class wml_layer_activation_layer = {.name = "Activation",
                                                    .snake = "activation",
                                                    .about = "Applies a function to every value.",
                                                    .options_size = sizeof(activation_options),
                                                    FIELDS(activation_fields),
                                                    .shape = shape,
                                                    .tfjs = activation_tfjs,
                                                    COMMON};
const wml_layer_class wml_layer_relu = {.name = "ReLU",
                                        .snake = "re_lu",
                                        .about = "Sets negative values to 0.",
                                        .options_size = sizeof(relu_options),
                                        FIELDS(relu_fields),
                                        .activation = relu_activation,
                                        .shape = shape,
                                        .tfjs = relu_tfjs,
                                        COMMON};
const wml_layer_class wml_layer_leaky_relu = {
    .name = "LeakyReLU",
    .snake = "leaky_re_lu",
    .about = "Makes negative values smaller, so that no unit dies.",
    .options_size = sizeof(relu_options),
    FIELDS(leaky_relu_fields),
    .activation = leaky_relu_activation,
    .shape = shape,
    .tfjs = leaky_relu_tfjs,
    COMMON};
const wml_layer_class wml_layer_elu = {.name = "ELU",
                                       .snake = "elu",
                                       .about = "Bends negative values smoothly to a bound.",
                                       .options_size = sizeof(relu_options),
                                       FIELDS(elu_fields),
                                       .activation = elu_activation,
                                       .shape = shape,
                                       .tfjs = elu_tfjs,
                                       COMMON};
const wml_layer_class wml_layer_softmax = {
    .name = "Softmax",
    .snake = "softmax",
    .about = "Makes probabilities that add up to 1 along the last axis.",
    .options_size = sizeof(softmax_options),
    FIELDS(softmax_fields),
    .activation = softmax_activation,
    .shape = softmax_shape,
    .tfjs = softmax_tfjs,
    COMMON};
