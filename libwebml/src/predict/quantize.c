/* Post-training quantization: the network runs in float32 over some samples, which gives each
 * quantized layer's input its scale; kernels have one per filter. The layers that cost most are put
 * back to float32 until little enough is lost. */
#include "base/file.h"
#include "data/dataset.h"
#include "model/layer.h"
#include "predict/histogram.h"
#include "predict/predictor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CALIBRATION_BATCH = 64, ERROR_SAMPLES = 256 };

typedef struct quantized_layer {
  const wml_layer *layer;
  bool can, quantized;
  float *scales;  /* [filters] */
  int8_t *kernel; /* as the parameter */
  char *scale_name;
  double error;
  wml_histogram *histogram;
} quantized_layer;

typedef struct quantizer {
  const char *source, *path;
  const webml_dataset *dataset;
  webml_device *device;
  webml_quantize_options options;
  wml_arena arena;
  webml_predictor *predictor; /* of the source, in float32 */
  const webml_model *model;
  wml_loaded data;
  const wml_samples *samples;
  int64_t n, batch; /* samples that calibrate, whole batches */
  int64_t *rows;
  quantized_layer *layers;           /* [layers of the model] */
  wml_layer_quantization *settings;  /* the same as plans take them */
  int64_t bytes_before, bytes_after; /* of the files */
  double excess;                     /* of what is lost over what may be; points, or percent */
  char *before, *after;              /* evaluations */
} quantizer;

static void *take(quantizer *q, size_t bytes) {
  void *p = wml_arena_alloc(&q->arena, bytes);
  if (p) memset(p, 0, bytes);
  return p;
}

static webml_status no_memory(void) {
  return wml_no_memory(1 << 20, "a quantization");
}

/* ---- kernels ---- */

static const wml_named_tensor *kernel_of(const quantizer *q, const quantized_layer *l) {
  return wml_safetensors_find(&q->predictor->weights.file, l->layer->params[0].name);
}

/* Each filter by its largest weight. */
static webml_status quantize_kernel(quantizer *q, quantized_layer *l) {
  const wml_named_tensor *kernel = kernel_of(q, l);
  int64_t n = wml_named_elements(kernel), filters = kernel->dim[kernel->rank - 1];
  size_t length = strlen(kernel->name) + 7;
  l->scales = take(q, (size_t)filters * sizeof *l->scales);
  l->kernel = take(q, (size_t)n);
  l->scale_name = take(q, length);
  if (!l->scales || !l->kernel || !l->scale_name) return no_memory();
  snprintf(l->scale_name, length, "%s_scale", kernel->name);
  for (int64_t i = 0; i < n; i++) {
    float size = fabsf(kernel->data[i]);
    if (!isfinite(size))
      return wml_fail(WEBML_ERROR_DATA, "%s: \"%s\" holds a weight that is not finite", q->source,
                      kernel->name);
    if (size > l->scales[i % filters]) l->scales[i % filters] = size;
  }
  for (int64_t i = 0; i < filters; i++)
    l->scales[i] = l->scales[i] > 0.0f ? l->scales[i] / 127.0f : 1.0f;
  for (int64_t i = 0; i < n; i++)
    l->kernel[i] = (int8_t)nearbyintf(kernel->data[i] / l->scales[i % filters]);
  return WEBML_OK;
}

static bool named(const char *list, const char *name) {
  size_t n = strlen(name);
  for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',')
    if (strcspn(at, ",") == n && strncmp(at, name, n) == 0) return true;
  return false;
}

static webml_status check_names(const quantizer *q) {
  for (const char *at = q->options.keep; at && *at; at += strcspn(at, ","), at += *at == ',') {
    int n = (int)strcspn(at, ","), i = 0;
    while (i < q->model->n_layers && !(strncmp(q->model->layers[i].name, at, (size_t)n) == 0 &&
                                       q->model->layers[i].name[n] == '\0'))
      i++;
    if (i == q->model->n_layers)
      return wml_fail(WEBML_ERROR_ARGUMENT, "%s has no layer named \"%.*s\"", q->source, n, at);
  }
  return WEBML_OK;
}

/* Whose kernel would need a scale for the input of each use. */
static bool is_used_again(const webml_model *m, int layer) {
  for (int i = m->n_inputs; i < m->n_nodes; i++)
    if (m->nodes[i].layer == layer && m->nodes[i].is_use) return true;
  return false;
}

static webml_status choose_layers(quantizer *q) {
  size_t n = (size_t)q->model->n_layers;
  int found = 0;
  q->layers = take(q, n * sizeof *q->layers);
  q->settings = take(q, n * sizeof *q->settings);
  if (!q->layers || !q->settings) return no_memory();
  WML_TRY(check_names(q));
  for (size_t i = 0; i < n; i++) {
    quantized_layer *l = &q->layers[i];
    l->layer = &q->model->layers[i];
    l->can = wml_layer_can_quantize(l->layer) && !is_used_again(q->model, (int)i);
    l->quantized = l->can && !named(q->options.keep, l->layer->name);
    if (!l->quantized) continue;
    l->histogram = take(q, sizeof *l->histogram);
    if (!l->histogram) return no_memory();
    WML_TRY(quantize_kernel(q, l));
    found++;
  }
  if (found) return WEBML_OK;
  return wml_fail(WEBML_ERROR_UNSUPPORTED,
                  "%s: no layer can be quantized; dense layers and convolutions without groups can",
                  q->source);
}

/* ---- running the network over the samples ---- */

typedef webml_status (*batch_visitor)(quantizer *q, wml_unit *unit, int64_t first, void *arg);

static webml_status run_batches(quantizer *q, const wml_layer_quantization *quantization,
                                bool inputs, int64_t n, batch_visitor visit, void *arg) {
  const wml_samples *s = q->samples;
  wml_step_spec spec = {.model = q->model,
                        .mode = WML_MODE_PREDICT,
                        .batch = q->batch,
                        .quantization = quantization,
                        .node_inputs = inputs};
  wml_samples_feeds(s, q->model, &q->predictor->weights.pipeline, spec.inputs, spec.targets);
  wml_unit unit;
  WML_TRY(wml_unit_create(q->device, q->predictor->store, &spec, &unit));
  webml_status status = wml_unit_prepare(&unit);
  for (int64_t at = 0; at < n && status == WEBML_OK; at += q->batch) {
    wml_feed feed = {.tensor = unit.step.inputs[0], .base = s->input};
    wml_run run = {.n_steps = 1, .rows = q->rows + at, .n_feeds = 1, .feeds = &feed};
    status = wml_from_result(q->device->backend->run(unit.plan, &run));
    if (status == WEBML_OK) status = visit(q, &unit, at, arg);
  }
  wml_unit_destroy(&unit);
  return status;
}

/* Whole batches of samples, evenly spread over the training part. */
static webml_status choose_samples(quantizer *q) {
  const wml_samples *s = q->samples;
  if (s->n == 0) return wml_fail(WEBML_ERROR_DATA, "%s has no training part", q->dataset->path);
  int64_t wanted = q->options.samples < s->n ? q->options.samples : s->n;
  q->batch = wanted < CALIBRATION_BATCH ? wanted : CALIBRATION_BATCH;
  q->n = wanted / q->batch * q->batch;
  q->rows = take(q, (size_t)q->n * sizeof *q->rows);
  if (!q->rows) return no_memory();
  for (int64_t i = 0; i < q->n; i++) q->rows[i] = wml_sample_row(s, i * s->n / q->n);
  return WEBML_OK;
}

typedef struct inputs_pass {
  float *values; /* of one layer's input */
  void (*note)(wml_histogram *c, const float *x, int64_t n);
} inputs_pass;

/* The only node of a layer that is quantized. */
static int node_of(const webml_model *m, int layer) {
  int i = m->n_inputs;
  while (m->nodes[i].layer != layer) i++;
  return i;
}

static webml_status note_inputs(quantizer *q, wml_unit *unit, int64_t first, void *arg) {
  const inputs_pass *pass = arg;
  (void)first;
  for (int i = 0; i < q->model->n_layers; i++) {
    if (!q->layers[i].quantized) continue;
    int tensor = unit->step.node_input[node_of(q->model, i)];
    WML_TRY(wml_from_result(q->device->backend->read(unit->plan, tensor, pass->values)));
    pass->note(q->layers[i].histogram, pass->values,
               wml_elements(&unit->step.graph.tensors[tensor]));
  }
  return WEBML_OK;
}

/* Pictures are bytes already. */
static bool reads_pixels(const quantizer *q, int layer) {
  const webml_model *m = q->model;
  int node = m->nodes[node_of(m, layer)].inputs[0];
  for (; node >= m->n_inputs; node = m->nodes[node].inputs[0])
    if (!wml_node_layer(m, node)->class->keeps_range || m->nodes[node].n_inputs != 1) return false;
  return q->samples->input_type == WML_U8;
}

static webml_status calibrate(quantizer *q) {
  int64_t most = 1;
  for (int i = 0; i < q->model->n_nodes; i++) {
    int64_t n = wml_shape_elements(&q->model->nodes[i].out);
    if (n > most) most = n;
  }
  inputs_pass pass = {wml_alloc((size_t)(most * q->batch) * sizeof(float)), wml_histogram_range};
  if (!pass.values) return no_memory();
  webml_status status = run_batches(q, NULL, true, q->n, note_inputs, &pass);
  pass.note = wml_histogram_count;
  if (status == WEBML_OK) status = run_batches(q, NULL, true, q->n, note_inputs, &pass);
  wml_free(pass.values);
  for (int i = 0; i < q->model->n_layers && status == WEBML_OK; i++) {
    quantized_layer *l = &q->layers[i];
    if (!l->quantized) continue;
    wml_layer_quantization *s = &q->settings[i];
    s->scales = l->scales;
    s->input_scale = wml_histogram_scale(l->histogram, q->options.calibration,
                                         q->options.percentile, &s->input_signed);
    if (reads_pixels(q, i)) s->input_scale = 1.0f / 255.0f, s->input_signed = false;
  }
  return status;
}

/* ---- what each layer costs ---- */

static webml_status read_outputs(quantizer *q, wml_unit *unit, int64_t first, void *arg) {
  float *to = (float *)arg + first * q->predictor->output_width;
  return wml_predictor_read(q->predictor, unit, to);
}

static webml_status put_kernel(quantizer *q, const quantized_layer *l, bool quantized) {
  const wml_named_tensor *kernel = kernel_of(q, l);
  int64_t n = wml_named_elements(kernel), filters = kernel->dim[kernel->rank - 1];
  float *values = wml_alloc((size_t)n * sizeof *values);
  if (!values) return no_memory();
  for (int64_t i = 0; i < n; i++)
    values[i] = quantized ? (float)l->kernel[i] * l->scales[i % filters] : kernel->data[i];
  webml_status status =
      wml_from_result(q->device->backend->put(q->predictor->store, kernel->name, values));
  wml_free(values);
  return status;
}

static double distance(const float *a, const float *b, int64_t n) {
  double difference = 0.0, norm = 0.0;
  for (int64_t i = 0; i < n; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    norm += (double)b[i] * (double)b[i];
  }
  return norm > 0.0 ? sqrt(difference / norm) : sqrt(difference);
}

/* Of the outputs when this layer alone is quantized. */
static webml_status measure_layer(quantizer *q, int i, int64_t n, const float *exact, float *y) {
  wml_layer_quantization *alone = wml_calloc((size_t)q->model->n_layers, sizeof *alone);
  if (!alone) return no_memory();
  alone[i] = q->settings[i];
  webml_status status = put_kernel(q, &q->layers[i], true);
  if (status == WEBML_OK) status = run_batches(q, alone, false, n, read_outputs, y);
  if (status == WEBML_OK) status = put_kernel(q, &q->layers[i], false);
  q->layers[i].error = distance(y, exact, n * q->predictor->output_width);
  wml_free(alone);
  return status;
}

static webml_status measure_layers(quantizer *q) {
  int64_t n = q->n < ERROR_SAMPLES ? q->n : ERROR_SAMPLES / q->batch * q->batch;
  size_t size = (size_t)(n * q->predictor->output_width);
  float *exact = wml_alloc(2 * size * sizeof *exact);
  if (!exact) return no_memory();
  webml_status status = run_batches(q, NULL, false, n, read_outputs, exact);
  for (int i = 0; i < q->model->n_layers && status == WEBML_OK; i++)
    if (q->layers[i].quantized) status = measure_layer(q, i, n, exact, exact + size);
  wml_free(exact);
  return status;
}

/* ---- the file ---- */

static void write_settings(const quantizer *q, wml_text *t) {
  static const char *const names[] = {"percentile", "minmax", "mse"};
  wml_json_open(t, '{');
  wml_json_key(t, "calibration");
  wml_json_string(t, names[q->options.calibration]);
  wml_json_key(t, "samples");
  wml_json_int(t, q->n);
  wml_json_key(t, "layers");
  wml_json_open(t, '{');
  for (int i = 0; i < q->model->n_layers; i++) {
    if (!q->layers[i].quantized) continue;
    wml_json_key(t, q->layers[i].layer->name);
    wml_json_open(t, '{');
    wml_json_key(t, "input_scale");
    wml_json_number(t, (double)q->settings[i].input_scale);
    wml_json_key(t, "input_signed");
    wml_json_bool(t, q->settings[i].input_signed);
    wml_json_close(t, '}');
  }
  wml_json_close(t, '}');
  wml_json_close(t, '}');
}

/* float32 tensors first: they want offsets that are multiples of four. */
static int collect_tensors(const quantizer *q, wml_named_tensor *tensors) {
  int n = 0;
  for (int int8 = 0; int8 < 2; int8++)
    for (int i = 0; i < q->model->n_layers; i++) {
      const quantized_layer *l = &q->layers[i];
      for (int k = 0; k < l->layer->n_params; k++) {
        const wml_named_tensor *t =
            wml_safetensors_find(&q->predictor->weights.file, l->layer->params[k].name);
        bool kernel = k == 0 && l->quantized;
        if (kernel && !int8)
          tensors[n++] = (wml_named_tensor){
              .name = l->scale_name, .rank = 1, .dim = {t->dim[t->rank - 1]}, .data = l->scales};
        if (kernel != (bool)int8) continue;
        tensors[n] = *t;
        if (kernel) tensors[n].bytes = l->kernel, tensors[n].data = NULL;
        n++;
      }
    }
  return n;
}

static webml_status write_file(quantizer *q) {
  enum { PER_LAYER = WML_MAX_PARAMS + 1 };
  const wml_json *metadata = q->predictor->weights.file.metadata;
  size_t layers = (size_t)q->model->n_layers, n_strings = 0;
  wml_named_tensor *tensors = wml_alloc(layers * PER_LAYER * sizeof *tensors);
  wml_named_string *strings = wml_alloc(((size_t)metadata->count + 1) * sizeof *strings);
  wml_text settings = {0};
  write_settings(q, &settings);
  webml_status status = tensors && strings && !settings.failed ? WEBML_OK : no_memory();
  for (const wml_json *m = metadata->first; m && status == WEBML_OK; m = m->next)
    if (m->kind == WML_JSON_STRING && strcmp(m->key, "checkpoint") != 0)
      strings[n_strings++] = (wml_named_string){m->key, m->string};
  if (status == WEBML_OK) {
    strings[n_strings++] = (wml_named_string){"quantization", settings.data};
    status = wml_safetensors_write(q->path, tensors, collect_tensors(q, tensors), strings,
                                   (int)n_strings);
  }
  wml_free(tensors);
  wml_free(strings);
  wml_text_free(&settings);
  if (status == WEBML_OK) status = wml_file_size(q->path, &q->bytes_after);
  return status;
}

/* ---- what is lost ---- */

/* Share of samples on the confusion matrix's diagonal; without one, minus the loss. */
static webml_status score_of(const char *evaluation, bool *classes, double *score) {
  wml_arena arena = {0};
  const wml_json *root = NULL;
  webml_status status =
      wml_json_parse(&arena, evaluation, strlen(evaluation), "an evaluation", &root);
  if (status == WEBML_OK) {
    const wml_json *confusion = wml_json_get(root, "confusion");
    double right = 0.0;
    int i = 0;
    for (const wml_json *row = confusion ? confusion->first : NULL; row; row = row->next, i++) {
      const wml_json *cell = row->first;
      for (int k = 0; k < i && cell; k++) cell = cell->next;
      if (cell) right += cell->number;
    }
    *classes = confusion != NULL;
    *score = *classes ? right / wml_json_get_number(root, "samples", 1)
                      : -wml_json_get_number(root, "loss", 0);
  }
  wml_arena_free(&arena);
  return status;
}

static webml_status measure_loss(quantizer *q) {
  webml_predictor *p = NULL;
  WML_TRY(webml_predictor_create(q->path, q->device, NULL, &p));
  webml_free(q->after);
  q->after = NULL;
  webml_status status = webml_predictor_evaluate(p, q->dataset, WEBML_PART_AUTO, &q->after);
  webml_predictor_destroy(p);
  bool classes = false;
  double before = 0.0, after = 0.0;
  if (status == WEBML_OK) status = score_of(q->before, &classes, &before);
  if (status == WEBML_OK) status = score_of(q->after, &classes, &after);
  double lost =
      classes ? 100.0 * (before - after) : 100.0 * (before - after) / fmax(fabs(before), 1e-30);
  double most = q->options.max_drop > 0.0 ? q->options.max_drop : classes ? 0.3 : 3.0;
  q->excess = lost - most;
  return status;
}

/* The quantized layer with the largest error; -1: the only one left is not put back. */
static int worst_layer(const quantizer *q) {
  int worst = -1, left = 0;
  for (int i = 0; i < q->model->n_layers; i++) {
    if (!q->layers[i].quantized) continue;
    left++;
    if (worst < 0 || q->layers[i].error > q->layers[worst].error) worst = i;
  }
  return left > 1 ? worst : -1;
}

static webml_status write_best(quantizer *q) {
  for (;;) {
    WML_TRY(write_file(q));
    WML_TRY(measure_loss(q));
    int worst = q->excess > 0.0 ? worst_layer(q) : -1;
    if (worst < 0) return WEBML_OK;
    q->layers[worst].quantized = false;
    q->settings[worst] = (wml_layer_quantization){0};
  }
}

/* ---- the report ---- */

static void write_report(const quantizer *q, wml_text *t) {
  const wml_backend *b = q->device->backend;
  bool int8 = b->int8 && b->int8(q->device->handle);
  wml_json_open(t, '{');
  wml_json_key(t, "samples");
  wml_json_int(t, q->n);
  wml_json_key(t, "layers");
  wml_json_open(t, '[');
  for (int i = 0; i < q->model->n_layers; i++) {
    const quantized_layer *l = &q->layers[i];
    if (!l->can) continue;
    wml_json_open(t, '{');
    wml_json_key(t, "name");
    wml_json_string(t, l->layer->name);
    wml_json_key(t, "quantized");
    wml_json_bool(t, l->quantized);
    wml_json_key(t, "input_scale");
    if (l->quantized)
      wml_json_number(t, (double)q->settings[i].input_scale);
    else
      wml_json_raw(t, "null");
    wml_json_key(t, "error");
    if (l->histogram)
      wml_json_number(t, l->error);
    else
      wml_json_raw(t, "null");
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
  wml_json_key(t, "before");
  wml_json_raw(t, q->before);
  wml_json_key(t, "after");
  wml_json_raw(t, q->after);
  wml_json_key(t, "measured_in");
  wml_json_string(t, int8 ? "int8" : "float32");
  wml_json_key(t, "bytes_before");
  wml_json_int(t, q->bytes_before);
  wml_json_key(t, "bytes_after");
  wml_json_int(t, q->bytes_after);
  wml_json_close(t, '}');
}

/* ---- the whole ---- */

static webml_status open_source(quantizer *q) {
  const webml_predictor_options o = {.struct_size = sizeof o, .precision = WEBML_INFERENCE_FLOAT32};
  WML_TRY(wml_file_size(q->source, &q->bytes_before));
  WML_TRY(webml_predictor_create(q->source, q->device, &o, &q->predictor));
  if (q->predictor->weights.quantization)
    return wml_fail(WEBML_ERROR_MISMATCH, "%s is quantized already", q->source);
  q->model = q->predictor->weights.model;
  WML_TRY(webml_predictor_evaluate(q->predictor, q->dataset, WEBML_PART_AUTO, &q->before));
  WML_TRY(wml_dataset_load(q->dataset, q->model, &q->predictor->weights.pipeline,
                           1u << WML_PART_TRAINING, &q->data));
  q->samples = &q->data.parts[WML_PART_TRAINING];
  return WEBML_OK;
}

static webml_status quantize(quantizer *q, char **report) {
  WML_TRY(open_source(q));
  WML_TRY(choose_layers(q));
  WML_TRY(choose_samples(q));
  WML_TRY(calibrate(q));
  WML_TRY(measure_layers(q));
  WML_TRY(write_best(q));
  if (!report) return WEBML_OK;
  wml_text t = {0};
  write_report(q, &t);
  return wml_text_take(&t, report);
}

static webml_status check_options(const quantizer *q) {
  const webml_quantize_options *o = &q->options;
  if (wml_same_file(q->source, q->path))
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "%s would be replaced by what is made of it; write to another file", q->source);
  if (wml_same_file(q->dataset->path, q->path))
    return wml_fail(WEBML_ERROR_ARGUMENT, "%s is the data set; write to another file", q->path);
  if (o->calibration > WEBML_CALIBRATION_MSE)
    return wml_fail(WEBML_ERROR_ARGUMENT, "calibration %d is none of webml_calibration",
                    (int)o->calibration);
  if (!(o->percentile > 50.0 && o->percentile <= 100.0))
    return wml_fail(WEBML_ERROR_ARGUMENT, "a percentile of %g is not in 50 to 100", o->percentile);
  if (o->samples < 1)
    return wml_fail(WEBML_ERROR_ARGUMENT, "%lld samples cannot calibrate", (long long)o->samples);
  if (!(o->max_drop >= 0.0))
    return wml_fail(WEBML_ERROR_ARGUMENT, "a largest drop of %g is below 0", o->max_drop);
  return WEBML_OK;
}

webml_status webml_quantize(const char *weights_path, const webml_dataset *dataset,
                            webml_device *device, const webml_quantize_options *options,
                            const char *path, char **report) {
  if (!weights_path || !dataset || !device || !path)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_quantize: weights, dataset, device and path must not be NULL");
  quantizer q = {.source = weights_path, .path = path, .dataset = dataset, .device = device};
  q.options.struct_size = sizeof q.options;
  if (options && options->struct_size > sizeof q.options)
    return wml_fail(WEBML_ERROR_ARGUMENT, "struct_size %zu is not that of webml_quantize_options",
                    options->struct_size);
  if (options) memcpy(&q.options, options, options->struct_size);
  if (q.options.percentile == 0.0) q.options.percentile = 99.99;
  if (q.options.samples == 0) q.options.samples = 1024;
  webml_status status = check_options(&q);
  if (status == WEBML_OK) status = quantize(&q, report);
  webml_predictor_destroy(q.predictor);
  wml_loaded_free(&q.data);
  webml_free(q.before);
  webml_free(q.after);
  wml_arena_free(&q.arena);
  return status;
}
