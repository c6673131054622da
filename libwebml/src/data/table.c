/* libcsv splits the bytes into cells; types are inferred over the whole file. */
#include "data/table.h"

#include "base/file.h"

#include <csv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 100000 };
static const size_t max_file = (size_t)1 << 36;

/* ---- cells ---- */

typedef struct cells {
  const char *name;
  char *text; /* all cells, each NUL-terminated */
  size_t used, size;
  size_t *offset; /* of each cell, row-major */
  size_t count, capacity;
  size_t columns, in_row;
  int64_t row; /* 0: header */
  webml_status status;
} cells;

static bool reserve(void **p, size_t used, size_t *size, size_t more, size_t item) {
  if (*size - used >= more) return true;
  size_t next = (used + more) * 2;
  void *grown = wml_regrow(*p, used * item, next * item);
  if (!grown) return false;
  *p = grown;
  *size = next;
  return true;
}

static bool is_text(const char *s, size_t n) {
  for (size_t i = 0, length; i < n; i += length)
    if ((length = wml_utf8_length(s + i, n - i)) == 0 || s[i] == '\0') return false;
  return true;
}

static void on_cell(void *bytes, size_t n, void *arg) {
  cells *c = arg;
  if (c->status != WEBML_OK) return;
  size_t column = c->in_row++;
  if (c->row == 0 && c->in_row > MAX_COLUMNS) {
    c->status = wml_fail(WEBML_ERROR_PARSE, "%s: more than %d columns", c->name, MAX_COLUMNS);
    return;
  }
  if (!is_text(bytes, n)) {
    c->status = wml_fail(WEBML_ERROR_PARSE,
                         "%s: row %lld, column %zu is not UTF-8 text; convert the file to UTF-8",
                         c->name, (long long)c->row, column + 1);
    return;
  }
  if (!reserve((void **)&c->text, c->used, &c->size, n + 1, 1) ||
      !reserve((void **)&c->offset, c->count, &c->capacity, 1, sizeof *c->offset)) {
    c->status = wml_no_memory(c->used, c->name);
    return;
  }
  c->offset[c->count++] = c->used;
  if (n) memcpy(c->text + c->used, bytes, n);
  c->text[c->used + n] = '\0';
  c->used += n + 1;
}

static void on_row(int end, void *arg) {
  (void)end;
  cells *c = arg;
  if (c->status != WEBML_OK) return;
  bool blank = c->in_row == 1 && c->text[c->offset[c->count - 1]] == '\0';
  if (c->row == 0 && !blank) c->columns = c->in_row;
  if (blank && c->columns != 1) { /* an empty line */
    c->count--;
    c->in_row = 0;
    return;
  }
  if (c->in_row != c->columns)
    c->status = wml_fail(WEBML_ERROR_PARSE, "%s: row %lld has %zu fields, but the header has %zu",
                         c->name, (long long)c->row, c->in_row, c->columns);
  c->row++;
  c->in_row = 0;
}

/* The separator that is most frequent in the first line, outside quotes. */
static unsigned char separator_of(const char *s, size_t n) {
  size_t comma = 0, semicolon = 0, tab = 0;
  bool quoted = false;
  for (size_t i = 0; i < n && (quoted || (s[i] != '\n' && s[i] != '\r')); i++) {
    if (s[i] == '"') quoted = !quoted;
    if (quoted) continue;
    comma += s[i] == ',', semicolon += s[i] == ';', tab += s[i] == '\t';
  }
  return semicolon > comma && semicolon >= tab ? ';' : tab > comma ? '\t' : ',';
}

static webml_status split(const char *bytes, size_t size, cells *c) {
  struct csv_parser parser;
  if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) bytes += 3, size -= 3;
  if (csv_init(&parser, 0) != 0) return wml_no_memory(sizeof parser, c->name);
  csv_set_realloc_func(&parser, wml_realloc);
  csv_set_free_func(&parser, wml_free);
  csv_set_delim(&parser, separator_of(bytes, size));
  if (csv_parse(&parser, bytes, size, on_cell, on_row, c) != size && c->status == WEBML_OK)
    c->status = csv_error(&parser) == CSV_ENOMEM
                    ? wml_no_memory(size, c->name)
                    : wml_fail(WEBML_ERROR_PARSE, "%s: row %lld: %s", c->name, (long long)c->row,
                               csv_strerror(csv_error(&parser)));
  if (c->status == WEBML_OK && csv_fini(&parser, on_cell, on_row, c) != 0)
    c->status = wml_no_memory(size, c->name);
  csv_free(&parser);
  return c->status;
}

/* ---- types ---- */

bool wml_cell_missing(const char *s) {
  return !*s || strcmp(s, "NA") == 0 || strcmp(s, "?") == 0 || strcmp(s, "NaN") == 0 ||
         strcmp(s, "nan") == 0;
}

bool wml_cell_number(const char *s, double *value) {
  size_t n = strlen(s);
  while (n && (*s == ' ' || *s == '\t')) s++, n--;
  while (n && (s[n - 1] == ' ' || s[n - 1] == '\t')) n--;
  return wml_parse_number(s, n, value) && isfinite(*value);
}

static bool whole_form(const char *s) { /* 3 and +3, not 3.0 or 1e3 */
  return strpbrk(s, ".eE") == NULL;
}

static const char *cell(const cells *c, int64_t row, int column) {
  return c->text + c->offset[(size_t)(row + 1) * c->columns + (size_t)column];
}

static int compare_numbers(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static int compare_texts(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static webml_status count_numbers(const wml_table *t, wml_column *col) {
  double *sorted = wml_alloc((size_t)t->rows * sizeof *sorted + 1);
  if (!sorted) return wml_no_memory((size_t)t->rows * sizeof *sorted, "counting values");
  size_t n = 0;
  for (int64_t r = 0; r < t->rows; r++)
    if (!isnan(col->numbers[r])) sorted[n++] = col->numbers[r];
  qsort(sorted, n, sizeof *sorted, compare_numbers);
  for (size_t i = 0; i < n; i++) col->unique += i == 0 || sorted[i] != sorted[i - 1];
  wml_free(sorted);
  return WEBML_OK;
}

static webml_status make_labels(wml_table *t, const cells *c, int index, wml_column *col) {
  const char **sorted = wml_alloc((size_t)t->rows * sizeof *sorted + 1);
  col->codes = wml_alloc((size_t)t->rows * sizeof *col->codes + 1);
  if (!sorted || !col->codes) {
    wml_free(sorted);
    return wml_no_memory((size_t)t->rows * sizeof *sorted, "labels");
  }
  size_t n = 0, unique = 0;
  for (int64_t r = 0; r < t->rows; r++)
    if (!wml_cell_missing(cell(c, r, index))) sorted[n++] = cell(c, r, index);
  qsort(sorted, n, sizeof *sorted, compare_texts);
  for (size_t i = 0; i < n; i++)
    if (i == 0 || strcmp(sorted[i], sorted[unique - 1]) != 0) sorted[unique++] = sorted[i];
  col->unique = (int64_t)unique;
  col->blocked = unique > WML_LABEL_LIMIT;
  webml_status status = WEBML_OK;
  for (int64_t r = 0; r < t->rows; r++) {
    const char *text = cell(c, r, index);
    const char **found = wml_cell_missing(text)
                             ? NULL
                             : bsearch(&text, sorted, unique, sizeof *sorted, compare_texts);
    col->codes[r] = found ? (int32_t)(found - sorted) : -1;
  }
  col->values = wml_arena_alloc(&t->arena, (unique + 1) * sizeof *col->values);
  if (!col->values) status = wml_no_memory(unique, "labels");
  for (size_t i = 0; i < unique && status == WEBML_OK; i++)
    if (!(col->values[i] = wml_arena_copy(&t->arena, sorted[i], strlen(sorted[i]))))
      status = wml_no_memory(unique, "labels");
  wml_free(sorted);
  return status;
}

static webml_status infer(wml_table *t, const cells *c, int index) {
  wml_column *col = &t->columns[index];
  col->numbers = wml_alloc((size_t)t->rows * sizeof *col->numbers + 1);
  if (!col->numbers) return wml_no_memory((size_t)t->rows * sizeof *col->numbers, "a column");
  bool numeric = true, whole = true, binary = true;
  col->first_missing = -1;
  for (int64_t r = 0; r < t->rows; r++) {
    const char *text = cell(c, r, index);
    double value = NAN;
    if (wml_cell_missing(text)) {
      if (col->missing++ == 0) col->first_missing = r;
    } else if (!wml_cell_number(text, &value)) {
      numeric = false;
    } else {
      whole &= whole_form(text);
      binary &= whole && (value == 0.0 || value == 1.0);
    }
    col->numbers[r] = value;
  }
  if (col->missing == t->rows) numeric = true;
  col->type = !numeric ? WML_COLUMN_LABEL
              : binary ? WML_COLUMN_BINARY
              : whole  ? WML_COLUMN_INT
                       : WML_COLUMN_FLOAT;
  if (numeric) return count_numbers(t, col);
  wml_free(col->numbers);
  col->numbers = NULL;
  return make_labels(t, c, index, col);
}

static webml_status name_columns(wml_table *t, const cells *c) {
  for (int i = 0; i < t->n_columns; i++) {
    const char *name = c->text + c->offset[i];
    if (!*name)
      return wml_fail(WEBML_ERROR_PARSE, "%s: column %d has no name in the header", c->name, i + 1);
    for (int k = 0; k < i && t->n_columns <= 20000; k++)
      if (strcmp(t->columns[k].name, name) == 0)
        return wml_fail(WEBML_ERROR_PARSE,
                        "%s: columns %d and %d are both named \"%s\"; names must differ", c->name,
                        k + 1, i + 1, name);
    if (!(t->columns[i].name = wml_arena_copy(&t->arena, name, strlen(name))))
      return wml_no_memory(strlen(name), "a name");
  }
  return WEBML_OK;
}

webml_status wml_table_parse(const char *bytes, size_t size, const char *name, wml_table *t) {
  *t = (wml_table){0};
  cells c = {.name = name};
  webml_status status = split(bytes, size, &c);
  if (status == WEBML_OK && (c.row == 0 || c.columns == 0))
    status = wml_fail(WEBML_ERROR_DATA,
                      "%s is empty; a header row with column names and data rows are needed", name);
  if (status == WEBML_OK && c.row == 1)
    status = wml_fail(WEBML_ERROR_DATA, "%s has a header and no data rows", name);
  if (status == WEBML_OK) {
    t->rows = c.row - 1;
    t->n_columns = (int)c.columns;
    t->columns = wml_calloc(c.columns, sizeof *t->columns);
    status =
        t->columns ? name_columns(t, &c) : wml_no_memory(c.columns * sizeof *t->columns, "columns");
  }
  for (int i = 0; status == WEBML_OK && i < t->n_columns; i++) status = infer(t, &c, i);
  wml_free(c.text);
  wml_free(c.offset);
  if (status != WEBML_OK) wml_table_free(t);
  return status;
}

webml_status wml_table_read(const char *path, wml_table *t) {
  char *bytes = NULL;
  size_t size = 0;
  *t = (wml_table){0};
  WML_TRY(wml_file_read(path, max_file, &bytes, &size));
  webml_status status = wml_table_parse(bytes, size, path, t);
  wml_free(bytes);
  return status;
}

void wml_table_free(wml_table *t) {
  for (int i = 0; t->columns && i < t->n_columns; i++) {
    wml_free(t->columns[i].numbers);
    wml_free(t->columns[i].codes);
  }
  wml_free(t->columns);
  wml_arena_free(&t->arena);
  *t = (wml_table){0};
}

const char *wml_column_type_name(wml_column_type type) {
  static const char *const names[] = {"Int", "Float", "Label", "Binary"};
  return names[type];
}

int wml_table_find(const wml_table *t, const char *word, size_t length) {
  char name[256];
  double index;
  if (length >= sizeof name) length = sizeof name - 1;
  memcpy(name, word, length);
  name[length] = '\0';
  for (int i = 0; i < t->n_columns; i++)
    if (strcmp(t->columns[i].name, name) == 0) return i;
  if (wml_parse_number(name, length, &index) && index == floor(index) && index >= 0 &&
      index < t->n_columns)
    return (int)index;
  const char **names = wml_alloc((size_t)t->n_columns * sizeof *names);
  for (int i = 0; names && i < t->n_columns; i++) names[i] = t->columns[i].name;
  const char *meant = names ? wml_suggest(name, names, (size_t)t->n_columns) : NULL;
  if (meant)
    wml_fail(WEBML_ERROR_DATA, "there is no column \"%s\", did you mean \"%s\"?", name, meant);
  else
    wml_fail(WEBML_ERROR_DATA,
             "there is no column \"%s\"; name one of the %d columns or give its index from 0", name,
             t->n_columns);
  wml_free(names);
  return -1;
}

static void write_cell(wml_text *out, const wml_column *col, int64_t row) {
  if (col->type == WML_COLUMN_LABEL) {
    if (col->codes[row] >= 0)
      wml_json_string(out, col->values[col->codes[row]]);
    else
      wml_json_null(out);
  } else
    wml_json_number(out, col->numbers[row]);
}

static void write_feature(wml_text *out, const wml_column *col) {
  bool label = col->type == WML_COLUMN_LABEL;
  wml_json_open(out, '{');
  wml_json_key(out, "feature");
  wml_json_string(out, col->name);
  wml_json_key(out, "isLabel");
  wml_json_bool(out, label);
  wml_json_key(out, "isNumber");
  wml_json_bool(out, !label);
  wml_json_key(out, "isFloat");
  wml_json_bool(out, col->type == WML_COLUMN_FLOAT);
  wml_json_key(out, "dataType");
  wml_json_string(out, wml_column_type_name(col->type));
  wml_json_key(out, "blocked");
  wml_json_bool(out, col->blocked);
  wml_json_key(out, "oneHotEncoding");
  wml_json_int(out, col->blocked ? 0 : col->unique);
  wml_json_key(out, "uniqueValues");
  wml_json_int(out, col->unique);
  wml_json_key(out, "missing");
  wml_json_int(out, col->missing);
  wml_json_close(out, '}');
}

void wml_table_write_properties(wml_text *out, const wml_table *t) {
  wml_json_open(out, '{');
  wml_json_key(out, "format");
  wml_json_string(out, "csvdata");
  wml_json_key(out, "rows");
  wml_json_int(out, t->rows);
  wml_json_key(out, "examples");
  wml_json_open(out, '[');
  for (int64_t r = 0; r < t->rows && r < 5; r++) {
    wml_json_open(out, '[');
    for (int i = 0; i < t->n_columns; i++) write_cell(out, &t->columns[i], r);
    wml_json_close(out, ']');
  }
  wml_json_close(out, ']');
  wml_json_key(out, "features");
  wml_json_open(out, '[');
  for (int i = 0; i < t->n_columns; i++) write_feature(out, &t->columns[i]);
  wml_json_close(out, ']');
  wml_json_close(out, '}');
}
