/* GaussianNoise, GaussianDropout and AlphaDropout: random in training, nothing in prediction. One
 * file, because they are one operation (kernels/common/noise.h) with other numbers:
 *
 * GaussianNoise    stddev: x + stddev * n, where n is normal
 * GaussianDropout  rate: x * (1 + sqrt(rate / (1 - rate)) * n)
 * AlphaDropout     rate: a * x + b where x is kept, else a * p + b, with p = -scale * alpha of
 * selu, a = 1 / sqrt((1 - rate) (1 + rate p^2)) and b = -a p rate, so that mean and variance of
 * what selu gives stay (Klambauer et al. 2017)
 *
 * Keras 3's, with its names and mathematics. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <math.h>

typedef struct noise_options {
  wml_layer_options layer;
  float amount; /* stddev or rate */
} noise_options;

#define RATE(text)                                                                                 \
  {                                                                                                \
    .key = "rate", .kind = WML_FIELD_FLOAT, .offset = offsetof(noise_options, amount), .low = 0,   \
    .high = 1, .suggested = 0.1, .required = true, .about = text                                   \
  }

static const wml_field noise_fields[] = {
    {.key = "stddev",
     .kind = WML_FIELD_FLOAT,
     .offset = offsetof(noise_options, amount),
     .low = 0,
     .high = 1,
     .suggested = 0.1,
     .required = true,
     .about = "The standard deviation of what is added."},
    {.key = "seed", .kind = WML_FIELD_IGNORED},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field gaussian_dropout_fields[] = {
    RATE("How strong the noise is: as much as a Dropout of that rate has; below 1."),
    {.key = "seed", .kind = WML_FIELD_IGNORED},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field alpha_dropout_fields[] = {
    RATE("The share of values that is replaced; below 1."),
    {.key = "seed", .kind = WML_FIELD_IGNORED},
    {.key = "noise_shape", .kind = WML_FIELD_IGNORED, .word = "null"},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  s->out = s->in[0];
  return WEBML_OK;
}

static webml_status rate_shape(wml_shaping *s) {
  if (((const noise_options *)s->options)->amount == 1.0f) {
    wml_issue(s->issues, s->place, "a rate of 1 leaves nothing; it must be below 1");
    wml_issue_cure(s->issues, "set rate to 0.5");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "rate", "0.5");
  }
  return shape(s);
}

/* ---- a step ---- */

static wml_noise gaussian_noise(float stddev) {
  return (wml_noise){.kind = WML_NOISE_ADD, .a = stddev};
}

static wml_noise gaussian_dropout_noise(float rate) {
  return (wml_noise){.kind = WML_NOISE_MULTIPLY, .a = sqrtf(rate / (1.0f - rate))};
}

static wml_noise alpha_dropout_noise(float rate) {
  double p = -(double)WML_SELU_SCALE_ALPHA, r = (double)rate,
         a = 1.0 / sqrt((1.0 - r) * (1.0 + r * p * p)), b = -a * p * r;
  return (wml_noise){
      .kind = WML_NOISE_ALPHA, .a = (float)a, .b = (float)b, .c = (float)(a * p + b), .rate = rate};
}

static int make_noise(wml_emission *e, int x, const char *prefix, wml_noise noise) {
  wml_op *op = wml_emit_unary(e, WML_OP_NOISE, x, prefix, &e->node->out);
  noise.stream = e->stream;
  op->u.noise = noise;
  return op->out[0];
}

static int noisy(wml_emission *e, wml_noise (*noise)(float amount)) {
  float amount = ((const noise_options *)e->options)->amount;
  if (!e->trains || amount == 0.0f) return e->in[0];
  wml_emit_stream(e);
  return make_noise(e, e->in[0], "out/", noise(amount));
}

static int gaussian_noise_forward(wml_emission *e) {
  return noisy(e, gaussian_noise);
}
static int gaussian_dropout_forward(wml_emission *e) {
  return noisy(e, gaussian_dropout_noise);
}
static int alpha_dropout_forward(wml_emission *e) {
  return noisy(e, alpha_dropout_noise);
}

/* What is added has no gradient: the rest draws the same numbers again. */
static void gaussian_noise_backward(wml_emission *e, int dy) {
  wml_emit_gradient(e, 0, dy);
}

static void factors_backward(wml_emission *e, int dy, wml_noise noise) {
  noise.b = noise.c = 0.0f;
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0, e->stream ? make_noise(e, dy, "dx/", noise) : dy);
}

static void gaussian_dropout_backward(wml_emission *e, int dy) {
  factors_backward(e, dy, gaussian_dropout_noise(((const noise_options *)e->options)->amount));
}
static void alpha_dropout_backward(wml_emission *e, int dy) {
  factors_backward(e, dy, alpha_dropout_noise(((const noise_options *)e->options)->amount));
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  c->out = c->in[0];
  return WEBML_OK;
}

static webml_status noise_tfjs(wml_tfjs_call *c) {
  wml_tfjs_number(c, "stddev", (double)((const noise_options *)c->options)->amount);
  return WEBML_OK;
}

static webml_status rate_tfjs(wml_tfjs_call *c) {
  wml_tfjs_number(c, "rate", (double)((const noise_options *)c->options)->amount);
  return WEBML_OK;
}

/* ---- classes ---- */

#define NOISE(symbol, class_name, does, list, shape_function, tfjs_function)                       \
  const wml_layer_class wml_layer_##symbol = {.name = class_name,                                  \
                                              .snake = #symbol,                                    \
                                              .about = does,                                       \
                                              .hands_on = true,                                    \
                                              .keeps_range = true,                                 \
                                              .options_size = sizeof(noise_options),               \
                                              .fields = list,                                      \
                                              .n_fields = sizeof list / sizeof *list,              \
                                              .shape = shape_function,                             \
                                              .forward = symbol##_forward,                         \
                                              .backward = symbol##_backward,                       \
                                              .onnx = onnx,                                        \
                                              .tfjs = tfjs_function};

NOISE(gaussian_noise, "GaussianNoise", "Adds random numbers while training.", noise_fields, shape,
      noise_tfjs)
NOISE(gaussian_dropout, "GaussianDropout", "Multiplies values by random numbers while training.",
      gaussian_dropout_fields, rate_shape, rate_tfjs)
NOISE(alpha_dropout, "AlphaDropout",
      "A Dropout for selu: what it replaces keeps mean and variance as they are.",
      alpha_dropout_fields, rate_shape, rate_tfjs)
