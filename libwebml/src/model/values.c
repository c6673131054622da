/* Activations, initializers, regularizers and constraints: a name, or an object {"name": ...,
 * options}. Keras's
 * {"class_name", "config"} is read too. */
#include "model/fields.h"

#include <math.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

bool wml_same_word(const char *a, const char *b) {
  for (;; a++, b++) {
    while (*a == '_') a++;
    while (*b == '_') b++;
    char ca = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a,
         cb = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
    if (ca != cb) return false;
    if (!ca) return true;
  }
}

/* ---- activations ---- */

#define ACTIVATION_NAME(symbol, name, about) name,
#define ACTIVATION_ABOUT(symbol, name, about) about,
static const char *const activation_names[] = {WML_ACTIVATIONS(ACTIVATION_NAME)};
static const char *const activation_abouts[] = {WML_ACTIVATIONS(ACTIVATION_ABOUT)};

static const wml_alias activation_aliases[] = {
    {"swish", WML_SILU}, {"hard_swish", WML_HARD_SILU}, {"logsigmoid", WML_LOG_SIGMOID}};

const char *wml_activation_name(wml_activation_kind kind) {
  return activation_names[kind];
}

/* An activation as it is read: gelu has a form of its own when it is approximate. */
typedef struct described {
  wml_activation activation;
  bool approximate;
} described;

#define BIT(symbol) (1u << WML_##symbol)
#define ALL_ACTIVATIONS ((1u << WML_N_ACTIVATIONS) - 1u)
#define AT(member) offsetof(described, activation.member)

static const wml_kind_field activation_fields[] = {
    {BIT(RELU) | BIT(LEAKY_RELU),
     {.key = "negative_slope",
      .other_key = "alpha",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(alpha),
      .low = -1e6,
      .high = 1e6,
      .about = "The slope below the threshold."}},
    {BIT(ELU) | BIT(CELU),
     {.key = "alpha",
      .other_key = "negative_slope",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(alpha),
      .low = -1e6,
      .high = 1e6,
      .about = "What the function goes to for very negative inputs, with a minus sign."}},
    {BIT(SQUAREPLUS),
     {.key = "b",
      .other_key = "alpha",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(alpha),
      .low = 0,
      .high = 1e6,
      .about = "How smooth the bend at 0 is."}},
    {BIT(SOFT_SHRINK),
     {.key = "threshold",
      .other_key = "lambda",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(alpha),
      .low = 0,
      .high = 1e6,
      .about = "Inputs up to this size become 0."}},
    {BIT(RELU),
     {.key = "max_value",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(max_value),
      .low = -1e6,
      .high = 1e6,
      .nullable = true,
      .about = "The greatest output; null: there is none."}},
    {BIT(RELU),
     {.key = "threshold",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(threshold),
      .low = -1e6,
      .high = 1e6,
      .about = "Inputs from here on are passed through."}},
    {BIT(GELU),
     {.key = "approximate",
      .kind = WML_FIELD_BOOL,
      .offset = offsetof(described, approximate),
      .about = "Whether the approximation by tanh is computed."}},
    {ALL_ACTIVATIONS, {.key = "trainable", .kind = WML_FIELD_IGNORED}},
    {ALL_ACTIVATIONS, {.key = "dtype", .kind = WML_FIELD_IGNORED}},
};

static void activation_defaults(wml_activation *a) {
  a->alpha = 0.0f;
  a->max_value = INFINITY;
  a->threshold = 0.0f;
  switch (a->kind) {
  case WML_LEAKY_RELU: a->alpha = 0.2f; break;
  case WML_ELU:
  case WML_CELU: a->alpha = 1.0f; break;
  case WML_SQUAREPLUS: a->alpha = 4.0f; break;
  case WML_SOFT_SHRINK: a->alpha = 0.5f; break;
  default: break;
  }
}

static int activation_fields_of(int kind, wml_field *out) {
  described plain = {.activation = {.kind = (wml_activation_kind)kind}};
  activation_defaults(&plain.activation);
  return wml_fields_of_kind(activation_fields, COUNT(activation_fields), kind, &plain, out);
}

static int activation_kind(const char *name) {
  for (int i = 0; i < WML_N_ACTIVATIONS; i++)
    if (strcmp(name, activation_names[i]) == 0) return i;
  for (int i = 0; i < COUNT(activation_aliases); i++)
    if (strcmp(name, activation_aliases[i].alias) == 0) return activation_aliases[i].kind;
  return -1;
}

webml_status wml_read_activation(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                                 wml_activation *out, wml_issues *issues) {
  wml_field fields[WML_MOST_FIELDS];
  const wml_json *options;
  const char *name = wml_name_of(json, &options);
  int kind = name ? activation_kind(name) : -1;
  *out = (wml_activation){.kind = WML_LINEAR, .max_value = INFINITY};
  if (!name)
    wml_issue(issues, place,
              "must be the name of an activation such as \"relu\", \"sigmoid\" or \"softmax\"");
  else if (kind < 0)
    wml_unknown_name(issues, place, json, "unknown activation", name, activation_names,
                     WML_N_ACTIVATIONS);
  if (kind < 0) return WEBML_OK;
  described d = {.activation = {.kind = (wml_activation_kind)kind}};
  activation_defaults(&d.activation);
  wml_json_path config = {.in = place, .key = "config"};
  WML_TRY(wml_fields_read(arena, fields, activation_fields_of(kind, fields), options,
                          options == json ? place : &config, "name", &d, issues));
  *out = d.activation;
  if (d.approximate) out->kind = WML_GELU_TANH;
  if (out->kind == WML_CELU && out->alpha == 0.0f) {
    wml_issue(issues, place, "celu divides by its alpha, which must not be 0; relu is the limit");
    wml_issue_cure(issues, "use relu");
    wml_patch_replace(issues, place, "\"relu\"");
  }
  return WEBML_OK;
}

void wml_write_activation(wml_text *t, const wml_activation *a) {
  wml_field fields[WML_MOST_FIELDS];
  described d = {.activation = *a};
  int n = activation_fields_of((int)a->kind, fields);
  if (!wml_fields_differ(fields, n, &d)) {
    wml_json_string(t, activation_names[a->kind]);
    return;
  }
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, activation_names[a->kind]);
  wml_fields_write(t, fields, n, &d);
  wml_json_close(t, '}');
}

static const char *activation_name(int kind) {
  return activation_names[kind];
}
static const char *activation_about(int kind) {
  return activation_abouts[kind];
}
const wml_kind_list wml_activation_list = {
    "activations",        WML_N_ACTIVATIONS,  activation_name,          activation_about,
    activation_fields_of, activation_aliases, COUNT(activation_aliases)};

/* ---- initializers ---- */

static const wml_initializer initializers[] = {
    {.name = "zeros", .kind = WML_INIT_CONSTANT, .a = 0.0f},
    {.name = "ones", .kind = WML_INIT_CONSTANT, .a = 1.0f},
    {.name = "constant", .kind = WML_INIT_CONSTANT, .a = 0.0f},
    {.name = "random_uniform", .kind = WML_INIT_UNIFORM, .a = -0.05f, .b = 0.05f},
    {.name = "random_normal", .kind = WML_INIT_NORMAL, .a = 0.0f, .b = 0.05f},
    {.name = "truncated_normal", .kind = WML_INIT_TRUNCATED_NORMAL, .a = 0.0f, .b = 0.05f},
    {.name = "glorot_uniform",
     .kind = WML_INIT_VARIANCE_SCALING,
     .a = 1.0f,
     .mode = WML_FAN_AVG,
     .distribution = WML_DIST_UNIFORM},
    {.name = "glorot_normal",
     .kind = WML_INIT_VARIANCE_SCALING,
     .a = 1.0f,
     .mode = WML_FAN_AVG,
     .distribution = WML_DIST_TRUNCATED},
    {.name = "he_uniform",
     .kind = WML_INIT_VARIANCE_SCALING,
     .a = 2.0f,
     .mode = WML_FAN_IN,
     .distribution = WML_DIST_UNIFORM},
    {.name = "he_normal",
     .kind = WML_INIT_VARIANCE_SCALING,
     .a = 2.0f,
     .mode = WML_FAN_IN,
     .distribution = WML_DIST_TRUNCATED},
    {.name = "lecun_uniform",
     .kind = WML_INIT_VARIANCE_SCALING,
     .a = 1.0f,
     .mode = WML_FAN_IN,
     .distribution = WML_DIST_UNIFORM},
    {.name = "lecun_normal",
     .kind = WML_INIT_VARIANCE_SCALING,
     .a = 1.0f,
     .mode = WML_FAN_IN,
     .distribution = WML_DIST_TRUNCATED},
    {.name = "variance_scaling",
     .kind = WML_INIT_VARIANCE_SCALING,
     .a = 1.0f,
     .mode = WML_FAN_IN,
     .distribution = WML_DIST_TRUNCATED},
    {.name = "orthogonal", .kind = WML_INIT_ORTHOGONAL, .a = 1.0f},
};
enum { N_INITIALIZERS = sizeof initializers / sizeof *initializers };
static const char *const initializer_abouts[N_INITIALIZERS] = {
    "Sets all values to 0.",
    "Sets all values to 1.",
    "Sets all values to one number.",
    "Draws from a uniform distribution.",
    "Draws from a normal distribution.",
    "Draws from a normal distribution, again where a value is more than two deviations away.",
    "Draws uniformly, scaled by the mean of inputs and outputs; the usual choice.",
    "Draws from a truncated normal distribution, scaled by the mean of inputs and outputs.",
    "Draws uniformly, scaled by the inputs; made for relu.",
    "Draws from a truncated normal distribution, scaled by the inputs; made for relu.",
    "Draws uniformly, scaled by the inputs; made for selu.",
    "Draws from a truncated normal distribution, scaled by the inputs; made for selu.",
    "Draws from a distribution of choice, scaled by inputs, outputs or their mean.",
    "Makes an orthogonal matrix."};

static const char *const modes[] = {"fan_in", "fan_out", "fan_avg", NULL};
static const char *const distributions[] = {"uniform", "truncated_normal", "untruncated_normal",
                                            NULL};

/* Here the kinds are wml_initializer_kind: several names share one. */
#define OF(symbol) (1u << WML_INIT_##symbol)
#define IN(member) offsetof(wml_initializer, member)
#define NUMBER(name, member, least, text)                                                          \
  {                                                                                                \
    .key = name, .kind = WML_FIELD_FLOAT, .offset = IN(member), .low = least, .high = 1e6,         \
    .about = text                                                                                  \
  }
static const wml_kind_field initializer_fields[] = {
    {OF(CONSTANT), NUMBER("value", a, -1e6, "The number that all values are set to.")},
    {OF(UNIFORM), NUMBER("minval", a, -1e6, "The least value.")},
    {OF(UNIFORM), NUMBER("maxval", b, -1e6, "The greatest value.")},
    {OF(NORMAL) | OF(TRUNCATED_NORMAL), NUMBER("mean", a, -1e6, "The mean of the values.")},
    {OF(NORMAL) | OF(TRUNCATED_NORMAL), NUMBER("stddev", b, 0, "Their standard deviation.")},
    {OF(VARIANCE_SCALING), NUMBER("scale", a, 0, "A factor of the variance.")},
    {OF(VARIANCE_SCALING),
     {.key = "mode",
      .kind = WML_FIELD_CHOICE,
      .offset = IN(mode),
      .words = modes,
      .about = "What the variance is divided by: inputs, outputs or their mean."}},
    {OF(VARIANCE_SCALING),
     {.key = "distribution",
      .kind = WML_FIELD_CHOICE,
      .offset = IN(distribution),
      .words = distributions,
      .about = "The distribution that values are drawn from."}},
    {OF(ORTHOGONAL), NUMBER("gain", a, 0, "A factor of the matrix.")},
    {~0u, {.key = "seed", .kind = WML_FIELD_IGNORED}},
};

/* Keras's other names, by the place of the initializer in the list. */
static const wml_alias initializer_aliases[] = {
    {"zero", 0}, {"one", 1}, {"uniform", 3}, {"normal", 4}};

static int initializer_index(const char *name) {
  for (int i = 0; i < COUNT(initializer_aliases); i++)
    if (wml_same_word(name, initializer_aliases[i].alias)) return initializer_aliases[i].kind;
  for (int i = 0; i < N_INITIALIZERS; i++)
    if (wml_same_word(name, initializers[i].name)) return i;
  return -1;
}

bool wml_initializer_by_name(const char *name, wml_initializer *out) {
  int i = initializer_index(name);
  if (i >= 0) *out = initializers[i];
  return i >= 0;
}

bool wml_initializer_is(const wml_initializer *w, const char *name) {
  wml_initializer o;
  return w->name && strcmp(w->name, name) == 0 && wml_initializer_by_name(name, &o) &&
         w->a == o.a && w->b == o.b && w->mode == o.mode && w->distribution == o.distribution;
}

static int initializer_fields_of(int index, wml_field *out) {
  const wml_initializer *plain = &initializers[index];
  return wml_fields_of_kind(initializer_fields, COUNT(initializer_fields), (int)plain->kind, plain,
                            out);
}

webml_status wml_read_initializer(wml_arena *arena, const wml_json *json,
                                  const wml_json_path *place, wml_initializer *out,
                                  wml_issues *issues) {
  wml_field fields[WML_MOST_FIELDS];
  const wml_json *options;
  const char *names[N_INITIALIZERS], *name = wml_name_of(json, &options);
  int index = name ? initializer_index(name) : -1;
  for (int i = 0; i < N_INITIALIZERS; i++) names[i] = initializers[i].name;
  if (!name)
    wml_issue(issues, place,
              "must be the name of an initializer such as \"glorot_uniform\" or \"zeros\"");
  else if (index < 0)
    wml_unknown_name(issues, place, json, "unknown initializer", name, names, N_INITIALIZERS);
  if (index < 0) return WEBML_OK;
  *out = initializers[index];
  wml_json_path config = {.in = place, .key = "config"};
  return wml_fields_read(arena, fields, initializer_fields_of(index, fields), options,
                         options == json ? place : &config, "name", out, issues);
}

void wml_write_initializer(wml_text *t, const wml_initializer *w) {
  wml_field fields[WML_MOST_FIELDS];
  int n = initializer_fields_of(initializer_index(w->name), fields);
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, w->name);
  wml_fields_write(t, fields, n, w);
  wml_json_close(t, '}');
}

static const char *initializer_name(int index) {
  return initializers[index].name;
}
static const char *initializer_about(int index) {
  return initializer_abouts[index];
}
const wml_kind_list wml_initializer_list = {
    "initializers",        N_INITIALIZERS,      initializer_name,          initializer_about,
    initializer_fields_of, initializer_aliases, COUNT(initializer_aliases)};

/* ---- regularizers ---- */

enum { L1, L2, L1_L2, N_REGULARIZERS };
static const char *const regularizer_names[] = {"l1", "l2", "l1_l2", NULL};
static const wml_kind_field regularizer_fields[] = {
    {1u << L1 | 1u << L1_L2,
     {.key = "l1",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_regularizer, l1),
      .low = 0,
      .high = 1e9,
      .about = "The factor of the sum of the absolute values."}},
    {1u << L2 | 1u << L1_L2,
     {.key = "l2",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_regularizer, l2),
      .low = 0,
      .high = 1e9,
      .about = "The factor of the sum of the squares."}},
};

static int regularizer_fields_of(int kind, wml_field *out) {
  const wml_regularizer plain = {0.01f, 0.01f};
  return wml_fields_of_kind(regularizer_fields, COUNT(regularizer_fields), kind, &plain, out);
}

webml_status wml_read_regularizer(wml_arena *arena, const wml_json *json,
                                  const wml_json_path *place, wml_regularizer *out,
                                  wml_issues *issues) {
  wml_field fields[WML_MOST_FIELDS];
  const wml_json *options;
  const char *name = wml_name_of(json, &options);
  int kind = N_REGULARIZERS;
  *out = (wml_regularizer){0};
  for (int i = 0; name && i < N_REGULARIZERS; i++)
    if (wml_same_word(name, regularizer_names[i])) kind = i;
  bool factors = json->kind == WML_JSON_OBJECT && !name; /* {"l1": ..., "l2": ...} */
  if (kind == N_REGULARIZERS && !factors) {
    wml_issue(issues, place,
              "must be \"l1\", \"l2\", \"l1_l2\" or {\"l1\": number, \"l2\": number}");
    wml_issue_cure(issues, "remove it");
    wml_patch_remove(issues, place);
    return WEBML_OK;
  }
  int n = regularizer_fields_of(factors ? L1_L2 : kind, fields);
  for (int i = 0; factors && i < n; i++) fields[i].otherwise = 0.0;
  wml_json_path config = {.in = place, .key = "config"};
  bool inside = factors || options == json;
  return wml_fields_read(arena, fields, n, factors ? json : options, inside ? place : &config,
                         "name", out, issues);
}

void wml_write_regularizer(wml_text *t, const wml_regularizer *r) {
  wml_json_open(t, '{');
  wml_text_format(t, "\"l1\":%.9g,\"l2\":%.9g", (double)r->l1, (double)r->l2);
  wml_json_close(t, '}');
}

static const char *regularizer_name(int kind) {
  return regularizer_names[kind];
}
static const char *regularizer_about(int kind) {
  static const char *const abouts[] = {
      "Adds the sum of the absolute values to the loss: few weights stay away from 0.",
      "Adds the sum of the squares to the loss: weights stay small.", "Adds both."};
  return abouts[kind];
}
const wml_kind_list wml_regularizer_list = {"regularizers",
                                            N_REGULARIZERS,
                                            regularizer_name,
                                            regularizer_about,
                                            regularizer_fields_of,
                                            NULL,
                                            0};

/* ---- constraints ---- */

#define CONSTRAINT_NAME(symbol, name, about) name,
#define CONSTRAINT_ABOUT(symbol, name, about) about,
#define CONSTRAINT_BIT(symbol) (1u << (WML_##symbol - 1))
static const char *const constraint_names[] = {WML_CONSTRAINTS(CONSTRAINT_NAME)};
static const char *const constraint_abouts[] = {WML_CONSTRAINTS(CONSTRAINT_ABOUT)};
enum { N_CONSTRAINTS = WML_CONSTRAINTS_END - 1 };

static const wml_kind_field constraint_fields[] = {
    {CONSTRAINT_BIT(MIN_MAX_NORM),
     {.key = "min_value",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_constraint, min_value),
      .low = 0,
      .high = 1e9,
      .about = "The least norm."}},
    {CONSTRAINT_BIT(MAX_NORM) | CONSTRAINT_BIT(MIN_MAX_NORM),
     {.key = "max_value",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_constraint, max_value),
      .low = 0,
      .high = 1e9,
      .about = "The greatest norm."}},
    {CONSTRAINT_BIT(MIN_MAX_NORM),
     {.key = "rate",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_constraint, rate),
      .low = 0,
      .high = 1,
      .about = "How far towards a bound an update goes; 1: all the way."}},
    {~CONSTRAINT_BIT(NON_NEG),
     {.key = "axis",
      .kind = WML_FIELD_AXES,
      .offset = offsetof(wml_constraint, axes),
      .low = 0,
      .high = 3,
      .about = "The axis, or a list of axes, along which norms are taken: 0 in Dense, [0, 1, 2] in "
               "Conv2D for one norm for each output."}},
};

static int constraint_fields_of(int kind, wml_field *out) {
  const wml_constraint plain = {.max_value = kind == WML_MAX_NORM - 1 ? 2.0f : 1.0f, .rate = 1.0f};
  return wml_fields_of_kind(constraint_fields, COUNT(constraint_fields), kind, &plain, out);
}

static const char *constraint_name(int kind) {
  return constraint_names[kind];
}
static const char *constraint_about(int kind) {
  return constraint_abouts[kind];
}
const wml_kind_list wml_constraint_list = {
    "constraints", N_CONSTRAINTS, constraint_name, constraint_about, constraint_fields_of, NULL, 0};

webml_status wml_read_constraint(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                                 wml_constraint *out, wml_issues *issues) {
  wml_field fields[WML_MOST_FIELDS];
  const wml_json *options;
  const char *name = wml_name_of(json, &options);
  int kind = -1;
  *out = (wml_constraint){0};
  for (int i = 0; name && i < N_CONSTRAINTS; i++)
    if (wml_same_word(name, constraint_names[i])) kind = i;
  if (kind < 0 && name) {
    wml_unknown_name(issues, place, json, "unknown constraint", name, constraint_names,
                     N_CONSTRAINTS);
    return WEBML_OK;
  }
  if (kind < 0) {
    wml_issue(issues, place, "must be a name such as \"max_norm\", or an object {\"name\": ...}");
    wml_issue_cure(issues, "remove it");
    wml_patch_remove(issues, place);
    return WEBML_OK;
  }
  wml_json_path config = {.in = place, .key = "config"};
  WML_TRY(wml_fields_read(arena, fields, constraint_fields_of(kind, fields), options,
                          options == json ? place : &config, "name", out, issues));
  out->kind = (wml_constraint_kind)(kind + 1);
  return WEBML_OK;
}

void wml_write_constraint(wml_text *t, const wml_constraint *c) {
  wml_field fields[WML_MOST_FIELDS];
  int kind = (int)c->kind - 1, n = constraint_fields_of(kind, fields);
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, constraint_names[kind]);
  wml_fields_write(t, fields, n, c);
  wml_json_close(t, '}');
}
