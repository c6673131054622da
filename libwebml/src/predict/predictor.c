#define _GNU_SOURCE /* adaptive mutexes */
#include "predict/predictor.h"

#include "data/dataset.h"
#include "data/images/image.h"

#include <math.h>
#include <string.h>

/* ---- plans ---- */

/* A plan in the predictor's precision; the first falls back to float32 where it may. */
static webml_status make_unit(webml_predictor *p, wml_dtype type, int64_t batch, wml_unit *unit) {
  wml_step_spec spec = {.model = p->weights.model,
                        .mode = WML_MODE_PREDICT,
                        .batch = batch,
                        .precision = p->precision,
                        .quantization = p->quantization};
  wml_step_rows(&spec, type);
  webml_status status = wml_unit_create(p->device, p->store, &spec, unit);
  if (status != WEBML_ERROR_UNSUPPORTED || !p->may_fall_back) return status;
  spec.precision = p->precision = WML_FLOAT32;
  return wml_unit_create(p->device, p->store, &spec, unit);
}

/* 1 for single rows, the largest batch, and some in between, so that little is padded. */
static webml_status make_buckets(webml_predictor *p, wml_dtype type, wml_buckets *b) {
  const int64_t sizes[] = {1, 8, 16, 32, p->max_batch};
  for (int i = 0; i < WML_MAX_BUCKETS; i++) {
    if (sizes[i] > p->max_batch || (b->n && sizes[i] <= b->units[b->n - 1].step.graph.batch))
      continue;
    WML_TRY(make_unit(p, type, sizes[i], &b->units[b->n]));
    b->n++;
  }
  webml_memory need = {0};
  for (int i = 0; i < b->n; i++) wml_unit_memory(&b->units[i], i > 0, &need);
  WML_TRY(wml_check_memory(p->device, &need, 0));
  for (int i = 0; i < b->n; i++) WML_TRY(wml_unit_prepare(&b->units[i]));
  return WEBML_OK;
}

static webml_status put_weights(webml_predictor *p) {
  const webml_model *m = p->weights.model;
  for (int i = 0; i < m->n_layers; i++)
    for (int k = 0; k < m->layers[i].n_params; k++) {
      const char *name = m->layers[i].params[k].name;
      WML_TRY(wml_from_result(p->device->backend->put(
          p->store, name, wml_safetensors_find(&p->weights.file, name)->data)));
    }
  return WEBML_OK;
}

static wml_precision trained_precision(const webml_predictor *p) {
  if (!p->weights.record) return WML_FLOAT32;
  return wml_precision_named(wml_json_get_string(p->weights.record, "precision", NULL));
}

static webml_status settle_precision(webml_predictor *p, const char *path,
                                     webml_inference_precision precision) {
  const wml_layer_quantization *quantized = p->weights.quantization;
  switch (precision) {
  case WEBML_INFERENCE_FLOAT32: return WEBML_OK;
  case WEBML_INFERENCE_BFLOAT16: p->precision = WML_MIXED_BFLOAT16; return WEBML_OK;
  case WEBML_INFERENCE_INT8:
    if (!quantized)
      return wml_fail(WEBML_ERROR_MISMATCH,
                      "%s is not quantized; \"webml quantize\" makes a file that is", path);
    p->quantization = quantized;
    return WEBML_OK;
  default:
    p->quantization = quantized;
    p->precision = quantized ? WML_FLOAT32 : trained_precision(p);
    p->may_fall_back = p->precision == WML_MIXED_BFLOAT16;
    return WEBML_OK;
  }
}

static webml_status load(webml_predictor *p, const char *path,
                         webml_inference_precision precision) {
  WML_TRY(wml_weights_read(path, &p->weights));
  const webml_model *m = p->weights.model;
  bool images = p->weights.model->format == WML_FORMAT_IMAGES;
  p->input_width = wml_model_input_elements(m);
  p->output_width = wml_model_output_elements(m);
  WML_TRY(settle_precision(p, path, precision));
  WML_TRY(wml_from_result(p->device->backend->store_create(p->device->handle, &p->store)));
  WML_TRY(make_buckets(p, images ? WML_U8 : WML_F32, images ? &p->bytes : &p->floats));
  WML_TRY(put_weights(p));
  p->rows = wml_alloc((size_t)p->max_batch * sizeof *p->rows);
  size_t outputs = (size_t)p->max_batch * (size_t)p->output_width * sizeof *p->outputs;
  p->outputs = wml_alloc(outputs);
  if (m->n_outputs > 1) p->one_output = wml_alloc(outputs);
  return p->rows && p->outputs && (p->one_output || m->n_outputs == 1)
             ? WEBML_OK
             : wml_no_memory(outputs, "predictions");
}

/* Small networks take less than a microsecond: waiting for another thread's row is then done by
 * looking again for a moment before the kernel is asked. */
static void make_mutex(pthread_mutex_t *mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
  pthread_mutex_init(mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

webml_status webml_predictor_create(const char *path, webml_device *device,
                                    const webml_predictor_options *options, webml_predictor **out) {
  webml_predictor_options o = {.struct_size = sizeof o};
  if (!path || !device || !out)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_predictor_create: path, device and predictor must not be NULL");
  if (options && options->struct_size > sizeof o)
    return wml_fail(WEBML_ERROR_ARGUMENT, "struct_size %zu is not that of webml_predictor_options",
                    options->struct_size);
  if (options) memcpy(&o, options, options->struct_size);
  if (o.max_batch < 0 || o.max_batch > 1 << 20)
    return wml_fail(WEBML_ERROR_ARGUMENT, "a largest batch of %lld is out of range",
                    (long long)o.max_batch);
  if (o.precision > WEBML_INFERENCE_INT8)
    return wml_fail(WEBML_ERROR_ARGUMENT, "precision %d is none of webml_inference_precision",
                    (int)o.precision);
  webml_predictor *p = wml_calloc(1, sizeof *p);
  if (!p) return wml_no_memory(sizeof *p, "a predictor");
  make_mutex(&p->mutex);
  p->device = device;
  p->max_batch = o.max_batch ? o.max_batch : 64;
  webml_status status = load(p, path, o.precision);
  if (status == WEBML_OK)
    *out = p;
  else
    webml_predictor_destroy(p);
  return status;
}

webml_status webml_predictor_load(const char *path, webml_device *device, int64_t max_batch,
                                  webml_predictor **out) {
  const webml_predictor_options o = {.struct_size = sizeof o, .max_batch = max_batch};
  return webml_predictor_create(path, device, &o, out);
}

const char *webml_predictor_precision(const webml_predictor *p) {
  const wml_backend *b = p->device->backend;
  if (p->quantization && b->int8 && b->int8(p->device->handle)) return "int8";
  return p->precision == WML_MIXED_BFLOAT16 ? "bfloat16" : "float32";
}

static void destroy_buckets(wml_buckets *b) {
  for (int i = 0; i < b->n; i++) wml_unit_destroy(&b->units[i]);
}

void webml_predictor_destroy(webml_predictor *p) {
  if (!p) return;
  destroy_buckets(&p->floats);
  destroy_buckets(&p->bytes);
  if (p->store) p->device->backend->store_destroy(p->store);
  wml_weights_free(&p->weights);
  wml_free(p->rows);
  wml_free(p->outputs);
  wml_free(p->one_output);
  pthread_mutex_destroy(&p->mutex);
  wml_free(p);
}

size_t webml_predictor_input_size(const webml_predictor *p) {
  return (size_t)p->input_width;
}
size_t webml_predictor_output_size(const webml_predictor *p) {
  return (size_t)p->output_width;
}
const webml_model *webml_predictor_model(const webml_predictor *p) {
  return p->weights.model;
}

/* ---- running ---- */

/* The plan for the next of `n` rows: the smallest that holds them all when they fill three quarters
 * of it (padding costs less than going through the weights again), else the largest that they fill,
 * or the next one where that would be run more than twice. */
static wml_unit *pick(wml_buckets *b, int64_t n) {
  int i = 0;
  while (i < b->n && b->units[i].step.graph.batch < n) i++;
  if (i < b->n && 4 * n >= 3 * b->units[i].step.graph.batch) return &b->units[i];
  if (i == 0) return &b->units[0];
  bool again = i < b->n && n > 2 * b->units[i - 1].step.graph.batch;
  return &b->units[again ? i : i - 1];
}

webml_status wml_predictor_read(webml_predictor *p, const wml_unit *unit, float *rows) {
  const wml_step *step = &unit->step;
  int64_t batch = step->graph.batch, at = 0;
  for (int o = 0; o < step->n_outputs; o++) {
    int64_t width = wml_row_elements(&step->graph.tensors[step->outputs[o]]);
    float *to = step->n_outputs == 1 ? rows : p->one_output;
    WML_TRY(wml_from_result(p->device->backend->read(unit->plan, step->outputs[o], to)));
    for (int64_t i = 0; i < batch && to != rows; i++)
      memcpy(rows + i * p->output_width + at, to + i * width, (size_t)width * sizeof *rows);
    at += width;
  }
  return WEBML_OK;
}

static webml_status run_rows(webml_predictor *p, wml_buckets *b, const void *inputs, int64_t n,
                             float *outputs) {
  for (int64_t at = 0; at < n;) {
    wml_unit *unit = pick(b, n - at);
    int64_t batch = unit->step.graph.batch, here = n - at < batch ? n - at : batch;
    for (int64_t i = 0; i < batch; i++) p->rows[i] = at + (i < here ? i : here - 1);
    wml_feed feed = {.tensor = unit->step.inputs[0], .base = inputs};
    wml_run run = {.n_steps = 1, .rows = p->rows, .n_feeds = 1, .feeds = &feed};
    WML_TRY(wml_from_result(p->device->backend->run(unit->plan, &run)));
    float *to = here == batch ? outputs + at * p->output_width : p->outputs;
    WML_TRY(wml_predictor_read(p, unit, to));
    if (here != batch)
      memcpy(outputs + at * p->output_width, p->outputs,
             (size_t)(here * p->output_width) * sizeof *outputs);
    at += here;
  }
  return WEBML_OK;
}

webml_status webml_predictor_run(webml_predictor *p, const float *inputs, int64_t n,
                                 float *outputs) {
  if (!p || !inputs || !outputs || n < 0)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_predictor_run: predictor, inputs and outputs must not be NULL");
  pthread_mutex_lock(&p->mutex);
  webml_status status = p->floats.n ? WEBML_OK : make_buckets(p, WML_F32, &p->floats);
  if (status == WEBML_OK) status = run_rows(p, &p->floats, inputs, n, outputs);
  pthread_mutex_unlock(&p->mutex);
  return status;
}

webml_status webml_predictor_run_pixels(webml_predictor *p, const uint8_t *pixels, int64_t n,
                                        float *outputs) {
  if (!p || !pixels || !outputs || n < 0)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_predictor_run_pixels: predictor, pixels and outputs must not be NULL");
  if (!p->bytes.n) return wml_fail(WEBML_ERROR_MISMATCH, "this model takes tables, not pixels");
  pthread_mutex_lock(&p->mutex);
  webml_status status = run_rows(p, &p->bytes, pixels, n, outputs);
  pthread_mutex_unlock(&p->mutex);
  return status;
}

/* ---- answers ---- */

/* One output of two classes is the probability of the second. */
static float probability(const webml_predictor *p, const float *y, int c) {
  bool binary = p->output_width == 1 && p->weights.pipeline.n_classes == 2;
  return binary ? (c == 1 ? y[0] : 1.0f - y[0]) : y[c];
}

static int class_count(const webml_predictor *p) {
  const wml_pipeline *pipeline = &p->weights.pipeline;
  return pipeline->format == WML_FORMAT_IMAGES ? pipeline->n_classes : pipeline->outputs[0].width;
}

/* {"class","index","probability"} members of class c. */
static void write_class(const webml_predictor *p, wml_text *t, const float *y, int c) {
  char buffer[WML_NUMBER_BYTES];
  wml_json_key(t, "class");
  wml_json_string(t, wml_pipeline_class_name(&p->weights.pipeline, c, buffer));
  wml_json_key(t, "index");
  wml_json_int(t, c);
  wml_json_key(t, "probability");
  wml_json_number(t, (double)probability(p, y, c));
}

static void write_top(const webml_predictor *p, wml_text *t, const float *y) {
  enum { TOP = 5 };
  int n = class_count(p), order[TOP] = {0}, count = 0;
  for (int c = 0; c < n; c++) {
    int at = count < TOP ? count++ : TOP;
    if (at == TOP && !(probability(p, y, c) > probability(p, y, order[TOP - 1]))) continue;
    if (at == TOP) at = TOP - 1;
    while (at > 0 && probability(p, y, c) > probability(p, y, order[at - 1]))
      order[at] = order[at - 1], at--;
    order[at] = c;
  }
  write_class(p, t, y, order[0]);
  wml_json_key(t, "top");
  wml_json_open(t, '[');
  for (int i = 0; i < count; i++) {
    wml_json_open(t, '{');
    write_class(p, t, y, order[i]);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

webml_status webml_predictor_image(webml_predictor *p, const char *path, char **json) {
  if (!p || !path || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_predictor_image: predictor, path and json must not be NULL");
  const webml_model *m = p->weights.model;
  if (m->format != WML_FORMAT_IMAGES)
    return wml_fail(WEBML_ERROR_MISMATCH, "this model takes table rows, not images");
  wml_shape in = wml_model_input_shape(m);
  uint8_t *pixels = wml_alloc((size_t)p->input_width);
  float *y = wml_alloc((size_t)p->output_width * sizeof *y);
  webml_status status = pixels && y ? WEBML_OK : wml_no_memory((size_t)p->input_width, "an image");
  if (status == WEBML_OK)
    status = wml_image_load(path, &p->weights.pipeline.picture, (int)in.dim[0], (int)in.dim[1],
                            (int)in.dim[2], pixels);
  if (status == WEBML_OK) status = webml_predictor_run_pixels(p, pixels, 1, y);
  if (status == WEBML_OK) {
    wml_text t = {0};
    wml_json_open(&t, '{');
    wml_json_key(&t, "input");
    wml_json_string(&t, path);
    write_top(p, &t, y);
    wml_json_close(&t, '}');
    status = wml_text_take(&t, json);
  }
  wml_free(pixels);
  wml_free(y);
  return status;
}

/* The value of one input column in the row object. */
static webml_status encode_member(const wml_json *row, const wml_encoder *e, float *out) {
  const wml_json *v = wml_json_get(row, e->column);
  if (!v && e->missing == WML_MISSING_REFUSE)
    return wml_fail(WEBML_ERROR_DATA, "the row has no value for the column \"%s\"", e->column);
  if (!v) return wml_encode_missing(e, out);
  switch (v->kind) {
  case WML_JSON_NULL: return wml_encode_missing(e, out);
  case WML_JSON_STRING: return wml_encode_label(e, v->string, out);
  case WML_JSON_NUMBER: return wml_encode_number(e, v->number, out);
  case WML_JSON_BOOL: return wml_encode_number(e, v->boolean ? 1.0 : 0.0, out);
  default:
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" takes a string or a number, not %s", e->column,
                    wml_json_kind_name(v->kind));
  }
}

static webml_status encode_row(const webml_predictor *p, const wml_json *row, float *x) {
  const wml_pipeline *pipeline = &p->weights.pipeline;
  if (row->kind != WML_JSON_OBJECT)
    return wml_fail(WEBML_ERROR_DATA, "a row must be an object {\"column\": value, ...}");
  for (int i = 0; i < pipeline->n_inputs; i++) {
    WML_TRY(encode_member(row, &pipeline->inputs[i], x));
    x += pipeline->inputs[i].width;
  }
  for (const wml_json *m = row->first; m; m = m->next) {
    bool known = false;
    for (int i = 0; i < pipeline->n_inputs; i++)
      known |= strcmp(pipeline->inputs[i].column, m->key) == 0;
    for (int i = 0; i < pipeline->n_outputs; i++)
      known |= strcmp(pipeline->outputs[i].column, m->key) == 0;
    if (known) continue;
    const char **names = wml_alloc((size_t)pipeline->n_inputs * sizeof *names);
    for (int i = 0; names && i < pipeline->n_inputs; i++) names[i] = pipeline->inputs[i].column;
    const char *meant = names ? wml_suggest(m->key, names, (size_t)pipeline->n_inputs) : NULL;
    wml_free(names);
    if (meant)
      return wml_fail(WEBML_ERROR_DATA, "the model has no column \"%s\", did you mean \"%s\"?",
                      m->key, meant);
  } /* other columns of the table are fine: the model does not look at them */
  return WEBML_OK;
}

static bool gives_probabilities(const webml_model *m) {
  bool all = true;
  for (int o = 0; o < m->n_outputs; o++) {
    int node = wml_node_source(m, m->outputs[o].node);
    if (node < m->n_inputs) return false;
    wml_activation_kind last = wml_layer_activation(wml_node_layer(m, node)).kind;
    all &= last == WML_SOFTMAX || last == WML_SIGMOID || (m->n_outputs > 1 && last == WML_LINEAR);
  }
  return all;
}

static void write_outputs(const webml_predictor *p, wml_text *t, const float *y) {
  const wml_pipeline *pipeline = &p->weights.pipeline;
  wml_text probabilities = {0};
  wml_json_open(&probabilities, '{');
  wml_json_key(t, "outputs");
  wml_json_open(t, '{');
  for (int i = 0; i < pipeline->n_outputs; y += pipeline->outputs[i++].width) {
    const wml_encoder *e = &pipeline->outputs[i];
    char name[WML_NUMBER_BYTES];
    double value = wml_decode_number(e, y);
    bool binary = wml_encoder_is_binary(e);
    wml_json_key(t, e->column);
    if (wml_encoder_is_number(e)) {
      wml_json_number(t, value);
      continue;
    }
    if (binary)
      wml_json_int(t, y[0] > 0.5f);
    else if (e->labels)
      wml_json_string(t, wml_encoder_value_name(e, (int)value, name));
    else
      wml_json_number(t, e->numbers[(int)value]);
    wml_json_key(&probabilities, e->column);
    wml_json_open(&probabilities, '{');
    for (int k = 0; k < (binary ? 2 : e->width); k++) {
      wml_json_key(&probabilities, wml_encoder_value_name(e, k, name));
      wml_json_number(&probabilities, binary ? (double)(k ? y[0] : 1.0f - y[0]) : (double)y[k]);
    }
    wml_json_close(&probabilities, '}');
  }
  wml_json_close(t, '}');
  wml_json_close(&probabilities, '}');
  wml_json_key(t, gives_probabilities(p->weights.model) ? "probabilities" : "scores");
  if (!probabilities.failed)
    wml_json_raw(t, probabilities.data);
  else
    t->failed = true;
  wml_text_free(&probabilities);
}

webml_status webml_predictor_row(webml_predictor *p, const char *row_json, char **json) {
  if (!p || !row_json || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_predictor_row: predictor, row and json must not be NULL");
  if (p->weights.model->format != WML_FORMAT_CSV)
    return wml_fail(WEBML_ERROR_MISMATCH, "this model takes images, not table rows");
  wml_arena arena = {0};
  const wml_json *row = NULL;
  float *x = wml_alloc((size_t)(p->input_width + p->output_width) * sizeof *x),
        *y = x ? x + p->input_width : NULL;
  webml_status status = x ? wml_json_parse(&arena, row_json, strlen(row_json), "the row", &row)
                          : wml_no_memory((size_t)p->input_width * 4, "a row");
  if (status == WEBML_OK) status = encode_row(p, row, x);
  if (status == WEBML_OK) status = webml_predictor_run(p, x, 1, y);
  if (status == WEBML_OK) {
    wml_text t = {0};
    wml_json_open(&t, '{');
    write_outputs(p, &t, y);
    wml_json_close(&t, '}');
    status = wml_text_take(&t, json);
  }
  wml_free(x);
  wml_arena_free(&arena);
  return status;
}

webml_status webml_evaluate(webml_predictor *p, const webml_dataset *dataset,
                            const webml_evaluate_options *options, char **json) {
  webml_evaluate_options o = {.struct_size = sizeof o};
  if (!p || !dataset || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_evaluate: predictor, dataset and json must not be NULL");
  if (options && options->struct_size > sizeof o)
    return wml_fail(WEBML_ERROR_ARGUMENT, "struct_size %zu is not that of webml_evaluate_options",
                    options->struct_size);
  if (options) memcpy(&o, options, options->struct_size);
  if (o.progress_seconds == 0.0) o.progress_seconds = 0.1;
  wml_text t = {0};
  pthread_mutex_lock(&p->mutex);
  webml_status status = wml_evaluate(p, dataset, &o, &t);
  pthread_mutex_unlock(&p->mutex);
  if (status == WEBML_OK) return wml_text_take(&t, json);
  wml_text_free(&t);
  return status;
}

webml_status webml_predictor_evaluate(webml_predictor *p, const webml_dataset *dataset,
                                      webml_part part, char **json) {
  const webml_evaluate_options o = {.struct_size = sizeof o, .part = part};
  return webml_evaluate(p, dataset, &o, json);
}
