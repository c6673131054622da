#include "model/wiring.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const wml_json_path layers_place = {.key = "layers"}, size_place = {.key = "size"},
                           inputs_place = {.key = "inputs"}, outputs_place = {.key = "outputs"};

enum { MAX_INPUT = 1 << 16, MAX_FEATURES = 1 << 24, MAX_NAME = 128, MAX_BLOCK_DEPTH = 16 };

/* Layers of a block get its name before theirs, and read what the block reads. */
typedef struct scope {
  const char *prefix; /* "residual_1", or NULL outside of blocks */
  int previous;       /* node of the entry before; -1: there is none */
  int n_inputs;
  const int *inputs; /* what an entry reads that names nothing and is the first */
  int *block_counts; /* [blocks] names made here so far */
} scope;

const wml_json *wml_given(const wml_json *root, const char *key) {
  const wml_json *v = wml_json_get(root, key);
  return v && v->kind != WML_JSON_NULL ? v : NULL;
}

const wml_json_path *wml_keep_path(wml_arena *arena, wml_json_path path) {
  wml_json_path *copy = wml_arena_alloc(arena, sizeof *copy);
  if (copy) *copy = path;
  return copy;
}

/* ---- arrays that grow ---- */

static void *grown(wml_arena *arena, void *old, int n, int *capacity, size_t size) {
  if (n < *capacity) return old;
  int more = *capacity ? 2 * *capacity : 64;
  void *new = wml_arena_alloc(arena, (size_t)more * size);
  if (new &&n) memcpy(new, old, (size_t)n * size);
  if (new) *capacity = more;
  return new;
}

static webml_status add_node(wml_wiring *w, wml_node node) {
  webml_model *m = w->m;
  wml_node *nodes = grown(&m->arena, m->nodes, m->n_nodes, &w->node_capacity, sizeof *m->nodes);
  if (!nodes) return wml_no_memory((size_t)m->n_nodes * sizeof *nodes, "layers");
  m->nodes = nodes;
  m->nodes[m->n_nodes++] = node;
  return WEBML_OK;
}

static wml_layer *add_layer(wml_wiring *w) {
  webml_model *m = w->m;
  wml_layer *layers =
      grown(&m->arena, m->layers, m->n_layers, &w->layer_capacity, sizeof *m->layers);
  if (!layers) return NULL;
  m->layers = layers;
  layers[m->n_layers] = (wml_layer){.name = "", .trainable = true};
  return &layers[m->n_layers++];
}

/* ---- names ---- */

static int find_node(const webml_model *m, const char *name) {
  int i = m->n_nodes - 1;
  while (i >= 0 && strcmp(m->nodes[i].name, name) != 0) i--;
  return i;
}

static int find_layer(const webml_model *m, const char *name) {
  int i = m->n_layers - 1;
  while (i >= 0 && strcmp(m->layers[i].name, name) != 0) i--;
  return i;
}

/* "prefix.name"; the name itself without a prefix. */
static const char *scoped_name(wml_arena *arena, const scope *in, const char *name) {
  if (!in->prefix) return wml_arena_copy(arena, name, strlen(name));
  size_t n = strlen(in->prefix) + strlen(name) + 2;
  char *text = wml_arena_alloc(arena, n);
  if (text) snprintf(text, n, "%s.%s", in->prefix, name);
  return text;
}

/* base, base_1, base_2, ... : the first that no node has, from *count on. */
static const char *made_name(wml_wiring *w, const scope *in, const char *base, int *count) {
  char text[MAX_NAME + 16];
  for (;;) {
    snprintf(text, sizeof text, *count ? "%.128s_%d" : "%.128s", base, *count);
    ++*count;
    const char *name = scoped_name(&w->m->arena, in, text);
    if (!name || !in->prefix || find_node(w->m, name) < 0) return name;
  }
}

static void list_nodes(const webml_model *m, const char **names, int *n) {
  *n = 0;
  for (int i = 0; i < m->n_nodes && *n < 64; i++) names[(*n)++] = m->nodes[i].name;
}

static void unknown_node(const wml_wiring *w, const wml_json_path *place, const char *name) {
  const char *names[64];
  int n;
  list_nodes(w->m, names, &n);
  const char *meant = wml_suggest(name, names, (size_t)n);
  if (meant) {
    char value[MAX_NAME + 8];
    wml_issue(w->issues, place, "there is no layer \"%.80s\" before it, did you mean \"%s\"?", name,
              meant);
    snprintf(value, sizeof value, "\"%.128s\"", meant);
    wml_issue_cure(w->issues, "set it to %s", value);
    wml_patch_replace(w->issues, place, value);
  } else
    wml_issue(w->issues, place, "there is no layer or input \"%.80s\" before it", name);
}

/* ---- inputs of the model ---- */

static void cure_size(wml_issues *issues) {
  wml_issue_cure(issues, "set it to [height, width, channels], or [null] for a table");
}

static void read_size(const wml_json *json, const wml_json_path *place, wml_shape *shape,
                      wml_issues *issues) {
  if (!json || json->kind != WML_JSON_ARRAY || json->count < 1 || json->count > 3) {
    wml_issue(issues, place,
              json ? "must be [height, width, channels] or [features]"
                   : "is required: [height, width, channels] or [features]");
    cure_size(issues);
    return;
  }
  double most = json->count == 1 ? MAX_FEATURES : MAX_INPUT;
  shape->rank = json->count;
  int i = 0;
  for (const wml_json *d = json->first; d; d = d->next, i++) {
    double value = -1.0;
    bool number = wml_number_of(d, &value);
    shape->dim[i] = -1;
    if (number && value == floor(value) && value >= 1 && value <= most)
      shape->dim[i] = (int64_t)value;
    else if (d->kind != WML_JSON_NULL) {
      wml_issue(issues, place, "dimension %d must be a whole number from 1 to %.0f, or null", i,
                most);
      cure_size(issues);
    }
  }
}

webml_status wml_read_indices(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                              wml_index_list *out, wml_issues *issues) {
  out->n = -1;
  if (!json || json->kind == WML_JSON_NULL) return WEBML_OK;
  if (json->kind != WML_JSON_ARRAY) {
    wml_issue(issues, place, "must be a list of feature indices");
    wml_issue_cure(issues, "remove it");
    wml_patch_remove(issues, place);
    return WEBML_OK;
  }
  int *items = wml_arena_alloc(arena, ((size_t)json->count + 1) * sizeof *items);
  if (!items) return wml_no_memory((size_t)json->count * sizeof *items, "indices");
  int n = 0, i = 0;
  for (const wml_json *v = json->first; v; v = v->next, i++) {
    double value;
    wml_json_path item = {.in = place, .index = i};
    if (!wml_number_of(v, &value) || value != floor(value) || value < 0 || value > 1e6) {
      wml_issue(issues, &item, "must be a feature index, 0 for the first column");
      wml_issue_cure(issues, "remove it");
      wml_patch_remove(issues, &item);
    } else
      items[n++] = (int)value;
  }
  *out = (wml_index_list){n, items};
  return WEBML_OK;
}

static wml_dtype read_dtype(const wml_json *json, const wml_json_path *place, wml_issues *issues) {
  bool is_text = json && json->kind == WML_JSON_STRING;
  if (!json || (is_text && strcmp(json->string, "float32") == 0)) return WML_F32;
  if (is_text && strcmp(json->string, "int32") == 0) return WML_I32;
  wml_issue(issues, place, "must be \"float32\" or \"int32\"");
  wml_issue_cure(issues, "set it to \"float32\"");
  wml_patch_replace(issues, place, "\"float32\"");
  return WML_F32;
}

static void check_members(const wml_json *json, const wml_json_path *place,
                          const char *const *names, const char *list, wml_issues *issues) {
  for (const wml_json *k = json->first; k; k = k->next) {
    int i = 0;
    while (names[i] && strcmp(k->key, names[i]) != 0) i++;
    if (names[i]) continue;
    wml_json_path here = {.in = place, .key = k->key};
    wml_issue(issues, &here, "unknown key; it may have %s", list);
    wml_issue_cure(issues, "remove it");
    wml_patch_remove(issues, &here);
  }
}

/* A member of "inputs": [height, width, channels], or {"size", "dtype", "columns"}. */
static webml_status read_input(wml_wiring *w, const wml_json *json, wml_model_input *input) {
  static const char *const keys[] = {"size", "dtype", "columns", NULL};
  wml_json_path place = {.in = &inputs_place, .key = json->key};
  wml_json_path size = {.in = &place, .key = "size"}, dtype = {.in = &place, .key = "dtype"},
                columns = {.in = &place, .key = "columns"};
  wml_node node = {.layer = -1};
  input->name = node.name = wml_arena_copy(&w->m->arena, json->key, strlen(json->key));
  input->columns.n = -1;
  node.place =
      wml_keep_path(&w->m->arena, (wml_json_path){.in = &inputs_place, .key = input->name});
  if (!node.name || !node.place) return wml_no_memory(MAX_NAME, "an input");
  if (strlen(json->key) == 0 || strlen(json->key) > MAX_NAME)
    wml_issue(w->issues, &place, "a name has 1 to %d characters", MAX_NAME);
  if (json->kind == WML_JSON_OBJECT) {
    check_members(json, &place, keys, "size, dtype and columns", w->issues);
    read_size(wml_json_get(json, "size"), &size, &node.out, w->issues);
    node.dtype = read_dtype(wml_json_get(json, "dtype"), &dtype, w->issues);
    WML_TRY(wml_read_indices(&w->m->arena, wml_json_get(json, "columns"), &columns, &input->columns,
                             w->issues));
  } else
    read_size(json, &place, &node.out, w->issues);
  return add_node(w, node);
}

static webml_status read_only_input(wml_wiring *w, const wml_json *root) {
  webml_model *m = w->m;
  wml_node node = {.name = "input", .layer = -1, .place = &size_place};
  read_size(wml_given(root, "size"), &size_place, &node.out, w->issues);
  m->inputs[0] = (wml_model_input){.name = "input"};
  m->n_inputs = 1;
  WML_TRY(wml_read_indices(&m->arena, wml_json_get(root, "inputArray"),
                           &(wml_json_path){.key = "inputArray"}, &m->inputs[0].columns,
                           w->issues));
  return add_node(w, node);
}

static webml_status read_inputs(wml_wiring *w, const wml_json *root) {
  webml_model *m = w->m;
  const wml_json *json = wml_given(root, "inputs");
  int n = json && json->kind == WML_JSON_OBJECT ? json->count : 1;
  if (n < 1 || n > WML_MAX_ENDS) n = 1;
  m->inputs = wml_arena_alloc(&m->arena, (size_t)n * sizeof *m->inputs);
  if (!m->inputs) return wml_no_memory((size_t)n * sizeof *m->inputs, "inputs");
  m->names_inputs = json != NULL;
  if (!json) return read_only_input(w, root);
  if (json->kind != WML_JSON_OBJECT || json->count < 1 || json->count > WML_MAX_ENDS) {
    wml_issue(w->issues, &inputs_place, "must be {\"name\": size, ...} with 1 to %d inputs",
              WML_MAX_ENDS);
    return WEBML_OK;
  }
  if (wml_given(root, "size")) {
    wml_issue(w->issues, &size_place, "the sizes stand in \"inputs\"");
    wml_issue_cure(w->issues, "remove it");
    wml_patch_remove(w->issues, &size_place);
  }
  for (const wml_json *i = json->first; i; i = i->next)
    WML_TRY(read_input(w, i, &m->inputs[m->n_inputs++]));
  return WEBML_OK;
}

/* ---- what a layer reads ---- */

static webml_status default_inputs(const wml_wiring *w, const scope *in, const wml_json_path *place,
                                   wml_node *node) {
  node->n_inputs = in->previous >= 0 ? 1 : in->n_inputs;
  int *inputs = wml_arena_alloc(&w->m->arena, (size_t)(node->n_inputs + 1) * sizeof *inputs);
  if (!inputs) return wml_no_memory(sizeof *inputs, "inputs");
  for (int i = 0; i < node->n_inputs; i++)
    inputs[i] = in->previous >= 0 ? in->previous : in->inputs[i];
  if (in->previous < 0 && in->n_inputs > 1 && !in->prefix) {
    wml_issue(w->issues, place, "must say which of the inputs it reads: \"inputs\": \"%s\"",
              w->m->inputs[0].name);
    node->n_inputs = 0;
  }
  node->inputs = inputs;
  return WEBML_OK;
}

/* What the block of that name gives: its last node; -1. */
static int find_block(const webml_model *m, const char *name) {
  size_t n = strlen(name);
  int i = m->n_nodes - 1;
  while (i >= 0 && (strncmp(m->nodes[i].name, name, n) != 0 || m->nodes[i].name[n] != '.')) i--;
  return i;
}

/* The node that a name means here: within a block its own layers, then what it reads. */
static int resolve(const wml_wiring *w, const scope *in, const char *name) {
  const char *inner = in->prefix ? scoped_name(&w->m->arena, in, name) : name;
  int node = inner ? find_node(w->m, inner) : -1;
  if (inner && node < 0) node = find_block(w->m, inner);
  if (!in->prefix || node >= 0) return node;
  int k = 0;
  if (strcmp(name, "input") == 0 && in->n_inputs > 0) return in->inputs[0];
  return sscanf(name, "input_%d", &k) == 1 && k > 0 && k < in->n_inputs ? in->inputs[k] : -1;
}

static webml_status named_inputs(const wml_wiring *w, const scope *in, const wml_json *json,
                                 const wml_json_path *place, wml_node *node) {
  bool list = json->kind == WML_JSON_ARRAY;
  int n = list ? json->count : 1, i = 0;
  int *inputs = wml_arena_alloc(&w->m->arena, (size_t)(n + 1) * sizeof *inputs);
  if (!inputs) return wml_no_memory((size_t)n * sizeof *inputs, "inputs");
  node->inputs = inputs;
  node->is_wired = true;
  for (const wml_json *v = list ? json->first : json; v; v = list ? v->next : NULL, i++) {
    const wml_json_path item = {.in = place, .index = i}, *here = list ? &item : place;
    if (v->kind != WML_JSON_STRING) {
      wml_issue(w->issues, here, "must be the name of a layer or of an input");
      continue;
    }
    int found = resolve(w, in, v->string);
    if (found < 0)
      unknown_node(w, here, v->string);
    else
      inputs[node->n_inputs++] = found;
  }
  return WEBML_OK;
}

static webml_status read_wires(const wml_wiring *w, const scope *in, const wml_json *json,
                               const wml_json_path *place, wml_node *node) {
  const wml_json *inputs = wml_json_get(json, "inputs");
  wml_json_path there = {.in = place, .key = "inputs"};
  return inputs ? named_inputs(w, in, inputs, &there, node) : default_inputs(w, in, place, node);
}

/* ---- layers ---- */

/* Layers of Keras that no description can have. */
static const struct {
  const char *name, *reason, *cure;
} refused[] = {{"RandomBrightness", "adds a number to pictures, but augmentation multiplies them",
                "remove it and set the training's option brightness"},
               {"RandomCrop", "cuts pictures to another size, but augmentation keeps their size",
                "remove it and set the training's option random_crop"},
               {"Lambda", "holds Python code, which a description cannot",
                "use Activation, or a layer that computes the same"}};

static bool is_refused(const wml_wiring *w, const wml_json_path *place, const char *type) {
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    if (strcmp(type, refused[i].name) != 0) continue;
    wml_issue(w->issues, place, "%s %s", type, refused[i].reason);
    wml_issue_cure(w->issues, "%s", refused[i].cure);
    return true;
  }
  return false;
}

/* Of a document of Keras: there is no word that was meant instead. */
static void unknown_class(const wml_wiring *w, const wml_json_path *place, const char *type) {
  if (strchr(type, '>'))
    wml_issue(w->issues, place,
              "\"%.80s\" is a class of its own, whose code is not in the document", type);
  else
    wml_issue(w->issues, place, "there is no layer \"%.80s\" here", type);
  wml_issue_cure(w->issues, "use layers that `webml schema` lists");
}

/* The class of a layer; NULL with an issue. */
static const wml_layer_class *read_class(const wml_wiring *w, const wml_json *json,
                                         const wml_json_path *place) {
  const char *type = wml_json_get_string(json, "type", NULL), *names[256];
  const wml_layer_class *class = type ? wml_layer_class_named(type) : NULL;
  if (json->kind != WML_JSON_OBJECT || !type) {
    wml_issue(w->issues, place, "must be {\"type\": \"...\", \"layer\": {...}}");
    wml_issue_cure(w->issues, "remove it");
    wml_patch_remove(w->issues, place);
    return NULL;
  }
  if (class) return class;
  const wml_json_path there = {.in = place, .key = "type"};
  if (is_refused(w, &there, type)) return NULL;
  if (w->issues->translation) {
    unknown_class(w, place, type);
    return NULL;
  }
  for (int i = 0; i < wml_n_layer_classes; i++) names[i] = wml_layer_classes[i]->name;
  wml_unknown_name(w->issues, &there, wml_json_get(json, "type"), "unknown layer", type, names,
                   wml_n_layer_classes);
  return NULL;
}

/* Keys beside "type", "layer" and "inputs": options belong inside. */
static void check_layer_keys(const wml_json *json, const wml_json_path *place,
                             const wml_layer_class *class, wml_issues *issues) {
  for (const wml_json *k = json->kind == WML_JSON_OBJECT ? json->first : NULL; k; k = k->next) {
    if (strcmp(k->key, "type") == 0 || strcmp(k->key, "layer") == 0 ||
        strcmp(k->key, "inputs") == 0)
      continue;
    wml_json_path here = {.in = place, .key = k->key};
    bool option = false;
    for (int i = 0; class && i < class->n_fields; i++)
      option |= strcmp(k->key, class->fields[i].key) == 0;
    wml_issue(
        issues, &here,
        "unknown key; a layer has \"type\" and \"layer\", its options stand inside \"layer\"");
    const wml_json *options = wml_json_get(json, "layer");
    if (option && options && options->kind == WML_JSON_OBJECT && !wml_json_get(options, k->key)) {
      wml_issue_cure(issues, "move it into \"layer\"");
      wml_patch_move(issues, &here, &(wml_json_path){.in = WML_OPTIONS_OF(place), .key = k->key});
    } else {
      wml_issue_cure(issues, "remove it");
      wml_patch_remove(issues, &here);
    }
  }
}

/* The name is said to be that of layers[i], or of an input. */
static void check_name(const wml_wiring *w, const char *name, const wml_json_path *options) {
  int other = find_node(w->m, name);
  if (other < 0 || (other < w->m->n_inputs && !w->m->names_inputs)) return;
  const wml_json_path *place = w->m->nodes[other].place;
  if (other < w->m->n_inputs)
    wml_issue(w->issues, options, "the name \"%.80s\" is already that of an input", name);
  else
    wml_issue(w->issues, options, "the name \"%.80s\" is already that of layers[%d]", name,
              place->index);
  wml_json_path key = {.in = options, .key = "name"};
  if (!wml_json_path_find(w->issues, &key)) return;
  wml_issue_cure(w->issues, "remove the name: the layer is named by its type");
  wml_patch_remove(w->issues, &key);
}

static webml_status read_options(wml_wiring *w, const wml_json *json, const wml_json_path *place,
                                 const wml_layer_class *class, const scope *in, wml_layer *layer) {
  const wml_json *options = wml_json_get(json, "layer");
  wml_json_path inside = {.in = place, .key = "layer"};
  if (options && options->kind != WML_JSON_OBJECT) {
    wml_issue(w->issues, &inside, "must be an object");
    wml_issue_cure(w->issues, "set it to {}");
    wml_patch_replace(w->issues, &inside, "{}");
    options = NULL;
  }
  layer->options = wml_arena_alloc(&w->m->arena, class->options_size);
  if (!layer->options) return wml_no_memory(class->options_size, "a layer");
  wml_layer_options *common = layer->options;
  common->trainable = true;
  WML_TRY(wml_fields_read(&w->m->arena, class->fields, class->n_fields, options, &inside, NULL,
                          layer->options, w->issues));
  int in_block = 0, *count = &in_block; /* a block's own names are the same wherever it is used */
  for (int i = 0; i < wml_n_layer_classes && !in->prefix; i++)
    if (wml_layer_classes[i] == class) count = &w->counts[i];
  common->name = common->name ? scoped_name(&w->m->arena, in, common->name)
                              : made_name(w, in, class->snake, count);
  if (!common->name) return wml_no_memory(MAX_NAME, "a name");
  layer->name = common->name;
  layer->trainable = common->trainable;
  layer->learning_rate_multiplier = common->learning_rate_multiplier;
  check_name(w, layer->name, &inside);
  return WEBML_OK;
}

/* What is left open is filled in at one place: a block stands for many. */
static void check_open_in_block(const wml_wiring *w, const wml_layer *layer,
                                const wml_json_path *place) {
  static const char *const keys[] = {"units", "input_dim"};
  for (int i = 0; i < 2; i++) {
    const int *size = wml_layer_option(layer, keys[i]);
    if (size && *size == 0)
      wml_issue(w->issues, place,
                "%s of \"%.80s\" must be a number: null is for layers outside of blocks", keys[i],
                layer->name);
  }
}

static webml_status read_layer(wml_wiring *w, const scope *in, const wml_json *json,
                               const wml_json_path *place) {
  int before = w->issues->count, geometry = w->issues->geometry;
  const wml_layer_class *class = read_class(w, json, place);
  check_layer_keys(json, place, class, w->issues);
  wml_layer *layer = add_layer(w);
  if (!layer) return wml_no_memory(sizeof *layer, "layers");
  int index = w->m->n_layers - 1;
  layer->class = class;
  layer->broken = !class;
  if (class) WML_TRY(read_options(w, json, place, class, in, layer));
  wml_node node = {.layer = index, .name = layer->name};
  wml_json_path kept = *place;
  kept.note = class ? class->name : NULL;
  node.place = layer->place = wml_keep_path(&w->m->arena, kept);
  if (!node.place) return wml_no_memory(sizeof kept, "layers");
  WML_TRY(read_wires(w, in, json, place, &node));
  if (in->prefix && w->issues->geometry == geometry) check_open_in_block(w, layer, place);
  layer->has_issues = w->issues->count > before;
  layer->broken |= w->issues->geometry > geometry;
  return add_node(w, node);
}

/* ---- further uses ---- */

static webml_status read_use(wml_wiring *w, const scope *in, const wml_json *json,
                             const wml_json_path *place) {
  static const char *const keys[] = {"use", "inputs", "name", NULL};
  const char *use = wml_json_get_string(json, "use", ""),
             *name = wml_json_get_string(json, "name", NULL);
  wml_json_path there = {.in = place, .key = "use"};
  check_members(json, place, keys, "use, inputs and name", w->issues);
  const char *full = scoped_name(&w->m->arena, in, use);
  if (!full) return wml_no_memory(MAX_NAME, "a name");
  wml_node node = {.layer = find_layer(w->m, full), .is_use = true};
  if (node.layer < 0) {
    wml_issue(w->issues, &there, "there is no layer \"%.80s\" before it", use);
    return WEBML_OK;
  }
  int *count = &w->m->layers[node.layer].n_uses;
  node.name = name ? scoped_name(&w->m->arena, in, name) : NULL;
  if (node.name) check_name(w, node.name, place);
  while (!node.name || (!name && find_node(w->m, node.name) >= 0)) {
    char text[MAX_NAME + 16];
    snprintf(text, sizeof text, "%.128s_%d", use, ++*count);
    node.name = scoped_name(&w->m->arena, in, text);
    if (!node.name) return wml_no_memory(MAX_NAME, "a name");
  }
  wml_json_path kept = *place;
  kept.note = w->m->layers[node.layer].class ? w->m->layers[node.layer].class->name : NULL;
  node.place = wml_keep_path(&w->m->arena, kept);
  if (!node.place) return wml_no_memory(sizeof kept, "layers");
  WML_TRY(read_wires(w, in, json, place, &node));
  return add_node(w, node);
}

/* ---- lists ---- */

static webml_status read_list(wml_wiring *w, const scope *in, const wml_json *list,
                              const wml_json_path *place);

/* type_1, type_2, ...: the next that no block or node has. */
static const char *block_name(const wml_wiring *w, const scope *in, const char *type) {
  char text[MAX_NAME + 16];
  int *count = in->block_counts;
  for (const wml_json *b = w->blocks->first; strcmp(b->key, type) != 0; b = b->next) count++;
  for (;;) {
    snprintf(text, sizeof text, "%.128s_%d", type, ++*count);
    const char *name = scoped_name(&w->m->arena, in, text);
    if (!name || (find_node(w->m, name) < 0 && find_block(w->m, name) < 0)) return name;
  }
}

/* Blocks may use blocks, but not without end. What is beyond a limit is left out, and said once. */
static bool may_use_block(wml_wiring *w, const wml_json_path *place, const char *block) {
  if (w->n_blocks > WML_MAX_NODES) return false;
  if (w->depth < MAX_BLOCK_DEPTH && ++w->n_blocks <= WML_MAX_NODES) return true;
  if (w->depth >= MAX_BLOCK_DEPTH)
    wml_issue(w->issues, place, "the block \"%.80s\" stands in more than %d others, or in itself",
              block, MAX_BLOCK_DEPTH - 1);
  else
    wml_issue(w->issues, place, "blocks are used more than %d times", WML_MAX_NODES);
  w->n_blocks = WML_MAX_NODES + 1;
  return false;
}

/* A block under its name: its layers in place of the entry. */
static webml_status read_block(wml_wiring *w, const scope *in, const wml_json *json,
                               const wml_json_path *place, wml_layer_entry *entry) {
  const char *type = wml_json_get_string(json, "type", "");
  const wml_json *options = wml_json_get(json, "layer");
  const char *name = wml_json_get_string(options, "name", NULL);
  wml_text text = {0};
  check_layer_keys(json, place, NULL, w->issues);
  if (!may_use_block(w, place, type)) return WEBML_OK;
  if (options) wml_json_write(&text, options);
  entry->block = wml_arena_copy(&w->m->arena, type, strlen(type));
  entry->options =
      wml_arena_copy(&w->m->arena, text.data ? text.data : "{}", text.data ? text.length : 2);
  wml_text_free(&text);
  const char *prefix = name ? scoped_name(&w->m->arena, in, name) : block_name(w, in, type);
  if (!entry->block || !entry->options || !prefix) return wml_no_memory(MAX_NAME, "a block");
  const wml_json *layers = wml_block_layers(w, type, options, place);
  if (!layers) return WEBML_OK;
  WML_TRY(read_wires(w, in, json, place, &entry->wires));
  scope inside = {prefix, -1, entry->wires.n_inputs, entry->wires.inputs, NULL};
  w->depth++;
  webml_status status = read_list(w, &inside, layers, place);
  w->depth--;
  return status;
}

static webml_status read_entry(wml_wiring *w, const scope *in, const wml_json *json,
                               const wml_json_path *place, wml_layer_entry *entry) {
  const char *type = wml_json_get_string(json, "type", NULL);
  if (wml_json_get_string(json, "use", NULL)) return read_use(w, in, json, place);
  if (type && wml_block_is(w, type)) return read_block(w, in, json, place, entry);
  return read_layer(w, in, json, place);
}

static webml_status read_list(wml_wiring *w, const scope *in, const wml_json *list,
                              const wml_json_path *place) {
  scope here = *in;
  int i = 0;
  size_t blocks = w->blocks ? (size_t)w->blocks->count : 0;
  here.block_counts = wml_arena_alloc(&w->m->arena, (blocks + 1) * sizeof *here.block_counts);
  if (!here.block_counts) return wml_no_memory(blocks * sizeof *here.block_counts, "blocks");
  for (const wml_json *v = list->first; v; v = v->next, i++) {
    wml_layer_entry entry = {.node = -1};
    wml_json_path item = {.in = place, .index = i};
    if (w->m->n_nodes >= WML_MAX_NODES) {
      wml_issue(w->issues, place, "more than %d layers", WML_MAX_NODES);
      return WEBML_OK;
    }
    int before = w->m->n_nodes;
    WML_TRY(read_entry(w, &here, v, in->prefix ? place : &item, &entry));
    if (w->m->n_nodes > before) here.previous = w->m->n_nodes - 1;
    entry.node = here.previous;
    if (!in->prefix) w->m->entries[w->m->n_entries++] = entry;
  }
  return WEBML_OK;
}

static webml_status read_layers(wml_wiring *w, const wml_json *json) {
  webml_model *m = w->m;
  if (!json || json->kind != WML_JSON_ARRAY || json->count < 1) {
    wml_issue(w->issues, &layers_place,
              json ? "must be a list of at least one layer" : "is required: a list of layers");
    wml_issue_cure(w->issues, "begin with one Dense layer");
    wml_patch_set(w->issues, NULL, "layers", "[{\"type\":\"Dense\",\"layer\":{\"units\":null}}]");
    return WEBML_OK;
  }
  if (json->count > WML_MAX_NODES) {
    wml_issue(w->issues, &layers_place, "%d layers; at most %d", json->count, WML_MAX_NODES);
    return WEBML_OK;
  }
  m->entries = wml_arena_alloc(&m->arena, (size_t)json->count * sizeof *m->entries);
  w->counts = wml_arena_alloc(&m->arena, (size_t)wml_n_layer_classes * sizeof *w->counts);
  int *inputs = wml_arena_alloc(&m->arena, ((size_t)m->n_inputs + 1) * sizeof *inputs);
  if (!m->entries || !w->counts || !inputs) return wml_no_memory(1 << 12, "layers");
  for (int i = 0; i < m->n_inputs; i++) inputs[i] = i;
  scope all = {NULL, -1, m->n_inputs, inputs, NULL};
  return read_list(w, &all, json, &layers_place);
}

/* ---- outputs ---- */

/* A member of "outputs": the name of a layer, or an object with what is learned there. */
static webml_status read_output(wml_wiring *w, const wml_json *json, const wml_json_path *place,
                                wml_model_output *out) {
  static const char *const keys[] = {"layer", "loss", "loss_weight", "metrics", "columns", NULL};
  const wml_json *loss = wml_json_get(json, "loss"), *weight = wml_json_get(json, "loss_weight"),
                 *metrics = wml_json_get(json, "metrics");
  wml_arena *arena = &w->m->arena;
  bool object = json->kind == WML_JSON_OBJECT;
  const char *layer = object ? wml_json_get_string(json, "layer", json->key)
                      : json->kind == WML_JSON_STRING ? json->string
                                                      : NULL;
  const char *name = json->key ? json->key : layer;
  out->node = layer ? find_node(w->m, layer) : -1;
  if (!layer) {
    wml_issue(w->issues, place, "must be the name of a layer, or an object");
    return WEBML_OK;
  }
  if (out->node < 0) unknown_node(w, place, layer);
  out->name = wml_arena_copy(arena, name, strlen(name));
  if (!out->name) return wml_no_memory(MAX_NAME, "an output");
  if (!object) return WEBML_OK;
  check_members(json, place, keys, "layer, loss, loss_weight, metrics and columns", w->issues);
  if (loss)
    WML_TRY(wml_read_loss(arena, loss, &(wml_json_path){.in = place, .key = "loss"}, &out->loss,
                          &out->loss_open, w->issues));
  double value = 1.0;
  if (weight && (!wml_number_of(weight, &value) || !(value >= 0.0 && value <= 1e6)))
    wml_issue(w->issues, &(wml_json_path){.in = place, .key = "loss_weight"},
              "must be a number from 0 to 1000000");
  out->loss_weight = (float)value;
  if (metrics)
    WML_TRY(wml_read_metrics(arena, metrics, &(wml_json_path){.in = place, .key = "metrics"},
                             out->metrics, &out->n_metrics, w->issues));
  return wml_read_indices(arena, wml_json_get(json, "columns"),
                          &(wml_json_path){.in = place, .key = "columns"}, &out->columns,
                          w->issues);
}

/* What the description says of all outputs: loss and metrics. */
static webml_status read_common(wml_wiring *w, const wml_json *root, wml_model_output *out) {
  static const wml_json null = {.kind = WML_JSON_NULL};
  const wml_json *loss = wml_json_get(root, "loss");
  *out =
      (wml_model_output){.name = "output", .node = -1, .loss_weight = 1.0f, .columns = {-1, NULL}};
  WML_TRY(wml_read_loss(&w->m->arena, loss ? loss : &null, &(wml_json_path){.key = "loss"},
                        &out->loss, &out->loss_open, w->issues));
  return wml_read_metrics(&w->m->arena, wml_json_get(root, "metrics"),
                          &(wml_json_path){.key = "metrics"}, out->metrics, &out->n_metrics,
                          w->issues);
}

static webml_status read_outputs(wml_wiring *w, const wml_json *root) {
  webml_model *m = w->m;
  const wml_json *json = wml_given(root, "outputs");
  bool many = json && (json->kind == WML_JSON_OBJECT || json->kind == WML_JSON_ARRAY) &&
              json->count >= 1 && json->count <= WML_MAX_ENDS;
  int n = many ? json->count : 1, i = 0;
  wml_model_output common;
  m->outputs = wml_arena_alloc(&m->arena, (size_t)n * sizeof *m->outputs);
  if (!m->outputs) return wml_no_memory((size_t)n * sizeof *m->outputs, "outputs");
  WML_TRY(read_common(w, root, &common));
  m->names_outputs = json != NULL;
  if (json && !many)
    wml_issue(w->issues, &outputs_place, "must be a list of 1 to %d names of layers, or an object",
              WML_MAX_ENDS);
  m->n_outputs = n;
  m->outputs[0] = common;
  if (!many) {
    m->outputs[0].node = m->n_nodes > m->n_inputs ? m->n_nodes - 1 : -1;
    return wml_read_indices(&m->arena, wml_json_get(root, "outputArray"),
                            &(wml_json_path){.key = "outputArray"}, &m->outputs[0].columns,
                            w->issues);
  }
  m->n_outputs = 0;
  for (const wml_json *v = json->first; v; v = v->next, i++) {
    wml_json_path place = {.in = &outputs_place, .key = v->key, .index = i};
    wml_model_output *out = &m->outputs[m->n_outputs];
    *out = common;
    WML_TRY(read_output(w, v, &place, out));
    int k = 0;
    while (k < m->n_outputs && strcmp(m->outputs[k].name, out->name) != 0) k++;
    if (k == m->n_outputs)
      m->n_outputs++;
    else if (out->node >= 0)
      wml_issue(w->issues, &place, "the output \"%.80s\" is named twice", out->name);
  }
  return WEBML_OK;
}

/* A history has room for so many. */
static void check_metrics(const wml_wiring *w) {
  const webml_model *m = w->m;
  int n = m->n_outputs > 1 ? m->n_outputs : 0;
  for (int i = 0; i < m->n_outputs; i++) n += m->outputs[i].n_metrics;
  if (n > WEBML_MAX_METRICS)
    wml_issue(w->issues, &outputs_place,
              "%d losses and metrics over all outputs; at most %d are kept", n, WEBML_MAX_METRICS);
}

/* Whole numbers are what nothing but layers for indices reads. */
static void settle_types(webml_model *m) {
  for (int i = 0; i < m->n_inputs; i++) {
    int indices = 0, others = 0;
    for (int k = m->n_inputs; k < m->n_nodes; k++)
      for (int j = 0; j < m->nodes[k].n_inputs; j++) {
        const wml_layer_class *class = m->layers[m->nodes[k].layer].class;
        if (m->nodes[k].inputs[j] != i || !class) continue;
        ++*(class->takes_indices ? &indices : &others);
      }
    if (indices && !others) m->nodes[i].dtype = WML_I32;
  }
}

/* Every node is read by another, or is an output. */
static webml_status check_ends(const wml_wiring *w) {
  webml_model *m = w->m;
  bool *is_read = wml_arena_alloc(&m->arena, (size_t)m->n_nodes);
  if (!is_read) return wml_no_memory((size_t)m->n_nodes, "layers");
  for (int o = 0; o < m->n_outputs; o++) is_read[m->outputs[o].node] = true;
  for (int k = m->n_inputs; k < m->n_nodes; k++)
    for (int i = 0; i < m->nodes[k].n_inputs; i++) is_read[m->nodes[k].inputs[i]] = true;
  for (int k = 0; k < m->n_nodes; k++)
    if (!is_read[k])
      wml_issue(w->issues, m->nodes[k].place,
                "nothing reads what \"%.80s\" gives: name it in the inputs of a later layer or in "
                "\"outputs\", or remove it",
                m->nodes[k].name);
  return WEBML_OK;
}

webml_status wml_read_graph(webml_model *m, const wml_json *root, wml_issues *issues) {
  wml_wiring w = {.m = m, .issues = issues};
  WML_TRY(wml_read_blocks(&w, root));
  WML_TRY(read_inputs(&w, root));
  WML_TRY(read_layers(&w, wml_json_get(root, "layers")));
  int before = issues->count;
  WML_TRY(read_outputs(&w, root));
  settle_types(m);
  check_metrics(&w);
  return m->n_nodes > m->n_inputs && issues->count == before ? check_ends(&w) : WEBML_OK;
}
