/* Which columns are inputs and outputs, and what becomes of each. */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

void wml_selection_free(wml_selection *s) {
  wml_free(s->inputs);
  wml_free(s->outputs);
  wml_free(s->one_hot);
  wml_free(s->index);
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
static bool wants_classes(const webml_model *m, const wml_model_output *out) {
  const wml_layer *last = out->node < 0 ? NULL : wml_node_layer(m, wml_node_source(m, out->node));
  return (last && wml_layer_activation(last).kind == WML_SOFTMAX) ||
         (!out->loss_open && wml_loss_is_categorical(out->loss.kind));
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

/* ---- the model's choice ---- */

static webml_status say_columns(const char *what, const char *name) {
  return wml_fail(WEBML_ERROR_DATA,
                  "%s \"%s\" of the model must say its columns: \"columns\": [...]", what, name);
}

/* The columns of all inputs, one input behind the other; those of whole numbers are marked. */
static webml_status take_inputs(const wml_table *t, const webml_model *m, wml_selection *s) {
  for (int i = 0; i < m->n_inputs; i++) {
    int first = s->n_inputs;
    if (m->inputs[i].columns.n <= 0) return say_columns("input", m->inputs[i].name);
    WML_TRY(take_list(t, &m->inputs[i].columns, m->names_inputs ? "columns" : "inputArray",
                      s->inputs, &s->n_inputs));
    for (int k = first; k < s->n_inputs; k++)
      s->index[s->inputs[k]] |= m->nodes[i].dtype == WML_I32;
  }
  return WEBML_OK;
}

static webml_status take_outputs(const wml_table *t, const webml_model *m, wml_selection *s) {
  for (int i = 0; i < m->n_outputs; i++) {
    if (m->outputs[i].columns.n <= 0) return say_columns("output", m->outputs[i].name);
    WML_TRY(take_list(t, &m->outputs[i].columns, m->names_outputs ? "columns" : "outputArray",
                      s->outputs, &s->n_outputs));
  }
  return WEBML_OK;
}

static bool inputs_are_named(const webml_model *m) {
  return m && m->n_inputs && (m->n_inputs > 1 || m->inputs[0].columns.n > 0);
}
static bool outputs_are_named(const webml_model *m) {
  return m && m->n_outputs && (m->n_outputs > 1 || m->outputs[0].columns.n > 0);
}

/* ---- the choice ---- */

static webml_status select_outputs(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  if (d->outputs && m && m->n_outputs > 1)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "the model says the columns of its outputs; outputs cannot be chosen again");
  if (d->outputs) return parse_list(&d->table, d->outputs, "outputs", s->outputs, &s->n_outputs);
  if (outputs_are_named(m)) return take_outputs(&d->table, m, s);
  s->outputs[s->n_outputs++] = d->table.n_columns - 1;
  return WEBML_OK;
}

static webml_status select_inputs(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  const wml_table *t = &d->table;
  if (d->inputs && m && m->n_inputs > 1)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "the model says the columns of its inputs; inputs cannot be chosen again");
  if (d->inputs)
    WML_TRY(parse_list(t, d->inputs, "inputs", s->inputs, &s->n_inputs));
  else if (inputs_are_named(m))
    return take_inputs(t, m, s);
  else
    for (int i = 0; i < t->n_columns; i++)
      if (!t->columns[i].blocked && !contains(s->outputs, s->n_outputs, i))
        s->inputs[s->n_inputs++] = i;
  for (int i = 0; i < s->n_inputs; i++)
    s->index[s->inputs[i]] = m && m->n_nodes && m->nodes[0].dtype == WML_I32;
  return WEBML_OK;
}

static webml_status select_one_hot(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  const wml_table *t = &d->table;
  int n = t->n_columns, *list = wml_alloc((size_t)n * sizeof *list), count = 0;
  if (!list) return wml_no_memory((size_t)n * sizeof *list, "columns");
  webml_status status = WEBML_OK;
  if (d->one_hot)
    status = parse_list(t, d->one_hot, "one-hot", list, &count);
  else if (m && m->one_hot_columns.n > 0)
    status = take_list(t, &m->one_hot_columns, "oneHotEncoding", list, &count);
  for (int i = 0; i < count; i++) s->one_hot[list[i]] = true;
  for (int i = 0; i < n; i++) s->one_hot[i] |= t->columns[i].type == WML_COLUMN_LABEL;
  wml_free(list);
  return status;
}

/* Outputs that are one yes or no each, where the model picks one of two classes. */
static void settle_binary(const wml_table *t, const webml_model *m, wml_selection *s) {
  int at = 0;
  for (int i = 0; m && i < m->n_outputs; i++) {
    int n = m->n_outputs > 1 ? m->outputs[i].columns.n : s->n_outputs;
    if (n == 1 && at < s->n_outputs && t->columns[s->outputs[at]].type == WML_COLUMN_BINARY &&
        wants_classes(m, &m->outputs[i]))
      s->one_hot[s->outputs[at]] = true;
    at += n;
  }
}

static webml_status select_columns(const webml_dataset *d, const webml_model *m, wml_selection *s) {
  WML_TRY(select_outputs(d, m, s));
  WML_TRY(select_inputs(d, m, s));
  WML_TRY(select_one_hot(d, m, s));
  settle_binary(&d->table, m, s);
  if (s->n_inputs == 0) return wml_fail(WEBML_ERROR_DATA, "no column is left as an input");
  return choose(d, &d->table, s);
}

static webml_status allocate(const wml_table *t, wml_selection *s) {
  size_t n = (size_t)t->n_columns;
  *s = (wml_selection){.inputs = wml_calloc(n, sizeof(int)),
                       .outputs = wml_calloc(n, sizeof(int)),
                       .one_hot = wml_calloc(n, 1),
                       .index = wml_calloc(n, 1),
                       .missing = wml_calloc(n, 1),
                       .scale = wml_calloc(n, 1)};
  if (s->inputs && s->outputs && s->one_hot && s->index && s->missing && s->scale) return WEBML_OK;
  wml_selection_free(s);
  return wml_no_memory(n * 12, "columns");
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
