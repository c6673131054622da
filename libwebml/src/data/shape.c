/* Shaping a model to a data set: what is open is filled in, and said. */
#include "data/shape.h"
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

typedef struct fit {
  webml_model *changed; /* a copy with the open parts filled in */
  wml_text said;
} fit;

static void say(fit *f, const char *sentence) {
  wml_text_format(&f->said, "%s%s", f->said.length ? "\n" : "", sentence);
}

int *wml_output_units(const webml_model *m, int output) {
  int node = output < m->n_outputs ? wml_output_dense(m, output) : -1;
  return node < 0 ? NULL : wml_layer_option(wml_node_layer(m, node), "units");
}

/* Two classes may be one yes or no. */
static bool is_yes_or_no(const webml_model *m, const wml_data_shape *d) {
  const int *units = wml_output_units(m, 0);
  return units && *units == 1 && d->n_classes == 2;
}

int wml_data_outputs(const webml_model *m, const wml_data_shape *d) {
  if (d->format == WML_FORMAT_CSV) return d->output_width;
  return is_yes_or_no(m, d) ? 1 : d->n_classes;
}

static webml_status set_units(fit *f, int output, int64_t width, const char *what) {
  int *units = wml_output_units(f->changed, output);
  char text[160];
  if (!units)
    return wml_fail(WEBML_ERROR_MODEL,
                    "the model has no Dense layer whose units could be shaped to the %lld outputs",
                    (long long)width);
  const char *name = wml_node_layer(f->changed, wml_output_dense(f->changed, output))->name;
  if (*units == width) return WEBML_OK;
  if (*units && !f->changed->dynamic)
    return wml_fail(WEBML_ERROR_MODEL,
                    "layer \"%s\" has %d units, but the data set has %lld outputs (%s); set units "
                    "to %lld or to null",
                    name, *units, (long long)width, what, (long long)width);
  snprintf(text, sizeof text, "units of \"%.40s\": %lld (%.60s)", name, (long long)width, what);
  say(f, text);
  *units = (int)width;
  return WEBML_OK;
}

/* Where units are open and no activation is given, classes get theirs together with their loss. */
static void choose_activation(fit *f, int output, wml_loss_kind loss) {
  webml_model *m = f->changed;
  int node = wml_output_dense(m, output);
  char text[160];
  if (!m->dynamic || node < 0 || node != m->outputs[output].node) return;
  wml_activation *activation = wml_layer_option(wml_node_layer(m, node), "activation");
  if (!activation || activation->kind != WML_LINEAR) return;
  if (loss == WML_CATEGORICAL_CROSSENTROPY)
    activation->kind = WML_SOFTMAX;
  else if (loss == WML_BINARY_CROSSENTROPY)
    activation->kind = WML_SIGMOID;
  else
    return;
  snprintf(text, sizeof text, "activation of \"%.60s\": %s", m->nodes[node].name,
           wml_activation_name(activation->kind));
  say(f, text);
}

static void choose_compile(fit *f, int output, wml_loss_kind loss) {
  char text[160];
  wml_model_output *out = &f->changed->outputs[output];
  if (out->loss_open) {
    choose_activation(f, output, loss);
    wml_default_loss(loss, &out->loss);
    out->loss_open = false;
    if (f->changed->n_outputs > 1)
      snprintf(text, sizeof text, "loss of \"%.60s\": %s", out->name, wml_loss_name(loss));
    else
      snprintf(text, sizeof text, "loss: %s", wml_loss_name(loss));
    say(f, text);
  }
  if (f->changed->optimizer_open) {
    f->changed->optimizer_open = false;
    say(f, "optimizer: adam");
  }
  if (out->n_metrics == 0 && loss != WML_MEAN_SQUARED_ERROR)
    out->metrics[out->n_metrics++] =
        (wml_metric_spec){"accuracy", true, {WML_BINARY_ACCURACY, 5, 0.5f}};
  else if (out->n_metrics == 0)
    out->metrics[out->n_metrics++] =
        (wml_metric_spec){"mean_absolute_error", false, {WML_METRIC_MAE, 5, 0.5f}};
}

static webml_status shape_images(fit *f, const wml_data_shape *d) {
  if (f->changed->n_inputs > 1 || f->changed->n_outputs > 1)
    return wml_fail(WEBML_ERROR_UNSUPPORTED,
                    "a set of images gives a model one input and one output, its class");
  bool sigmoid = is_yes_or_no(f->changed, d);
  if (d->n_classes < 2)
    return wml_fail(WEBML_ERROR_DATA,
                    "%s has only one class%s%s%s; at least two are needed to learn anything",
                    d->path, d->first_class ? ", \"" : "", d->first_class ? d->first_class : "",
                    d->first_class ? "\"" : "");
  if (!sigmoid) WML_TRY(set_units(f, 0, d->n_classes, "the number of classes"));
  choose_compile(f, 0, sigmoid ? WML_BINARY_CROSSENTROPY : WML_CATEGORICAL_CROSSENTROPY);
  return WEBML_OK;
}

/* Rows of an Embedding's table: one for each value of the column. */
static webml_status set_places(fit *f, int input, int places) {
  webml_model *m = f->changed;
  char text[160];
  for (int i = m->n_inputs; i < m->n_nodes; i++) {
    int *rows = wml_layer_option(&m->layers[m->nodes[i].layer], "input_dim");
    if (!rows || m->nodes[i].inputs[0] != input || *rows >= places) continue;
    const char *name = m->layers[m->nodes[i].layer].name;
    if (*rows && !m->dynamic)
      return wml_fail(
          WEBML_ERROR_MODEL,
          "layer \"%s\" has vectors for %d values, but the column has %d; set input_dim "
          "to %d or to null",
          name, *rows, places, places);
    snprintf(text, sizeof text, "input_dim of \"%.60s\": %d (the values of its column)", name,
             places);
    say(f, text);
    *rows = places;
  }
  return WEBML_OK;
}

static webml_status set_input(fit *f, int input, int64_t width) {
  webml_model *m = f->changed;
  char text[160];
  wml_shape *in = &m->nodes[input].out;
  if (in->rank != 1)
    return wml_fail(WEBML_ERROR_MODEL, "size: a model for tables has one dimension, [features]");
  if (in->dim[0] == width) return WEBML_OK;
  if (in->dim[0] >= 0 && !m->dynamic)
    return wml_fail(WEBML_ERROR_MODEL,
                    "size: the model takes %lld features, but the chosen input columns give %lld; "
                    "set size to [%lld] or [null]",
                    (long long)in->dim[0], (long long)width, (long long)width);
  if (m->n_inputs > 1)
    snprintf(text, sizeof text, "size of \"%.60s\": %lld features after encoding",
             m->inputs[input].name, (long long)width);
  else
    snprintf(text, sizeof text, "size: %lld features after encoding", (long long)width);
  say(f, text);
  in->dim[0] = width;
  return WEBML_OK;
}

static webml_status shape_rows(fit *f, const wml_data_shape *d) {
  for (int i = 0; i < f->changed->n_inputs; i++) {
    WML_TRY(set_input(f, i, d->inputs[i].width));
    if (f->changed->nodes[i].dtype == WML_I32) WML_TRY(set_places(f, i, d->inputs[i].places));
  }
  for (int i = 0; i < f->changed->n_outputs; i++) {
    const wml_end_shape *out = &d->outputs[i];
    WML_TRY(set_units(f, i, out->width,
                      out->is_classes ? "the labels of the output" : "the outputs after encoding"));
    choose_compile(f, i,
                   out->is_classes  ? WML_CATEGORICAL_CROSSENTROPY
                   : out->is_binary ? WML_BINARY_CROSSENTROPY
                                    : WML_MEAN_SQUARED_ERROR);
  }
  return WEBML_OK;
}

static webml_status fill(fit *f, const wml_data_shape *d) {
  return d->format == WML_FORMAT_CSV ? shape_rows(f, d) : shape_images(f, d);
}

/* Hands out the changed copy and what was said where the shaping went well. */
static webml_status end(fit *f, webml_status status, webml_model **shaped, char **chosen) {
  if (status == WEBML_OK) status = wml_model_settle(f->changed);
  if (status == WEBML_OK && chosen) {
    wml_text_string(&f->said, "");
    status = wml_text_take(&f->said, chosen);
  }
  if (status == WEBML_OK)
    *shaped = f->changed;
  else
    webml_model_destroy(f->changed);
  wml_text_free(&f->said);
  return status;
}

static webml_status check_format(const webml_model *model, wml_format format, const char *path) {
  if (model->format == format) return WEBML_OK;
  return wml_fail(WEBML_ERROR_MISMATCH, "the model takes %s, but %s is %s",
                  model->format == WML_FORMAT_IMAGES ? "images" : "a table", path,
                  format == WML_FORMAT_IMAGES ? "a set of images" : "a table");
}

webml_status wml_model_shape(const webml_model *model, const wml_data_shape *d,
                             webml_model **shaped, char **chosen) {
  fit f = {.changed = NULL};
  WML_TRY(check_format(model, d->format, d->path));
  WML_TRY(wml_model_copy(model, &f.changed));
  return end(&f, fill(&f, d), shaped, chosen);
}

/* ---- an opened data set ---- */

/* The end of the model that the i-th chosen column belongs to. */
static wml_end_shape *end_of(const webml_model *m, wml_data_shape *d, bool output, int i) {
  int n = m ? (output ? m->n_outputs : m->n_inputs) : 1, end = 0;
  if (n <= 1) return output ? d->outputs : d->inputs;
  for (; end < n - 1; end++) {
    int columns = output ? m->outputs[end].columns.n : m->inputs[end].columns.n;
    if (i < columns) break;
    i -= columns;
  }
  return output ? &d->outputs[end] : &d->inputs[end];
}

static void add_column(wml_end_shape *end, int width, int places, bool one_hot, bool binary) {
  end->is_classes = one_hot && end->columns == 0;
  end->is_binary = (one_hot || binary) && (end->is_binary || end->columns == 0);
  end->columns++;
  end->width += width;
  if (places > end->places) end->places = places;
}

static webml_status fill_from_pipeline(fit *f, const wml_pipeline *p, const char *path) {
  wml_data_shape d = {.path = path,
                      .format = WML_FORMAT_CSV,
                      .input_width = p->input_width,
                      .output_width = p->output_width};
  for (int i = 0; i < p->n_inputs + p->n_outputs; i++) {
    bool output = i >= p->n_inputs;
    const wml_encoder *e = output ? &p->outputs[i - p->n_inputs] : &p->inputs[i];
    add_column(end_of(f->changed, &d, output, output ? i - p->n_inputs : i), e->width, e->places,
               e->encoding == WML_ENCODE_ONE_HOT, wml_encoder_is_binary(e));
  }
  return fill(f, &d);
}

/* A list of columns in the model's own memory. */
static webml_status keep_columns(fit *f, const int *items, int n, wml_index_list *out) {
  int *copy = wml_arena_alloc(&f->changed->arena, ((size_t)n + 1) * sizeof *copy);
  if (!copy) return wml_no_memory((size_t)n * sizeof *copy, "columns");
  if (n) memcpy(copy, items, (size_t)n * sizeof *copy);
  *out = (wml_index_list){n, copy};
  return WEBML_OK;
}

/* The chosen columns are kept in the model; where it has several ends, it says them itself. */
static webml_status keep_selection(fit *f, const wml_selection *s, int n_columns) {
  webml_model *m = f->changed;
  int n = 0, *one_hot = wml_alloc(((size_t)n_columns + 1) * sizeof *one_hot);
  if (!one_hot) return wml_no_memory((size_t)n_columns * sizeof *one_hot, "columns");
  for (int i = 0; i < n_columns; i++)
    if (s->one_hot[i]) one_hot[n++] = i;
  webml_status status = WEBML_OK;
  if (m->n_inputs == 1) status = keep_columns(f, s->inputs, s->n_inputs, &m->inputs[0].columns);
  if (status == WEBML_OK && m->n_outputs == 1)
    status = keep_columns(f, s->outputs, s->n_outputs, &m->outputs[0].columns);
  if (status == WEBML_OK) status = keep_columns(f, one_hot, n, &m->one_hot_columns);
  wml_free(one_hot);
  return status;
}

static webml_status shape_table(fit *f, const webml_dataset *d, const webml_model *model) {
  wml_selection s;
  wml_pipeline p = {0};
  WML_TRY(wml_dataset_select(d, model, &s));
  wml_row_split split = {0};
  webml_status status = wml_table_split(&d->table, &s, &d->split, WML_PART_TRAINING, &split);
  if (status == WEBML_OK) status = wml_pipeline_fit(&d->table, &s, &split, &p);
  wml_row_split_free(&split);
  if (status != WEBML_OK) status = wml_prefix(status, "%s", d->path);
  if (status == WEBML_OK) status = fill_from_pipeline(f, &p, d->path);
  if (status == WEBML_OK) status = keep_selection(f, &s, d->table.n_columns);
  wml_selection_free(&s);
  wml_pipeline_free(&p);
  return status;
}

webml_status webml_model_shape_to(const webml_model *model, const webml_dataset *d,
                                  webml_model **shaped, char **chosen) {
  if (!model || !d || !shaped)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_model_shape_to: model, dataset and shaped must not be NULL");
  if (d->format == WML_FORMAT_IMAGES) {
    wml_data_shape pictures = {.path = d->path,
                               .format = WML_FORMAT_IMAGES,
                               .n_classes = d->pictures.n_classes,
                               .first_class = d->pictures.classes[0]};
    return wml_model_shape(model, &pictures, shaped, chosen);
  }
  fit f = {.changed = NULL};
  WML_TRY(check_format(model, d->format, d->path));
  WML_TRY(wml_model_copy(model, &f.changed));
  return end(&f, shape_table(&f, d, model), shaped, chosen);
}

/* ---- properties ---- */

static int64_t sum_of(const wml_json *list) {
  int64_t sum = 0;
  for (const wml_json *v = list ? list->first : NULL; v; v = v->next)
    if (v->kind == WML_JSON_NUMBER) sum += (int64_t)v->number;
  return sum;
}

static webml_status read_pictures(const wml_json *p, wml_data_shape *d) {
  const wml_json *classes = wml_json_get(p, "classes");
  if (!classes || classes->kind != WML_JSON_ARRAY)
    return wml_fail(WEBML_ERROR_PARSE, "the properties: \"classes\" must be a list");
  d->n_classes = classes->count;
  d->training = (int64_t)wml_json_get_number(p, "training",
                                             (double)sum_of(wml_json_get(p, "training_per_class")));
  d->validation = (int64_t)wml_json_get_number(p, "validation", 0);
  return WEBML_OK;
}

static wml_column_type type_of(const wml_json *feature) {
  const char *name = wml_json_get_string(feature, "dataType", "Float");
  for (int t = WML_COLUMN_INT; t <= WML_COLUMN_BINARY; t++)
    if (strcmp(name, wml_column_type_name((wml_column_type)t)) == 0) return (wml_column_type)t;
  return wml_json_get_bool(feature, "isLabel", false) ? WML_COLUMN_LABEL : WML_COLUMN_FLOAT;
}

/* Columns as far as choosing among them needs them. */
static webml_status read_columns(const wml_json *features, webml_dataset *d) {
  wml_table *t = &d->table;
  t->columns = wml_arena_alloc(&d->arena, ((size_t)features->count + 1) * sizeof *t->columns);
  if (!t->columns) return wml_no_memory((size_t)features->count * sizeof *t->columns, "columns");
  for (const wml_json *f = features->first; f; f = f->next)
    t->columns[t->n_columns++] =
        (wml_column){.name = wml_json_get_string(f, "feature", "?"),
                     .type = type_of(f),
                     .unique = (int64_t)wml_json_get_number(f, "uniqueValues", 1),
                     .blocked = wml_json_get_bool(f, "blocked", false)};
  return WEBML_OK;
}

static webml_status add_widths(const wml_table *t, const wml_selection *s, const webml_model *m,
                               wml_data_shape *d) {
  for (int i = 0; i < s->n_inputs + s->n_outputs; i++) {
    bool output = i >= s->n_inputs;
    int at = output ? i - s->n_inputs : i, column = output ? s->outputs[at] : s->inputs[at];
    const wml_column *c = &t->columns[column];
    if (c->blocked)
      return wml_fail(WEBML_ERROR_DATA,
                      "column \"%.100s\" has %lld different labels: too many to encode", c->name,
                      (long long)c->unique);
    bool one_hot = s->one_hot[column], index = s->index[column];
    int places = c->unique < 1 << 24 ? (int)c->unique : 1, width = one_hot && !index ? places : 1;
    *(output ? &d->output_width : &d->input_width) += width;
    add_column(end_of(m, d, output, at), width, places, one_hot, c->type == WML_COLUMN_BINARY);
  }
  d->is_classes = d->outputs[0].is_classes;
  d->is_binary = d->outputs[0].is_binary;
  return WEBML_OK;
}

static webml_status read_table(const wml_json *p, const webml_model *model, wml_data_shape *d) {
  const wml_json *features = wml_json_get(p, "features");
  webml_dataset set = {.format = WML_FORMAT_CSV, .path = d->path};
  wml_selection s;
  if (!features || features->kind != WML_JSON_ARRAY || features->count < 1)
    return wml_fail(WEBML_ERROR_PARSE, "the properties: \"features\" must be a list of columns");
  webml_status status = read_columns(features, &set);
  if (status == WEBML_OK) status = wml_dataset_select(&set, model, &s);
  if (status == WEBML_OK) {
    status = add_widths(&set.table, &s, model, d);
    wml_selection_free(&s);
  }
  wml_arena_free(&set.arena);
  d->training = (int64_t)wml_json_get_number(p, "rows", -1);
  d->validation = 0;
  return status;
}

webml_status wml_data_shape_read(const wml_json *p, const webml_model *model, wml_data_shape *d) {
  *d = (wml_data_shape){.path = "the data set", .training = -1, .validation = -1};
  const char *format = wml_json_get_string(p, "format", "");
  if (strcmp(format, "images") == 0) {
    d->format = WML_FORMAT_IMAGES;
    return read_pictures(p, d);
  }
  if (strcmp(format, "csvdata") != 0)
    return wml_fail(WEBML_ERROR_PARSE,
                    "the properties: \"format\" must be \"images\" or \"csvdata\"");
  d->format = WML_FORMAT_CSV;
  return read_table(p, model, d);
}
