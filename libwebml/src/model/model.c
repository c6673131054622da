/* From a description to a checked model with shapes. */
#include "model/keras.h"
#include "model/wiring.h"

#include <math.h>
#include <string.h>

/* ---- layers ---- */

const wml_layer_class *wml_layer_class_named(const char *name) {
  for (int i = 0; i < wml_n_layer_classes; i++)
    if (strcmp(wml_layer_classes[i]->name, name) == 0) return wml_layer_classes[i];
  return NULL;
}

const char *wml_layer_class_name(const wml_layer *layer) {
  return layer->class ? layer->class->name : "?";
}

bool wml_layer_is(const wml_layer *layer, const char *class) {
  return layer && layer->class && strcmp(layer->class->name, class) == 0;
}

void *wml_layer_option(const wml_layer *layer, const char *key) {
  const wml_layer_class *class = layer->class;
  for (int i = 0; class && i < class->n_fields; i++)
    if (class->fields[i].kind != WML_FIELD_IGNORED && strcmp(class->fields[i].key, key) == 0)
      return (char *)layer->options + class->fields[i].offset;
  return NULL;
}

wml_activation wml_layer_activation(const wml_layer *layer) {
  const wml_activation linear = {.kind = WML_LINEAR, .max_value = INFINITY};
  if (!layer->class) return linear;
  if (layer->class->activation) return layer->class->activation(layer->options);
  const wml_activation *own = wml_layer_option(layer, "activation");
  return own ? *own : linear;
}

/* ---- graphs ---- */

wml_shape wml_model_input_shape(const webml_model *m) {
  return m->n_nodes ? m->nodes[0].out : (wml_shape){0};
}

wml_shape wml_model_output_shape(const webml_model *m) {
  if (m->n_outputs && m->outputs[0].node >= 0) return m->nodes[m->outputs[0].node].out;
  return wml_model_input_shape(m);
}

int64_t wml_model_input_elements(const webml_model *m) {
  int64_t sum = 0;
  for (int i = 0; i < m->n_inputs && sum >= 0; i++) {
    int64_t n = wml_shape_elements(&m->nodes[i].out);
    sum = n < 0 ? -1 : sum + n;
  }
  return sum;
}

int64_t wml_model_output_elements(const webml_model *m) {
  int64_t sum = 0;
  for (int i = 0; i < m->n_outputs && sum >= 0; i++) {
    int64_t n = wml_shape_elements(&m->nodes[m->outputs[i].node].out);
    sum = n < 0 ? -1 : sum + n;
  }
  return sum;
}

int wml_node_source(const webml_model *m, int node) {
  for (;;) {
    const wml_layer *l = wml_node_layer(m, node);
    if (!l || !l->class || !l->class->hands_on || m->nodes[node].n_inputs != 1) return node;
    node = m->nodes[node].inputs[0];
  }
}

int wml_output_dense(const webml_model *m, int output) {
  int node = m->outputs[output].node;
  while (node >= m->n_inputs) {
    const wml_layer *l = wml_node_layer(m, node);
    if (wml_layer_option(l, "units")) return node;
    if (m->nodes[node].n_inputs != 1) return -1;
    node = m->nodes[node].inputs[0];
  }
  return -1;
}

/* ---- reading ---- */

static webml_status read_text(webml_model *m, const wml_json *root, const char *key, size_t least,
                              const char **out, wml_issues *issues) {
  const wml_json *v = wml_json_get(root, key);
  if (!v || v->kind == WML_JSON_NULL) return WEBML_OK;
  if (v->kind != WML_JSON_STRING || strlen(v->string) < least || strlen(v->string) > 128) {
    wml_json_path place = {.key = key};
    wml_issue(issues, &place, "must be a string of %zu to 128 characters", least);
    wml_issue_cure(issues, "remove it");
    wml_patch_remove(issues, &place);
    return WEBML_OK;
  }
  *out = wml_arena_copy(&m->arena, v->string, strlen(v->string));
  return *out ? WEBML_OK : wml_no_memory(128, key);
}

static void read_format(webml_model *m, const wml_json *json, wml_issues *issues) {
  static const wml_json_path place = {.key = "format"};
  wml_shape input = wml_model_input_shape(m);
  m->format = input.rank == 1 ? WML_FORMAT_CSV : WML_FORMAT_IMAGES;
  if (!json || json->kind == WML_JSON_NULL) return;
  bool images = json->kind == WML_JSON_STRING && strcmp(json->string, "images") == 0;
  bool csv = json->kind == WML_JSON_STRING && strcmp(json->string, "csvdata") == 0;
  if (!images && !csv)
    wml_issue(issues, &place, "must be \"images\" or \"csvdata\"");
  else if (input.rank && images != (input.rank == 3))
    wml_issue(issues, &place, "\"%s\" does not go with a size of %d dimensions", json->string,
              input.rank);
  else
    return;
  wml_issue_cure(issues, "remove it: the size tells");
  wml_patch_remove(issues, &place);
}

static const wml_top_key top_keys[] = {
    {"name", "The model's name.", false, false},
    {"size", "[height, width, channels] of pictures, [features] of tables; [null]: from the data.",
     true, false},
    {"format", "\"images\" or \"csvdata\"; the size tells where it is left out.", false, false},
    {"dynamic", "Whether units of the last Dense and the size of a table are taken from the data.",
     false, false},
    {"dataset", "The data set that the model is for.", false, false},
    {"inputs", "In place of size, where there are several: {\"name\": size, ...}.", false, false},
    {"layers", "The layers in their order, at least one.", true, false},
    {"blocks", "Groups of layers with options, which are used by their names like layers.", false,
     false},
    {"outputs", "Names of the layers whose results are predicted; left out: the last.", false,
     false},
    {"optimizer", "How weights are changed; null or left out: chosen.", false, true},
    {"loss", "What training makes small; null or left out: chosen by the data.", false, true},
    {"metrics", "What is measured beside the loss.", false, false},
    {"inputArray", "Tables: indices of the input columns, from 0.", false, false},
    {"outputArray", "Tables: indices of the output columns.", false, false},
    {"oneHotEncoding", "Tables: indices of numeric columns that are one-hot encoded, too.", false,
     false}};
enum { N_TOP_KEYS = sizeof top_keys / sizeof *top_keys };

const wml_top_key *wml_top_keys(int *n) {
  *n = N_TOP_KEYS;
  return top_keys;
}

static void check_keys(const wml_json *root, wml_issues *issues) {
  const char *names[N_TOP_KEYS];
  for (int i = 0; i < N_TOP_KEYS; i++) names[i] = top_keys[i].key;
  for (const wml_json *k = root->first; k; k = k->next) {
    bool known = false;
    for (int i = 0; i < N_TOP_KEYS; i++) known |= strcmp(k->key, names[i]) == 0;
    if (known) continue;
    wml_json_path place = {.key = k->key};
    const char *meant = wml_suggest(k->key, names, N_TOP_KEYS);
    if (meant)
      wml_issue(issues, &place, "unknown key, did you mean \"%s\"?", meant);
    else
      wml_issue(issues, &place,
                "unknown key; a model has layers, size, optimizer, loss and, if wanted, name, "
                "format, dynamic, dataset, metrics, inputArray, outputArray, oneHotEncoding");
    if (meant && !wml_json_get(root, meant)) {
      wml_issue_cure(issues, "rename it to \"%s\"", meant);
      wml_patch_move(issues, &place, &(wml_json_path){.key = meant});
    } else {
      wml_issue_cure(issues, "remove it");
      wml_patch_remove(issues, &place);
    }
  }
}

/* Whether a size is left to the data: units of an output, or the rows of an Embedding. */
static bool is_open(const webml_model *m) {
  for (int i = 0; i < m->n_outputs; i++) {
    const wml_shape *out = &m->nodes[m->outputs[i].node].out;
    if (out->dim[out->rank - 1] < 0) return true;
  }
  for (int i = 0; i < m->n_layers; i++) {
    const int *rows = wml_layer_option(&m->layers[i], "input_dim");
    if (rows && *rows == 0) return true;
  }
  return false;
}

static webml_status read_model(webml_model *m, const wml_json *root, wml_issues *issues) {
  static const wml_json null = {.kind = WML_JSON_NULL};
  check_keys(root, issues);
  WML_TRY(read_text(m, root, "name", 1, &m->name, issues));
  WML_TRY(read_text(m, root, "dataset", 2, &m->dataset, issues));
  const wml_json *dynamic = wml_json_get(root, "dynamic");
  if (dynamic && dynamic->kind != WML_JSON_BOOL && dynamic->kind != WML_JSON_NULL) {
    wml_json_path place = {.key = "dynamic"};
    wml_issue(issues, &place, "must be true or false");
    wml_issue_cure(issues, "set it to true");
    wml_patch_replace(issues, &place, "true");
  }
  m->dynamic = wml_json_get_bool(root, "dynamic", false);
  WML_TRY(wml_read_graph(m, root, issues));
  read_format(m, wml_json_get(root, "format"), issues);
  const wml_json *optimizer = wml_json_get(root, "optimizer");
  WML_TRY(wml_read_optimizer(&m->arena, optimizer ? optimizer : &null, &m->optimizer,
                             &m->optimizer_open, issues));
  WML_TRY(wml_read_indices(&m->arena, wml_json_get(root, "oneHotEncoding"),
                           &(wml_json_path){.key = "oneHotEncoding"}, &m->one_hot_columns, issues));
  WML_TRY(wml_compute_shapes(m, issues));
  if (issues->count == 0) m->dynamic |= is_open(m); /* whatever the flag says */
  return WEBML_OK;
}

webml_status wml_model_read(const wml_json *root, wml_issues *issues, webml_model **out) {
  const wml_json *inner = wml_json_get(root, "model");
  bool stored = inner && inner->kind == WML_JSON_OBJECT;
  if (stored) root = inner;
  issues->base = stored ? "/model" : "";
  if (wml_keras_is(root))
    root = issues->translation = wml_keras_translate(root, issues);
  else
    issues->root = root;
  webml_model *m = wml_calloc(1, sizeof *m);
  if (!m) return wml_no_memory(sizeof *m, "a model");
  atomic_init(&m->references, 1);
  webml_status status = WEBML_OK;
  if (root && root->kind != WML_JSON_OBJECT)
    wml_issue(issues, NULL, "a model description must be a JSON object");
  else if (root)
    status = read_model(m, root, issues);
  if (status == WEBML_OK && issues->failed) status = wml_no_memory(1 << 12, "error messages");
  if (status == WEBML_OK)
    *out = m;
  else
    webml_model_destroy(m);
  return status;
}

static webml_status fail_with(wml_issues *issues) {
  const char *message = wml_issues_message(issues);
  return message ? wml_fail(WEBML_ERROR_MODEL, "%s", message)
                 : wml_no_memory(1 << 12, "error messages");
}

webml_status wml_model_build(const wml_json *root, webml_model **out) {
  wml_issues issues = {0};
  webml_model *m = NULL;
  webml_status status = wml_model_read(root, &issues, &m);
  if (status == WEBML_OK && issues.count) status = fail_with(&issues);
  wml_issues_free(&issues);
  if (status == WEBML_OK)
    *out = m;
  else
    webml_model_destroy(m);
  return status;
}

/* ---- copies ---- */

static void *copied(wml_arena *arena, const void *from, size_t bytes) {
  void *to = wml_arena_alloc(arena, bytes);
  if (to) memcpy(to, from, bytes);
  return to;
}

static webml_status copy_parts(const webml_model *from, webml_model *m) {
  size_t layers = (size_t)from->n_layers, nodes = (size_t)from->n_nodes;
  m->inputs = copied(&m->arena, from->inputs, (size_t)from->n_inputs * sizeof *m->inputs);
  m->outputs = copied(&m->arena, from->outputs, (size_t)from->n_outputs * sizeof *m->outputs);
  m->layers = copied(&m->arena, from->layers, layers * sizeof *m->layers);
  m->nodes = copied(&m->arena, from->nodes, nodes * sizeof *m->nodes);
  if (!m->inputs || !m->outputs || !m->layers || !m->nodes)
    return wml_no_memory(layers * sizeof *m->layers, "a model");
  for (size_t i = 0; i < layers; i++) {
    wml_layer *l = &m->layers[i];
    l->options = copied(&m->arena, l->options, l->class->options_size);
    if (!l->options) return wml_no_memory(l->class->options_size, "a layer");
    l->n_params = 0;
  }
  return WEBML_OK;
}

webml_status wml_model_copy(const webml_model *from, webml_model **out) {
  webml_model *m = wml_alloc(sizeof *m);
  if (!m) return wml_no_memory(sizeof *m, "a model");
  memcpy(m, from, sizeof *m);
  m->arena = (wml_arena){0};
  atomic_init(&m->references, 1);
  m->origin = wml_model_retain(from);
  webml_status status = copy_parts(from, m);
  if (status == WEBML_OK)
    *out = m;
  else
    webml_model_destroy(m);
  return status;
}

webml_status wml_model_settle(webml_model *m) {
  wml_issues issues = {0};
  m->dynamic = false;
  webml_status status = wml_compute_shapes(m, &issues);
  if (status == WEBML_OK && issues.failed) status = wml_no_memory(1 << 12, "error messages");
  if (status == WEBML_OK && issues.count) status = fail_with(&issues);
  wml_issues_free(&issues);
  if (status == WEBML_OK) m->dynamic = is_open(m);
  return status;
}

/* ---- public ---- */

webml_status webml_model_parse(const char *json, size_t length, webml_model **model) {
  if (!json || !model)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_parse: json and model must not be NULL");
  wml_arena arena = {0};
  const wml_json *root = NULL;
  webml_status status = wml_json_parse(&arena, json, length, "the model description", &root);
  if (status == WEBML_OK) status = wml_model_build(root, model);
  wml_arena_free(&arena);
  return status;
}

webml_model *wml_model_retain(const webml_model *model) {
  webml_model *m = (webml_model *)(uintptr_t)model;
  atomic_fetch_add(&m->references, 1);
  return m;
}

void webml_model_destroy(webml_model *model) {
  if (!model || atomic_fetch_sub(&model->references, 1) != 1) return;
  webml_model_destroy((webml_model *)(uintptr_t)model->origin);
  wml_arena_free(&model->arena);
  wml_free(model);
}

bool webml_model_is_dynamic(const webml_model *model) {
  return model && model->dynamic;
}

/* ---- getters ---- */

static webml_tensor_info info_of(const webml_model *m, const char *name, int node) {
  const wml_node *n = &m->nodes[node];
  bool pixels = node < m->n_inputs && m->format == WML_FORMAT_IMAGES;
  webml_tensor_info info = {.name = name,
                            .dtype = pixels                ? WEBML_DTYPE_UINT8
                                     : n->dtype == WML_I32 ? WEBML_DTYPE_INT32
                                                           : WEBML_DTYPE_FLOAT32,
                            .rank = n->out.rank};
  for (int i = 0; i < n->out.rank; i++) info.shape[i] = n->out.dim[i];
  return info;
}

size_t webml_model_inputs(const webml_model *m, webml_tensor_info *infos, size_t capacity) {
  size_t n = m ? (size_t)m->n_inputs : 0;
  for (size_t i = 0; i < n && i < capacity; i++) infos[i] = info_of(m, m->inputs[i].name, (int)i);
  return n;
}

size_t webml_model_outputs(const webml_model *m, webml_tensor_info *infos, size_t capacity) {
  size_t n = m ? (size_t)m->n_outputs : 0;
  for (size_t i = 0; i < n && i < capacity; i++)
    infos[i] = info_of(m, m->outputs[i].name, m->outputs[i].node);
  return n;
}

size_t webml_model_layers(const webml_model *m, webml_tensor_info *infos, size_t capacity) {
  size_t n = m ? (size_t)(m->n_nodes - m->n_inputs) : 0;
  for (size_t i = 0; i < n && i < capacity; i++) {
    int node = m->n_inputs + (int)i;
    infos[i] = info_of(m, m->nodes[node].name, node);
  }
  return n;
}

const char *webml_version(void) {
#define VERSION_TEXT2(a, b, c) #a "." #b "." #c
#define VERSION_TEXT(a, b, c) VERSION_TEXT2(a, b, c)
  return VERSION_TEXT(WEBML_VERSION_MAJOR, WEBML_VERSION_MINOR, WEBML_VERSION_PATCH);
}

void webml_free(void *pointer) {
  wml_free(pointer);
}

uint64_t webml_allocation_count(void) {
  return wml_alloc_count();
}
