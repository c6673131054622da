/* RandomFlip, RandomRotation, RandomTranslation, RandomZoom: what Keras does to pictures in
 * training only. Here the data pipeline does it, in one warp of the bytes
 * (kernels/common/augment.h): such a layer stands before all that computes, hands on what it reads,
 * and the trainer takes its options into the augmentation. The warp turns first, then shifts, then
 * zooms, whatever the order of the layers. One file, since the classes differ in the options that
 * they set. What the pipeline cannot do as Keras does it is refused in model/wiring.c. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <math.h>

typedef struct random_options {
  wml_layer_options layer;
  int mode;         /* of RandomFlip */
  float height[2];  /* the only factor, or that of the height */
  float width[2];   /* the first greater than the second: not given */
  int fill;         /* as webml_fill */
  float fill_value; /* 0 to 1 */
} random_options;

/* What tells the classes from one another. */
typedef struct randomness {
  bool fills;                 /* shows what is beyond the edges */
  bool has_height, has_width; /* factors */
  bool one_range;             /* both axes have one */
} randomness;

static const randomness flipping = {0}, rotating = {.fills = true, .has_height = true},
                        shifting = {.fills = true, .has_height = true, .has_width = true},
                        zooming = {.fills = true,
                                   .has_height = true,
                                   .has_width = true,
                                   .one_range = true};

/* ---- options ---- */

enum { FLIP_BOTH, FLIP_HORIZONTAL, FLIP_VERTICAL };
static const char *const modes[] = {"horizontal_and_vertical", "horizontal", "vertical", NULL};
/* As webml_fill, without wrap, which Keras means otherwise. */
static const char *const fills[] = {"nearest", "constant", "reflect", NULL};

#define AT(member) offsetof(random_options, member)
#define SPAN_FIELD(name, member, most, example, text)                                              \
  {                                                                                                \
    .key = name, .kind = WML_FIELD_SPAN, .offset = AT(member), .low = -(most), .high = most,       \
    .suggested = example, .required = true, .about = text                                          \
  }
#define FILL_FIELDS                                                                                \
  {.key = "fill_mode",                                                                             \
   .kind = WML_FIELD_CHOICE,                                                                       \
   .offset = AT(fill),                                                                             \
   .words = fills,                                                                                 \
   .otherwise = WEBML_FILL_REFLECT,                                                                \
   .about = "What fills the places beyond the edges of the picture."},                             \
      {.key = "fill_value",                                                                        \
       .kind = WML_FIELD_FLOAT,                                                                    \
       .offset = AT(fill_value),                                                                   \
       .low = 0,                                                                                   \
       .high = 1,                                                                                  \
       .about = "The value that fills them with \"constant\"; those of pictures are 0 to 1."},     \
  {                                                                                                \
    .key = "interpolation", .kind = WML_FIELD_IGNORED, .word = "bilinear"                          \
  }
#define COMMON_FIELDS                                                                              \
  {.key = "seed", .kind = WML_FIELD_IGNORED}, WML_CHANNELS_LAST_FIELD, WML_NOT_TRAINABLE_FIELD,    \
      WML_NAME_FIELD

static const wml_field flip_fields[] = {
    {.key = "mode",
     .kind = WML_FIELD_CHOICE,
     .offset = AT(mode),
     .words = modes,
     .about = "horizontal: left and right; vertical: top and bottom."},
    COMMON_FIELDS,
};
static const wml_field rotation_fields[] = {
    SPAN_FIELD("factor", height, 0.5, 0.1, "Turns by up to this share of a full turn, either way."),
    FILL_FIELDS,
    COMMON_FIELDS,
};
static const wml_field translation_fields[] = {
    SPAN_FIELD("height_factor", height, 0.99, 0.1,
               "Moves up or down by up to this share of the height."),
    SPAN_FIELD("width_factor", width, 0.99, 0.1,
               "Moves left or right by up to this share of the width."),
    FILL_FIELDS,
    COMMON_FIELDS,
};
static const wml_field zoom_fields[] = {
    SPAN_FIELD("height_factor", height, 0.99, 0.1, "Zooms by a factor from 1 - z to 1 + z."),
    {.key = "width_factor",
     .kind = WML_FIELD_SPAN,
     .offset = AT(width),
     .low = -0.99,
     .high = 0.99,
     .otherwise = -1,
     .nullable = true,
     .about = "The same for the width, drawn by itself; it must be that of the height."},
    FILL_FIELDS,
    COMMON_FIELDS,
};
/* ---- what the pipeline can do ---- */

static void check_span(const wml_shaping *s, const char *key, const float span[2]) {
  char text[WML_NUMBER_BYTES];
  if (span[0] > span[1] || span[0] == -span[1]) return;
  wml_issue(s->issues, s->place, "%s is from %g to %g: only from -x to x is supported", key,
            (double)span[0], (double)span[1]);
  wml_format_number((double)roundf(fmaxf(fabsf(span[0]), fabsf(span[1])) * 1e6f) / 1e6, text);
  wml_issue_cure(s->issues, "set it to %s", text);
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), key, text);
}

static void check_factors(const wml_shaping *s, const random_options *o, const randomness *r) {
  char text[WML_NUMBER_BYTES];
  if (r->has_height) check_span(s, r->has_width ? "height_factor" : "factor", o->height);
  if (r->has_width) check_span(s, "width_factor", o->width);
  if (!r->one_range || o->width[1] == o->height[1]) return;
  bool given = o->width[0] <= o->width[1];
  wml_issue(s->issues, s->place,
            given ? "height and width are zoomed by one range of factors"
                  : "height and width are zoomed each by itself, not by one factor");
  wml_format_number((double)roundf(o->height[1] * 1e6f) / 1e6, text);
  wml_issue_cure(s->issues, "set width_factor to %s", text);
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "width_factor", text);
}

/* Another layer of this kind before it. */
static void check_other(const wml_shaping *s, const wml_layer *other) {
  const random_options *o = s->options, *before = other->options;
  const randomness *r = s->layer->class->member, *theirs = other->class->member;
  if (other->class == s->layer->class)
    wml_issue(s->issues, s->place,
              "stands twice, with \"%.80s\" before it: pictures are warped once", other->name);
  else if (r->fills && theirs->fills &&
           (o->fill != before->fill || o->fill_value != before->fill_value))
    wml_issue(s->issues, s->place,
              "fills in another way than \"%.80s\" before it: pictures are warped once",
              other->name);
  else
    return;
  wml_issue_cure(s->issues, "remove it");
  wml_patch_remove(s->issues, s->place);
}

/* Nothing that computes stands before it, and nothing else reads what it reads. */
static void check_place(const wml_shaping *s) {
  const webml_model *m = s->model;
  int at = m->nodes[s->node].inputs[0];
  for (int k = m->n_inputs; k < m->n_nodes; k++)
    for (int i = 0; i < m->nodes[k].n_inputs; i++) {
      if (k == s->node || m->nodes[k].inputs[i] != at) continue;
      wml_issue(s->issues, s->place,
                "changes what \"%.80s\" reads, too: it must be the only layer "
                "that reads the picture",
                m->nodes[k].name);
      return;
    }
  for (; at >= m->n_inputs; at = m->nodes[at].inputs[0]) {
    const wml_layer *other = wml_node_layer(m, at);
    if (other->class && other->class->augment) {
      check_other(s, other);
      continue;
    }
    wml_issue(s->issues, s->place,
              "must stand before all other layers: pictures are changed as they are read");
    wml_issue_cure(s->issues, "make it the first layer");
    wml_patch_move(s->issues, s->place, &(wml_json_path){.in = s->place->in});
    return;
  }
}

static webml_status shape(wml_shaping *s) {
  const randomness *r = s->layer->class->member;
  s->out = s->in[0];
  check_factors(s, s->options, r);
  check_place(s);
  return WEBML_OK;
}

/* ---- what the trainer takes ---- */

static void set_fill(const random_options *o, webml_augmentation *a) {
  a->fill = (webml_fill)o->fill;
  a->fill_value = 255.0 * (double)o->fill_value;
}

static void flip(const void *options, webml_augmentation *a) {
  int mode = ((const random_options *)options)->mode;
  a->horizontal_flip = mode != FLIP_VERTICAL;
  a->vertical_flip = mode != FLIP_HORIZONTAL;
}

static void rotate(const void *options, webml_augmentation *a) {
  const random_options *o = options;
  a->rotation_range = 360.0 * (double)o->height[1];
  set_fill(o, a);
}

static void shift(const void *options, webml_augmentation *a) {
  const random_options *o = options;
  a->height_shift = (double)o->height[1];
  a->width_shift = (double)o->width[1];
  set_fill(o, a);
}

static void zoom(const void *options, webml_augmentation *a) {
  const random_options *o = options;
  a->zoom_range = (double)o->height[1];
  set_fill(o, a);
}

/* ---- in the graph they hand on what they read ---- */

static int forward(wml_emission *e) {
  return e->in[0];
}

static void backward(wml_emission *e, int dy) {
  wml_emit_gradient(e, 0, dy);
}

static webml_status onnx(wml_onnx_call *c) {
  c->out = c->in[0];
  return WEBML_OK;
}

/* TensorFlow.js has no such layers; in prediction they do nothing. */
static webml_status tfjs(wml_tfjs_call *c) {
  c->class_name = "Activation";
  wml_tfjs_word(c, "activation", "linear");
  return WEBML_OK;
}

#define RANDOM(class_name, snake_name, row, list, function, text)                                  \
  {                                                                                                \
    .name = class_name, .snake = snake_name, .about = text,                                        \
    .takes = "an image [height, width, channels]", .rank = 3, .gives = 3, .hands_on = true,        \
    .keeps_range = true, .member = row, .options_size = sizeof(random_options), .fields = list,    \
    .n_fields = sizeof list / sizeof *list, .shape = shape, .augment = function,                   \
    .forward = forward, .backward = backward, .onnx = onnx, .tfjs = tfjs                           \
  }

const wml_layer_class wml_layer_random_flip =
    RANDOM("RandomFlip", "random_flip", &flipping, flip_fields, flip,
           "Mirrors every other picture in training.");
const wml_layer_class wml_layer_random_rotation =
    RANDOM("RandomRotation", "random_rotation", &rotating, rotation_fields, rotate,
           "Turns pictures at random in training.");
const wml_layer_class wml_layer_random_translation =
    RANDOM("RandomTranslation", "random_translation", &shifting, translation_fields, shift,
           "Moves pictures at random in training.");
const wml_layer_class wml_layer_random_zoom =
    RANDOM("RandomZoom", "random_zoom", &zooming, zoom_fields, zoom,
           "Zooms pictures at random in training.");
