/* From an opened data set to arrays that a plan is fed with. */
#include "base/file.h"
#include "data/dataset.h"
#include "data/image.h"

#include <math.h>
#include <string.h>

void wml_loaded_free(wml_loaded *l) {
  for (int p = 0; p < WML_N_PARTS; p++) {
    wml_free(l->parts[p].input);
    wml_free(l->parts[p].target);
  }
  wml_pipeline_free(&l->pipeline);
  *l = (wml_loaded){0};
}

/* ---- which columns ---- */

void wml_selection_free(wml_selection *s) {
  wml_free(s->inputs);
  wml_free(s->outputs);
  wml_free(s->one_hot);
  *s = (wml_selection){0};
}

/* "a,b,3" into column indices. */
static webml_status parse_list(const wml_table *t, const char *text, const char *what, int *out,
                               int *n) {
  for (const char *at = text; *at;) {
    size_t length = strcspn(at, ",");
    if (*n == t->n_columns) return wml_fail(WEBML_ERROR_DATA, "%s: more names than columns", what);
    int column = wml_table_find(t, at, length);
    if (column < 0) return wml_prefix(WEBML_ERROR_DATA, "%s", what);
    out[(*n)++] = column;
    at += length + (at[length] == ',');
  }
  if (*n == 0) return wml_fail(WEBML_ERROR_DATA, "%s: no column is named", what);
  return WEBML_OK;
}

static webml_status take_list(const wml_table *t, const wml_index_list *list, const char *what,
                              int *out, int *n) {
  for (int i = 0; i < list->n; i++) {
    if (list->items[i] >= t->n_columns)
      return wml_fail(WEBML_ERROR_DATA,
                      "%s names column %d, but the table has %d columns (0 to %d)", what,
                      list->items[i], t->n_columns, t->n_columns - 1);
    if (*n < t->n_columns) out[(*n)++] = list->items[i];
  }
  return WEBML_OK;
}

static bool contains(const int *list, int n, int column) {
  for (int i = 0; i < n; i++)
    if (list[i] == column) return true;
  return false;
}

/* A binary output of a network that ends in softmax is a choice between two classes. */
static bool wants_classes(const webml_model *m) {
  if (!m || !m->n_layers) return false;
  return m->layers[m->n_layers - 1].activation.kind == WML_SOFTMAX ||
         (!m->loss_open && (m->loss.kind == WML_CATEGORICAL_CROSSENTROPY ||
                            m->loss.kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY));
}

static webml_status select_columns(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  const wml_table *t = &d->table;
  int n = t->n_columns, *list = wml_alloc((size_t)n * sizeof *list), count = 0;
  if (!list) return wml_no_memory((size_t)n * sizeof *list, "columns");
  webml_status status = WEBML_OK;
  if (d->outputs)
    status = parse_list(t, d->outputs, "outputs", s->outputs, &s->n_outputs);
  else if (m && m->output_columns.n > 0)
    status = take_list(t, &m->output_columns, "outputArray", s->outputs, &s->n_outputs);
  else
    s->outputs[s->n_outputs++] = n - 1;
  if (status == WEBML_OK) {
    if (d->inputs)
      status = parse_list(t, d->inputs, "inputs", s->inputs, &s->n_inputs);
    else if (m && m->input_columns.n > 0)
      status = take_list(t, &m->input_columns, "inputArray", s->inputs, &s->n_inputs);
    else
      for (int i = 0; i < n; i++)
        if (!t->columns[i].blocked && !contains(s->outputs, s->n_outputs, i))
          s->inputs[s->n_inputs++] = i;
  }
  if (status == WEBML_OK) {
    if (d->one_hot)
      status = parse_list(t, d->one_hot, "one-hot", list, &count);
    else if (m && m->one_hot_columns.n > 0)
      status = take_list(t, &m->one_hot_columns, "oneHotEncoding", list, &count);
  }
  for (int i = 0; i < count; i++) s->one_hot[list[i]] = true;
  for (int i = 0; i < n; i++) s->one_hot[i] |= t->columns[i].type == WML_COLUMN_LABEL;
  int last = s->n_outputs ? s->outputs[0] : 0;
  if (s->n_outputs == 1 && t->columns[last].type == WML_COLUMN_BINARY && wants_classes(m))
    s->one_hot[last] = true;
  wml_free(list);
  if (status == WEBML_OK && s->n_inputs == 0)
    return wml_fail(WEBML_ERROR_DATA, "no column is left as an input");
  return status;
}

webml_status wml_dataset_select(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  size_t n = (size_t)d->table.n_columns;
  *s = (wml_selection){.inputs = wml_calloc(n, sizeof(int)),
                       .outputs = wml_calloc(n, sizeof(int)),
                       .one_hot = wml_calloc(n, 1)};
  webml_status status = s->inputs && s->outputs && s->one_hot ? select_columns(d, m, s)
                                                              : wml_no_memory(n * 9, "columns");
  if (status != WEBML_OK) wml_selection_free(s);
  return status;
}

/* ---- tables ---- */

/* The columns of the table that the encoders want, by name. */
static webml_status match_columns(const wml_table *t, const wml_encoder *encoders, int n,
                                  int *columns) {
  for (int i = 0; i < n; i++) {
    columns[i] = wml_table_find(t, encoders[i].column, strlen(encoders[i].column));
    if (columns[i] < 0) return WEBML_ERROR_DATA;
  }
  return WEBML_OK;
}

/* Encodes one column of rows [from, from + n) into out[row * stride ...]. Labels by a table of
 * their codes, so that each is looked up once. */
static webml_status encode_column(const wml_encoder *e, const wml_column *col, int64_t from,
                                  int64_t n, float *out, int64_t stride) {
  for (int64_t r = 0; r < n; r++) WML_TRY(wml_encode_cell(e, col, from + r, out + r * stride));
  return WEBML_OK;
}

static webml_status encode_label_column(const wml_encoder *e, const wml_column *col, int64_t from,
                                        int64_t n, float *out, int64_t stride) {
  size_t width = (size_t)e->width, unique = (size_t)col->unique;
  float *rows = wml_alloc((unique + 1) * width * sizeof *rows);
  bool *known = wml_calloc(unique + 1, 1);
  webml_status status =
      rows && known ? WEBML_OK : wml_no_memory(unique * width * sizeof *rows, "encoding labels");
  for (int64_t r = 0; r < n && status == WEBML_OK; r++) {
    int32_t code = col->codes[from + r];
    if (code < 0 || !known[code]) {
      status = wml_encode_cell(e, col, from + r, out + r * stride);
      if (status != WEBML_OK) break;
      memcpy(rows + (size_t)code * width, out + r * stride, width * sizeof *rows);
      known[code] = true;
    } else
      memcpy(out + r * stride, rows + (size_t)code * width, width * sizeof *rows);
  }
  wml_free(rows);
  wml_free(known);
  return status;
}

static webml_status encode_columns(const wml_table *t, const wml_encoder *encoders,
                                   const int *columns, int n, int64_t from, int64_t rows,
                                   float *out, int64_t stride) {
  for (int i = 0; i < n; i++) {
    const wml_column *col = &t->columns[columns[i]];
    bool label = col->type == WML_COLUMN_LABEL && encoders[i].type == WML_COLUMN_LABEL;
    WML_TRY(label ? encode_label_column(&encoders[i], col, from, rows, out, stride)
                  : encode_column(&encoders[i], col, from, rows, out, stride));
    out += encoders[i].width;
  }
  return WEBML_OK;
}

/* One class out of several: one-hot rows become class indices. */
static webml_status to_labels(wml_samples *s) {
  int32_t *labels = wml_alloc((size_t)s->n * sizeof *labels + 1);
  if (!labels) return wml_no_memory((size_t)s->n * sizeof *labels, "labels");
  for (int64_t i = 0; i < s->n; i++)
    labels[i] =
        (int32_t)wml_argmax((const float *)s->target + i * s->target_width, (long)s->target_width);
  wml_free(s->target);
  s->target = labels;
  s->target_type = WML_I32;
  s->target_width = 1;
  return WEBML_OK;
}

static webml_status encode_part(const wml_table *t, const wml_pipeline *p, const int *inputs,
                                const int *outputs, int64_t from, int64_t n, wml_samples *s) {
  *s = (wml_samples){.n = n,
                     .input_type = WML_F32,
                     .target_type = WML_F32,
                     .input_width = p->input_width,
                     .target_width = p->output_width};
  size_t in = (size_t)n * (size_t)p->input_width * sizeof(float),
         out = (size_t)n * (size_t)p->output_width * sizeof(float);
  s->input = wml_alloc(in);
  s->target = wml_alloc(out);
  if (!s->input || !s->target) return wml_no_memory(in + out, "the encoded table");
  WML_TRY(encode_columns(t, p->inputs, inputs, p->n_inputs, from, n, s->input, p->input_width));
  WML_TRY(
      encode_columns(t, p->outputs, outputs, p->n_outputs, from, n, s->target, p->output_width));
  return wml_pipeline_is_classes(p) ? to_labels(s) : WEBML_OK;
}

static webml_status copy_pipeline(const wml_pipeline *from, wml_pipeline *to) {
  wml_text t = {0};
  wml_arena arena = {0};
  const wml_json *json = NULL;
  wml_pipeline_write(&t, from);
  webml_status status = t.failed ? wml_no_memory(t.length, "the pipeline")
                                 : wml_json_parse(&arena, t.data, t.length, "the pipeline", &json);
  if (status == WEBML_OK) status = wml_pipeline_read(json, to);
  wml_text_free(&t);
  wml_arena_free(&arena);
  return status;
}

static webml_status load_table(const webml_dataset *d, const webml_model *m,
                               const wml_pipeline *given, wml_loaded *l) {
  const wml_table *t = &d->table;
  int64_t training = wml_dataset_training_rows(d);
  if (training < 1)
    return wml_fail(WEBML_ERROR_DATA, "%s: a validation split of %g leaves no rows to train on",
                    d->path, d->validation_split);
  if (given)
    WML_TRY(copy_pipeline(given, &l->pipeline));
  else {
    wml_selection s;
    WML_TRY(wml_dataset_select(d, m, &s));
    webml_status status = wml_pipeline_fit(t, &s, training, &l->pipeline);
    wml_selection_free(&s);
    WML_TRY(status);
  }
  const wml_pipeline *p = &l->pipeline;
  int *columns = wml_alloc((size_t)(p->n_inputs + p->n_outputs) * sizeof *columns);
  if (!columns)
    return wml_no_memory((size_t)(p->n_inputs + p->n_outputs) * sizeof *columns, "columns");
  int *outputs = columns + p->n_inputs;
  webml_status status = match_columns(t, p->inputs, p->n_inputs, columns);
  if (status == WEBML_OK) status = match_columns(t, p->outputs, p->n_outputs, outputs);
  if (status == WEBML_OK)
    status = encode_part(t, p, columns, outputs, 0, training, &l->parts[WML_PART_TRAINING]);
  if (status == WEBML_OK && training < t->rows)
    status = encode_part(t, p, columns, outputs, training, t->rows - training,
                         &l->parts[WML_PART_VALIDATION]);
  wml_free(columns);
  return status == WEBML_OK ? status : wml_prefix(status, "%s", d->path);
}

/* ---- images ---- */

static webml_status decode_one(const wml_image_part *part, int64_t i, const wml_shape *shape,
                               uint8_t *out) {
  int h = (int)shape->dim[0], w = (int)shape->dim[1], c = (int)shape->dim[2];
  if (part->files) return wml_image_load(part->files[i].path, h, w, c, out);
  wml_image image = {part->width, part->height, 1,
                     part->pixels + (size_t)i * (size_t)part->height * (size_t)part->width};
  return wml_image_fit(&image, h, w, c, out);
}

static webml_status load_images(const webml_dataset *d, const wml_image_part *part,
                                const wml_shape *shape, const int *map, wml_samples *s,
                                int64_t *skipped) {
  *s = (wml_samples){.input_type = WML_U8,
                     .target_type = WML_I32,
                     .input_width = wml_shape_elements(shape),
                     .target_width = 1};
  s->input = wml_alloc((size_t)part->n * (size_t)s->input_width);
  s->target = wml_alloc((size_t)part->n * sizeof(int32_t));
  if (!s->input || !s->target)
    return wml_no_memory((size_t)part->n * (size_t)s->input_width, "decoded images");
  for (int64_t i = 0; i < part->n; i++) {
    webml_status status = decode_one(part, i, shape, (uint8_t *)s->input + s->n * s->input_width);
    if (status == WEBML_ERROR_PARSE && d->skip_broken) {
      (*skipped)++;
      continue;
    }
    WML_TRY(status);
    int32_t label = part->files ? part->files[i].label : part->labels[i];
    ((int32_t *)s->target)[s->n++] = map ? map[label] : label;
  }
  return WEBML_OK;
}

/* The place of each of the data set's classes among those of a weights file. */
static webml_status map_classes(const webml_dataset *d, const wml_pipeline *given, int *map) {
  for (int i = 0; i < d->n_classes; i++) {
    map[i] = -1;
    for (int k = 0; k < given->n_classes; k++)
      if (strcmp(d->classes[i], given->classes[k]) == 0) map[i] = k;
    if (map[i] < 0)
      return wml_fail(WEBML_ERROR_MISMATCH,
                      "%s has a class \"%s\" that the weights were not trained on", d->path,
                      d->classes[i]);
  }
  return WEBML_OK;
}

static webml_status load_image_parts(const webml_dataset *d, const webml_model *m,
                                     const wml_pipeline *given, wml_loaded *l) {
  if (wml_shape_elements(&m->input) < 0)
    return wml_fail(WEBML_ERROR_MODEL, "size: images need a known [height, width, channels]");
  int *map = given ? wml_alloc((size_t)d->n_classes * sizeof *map) : NULL;
  if (given && !map) return wml_no_memory((size_t)d->n_classes * sizeof *map, "classes");
  webml_status status = given ? map_classes(d, given, map) : WEBML_OK;
  if (status == WEBML_OK)
    status = given ? wml_pipeline_classes(given->classes, given->n_classes, &l->pipeline)
                   : wml_pipeline_classes(d->classes, d->n_classes, &l->pipeline);
  for (int p = 0; p < WML_N_PARTS && status == WEBML_OK; p++)
    if (d->parts[p].n)
      status = load_images(d, &d->parts[p], &m->input, map, &l->parts[p], &l->skipped);
  wml_free(map);
  if (status == WEBML_OK && l->parts[WML_PART_TRAINING].n == 0)
    return wml_fail(WEBML_ERROR_DATA, "%s: no image could be read", d->path);
  return status;
}

/* Two classes and one output: the label is the probability of the second. */
static webml_status to_binary(wml_samples *s) {
  float *values = wml_alloc((size_t)s->n * sizeof *values + 1);
  if (!values) return wml_no_memory((size_t)s->n * sizeof *values, "labels");
  for (int64_t i = 0; i < s->n; i++) values[i] = (float)((const int32_t *)s->target)[i];
  wml_free(s->target);
  s->target = values;
  s->target_type = WML_F32;
  return WEBML_OK;
}

/* ---- both ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t n) {
  const uint8_t *p = data;
  uint64_t lane[4] = {hash, hash ^ 0x9E3779B97F4A7C15u, hash + 0xBF58476D1CE4E5B9u, ~hash};
  for (; n >= 32; p += 32, n -= 32)
    for (int i = 0; i < 4; i++) {
      uint64_t word;
      memcpy(&word, p + 8 * i, 8);
      lane[i] = (lane[i] ^ word) * 0x9FB21C651E98DF25u;
      lane[i] ^= lane[i] >> 32;
    }
  for (; n; p++, n--) lane[0] = (lane[0] ^ *p) * 0x100000001B3u;
  return ((lane[0] ^ (lane[1] << 17)) * 31u + lane[2]) ^ (lane[3] >> 7) ^ lane[3];
}

static uint64_t fingerprint_of(const wml_loaded *l) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (int p = 0; p < WML_N_PARTS; p++) {
    const wml_samples *s = &l->parts[p];
    size_t n = (size_t)s->n;
    hash = mix(hash, &s->n, sizeof s->n);
    if (s->input)
      hash = mix(hash, s->input, n * (size_t)s->input_width * wml_dtype_size(s->input_type));
    if (s->target) hash = mix(hash, s->target, n * (size_t)s->target_width * 4);
  }
  return hash;
}

webml_status wml_dataset_load(const webml_dataset *d, const webml_model *m,
                              const wml_pipeline *given, wml_loaded *l) {
  *l = (wml_loaded){0};
  if (d->format != m->format)
    return wml_fail(WEBML_ERROR_MISMATCH, "the model takes %s, but %s is %s",
                    m->format == WML_FORMAT_IMAGES ? "images" : "a table", d->path,
                    d->format == WML_FORMAT_IMAGES ? "a set of images" : "a table");
  webml_status status =
      d->format == WML_FORMAT_CSV ? load_table(d, m, given, l) : load_image_parts(d, m, given, l);
  wml_shape out = wml_model_output(m);
  bool binary = l->pipeline.n_classes == 2 && out.rank == 1 && out.dim[0] == 1;
  for (int p = 0; p < WML_N_PARTS && status == WEBML_OK && binary; p++)
    if (l->parts[p].n) status = to_binary(&l->parts[p]);
  if (status == WEBML_OK)
    l->fingerprint = fingerprint_of(l);
  else
    wml_loaded_free(l);
  return status;
}
