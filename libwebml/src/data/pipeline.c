#include "data/pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void wml_pipeline_free(wml_pipeline *p) {
  wml_arena_free(&p->arena);
  *p = (wml_pipeline){0};
}

webml_status wml_pipeline_classes(const char *const *classes, int n, wml_pipeline *p) {
  *p = (wml_pipeline){.format = WML_FORMAT_IMAGES, .n_classes = n};
  p->classes = wml_arena_alloc(&p->arena, ((size_t)n + 1) * sizeof *p->classes);
  bool ok = p->classes != NULL;
  for (int i = 0; ok && i < n; i++)
    ok = (p->classes[i] = wml_arena_copy(&p->arena, classes[i], strlen(classes[i]))) != NULL;
  if (ok) return WEBML_OK;
  wml_pipeline_free(p);
  return wml_no_memory((size_t)n, "class names");
}

/* ---- fitting ---- */

static int compare_numbers(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* Two passes; a column whose variance is rounding noise counts as constant, as in scikit-learn. */
static void fit_standard(const wml_column *col, int64_t rows, wml_encoder *e) {
  double sum = 0.0, square = 0.0, n = (double)rows;
  for (int64_t r = 0; r < rows; r++) sum += col->numbers[r];
  e->mean = sum / n;
  for (int64_t r = 0; r < rows; r++)
    square += (col->numbers[r] - e->mean) * (col->numbers[r] - e->mean);
  double variance = square / n, eps = 2.220446049250313e-16;
  bool constant = variance <= n * eps * variance + (n * e->mean * eps) * (n * e->mean * eps);
  e->scale = constant ? 1.0 : sqrt(variance);
  e->encoding = WML_ENCODE_STANDARD;
  e->width = 1;
}

static webml_status fit_labels(wml_arena *arena, const wml_column *col, int64_t rows,
                               wml_encoder *e) {
  bool *seen = wml_calloc((size_t)col->unique + 1, 1);
  e->labels = wml_arena_alloc(arena, ((size_t)col->unique + 1) * sizeof *e->labels);
  if (!seen || !e->labels) {
    wml_free(seen);
    return wml_no_memory((size_t)col->unique, "one-hot encoding");
  }
  for (int64_t r = 0; r < rows; r++)
    if (col->codes[r] >= 0) seen[col->codes[r]] = true;
  webml_status status = WEBML_OK;
  for (int64_t i = 0; i < col->unique && status == WEBML_OK; i++)
    if (seen[i] &&
        !(e->labels[e->width++] = wml_arena_copy(arena, col->values[i], strlen(col->values[i]))))
      status = wml_no_memory((size_t)col->unique, "one-hot encoding");
  wml_free(seen);
  return status;
}

static webml_status fit_numbers(wml_arena *arena, const wml_column *col, int64_t rows,
                                wml_encoder *e) {
  double *sorted = wml_alloc((size_t)rows * sizeof *sorted + 1);
  if (!sorted) return wml_no_memory((size_t)rows * sizeof *sorted, "one-hot encoding");
  memcpy(sorted, col->numbers, (size_t)rows * sizeof *sorted);
  qsort(sorted, (size_t)rows, sizeof *sorted, compare_numbers);
  int n = 0;
  for (int64_t r = 0; r < rows; r++)
    if (r == 0 || sorted[r] != sorted[n - 1]) sorted[n++] = sorted[r];
  webml_status status = WEBML_OK;
  if (n > 10 * WML_LABEL_LIMIT)
    status = wml_fail(WEBML_ERROR_DATA,
                      "column \"%s\" has %d values: too many to one-hot encode (at most %d)",
                      col->name, n, 10 * WML_LABEL_LIMIT);
  else if (!(e->numbers = wml_arena_alloc(arena, (size_t)(n + 1) * sizeof *e->numbers)))
    status = wml_no_memory((size_t)n, "one-hot encoding");
  else
    memcpy(e->numbers, sorted, (size_t)n * sizeof *sorted), e->width = n;
  wml_free(sorted);
  return status;
}

static webml_status fit_column(wml_arena *arena, const wml_column *col, bool one_hot, bool output,
                               int64_t rows, wml_encoder *e) {
  *e = (wml_encoder){.column = wml_arena_copy(arena, col->name, strlen(col->name)),
                     .type = col->type,
                     .scale = 1.0};
  if (!e->column) return wml_no_memory(strlen(col->name), "a name");
  if (col->missing)
    return wml_fail(WEBML_ERROR_DATA,
                    "column \"%s\" has %lld missing values, the first in row %lld; fill them in or "
                    "leave the column out",
                    col->name, (long long)col->missing, (long long)col->first_missing + 1);
  if (col->blocked)
    return wml_fail(WEBML_ERROR_DATA,
                    "column \"%s\" has %lld different labels: too many to encode (at most %d)",
                    col->name, (long long)col->unique, WML_LABEL_LIMIT);
  bool label = col->type == WML_COLUMN_LABEL;
  if (!label && !one_hot) {
    if (output && col->type == WML_COLUMN_BINARY)
      e->encoding = WML_ENCODE_AS_IS, e->width = 1;
    else
      fit_standard(col, rows, e);
    return WEBML_OK;
  }
  e->encoding = WML_ENCODE_ONE_HOT;
  WML_TRY(label ? fit_labels(arena, col, rows, e) : fit_numbers(arena, col, rows, e));
  if (output && e->width < 2)
    return wml_fail(
        WEBML_ERROR_DATA,
        "output \"%s\" has only one value; at least two classes are needed to learn anything",
        col->name);
  return WEBML_OK;
}

static webml_status fit_list(wml_arena *arena, const wml_table *t, const wml_selection *s,
                             const int *columns, int n, bool output, int64_t rows,
                             wml_encoder **out, int *width) {
  *out = wml_arena_alloc(arena, ((size_t)n + 1) * sizeof **out);
  if (!*out) return wml_no_memory((size_t)n * sizeof **out, "the pipeline");
  for (int i = 0; i < n; i++) {
    const wml_column *col = &t->columns[columns[i]];
    WML_TRY(fit_column(arena, col, s->one_hot[columns[i]], output, rows, &(*out)[i]));
    *width += (*out)[i].width;
  }
  return WEBML_OK;
}

webml_status wml_pipeline_fit(const wml_table *t, const wml_selection *s, int64_t rows,
                              wml_pipeline *p) {
  *p = (wml_pipeline){.format = WML_FORMAT_CSV, .n_inputs = s->n_inputs, .n_outputs = s->n_outputs};
  webml_status status =
      fit_list(&p->arena, t, s, s->inputs, s->n_inputs, false, rows, &p->inputs, &p->input_width);
  if (status == WEBML_OK)
    status = fit_list(&p->arena, t, s, s->outputs, s->n_outputs, true, rows, &p->outputs,
                      &p->output_width);
  if (status != WEBML_OK) wml_pipeline_free(p);
  return status;
}

/* ---- encoding ---- */

static void set_one(float *out, int width, int at) {
  for (int i = 0; i < width; i++) out[i] = i == at ? 1.0f : 0.0f;
}

webml_status wml_encode_label(const wml_encoder *e, const char *text, float *out) {
  double number;
  if (e->type != WML_COLUMN_LABEL) {
    if (wml_cell_number(text, &number)) return wml_encode_number(e, number, out);
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" takes a number, not \"%s\"", e->column, text);
  }
  for (int i = 0; i < e->width; i++)
    if (strcmp(e->labels[i], text) == 0) {
      set_one(out, e->width, i);
      return WEBML_OK;
    }
  const char *meant = wml_suggest(text, e->labels, (size_t)e->width);
  if (meant)
    return wml_fail(WEBML_ERROR_DATA,
                    "column \"%s\" had no value \"%s\" in training, did you mean \"%s\"?",
                    e->column, text, meant);
  return wml_fail(
      WEBML_ERROR_DATA,
      "column \"%s\" had no value \"%s\" in training; it had %d others, \"%s\" among them",
      e->column, text, e->width, e->labels[0]);
}

webml_status wml_encode_number(const wml_encoder *e, double value, float *out) {
  if (e->type == WML_COLUMN_LABEL) {
    char text[WML_NUMBER_BYTES];
    return wml_encode_label(e, wml_format_number(value, text), out);
  }
  if (!isfinite(value))
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" takes a finite number", e->column);
  if (e->encoding == WML_ENCODE_STANDARD)
    *out = (float)((value - e->mean) / e->scale);
  else if (e->encoding == WML_ENCODE_AS_IS)
    *out = (float)value;
  else {
    for (int i = 0; i < e->width; i++)
      if (e->numbers[i] == value) {
        set_one(out, e->width, i);
        return WEBML_OK;
      }
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" had no value %g in training", e->column,
                    value);
  }
  return WEBML_OK;
}

webml_status wml_encode_cell(const wml_encoder *e, const wml_column *col, int64_t row, float *out) {
  bool label = col->type == WML_COLUMN_LABEL;
  if (label ? col->codes[row] < 0 : isnan(col->numbers[row]))
    return wml_fail(WEBML_ERROR_DATA, "row %lld: column \"%s\" is missing", (long long)row + 1,
                    col->name);
  webml_status status = label ? wml_encode_label(e, col->values[col->codes[row]], out)
                              : wml_encode_number(e, col->numbers[row], out);
  return status == WEBML_OK ? status : wml_prefix(status, "row %lld", (long long)row + 1);
}

double wml_decode_number(const wml_encoder *e, const float *values) {
  if (e->encoding == WML_ENCODE_ONE_HOT) return (double)wml_argmax(values, e->width);
  return e->encoding == WML_ENCODE_STANDARD ? (double)values[0] * e->scale + e->mean
                                            : (double)values[0];
}

bool wml_pipeline_is_classes(const wml_pipeline *p) {
  return p->format == WML_FORMAT_IMAGES ||
         (p->n_outputs == 1 && p->outputs[0].encoding == WML_ENCODE_ONE_HOT);
}

int wml_pipeline_label_count(const wml_pipeline *p) {
  if (p->format == WML_FORMAT_IMAGES) return p->n_classes;
  return p->output_width < 2 ? 2 : p->output_width;
}

const char *wml_pipeline_class_name(const wml_pipeline *p, int i, char buffer[WML_NUMBER_BYTES]) {
  if (p->format == WML_FORMAT_IMAGES) return p->classes[i];
  const wml_encoder *e = &p->outputs[0];
  return e->labels ? e->labels[i] : wml_format_number(e->numbers[i], buffer);
}

/* ---- JSON ---- */

static const char *const encoding_names[] = {"one_hot", "standard", "as_is"};

static void write_encoder(wml_text *t, const wml_encoder *e) {
  wml_json_open(t, '{');
  wml_json_key(t, "column");
  wml_json_string(t, e->column);
  wml_json_key(t, "type");
  wml_json_string(t, wml_column_type_name(e->type));
  wml_json_key(t, "encoding");
  wml_json_string(t, encoding_names[e->encoding]);
  if (e->encoding == WML_ENCODE_STANDARD) {
    wml_json_key(t, "mean");
    wml_json_number(t, e->mean);
    wml_json_key(t, "scale");
    wml_json_number(t, e->scale);
  }
  if (e->encoding == WML_ENCODE_ONE_HOT) {
    wml_json_key(t, "values");
    wml_json_open(t, '[');
    for (int i = 0; i < e->width; i++) {
      if (e->labels)
        wml_json_string(t, e->labels[i]);
      else
        wml_json_number(t, e->numbers[i]);
    }
    wml_json_close(t, ']');
  }
  wml_json_close(t, '}');
}

void wml_pipeline_write(wml_text *t, const wml_pipeline *p) {
  wml_json_open(t, '{');
  wml_json_key(t, "format");
  wml_json_string(t, p->format == WML_FORMAT_IMAGES ? "images" : "csvdata");
  if (p->format == WML_FORMAT_IMAGES) {
    wml_json_key(t, "classes");
    wml_json_open(t, '[');
    for (int i = 0; i < p->n_classes; i++) wml_json_string(t, p->classes[i]);
    wml_json_close(t, ']');
  } else {
    wml_json_key(t, "inputs");
    wml_json_open(t, '[');
    for (int i = 0; i < p->n_inputs; i++) write_encoder(t, &p->inputs[i]);
    wml_json_close(t, ']');
    wml_json_key(t, "outputs");
    wml_json_open(t, '[');
    for (int i = 0; i < p->n_outputs; i++) write_encoder(t, &p->outputs[i]);
    wml_json_close(t, ']');
  }
  wml_json_close(t, '}');
}

static webml_status damaged(const char *what) {
  return wml_fail(WEBML_ERROR_PARSE, "the pipeline in the weights file is damaged: %s", what);
}

static int word_index(const char *word, const char *const *names, int n) {
  for (int i = 0; word && i < n; i++)
    if (strcmp(word, names[i]) == 0) return i;
  return -1;
}

static webml_status read_encoder(wml_arena *arena, const wml_json *json, wml_encoder *e) {
  static const char *const types[] = {"Int", "Float", "Label", "Binary"};
  const char *column = wml_json_get_string(json, "column", NULL);
  int type = word_index(wml_json_get_string(json, "type", NULL), types, 4);
  int encoding = word_index(wml_json_get_string(json, "encoding", NULL), encoding_names, 3);
  if (!column || type < 0 || encoding < 0)
    return damaged("an encoder without column, type or encoding");
  *e = (wml_encoder){.type = (wml_column_type)type,
                     .encoding = (wml_encoding)encoding,
                     .width = 1,
                     .mean = wml_json_get_number(json, "mean", 0.0),
                     .scale = wml_json_get_number(json, "scale", 1.0)};
  if (!(e->column = wml_arena_copy(arena, column, strlen(column))))
    return wml_no_memory(strlen(column), "a name");
  bool label = e->type == WML_COLUMN_LABEL;
  if (label != (e->encoding == WML_ENCODE_ONE_HOT) && label)
    return damaged("a label that is not one-hot");
  if (!isfinite(e->mean) || !isfinite(e->scale) || e->scale == 0.0)
    return damaged("a scale that is not a number");
  if (e->encoding != WML_ENCODE_ONE_HOT) return WEBML_OK;
  const wml_json *values = wml_json_get(json, "values");
  if (!values || values->kind != WML_JSON_ARRAY || values->count < 1)
    return damaged("a one-hot encoder without values");
  e->width = values->count;
  if (label)
    e->labels = wml_arena_alloc(arena, (size_t)e->width * sizeof *e->labels);
  else
    e->numbers = wml_arena_alloc(arena, (size_t)e->width * sizeof *e->numbers);
  if (!e->labels && !e->numbers) return wml_no_memory((size_t)e->width, "the pipeline");
  int i = 0;
  for (const wml_json *v = values->first; v; v = v->next, i++) {
    if (v->kind != (label ? WML_JSON_STRING : WML_JSON_NUMBER))
      return damaged("a value of the wrong kind");
    if (!label)
      e->numbers[i] = v->number;
    else if (!(e->labels[i] = wml_arena_copy(arena, v->string, strlen(v->string))))
      return wml_no_memory(strlen(v->string), "a label");
  }
  return WEBML_OK;
}

static webml_status read_encoders(wml_arena *arena, const wml_json *json, wml_encoder **out, int *n,
                                  int *width) {
  if (!json || json->kind != WML_JSON_ARRAY || json->count < 1) return damaged("no columns");
  *out = wml_arena_alloc(arena, (size_t)json->count * sizeof **out);
  if (!*out) return wml_no_memory((size_t)json->count * sizeof **out, "the pipeline");
  for (const wml_json *v = json->first; v; v = v->next) {
    WML_TRY(read_encoder(arena, v, &(*out)[*n]));
    *width += (*out)[(*n)++].width;
    if (*width > 1 << 24) return damaged("too many columns");
  }
  return WEBML_OK;
}

static webml_status read_classes(const wml_json *json, wml_pipeline *p) {
  if (!json || json->kind != WML_JSON_ARRAY || json->count < 1) return damaged("no class names");
  p->classes = wml_arena_alloc(&p->arena, (size_t)json->count * sizeof *p->classes);
  if (!p->classes) return wml_no_memory((size_t)json->count, "class names");
  for (const wml_json *v = json->first; v; v = v->next) {
    if (v->kind != WML_JSON_STRING) return damaged("a class name that is not a string");
    if (!(p->classes[p->n_classes++] = wml_arena_copy(&p->arena, v->string, strlen(v->string))))
      return wml_no_memory(strlen(v->string), "a class name");
  }
  return WEBML_OK;
}

webml_status wml_pipeline_read(const wml_json *json, wml_pipeline *p) {
  *p = (wml_pipeline){0};
  bool images = strcmp(wml_json_get_string(json, "format", ""), "images") == 0;
  p->format = images ? WML_FORMAT_IMAGES : WML_FORMAT_CSV;
  webml_status status = images ? read_classes(wml_json_get(json, "classes"), p)
                               : read_encoders(&p->arena, wml_json_get(json, "inputs"), &p->inputs,
                                               &p->n_inputs, &p->input_width);
  if (status == WEBML_OK && !images)
    status = read_encoders(&p->arena, wml_json_get(json, "outputs"), &p->outputs, &p->n_outputs,
                           &p->output_width);
  if (status != WEBML_OK) wml_pipeline_free(p);
  return status;
}
