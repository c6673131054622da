/* Dropout: in training an element is kept with probability 1 - rate and multiplied by 1/(1 - rate),
 * else 0; in prediction nothing happens. SpatialDropout2D, in the same file because only the draw
 * differs: [h, w, c], a channel of a sample is kept or dropped as a whole. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct dropout_options {
  wml_layer_options layer;
  float rate;
} dropout_options;

#define RATE_FIELD(text)                                                                           \
  {                                                                                                \
    .key = "rate", .kind = WML_FIELD_FLOAT, .offset = offsetof(dropout_options, rate), .low = 0,   \
    .high = 1, .suggested = 0.5, .required = true, .about = text                                   \
  }

static const wml_field fields[] = {
    RATE_FIELD("The share of values that is set to 0."),
    {.key = "seed", .kind = WML_FIELD_IGNORED},
    {.key = "noise_shape", .kind = WML_FIELD_IGNORED, .word = "null"},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field spatial_fields[] = {
    RATE_FIELD("The share of channels that is set to 0."),
    {.key = "seed", .kind = WML_FIELD_IGNORED},
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  s->out = s->in[0];
  return WEBML_OK;
}

extern const wml_layer_class wml_layer_spatial_dropout2d;

/* The same mask forward and backward. */
static int drop(wml_emission *e, int x, const char *prefix) {
  wml_op *op = wml_emit_unary(e, WML_OP_DROPOUT, x, prefix, &e->node->out);
  op->u.dropout.rate = ((const dropout_options *)e->options)->rate;
  op->u.dropout.stream = e->stream;
  op->u.dropout.per_channel = e->layer->class == &wml_layer_spatial_dropout2d;
  return op->out[0];
}

static int forward(wml_emission *e) {
  const dropout_options *o = e->options;
  if (!e->trains || o->rate == 0.0f) return e->in[0];
  wml_emit_stream(e);
  return drop(e, e->in[0], "out/");
}

static void backward(wml_emission *e, int dy) {
  if (wml_emit_wants(e, 0)) wml_emit_gradient(e, 0, e->stream ? drop(e, dy, "dx/") : dy);
}

static webml_status onnx(wml_onnx_call *c) {
  c->out = c->in[0];
  return WEBML_OK;
}

static webml_status tfjs(wml_tfjs_call *c) {
  wml_tfjs_number(c, "rate", (double)((const dropout_options *)c->options)->rate);
  return WEBML_OK;
}

const wml_layer_class wml_layer_dropout = {
    .name = "Dropout",
    .snake = "dropout",
    .about = "Sets some of the values to 0 at random while training, so that no unit is relied on "
             "alone.",
    .hands_on = true,
    .keeps_range = true,
    .options_size = sizeof(dropout_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};

/* TensorFlow.js has none: Dropout, which is the same in prediction. */
static webml_status spatial_tfjs(wml_tfjs_call *c) {
  c->class_name = "Dropout";
  return tfjs(c);
}

const wml_layer_class wml_layer_spatial_dropout2d = {
    .name = "SpatialDropout2D",
    .snake = "spatial_dropout2d",
    .about = "Sets whole channels to 0 at random while training.",
    .takes = "an image [height, width, channels]",
    .rank = 3,
    .gives = 3,
    .hands_on = true,
    .keeps_range = true,
    .options_size = sizeof(dropout_options),
    .fields = spatial_fields,
    .n_fields = sizeof spatial_fields / sizeof *spatial_fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = spatial_tfjs};
