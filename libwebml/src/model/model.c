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

enum { MAX_INPUT = 1 << 16, PATH_BYTES = 96 };

static void read_size(const wml_json *json, webml_model *m, wml_issues *issues) {
  if (!json || json->kind != WML_JSON_ARRAY || (json->count != 1 && json->count != 3)) {
    wml_issue(issues, "size",
              json ? "must be [height, width, channels] or [features]"
                   : "is required: [height, width, channels] or [features]");
    return;
  }
  m->input.rank = json->count;
  int i = 0;
  for (const wml_json *d = json->first; d; d = d->next, i++) {
    double value = -1.0;
    bool number = wml_number_of(d, &value);
    if (d->kind == WML_JSON_NULL)
      m->input.dim[i] = -1;
    else if (!number || value != floor(value) || value < 1 ||
             value > (json->count == 1 ? 1 << 24 : MAX_INPUT))
      wml_issue(issues, "size", "dimension %d must be a whole number from 1 to %d, or null", i,
                json->count == 1 ? 1 << 24 : MAX_INPUT);
    else
      m->input.dim[i] = (int64_t)value;
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

static webml_status read_layer(webml_model *m, const wml_json *json, int index,
                               int counts[WML_N_LAYERS], wml_issues *issues) {
  char path[PATH_BYTES];
  wml_layer *layer = &m->layers[index];
  snprintf(path, sizeof path, "layers[%d]", index);
  const char *type = wml_json_get_string(json, "type", NULL);
  int found = type ? layer_type_of(type) : -1;
  *layer =
      (wml_layer){.type = WML_LAYER_FLATTEN, .input = index - 1, .trainable = true, .name = "?"};
  if (json->kind != WML_JSON_OBJECT || !type)
    wml_issue(issues, path, "must be {\"type\": \"...\", \"layer\": {...}}");
  else if (found < 0) {
    const char *meant = wml_suggest(type, type_names, WML_N_LAYERS);
    snprintf(path, sizeof path, "layers[%d].type", index);
    if (meant)
      wml_issue(issues, path, "unknown layer \"%s\", did you mean \"%s\"?", type, meant);
    else
      wml_issue(issues, path,
                "unknown layer \"%s\"; known: Conv2D, MaxPooling2D, Flatten, Dropout, "
                "BatchNormalization, Dense",
                type);
  }
  for (const wml_json *k = json->kind == WML_JSON_OBJECT ? json->first : NULL; k; k = k->next)
    if (strcmp(k->key, "type") != 0 && strcmp(k->key, "layer") != 0) {
      char place[PATH_BYTES + 64];
      snprintf(place, sizeof place, "%s.%.40s", path, k->key);
      wml_issue(
          issues, place,
          "unknown key; a layer has \"type\" and \"layer\", its options stand inside \"layer\"");
    }
  if (found < 0) return WEBML_OK;
  layer->type = (wml_layer_type)found;
  layer->name = NULL;
  layer->activation = (wml_activation){.kind = WML_LINEAR, .max_value = INFINITY};
  const wml_layer_class *class = classes[found];
  const wml_json *options = wml_json_get(json, "layer");
  snprintf(path, sizeof path, "layers[%d].layer", index);
  if (options && options->kind != WML_JSON_OBJECT) {
    wml_issue(issues, path, "must be an object");
    options = NULL;
  }
  WML_TRY(wml_fields_read(&m->arena, class->fields, class->n_fields, options, path, NULL, layer,
                          issues));
  if (!layer->name) WML_TRY(automatic_name(&m->arena, layer, counts[found]++));
  for (int i = 0; i < index; i++)
    if (strcmp(m->layers[i].name, layer->name) == 0)
      wml_issue(issues, path, "the name \"%s\" is already that of layers[%d]", layer->name, i);
  return WEBML_OK;
}

static webml_status read_layers(webml_model *m, const wml_json *json, wml_issues *issues) {
  if (!json || json->kind != WML_JSON_ARRAY || json->count < 1) {
    wml_issue(issues, "layers",
              json ? "must be a list of at least one layer" : "is required: a list of layers");
    return WEBML_OK;
  }
  if (json->count > WML_MAX_LAYERS) {
    wml_issue(issues, "layers", "%d layers; at most %d", json->count, WML_MAX_LAYERS);
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

static webml_status compute_shapes(webml_model *m, wml_issues *issues) {
  for (int i = 0; i < m->n_layers; i++) {
    wml_layer *l = &m->layers[i];
    char path[PATH_BYTES], text[WML_SHAPE_TEXT];
    snprintf(path, sizeof path, "layers[%d] (%s)", i, type_names[l->type]);
    l->in = l->input < 0 ? m->input : m->layers[l->input].out;
    const char *takes = classes[l->type]->takes;
    if (takes && l->in.rank != 3) {
      wml_issue(issues, path, "takes %s, but its input is [%s]", takes,
                wml_shape_text(&l->in, text));
      return WEBML_OK;
    }
    if (l->input >= 0 && l->type == WML_LAYER_DENSE &&
        m->layers[l->input].type == WML_LAYER_DENSE && m->layers[l->input].u.dense.units == 0)
      wml_issue(issues, path,
                "follows a Dense with open units; only the last Dense may have units null");
    WML_TRY(classes[l->type]->shape(&m->arena, l, path, issues));
    if (issues->count) return WEBML_OK; /* further shapes would only repeat it */
    if (l->activation.kind == WML_GLU) {
      int64_t *last = &l->out.dim[l->out.rank - 1];
      if (*last > 0 && *last % 2)
        wml_issue(issues, path, "glu halves its %d features, which must be even", (int)*last);
      *last = *last > 0 ? *last / 2 : *last;
    }
    int64_t n = wml_shape_elements(&l->out);
    if (n > (int64_t)1 << 31)
      wml_issue(issues, path, "an output of %s is too large", wml_shape_text(&l->out, text));
  }
  return WEBML_OK;
}

static webml_status read_indices(webml_model *m, const wml_json *root, const char *key,
                                 wml_index_list *out, wml_issues *issues) {
  const wml_json *json = wml_json_get(root, key);
  out->n = -1;
  if (!json || json->kind == WML_JSON_NULL) return WEBML_OK;
  if (json->kind != WML_JSON_ARRAY) {
    wml_issue(issues, key, "must be a list of feature indices");
    return WEBML_OK;
  }
  int *items = wml_arena_alloc(&m->arena, ((size_t)json->count + 1) * sizeof *items);
  if (!items) return wml_no_memory((size_t)json->count * sizeof *items, key);
  int n = 0;
  for (const wml_json *v = json->first; v; v = v->next) {
    double value;
    if (!wml_number_of(v, &value) || value != floor(value) || value < 0 || value > 1e6) {
      char path[PATH_BYTES];
      snprintf(path, sizeof path, "%s[%d]", key, n);
      wml_issue(issues, path, "must be a feature index, 0 for the first column");
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
    wml_issue(issues, key, "must be a string of %zu to 128 characters", least);
    return WEBML_OK;
  }
  *out = wml_arena_copy(&m->arena, v->string, strlen(v->string));
  return *out ? WEBML_OK : wml_no_memory(128, key);
}

static void read_format(webml_model *m, const wml_json *json, wml_issues *issues) {
  m->format = m->input.rank == 1 ? WML_FORMAT_CSV : WML_FORMAT_IMAGES;
  if (!json || json->kind == WML_JSON_NULL) return;
  bool images = json->kind == WML_JSON_STRING && strcmp(json->string, "images") == 0;
  bool csv = json->kind == WML_JSON_STRING && strcmp(json->string, "csvdata") == 0;
  if (!images && !csv)
    wml_issue(issues, "format", "must be \"images\" or \"csvdata\"");
  else if (m->input.rank && images != (m->input.rank == 3))
    wml_issue(issues, "format", "\"%s\" does not go with a size of %d dimensions", json->string,
              m->input.rank);
}

static const char *const top_keys[] = {"name",    "size",       "format",      "dynamic",
                                       "dataset", "layers",     "optimizer",   "loss",
                                       "metrics", "inputArray", "outputArray", "oneHotEncoding"};

static void check_keys(const wml_json *root, wml_issues *issues) {
  for (const wml_json *k = root->first; k; k = k->next) {
    bool known = false;
    for (size_t i = 0; i < sizeof top_keys / sizeof *top_keys; i++)
      known |= strcmp(k->key, top_keys[i]) == 0;
    const char *meant =
        known ? NULL : wml_suggest(k->key, top_keys, sizeof top_keys / sizeof *top_keys);
    if (meant)
      wml_issue(issues, k->key, "unknown key, did you mean \"%s\"?", meant);
    else if (!known)
      wml_issue(issues, k->key,
                "unknown key; a model has layers, size, optimizer, loss and, if wanted, name, "
                "format, dynamic, dataset, metrics, inputArray, outputArray, oneHotEncoding");
  }
}

static webml_status read_model(webml_model *m, const wml_json *root, wml_issues *issues) {
  static const wml_json null = {.kind = WML_JSON_NULL};
  check_keys(root, issues);
  WML_TRY(read_text(m, root, "name", 1, &m->name, issues));
  WML_TRY(read_text(m, root, "dataset", 2, &m->dataset, issues));
  read_size(wml_json_get(root, "size"), m, issues);
  read_format(m, wml_json_get(root, "format"), issues);
  const wml_json *dynamic = wml_json_get(root, "dynamic");
  if (dynamic && dynamic->kind != WML_JSON_BOOL && dynamic->kind != WML_JSON_NULL)
    wml_issue(issues, "dynamic", "must be true or false");
  m->dynamic = wml_json_get_bool(root, "dynamic", false);
  WML_TRY(read_layers(m, wml_json_get(root, "layers"), issues));
  const wml_json *optimizer = wml_json_get(root, "optimizer"), *loss = wml_json_get(root, "loss");
  if (!optimizer) wml_issue(issues, "optimizer", "is required; null chooses one");
  if (!loss) wml_issue(issues, "loss", "is required; null chooses one");
  WML_TRY(wml_read_optimizer(&m->arena, optimizer ? optimizer : &null, m, issues));
  WML_TRY(wml_read_loss(&m->arena, loss ? loss : &null, m, issues));
  WML_TRY(wml_read_metrics(&m->arena, wml_json_get(root, "metrics"), m, issues));
  WML_TRY(read_indices(m, root, "inputArray", &m->input_columns, issues));
  WML_TRY(read_indices(m, root, "outputArray", &m->output_columns, issues));
  WML_TRY(read_indices(m, root, "oneHotEncoding", &m->one_hot_columns, issues));
  if (issues->count == 0) WML_TRY(compute_shapes(m, issues));
  if (issues->count == 0 && !m->dynamic &&
      wml_shape_elements(&(wml_shape){1, {wml_model_output(m).dim[wml_model_output(m).rank - 1]}}) <
          0)
    m->dynamic = true; /* units null: open whatever the flag says */
  return WEBML_OK;
}

webml_status wml_model_build(const wml_json *root, webml_model **out) {
  const wml_json *inner = wml_json_get(root, "model");
  if (inner && inner->kind == WML_JSON_OBJECT) root = inner; /* a stored document */
  if (root->kind != WML_JSON_OBJECT)
    return wml_fail(WEBML_ERROR_MODEL, "a model description must be a JSON object");
  webml_model *m = wml_calloc(1, sizeof *m);
  if (!m) return wml_no_memory(sizeof *m, "a model");
  atomic_init(&m->references, 1);
  wml_issues issues = {0};
  webml_status status = read_model(m, root, &issues);
  if (status == WEBML_OK && issues.text.failed)
    status = wml_no_memory(issues.text.length, "error messages");
  if (status == WEBML_OK && issues.count)
    status = wml_fail(WEBML_ERROR_MODEL, "%s", issues.text.data);
  wml_text_free(&issues.text);
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

webml_status webml_model_summary(const webml_model *model, char **json) {
  if (!model || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_summary: model and json must not be NULL");
  wml_text t = {0};
  int64_t all = 0, trainable = 0;
  double flops = 0.0;
  wml_json_open(&t, '{');
  wml_json_key(&t, "name");
  wml_json_string(&t, model->name ? model->name : "model");
  wml_json_key(&t, "input_shape");
  write_shape(&t, &model->input, true);
  wml_json_key(&t, "layers");
  wml_json_open(&t, '[');
  for (int i = 0; i < model->n_layers; i++) {
    const wml_layer *l = &model->layers[i];
    int64_t count = 0;
    for (int k = 0; k < l->n_params; k++) {
      count += param_elements(&l->params[k]);
      if (l->params[k].trainable) trainable += param_elements(&l->params[k]);
    }
    all += count;
    flops += l->flops;
    wml_json_open(&t, '{');
    wml_json_key(&t, "name");
    wml_json_string(&t, l->name);
    wml_json_key(&t, "type");
    wml_json_string(&t, type_names[l->type]);
    wml_json_key(&t, "activation");
    wml_json_string(&t, wml_activation_name(l->activation.kind));
    wml_json_key(&t, "output_shape");
    write_shape(&t, &l->out, true);
    wml_json_key(&t, "parameters");
    wml_json_int(&t, count);
    wml_json_key(&t, "flops");
    wml_json_number(&t, l->flops);
    wml_json_close(&t, '}');
  }
  wml_json_close(&t, ']');
  wml_json_key(&t, "parameters");
  wml_json_int(&t, all);
  wml_json_key(&t, "trainable");
  wml_json_int(&t, trainable);
  wml_json_key(&t, "flops");
  wml_json_number(&t, flops);
  wml_json_key(&t, "optimizer");
  wml_write_optimizer(&t, &model->optimizer);
  wml_json_key(&t, "loss");
  wml_write_loss(&t, &model->loss);
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
