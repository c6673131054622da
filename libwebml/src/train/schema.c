/* webml_schema(): the tables that descriptions and options are checked against, as JSON. */
#include "base/options.h"
#include "data/augmentation.h"
#include "model/layer.h"
#include "train/trainer.h"
#include "zoo/zoo.h"

#include <stdio.h>
#include <string.h>

static void write_text(wml_text *t, const char *key, const char *value) {
  wml_json_key(t, key);
  if (value)
    wml_json_string(t, value);
  else
    wml_json_null(t);
}

static void write_flag(wml_text *t, const char *key, bool value) {
  wml_json_key(t, key);
  wml_json_bool(t, value);
}

/* null where it is not finite: there is none. */
static void write_number(wml_text *t, const char *key, double value) {
  wml_json_key(t, key);
  wml_json_number(t, value);
}

/* A float that was written in decimal, as it was written: 0.1, not 0.10000000149. */
static double decimal(double value) {
  char text[WML_NUMBER_BYTES];
  double back = value;
  snprintf(text, sizeof text, "%.7g", value);
  if (!wml_parse_number(text, strlen(text), &back) || (float)back != (float)value) return value;
  return back;
}

static void write_words(wml_text *t, const char *const *words) {
  wml_json_key(t, "choices");
  wml_json_open(t, '[');
  for (; *words; words++) wml_json_string(t, *words);
  wml_json_close(t, ']');
}

/* ---- fields of a description ---- */

static const char *const type_names[] = {[WML_FIELD_INT] = "integer",
                                         [WML_FIELD_FLOAT] = "number",
                                         [WML_FIELD_BOOL] = "boolean",
                                         [WML_FIELD_PAIR] = "pair",
                                         [WML_FIELD_INTS] = "integers",
                                         [WML_FIELD_BOX] = "box",
                                         [WML_FIELD_SPAN] = "span",
                                         [WML_FIELD_NUMBERS] = "numbers",
                                         [WML_FIELD_CHOICE] = "choice",
                                         [WML_FIELD_ACTIVATION] = "activation",
                                         [WML_FIELD_NAME] = "string",
                                         [WML_FIELD_INITIALIZER] = "initializer",
                                         [WML_FIELD_REGULARIZER] = "regularizer",
                                         [WML_FIELD_CONSTRAINT] = "constraint",
                                         [WML_FIELD_AXES] = "axes"};

static void write_default(wml_text *t, const wml_field *f) {
  wml_json_key(t, "default");
  switch (f->kind) {
  case WML_FIELD_BOOL: wml_json_bool(t, f->otherwise != 0.0); return;
  case WML_FIELD_CHOICE: wml_json_string(t, f->words[(int)f->otherwise]); return;
  case WML_FIELD_INITIALIZER: wml_json_string(t, f->word); return;
  case WML_FIELD_ACTIVATION: wml_json_string(t, wml_activation_name(WML_LINEAR)); return;
  case WML_FIELD_INT:
  case WML_FIELD_PAIR:
  case WML_FIELD_BOX:
  case WML_FIELD_SPAN:
  case WML_FIELD_AXES:
  case WML_FIELD_FLOAT:
    if (f->nullable && (f->otherwise == 0.0 || f->otherwise < f->low))
      wml_json_null(t);
    else
      wml_json_number(t, decimal(f->otherwise));
    return;
  default: wml_json_null(t); return;
  }
}

static void write_suggested(wml_text *t, const wml_field *f) {
  wml_json_key(t, "suggested");
  if (f->word)
    wml_json_raw(t, f->word);
  else
    wml_json_number(t, f->suggested);
}

static void write_field(wml_text *t, const wml_field *f) {
  bool bounded = f->kind == WML_FIELD_INT || f->kind == WML_FIELD_FLOAT ||
                 f->kind == WML_FIELD_PAIR || f->kind == WML_FIELD_INTS ||
                 f->kind == WML_FIELD_BOX || f->kind == WML_FIELD_SPAN ||
                 f->kind == WML_FIELD_NUMBERS || f->kind == WML_FIELD_AXES;
  wml_json_open(t, '{');
  write_text(t, "name", f->key);
  write_text(t, "type", type_names[f->kind]);
  write_text(t, "description", f->about);
  write_flag(t, "required", f->required);
  write_flag(t, "nullable", f->nullable);
  if (!f->required) write_default(t, f);
  if (f->required) write_suggested(t, f);
  if (bounded) write_number(t, "minimum", f->low);
  if (bounded) write_number(t, "maximum", f->high);
  if (f->kind == WML_FIELD_CHOICE) write_words(t, f->words);
  wml_json_close(t, '}');
}

static void write_fields(wml_text *t, const wml_field *fields, int n) {
  wml_json_key(t, "options");
  wml_json_open(t, '[');
  for (int i = 0; i < n; i++)
    if (fields[i].kind != WML_FIELD_IGNORED) write_field(t, &fields[i]);
  wml_json_close(t, ']');
}

/* ---- kinds ---- */

static void write_layers(wml_text *t) {
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < wml_n_layer_classes; i++) {
    const wml_layer_class *class = wml_layer_classes[i];
    wml_json_open(t, '{');
    write_text(t, "name", class->name);
    write_text(t, "description", class->about);
    write_text(t, "takes", class->takes);
    write_fields(t, class->fields, class->n_fields);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

static void write_list(wml_text *t, const wml_kind_list *list) {
  wml_field fields[WML_MOST_FIELDS];
  wml_json_key(t, list->key);
  wml_json_open(t, '[');
  for (int i = 0; i < list->n; i++) {
    wml_json_open(t, '{');
    write_text(t, "name", list->name(i));
    write_text(t, "description", list->about(i));
    wml_json_key(t, "aliases");
    wml_json_open(t, '[');
    for (int k = 0; k < list->n_aliases; k++)
      if (list->aliases[k].kind == i && strcmp(list->aliases[k].alias, list->name(i)) != 0)
        wml_json_string(t, list->aliases[k].alias);
    wml_json_close(t, ']');
    write_fields(t, fields, list->fields(i, fields));
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

static void write_top_keys(wml_text *t) {
  int n;
  const wml_top_key *keys = wml_top_keys(&n);
  wml_json_key(t, "model");
  wml_json_open(t, '[');
  for (int i = 0; i < n; i++) {
    wml_json_open(t, '{');
    write_text(t, "name", keys[i].key);
    write_text(t, "type", "value");
    write_text(t, "description", keys[i].about);
    write_flag(t, "required", keys[i].required);
    write_flag(t, "nullable", !keys[i].required || keys[i].nullable);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

/* ---- options of a training ---- */

static void write_option_default(wml_text *t, const wml_option *o) {
  wml_json_key(t, "default");
  if (o->open)
    wml_json_null(t); /* it depends: the description says on what */
  else if (o->kind == WML_OPTION_FLAG)
    wml_json_bool(t, false);
  else if (o->kind == WML_OPTION_CHOICE)
    wml_json_string(t, o->words[0]);
  else if (o->kind == WML_OPTION_TEXT)
    wml_json_null(t);
  else
    wml_json_number(t, o->otherwise);
}

static void write_option(wml_text *t, const wml_option *o) {
  static const char *const types[] = {
      [WML_OPTION_INTEGER] = "integer", [WML_OPTION_SEED] = "integer",
      [WML_OPTION_NUMBER] = "number",   [WML_OPTION_FLAG] = "boolean",
      [WML_OPTION_CHOICE] = "choice",   [WML_OPTION_TEXT] = "string"};
  char text[256];
  wml_json_open(t, '{');
  write_text(t, "name", o->name);
  write_text(t, "type", types[o->kind]);
  snprintf(text, sizeof text, "%s%s%s", o->about, o->open ? " Default: " : "",
           o->open ? o->open : "");
  write_text(t, "description", text);
  write_flag(t, "required", false);
  write_flag(t, "nullable", o->open != NULL);
  write_option_default(t, o);
  if (o->kind == WML_OPTION_INTEGER || o->kind == WML_OPTION_NUMBER) {
    write_number(t, "minimum", o->low);
    write_number(t, o->below ? "exclusiveMaximum" : "maximum", o->high);
  } else if (o->kind == WML_OPTION_SEED)
    write_number(t, "minimum", 0.0);
  if (o->kind == WML_OPTION_CHOICE) write_words(t, o->words);
  snprintf(text, sizeof text, "--%s", o->command_line ? o->command_line : "");
  write_text(t, "command_line", o->command_line ? text : NULL);
  wml_json_close(t, '}');
}

static void write_options(wml_text *t, const char *key, const wml_option *list, int n) {
  wml_json_key(t, key);
  wml_json_open(t, '[');
  for (int i = 0; i < n; i++) write_option(t, &list[i]);
  wml_json_close(t, ']');
}

static void write_networks(wml_text *t) {
  wml_option options[WML_ZOO_OPTIONS];
  wml_json_key(t, "networks");
  wml_json_open(t, '[');
  for (int i = 0; i < wml_n_networks; i++) {
    wml_json_open(t, '{');
    write_text(t, "name", wml_networks[i].name);
    write_text(t, "description", wml_networks[i].about);
    write_options(t, "options", options, wml_network_options(&wml_networks[i], options));
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

webml_status webml_schema(char **json) {
  static const wml_kind_list *const lists[] = {
      &wml_activation_list, &wml_initializer_list, &wml_regularizer_list, &wml_constraint_list,
      &wml_loss_list,       &wml_optimizer_list,   &wml_metric_list};
  if (!json) return wml_fail(WEBML_ERROR_ARGUMENT, "webml_schema: json must not be NULL");
  wml_text t = {0};
  int n;
  wml_json_open(&t, '{');
  write_text(&t, "version", webml_version());
  write_top_keys(&t);
  write_layers(&t);
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) write_list(&t, lists[i]);
  write_networks(&t);
  const wml_option *training = wml_train_option_list(&n);
  write_options(&t, "training", training, n);
  const wml_option *augmentation = wml_augmentation_option_list(&n);
  write_options(&t, "augmentation", augmentation, n);
  const wml_option *data = wml_dataset_option_list(&n);
  write_options(&t, "data", data, n);
  wml_json_close(&t, '}');
  return wml_text_take(&t, json);
}
