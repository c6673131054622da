#include "formats/weights.h"

#include "base/file.h"
#include "model/layer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void wml_weights_free(wml_weights *w) {
  wml_safetensors_free(&w->file);
  webml_model_destroy(w->model);
  wml_pipeline_free(&w->pipeline);
  wml_arena_free(&w->arena);
  *w = (wml_weights){0};
}

static webml_status part(wml_weights *w, const char *path, const char *key, bool required,
                         const wml_json **out) {
  const char *text = wml_json_get_string(w->file.metadata, key, NULL);
  if (!text && required)
    return wml_fail(WEBML_ERROR_PARSE, "%s holds no \"%s\": it was not written by webml", path,
                    key);
  return text ? wml_json_parse(&w->arena, text, strlen(text), path, out) : WEBML_OK;
}

/* ---- quantized layers ---- */

bool wml_layer_can_quantize(const wml_layer *l) {
  return l->class->quantizes && l->class->quantizes(l->options);
}

static webml_status unsound(const char *path, const char *name, const char *what) {
  return wml_fail(WEBML_ERROR_PARSE, "%s: quantized layer \"%s\": %s", path, name, what);
}

/* [filters] positive numbers, "<kernel>_scale". */
static webml_status find_scales(const wml_weights *w, const char *path, const wml_param *kernel,
                                const float **scales) {
  char name[256];
  snprintf(name, sizeof name, "%s_scale", kernel->name);
  const wml_named_tensor *t = wml_safetensors_find(&w->file, name);
  if (!t || !t->data || t->rank != 1 || t->dim[0] != kernel->dim[kernel->rank - 1])
    return unsound(path, kernel->name, "its scales are missing or of another shape");
  for (int64_t i = 0; i < t->dim[0]; i++)
    if (!(t->data[i] > 0.0f && t->data[i] < INFINITY))
      return unsound(path, kernel->name, "a scale that is not a positive number");
  *scales = t->data;
  return WEBML_OK;
}

/* The kernel in float32: whole multiples of the scales. */
static webml_status dequantize(wml_weights *w, wml_named_tensor *kernel, const float *scales) {
  int64_t n = wml_named_elements(kernel), filters = kernel->dim[kernel->rank - 1];
  float *values = wml_arena_alloc(&w->arena, (size_t)n * sizeof *values);
  if (!values) return wml_no_memory((size_t)n * sizeof *values, kernel->name);
  for (int64_t i = 0; i < n; i++) values[i] = (float)kernel->bytes[i] * scales[i % filters];
  kernel->data = values;
  kernel->bytes = NULL;
  return WEBML_OK;
}

static webml_status read_layer(wml_weights *w, const char *path, const wml_json *layers, int i,
                               wml_layer_quantization *q) {
  const wml_layer *l = &w->model->layers[i];
  const wml_json *about = wml_json_get(layers, l->name);
  if (!about) return WEBML_OK;
  const wml_named_tensor *kernel =
      l->n_params ? wml_safetensors_find(&w->file, l->params[0].name) : NULL;
  if (!wml_layer_can_quantize(l) || !kernel || !kernel->bytes)
    return unsound(path, l->name, "it has no int8 kernel");
  double scale = wml_json_get_number(about, "input_scale", 0);
  if (!(scale > 0.0 && scale < 1e30))
    return unsound(path, l->name, "its input_scale is not a positive number");
  q->input_scale = (float)scale;
  q->input_signed = wml_json_get_bool(about, "input_signed", false);
  WML_TRY(find_scales(w, path, &l->params[0], &q->scales));
  return dequantize(w, &w->file.tensors[kernel - w->file.tensors], q->scales);
}

/* After check_tensors(). */
static webml_status read_quantization(wml_weights *w, const char *path, const wml_json *json) {
  if (!json) return WEBML_OK;
  const wml_json *layers = wml_json_get(json, "layers");
  size_t n = (size_t)w->model->n_layers;
  w->quantization = wml_arena_alloc(&w->arena, n * sizeof *w->quantization);
  if (!w->quantization) return wml_no_memory(n * sizeof *w->quantization, path);
  memset(w->quantization, 0, n * sizeof *w->quantization);
  for (size_t i = 0; layers && i < n; i++)
    WML_TRY(read_layer(w, path, layers, (int)i, &w->quantization[i]));
  return WEBML_OK;
}

/* int8 is for kernels that a quantization speaks of. */
static webml_status check_types(const wml_weights *w, const char *path) {
  for (int i = 0; i < w->model->n_layers; i++)
    for (int k = 0; k < w->model->layers[i].n_params; k++) {
      const char *name = w->model->layers[i].params[k].name;
      if (!wml_safetensors_find(&w->file, name)->data)
        return wml_fail(WEBML_ERROR_PARSE, "%s: the tensor \"%s\" is int8 without a quantization",
                        path, name);
    }
  return WEBML_OK;
}

/* Every parameter of the model is there in its shape. */
static webml_status check_tensors(const wml_weights *w, const char *path) {
  for (int i = 0; i < w->model->n_layers; i++)
    for (int k = 0; k < w->model->layers[i].n_params; k++) {
      const wml_param *p = &w->model->layers[i].params[k];
      const wml_named_tensor *t = wml_safetensors_find(&w->file, p->name);
      if (!t)
        return wml_fail(WEBML_ERROR_PARSE, "%s lacks the tensor \"%s\" of its model", path,
                        p->name);
      bool same = t->rank == p->rank;
      for (int d = 0; same && d < p->rank; d++) same = t->dim[d] == p->dim[d];
      if (!same)
        return wml_fail(WEBML_ERROR_PARSE,
                        "%s: the tensor \"%s\" has another shape than in its model", path, p->name);
    }
  return WEBML_OK;
}

static webml_status read_parts(const char *path, wml_weights *w) {
  const wml_json *model = NULL, *pipeline = NULL;
  WML_TRY(wml_safetensors_read(path, &w->file));
  WML_TRY(part(w, path, "model", true, &model));
  WML_TRY(wml_model_build(model, &w->model));
  WML_TRY(part(w, path, "pipeline", true, &pipeline));
  WML_TRY(wml_pipeline_read(pipeline, &w->pipeline));
  WML_TRY(part(w, path, "record", false, &w->record));
  WML_TRY(part(w, path, "checkpoint", false, &w->checkpoint));
  if (w->model->dynamic || wml_model_input_elements(w->model) < 0)
    return wml_fail(WEBML_ERROR_PARSE, "%s: its model has open sizes", path);
  if (w->model->format != w->pipeline.format)
    return wml_fail(WEBML_ERROR_PARSE, "%s: its model and its pipeline are of different formats",
                    path);
  const wml_json *quantization = NULL;
  WML_TRY(part(w, path, "quantization", false, &quantization));
  WML_TRY(check_tensors(w, path));
  WML_TRY(read_quantization(w, path, quantization));
  return check_types(w, path);
}

/* The pipeline's outputs must be the model's, or decoding would read past the end. */
static webml_status check_ends(const wml_weights *w, const char *path) {
  webml_status status = wml_pipeline_check(&w->pipeline, w->model);
  if (status != WEBML_OK) return wml_prefix(WEBML_ERROR_PARSE, "%s", path);
  if (w->pipeline.format == WML_FORMAT_CSV) return WEBML_OK;
  wml_shape out = wml_model_output_shape(w->model);
  int64_t n = wml_shape_elements(&out), want = w->pipeline.n_classes;
  if (n == want || (want == 2 && n == 1)) return WEBML_OK;
  return wml_fail(WEBML_ERROR_PARSE, "%s: its model has %lld outputs, its pipeline names %lld",
                  path, (long long)n, (long long)want);
}

webml_status wml_weights_read(const char *path, wml_weights *w) {
  *w = (wml_weights){0};
  webml_status status = read_parts(path, w);
  if (status == WEBML_OK) status = check_ends(w, path);
  if (status != WEBML_OK) wml_weights_free(w);
  return status;
}

bool wml_weights_looks_like(const char *path) {
  unsigned char head[9];
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  size_t n = fread(head, 1, sizeof head, f);
  fclose(f);
  return n == sizeof head && head[8] == '{' && head[7] == 0 && head[6] == 0;
}

webml_status webml_model_load(const char *path, webml_model **model) {
  if (!path || !model)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_load: path and model must not be NULL");
  if (wml_weights_looks_like(path)) {
    wml_weights w;
    WML_TRY(wml_weights_read(path, &w));
    *model = w.model;
    w.model = NULL;
    wml_weights_free(&w);
    return WEBML_OK;
  }
  char *text = NULL;
  size_t size = 0;
  WML_TRY(wml_file_read(path, 1 << 24, &text, &size));
  wml_arena arena = {0};
  const wml_json *root = NULL;
  webml_status status = wml_json_parse(&arena, text, size, path, &root);
  if (status == WEBML_OK) status = wml_model_build(root, model);
  wml_arena_free(&arena);
  wml_free(text);
  return status;
}
