/* Fitting a pipeline to the training rows of a table. */
#include "data/table_samples.h"

#include <math.h>
#include <string.h>

enum { NUMBER_LIMIT = 10 }; /* times the limit of labels: numbers that may be one-hot encoded */

typedef struct fitting {
  const wml_table *table;
  const wml_selection *selection;
  const wml_row_split *split;
  wml_arena *arena;
} fitting;

static bool is_one_hot(const fitting *f, int column) {
  return f->selection->one_hot[column] || f->selection->index[column] ||
         f->table->columns[column].type == WML_COLUMN_LABEL;
}

static webml_status check_column(const fitting *f, int column, const wml_facts *facts,
                                 bool output) {
  const wml_column *col = &f->table->columns[column];
  int choice = f->selection->missing[column];
  if (col->blocked)
    return wml_fail(WEBML_ERROR_DATA,
                    "column \"%s\" has %s%lld different labels: too many to encode (at most %lld); "
                    "leave it out, or raise the limit of labels",
                    col->name, col->unique_is_estimate ? "about " : "", (long long)col->unique,
                    (long long)f->table->label_limit);
  if (facts->missing && (choice == WML_CHOOSE_REFUSE || output))
    return wml_fail(WEBML_ERROR_DATA,
                    "column \"%s\" has %lld missing value%s, the first in row %lld; %s", col->name,
                    (long long)facts->missing, facts->missing == 1 ? "" : "s",
                    (long long)facts->first_missing + 1,
                    output && choice != WML_CHOOSE_REFUSE
                        ? "an output cannot be filled in: choose drop"
                        : "choose what becomes of them (mean, median, most_frequent, category or "
                          "drop) or leave the column out");
  if (facts->n == 0)
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" has no value in the rows to train on",
                    col->name);
  return WEBML_OK;
}

/* The most frequent value; of several the least, as scikit-learn's SimpleImputer takes it. */
static double most_frequent(const wml_facts *facts) {
  int64_t best = 0;
  for (int64_t i = 1; i < facts->n_values; i++)
    if (facts->counts[i] > facts->counts[best]) best = i;
  return facts->n_values ? facts->values[best] : facts->mean;
}

static webml_status choose_fill(const fitting *f, int column, const wml_facts *facts,
                                wml_encoder *e) {
  int choice = f->selection->missing[column];
  bool label = e->type == WML_COLUMN_LABEL;
  if (choice == WML_CHOOSE_REFUSE || choice == WML_CHOOSE_DROP) return WEBML_OK;
  if (choice == WML_CHOOSE_CATEGORY) {
    e->missing = WML_MISSING_CATEGORY;
    e->places++;
    e->width += !e->as_index;
    return WEBML_OK;
  }
  e->missing = WML_MISSING_FILL;
  if (label || e->encoding == WML_ENCODE_ONE_HOT || choice == WML_CHOOSE_MOST_FREQUENT)
    e->fill = most_frequent(facts);
  else if (choice == WML_CHOOSE_MEAN)
    e->fill = facts->mean;
  else
    WML_TRY(wml_table_median(f->table, f->split, column, facts, &e->fill));
  if (e->encoding == WML_ENCODE_ONE_HOT) /* a value becomes its place */
    for (int64_t i = 0; i < facts->n_values; i++)
      if (facts->values[i] == e->fill) {
        e->fill = (double)i;
        break;
      }
  return WEBML_OK;
}

/* A column whose variance is rounding noise counts as constant, as in scikit-learn. */
static void fit_scale(const wml_facts *facts, wml_encoding encoding, wml_encoder *e) {
  double n = (double)facts->n, eps = 2.220446049250313e-16, v = facts->variance;
  e->encoding = encoding;
  e->width = 1;
  e->scale = 1.0;
  if (encoding == WML_ENCODE_STANDARD) {
    bool constant = v <= n * eps * v + (n * facts->mean * eps) * (n * facts->mean * eps);
    e->mean = facts->mean;
    if (!constant) e->scale = sqrt(v);
  } else if (encoding == WML_ENCODE_MIN_MAX) {
    e->mean = facts->min;
    if (facts->max > facts->min) e->scale = facts->max - facts->min;
  }
}

static webml_status fit_one_hot(const fitting *f, const wml_column *col, const wml_facts *facts,
                                wml_encoder *e) {
  size_t n = (size_t)facts->n_values;
  e->encoding = WML_ENCODE_ONE_HOT;
  e->places = (int)n;
  e->as_index = f->selection->index[col - f->table->columns];
  e->width = e->as_index ? 1 : e->places;
  if (e->type != WML_COLUMN_LABEL) {
    e->numbers = wml_arena_alloc(f->arena, (n + 1) * sizeof *e->numbers);
    if (!e->numbers) return wml_no_memory(n, "one-hot encoding");
    memcpy(e->numbers, facts->values, n * sizeof *e->numbers);
    return WEBML_OK;
  }
  e->labels = wml_arena_alloc(f->arena, (n + 1) * sizeof *e->labels);
  if (!e->labels) return wml_no_memory(n, "one-hot encoding");
  for (size_t i = 0; i < n; i++) {
    const char *text = col->values[(int64_t)facts->values[i]];
    if (!(e->labels[i] = wml_arena_copy(f->arena, text, strlen(text))))
      return wml_no_memory(n, "one-hot encoding");
  }
  return WEBML_OK;
}

static webml_status fit_column(const fitting *f, int column, const wml_facts *facts, bool output,
                               wml_encoder *e) {
  const wml_column *col = &f->table->columns[column];
  *e = (wml_encoder){.column = wml_arena_copy(f->arena, col->name, strlen(col->name)),
                     .type = col->type,
                     .scale = 1.0};
  if (!e->column) return wml_no_memory(strlen(col->name), "a name");
  WML_TRY(check_column(f, column, facts, output));
  if (is_one_hot(f, column))
    WML_TRY(fit_one_hot(f, col, facts, e));
  else
    fit_scale(facts,
              output && col->type == WML_COLUMN_BINARY ? WML_ENCODE_AS_IS
                                                       : (wml_encoding)f->selection->scale[column],
              e);
  if (output && e->encoding == WML_ENCODE_ONE_HOT && e->places < 2)
    return wml_fail(
        WEBML_ERROR_DATA,
        "output \"%s\" has only one value; at least two classes are needed to learn anything",
        col->name);
  return output ? WEBML_OK : choose_fill(f, column, facts, e);
}

static webml_status fit_lists(fitting *f, int *columns, bool *values, wml_facts *facts,
                              wml_pipeline *p) {
  const wml_selection *s = f->selection;
  int n = s->n_inputs + s->n_outputs;
  memcpy(columns, s->inputs, (size_t)s->n_inputs * sizeof *columns);
  memcpy(columns + s->n_inputs, s->outputs, (size_t)s->n_outputs * sizeof *columns);
  for (int i = 0; i < n; i++)
    values[i] = !f->table->columns[columns[i]].blocked &&
                (is_one_hot(f, columns[i]) ||
                 (i < s->n_inputs && s->missing[columns[i]] == WML_CHOOSE_MOST_FREQUENT));
  WML_TRY(wml_table_facts(f->table, f->split, columns, values, n,
                          NUMBER_LIMIT * f->table->label_limit, facts));
  p->inputs = wml_arena_alloc(f->arena, ((size_t)n + 1) * sizeof *p->inputs);
  if (!p->inputs) return wml_no_memory((size_t)n * sizeof *p->inputs, "the pipeline");
  p->outputs = p->inputs + s->n_inputs;
  p->n_inputs = s->n_inputs, p->n_outputs = s->n_outputs;
  for (int i = 0; i < n; i++) {
    bool output = i >= s->n_inputs;
    WML_TRY(fit_column(f, columns[i], &facts[i], output, &p->inputs[i]));
    *(output ? &p->output_width : &p->input_width) += p->inputs[i].width;
  }
  return WEBML_OK;
}

webml_status wml_pipeline_fit(const wml_table *t, const wml_selection *s,
                              const wml_row_split *split, wml_pipeline *p) {
  *p = (wml_pipeline){.format = WML_FORMAT_CSV};
  fitting f = {t, s, split, &p->arena};
  size_t n = (size_t)(s->n_inputs + s->n_outputs);
  int *columns = wml_alloc(n * sizeof *columns);
  bool *values = wml_alloc(n);
  wml_facts *facts = wml_calloc(n, sizeof *facts);
  webml_status status = columns && values && facts ? fit_lists(&f, columns, values, facts, p)
                                                   : wml_no_memory(n * sizeof *facts, "fitting");
  wml_facts_free(facts, (int)n);
  wml_free(facts);
  wml_free(values);
  wml_free(columns);
  if (status != WEBML_OK) wml_pipeline_free(p);
  return status;
}
