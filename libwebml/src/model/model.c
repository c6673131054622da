/* From a description to a checked model with shapes. */
#include "model/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LAYER_CLASS(symbol, name, snake) &wml_layer_##snake,
#define LAYER_NAME(symbol, name, snake) name,
#define LAYER_SNAKE(symbol, name, snake) #snake,

static const wml_layer_class *const classes[] = {WML_LAYERS(LAYER_CLASS)};
static const char *const type_names[] = {WML_LAYERS(LAYER_NAME)};
static const char *const snake_names[] = {WML_LAYERS(LAYER_SNAKE)};

const wml_layer_class *wml_layer_class_of(wml_layer_type type) {
  return classes[type];
}
const char *wml_layer_type_name(wml_layer_type type) {
  return type_names[type];
}

/* ---- shapes ---- */

int64_t wml_window_output(int64_t n, int size, int stride, int dilation, wml_padding padding) {
  int64_t effective = (int64_t)(size - 1) * dilation + 1;
  if (padding == WML_PADDING_SAME) return (n + stride - 1) / stride;
  return n < effective ? 0 : (n - effective) / stride + 1;
}

void wml_window_pads(int64_t n, int size, int stride, int dilation, wml_padding padding,
                     int *before, int *after) {
  int64_t effective = (int64_t)(size - 1) * dilation + 1,
          out = wml_window_output(n, size, stride, dilation, padding);
  int64_t total = padding == WML_PADDING_SAME ? (out - 1) * stride + effective - n : 0;
  if (total < 0) total = 0;
  *before = (int)(total / 2);
  *after = (int)(total - total / 2);
}

int wml_pool_stride(const wml_layer *l, int axis) {
  return l->u.pool.strides[axis] ? l->u.pool.strides[axis] : l->u.pool.pool_size[axis];
}

int64_t wml_shape_elements(const wml_shape *shape) {
  int64_t n = 1;
  for (int i = 0; i < shape->rank; i++) {
    if (shape->dim[i] < 0) return -1;
    n *= shape->dim[i];
  }
  return n;
}

char *wml_shape_text(const wml_shape *shape, char text[WML_SHAPE_TEXT]) {
  int at = 0;
  for (int i = 0; i < shape->rank; i++) {
    if (shape->dim[i] < 0)
      at += snprintf(text + at, (size_t)(WML_SHAPE_TEXT - at), "%s?", i ? "x" : "");
    else
      at += snprintf(text + at, (size_t)(WML_SHAPE_TEXT - at), "%s%lld", i ? "x" : "",
                     (long long)shape->dim[i]);
  }
  return text;
}

wml_shape wml_model_output(const webml_model *model) {
  return model->n_layers ? model->layers[model->n_layers - 1].out : model->input;
}

webml_status wml_layer_param(wml_arena *arena, wml_layer *layer, const char *role,
                             wml_param param) {
  size_t n = strlen(layer->name) + strlen(role) + 2;
  char *name = wml_arena_alloc(arena, n);
  if (!name) return wml_no_memory(n, "a name");
  snprintf(name, n, "%s/%s", layer->name, role);
  param.name = name;
  param.trainable = layer->trainable && !param.statistic;
  layer->params[layer->n_params++] = param;
  return WEBML_OK;
}

/* ---- reading ---- */

enum { MAX_INPUT = 1 << 16 };

const char *const wml_padding_words[] = {"valid", "same", NULL};

static const wml_json_path layers_place = {.key = "layers"}, size_place = {.key = "size"};

static void cure_size(wml_issues *issues) {
  wml_issue_cure(issues, "set it to [height, width, channels], or [null] for a table");
}

static void read_size(const wml_json *json, webml_model *m, wml_issues *issues) {
  if (!json || json->kind != WML_JSON_ARRAY || (json->count != 1 && json->count != 3)) {
    wml_issue(issues, &size_place,
              json ? "must be [height, width, channels] or [features]"
                   : "is required: [height, width, channels] or [features]");
    cure_size(issues);
    return;
  }
  double most = json->count == 1 ? 1 << 24 : MAX_INPUT;
  m->input.rank = json->count;
  int i = 0;
  for (const wml_json *d = json->first; d; d = d->next, i++) {
    double value = -1.0;
    bool number = wml_number_of(d, &value);
    m->input.dim[i] = -1;
    if (number && value == floor(value) && value >= 1 && value <= most)
      m->input.dim[i] = (int64_t)value;
    else if (d->kind != WML_JSON_NULL) {
      wml_issue(issues, &size_place, "dimension %d must be a whole number from 1 to %.0f, or null",
                i, most);
      cure_size(issues);
    }
  }
}

static int layer_type_of(const char *name) {
  for (int i = 0; i < WML_N_LAYERS; i++)
    if (strcmp(type_names[i], name) == 0) return i;
  return -1;
}

static webml_status automatic_name(wml_arena *arena, wml_layer *layer, int count) {
  char text[64];
  if (count)
    snprintf(text, sizeof text, "%s_%d", snake_names[layer->type], count);
  else
    snprintf(text, sizeof text, "%s", snake_names[layer->type]);
  layer->name = wml_arena_copy(arena, text, strlen(text));
  return layer->name ? WEBML_OK : wml_no_memory(64, "a name");
}

/* The type of a layer; -1 with an issue. */
static int read_type(const wml_json *json, const wml_json_path *place, wml_issues *issues) {
  const char *type = wml_json_get_string(json, "type", NULL);
  int found = type ? layer_type_of(type) : -1;
  if (json->kind != WML_JSON_OBJECT || !type) {
    wml_issue(issues, place, "must be {\"type\": \"...\", \"layer\": {...}}");
    wml_issue_cure(issues, "remove it");
    wml_patch_remove(issues, place);
  } else if (found < 0)
    wml_unknown_name(issues, &(wml_json_path){.in = place, .key = "type"},
                     wml_json_get(json, "type"), "unknown layer", type, type_names, WML_N_LAYERS);
  return found;
}

/* Keys beside "type" and "layer": options belong inside. */
static void check_layer_keys(const wml_json *json, const wml_json_path *place, int type,
                             wml_issues *issues) {
  for (const wml_json *k = json->kind == WML_JSON_OBJECT ? json->first : NULL; k; k = k->next) {
    if (strcmp(k->key, "type") == 0 || strcmp(k->key, "layer") == 0) continue;
    wml_json_path here = {.in = place, .key = k->key};
    bool option = false;
    for (int i = 0; type >= 0 && i < classes[type]->n_fields; i++)
      option |= strcmp(k->key, classes[type]->fields[i].key) == 0;
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

static void check_layer_name(const webml_model *m, int index, const wml_json_path *options,
                             wml_issues *issues) {
  for (int i = 0; i < index; i++) {
    if (strcmp(m->layers[i].name, m->layers[index].name) != 0) continue;
    wml_issue(issues, options, "the name \"%.80s\" is already that of layers[%d]",
              m->layers[index].name, i);
    wml_json_path name = {.in = options, .key = "name"};
    if (!wml_json_path_find(issues, &name)) continue;
    wml_issue_cure(issues, "remove the name: the layer is named by its type");
    wml_patch_remove(issues, &name);
  }
}

static webml_status read_layer(webml_model *m, const wml_json *json, int index,
                               int counts[WML_N_LAYERS], wml_issues *issues) {
  wml_layer *layer = &m->layers[index];
  wml_json_path place = {.in = &layers_place, .index = index};
  wml_json_path inside = {.in = &place, .key = "layer"};
  int before = issues->count, geometry = issues->geometry, type = read_type(json, &place, issues);
  *layer = (wml_layer){.type = WML_LAYER_FLATTEN,
                       .input = index - 1,
                       .trainable = true,
                       .name = "",
                       .broken = true,
                       .unknown = true};
  check_layer_keys(json, &place, type, issues);
  if (type < 0) return WEBML_OK;
  *layer = (wml_layer){.type = (wml_layer_type)type,
                       .input = index - 1,
                       .trainable = true,
                       .activation = {.kind = WML_LINEAR, .max_value = INFINITY}};
  const wml_json *options = wml_json_get(json, "layer");
  if (options && options->kind != WML_JSON_OBJECT) {
    wml_issue(issues, &inside, "must be an object");
    wml_issue_cure(issues, "set it to {}");
    wml_patch_replace(issues, &inside, "{}");
    options = NULL;
  }
  WML_TRY(wml_fields_read(&m->arena, classes[type]->fields, classes[type]->n_fields, options,
                          &inside, NULL, layer, issues));
  if (!layer->name) WML_TRY(automatic_name(&m->arena, layer, counts[type]++));
  check_layer_name(m, index, &inside, issues);
  layer->has_issues = issues->count > before;
  layer->broken = issues->geometry > geometry;
  return WEBML_OK;
}

static webml_status read_layers(webml_model *m, const wml_json *json, wml_issues *issues) {
  if (!json || json->kind != WML_JSON_ARRAY || json->count < 1) {
    wml_issue(issues, &layers_place,
              json ? "must be a list of at least one layer" : "is required: a list of layers");
    wml_issue_cure(issues, "begin with one Dense layer");
    wml_patch_set(issues, NULL, "layers", "[{\"type\":\"Dense\",\"layer\":{\"units\":null}}]");
    return WEBML_OK;
  }
  if (json->count > WML_MAX_LAYERS) {
    wml_issue(issues, &layers_place, "%d layers; at most %d", json->count, WML_MAX_LAYERS);
    return WEBML_OK;
  }
  m->layers = wml_arena_alloc(&m->arena, (size_t)json->count * sizeof *m->layers);
  if (!m->layers) return wml_no_memory((size_t)json->count * sizeof *m->layers, "layers");
  int counts[WML_N_LAYERS] = {0}, index = 0;
  for (const wml_json *l = json->first; l; l = l->next, index++)
    WML_TRY(read_layer(m, l, index, counts, issues));
  m->n_layers = json->count;
  return WEBML_OK;
}

/* ---- shapes of layers ---- */

/* What is known of an output without the input or the options: later layers are checked against
 * it, so that one error does not hide others and is not repeated. */
static void assume_output(wml_layer *l) {
  const wml_layer_class *class = classes[l->type];
  l->out = class->gives ? (wml_shape){class->gives, {-1, -1, -1}} : l->in;
  if (l->unknown) l->out = (wml_shape){0};
  if (l->type == WML_LAYER_CONV2D && l->u.conv.filters > 0) l->out.dim[2] = l->u.conv.filters;
  if (l->type == WML_LAYER_DENSE && l->out.rank)
    l->out.dim[l->out.rank - 1] = l->u.dense.units > 0 ? l->u.dense.units : -1;
}

static bool has_later(const webml_model *m, int from, wml_layer_type type) {
  for (int i = from; i < m->n_layers; i++)
    if (!m->layers[i].unknown && m->layers[i].type == type) return true;
  return false;
}

/* A layer for pictures gets a row of numbers: by which layer, and what to do. */
static void refuse_row(const webml_model *m, int index, const wml_json_path *place,
                       wml_issues *issues) {
  char text[WML_SHAPE_TEXT];
  const wml_layer *l = &m->layers[index];
  wml_issue(issues, place, "takes %s, but its input is [%s]", classes[l->type]->takes,
            wml_shape_text(&l->in, text));
  int flat = index - 1;
  while (flat >= 0 && !(m->layers[flat].type == WML_LAYER_FLATTEN && m->layers[flat].in.rank == 3))
    flat--;
  wml_json_path there = {.in = &layers_place, .index = flat};
  if (flat < 0)
    wml_issue_cure(issues, "it is for pictures: set size to [height, width, channels]");
  else if (has_later(m, index + 1, WML_LAYER_FLATTEN)) {
    wml_issue_cure(issues, "remove the Flatten before it, layers[%d]", flat);
    wml_patch_remove(issues, &there);
  } else {
    wml_issue_cure(issues, "move it before the Flatten, layers[%d]", flat);
    wml_patch_move(issues, place, &there);
  }
}

static void check_open_units(const webml_model *m, int index, const wml_json_path *place,
                             wml_issues *issues) {
  const wml_layer *l = &m->layers[index];
  if (l->input < 0 || l->type != WML_LAYER_DENSE) return;
  const wml_layer *before = &m->layers[l->input];
  if (before->unknown || before->type != WML_LAYER_DENSE || before->u.dense.units != 0 ||
      before->broken)
    return;
  wml_issue(issues, place,
            "follows a Dense with open units; only the last Dense may have units null");
  wml_issue_cure(issues, "set the units of layers[%d], for example to 64", l->input);
  wml_patch_set(issues, WML_OPTIONS_OF((&(wml_json_path){.in = &layers_place, .index = l->input})),
                "units", "64");
}

/* glu gives half of the features. */
static void halve_features(wml_layer *l, const wml_json_path *place, wml_issues *issues) {
  int64_t *last = &l->out.dim[l->out.rank - 1];
  if (*last > 0 && *last % 2)
    wml_issue(issues, place, "glu halves its %d features, which must be even", (int)*last);
  *last = *last > 0 ? *last / 2 : *last;
}

static webml_status compute_shape(webml_model *m, int index, wml_issues *issues) {
  wml_layer *l = &m->layers[index];
  const wml_layer_class *class = classes[l->type];
  wml_json_path place = {.in = &layers_place, .index = index, .note = type_names[l->type]};
  char text[WML_SHAPE_TEXT];
  int before = issues->count;
  l->in = l->input < 0 ? m->input : m->layers[l->input].out;
  assume_output(l);
  if (l->unknown || l->in.rank == 0) return WEBML_OK;
  if (class->takes && l->in.rank != 3) {
    refuse_row(m, index, &place, issues);
    l->out = (wml_shape){0}; /* whatever is meant: it is not for the layers after it to complain */
    return WEBML_OK;
  }
  check_open_units(m, index, &place, issues);
  if (l->broken) return WEBML_OK;
  WML_TRY(class->shape(&m->arena, l, &place, issues));
  if (issues->count == before && l->activation.kind == WML_GLU) halve_features(l, &place, issues);
  if (issues->count == before && wml_shape_elements(&l->out) > (int64_t)1 << 31) {
    wml_issue(issues, &place, "an output of %s is too large", wml_shape_text(&l->out, text));
    wml_issue_cure(issues, "use fewer filters or units, or make the picture smaller before");
  }
  if (issues->count > before) assume_output(l);
  return WEBML_OK;
}

static webml_status compute_shapes(webml_model *m, wml_issues *issues) {
  for (int i = 0; i < m->n_layers; i++) WML_TRY(compute_shape(m, i, issues));
  return WEBML_OK;
}

/* ---- the description ---- */

static webml_status read_indices(webml_model *m, const wml_json *root, const char *key,
                                 wml_index_list *out, wml_issues *issues) {
  const wml_json *json = wml_json_get(root, key);
  wml_json_path place = {.key = key};
  out->n = -1;
  if (!json || json->kind == WML_JSON_NULL) return WEBML_OK;
  if (json->kind != WML_JSON_ARRAY) {
    wml_issue(issues, &place, "must be a list of feature indices");
    wml_issue_cure(issues, "remove it");
    wml_patch_remove(issues, &place);
    return WEBML_OK;
  }
  int *items = wml_arena_alloc(&m->arena, ((size_t)json->count + 1) * sizeof *items);
  if (!items) return wml_no_memory((size_t)json->count * sizeof *items, key);
  int n = 0, i = 0;
  for (const wml_json *v = json->first; v; v = v->next, i++) {
    double value;
    wml_json_path item = {.in = &place, .index = i};
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
  m->format = m->input.rank == 1 ? WML_FORMAT_CSV : WML_FORMAT_IMAGES;
  if (!json || json->kind == WML_JSON_NULL) return;
  bool images = json->kind == WML_JSON_STRING && strcmp(json->string, "images") == 0;
  bool csv = json->kind == WML_JSON_STRING && strcmp(json->string, "csvdata") == 0;
  if (!images && !csv)
    wml_issue(issues, &place, "must be \"images\" or \"csvdata\"");
  else if (m->input.rank && images != (m->input.rank == 3))
    wml_issue(issues, &place, "\"%s\" does not go with a size of %d dimensions", json->string,
              m->input.rank);
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
    {"layers", "The layers in their order, at least one.", true, false},
    {"optimizer", "How weights are changed; null: chosen.", true, true},
    {"loss", "What training makes small; null: chosen by the data.", true, true},
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

/* optimizer and loss must be said, though they may be null. */
static void require(const wml_json *json, const char *key, wml_issues *issues) {
  if (json) return;
  wml_issue(issues, &(wml_json_path){.key = key}, "is required; null chooses one");
  wml_issue_cure(issues, "set it to null: one is chosen");
  wml_patch_set(issues, NULL, key, "null");
}

static webml_status read_model(webml_model *m, const wml_json *root, wml_issues *issues) {
  static const wml_json null = {.kind = WML_JSON_NULL};
  check_keys(root, issues);
  WML_TRY(read_text(m, root, "name", 1, &m->name, issues));
  WML_TRY(read_text(m, root, "dataset", 2, &m->dataset, issues));
  read_size(wml_json_get(root, "size"), m, issues);
  read_format(m, wml_json_get(root, "format"), issues);
  const wml_json *dynamic = wml_json_get(root, "dynamic");
  if (dynamic && dynamic->kind != WML_JSON_BOOL && dynamic->kind != WML_JSON_NULL) {
    wml_json_path place = {.key = "dynamic"};
    wml_issue(issues, &place, "must be true or false");
    wml_issue_cure(issues, "set it to true");
    wml_patch_replace(issues, &place, "true");
  }
  m->dynamic = wml_json_get_bool(root, "dynamic", false);
  WML_TRY(read_layers(m, wml_json_get(root, "layers"), issues));
  const wml_json *optimizer = wml_json_get(root, "optimizer"), *loss = wml_json_get(root, "loss");
  require(optimizer, "optimizer", issues);
  require(loss, "loss", issues);
  WML_TRY(wml_read_optimizer(&m->arena, optimizer ? optimizer : &null, m, issues));
  WML_TRY(wml_read_loss(&m->arena, loss ? loss : &null, m, issues));
  WML_TRY(wml_read_metrics(&m->arena, wml_json_get(root, "metrics"), m, issues));
  WML_TRY(read_indices(m, root, "inputArray", &m->input_columns, issues));
  WML_TRY(read_indices(m, root, "outputArray", &m->output_columns, issues));
  WML_TRY(read_indices(m, root, "oneHotEncoding", &m->one_hot_columns, issues));
  WML_TRY(compute_shapes(m, issues));
  wml_shape out = wml_model_output(m);
  if (issues->count == 0 && !m->dynamic && out.dim[out.rank - 1] < 0)
    m->dynamic = true; /* units null: open whatever the flag says */
  return WEBML_OK;
}

webml_status wml_model_read(const wml_json *root, wml_issues *issues, webml_model **out) {
  const wml_json *inner = wml_json_get(root, "model");
  bool stored = inner && inner->kind == WML_JSON_OBJECT;
  if (stored) root = inner;
  issues->root = root;
  issues->base = stored ? "/model" : "";
  webml_model *m = wml_calloc(1, sizeof *m);
  if (!m) return wml_no_memory(sizeof *m, "a model");
  atomic_init(&m->references, 1);
  webml_status status = WEBML_OK;
  if (root->kind != WML_JSON_OBJECT)
    wml_issue(issues, NULL, "a model description must be a JSON object");
  else
    status = read_model(m, root, issues);
  if (status == WEBML_OK && issues->failed) status = wml_no_memory(1 << 12, "error messages");
  if (status == WEBML_OK)
    *out = m;
  else
    webml_model_destroy(m);
  return status;
}

webml_status wml_model_build(const wml_json *root, webml_model **out) {
  wml_issues issues = {0};
  webml_model *m = NULL;
  webml_status status = wml_model_read(root, &issues, &m);
  if (status == WEBML_OK && issues.count) {
    const char *message = wml_issues_message(&issues);
    status = message ? wml_fail(WEBML_ERROR_MODEL, "%s", message)
                     : wml_no_memory(1 << 12, "error messages");
  }
  wml_issues_free(&issues);
  if (status == WEBML_OK)
    *out = m;
  else
    webml_model_destroy(m);
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
  wml_arena_free(&model->arena);
  wml_free(model);
}

bool webml_model_is_dynamic(const webml_model *model) {
  return model && model->dynamic;
}

static void write_indices(wml_text *t, const char *key, const wml_index_list *list) {
  if (list->n < 0) return;
  wml_json_key(t, key);
  wml_json_open(t, '[');
  for (int i = 0; i < list->n; i++) wml_json_int(t, list->items[i]);
  wml_json_close(t, ']');
}

static void write_shape(wml_text *t, const wml_shape *shape, bool batch) {
  wml_json_open(t, '[');
  if (batch) wml_json_null(t);
  for (int i = 0; i < shape->rank; i++) {
    if (shape->dim[i] < 0)
      wml_json_null(t);
    else
      wml_json_int(t, shape->dim[i]);
  }
  wml_json_close(t, ']');
}

void wml_model_write_json(wml_text *t, const webml_model *m) {
  wml_json_open(t, '{');
  if (m->name) wml_json_key(t, "name"), wml_json_string(t, m->name);
  wml_json_key(t, "format");
  wml_json_string(t, m->format == WML_FORMAT_IMAGES ? "images" : "csvdata");
  wml_json_key(t, "size");
  write_shape(t, &m->input, false);
  if (m->dataset) wml_json_key(t, "dataset"), wml_json_string(t, m->dataset);
  wml_json_key(t, "dynamic");
  wml_json_bool(t, m->dynamic);
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < m->n_layers; i++) {
    const wml_layer *l = &m->layers[i];
    wml_json_open(t, '{');
    wml_json_key(t, "type");
    wml_json_string(t, type_names[l->type]);
    wml_json_key(t, "layer");
    wml_json_open(t, '{');
    wml_fields_write(t, classes[l->type]->fields, classes[l->type]->n_fields, l);
    wml_json_close(t, '}');
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
  wml_json_key(t, "optimizer");
  if (m->optimizer_open)
    wml_json_null(t);
  else
    wml_write_optimizer(t, &m->optimizer);
  wml_json_key(t, "loss");
  if (m->loss_open)
    wml_json_null(t);
  else
    wml_write_loss(t, &m->loss);
  wml_json_key(t, "metrics");
  wml_write_metrics(t, m);
  write_indices(t, "inputArray", &m->input_columns);
  write_indices(t, "outputArray", &m->output_columns);
  write_indices(t, "oneHotEncoding", &m->one_hot_columns);
  wml_json_close(t, '}');
}

webml_status webml_model_to_json(const webml_model *model, char **json) {
  if (!model || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_to_json: model and json must not be NULL");
  wml_text t = {0};
  wml_model_write_json(&t, model);
  return wml_text_take(&t, json);
}

static int64_t param_elements(const wml_param *p) {
  int64_t n = 1;
  for (int i = 0; i < p->rank; i++) n *= p->dim[i];
  return n;
}

static void write_layer(wml_text *t, const wml_layer *l, int64_t count) {
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, l->name);
  wml_json_key(t, "type");
  if (l->unknown)
    wml_json_null(t);
  else
    wml_json_string(t, type_names[l->type]);
  wml_json_key(t, "activation");
  wml_json_string(t, wml_activation_name(l->activation.kind));
  wml_json_key(t, "output_shape");
  if (l->out.rank)
    write_shape(t, &l->out, true);
  else
    wml_json_null(t);
  wml_json_key(t, "parameters");
  wml_json_int(t, count);
  wml_json_key(t, "flops");
  wml_json_number(t, l->flops);
  wml_json_close(t, '}');
}

void wml_model_write_summary(wml_text *t, const webml_model *model) {
  int64_t all = 0, trainable = 0;
  double flops = 0.0;
  wml_json_key(t, "name");
  wml_json_string(t, model->name ? model->name : "model");
  wml_json_key(t, "input_shape");
  write_shape(t, &model->input, true);
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < model->n_layers; i++) {
    const wml_layer *l = &model->layers[i];
    int64_t count = 0;
    for (int k = 0; k < l->n_params; k++) {
      count += param_elements(&l->params[k]);
      if (l->params[k].trainable) trainable += param_elements(&l->params[k]);
    }
    all += count;
    flops += l->flops;
    write_layer(t, l, count);
  }
  wml_json_close(t, ']');
  wml_json_key(t, "parameters");
  wml_json_int(t, all);
  wml_json_key(t, "trainable");
  wml_json_int(t, trainable);
  wml_json_key(t, "flops");
  wml_json_number(t, flops);
  wml_json_key(t, "optimizer");
  wml_write_optimizer(t, &model->optimizer);
  wml_json_key(t, "loss");
  wml_write_loss(t, &model->loss);
}

webml_status webml_model_summary(const webml_model *model, char **json) {
  if (!model || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_summary: model and json must not be NULL");
  wml_text t = {0};
  wml_json_open(&t, '{');
  wml_model_write_summary(&t, model);
  wml_json_close(&t, '}');
  return wml_text_take(&t, json);
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
