/* Activations, initializers and regularizers: a name, or an object {"name": ..., options}. Keras's
 * {"class_name", "config"} is read too. */
#include "model/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const activation_names[] = {
#define NAME(symbol, name) name,
    WML_ACTIVATIONS(NAME)
#undef NAME
};

const char *wml_activation_name(wml_activation_kind kind) {
  return activation_names[kind];
}

/* The name in a string or object, and the object that holds the options (NULL without). */
static const char *name_of(const wml_json *json, const wml_json **options) {
  *options = NULL;
  if (json->kind == WML_JSON_STRING) return json->string;
  if (json->kind != WML_JSON_OBJECT) return NULL;
  const char *name = wml_json_get_string(json, "name", NULL);
  if (name)
    *options = json;
  else if ((name = wml_json_get_string(json, "class_name", NULL)) != NULL)
    *options = wml_json_get(json, "config");
  return name;
}

static bool same_word(const char *a, const char *b) { /* GlorotUniform = glorot_uniform */
  for (;; a++, b++) {
    while (*a == '_') a++;
    while (*b == '_') b++;
    char ca = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a,
         cb = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
    if (ca != cb) return false;
    if (!ca) return true;
  }
}

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

static void option(const wml_json *options, const char *key, const char *other_key, float *value) {
  const wml_json *v = wml_json_get(options, key);
  double number;
  if (!v && other_key) v = wml_json_get(options, other_key);
  if (v && wml_number_of(v, &number)) *value = (float)number;
}

webml_status wml_read_activation(const wml_json *json, const char *path, wml_activation *out,
                                 wml_issues *issues) {
  static const struct {
    const char *alias;
    wml_activation_kind kind;
  } aliases[] = {
      {"swish", WML_SILU}, {"hard_swish", WML_HARD_SILU}, {"logsigmoid", WML_LOG_SIGMOID}};
  *out = (wml_activation){.kind = WML_LINEAR, .max_value = INFINITY};
  if (json->kind == WML_JSON_NULL) return WEBML_OK;
  const wml_json *options;
  const char *name = name_of(json, &options);
  int kind = -1;
  for (int i = 0; name && i < WML_N_ACTIVATIONS; i++)
    if (strcmp(name, activation_names[i]) == 0) kind = i;
  for (size_t i = 0; name && i < sizeof aliases / sizeof *aliases; i++)
    if (strcmp(name, aliases[i].alias) == 0) kind = (int)aliases[i].kind;
  if (kind < 0) {
    const char *meant = name ? wml_suggest(name, activation_names, WML_N_ACTIVATIONS) : NULL;
    if (meant)
      wml_issue(issues, path, "unknown activation \"%s\", did you mean \"%s\"?", name, meant);
    else
      wml_issue(issues, path,
                "must be the name of an activation such as \"relu\", \"sigmoid\" or \"softmax\"");
    return WEBML_OK;
  }
  out->kind = (wml_activation_kind)kind;
  activation_defaults(out);
  option(options, "negative_slope", "alpha", &out->alpha);
  option(options, "max_value", NULL, &out->max_value);
  option(options, "threshold", out->kind == WML_SOFT_SHRINK ? "lambda" : NULL,
         out->kind == WML_SOFT_SHRINK ? &out->alpha : &out->threshold);
  option(options, "b", NULL, &out->alpha);
  if (out->kind == WML_GELU && wml_json_get_bool(options, "approximate", false))
    out->kind = WML_GELU_TANH;
  if (out->kind == WML_CELU && out->alpha == 0.0f)
    wml_issue(issues, path, "celu divides by its alpha, which must not be 0; relu is the limit");
  return WEBML_OK;
}

void wml_write_activation(wml_text *t, const wml_activation *a) {
  wml_activation plain = {.kind = a->kind};
  activation_defaults(&plain);
  if (a->alpha == plain.alpha && a->max_value == plain.max_value &&
      a->threshold == plain.threshold) {
    wml_json_string(t, activation_names[a->kind]);
    return;
  }
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, activation_names[a->kind]);
  wml_text_format(t, ",\"alpha\":%.9g", (double)a->alpha);
  if (isfinite(a->max_value)) wml_text_format(t, ",\"max_value\":%.9g", (double)a->max_value);
  if (a->kind == WML_RELU) wml_text_format(t, ",\"threshold\":%.9g", (double)a->threshold);
  wml_json_close(t, '}');
}

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

bool wml_initializer_by_name(const char *name, wml_initializer *out) {
  for (int i = 0; i < N_INITIALIZERS; i++)
    if (same_word(name, initializers[i].name)) {
      *out = initializers[i];
      return true;
    }
  return false;
}

static void read_mode(const wml_json *options, const char *path, wml_initializer *out,
                      wml_issues *issues) {
  const char *mode = wml_json_get_string(options, "mode", NULL);
  const char *distribution = wml_json_get_string(options, "distribution", NULL);
  if (mode) {
    if (strcmp(mode, "fan_in") == 0)
      out->mode = WML_FAN_IN;
    else if (strcmp(mode, "fan_out") == 0)
      out->mode = WML_FAN_OUT;
    else if (strcmp(mode, "fan_avg") == 0)
      out->mode = WML_FAN_AVG;
    else
      wml_issue(issues, path, "mode must be \"fan_in\", \"fan_out\" or \"fan_avg\"");
  }
  if (distribution) {
    if (strcmp(distribution, "uniform") == 0)
      out->distribution = WML_DIST_UNIFORM;
    else if (strcmp(distribution, "truncated_normal") == 0)
      out->distribution = WML_DIST_TRUNCATED;
    else if (strcmp(distribution, "untruncated_normal") == 0)
      out->distribution = WML_DIST_UNTRUNCATED;
    else
      wml_issue(issues, path,
                "distribution must be \"uniform\", \"truncated_normal\" or \"untruncated_normal\"");
  }
}

webml_status wml_read_initializer(wml_arena *arena, const wml_json *json, const char *path,
                                  wml_initializer *out, wml_issues *issues) {
  (void)arena;
  const wml_json *options;
  const char *name = name_of(json, &options);
  if (!name || !wml_initializer_by_name(name, out)) {
    const char *names[N_INITIALIZERS];
    for (int i = 0; i < N_INITIALIZERS; i++) names[i] = initializers[i].name;
    const char *meant = name ? wml_suggest(name, names, N_INITIALIZERS) : NULL;
    if (meant)
      wml_issue(issues, path, "unknown initializer \"%s\", did you mean \"%s\"?", name, meant);
    else
      wml_issue(issues, path,
                "must be the name of an initializer such as \"glorot_uniform\" or \"zeros\"");
    return WEBML_OK;
  }
  switch (out->kind) {
  case WML_INIT_CONSTANT: option(options, "value", NULL, &out->a); break;
  case WML_INIT_UNIFORM:
    option(options, "minval", NULL, &out->a);
    option(options, "maxval", NULL, &out->b);
    break;
  case WML_INIT_NORMAL:
  case WML_INIT_TRUNCATED_NORMAL:
    option(options, "mean", NULL, &out->a);
    option(options, "stddev", NULL, &out->b);
    break;
  case WML_INIT_VARIANCE_SCALING:
    option(options, "scale", NULL, &out->a);
    read_mode(options, path, out, issues);
    break;
  case WML_INIT_ORTHOGONAL: option(options, "gain", NULL, &out->a); break;
  }
  return WEBML_OK;
}

void wml_write_initializer(wml_text *t, const wml_initializer *w) {
  static const char *const modes[] = {"fan_in", "fan_out", "fan_avg"};
  static const char *const distributions[] = {"uniform", "truncated_normal", "untruncated_normal"};
  static const char *const keys[][2] = {{"value", NULL},    {"minval", "maxval"},
                                        {"mean", "stddev"}, {"mean", "stddev"},
                                        {"scale", NULL},    {"gain", NULL}};
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, w->name);
  wml_text_format(t, ",\"%s\":%.9g", keys[w->kind][0], (double)w->a);
  if (keys[w->kind][1]) wml_text_format(t, ",\"%s\":%.9g", keys[w->kind][1], (double)w->b);
  if (w->kind == WML_INIT_VARIANCE_SCALING)
    wml_text_format(t, ",\"mode\":\"%s\",\"distribution\":\"%s\"", modes[w->mode],
                    distributions[w->distribution]);
  wml_json_close(t, '}');
}

webml_status wml_read_regularizer(const wml_json *json, const char *path, wml_regularizer *out,
                                  wml_issues *issues) {
  const wml_json *options;
  const char *name = name_of(json, &options);
  *out = (wml_regularizer){0};
  bool both = json->kind == WML_JSON_OBJECT && !name, l1 = name && same_word(name, "l1"),
       l2 = name && same_word(name, "l2");
  bool l1_l2 = name && same_word(name, "l1_l2");
  if (!both && !l1 && !l2 && !l1_l2) {
    wml_issue(issues, path,
              "must be \"l1\", \"l2\", \"l1_l2\" or {\"l1\": number, \"l2\": number}");
    return WEBML_OK;
  }
  if (both) options = json;
  if (l1 || l1_l2) out->l1 = 0.01f;
  if (l2 || l1_l2) out->l2 = 0.01f;
  option(options, "l1", NULL, &out->l1);
  option(options, "l2", NULL, &out->l2);
  if (!(out->l1 >= 0.0f && out->l2 >= 0.0f))
    wml_issue(issues, path, "factors of a regularizer must not be negative");
  return WEBML_OK;
}

void wml_write_regularizer(wml_text *t, const wml_regularizer *r) {
  wml_json_open(t, '{');
  wml_text_format(t, "\"l1\":%.9g,\"l2\":%.9g", (double)r->l1, (double)r->l2);
  wml_json_close(t, '}');
}
