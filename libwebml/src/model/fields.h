/* Tables of fields: one declaration per key serves parsing, checking, suggestions, writing and
 * webml_schema(). */
#ifndef WML_MODEL_FIELDS_H
#define WML_MODEL_FIELDS_H

#include "model/issues.h"
#include "model/model.h"

typedef enum wml_field_kind {
  WML_FIELD_INT,
  WML_FIELD_FLOAT,
  WML_FIELD_BOOL,
  WML_FIELD_PAIR,    /* n or [h, w], into int[2] */
  WML_FIELD_INTS,    /* n or a list of 1 to WML_MAX_RANK numbers, into a wml_ints */
  WML_FIELD_BOX,     /* n, [h, w] or [[top, bottom], [left, right]], into int[4] in that order */
  WML_FIELD_SPAN,    /* x, which is [-x, x], or [least, greatest], into float[2] */
  WML_FIELD_NUMBERS, /* a number or a list, into a wml_numbers */
  WML_FIELD_CHOICE,  /* one of `words`, its index into an int or enum */
  WML_FIELD_ACTIVATION,
  WML_FIELD_INITIALIZER,
  WML_FIELD_REGULARIZER,
  WML_FIELD_CONSTRAINT,
  WML_FIELD_AXES,   /* n or [n, ...], as bits of an int */
  WML_FIELD_NAME,   /* a string, into const char * */
  WML_FIELD_IGNORED /* read by Keras, without meaning here */
} wml_field_kind;

/* Whole numbers such as the dimensions of a target shape. */
typedef struct wml_ints {
  int n; /* 0: not given */
  int items[WML_MAX_RANK];
} wml_ints;

typedef struct wml_numbers {
  int n; /* 0: not given */
  const float *items;
} wml_numbers;

typedef struct wml_field {
  const char *key, *other_key; /* other_key: read as well; or NULL */
  wml_field_kind kind;
  size_t offset; /* into the object that is filled */
  double low, high;
  double otherwise; /* the default of numbers, booleans and choices; of a nullable number 0 or
                       what is below `low` stands for null */
  double suggested; /* of required numbers: what a cure puts in */
  bool required, nullable;
  /* INITIALIZER: the default; IGNORED: the only value that is fine, NULL: any; of other required
   * ones: what a cure puts in, as JSON */
  const char *word;
  const char *const *words; /* CHOICE: up to a NULL */
  const char *about;        /* what it does, in one sentence */
} wml_field;

/* A field that only some kinds have, e.g. only some optimizers. */
typedef struct wml_kind_field {
  uint32_t known; /* bit k: kind k has it */
  wml_field field;
} wml_kind_field;

/* The fields of one kind, with the defaults that `object` holds; returns their number. out: room
 * for n. */
int wml_fields_of_kind(const wml_kind_field *table, int n, int kind, const void *object,
                       wml_field *out);

/* Fills `object` from the members of `json` (NULL: all defaults). Unknown keys, wrong kinds and
 * values out of range become issues under `place`. `skip`: a key that is read elsewhere, or NULL.
 */
webml_status wml_fields_read(wml_arena *arena, const wml_field *fields, int n, const wml_json *json,
                             const wml_json_path *place, const char *skip, void *object,
                             wml_issues *issues);
/* Writes the members whose values are not the default. */
void wml_fields_write(wml_text *text, const wml_field *fields, int n, const void *object);
/* True where such a member would be written. */
bool wml_fields_differ(const wml_field *fields, int n, const void *object);

/* A number, or a string that holds one ("3"). */
bool wml_number_of(const wml_json *json, double *value);

/* The name in a string or in an object's "name"; Keras's {"class_name", "config"} is read, too.
 * *options: the object that holds the options (NULL without). NULL: there is no name. */
const char *wml_name_of(const wml_json *json, const wml_json **options);
/* Whether names differ in case and underscores only: GlorotUniform = glorot_uniform. */
bool wml_same_word(const char *a, const char *b);
/* An issue about a name that is not in the list, with the one that was meant where that is clear.
 * what: "unknown activation". */
void wml_unknown_name(wml_issues *issues, const wml_json_path *place, const wml_json *json,
                      const char *what, const char *name, const char *const *names, int n);

/* values.c: the kinds that have structure of their own. */
webml_status wml_read_activation(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                                 wml_activation *out, wml_issues *issues);
webml_status wml_read_initializer(wml_arena *arena, const wml_json *json,
                                  const wml_json_path *place, wml_initializer *out,
                                  wml_issues *issues);
webml_status wml_read_regularizer(wml_arena *arena, const wml_json *json,
                                  const wml_json_path *place, wml_regularizer *out,
                                  wml_issues *issues);
webml_status wml_read_constraint(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                                 wml_constraint *out, wml_issues *issues);
void wml_write_constraint(wml_text *text, const wml_constraint *constraint);
void wml_write_activation(wml_text *text, const wml_activation *activation);
void wml_write_initializer(wml_text *text, const wml_initializer *initializer);
void wml_write_regularizer(wml_text *text, const wml_regularizer *regularizer);
/* "glorot_uniform" etc. by name; false when unknown. */
bool wml_initializer_by_name(const char *name, wml_initializer *out);
/* Whether it is the one of that name, with the default options. */
bool wml_initializer_is(const wml_initializer *initializer, const char *name);

/* compile.c: optimizer, loss, metrics. *open: null, so that one is chosen. */
webml_status wml_read_optimizer(wml_arena *arena, const wml_json *json, wml_optimizer *out,
                                bool *open, wml_issues *issues);
webml_status wml_read_loss(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                           wml_loss *out, bool *open, wml_issues *issues);
/* out: room for WEBML_MAX_METRICS. */
webml_status wml_read_metrics(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                              wml_metric_spec *out, int *n, wml_issues *issues);
void wml_write_optimizer(wml_text *text, const wml_optimizer *optimizer);
void wml_write_loss(wml_text *text, const wml_loss *loss);
void wml_write_metrics(wml_text *text, const wml_metric_spec *metrics, int n);
void wml_default_optimizer(wml_optimizer_kind kind, wml_optimizer *out);

/* What webml_schema() says of a list of kinds. A name has an alias where `aliases` says so. */
typedef struct wml_alias {
  const char *alias;
  int kind;
} wml_alias;

typedef struct wml_kind_list {
  const char *key; /* "activations" */
  int n;
  const char *(*name)(int kind);
  const char *(*about)(int kind);
  int (*fields)(int kind, wml_field *out); /* at most WML_MOST_FIELDS */
  const wml_alias *aliases;
  int n_aliases;
} wml_kind_list;

enum { WML_MOST_FIELDS = 32 };
extern const wml_kind_list wml_activation_list, wml_initializer_list, wml_regularizer_list,
    wml_constraint_list, wml_optimizer_list, wml_loss_list, wml_metric_list;
/* The members of a description itself: key and what it is. */
typedef struct wml_top_key {
  const char *key, *about;
  bool required, nullable;
} wml_top_key;
const wml_top_key *wml_top_keys(int *n);

/* "valid", "same": as wml_padding. */
extern const char *const wml_padding_words[];

#endif
