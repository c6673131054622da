/* Keras's options of layers, and what its compile() was given. */
#include "model/keras_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- keys without meaning ---- */

/* Keys that a class of ours does not have: harmless with this value, or null. */
static const struct {
  const char *key, *value; /* as JSON; NULL: any */
  const char *class_name;  /* NULL: any */
} harmless[] = {
    {"dtype", NULL, NULL},
    {"autocast", NULL, NULL},
    {"batch_input_shape", NULL, NULL},
    {"batch_shape", NULL, NULL},
    {"input_shape", NULL, NULL},
    {"supports_masking", NULL, NULL},
    {"rank", NULL, NULL},
    {"seed", NULL, NULL},
    {"trainable", NULL, NULL},
    {"name", NULL, NULL},
    {"data_format", "\"channels_last\"", NULL},
    {"groups", "1", NULL},
    {"sparse", "false", NULL},
    {"ragged", "false", NULL},
    /* BatchNormalization: there is one device, and one way to compute it. */
    {"synchronized", NULL, "BatchNormalization"},
    {"fused", NULL, "BatchNormalization"},
    {"renorm", "false", "BatchNormalization"},
    /* Keras 2 writes what it inherits from Conv2D. */
    {"kernel_initializer", NULL, "SeparableConv2D"},
    {"kernel_initializer", NULL, "DepthwiseConv2D"},
    /* Losses and metrics. */
    {"reduction", "\"sum_over_batch_size\"", NULL},
    {"reduction", "\"auto\"", NULL},
    {"axis", "-1", NULL},
    {"from_logits", "false", NULL},
    {"label_smoothing", "0", NULL},
    {"num_thresholds", NULL, NULL},
    {"curve", "\"ROC\"", NULL},
    {"summation_method", "\"interpolation\"", NULL},
    {"multi_label", "false", NULL},
    {"class_aggregation", "\"uniform_average\"", NULL},
    {"num_regressors", "0", NULL},
    /* Optimizers. */
    {"jit_compile", NULL, NULL},
    {"is_legacy_optimizer", NULL, NULL},
    {"decay", "0", NULL},
};

static bool is_harmless(const char *class_name, const wml_json *member) {
  wml_text text = {0};
  bool found = member->kind == WML_JSON_NULL;
  if (!found) wml_json_write(&text, member);
  for (size_t i = 0; i < sizeof harmless / sizeof *harmless && !found; i++)
    found = strcmp(member->key, harmless[i].key) == 0 &&
            (!harmless[i].class_name || strcmp(class_name, harmless[i].class_name) == 0) &&
            (!harmless[i].value || (text.data && strcmp(text.data, harmless[i].value) == 0));
  wml_text_free(&text);
  return found;
}

/* ---- values ---- */

/* The kind that a class or a function of Keras is; -1. */
static int kind_named(const wml_kind_list *list, const char *name) {
  for (int i = 0; i < list->n; i++)
    if (wml_same_word(name, list->name(i))) return i;
  for (int i = 0; i < list->n_aliases; i++)
    if (wml_same_word(name, list->aliases[i].alias)) return list->aliases[i].kind;
  return -1;
}

static bool has_field(const wml_field *fields, int n, const char *key) {
  for (int i = 0; i < n; i++)
    if (strcmp(fields[i].key, key) == 0 ||
        (fields[i].other_key && strcmp(fields[i].other_key, key) == 0))
      return true;
  return false;
}

/* Names that older versions and TensorFlow.js have for keys and words. */
static const char *key_of(const wml_kind_list *list, const char *key) {
  static const struct {
    const char *theirs, *ours;
  } keys[] = {{"lr", "learning_rate"},     {"learningRate", "learning_rate"},
              {"beta1", "beta_1"},         {"beta2", "beta_2"},
              {"useNesterov", "nesterov"}, {"initialAccumulatorValue", "initial_accumulator_value"},
              {"thresholds", "threshold"}};
  if (list == &wml_activation_list || list == &wml_initializer_list) return key;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (strcmp(key, keys[i].theirs) == 0) return keys[i].ours;
  return key;
}

/* A member of a serialized object; NULL: it has no meaning. */
static wml_json *member_of(wml_issues *issues, const wml_kind_list *list, const wml_json *member) {
  wml_json *v = wml_tree_copy(issues, member);
  bool normal = list == &wml_initializer_list && strcmp(member->key, "distribution") == 0 &&
                member->kind == WML_JSON_STRING && strcmp(member->string, "normal") == 0;
  if (v && normal) v->string = "truncated_normal"; /* TensorFlow.js, and Keras until 2.2 */
  return v;
}

/* A name, or {"class_name", "config"}, as our name with the options that mean something. */
static wml_json *named(wml_issues *issues, const wml_kind_list *list, const wml_json *json) {
  wml_field fields[WML_MOST_FIELDS];
  const wml_json *config = wml_json_get(json, "config");
  const char *name =
      json->kind == WML_JSON_STRING ? json->string : wml_json_get_string(json, "class_name", NULL);
  if (config && config->kind == WML_JSON_STRING) name = config->string; /* a function */
  if (!name) return wml_tree_copy(issues, json);
  int kind = kind_named(list, name), n = kind < 0 ? 0 : list->fields(kind, fields);
  if (kind >= 0 && json->kind != WML_JSON_STRING) name = list->name(kind);
  wml_json *out = wml_tree_new(issues, WML_JSON_OBJECT, json->line);
  wml_tree_put(out, "name", wml_tree_string(issues, name, json->line));
  bool is_object = config && config->kind == WML_JSON_OBJECT;
  for (const wml_json *m = is_object ? config->first : NULL; m; m = m->next) {
    const char *key = key_of(list, m->key);
    if (strcmp(key, "name") == 0 || (!has_field(fields, n, key) && is_harmless("", m))) continue;
    if (kind < 0 || wml_json_get(out, key)) continue;
    wml_tree_put(out, key, member_of(issues, list, m));
  }
  return out && out->count > 1 ? out : wml_tree_string(issues, name, json->line);
}

static const wml_field *field_of(const wml_layer_class *class, const char *key) {
  for (int i = 0; class && i < class->n_fields; i++)
    if (has_field(&class->fields[i], 1, key)) return &class->fields[i];
  return NULL;
}

/* A list, however it is wrapped: tuples and arrays of NumPy are objects. */
static const wml_json *unwrapped(const wml_json *v) {
  const char *class_name = wml_tree_word(v, "class_name");
  const wml_json *inside = strcmp(class_name, "__tuple__") == 0 ? wml_json_get(v, "items")
                           : strcmp(class_name, "__numpy__") == 0
                               ? wml_json_get(wml_json_get(v, "config"), "value")
                               : NULL;
  return inside ? inside : v;
}

static wml_json *option_of(wml_issues *issues, const wml_field *field, const wml_json *json) {
  const wml_json *v = unwrapped(json);
  if (field->kind == WML_FIELD_ACTIVATION) return named(issues, &wml_activation_list, v);
  if (field->kind == WML_FIELD_INITIALIZER) return named(issues, &wml_initializer_list, v);
  if (field->kind == WML_FIELD_REGULARIZER) return named(issues, &wml_regularizer_list, v);
  if (field->kind == WML_FIELD_CONSTRAINT) return named(issues, &wml_constraint_list, v);
  bool number = field->kind == WML_FIELD_INT || field->kind == WML_FIELD_FLOAT;
  if (number && v->kind == WML_JSON_ARRAY && v->count == 1) v = v->first; /* "axis": [3] */
  return wml_tree_copy(issues, v);
}

wml_json *wml_keras_options(wml_issues *issues, const char *class_name, const wml_json *config,
                            const char *name) {
  const wml_layer_class *class = wml_layer_class_named(class_name);
  bool is_object = class && config && config->kind == WML_JSON_OBJECT;
  int line = config ? config->line : 0;
  wml_json *out = wml_tree_new(issues, WML_JSON_OBJECT, line);
  wml_tree_put(out, "name", wml_tree_string(issues, name, line));
  for (const wml_json *m = is_object ? config->first : NULL; m; m = m->next) {
    const wml_field *field = field_of(class, m->key);
    if (strcmp(m->key, "name") == 0 || (!field && is_harmless(class_name, m))) continue;
    if (field && m->kind == WML_JSON_NULL && !field->required) continue;
    wml_tree_put(out, m->key, field ? option_of(issues, field, m) : wml_tree_copy(issues, m));
  }
  return out;
}

/* ---- compile() ---- */

/* A schedule of the learning rate is an option of a training here; its first value stays. */
static void read_schedule(wml_issues *issues, wml_json *optimizer) {
  for (wml_json *m = optimizer ? optimizer->first : NULL; m; m = m->next) {
    if (!m->key || strcmp(m->key, "learning_rate") != 0 || m->kind != WML_JSON_OBJECT) continue;
    double first = wml_json_get_number(wml_json_get(m, "config"), "initial_learning_rate", 0.001);
    wml_issue_warning(issues, NULL,
                      "the learning rate is a schedule, %.60s, which is not read: it begins with "
                      "%g; schedules are options of a training",
                      wml_tree_word(m, "class_name"), first);
    if (issues->last) issues->last->line = m->line;
    m->kind = WML_JSON_NUMBER;
    m->number = first;
  }
}

static void put_optimizer(wml_issues *issues, const wml_json *compile, wml_json *description) {
  const wml_json *o = wml_json_get(compile, "optimizer");
  if (!o) o = wml_json_get(compile, "optimizer_config");
  const wml_json *inner = wml_json_get(wml_json_get(o, "config"), "inner_optimizer");
  if (inner) o = inner; /* of LossScaleOptimizer: scaling is no business of the description */
  if (!o || o->kind == WML_JSON_NULL) return;
  wml_json *made = named(issues, &wml_optimizer_list, o);
  read_schedule(issues, made);
  wml_tree_put(description, "optimizer", made);
}

static bool is_by_name(const wml_json *v) {
  return v && v->kind == WML_JSON_OBJECT && !wml_json_get(v, "class_name");
}

/* What is said of one output: by its name, by its place, or of all. */
static const wml_json *said_of(const wml_json *v, int output, const char *name) {
  if (is_by_name(v))
    v = wml_json_get(v, name);
  else if (v && v->kind == WML_JSON_ARRAY)
    v = wml_tree_item(v, output);
  return v && v->kind != WML_JSON_NULL ? v : NULL;
}

/* The same of metrics, which are lists themselves. */
static const wml_json *metrics_of(const wml_json *v, int output, const char *name) {
  bool nested = false;
  for (const wml_json *m = v && v->kind == WML_JSON_ARRAY ? v->first : NULL; m; m = m->next)
    nested |= m->kind == WML_JSON_ARRAY || is_by_name(m);
  const wml_json *one = nested || is_by_name(v) ? said_of(v, output, name) : v;
  return is_by_name(one) ? said_of(one, output, name) : one;
}

static void put_metrics(wml_issues *issues, const wml_json *metrics, wml_json *to) {
  if (!metrics || metrics->kind == WML_JSON_NULL) return;
  bool list = metrics->kind == WML_JSON_ARRAY;
  wml_json *out = wml_tree_new(issues, WML_JSON_ARRAY, metrics->line);
  for (const wml_json *m = list ? metrics->first : metrics; m; m = list ? m->next : NULL)
    if (m->kind != WML_JSON_NULL) wml_tree_put(out, NULL, named(issues, &wml_metric_list, m));
  wml_tree_put(to, "metrics", out);
}

static void put_goals(wml_issues *issues, const wml_json *compile, int output, const char *name,
                      wml_json *to) {
  const wml_json *loss = said_of(wml_json_get(compile, "loss"), output, name);
  if (loss) wml_tree_put(to, "loss", named(issues, &wml_loss_list, loss));
  put_metrics(issues, metrics_of(wml_json_get(compile, "metrics"), output, name), to);
}

void wml_keras_compile(wml_issues *issues, const wml_json *compile, const wml_keras_output *outputs,
                       int n, bool is_last, wml_json *description) {
  put_optimizer(issues, compile, description);
  if (n == 1 && is_last) {
    put_goals(issues, compile, 0, outputs[0].name, description);
    return;
  }
  wml_json *all = wml_tree_new(issues, WML_JSON_OBJECT, compile ? compile->line : 0);
  for (int i = 0; i < n; i++) {
    const wml_json *weight = said_of(wml_json_get(compile, "loss_weights"), i, outputs[i].name);
    wml_json *one = wml_tree_new(issues, WML_JSON_OBJECT, all ? all->line : 0);
    put_goals(issues, compile, i, outputs[i].name, one);
    if (weight) wml_tree_put(one, "loss_weight", wml_tree_copy(issues, weight));
    wml_tree_put(all, outputs[i].layer, one);
  }
  wml_tree_put(description, "outputs", all);
}
