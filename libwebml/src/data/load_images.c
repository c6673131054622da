/* From a list of pictures to the samples of a network. */
#include "base/hash.h"
#include "base/names.h"
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Smaller sets are decoded again faster than anyone notices. */
static const int64_t cache_from = 1000;

/* The place of each of the data set's classes among those of a weights file. */
static webml_status map_classes(const webml_dataset *d, const wml_pipeline *given, int *map) {
  const wml_pictures *p = &d->pictures;
  wml_names names;
  WML_TRY(wml_names_create(given->classes, given->n_classes, &names));
  webml_status status = WEBML_OK;
  for (int i = 0; i < p->n_classes && status == WEBML_OK; i++) {
    map[i] = wml_names_find(&names, p->classes[i], strlen(p->classes[i]));
    if (map[i] < 0)
      status = wml_fail(WEBML_ERROR_MISMATCH,
                        "%s has a class \"%s\" that the weights were not trained on", d->path,
                        p->classes[i]);
  }
  wml_names_free(&names);
  return status;
}

/* A broken picture stops everything, with its name and why, unless such ones are left out. */
static webml_status check_broken(const webml_dataset *d, const webml_model *m,
                                 const wml_pack *pack) {
  const wml_pictures *p = &d->pictures;
  int64_t n = 0, first = -1;
  for (int64_t i = 0; i < p->n; i++)
    if (pack->broken[i] && n++ == 0) first = i;
  if (n == 0 || d->skip_broken) return WEBML_OK;
  size_t bytes = (size_t)wml_shape_elements(&m->nodes[0].out);
  uint8_t *out = wml_alloc(bytes);
  wml_picture_reader r;
  if (!out) return wml_no_memory(bytes, "a picture");
  webml_status status = wml_reader_open(p, &r);
  if (status == WEBML_OK) {
    status = wml_reader_fit(&r, first, &d->picture_options, (int)m->nodes[0].out.dim[0],
                            (int)m->nodes[0].out.dim[1], (int)m->nodes[0].out.dim[2], out);
    wml_reader_close(&r);
  }
  wml_free(out);
  char others[64] = "";
  if (n > 1) snprintf(others, sizeof others, " (and %lld more)", (long long)n - 1);
  if (status == WEBML_OK) /* it was broken when it was packed */
    return wml_fail(WEBML_ERROR_PARSE, "%s: pictures have changed while they were read", d->path);
  return wml_fail(status, "%s%s; leave out broken pictures with skip_broken", webml_last_error(),
                  others);
}

static int by_hash(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Pictures outside the training part that are in it, too, as the network sees them. */
static webml_status count_duplicates(const wml_pictures *p, const wml_pack *pack, wml_loaded *l) {
  uint64_t *training = wml_alloc((size_t)p->n * sizeof *training + 1);
  size_t n = 0;
  if (!training) return wml_no_memory((size_t)p->n * sizeof *training, "comparing pictures");
  for (int64_t i = 0; i < p->n; i++)
    if (p->list[i].part == WML_PART_TRAINING && !pack->broken[i]) training[n++] = pack->sums[i];
  qsort(training, n, sizeof *training, by_hash);
  for (int64_t i = 0; i < p->n; i++)
    if (p->list[i].part != WML_PART_TRAINING && !pack->broken[i])
      l->duplicates += bsearch(&pack->sums[i], training, n, sizeof *training, by_hash) != NULL;
  wml_free(training);
  return WEBML_OK;
}

/* Two classes and one output: the label is the probability of the second. */
static bool is_binary(const webml_model *m, int n_classes) {
  wml_shape out = wml_model_output_shape(m);
  return n_classes == 2 && out.rank == 1 && out.dim[0] == 1;
}

static webml_status set_targets(const wml_pictures *p, const int *map, bool binary, wml_loaded *l) {
  wml_region *r = &l->target[0];
  WML_TRY(wml_region_create((size_t)p->n * 4, NULL, "labels", r));
  for (int64_t i = 0; i < p->n; i++) {
    int32_t label = map ? map[p->list[i].label] : p->list[i].label;
    if (binary)
      ((float *)(void *)r->bytes)[i] = (float)label;
    else
      ((int32_t *)(void *)r->bytes)[i] = label;
  }
  return WEBML_OK;
}

static webml_status list_rows(const webml_dataset *d, const webml_model *m, const wml_pack *pack,
                              unsigned parts, bool binary, wml_loaded *l) {
  const wml_pictures *p = &d->pictures;
  l->rows = wml_alloc((size_t)p->n * sizeof *l->rows + 1);
  if (!l->rows) return wml_no_memory((size_t)p->n * sizeof *l->rows, "a list of pictures");
  int64_t *at = l->rows;
  for (int part = 0; part < WML_N_PARTS; part++) {
    if (!(parts & 1u << part)) continue;
    wml_samples *s = &l->parts[part];
    *s = (wml_samples){.rows = at,
                       .stored = p->n,
                       .input_type = WML_U8,
                       .target_type = binary ? WML_F32 : WML_I32,
                       .input = pack->pixels,
                       .target = l->target[0].bytes,
                       .input_width = wml_shape_elements(&m->nodes[0].out),
                       .target_width = 1};
    for (int64_t i = 0; i < p->n; i++) {
      if (p->list[i].part != part) continue;
      if (pack->broken[i])
        l->skipped++;
      else
        at[s->n++] = i;
    }
    at += s->n;
  }
  return WEBML_OK;
}

/* The parts without their pictures, which nobody has looked at. */
static void outline(const wml_pictures *p, const webml_model *m, unsigned parts, bool binary,
                    wml_loaded *l) {
  for (int part = 0; part < WML_N_PARTS; part++) {
    wml_samples *s = &l->parts[part];
    if (!(parts & 1u << part)) continue;
    *s = (wml_samples){.stored = p->n,
                       .input_type = WML_U8,
                       .target_type = binary ? WML_F32 : WML_I32,
                       .input = &l->input[0],
                       .target = &l->target[0],
                       .input_width = wml_shape_elements(&m->nodes[0].out),
                       .target_width = 1};
    for (int64_t i = 0; i < p->n; i++) s->n += p->list[i].part == part;
  }
}

static void take_fingerprint(const wml_pictures *p, const wml_pack *pack, wml_loaded *l) {
  uint64_t hash = pack->fingerprint;
  for (int part = 0; part < WML_N_PARTS; part++) {
    const wml_samples *s = &l->parts[part];
    hash = wml_hash(hash, &s->n, sizeof s->n);
    if (s->n) hash = wml_hash(hash, s->rows, (size_t)s->n * sizeof *s->rows);
  }
  l->fingerprint = wml_hash(hash, l->target[0].bytes, (size_t)p->n * 4);
}

webml_status wml_load_images(const webml_dataset *d, const webml_model *m,
                             const wml_pipeline *given, unsigned parts, wml_loaded *l) {
  const wml_pictures *p = &d->pictures;
  wml_pack pack = {.region = {.fd = -1}};
  char *cache = NULL, suffix[96];
  wml_shape in = wml_model_input_shape(m);
  if (wml_shape_elements(&in) < 0 || in.rank != 3)
    return wml_fail(WEBML_ERROR_MODEL, "size: images need a known [height, width, channels]");
  int h = (int)in.dim[0], w = (int)in.dim[1], c = (int)in.dim[2];
  int *map = given ? wml_alloc((size_t)p->n_classes * sizeof *map) : NULL;
  webml_status status =
      given && !map ? wml_no_memory((size_t)p->n_classes * sizeof *map, "classes") : WEBML_OK;
  if (status == WEBML_OK && given) status = map_classes(d, given, map);
  if (status == WEBML_OK)
    status =
        given
            ? wml_pipeline_classes(given->classes, given->n_classes, &given->picture, &l->pipeline)
            : wml_pipeline_classes(p->classes, p->n_classes, &d->picture_options, &l->pipeline);
  if (status == WEBML_OK && p->place != WML_IN_IDX && p->n >= cache_from) {
    snprintf(suffix, sizeof suffix, "%dx%dx%d-%d%d.pack", h, w, c, (int)l->pipeline.picture.resize,
             l->pipeline.picture.exif_orientation);
    status = wml_dataset_cache_path(d, d->path, suffix, &cache);
  }
  bool binary = is_binary(m, l->pipeline.n_classes), rows = !(parts & WML_WITHOUT_ROWS);
  l->memory = (cache ? 0 : (size_t)wml_pack_size(p->n, h, w, c)) + (size_t)p->n * (4 + 8);
  if (status == WEBML_OK && !rows) {
    outline(p, m, parts, binary, l);
    goto done;
  }
  if (status == WEBML_OK)
    status = wml_pictures_pack(p, &l->pipeline.picture, h, w, c, cache, &pack);
  l->input[0] = pack.region; /* owned from here on */
  if (status == WEBML_OK) status = check_broken(d, m, &pack);
  if (status == WEBML_OK) status = set_targets(p, map, binary, l);
  if (status == WEBML_OK) status = list_rows(d, m, &pack, parts, binary, l);
  if (status == WEBML_OK) status = count_duplicates(p, &pack, l);
  if (status == WEBML_OK) take_fingerprint(p, &pack, l);
done:
  wml_free(cache);
  wml_free(map);
  if (status == WEBML_OK && (parts & 1u << WML_PART_TRAINING) && l->parts[WML_PART_TRAINING].n == 0)
    return wml_fail(WEBML_ERROR_DATA, "%s: no image could be read", d->path);
  return status;
}
