/* A CSV file as typed columns. */
#ifndef WML_DATA_TABLE_H
#define WML_DATA_TABLE_H

#include "base/alloc.h"
#include "base/status.h"
#include "base/text.h"

typedef enum wml_column_type {
  WML_COLUMN_INT,
  WML_COLUMN_FLOAT,
  WML_COLUMN_LABEL,
  WML_COLUMN_BINARY
} wml_column_type;

enum { WML_LABEL_LIMIT = 1000 }; /* a label column with more values is blocked */

typedef struct wml_column {
  const char *name;
  wml_column_type type;
  int64_t missing, first_missing; /* 0-based row, -1 */
  int64_t unique;
  bool blocked;
  double *numbers;     /* [rows], all types but label; NaN where missing */
  int32_t *codes;      /* [rows] of a label: index into values, -1 where missing */
  const char **values; /* [unique] of a label, in code-point order */
} wml_column;

typedef struct wml_table {
  wml_arena arena; /* names and labels */
  int64_t rows;
  int n_columns;
  wml_column *columns;
} wml_table;

webml_status wml_table_read(const char *path, wml_table *table);
/* The same from memory: for tests and fuzzing. */
webml_status wml_table_parse(const char *bytes, size_t size, const char *name, wml_table *table);
void wml_table_free(wml_table *table);
const char *wml_column_type_name(wml_column_type type);
/* Index of a column by name or by 0-based number; -1 with an error that suggests. */
int wml_table_find(const wml_table *table, const char *word, size_t length);
void wml_table_write_properties(wml_text *text, const wml_table *table);

/* One cell of text as a number: spaces around are fine. */
bool wml_cell_number(const char *text, double *value);
bool wml_cell_missing(const char *text);

#endif
