/* UpSampling2D and Resizing: [h, w, c] -> [oh, ow, c], by the nearest pixel or bilinearly, with
 * positions as in kernels/common/resize.h. UpSampling2D: oh = h * size; Resizing: as its options
 * say. One file, since the two differ in the size alone. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <math.h>

typedef struct resizing_options {
  wml_layer_options layer;
  int size[2]; /* UpSampling2D: factors; Resizing: height and width */
  int interpolation;
} resizing_options;

/* As wml_resampling. */
static const char *const interpolations[] = {"nearest", "bilinear", NULL};

#define INTERPOLATION_FIELD(other)                                                                 \
  {                                                                                                \
    .key = "interpolation", .kind = WML_FIELD_CHOICE,                                              \
    .offset = offsetof(resizing_options, interpolation), .words = interpolations,                  \
    .otherwise = other,                                                                            \
    .about = "nearest: each pixel is that of the nearest place; bilinear: a mean of the four "     \
             "around."                                                                             \
  }

static const wml_field up_fields[] = {
    {.key = "size",
     .kind = WML_FIELD_PAIR,
     .offset = offsetof(resizing_options, size),
     .low = 1,
     .high = 64,
     .otherwise = 2,
     .about = "How many times higher and wider the picture becomes."},
    INTERPOLATION_FIELD(WML_RESAMPLE_NEAREST),
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field resizing_fields[] = {
    {.key = "height",
     .kind = WML_FIELD_INT,
     .offset = offsetof(resizing_options, size),
     .low = 1,
     .high = 4096,
     .suggested = 64,
     .required = true,
     .about = "The height of the result."},
    {.key = "width",
     .kind = WML_FIELD_INT,
     .offset = offsetof(resizing_options, size) + sizeof(int),
     .low = 1,
     .high = 4096,
     .suggested = 64,
     .required = true,
     .about = "The width of the result."},
    INTERPOLATION_FIELD(WML_RESAMPLE_BILINEAR),
    {.key = "crop_to_aspect_ratio", .kind = WML_FIELD_IGNORED, .word = "false"},
    {.key = "pad_to_aspect_ratio", .kind = WML_FIELD_IGNORED, .word = "false"},
    {.key = "antialias", .kind = WML_FIELD_IGNORED, .word = "false"},
    {.key = "fill_mode", .kind = WML_FIELD_IGNORED},
    {.key = "fill_value", .kind = WML_FIELD_IGNORED},
    WML_CHANNELS_LAST_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* What tells one class from the other. */
typedef struct resizing {
  bool by_factors;
} resizing;

static const resizing factors = {true}, sizes = {false};

static webml_status shape(wml_shaping *s) {
  const resizing_options *o = s->options;
  const resizing *r = s->layer->class->member;
  s->out = s->in[0];
  for (int i = 0; i < 2; i++) {
    int64_t n = s->in[0].dim[i];
    if (!r->by_factors)
      s->out.dim[i] = o->size[i];
    else if (n > 0)
      s->out.dim[i] = n * o->size[i];
  }
  int64_t n = wml_shape_elements(&s->out);
  if (n > 0) s->flops = (double)n * (o->interpolation == WML_RESAMPLE_BILINEAR ? 6.0 : 0.0);
  return WEBML_OK;
}

/* The size of the result, whatever the input is. */
static void assume_size(const void *options, wml_shape *out) {
  const int *size = ((const resizing_options *)options)->size;
  for (int i = 0; i < 2; i++)
    if (size[i] > 0) out->dim[i] = size[i];
}

/* ---- a step ---- */

static int resize(wml_emission *e, wml_op_kind kind, int x, const char *prefix,
                  const wml_shape *shape) {
  wml_op *op = wml_emit_unary(e, kind, x, prefix, shape);
  op->u.resampling = (wml_resampling)((const resizing_options *)e->options)->interpolation;
  return op->out[0];
}

static int forward(wml_emission *e) {
  return resize(e, WML_OP_RESIZE, e->in[0], "out/", &e->node->out);
}

static void backward(wml_emission *e, int dy) {
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0, resize(e, WML_OP_RESIZE_BWD, dy, "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

/* ONNX multiplies the size by it and rounds down. */
static float scale_of(int64_t in, int64_t out) {
  float scale = (float)((double)out / (double)in);
  while ((int64_t)((float)in * scale) < out) scale = nextafterf(scale, INFINITY);
  return scale;
}

/* round_prefer_ceil of (i + 1/2) n / m - 1/2 is our nearest pixel, (2 i + 1) n / (2 m). */
static webml_status onnx(wml_onnx_call *c) {
  const resizing_options *o = c->options;
  const wml_shape *out = &c->node->out;
  bool nearest = o->interpolation == WML_RESAMPLE_NEAREST;
  const wml_shape *in = wml_onnx_shape(c, 0);
  const int64_t four = 4;
  const float scales[] = {1.0f, 1.0f, scale_of(in->dim[0], out->dim[0]),
                          scale_of(in->dim[1], out->dim[1])};
  const char *x = wml_onnx_input(c, 0, true);
  wml_onnx_string(c, "coordinate_transformation_mode", "half_pixel");
  wml_onnx_string(c, "mode", nearest ? "nearest" : "linear");
  if (nearest) wml_onnx_string(c, "nearest_mode", "round_prefer_ceil");
  x = wml_onnx_node(c, "Resize",
                    (const char *[]){x, "", wml_onnx_floats(c, "scales", 1, &four, scales), NULL});
  return wml_onnx_result(c, x, true);
}

/* Its bilinear positions are others than Keras's: those of corners, not of centres. */
static webml_status tfjs_up(wml_tfjs_call *c) {
  const resizing_options *o = c->options;
  if (o->interpolation != WML_RESAMPLE_NEAREST)
    return wml_tfjs_refuse(c, "bilinear upsampling with Keras's positions");
  wml_tfjs_pair(c, "size", o->size);
  wml_tfjs_word(c, "interpolation", interpolations[o->interpolation]);
  return WEBML_OK;
}

#define RESIZING(class_name, snake_name, row, list, text, known, to_tfjs)                          \
  {                                                                                                \
    .name = class_name, .snake = snake_name, .about = text,                                        \
    .takes = "an image [height, width, channels]", .rank = 3, .gives = 3, .keeps_range = true,     \
    .member = row, .options_size = sizeof(resizing_options), .fields = list,                       \
    .n_fields = sizeof list / sizeof *list, .shape = shape, .assume = known, .forward = forward,   \
    .backward = backward, .onnx = onnx, .tfjs = to_tfjs                                            \
  }

const wml_layer_class wml_layer_up_sampling2d =
    RESIZING("UpSampling2D", "up_sampling2d", &factors, up_fields,
             "Makes a picture a whole number of times larger.", NULL, tfjs_up);
/* TensorFlow.js takes positions of corners for it, whatever the interpolation. */
const wml_layer_class wml_layer_resizing =
    RESIZING("Resizing", "resizing", &sizes, resizing_fields,
             "Brings pictures to another height and width.", assume_size, NULL);
