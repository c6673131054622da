#include "data/pipeline.h"

#include <math.h>
#include <string.h>

void wml_pipeline_free(wml_pipeline *p) {
  wml_arena_free(&p->arena);
  *p = (wml_pipeline){0};
}

webml_status wml_pipeline_classes(const char *const *classes, int n,
                                  const wml_picture_options *picture, wml_pipeline *p) {
  *p = (wml_pipeline){.format = WML_FORMAT_IMAGES, .n_classes = n, .picture = *picture};
  p->classes = wml_arena_alloc(&p->arena, ((size_t)n + 1) * sizeof *p->classes);
  bool ok = p->classes != NULL;
  for (int i = 0; ok && i < n; i++)
    ok = (p->classes[i] = wml_arena_copy(&p->arena, classes[i], strlen(classes[i]))) != NULL;
  if (ok) return WEBML_OK;
  wml_pipeline_free(p);
  return wml_no_memory((size_t)n, "class names");
}

/* ---- the model's ends ---- */

/* One end gets the columns from *at on. */
static webml_status check_end(const wml_encoder *encoders, int n, int columns, int *at,
                              const wml_node *node, const char *name) {
  int64_t width = 0, wanted = wml_shape_elements(&node->out);
  bool index = true;
  for (int k = 0; k < columns && *at < n; k++, ++*at) {
    width += encoders[*at].width;
    index = index && encoders[*at].width == 1;
  }
  if (width == wanted && (index || node->dtype != WML_I32)) return WEBML_OK;
  return wml_fail(WEBML_ERROR_MISMATCH,
                  "\"%s\" of the model takes %lld values, its columns give %lld", name,
                  (long long)wanted, (long long)width);
}

static webml_status check_table(const wml_pipeline *p, const webml_model *m) {
  int at = 0;
  for (int i = 0; i < m->n_inputs; i++)
    WML_TRY(check_end(p->inputs, p->n_inputs,
                      m->n_inputs == 1 ? p->n_inputs : m->inputs[i].columns.n, &at, &m->nodes[i],
                      m->inputs[i].name));
  at = 0;
  for (int i = 0; i < m->n_outputs; i++)
    WML_TRY(check_end(p->outputs, p->n_outputs,
                      m->n_outputs == 1 ? p->n_outputs : m->outputs[i].columns.n, &at,
                      &m->nodes[m->outputs[i].node], m->outputs[i].name));
  return WEBML_OK;
}

webml_status wml_pipeline_check(const wml_pipeline *p, const webml_model *m) {
  if (p->format == WML_FORMAT_CSV) return check_table(p, m);
  if (m->n_inputs == 1 && m->n_outputs == 1 && m->nodes[0].out.rank == 3) return WEBML_OK;
  return wml_fail(WEBML_ERROR_MISMATCH,
                  "a model for pictures has one input, [height, width, channels], and one output");
}

/* ---- encoding ---- */

int wml_encoder_values(const wml_encoder *e) {
  return e->places - (e->missing == WML_MISSING_CATEGORY);
}

bool wml_encoder_is_binary(const wml_encoder *e) {
  return e->encoding == WML_ENCODE_AS_IS && e->type == WML_COLUMN_BINARY;
}

bool wml_encoder_is_number(const wml_encoder *e) {
  return e->encoding != WML_ENCODE_ONE_HOT && !wml_encoder_is_binary(e);
}

int wml_encoder_cells(const wml_encoder *e) {
  return e->encoding == WML_ENCODE_ONE_HOT ? 1 : e->width;
}

int wml_encoder_find_number(const wml_encoder *e, double value) {
  int low = 0, high = wml_encoder_values(e);
  while (low < high) {
    int middle = (low + high) / 2;
    if (e->numbers[middle] < value)
      low = middle + 1;
    else
      high = middle;
  }
  return low < wml_encoder_values(e) && e->numbers[low] == value ? low : -1;
}

int wml_encoder_find_label(const wml_encoder *e, const char *text) {
  for (int i = 0; i < wml_encoder_values(e); i++)
    if (strcmp(e->labels[i], text) == 0) return i;
  return -1;
}

double wml_encoder_scale(const wml_encoder *e, double value) {
  return e->encoding == WML_ENCODE_AS_IS ? value : (value - e->mean) / e->scale;
}

static void set_place(const wml_encoder *e, float *out, int at) {
  if (e->as_index)
    out[0] = (float)at;
  else
    for (int i = 0; i < e->width; i++) out[i] = i == at ? 1.0f : 0.0f;
}

webml_status wml_encode_label(const wml_encoder *e, const char *text, float *out) {
  double number;
  if (wml_cell_missing(text, strlen(text))) return wml_encode_missing(e, out);
  if (e->type != WML_COLUMN_LABEL) {
    if (wml_cell_number(text, &number)) return wml_encode_number(e, number, out);
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" takes a number, not \"%s\"", e->column, text);
  }
  int found = wml_encoder_find_label(e, text), n = wml_encoder_values(e);
  if (found >= 0) {
    set_place(e, out, found);
    return WEBML_OK;
  }
  const char *meant = wml_suggest(text, e->labels, (size_t)n);
  if (meant)
    return wml_fail(WEBML_ERROR_DATA,
                    "column \"%s\" had no value \"%s\" in training, did you mean \"%s\"?",
                    e->column, text, meant);
  return wml_fail(
      WEBML_ERROR_DATA,
      "column \"%s\" had no value \"%s\" in training; it had %d others, \"%s\" among them",
      e->column, text, n, e->labels[0]);
}

webml_status wml_encode_number(const wml_encoder *e, double value, float *out) {
  if (e->type == WML_COLUMN_LABEL) {
    char text[WML_NUMBER_BYTES];
    return wml_encode_label(e, wml_format_number(value, text), out);
  }
  if (!isfinite(value))
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" takes a finite number", e->column);
  if (e->encoding != WML_ENCODE_ONE_HOT) {
    out[0] = (float)wml_encoder_scale(e, value);
    if (e->width > 1) out[1] = 0.0f;
    return WEBML_OK;
  }
  int found = wml_encoder_find_number(e, value);
  if (found < 0)
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" had no value %g in training", e->column,
                    value);
  set_place(e, out, found);
  return WEBML_OK;
}

webml_status wml_encode_missing(const wml_encoder *e, float *out) {
  if (e->missing == WML_MISSING_REFUSE)
    return wml_fail(WEBML_ERROR_DATA, "there is no value for the column \"%s\"", e->column);
  if (e->encoding == WML_ENCODE_ONE_HOT)
    set_place(e, out, e->missing == WML_MISSING_FILL ? (int)e->fill : e->places - 1);
  else if (e->missing == WML_MISSING_FILL)
    out[0] = (float)wml_encoder_scale(e, e->fill);
  else
    out[0] = 0.0f, out[1] = 1.0f;
  return WEBML_OK;
}

double wml_decode_number(const wml_encoder *e, const float *values) {
  if (e->encoding == WML_ENCODE_ONE_HOT) return (double)wml_argmax(values, e->width);
  return e->encoding == WML_ENCODE_AS_IS ? (double)values[0]
                                         : (double)values[0] * e->scale + e->mean;
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
  return wml_encoder_value_name(&p->outputs[0], i, buffer);
}

const char *wml_encoder_value_name(const wml_encoder *e, int i, char buffer[WML_NUMBER_BYTES]) {
  if (wml_encoder_is_binary(e)) return i ? "1" : "0";
  if (i >= wml_encoder_values(e)) return "(missing)";
  return e->labels ? e->labels[i] : wml_format_number(e->numbers[i], buffer);
}

/* ---- JSON ---- */

static const char *const encoding_names[] = {"one_hot", "standard", "as_is", "min_max"};
static const char *const resize_names[] = {"nearest", "bilinear", "area"}; /* as webml_resize */
static const char *const missing_names[] = {"refuse", "fill", "category"};

static void write_encoder(wml_text *t, const wml_encoder *e) {
  wml_json_open(t, '{');
  wml_json_key(t, "column");
  wml_json_string(t, e->column);
  wml_json_key(t, "type");
  wml_json_string(t, wml_column_type_name(e->type));
  wml_json_key(t, "encoding");
  wml_json_string(t, encoding_names[e->encoding]);
  if (e->missing != WML_MISSING_REFUSE) {
    wml_json_key(t, "missing");
    wml_json_string(t, missing_names[e->missing]);
  }
  if (e->missing == WML_MISSING_FILL) {
    wml_json_key(t, "fill"); /* the number, or the index among the values */
    wml_json_number(t, e->fill);
  }
  if (e->encoding == WML_ENCODE_STANDARD || e->encoding == WML_ENCODE_MIN_MAX) {
    wml_json_key(t, "mean");
    wml_json_number(t, e->mean);
    wml_json_key(t, "scale");
    wml_json_number(t, e->scale);
  }
  if (e->as_index) wml_json_key(t, "as_index"), wml_json_bool(t, true);
  if (e->encoding == WML_ENCODE_ONE_HOT) {
    wml_json_key(t, "values");
    wml_json_open(t, '[');
    for (int i = 0; i < wml_encoder_values(e); i++) {
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
    wml_json_key(t, "resize");
    wml_json_string(t, resize_names[p->picture.resize]);
    wml_json_key(t, "exif_orientation");
    wml_json_bool(t, p->picture.exif_orientation);
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
  int encoding = word_index(wml_json_get_string(json, "encoding", NULL), encoding_names, 4);
  int missing = word_index(wml_json_get_string(json, "missing", "refuse"), missing_names, 3);
  if (!column || type < 0 || encoding < 0 || missing < 0)
    return damaged("an encoder without column, type or encoding");
  *e = (wml_encoder){.type = (wml_column_type)type,
                     .encoding = (wml_encoding)encoding,
                     .missing = (wml_missing)missing,
                     .width = missing == WML_MISSING_CATEGORY ? 2 : 1,
                     .fill = wml_json_get_number(json, "fill", 0.0),
                     .mean = wml_json_get_number(json, "mean", 0.0),
                     .scale = wml_json_get_number(json, "scale", 1.0)};
  if (!(e->column = wml_arena_copy(arena, column, strlen(column))))
    return wml_no_memory(strlen(column), "a name");
  bool label = e->type == WML_COLUMN_LABEL;
  if (label != (e->encoding == WML_ENCODE_ONE_HOT) && label)
    return damaged("a label that is not one-hot");
  if (!isfinite(e->mean) || !isfinite(e->scale) || e->scale == 0.0 || !isfinite(e->fill))
    return damaged("a scale that is not a number");
  if (e->encoding != WML_ENCODE_ONE_HOT) return WEBML_OK;
  const wml_json *values = wml_json_get(json, "values");
  if (!values || values->kind != WML_JSON_ARRAY || values->count < 1)
    return damaged("a one-hot encoder without values");
  size_t n = (size_t)values->count;
  e->places = values->count + (e->missing == WML_MISSING_CATEGORY);
  e->as_index = wml_json_get_bool(json, "as_index", false);
  e->width = e->as_index ? 1 : e->places;
  if (e->missing == WML_MISSING_FILL && !(e->fill >= 0 && e->fill < (double)n))
    return damaged("a value for missing cells that is none of the column's");
  if (label)
    e->labels = wml_arena_alloc(arena, n * sizeof *e->labels);
  else
    e->numbers = wml_arena_alloc(arena, n * sizeof *e->numbers);
  if (!e->labels && !e->numbers) return wml_no_memory(n, "the pipeline");
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
  int resize = word_index(wml_json_get_string(json, "resize", "nearest"), resize_names, 3);
  if (resize < 0) return damaged("an unknown way of resizing");
  p->picture = (wml_picture_options){(webml_resize)resize,
                                     wml_json_get_bool(json, "exif_orientation", false)};
  webml_status status = images ? read_classes(wml_json_get(json, "classes"), p)
                               : read_encoders(&p->arena, wml_json_get(json, "inputs"), &p->inputs,
                                               &p->n_inputs, &p->input_width);
  if (status == WEBML_OK && !images)
    status = read_encoders(&p->arena, wml_json_get(json, "outputs"), &p->outputs, &p->n_outputs,
                           &p->output_width);
  if (status != WEBML_OK) wml_pipeline_free(p);
  return status;
}

webml_status wml_pipeline_copy(const wml_pipeline *from, wml_pipeline *to) {
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
