/* Keras's documents: where the model stands in them, what it reads and gives. */
#include "model/keras.h"
#include "model/keras_parts.h"

#include <string.h>

/* ---- documents ---- */

static bool is_document(const wml_json *v) {
  const wml_json *layers = wml_json_get(v, "layers");
  const wml_json *first = wml_tree_item(layers, 0);
  return (*wml_tree_word(v, "class_name") && wml_json_get(v, "config")) ||
         *wml_tree_word(first, "class_name");
}

static const wml_json *document_in(const wml_json *root) {
  static const char *const around[] = {"modelTopology", "model_config", "config"};
  for (int depth = 0; depth < 4 && root; depth++) {
    if (is_document(root)) return root;
    const wml_json *inside = NULL;
    for (size_t i = 0; i < sizeof around / sizeof *around && !inside; i++)
      inside = wml_json_get(root, around[i]);
    root = inside;
  }
  return NULL;
}

bool wml_keras_is(const wml_json *root) {
  return document_in(root) != NULL;
}

/* What compile() was given, wherever it stands. */
static const wml_json *compile_in(const wml_json *root) {
  static const char *const keys[] = {"compile_config", "training_config", "trainingConfig"};
  const wml_json *places[] = {document_in(root), root, wml_json_get(root, "modelTopology")};
  for (size_t p = 0; p < sizeof places / sizeof *places; p++)
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
      const wml_json *v = wml_json_get(places[p], keys[i]);
      if (v && v->kind == WML_JSON_OBJECT) return v;
    }
  return NULL;
}

/* ---- the whole model ---- */

/* [batch, ...] of what a layer or a model reads first; NULL. */
static const wml_json *batch_shape_of(const wml_json *layer) {
  const wml_json *config = wml_keras_config(layer), *layers = wml_keras_layers(layer);
  const wml_json *first = layers && layers->first ? batch_shape_of(layers->first) : NULL;
  const wml_json *places[] = {first, wml_json_get(config, "batch_shape"),
                              wml_json_get(config, "batch_input_shape"),
                              wml_json_get(config, "build_input_shape"),
                              wml_json_get(wml_json_get(layer, "build_config"), "input_shape")};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    if (places[i] && places[i]->kind == WML_JSON_ARRAY && places[i]->first)
      return places[i]->first->kind == WML_JSON_ARRAY ? places[i]->first : places[i];
  return NULL;
}

/* The size of a sample. */
static wml_json *size_of(wml_keras_translation *t, const wml_json *layer) {
  const wml_json *shape = batch_shape_of(layer),
                 *whole = wml_json_get(wml_keras_config(layer), "shape");
  if (!shape && !whole)
    WML_KERAS_BREAK(t, layer,
                    "the shape of what it reads is not in the document; it is there when the model "
                    "is built before it is written");
  wml_json *size = wml_tree_new(t->issues, WML_JSON_ARRAY, layer->line);
  const wml_json *first = shape ? shape->first : whole ? whole->first : NULL;
  for (const wml_json *d = shape && first ? first->next : first; d; d = d->next)
    wml_tree_put(size, NULL, wml_tree_copy(t->issues, d));
  return size;
}

/* Those that "input_layers" names, or the model itself. */
static int find_inputs(wml_keras_translation *t, const wml_keras_scope *s,
                       const wml_json **layers) {
  layers[0] = s->model;
  if (wml_keras_is_chain(s->model)) return 1;
  wml_keras_tensors ends = wml_keras_ends(t, s, "input_layers");
  if (ends.n > WML_MAX_ENDS) WML_KERAS_BREAK(t, s->model, "has more than %d inputs", WML_MAX_ENDS);
  if (t->broken) return 0;
  for (int i = 0; i < ends.n; i++) {
    layers[i] = wml_keras_layers(s->model)->first;
    while (layers[i] && strcmp(wml_keras_name(layers[i]), ends.names[i]) != 0)
      layers[i] = layers[i]->next;
    if (layers[i]) continue;
    WML_KERAS_BREAK(t, s->model, "its input \"%.80s\" is not among its layers", ends.names[i]);
    return 0;
  }
  return ends.n;
}

/* Whether an input is of whole numbers. */
static bool is_index(const wml_json *layer) {
  return strncmp(wml_tree_word(wml_keras_config(layer), "dtype"), "int", 3) == 0;
}

static wml_json *input_of(wml_keras_translation *t, const wml_json *layer, wml_json *size) {
  if (!is_index(layer)) return size;
  wml_json *input = wml_tree_new(t->issues, WML_JSON_OBJECT, layer->line);
  wml_tree_put(input, "size", size);
  wml_tree_put(input, "dtype", wml_tree_string(t->issues, "int32", layer->line));
  return input;
}

/* Whether a layer has the name that the only input gets. */
static bool takes_name(const wml_json *model, const char *name) {
  for (const wml_json *l = wml_keras_layers(model)->first; l; l = l->next)
    if (!wml_keras_is_input(l) && strcmp(wml_keras_name(l), name) == 0) return true;
  return false;
}

static void put_model_inputs(wml_keras_translation *t, wml_keras_scope *s, wml_json *description) {
  const wml_json *layers[WML_MAX_ENDS];
  int n = find_inputs(t, s, layers);
  bool one = n == 1 && (wml_keras_is_chain(s->model) ||
                        (!is_index(layers[0]) && !takes_name(s->model, "input")));
  wml_json *inputs = wml_tree_new(t->issues, WML_JSON_OBJECT, description->line);
  s->in = wml_keras_tensors_of(t, n);
  for (int i = 0; i < s->in.n; i++) {
    wml_json *size = size_of(t, layers[i]);
    const char *name = one ? "input" : wml_keras_full_name(t, NULL, wml_keras_name(layers[i]));
    s->in.names[i] = name;
    for (int k = 0; k < i; k++)
      if (layers[k] == layers[i]) WML_KERAS_BREAK(t, layers[i], "is an input twice");
    if (size && size->count == 3) wml_keras_add_bytes(t, name);
    if (one)
      wml_tree_put(description, "size", size);
    else
      wml_tree_put(inputs, name, input_of(t, layers[i], size));
  }
  if (!one) wml_tree_put(description, "inputs", inputs);
  if (n == 1 && s->in.n) t->input = s->in.names[0];
}

static void put_model_outputs(wml_keras_translation *t, const wml_keras_scope *s,
                              const wml_keras_tensors *out, const wml_json *compile,
                              wml_json *description) {
  wml_keras_output *outputs = wml_keras_alloc(t, (size_t)out->n * sizeof *outputs);
  wml_keras_tensors ends = {0};
  const char *last;
  wml_tree_put(description, "layers",
               wml_keras_list(t, out, wml_keras_layers(s->model)->line, &last));
  if (!wml_keras_is_chain(s->model)) ends = wml_keras_ends(t, s, "output_layers");
  if (!outputs || t->broken) return;
  for (int i = 0; i < out->n; i++)
    outputs[i] = (wml_keras_output){i < ends.n ? ends.names[i] : out->names[i], out->names[i]};
  bool is_last = out->n == 1 && last && strcmp(out->names[0], last) == 0;
  wml_keras_compile(t->issues, compile, outputs, out->n, is_last, description);
}

static void translate(wml_keras_translation *t, const wml_json *root, wml_json *description) {
  const wml_json *model = document_in(root), *name = wml_json_get(wml_keras_config(model), "name");
  wml_keras_scope s = {.model = model};
  t->made = wml_keras_alloc(t, WML_KERAS_MOST_CALLS * sizeof *t->made);
  t->bytes = wml_keras_alloc(t, WML_KERAS_MOST_CALLS * sizeof *t->bytes);
  t->entries = wml_keras_alloc(t, WML_KERAS_MOST_CALLS * sizeof *t->entries);
  if (!t->made || !t->bytes || !t->entries) return;
  if (name) wml_tree_put(description, "name", wml_tree_copy(t->issues, name));
  put_model_inputs(t, &s, description);
  if (t->broken) return;
  wml_keras_tensors out = wml_keras_dissolve(t, &s);
  if (!t->broken) put_model_outputs(t, &s, &out, compile_in(root), description);
}

const wml_json *wml_keras_translate(const wml_json *root, wml_issues *issues) {
  const wml_json *model = document_in(root);
  wml_keras_translation t = {.issues = issues};
  if (!wml_keras_layers(model)) {
    wml_issue(issues, NULL,
              "\"%.60s\" does not say its layers; Sequential and Functional models do",
              wml_tree_word(model, "class_name"));
    if (issues->last) issues->last->line = model->line;
    return NULL;
  }
  wml_json *description = wml_tree_new(issues, WML_JSON_OBJECT, model->line);
  if (description) translate(&t, root, description);
  return t.broken || issues->failed ? NULL : description;
}
