#include "data/dataset.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

static webml_status keep_text(webml_dataset *d, const char *text, const char **out) {
  if (!text) return WEBML_OK;
  *out = wml_arena_copy(&d->arena, text, strlen(text));
  return *out ? WEBML_OK : wml_no_memory(strlen(text), "an option");
}

static webml_status open_at(webml_dataset *d, const webml_dataset_options *o) {
  WML_TRY(keep_text(d, o->inputs, &d->inputs));
  WML_TRY(keep_text(d, o->outputs, &d->outputs));
  WML_TRY(keep_text(d, o->one_hot, &d->one_hot));
  d->validation_split = o->validation_split;
  d->skip_broken = o->skip_broken;
  if (!(d->validation_split >= 0.0 && d->validation_split < 1.0))
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "a validation split of %g is out of range; it must be from 0 to below 1",
                    d->validation_split);
  if (!wml_file_exists(d->path)) return wml_fail(WEBML_ERROR_IO, "there is nothing at %s", d->path);
  d->format = wml_is_directory(d->path) ? WML_FORMAT_IMAGES : WML_FORMAT_CSV;
  if (d->format == WML_FORMAT_CSV) return wml_table_read(d->path, &d->table);
  return wml_idx_present(d->path) ? wml_idx_open(d) : wml_folder_open(d);
}

webml_status webml_dataset_open(const char *path, const webml_dataset_options *options,
                                webml_dataset **out) {
  webml_dataset_options o = {.struct_size = sizeof o};
  if (!path || !out)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_dataset_open: path and dataset must not be NULL");
  if (options && options->struct_size > sizeof o)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_dataset_open: struct_size %zu is not that of webml_dataset_options",
                    options->struct_size);
  if (options) memcpy(&o, options, options->struct_size);
  webml_dataset *d = wml_calloc(1, sizeof *d);
  if (!d) return wml_no_memory(sizeof *d, "a data set");
  atomic_init(&d->references, 1);
  webml_status status = keep_text(d, path, &d->path);
  if (status == WEBML_OK) status = open_at(d, &o);
  if (status == WEBML_OK)
    *out = d;
  else
    webml_dataset_destroy(d);
  return status;
}

webml_dataset *wml_dataset_retain(const webml_dataset *dataset) {
  webml_dataset *d = (webml_dataset *)(uintptr_t)dataset;
  atomic_fetch_add(&d->references, 1);
  return d;
}

void webml_dataset_destroy(webml_dataset *d) {
  if (!d || atomic_fetch_sub(&d->references, 1) != 1) return;
  for (int p = 0; p < WML_N_PARTS; p++) {
    wml_free(d->parts[p].files);
    wml_free(d->parts[p].pixels);
    wml_free(d->parts[p].labels);
  }
  wml_table_free(&d->table);
  wml_arena_free(&d->arena);
  wml_free(d);
}

static int32_t label_of(const wml_image_part *part, int64_t i) {
  return part->files ? part->files[i].label : part->labels[i];
}

static void write_counts(wml_text *t, const webml_dataset *d, int part) {
  wml_json_open(t, '[');
  for (int c = 0; c < d->n_classes; c++) {
    int64_t count = 0;
    for (int64_t i = 0; i < d->parts[part].n; i++) count += label_of(&d->parts[part], i) == c;
    wml_json_int(t, count);
  }
  wml_json_close(t, ']');
}

static void write_images(wml_text *t, const webml_dataset *d) {
  wml_json_open(t, '{');
  wml_json_key(t, "format");
  wml_json_string(t, "images");
  wml_json_key(t, "classes");
  wml_json_open(t, '[');
  for (int i = 0; i < d->n_classes; i++) wml_json_string(t, d->classes[i]);
  wml_json_close(t, ']');
  wml_json_key(t, "training");
  wml_json_int(t, d->parts[WML_PART_TRAINING].n);
  wml_json_key(t, "validation");
  wml_json_int(t, d->parts[WML_PART_VALIDATION].n);
  wml_json_key(t, "training_per_class");
  write_counts(t, d, WML_PART_TRAINING);
  wml_json_key(t, "validation_per_class");
  write_counts(t, d, WML_PART_VALIDATION);
  wml_json_close(t, '}');
}

webml_status webml_dataset_properties(const webml_dataset *dataset, char **json) {
  if (!dataset || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_dataset_properties: dataset and json must not be NULL");
  wml_text t = {0};
  if (dataset->format == WML_FORMAT_CSV)
    wml_table_write_properties(&t, &dataset->table);
  else
    write_images(&t, dataset);
  return wml_text_take(&t, json);
}

/* Keras: the first floor(n (1 - v)) rows train. */
int64_t wml_dataset_training_rows(const webml_dataset *d) {
  double n = (double)d->table.rows;
  return d->validation_split > 0.0 ? (int64_t)floor(n * (1.0 - d->validation_split))
                                   : d->table.rows;
}
