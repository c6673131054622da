/* Which columns are inputs and outputs, and what becomes of each. */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

void wml_selection_free(wml_selection *s) {
  wml_free(s->inputs);
  wml_free(s->outputs);
  wml_free(s->one_hot);
  wml_free(s->missing);
  wml_free(s->scale);
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
  if (!m || !m->n_outputs) return false;
  const wml_model_output *out = &m->outputs[0];
  const wml_layer *last = out->node < 0 ? NULL : wml_node_layer(m, wml_node_source(m, out->node));
  return (last && wml_layer_activation(last).kind == WML_SOFTMAX) ||
         (!out->loss_open && (out->loss.kind == WML_CATEGORICAL_CROSSENTROPY ||
                              out->loss.kind == WML_SPARSE_CATEGORICAL_CROSSENTROPY));
}

static int word_of(const char *text, size_t n, const char *const *words, int count) {
  for (int i = 0; i < count; i++)
    if (strlen(words[i]) == n && memcmp(words[i], text, n) == 0) return i;
  return -1;
}

/* "mean" for all columns, "Age=median" for one; several with commas, later ones count more. */
static webml_status parse_choices(const wml_table *t, const char *text, const char *what,
                                  const char *const *words, int count, uint8_t *out) {
  char known[160] = "";
  for (int i = 0; i < count; i++) {
    if (!words[i][0]) continue;
    size_t used = strlen(known);
    snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", words[i]);
  }
  for (const char *at = text; *at;) {
    size_t length = strcspn(at, ","), name = length;
    while (name > 0 && at[name - 1] != '=') name--;
    int word = word_of(at + name, length - name, words, count);
    if (word < 0 || length == name)
      return wml_fail(WEBML_ERROR_ARGUMENT, "%s: \"%.*s\" is none of %s", what,
                      (int)(length - name), at + name, known);
    if (name == 0)
      memset(out, word, (size_t)t->n_columns);
    else {
      int column = wml_table_find(t, at, name - 1);
      if (column < 0) return wml_prefix(WEBML_ERROR_DATA, "%s", what);
      out[column] = (uint8_t)word;
    }
    at += length + (at[length] == ',');
  }
  return WEBML_OK;
}

static webml_status choose(const webml_dataset *d, const wml_table *t, wml_selection *s) {
  static const char *const missing[WML_N_MISSING_CHOICES] = {"refuse",        "mean",     "median",
                                                             "most_frequent", "category", "drop"};
  static const char *const scales[] = {"", "standard", "none", "minmax"}; /* as wml_encoding */
  memset(s->missing, WML_CHOOSE_REFUSE, (size_t)t->n_columns);
  memset(s->scale, WML_ENCODE_STANDARD, (size_t)t->n_columns);
  if (d->missing)
    WML_TRY(parse_choices(t, d->missing, "missing", missing, WML_N_MISSING_CHOICES, s->missing));
  return d->scale ? parse_choices(t, d->scale, "scale", scales, 4, s->scale) : WEBML_OK;
}

static webml_status select_columns(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  const wml_table *t = &d->table;
  int n = t->n_columns, *list = wml_alloc((size_t)n * sizeof *list), count = 0;
  if (!list) return wml_no_memory((size_t)n * sizeof *list, "columns");
  webml_status status = WEBML_OK;
  if (d->outputs)
    status = parse_list(t, d->outputs, "outputs", s->outputs, &s->n_outputs);
  else if (m && m->n_outputs && m->outputs[0].columns.n > 0)
    status = take_list(t, &m->outputs[0].columns, "outputArray", s->outputs, &s->n_outputs);
  else
    s->outputs[s->n_outputs++] = n - 1;
  if (status == WEBML_OK) {
    if (d->inputs)
      status = parse_list(t, d->inputs, "inputs", s->inputs, &s->n_inputs);
    else if (m && m->n_inputs && m->inputs[0].columns.n > 0)
      status = take_list(t, &m->inputs[0].columns, "inputArray", s->inputs, &s->n_inputs);
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
  return status == WEBML_OK ? choose(d, t, s) : status;
}

static webml_status allocate(const wml_table *t, wml_selection *s) {
  size_t n = (size_t)t->n_columns;
  *s = (wml_selection){.inputs = wml_calloc(n, sizeof(int)),
                       .outputs = wml_calloc(n, sizeof(int)),
                       .one_hot = wml_calloc(n, 1),
                       .missing = wml_calloc(n, 1),
                       .scale = wml_calloc(n, 1)};
  if (s->inputs && s->outputs && s->one_hot && s->missing && s->scale) return WEBML_OK;
  wml_selection_free(s);
  return wml_no_memory(n * 11, "columns");
}

webml_status wml_dataset_select(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  WML_TRY(allocate(&d->table, s));
  webml_status status = select_columns(d, m, s);
  if (status != WEBML_OK) wml_selection_free(s);
  return status;
}

/* The columns of another table that a fitted pipeline reads. */
webml_status wml_select_like(const webml_dataset *d, const wml_table *t, const wml_pipeline *p,
                             wml_selection *s) {
  WML_TRY(allocate(t, s));
  webml_status status = WEBML_OK;
  for (int i = 0; i < p->n_inputs + p->n_outputs && status == WEBML_OK; i++) {
    bool output = i >= p->n_inputs;
    const wml_encoder *e = output ? &p->outputs[i - p->n_inputs] : &p->inputs[i];
    int column = wml_table_find(t, e->column, strlen(e->column));
    if (column < 0)
      status = WEBML_ERROR_DATA;
    else if (output)
      s->outputs[s->n_outputs++] = column;
    else if (s->n_inputs < t->n_columns)
      s->inputs[s->n_inputs++] = column;
    if (status == WEBML_OK && s->n_outputs == t->n_columns) break;
  }
  if (status == WEBML_OK) status = choose(d, t, s);
  if (status != WEBML_OK) wml_selection_free(s);
  return status;
}
