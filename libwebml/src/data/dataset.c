#include "data/dataset.h"

#include "base/cachefile.h"
#include "base/hash.h"
#include "base/options.h"
#include "data/images/survey.h"

#include <stdlib.h>
#include <string.h>

static webml_status keep_text(webml_dataset *d, const char *text, const char **out) {
  if (!text) return WEBML_OK;
  *out = wml_arena_copy(&d->arena, text, strlen(text));
  return *out ? WEBML_OK : wml_no_memory(strlen(text), "an option");
}

static webml_status keep_options(webml_dataset *d, const webml_dataset_options *o) {
  char *cache = NULL;
  WML_TRY(keep_text(d, o->inputs, &d->inputs));
  WML_TRY(keep_text(d, o->outputs, &d->outputs));
  WML_TRY(keep_text(d, o->one_hot, &d->one_hot));
  WML_TRY(keep_text(d, o->missing, &d->missing));
  WML_TRY(keep_text(d, o->scale, &d->scale));
  WML_TRY(wml_cache_folder(o->cache, &cache));
  webml_status status = keep_text(d, cache, &d->cache);
  wml_free(cache);
  d->skip_broken = o->skip_broken;
  d->split = (wml_split_options){.how = o->split,
                                 .validation = o->validation_split,
                                 .test = o->test_split,
                                 .seed = o->split_seed,
                                 .folds = o->folds,
                                 .fold = o->fold};
  d->picture_options = (wml_picture_options){o->resize, o->exif_orientation};
  return status == WEBML_OK ? wml_split_check(&d->split) : status;
}

webml_status wml_dataset_cache_path(const webml_dataset *d, const char *path, const char *suffix,
                                    char **cache) {
  *cache = NULL;
  if (!d->cache) return WEBML_OK;
  char *whole = realpath(path, NULL);
  const char *key = whole ? whole : path;
  char name[160];
  snprintf(name, sizeof name, "%016llx-%.100s",
           (unsigned long long)wml_hash(WML_HASH_SEED, key, strlen(key)), suffix);
  free(whole);
  *cache = wml_path_join(d->cache, name);
  return *cache ? WEBML_OK : wml_no_memory(strlen(d->cache), "a path");
}

static webml_status open_table(webml_dataset *d, const webml_dataset_options *o, const char *path,
                               wml_table *table) {
  char *cache = NULL, suffix[64];
  snprintf(suffix, sizeof suffix, "%02x-%lld.table", (unsigned char)o->separator,
           (long long)o->label_limit);
  WML_TRY(wml_dataset_cache_path(d, path, suffix, &cache));
  wml_table_options to = {.separator = o->separator, .label_limit = o->label_limit, .cache = cache};
  webml_status status = wml_table_read(path, &to, table);
  wml_free(cache);
  return status;
}

static webml_status open_images(webml_dataset *d, const webml_dataset_options *o) {
  char *cache = NULL;
  if (!wml_is_directory(d->path)) WML_TRY(wml_dataset_cache_path(d, d->path, "zip.list", &cache));
  webml_status status = wml_pictures_open(d->path, o->classes, cache, &d->pictures);
  wml_free(cache);
  return status == WEBML_OK ? wml_pictures_split(&d->pictures, &d->split) : status;
}

static webml_status open_at(webml_dataset *d, const webml_dataset_options *o) {
  WML_TRY(keep_options(d, o));
  if (!wml_file_exists(d->path)) return wml_fail(WEBML_ERROR_IO, "there is nothing at %s", d->path);
  bool images = wml_is_directory(d->path) || wml_is_zip(d->path);
  d->format = images ? WML_FORMAT_IMAGES : WML_FORMAT_CSV;
  if (images && o->validation_path)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "a validation file of its own is for tables; pictures to validate with belong "
                    "into validation_data/<class>/");
  if (images) return open_images(d, o);
  WML_TRY(open_table(d, o, d->path, &d->table));
  if (!o->validation_path) return WEBML_OK;
  if (d->split.validation > 0.0 || d->split.folds)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "a validation file excludes a validation split and folds");
  return open_table(d, o, o->validation_path, &d->validation_table);
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
  int n;
  const wml_option *list = wml_dataset_option_list(&n);
  WML_TRY(wml_options_settle(list, n, &o));
  webml_dataset *d = wml_calloc(1, sizeof *d);
  if (!d) return wml_no_memory(sizeof *d, "a data set");
  atomic_init(&d->references, 1);
  d->table.cache = d->validation_table.cache = -1;
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
  wml_table_free(&d->table);
  wml_table_free(&d->validation_table);
  wml_pictures_free(&d->pictures);
  wml_arena_free(&d->arena);
  wml_free(d);
}

webml_status webml_dataset_properties(const webml_dataset *dataset, char **json) {
  if (!dataset || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_dataset_properties: dataset and json must not be NULL");
  wml_text t = {0};
  webml_status status = WEBML_OK;
  if (dataset->format == WML_FORMAT_CSV)
    status = wml_table_write_properties(&t, &dataset->table, false);
  else
    wml_pictures_write_properties(&t, &dataset->pictures, NULL);
  if (status == WEBML_OK) return wml_text_take(&t, json);
  wml_text_free(&t);
  return status;
}
