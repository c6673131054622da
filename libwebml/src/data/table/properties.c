/* properties.json of a table: the dissertation's fields (Code 18) and beyond. */
#include "data/table/table.h"

#include <math.h>

enum { BARS = 16 };

static void write_cell(wml_text *out, const wml_column *col, const char *text) {
  double value;
  if (!text)
    wml_json_null(out);
  else if (col->type == WML_COLUMN_LABEL || !wml_cell_number(text, &value))
    wml_json_string(out, text);
  else
    wml_json_number(out, value);
}

static void write_flag(wml_text *out, const char *key, bool value) {
  wml_json_key(out, key);
  wml_json_bool(out, value);
}

static void write_number(wml_text *out, const char *key, double value) {
  wml_json_key(out, key);
  wml_json_number(out, value);
}

static void write_top(wml_text *out, const wml_column *col) {
  wml_json_key(out, "mostFrequent");
  wml_json_open(out, '[');
  for (int i = 0; i < col->n_top; i++) {
    wml_json_open(out, '{');
    wml_json_key(out, "value");
    if (col->top[i].text)
      wml_json_string(out, col->top[i].text);
    else
      wml_json_number(out, col->top[i].number);
    wml_json_key(out, "count");
    wml_json_int(out, col->top[i].count);
    wml_json_close(out, '}');
  }
  wml_json_close(out, ']');
}

static void write_feature(wml_text *out, const wml_table *t, int column, const int64_t *bars) {
  const wml_column *col = &t->columns[column];
  bool label = col->type == WML_COLUMN_LABEL;
  wml_json_open(out, '{');
  wml_json_key(out, "feature");
  wml_json_string(out, col->name);
  write_flag(out, "isLabel", label);
  write_flag(out, "isNumber", !label);
  write_flag(out, "isFloat", col->type == WML_COLUMN_FLOAT);
  wml_json_key(out, "dataType");
  wml_json_string(out, wml_column_type_name(col->type));
  write_flag(out, "blocked", col->blocked);
  wml_json_key(out, "oneHotEncoding"); /* columns it would add */
  wml_json_int(out, col->blocked ? 0 : col->unique);
  wml_json_key(out, "uniqueValues");
  wml_json_int(out, col->unique);
  write_flag(out, "uniqueValuesEstimated", col->unique_is_estimate);
  wml_json_key(out, "missing");
  wml_json_int(out, col->missing);
  if (!label) {
    write_number(out, "min", col->min);
    write_number(out, "max", col->max);
    write_number(out, "mean", col->mean);
    write_number(out, "deviation", col->deviation);
  }
  write_top(out, col);
  if (bars && !label && col->unique > 0) {
    wml_json_key(out, "histogram"); /* of equal widths from min to max */
    wml_json_open(out, '[');
    for (int i = 0; i < BARS; i++) wml_json_int(out, bars[i]);
    wml_json_close(out, ']');
  }
  wml_json_close(out, '}');
}

static void count_bars(const wml_column *col, const double *x, int64_t n, int64_t *bars) {
  double width = col->max - col->min, scale = width > 0.0 ? BARS / width : 0.0;
  for (int64_t r = 0; r < n; r++) {
    if (isnan(x[r])) continue;
    int at = (int)((x[r] - col->min) * scale);
    bars[at < 0 ? 0 : at >= BARS ? BARS - 1 : at]++;
  }
}

static webml_status count_histograms(const wml_table *t, int64_t *bars) {
  wml_scratch scratch = {0};
  double *x = wml_alloc((size_t)wml_table_block_rows(t) * sizeof *x + 1);
  webml_status status = x ? WEBML_OK : wml_no_memory((size_t)wml_table_block_rows(t), "histograms");
  for (int64_t b = 0; b < t->n_blocks && status == WEBML_OK; b++) {
    const uint8_t *bytes;
    status = wml_table_block(t, b, &scratch, &bytes);
    for (int i = 0; i < t->n_columns && status == WEBML_OK; i++) {
      if (t->columns[i].type == WML_COLUMN_LABEL) continue;
      wml_block_column(t, b, bytes, i, x);
      count_bars(&t->columns[i], x, t->blocks[b].rows, bars + (size_t)i * BARS);
    }
  }
  wml_free(x);
  wml_free(scratch.bytes);
  return status;
}

webml_status wml_table_write_properties(wml_text *out, const wml_table *t, bool histograms) {
  int64_t *bars = histograms ? wml_calloc((size_t)t->n_columns * BARS, sizeof *bars) : NULL;
  if (histograms && !bars) return wml_no_memory((size_t)t->n_columns * BARS * 8, "histograms");
  webml_status status = histograms ? count_histograms(t, bars) : WEBML_OK;
  char separator[2] = {t->separator, '\0'};
  wml_json_open(out, '{');
  wml_json_key(out, "format");
  wml_json_string(out, "csvdata");
  wml_json_key(out, "rows");
  wml_json_int(out, t->rows);
  wml_json_key(out, "separator");
  wml_json_string(out, separator);
  wml_json_key(out, "labelLimit");
  wml_json_int(out, t->label_limit);
  wml_json_key(out, "examples");
  wml_json_open(out, '[');
  for (int r = 0; r < t->n_examples; r++) {
    wml_json_open(out, '[');
    for (int i = 0; i < t->n_columns; i++)
      write_cell(out, &t->columns[i], t->examples[r * t->n_columns + i]);
    wml_json_close(out, ']');
  }
  wml_json_close(out, ']');
  wml_json_key(out, "features");
  wml_json_open(out, '[');
  for (int i = 0; i < t->n_columns; i++)
    write_feature(out, t, i, bars ? bars + (size_t)i * BARS : NULL);
  wml_json_close(out, ']');
  wml_json_close(out, '}');
  wml_free(bars);
  return status;
}
