/* Text of whole rows, split into cells. */
#ifndef WML_DATA_TABLE_CELLS_H
#define WML_DATA_TABLE_CELLS_H

#include "base/alloc.h"
#include "base/status.h"

enum {
  WML_CELLS_PADDING = 64, /* bytes that may be read behind the text */
  WML_CELLS_MAX_COLUMNS = 32768
};

typedef struct wml_cell {
  uint32_t at, length; /* in the text: without quotes, doubled quotes made single, blanks trimmed */
} wml_cell;

typedef struct wml_cells {
  const char *name; /* begins messages */
  char *text;
  size_t size, capacity; /* capacity excludes the padding */
  wml_cell *cells;       /* [rows, columns] */
  size_t n, cell_capacity, rows;
  size_t columns; /* 0 until the header is read */
} wml_cells;

void wml_cells_free(wml_cells *c);
/* Room for `bytes` of text in all; keeps what is there. */
webml_status wml_cells_reserve(wml_cells *c, size_t bytes);
webml_status wml_cells_push(wml_cells *c, size_t at, size_t length);
/* A cell with its text. */
webml_status wml_cells_append(wml_cells *c, const void *bytes, size_t n);

/* Splits the text in place. Quotes may enclose whole cells only: where they stand elsewhere,
 * *uncommon is set and nothing else is true. A row with another number of cells than `columns` (0:
 * as the first) fails; *bad_row is its 0-based number in the text. Reads rows as libcsv does: CR,
 * LF and CRLF end them, empty ones are skipped. */
webml_status wml_cells_split(wml_cells *c, char separator, bool *uncommon, size_t *bad_row);
/* "3 fields where the header has 4" */
webml_status wml_cells_ragged(const wml_cells *c, size_t fields);
/* Fails with column and *bad_row where a cell is not UTF-8 text or holds a NUL. */
webml_status wml_cells_check_text(const wml_cells *c, size_t *bad_row);

/* End of the last whole row in text[0, size), which begins at a row: 0 when there is none. */
size_t wml_rows_end(const char *text, size_t size);
/* The separator that is most frequent in the first line, outside quotes. */
char wml_guess_separator(const char *text, size_t size);

#endif
