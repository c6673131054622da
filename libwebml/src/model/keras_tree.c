#include "model/keras_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

wml_json *wml_tree_new(wml_issues *issues, wml_json_kind kind, int line) {
  wml_json *v = wml_arena_alloc(&issues->arena, sizeof *v);
  if (v) *v = (wml_json){.kind = kind, .line = line};
  issues->failed |= !v;
  return v;
}

wml_json *wml_tree_string(wml_issues *issues, const char *string, int line) {
  wml_json *v = wml_tree_new(issues, WML_JSON_STRING, line);
  if (v) v->string = string;
  return v;
}

wml_json *wml_tree_number(wml_issues *issues, double number, int line) {
  wml_json *v = wml_tree_new(issues, WML_JSON_NUMBER, line);
  if (v) v->number = number;
  return v;
}

wml_json *wml_tree_copy(wml_issues *issues, const wml_json *value) {
  wml_json *v = wml_tree_new(issues, WML_JSON_NULL, value->line);
  if (!v) return NULL;
  *v = *value;
  v->key = NULL;
  v->next = NULL;
  return v;
}

void wml_tree_put(wml_json *parent, const char *key, wml_json *value) {
  if (!parent || !value) return;
  wml_json **tail = &parent->first;
  while (*tail) tail = &(*tail)->next;
  value->key = key;
  *tail = value;
  parent->count++;
}

const wml_json *wml_tree_item(const wml_json *array, int i) {
  const wml_json *item = array && array->kind == WML_JSON_ARRAY ? array->first : NULL;
  while (item && i-- > 0) item = item->next;
  return item;
}

const char *wml_tree_word(const wml_json *object, const char *key) {
  return wml_json_get_string(object, key, "");
}

/* ---- documents ---- */

const wml_json *wml_keras_config(const wml_json *model) {
  const wml_json *config = wml_json_get(model, "config");
  return config ? config : model;
}

const wml_json *wml_keras_layers(const wml_json *model) {
  const wml_json *config = wml_keras_config(model);
  if (config->kind == WML_JSON_ARRAY) return config; /* of Sequential, in old versions */
  const wml_json *layers = wml_json_get(config, "layers");
  return layers && layers->kind == WML_JSON_ARRAY ? layers : NULL;
}

const char *wml_keras_name(const wml_json *layer) {
  const char *name = wml_tree_word(layer, "name");
  return *name ? name : wml_tree_word(wml_json_get(layer, "config"), "name");
}

bool wml_keras_is_input(const wml_json *layer) {
  return strcmp(wml_tree_word(layer, "class_name"), "InputLayer") == 0;
}

bool wml_keras_is_chain(const wml_json *model) {
  const wml_json *config = wml_keras_config(model);
  return config->kind == WML_JSON_ARRAY || !wml_json_get(config, "output_layers");
}

/* ---- errors ---- */

void wml_keras_complain(wml_keras_translation *t, const wml_json *layer, const char *format, ...) {
  char text[400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  wml_issue(t->issues, NULL, "layer \"%.80s\" (%.60s): %s", wml_keras_name(layer),
            wml_tree_word(layer, "class_name"), text);
  if (t->issues->last) t->issues->last->line = layer->line;
}

void *wml_keras_alloc(wml_keras_translation *t, size_t bytes) {
  void *p = wml_arena_alloc(&t->issues->arena, bytes ? bytes : 1);
  t->issues->failed |= !p;
  t->broken |= !p;
  return p;
}

/* ---- names ---- */

/* "prefix.name"; slashes, which names may not have here, become dots. */
const char *wml_keras_full_name(wml_keras_translation *t, const char *prefix, const char *name) {
  size_t n = (prefix ? strlen(prefix) + 1 : 0) + strlen(name) + 1;
  char *text = wml_keras_alloc(t, n);
  if (!text) return "";
  snprintf(text, n, "%s%s%s", prefix ? prefix : "", prefix ? "." : "", name);
  for (char *c = text; *c; c++)
    if (*c == '/') *c = '.';
  return text;
}

wml_keras_tensors wml_keras_tensors_of(wml_keras_translation *t, int n) {
  const char **names = wml_keras_alloc(t, (size_t)n * sizeof *names);
  return (wml_keras_tensors){names ? n : 0, names};
}

wml_keras_tensors wml_keras_tensor(wml_keras_translation *t, const char *name) {
  wml_keras_tensors one = wml_keras_tensors_of(t, 1);
  if (one.n) one.names[0] = name;
  return one;
}
