/* Entries of the list: one for each call of a layer. */
#include "model/keras_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- entries ---- */

static wml_keras_made *find_made(const wml_keras_translation *t, const char *name) {
  for (int i = 0; i < t->n_made; i++)
    if (strcmp(t->made[i].name, name) == 0) return &t->made[i];
  return NULL;
}

/* name.2, name.3, ... */
static const char *name_of_use(wml_keras_translation *t, wml_keras_made *layer) {
  char text[32];
  snprintf(text, sizeof text, "%d", ++layer->uses);
  return wml_keras_full_name(t, layer->name, text);
}

/* The class by its name; one of somebody else's with the package before it. */
static const char *type_of(wml_keras_translation *t, const wml_json *layer) {
  static const char *const own[] = {"keras", "tensorflow.", "tf_keras", "builtins"};
  const char *class_name = wml_tree_word(layer, "class_name"),
             *module = wml_json_get_string(layer, "module", own[0]);
  bool is_own = strchr(class_name, '>') != NULL;
  for (size_t i = 0; i < sizeof own / sizeof *own; i++)
    is_own |= strncmp(module, own[i], strlen(own[i])) == 0;
  if (is_own) return class_name;
  size_t n = strlen(module) + strlen(class_name) + 2;
  char *text = wml_keras_alloc(t, n);
  if (text) snprintf(text, n, "%s>%s", module, class_name);
  return text ? text : "";
}

static wml_json *options_of(wml_keras_translation *t, const wml_json *layer, const char *full,
                            double scale) {
  const wml_json *config = wml_json_get(layer, "config");
  wml_json *options =
      wml_keras_options(t->issues, wml_tree_word(layer, "class_name"), config, full);
  for (wml_json *m = options && scale != 0.0 ? options->first : NULL; m; m = m->next)
    if (strcmp(m->key, "scale") == 0) m->number = scale;
  return options;
}

/* scale: of a Rescaling, in place of its own; 0: there is none. */
static const char *add_layer(wml_keras_translation *t, const wml_json *layer, const char *full,
                             double scale, const wml_keras_tensors *in) {
  wml_json *entry = wml_tree_new(t->issues, WML_JSON_OBJECT, layer->line);
  wml_keras_made *known = find_made(t, full);
  const char *gives = known ? name_of_use(t, known) : full;
  if (known && known->layer != layer) WML_KERAS_BREAK(t, layer, "is the second layer of that name");
  if (known) {
    wml_tree_put(entry, "use", wml_tree_string(t->issues, full, layer->line));
    wml_tree_put(entry, "name", wml_tree_string(t->issues, gives, layer->line));
  } else {
    t->made[t->n_made++] = (wml_keras_made){full, layer, 1};
    wml_tree_put(entry, "type", wml_tree_string(t->issues, type_of(t, layer), layer->line));
    wml_tree_put(entry, "layer", options_of(t, layer, full, scale));
  }
  t->broken |= !entry;
  t->entries[t->n_entries++] =
      (wml_keras_entry){.json = entry, .layer = full, .gives = gives, .in = *in};
  return gives;
}

/* ---- the list ---- */

static void mark_read(wml_keras_translation *t, const char *node) {
  for (int i = 0; i < t->n_entries; i++)
    if (strcmp(t->entries[i].gives, node) == 0) t->entries[i].is_read = true;
}

/* previous: what an entry reads that says nothing. */
static void put_inputs(wml_keras_translation *t, wml_json *entry, const wml_keras_tensors *in,
                       const char *previous) {
  if (in->n == 1 && previous && strcmp(in->names[0], previous) == 0) return;
  wml_json *inputs = wml_tree_new(t->issues, WML_JSON_ARRAY, entry->line);
  for (int i = 0; i < in->n; i++)
    wml_tree_put(inputs, NULL, wml_tree_string(t->issues, in->names[i], entry->line));
  wml_tree_put(entry, "inputs", inputs);
}

wml_json *wml_keras_list(wml_keras_translation *t, const wml_keras_tensors *outputs, int line,
                         const char **last) {
  wml_json *list = wml_tree_new(t->issues, WML_JSON_ARRAY, line);
  const char *previous = t->input;
  for (int i = 0; i < outputs->n; i++) mark_read(t, outputs->names[i]);
  for (int i = t->n_entries - 1; i >= 0; i--) {
    const wml_keras_entry *e = &t->entries[i];
    if (!e->is_read) continue;
    mark_read(t, e->layer); /* the first call describes the layer */
    for (int k = 0; k < e->in.n; k++) mark_read(t, e->in.names[k]);
  }
  for (int i = 0; i < t->n_entries; i++) {
    wml_keras_entry *e = &t->entries[i];
    if (!e->is_read || !e->json) continue;
    put_inputs(t, e->json, &e->in, previous);
    wml_tree_put(list, NULL, e->json);
    previous = e->gives;
  }
  *last = previous;
  return list;
}

/* ---- pictures ---- */

/* Pictures come in as bytes times 1/255 here; Keras's own come in as bytes, and its models begin
 * with a Rescaling. Where that is done already it is dropped, else what remains to be done stays.
 */

static bool is_bytes(const wml_keras_translation *t, const char *name) {
  for (int i = 0; i < t->n_bytes; i++)
    if (strcmp(t->bytes[i], name) == 0) return true;
  return false;
}

void wml_keras_add_bytes(wml_keras_translation *t, const char *name) {
  if (t->n_bytes < WML_KERAS_MOST_CALLS) t->bytes[t->n_bytes++] = name;
}

/* Whether it is made for bytes: true with the factor that remains. */
static bool scales_bytes(const wml_keras_translation *t, const wml_json *layer,
                         const wml_keras_tensors *in, double *scale) {
  enum { LEAST_RANGE = 50 }; /* a greater factor is meant for numbers of about 1 */
  if (strcmp(wml_tree_word(layer, "class_name"), "Rescaling") != 0 || in->n != 1) return false;
  const wml_json *config = wml_json_get(layer, "config"), *offset = wml_json_get(config, "offset");
  double factor = wml_json_get_number(config, "scale", 1.0);
  if (offset && offset->kind != WML_JSON_NUMBER) return false;
  *scale = 255.0 * factor;
  if (fabs(*scale - 1.0) < 1e-6) *scale = 1.0;
  return is_bytes(t, in->names[0]) && fabs(factor) < 1.0 / LEAST_RANGE;
}

/* Augmentation, resizing, pooling, borders of zeros: 255 times the input, 255 times the output. */
static bool hands_bytes_on(const char *class_name) {
  static const char *const names[] = {"ZeroPadding2D", "Cropping2D"};
  const wml_layer_class *class = wml_layer_class_named(class_name);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(class_name, names[i]) == 0) return true;
  return class && class->keeps_range;
}

/* ---- one call ---- */

bool wml_keras_is_for_training(const char *class_name) {
  static const char *const names[] = {"Dropout", "SpatialDropout2D", "GaussianNoise",
                                      "GaussianDropout", "AlphaDropout"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(class_name, names[i]) == 0) return true;
  return strncmp(class_name, "Random", 6) == 0;
}

static wml_keras_tensors call_layer(wml_keras_translation *t, const wml_keras_scope *s,
                                    const wml_json *layer, const wml_keras_tensors *in) {
  const char *class_name = wml_tree_word(layer, "class_name");
  const wml_json *config = wml_json_get(layer, "config");
  double scale = 1.0;
  if (s->inference && wml_keras_is_for_training(class_name)) return *in;
  if (s->inference && strcmp(class_name, "BatchNormalization") == 0 &&
      wml_json_get_bool(config, "trainable", true))
    wml_keras_complain(t, layer,
                       "is trained, but called with training=False; set its trainable to false");
  bool scales = scales_bytes(t, layer, in, &scale);
  if (scales && scale == 1.0 && wml_json_get_number(config, "offset", 0.0) == 0.0) return *in;
  const char *full = wml_keras_full_name(t, s->prefix, wml_keras_name(layer));
  const char *gives = add_layer(t, layer, full, scales ? scale : 0.0, in);
  if (hands_bytes_on(class_name) && in->n == 1 && is_bytes(t, in->names[0]))
    wml_keras_add_bytes(t, gives);
  return wml_keras_tensor(t, gives);
}

wml_keras_tensors wml_keras_call(wml_keras_translation *t, const wml_keras_scope *s,
                                 const wml_json *layer, const wml_keras_tensors *in,
                                 bool inference) {
  wml_keras_scope inner = {layer, NULL, *in, s->inference || inference};
  const wml_json *layers = wml_keras_layers(layer);
  t->n_calls += layers ? layers->count : 1;
  if (t->n_calls > WML_KERAS_MOST_CALLS)
    WML_KERAS_BREAK(t, layer, "the model has more than %d layers", WML_KERAS_MOST_CALLS);
  if (strlen(wml_keras_name(layer)) > WML_KERAS_MOST_NAME)
    WML_KERAS_BREAK(t, layer, "its name has more than %d characters", WML_KERAS_MOST_NAME);
  if (t->broken) return (wml_keras_tensors){0};
  if (layers) {
    inner.prefix = wml_keras_full_name(t, s->prefix, wml_keras_name(layer));
    return wml_keras_dissolve(t, &inner);
  }
  inner.prefix = s->prefix;
  return call_layer(t, &inner, layer, in);
}

/* ---- Sequential ---- */

static wml_keras_tensors dissolve_chain(wml_keras_translation *t, const wml_keras_scope *s) {
  wml_keras_tensors now = s->in;
  for (const wml_json *l = wml_keras_layers(s->model)->first; l && !t->broken; l = l->next)
    if (!wml_keras_is_input(l)) now = wml_keras_call(t, s, l, &now, false);
  return now;
}

wml_keras_tensors wml_keras_dissolve(wml_keras_translation *t, const wml_keras_scope *s) {
  return wml_keras_is_chain(s->model) ? dissolve_chain(t, s) : wml_keras_graph(t, s);
}
