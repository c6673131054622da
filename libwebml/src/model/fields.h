/* Tables of fields: one declaration per key serves parsing, checking, suggestions and writing. */
#ifndef WML_MODEL_FIELDS_H
#define WML_MODEL_FIELDS_H

#include "model/model.h"

/* Errors of a description, gathered so that all are reported at once. */
typedef struct wml_issues {
  wml_text text;
  int count;
} wml_issues;

void wml_issue(wml_issues *issues, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

typedef enum wml_field_kind {
  WML_FIELD_INT,
  WML_FIELD_FLOAT,
  WML_FIELD_BOOL,
  WML_FIELD_PAIR, /* n or [h, w], into int[2] */
  WML_FIELD_PADDING,
  WML_FIELD_ACTIVATION,
  WML_FIELD_INITIALIZER,
  WML_FIELD_REGULARIZER,
  WML_FIELD_NAME,   /* a string, into const char * */
  WML_FIELD_IGNORED /* read by Keras, without meaning here; `cure` says which values are fine */
} wml_field_kind;

typedef struct wml_field {
  const char *key;
  wml_field_kind kind;
  size_t offset; /* into the object that is filled */
  double low, high;
  double otherwise; /* the default of numbers and booleans */
  bool required, nullable;
  const char *cure; /* IGNORED: the only value that is fine; others: default as JSON text or NULL */
} wml_field;

/* Fills `object` from the members of `json` (NULL: all defaults). Unknown keys, wrong kinds and
 * values out of range become issues under `path`. `skip`: a key that is read elsewhere, or NULL. */
webml_status wml_fields_read(wml_arena *arena, const wml_field *fields, int n, const wml_json *json,
                             const char *path, const char *skip, void *object, wml_issues *issues);
/* Writes the members whose values are not the default. */
void wml_fields_write(wml_text *text, const wml_field *fields, int n, const void *object);

/* A number, or a string that holds one ("3"). */
bool wml_number_of(const wml_json *json, double *value);

/* values.c: the kinds that have structure of their own. */
webml_status wml_read_activation(const wml_json *json, const char *path, wml_activation *out,
                                 wml_issues *issues);
webml_status wml_read_initializer(wml_arena *arena, const wml_json *json, const char *path,
                                  wml_initializer *out, wml_issues *issues);
webml_status wml_read_regularizer(const wml_json *json, const char *path, wml_regularizer *out,
                                  wml_issues *issues);
void wml_write_activation(wml_text *text, const wml_activation *activation);
void wml_write_initializer(wml_text *text, const wml_initializer *initializer);
void wml_write_regularizer(wml_text *text, const wml_regularizer *regularizer);
/* "glorot_uniform" etc. by name; false when unknown. */
bool wml_initializer_by_name(const char *name, wml_initializer *out);

/* compile.c: optimizer, loss, metrics. */
webml_status wml_read_optimizer(wml_arena *arena, const wml_json *json, webml_model *model,
                                wml_issues *issues);
webml_status wml_read_loss(wml_arena *arena, const wml_json *json, webml_model *model,
                           wml_issues *issues);
webml_status wml_read_metrics(wml_arena *arena, const wml_json *json, webml_model *model,
                              wml_issues *issues);
void wml_write_optimizer(wml_text *text, const wml_optimizer *optimizer);
void wml_write_loss(wml_text *text, const wml_loss *loss);
void wml_write_metrics(wml_text *text, const webml_model *model);
void wml_default_optimizer(wml_optimizer_kind kind, wml_optimizer *out);

/* The keys of layers with a kernel, a bias and an activation. */
#define WML_LINEAR_FIELDS                                                                          \
  {.key = "activation", .kind = WML_FIELD_ACTIVATION, .offset = offsetof(wml_layer, activation)},  \
      {.key = "use_bias",                                                                          \
       .kind = WML_FIELD_BOOL,                                                                     \
       .offset = offsetof(wml_layer, use_bias),                                                    \
       .otherwise = 1},                                                                            \
      {.key = "kernel_initializer",                                                                \
       .kind = WML_FIELD_INITIALIZER,                                                              \
       .offset = offsetof(wml_layer, kernel_initializer),                                          \
       .cure = "glorot_uniform"},                                                                  \
      {.key = "bias_initializer",                                                                  \
       .kind = WML_FIELD_INITIALIZER,                                                              \
       .offset = offsetof(wml_layer, bias_initializer),                                            \
       .cure = "zeros"},                                                                           \
      {.key = "kernel_regularizer",                                                                \
       .kind = WML_FIELD_REGULARIZER,                                                              \
       .offset = offsetof(wml_layer, kernel_regularizer),                                          \
       .nullable = true},                                                                          \
  {                                                                                                \
    .key = "bias_regularizer", .kind = WML_FIELD_REGULARIZER,                                      \
    .offset = offsetof(wml_layer, bias_regularizer), .nullable = true                              \
  }

/* What a layer's file gives: its keys, and its shape with its parameters. */
typedef struct wml_layer_class {
  const wml_field *fields;
  int n_fields;
  /* Sets layer->out, params and flops from layer->in; issues under `path`. */
  webml_status (*shape)(wml_arena *arena, wml_layer *layer, const char *path, wml_issues *issues);
  const char *takes; /* "an image [height, width, channels]" */
} wml_layer_class;

#define WML_LAYER_DECLARE(symbol, name, snake) extern const wml_layer_class wml_layer_##snake;
WML_LAYERS(WML_LAYER_DECLARE)
const wml_layer_class *wml_layer_class_of(wml_layer_type type);

/* Adds a parameter named "<layer>/<role>". */
webml_status wml_layer_param(wml_arena *arena, wml_layer *layer, const char *role, wml_param param);

#endif
