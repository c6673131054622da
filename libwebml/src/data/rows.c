/* Which rows of a table train, validate, test, or are left out. */
#include "data/table_samples.h"

#include <math.h>
#include <string.h>

void wml_row_split_free(wml_row_split *s) {
  wml_free(s->parts);
  wml_free(s->before[0]);
  *s = (wml_row_split){0};
}

/* A row with a missing cell in a column that drops such rows. */
static webml_status drop_rows(const wml_table *t, const wml_selection *s, double *x,
                              wml_scratch *scratch, uint8_t *parts) {
  for (int64_t b = 0; b < t->n_blocks; b++) {
    const uint8_t *bytes;
    WML_TRY(wml_table_block(t, b, scratch, &bytes));
    for (int i = 0; i < s->n_inputs + s->n_outputs; i++) {
      int column = i < s->n_inputs ? s->inputs[i] : s->outputs[i - s->n_inputs];
      if (s->missing[column] != WML_CHOOSE_DROP || t->columns[column].blocked) continue;
      wml_block_column(t, b, bytes, column, x);
      for (int64_t r = 0; r < t->blocks[b].rows; r++)
        if (isnan(x[r])) parts[t->blocks[b].first + r] = WML_PART_NONE;
    }
  }
  return WEBML_OK;
}

/* The class of each row by the first output, for a stratified split. */
static webml_status read_classes(const wml_table *t, int column, double *x, wml_scratch *scratch,
                                 int32_t *classes, int *n_classes) {
  const wml_column *col = &t->columns[column];
  bool label = col->type == WML_COLUMN_LABEL;
  double least = label ? 0.0 : col->min,
         span = label ? (double)col->unique : col->max - col->min + 1;
  if (col->blocked || col->type == WML_COLUMN_FLOAT || !(span <= 10.0 * (double)t->label_limit))
    return wml_fail(WEBML_ERROR_DATA,
                    "a stratified split needs an output of classes, but \"%s\" is not one; use a "
                    "random split",
                    col->name);
  *n_classes = (int)span + 1; /* the last: missing */
  for (int64_t b = 0; b < t->n_blocks; b++) {
    const uint8_t *bytes;
    WML_TRY(wml_table_block(t, b, scratch, &bytes));
    wml_block_column(t, b, bytes, column, x);
    for (int64_t r = 0; r < t->blocks[b].rows; r++)
      classes[t->blocks[b].first + r] = isnan(x[r]) ? *n_classes - 1 : (int32_t)(x[r] - least);
  }
  return WEBML_OK;
}

static webml_status assign(const wml_table *t, const wml_selection *s, const wml_split_options *o,
                           bool drops, uint8_t *parts) {
  wml_scratch scratch = {0};
  size_t rows = (size_t)wml_table_block_rows(t);
  double *x = wml_alloc(rows * sizeof *x + 1);
  bool stratified = o->how == WEBML_SPLIT_STRATIFIED && !wml_split_is_none(o);
  int32_t *classes = stratified ? wml_alloc((size_t)t->rows * sizeof *classes + 1) : NULL;
  int n_classes = 1;
  webml_status status = x && (classes || !stratified)
                            ? WEBML_OK
                            : wml_no_memory((size_t)t->rows * sizeof *classes, "splitting");
  if (status == WEBML_OK && drops) status = drop_rows(t, s, x, &scratch, parts);
  if (status == WEBML_OK && stratified)
    status = read_classes(t, s->outputs[0], x, &scratch, classes, &n_classes);
  if (status == WEBML_OK) status = wml_split_assign(o, t->rows, classes, n_classes, false, parts);
  wml_free(classes);
  wml_free(x);
  wml_free(scratch.bytes);
  return status;
}

static webml_status count_parts(const wml_table *t, wml_row_split *split) {
  size_t n = (size_t)t->n_blocks + 1;
  int64_t *before = wml_calloc(n * WML_N_PARTS, sizeof *before);
  if (!before) return wml_no_memory(n * WML_N_PARTS * sizeof *before, "splitting");
  for (int p = 0; p < WML_N_PARTS; p++) split->before[p] = before + n * (size_t)p;
  for (int64_t b = 0; b < t->n_blocks; b++) {
    const wml_block *k = &t->blocks[b];
    for (int p = 0; p < WML_N_PARTS; p++) split->before[p][b + 1] = split->before[p][b];
    if (!split->parts)
      split->before[split->only][b + 1] += k->rows;
    else
      for (int64_t r = k->first; r < k->first + k->rows; r++)
        if (split->parts[r] != WML_PART_NONE) split->before[split->parts[r]][b + 1]++;
  }
  for (int p = 0; p < WML_N_PARTS; p++) split->n[p] = split->before[p][t->n_blocks];
  return WEBML_OK;
}

webml_status wml_table_split(const wml_table *t, const wml_selection *s, const wml_split_options *o,
                             int only, wml_row_split *split) {
  *split = (wml_row_split){.only = only};
  bool drops = false;
  for (int i = 0; i < t->n_columns; i++)
    drops |= s->missing[i] == WML_CHOOSE_DROP && t->columns[i].missing > 0;
  webml_status status = WEBML_OK;
  if (drops || !wml_split_is_none(o)) {
    split->parts = wml_calloc((size_t)t->rows + 1, 1);
    status = split->parts ? assign(t, s, o, drops, split->parts)
                          : wml_no_memory((size_t)t->rows, "splitting");
    for (int64_t r = 0; r < t->rows && status == WEBML_OK && only != WML_PART_TRAINING; r++)
      if (split->parts[r] == WML_PART_TRAINING) split->parts[r] = (uint8_t)only;
  }
  if (status == WEBML_OK) status = count_parts(t, split);
  if (status == WEBML_OK && split->n[only] == 0)
    status = wml_fail(WEBML_ERROR_DATA, "no rows are left to %s",
                      only == WML_PART_TRAINING ? "train on" : "validate with");
  if (status != WEBML_OK) wml_row_split_free(split);
  return status;
}
