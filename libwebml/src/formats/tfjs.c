/* TensorFlow.js layers-model: model.json with a Keras-2 style topology, Sequential for a chain and
 * Functional for other graphs, and one file of raw little-endian floats. Roles and layouts of
 * weights are Keras's, which are ours; layers whose names TensorFlow.js refuses are renamed. */
#include "formats/tfjs.h"
#include "base/file.h"
#include "formats/export.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void word(wml_text *t, const char *key, const char *value) {
  wml_json_key(t, key);
  wml_json_string(t, value);
}

static void flag(wml_text *t, const char *key, bool value) {
  wml_json_key(t, key);
  wml_json_bool(t, value);
}

/* ---- names ----
 * TensorFlow.js takes letters, digits, '.', '-' and '_' in a layer's name, the first a letter or a
 * digit. (It takes the slash, too, which no layer has in its name.) */

static bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* The name with '_' for every character that is refused; the buffer holds 8 bytes more than it. */
static void clean_name(const char *name, char *out) {
  for (const char *c = name; *c; c++) {
    if (((unsigned char)*c & 0xC0) == 0x80) continue; /* UTF-8: the character has its '_' */
    if (c == name && !is_alphanumeric(*c)) {
      memcpy(out, "layer", 5);
      out += 5;
    }
    *out++ = is_alphanumeric(*c) || *c == '.' || *c == '-' ? *c : '_';
  }
  *out = '\0';
}

/* What the layer that takes the input is called. The sequential model puts another before it, named
 * like this one with "_input". */
static const char rescaling[] = "rescaling";

/* Whether another layer than the i-th has the name, in the description or in the export. */
static bool is_taken(const char *name, const webml_model *m, const char *const *names, int i) {
  for (int j = 0; j < m->n_layers; j++)
    if (j != i && strcmp(name, m->layers[j].name) == 0) return true;
  for (int j = 0; j < i; j++)
    if (strcmp(name, names[j]) == 0) return true;
  bool images = m->format == WML_FORMAT_IMAGES;
  if (images && strcmp(name, rescaling) == 0) return true;
  const char *first = images ? rescaling : i > 0 ? names[0] : NULL;
  size_t n = first ? strlen(first) : 0;
  return first && strncmp(name, first, n) == 0 && strcmp(name + n, "_input") == 0;
}

/* names: [n_layers + n_inputs], in the arena: a layer's own name where TensorFlow.js takes it, else
 * one like it that no other layer has; inputs are layers there. */
static webml_status name_layers(const webml_model *m, wml_arena *arena, const char **names) {
  for (int i = 0; i < m->n_layers + m->n_inputs; i++) {
    const char *own = i < m->n_layers ? m->layers[i].name : m->inputs[i - m->n_layers].name;
    size_t size = strlen(own) + 32;
    char *clean = wml_arena_alloc(arena, size), *name = wml_arena_alloc(arena, size);
    if (!clean || !name) return wml_no_memory(size, "a name");
    clean_name(own, clean);
    snprintf(name, size, "%s", clean);
    for (int k = 1; is_taken(name, m, names, i); k++) snprintf(name, size, "%s_%d", clean, k);
    names[i] = name;
  }
  return WEBML_OK;
}

/* ---- layers ---- */

/* TF.js's name of an activation; NULL where it has no such function. */
static const char *activation_name(const wml_activation *a) {
  switch (a->kind) {
  case WML_RELU:
    return a->alpha == 0.0f && a->threshold == 0.0f && isinf(a->max_value) ? "relu" : NULL;
  case WML_ELU: return a->alpha == 1.0f ? "elu" : NULL;
  case WML_LINEAR:
  case WML_RELU6:
  case WML_SELU:
  case WML_SIGMOID:
  case WML_TANH:
  case WML_SOFTPLUS:
  case WML_SOFTSIGN:
  case WML_SOFTMAX: return wml_activation_name(a->kind);
  case WML_LOG_SOFTMAX: return "logSoftmax";
  case WML_SILU: return "swish";
  case WML_MISH: return "mish";
  case WML_GELU: return "gelu";
  /* Its hardSigmoid is Keras 2's, with other knees. It has gelu_tanh as gelu_new, but no file can
   * say so: its loader turns words with an underscore into camel case and then knows no geluNew. */
  default: return NULL;
  }
}

/* ---- what layers write with ---- */

const wml_shape *wml_tfjs_shape(const wml_tfjs_call *c, int i) {
  return wml_node_in(c->model, c->node, i);
}
void wml_tfjs_int(wml_tfjs_call *c, const char *key, int64_t value) {
  wml_json_key(c->text, key);
  wml_json_int(c->text, value);
}
void wml_tfjs_number(wml_tfjs_call *c, const char *key, double value) {
  wml_json_key(c->text, key);
  wml_json_number(c->text, value);
}
void wml_tfjs_flag(wml_tfjs_call *c, const char *key, bool value) {
  flag(c->text, key, value);
}
void wml_tfjs_word(wml_tfjs_call *c, const char *key, const char *value) {
  word(c->text, key, value);
}
void wml_tfjs_ints(wml_tfjs_call *c, const char *key, int n, const int *values) {
  wml_json_key(c->text, key);
  wml_json_open(c->text, '[');
  for (int i = 0; i < n; i++) wml_json_int(c->text, values[i]);
  wml_json_close(c->text, ']');
}
void wml_tfjs_pair(wml_tfjs_call *c, const char *key, const int value[2]) {
  wml_tfjs_ints(c, key, 2, value);
}
void wml_tfjs_padding(wml_tfjs_call *c, wml_padding padding) {
  word(c->text, "padding", wml_padding_words[padding]);
}

webml_status wml_tfjs_activation(wml_tfjs_call *c, const wml_activation *a) {
  const char *name = activation_name(a);
  if (a->kind == WML_GELU_TANH)
    return wml_fail(WEBML_ERROR_UNSUPPORTED,
                    "layer \"%s\": TensorFlow.js cannot load the activation gelu_tanh from a file; "
                    "it can load gelu",
                    c->layer->name);
  if (!name)
    return wml_fail(WEBML_ERROR_UNSUPPORTED,
                    "layer \"%s\": TensorFlow.js has no activation like this %s", c->layer->name,
                    wml_activation_name(a->kind));
  word(c->text, "activation", name);
  return WEBML_OK;
}

webml_status wml_tfjs_refuse(const wml_tfjs_call *c, const char *what) {
  return wml_fail(WEBML_ERROR_UNSUPPORTED, "layer \"%s\": TensorFlow.js has no %s", c->layer->name,
                  what);
}

webml_status wml_tfjs_nothing(wml_tfjs_call *c) {
  (void)c;
  return WEBML_OK;
}

/* ---- layers ---- */

static void write_input_shape(wml_text *t, const wml_node *input) {
  wml_json_key(t, "batch_input_shape");
  wml_json_open(t, '[');
  wml_json_null(t);
  for (int d = 0; d < input->out.rank; d++) wml_json_int(t, input->out.dim[d]);
  wml_json_close(t, ']');
  word(t, "dtype", input->dtype == WML_I32 ? "int32" : "float32");
}

/* Where the layers of a model stand in a topology. */
typedef struct topology {
  const webml_model *m;
  const char *const *names; /* [n_layers], then [n_inputs] */
  bool is_chain;
} topology;

/* [[name, use, 0, {}], ...] of what a node reads, inside the list of a layer's uses. Pictures are
 * read through their rescaling. */
static void write_reference(wml_text *t, const topology *g, int node, bool is_inbound) {
  const webml_model *m = g->m;
  int layer = m->nodes[node].layer, use = 0;
  for (int i = m->n_inputs; i < node; i++) use += layer >= 0 && m->nodes[i].layer == layer;
  wml_json_open(t, '[');
  if (layer < 0)
    wml_json_string(t, is_inbound && m->format == WML_FORMAT_IMAGES ? rescaling
                                                                    : g->names[m->n_layers + node]);
  else
    wml_json_string(t, g->names[layer]);
  wml_json_int(t, use);
  wml_json_int(t, 0);
  if (is_inbound) wml_json_open(t, '{'), wml_json_close(t, '}');
  wml_json_close(t, ']');
}

static void write_inbound(wml_text *t, const topology *g, int layer) {
  const webml_model *m = g->m;
  wml_json_key(t, "inbound_nodes");
  wml_json_open(t, '[');
  for (int i = m->n_inputs; i < m->n_nodes; i++) {
    if (m->nodes[i].layer != layer) continue;
    wml_json_open(t, '[');
    for (int k = 0; k < m->nodes[i].n_inputs; k++)
      write_reference(t, g, m->nodes[i].inputs[k], true);
    wml_json_close(t, ']');
  }
  wml_json_close(t, ']');
}

/* Images come in as 0..255, as they do everywhere else. */
static void write_rescaling(wml_text *t, const topology *g) {
  wml_json_open(t, '{');
  word(t, "class_name", "Rescaling");
  if (!g->is_chain) word(t, "name", rescaling);
  wml_json_key(t, "config");
  wml_json_open(t, '{');
  word(t, "name", rescaling);
  wml_json_key(t, "scale");
  wml_json_number(t, 1.0 / 255.0);
  wml_json_key(t, "offset");
  wml_json_int(t, 0);
  if (g->is_chain) write_input_shape(t, &g->m->nodes[0]);
  wml_json_close(t, '}');
  if (!g->is_chain) {
    wml_json_key(t, "inbound_nodes");
    wml_json_open(t, '[');
    wml_json_open(t, '[');
    wml_json_open(t, '[');
    wml_json_string(t, g->names[g->m->n_layers]);
    wml_json_int(t, 0);
    wml_json_int(t, 0);
    wml_json_open(t, '{');
    wml_json_close(t, '}');
    wml_json_close(t, ']');
    wml_json_close(t, ']');
    wml_json_close(t, ']');
  }
  wml_json_close(t, '}');
}

static void write_input_layer(wml_text *t, const topology *g, int i) {
  const char *name = g->names[g->m->n_layers + i];
  wml_json_open(t, '{');
  word(t, "class_name", "InputLayer");
  word(t, "name", name);
  wml_json_key(t, "config");
  wml_json_open(t, '{');
  word(t, "name", name);
  write_input_shape(t, &g->m->nodes[i]);
  flag(t, "sparse", false);
  wml_json_close(t, '}');
  wml_json_key(t, "inbound_nodes");
  wml_json_open(t, '[');
  wml_json_close(t, ']');
  wml_json_close(t, '}');
}

/* The first use of a layer. */
static const wml_node *first_use(const webml_model *m, int layer) {
  const wml_node *node = &m->nodes[m->n_inputs];
  while (node->layer != layer) node++;
  return node;
}

static webml_status write_layer(wml_text *t, const topology *g, int i) {
  const webml_model *m = g->m;
  const wml_layer *l = &m->layers[i];
  const wml_node *node = first_use(m, i);
  wml_text config = {0};
  wml_tfjs_call call = {.text = &config,
                        .layer = l,
                        .options = l->options,
                        .model = m,
                        .node = node,
                        .in = wml_node_in(m, node, 0)};
  if (!l->class->tfjs) return wml_tfjs_refuse(&call, "layer like it");
  wml_json_open(&config, '{');
  word(&config, "name", g->names[i]);
  flag(&config, "trainable", l->trainable);
  if (g->is_chain && i == 0 && m->format == WML_FORMAT_CSV)
    write_input_shape(&config, &m->nodes[0]);
  webml_status status = l->class->tfjs(&call);
  wml_json_close(&config, '}');
  wml_json_open(t, '{');
  word(t, "class_name", call.class_name ? call.class_name : l->class->name);
  if (!g->is_chain) word(t, "name", g->names[i]);
  wml_json_key(t, "config");
  if (status == WEBML_OK && config.failed) status = wml_no_memory(config.length, "a layer");
  if (status == WEBML_OK) wml_json_raw(t, config.data);
  if (!g->is_chain) write_inbound(t, g, i);
  wml_json_close(t, '}');
  wml_text_free(&config);
  return status;
}

static void write_ends(wml_text *t, const topology *g) {
  wml_json_key(t, "input_layers");
  wml_json_open(t, '[');
  for (int i = 0; i < g->m->n_inputs; i++) write_reference(t, g, i, false);
  wml_json_close(t, ']');
  wml_json_key(t, "output_layers");
  wml_json_open(t, '[');
  for (int i = 0; i < g->m->n_outputs; i++) write_reference(t, g, g->m->outputs[i].node, false);
  wml_json_close(t, ']');
}

/* Named by its layer's name in the export, a slash and its role. */
static void write_weight(wml_text *t, const wml_layer *l, const wml_param *p, const char *layer) {
  const char *role = p->name + strlen(l->name) + 1;
  if (l->class->tfjs_kernel && p == &l->params[0]) role = l->class->tfjs_kernel;
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_text_format(t, "\"%s/%s\"", layer, role); /* nothing to escape */
  wml_json_key(t, "shape");
  wml_json_open(t, '[');
  for (int d = 0; d < p->rank; d++) wml_json_int(t, p->dim[d]);
  wml_json_close(t, ']');
  word(t, "dtype", "float32");
  wml_json_close(t, '}');
}

static void write_manifest(wml_text *t, const webml_model *m, const char *const *names) {
  wml_json_key(t, "weightsManifest");
  wml_json_open(t, '[');
  wml_json_open(t, '{');
  wml_json_key(t, "paths");
  wml_json_open(t, '[');
  wml_json_string(t, "model.weights.bin");
  wml_json_close(t, ']');
  wml_json_key(t, "weights");
  wml_json_open(t, '[');
  for (int i = 0; i < m->n_layers; i++)
    for (int k = 0; k < m->layers[i].n_params; k++)
      write_weight(t, &m->layers[i], &m->layers[i].params[k], names[i]);
  wml_json_close(t, ']');
  wml_json_close(t, '}');
  wml_json_close(t, ']');
}

static webml_status write_layers(wml_text *t, const topology *g) {
  const webml_model *m = g->m;
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < m->n_inputs && !g->is_chain; i++) write_input_layer(t, g, i);
  if (m->format == WML_FORMAT_IMAGES) write_rescaling(t, g);
  for (int i = 0; i < m->n_layers; i++) WML_TRY(write_layer(t, g, i));
  wml_json_close(t, ']');
  if (!g->is_chain) write_ends(t, g);
  return WEBML_OK;
}

/* One input, one output, and each layer reads the one before. */
static bool is_chain(const webml_model *m) {
  bool chain = m->n_inputs == 1 && m->n_outputs == 1 && m->outputs[0].node == m->n_nodes - 1;
  for (int i = 1; i < m->n_nodes && chain; i++)
    chain = m->nodes[i].n_inputs == 1 && m->nodes[i].inputs[0] == i - 1 && !m->nodes[i].is_use;
  return chain;
}

static webml_status write_topology(wml_text *t, const webml_model *m, const char *const *names) {
  const topology g = {m, names, is_chain(m)};
  wml_json_open(t, '{');
  word(t, "format", "layers-model");
  word(t, "generatedBy", "webml");
  wml_json_key(t, "convertedBy");
  wml_json_null(t);
  wml_json_key(t, "modelTopology");
  wml_json_open(t, '{');
  word(t, "keras_version", "2.15.0");
  word(t, "backend", "tensorflow");
  wml_json_key(t, "model_config");
  wml_json_open(t, '{');
  word(t, "class_name", g.is_chain ? "Sequential" : "Functional");
  wml_json_key(t, "config");
  wml_json_open(t, '{');
  word(t, "name", m->name ? m->name : "model");
  WML_TRY(write_layers(t, &g));
  wml_json_close(t, '}');
  wml_json_close(t, '}');
  wml_json_close(t, '}');
  write_manifest(t, m, names);
  wml_json_close(t, '}');
  return WEBML_OK;
}

static webml_status write_floats(const wml_weights *w, const char *path) {
  wml_atomic_file f;
  WML_TRY(wml_atomic_open(path, &f));
  webml_status status = WEBML_OK;
  for (int i = 0; i < w->model->n_layers; i++)
    for (int k = 0; k < w->model->layers[i].n_params && status == WEBML_OK; k++) {
      const wml_named_tensor *t =
          wml_safetensors_find(&w->file, w->model->layers[i].params[k].name);
      status = wml_atomic_write(&f, t->data, (size_t)wml_named_elements(t) * sizeof(float));
    }
  if (status == WEBML_OK) return wml_atomic_commit(&f);
  wml_atomic_abandon(&f);
  return status;
}

webml_status wml_export_tfjs(const wml_weights *w, const char *folder) {
  wml_text t = {0};
  wml_arena arena = {0};
  size_t size = (size_t)(w->model->n_layers + w->model->n_inputs) * sizeof(char *);
  const char **names = wml_arena_alloc(&arena, size);
  webml_status status =
      names ? name_layers(w->model, &arena, names) : wml_no_memory(size, "the names of layers");
  if (status == WEBML_OK) status = write_topology(&t, w->model, names);
  if (status == WEBML_OK && t.failed) status = wml_no_memory(t.length, "model.json");
  if (status == WEBML_OK && mkdir(folder, 0777) != 0 && errno != EEXIST)
    status = wml_fail(WEBML_ERROR_IO, "cannot make the folder %s: %s", folder, strerror(errno));
  char *floats = wml_path_join(folder, "model.weights.bin");
  char *description = wml_path_join(folder, "model.json");
  if (status == WEBML_OK && (!floats || !description)) status = wml_no_memory(1, "a path");
  if (status == WEBML_OK) status = write_floats(w, floats);
  if (status == WEBML_OK)
    status = wml_file_write(description, t.data, t.length); /* last: it makes the export whole */
  wml_free(floats);
  wml_free(description);
  wml_text_free(&t);
  wml_arena_free(&arena);
  return status;
}
