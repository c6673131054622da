#include "formats/weights.h"

#include "base/file.h"

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
  if (w->model->dynamic || wml_shape_elements(&w->model->input) < 0)
    return wml_fail(WEBML_ERROR_PARSE, "%s: its model has open sizes", path);
  if (w->model->format != w->pipeline.format)
    return wml_fail(WEBML_ERROR_PARSE, "%s: its model and its pipeline are of different formats",
                    path);
  if (w->pipeline.format == WML_FORMAT_CSV && w->pipeline.input_width != w->model->input.dim[0])
    return wml_fail(WEBML_ERROR_PARSE, "%s: its pipeline gives %d values, its model takes %lld",
                    path, w->pipeline.input_width, (long long)w->model->input.dim[0]);
  return check_tensors(w, path);
}

/* The pipeline's outputs must be the model's, or decoding would read past the end. */
static webml_status check_outputs(const wml_weights *w, const char *path) {
  wml_shape out = wml_model_output(w->model);
  int64_t n = wml_shape_elements(&out), want = w->pipeline.format == WML_FORMAT_IMAGES
                                                   ? w->pipeline.n_classes
                                                   : w->pipeline.output_width;
  bool binary = w->pipeline.format == WML_FORMAT_IMAGES && want == 2 && n == 1;
  if (n == want || binary) return WEBML_OK;
  return wml_fail(WEBML_ERROR_PARSE, "%s: its model has %lld outputs, its pipeline names %lld",
                  path, (long long)n, (long long)want);
}

webml_status wml_weights_read(const char *path, wml_weights *w) {
  *w = (wml_weights){0};
  webml_status status = read_parts(path, w);
  if (status == WEBML_OK) status = check_outputs(w, path);
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
