/* A CSV file as typed columns.
 *
 * The file is read once, by several threads, and its cells are kept in typed blocks of some ten
 * thousand rows: in memory, or in a cache file where the source is large. Memory is bounded by the
 * number of columns and the limit of labels, never by the number of rows. */
#ifndef WML_DATA_TABLE_TABLE_H
#define WML_DATA_TABLE_TABLE_H

#include "base/alloc.h"
#include "base/status.h"
#include "base/text.h"

typedef enum wml_column_type {
  WML_COLUMN_INT,
  WML_COLUMN_FLOAT,
  WML_COLUMN_LABEL,
  WML_COLUMN_BINARY
} wml_column_type;

enum {
  WML_LABEL_LIMIT = 1000, /* the default: a label column with more values is blocked */
  WML_TOP_VALUES = 5,
  WML_EXAMPLES = 5 /* rows */
};

typedef struct wml_top_value {
  const char *text; /* of a label; NULL: the number */
  double number;
  int64_t count;
} wml_top_value;

typedef struct wml_column {
  const char *name;
  wml_column_type type;
  int64_t missing, first_missing; /* 0-based row, -1 */
  int64_t unique;                 /* different values, missing ones apart */
  bool unique_is_estimate, blocked;
  double min, max, mean, deviation; /* of numbers; population deviation; NaN without any */
  int n_top;                        /* the most frequent values that came more than once */
  wml_top_value top[WML_TOP_VALUES];
  const char **values; /* [unique] of a label that is not blocked, in code-point order */
  int32_t *place;      /* [unique] where the value that was met i-th stands in `values` */
} wml_column;

/* Rows [first, first + rows) of all columns. */
typedef struct wml_block {
  int64_t first, rows;
  uint64_t offset, size, checksum; /* offset: in the cache file */
  uint8_t *bytes;                  /* in memory; NULL: in the file */
} wml_block;

typedef struct wml_table {
  wml_arena arena; /* names, labels, examples */
  char separator;
  int64_t rows;
  uint64_t fingerprint; /* of the file's text */
  int n_columns;
  int64_t label_limit;
  wml_column *columns;
  const char **examples; /* [n_examples, n_columns] texts; NULL where missing */
  int n_examples;
  int64_t n_blocks;
  wml_block *blocks;
  int cache; /* file descriptor, -1 without */
  const char *cache_path;
} wml_table;

typedef struct wml_table_options {
  char separator;      /* 0: detected */
  int64_t label_limit; /* 0: WML_LABEL_LIMIT */
  const char *cache;   /* file to keep a large table in; NULL: in memory */
  int helpers;         /* threads; 0: all cores */
  size_t block_bytes;  /* of text a block is made of; 0: 4 MiB. For tests */
  size_t cache_from;   /* bytes of text from which the cache is used; 0: 32 MiB */
} wml_table_options;

/* Reads a CSV file, plain or gzip, or its cache where that is newer than the file. WEBML_ERROR_IO,
 * _PARSE, _DATA (what is wrong, with row and column), _MEMORY. options NULL: defaults. */
webml_status wml_table_read(const char *path, const wml_table_options *options, wml_table *table);
/* The same from memory: for tests and fuzzing. */
webml_status wml_table_parse(const char *bytes, size_t size, const char *name,
                             const wml_table_options *options, wml_table *table);
void wml_table_free(wml_table *table);

/* One block's bytes, from memory or read into *scratch (grown as needed; wml_free() it at last).
 * WEBML_ERROR_IO where the cache file is damaged: it is removed, the next opening makes it anew. */
typedef struct wml_scratch {
  uint8_t *bytes;
  size_t size;
} wml_scratch;

webml_status wml_table_block(const wml_table *table, int64_t block, wml_scratch *scratch,
                             const uint8_t **bytes);
/* A column of that block: [rows] numbers, for labels indices into `values`; NaN where missing. A
 * blocked column has no cells: all NaN. */
void wml_block_column(const wml_table *table, int64_t block, const uint8_t *bytes, int column,
                      double *out);
/* Rows of the largest block: room for wml_block_column(). */
int64_t wml_table_block_rows(const wml_table *table);

const char *wml_column_type_name(wml_column_type type);
/* Index of a column by name or by 0-based number; -1 with an error that suggests. */
int wml_table_find(const wml_table *table, const char *word, size_t length);

/* One cell of text as a number: spaces around are fine. */
bool wml_cell_number(const char *text, double *value);
bool wml_cell_missing(const char *text, size_t length);

/* properties.c. more: statistics beyond the dissertation's fields, e.g. a histogram (one more pass
 * over the blocks). */
webml_status wml_table_write_properties(wml_text *text, const wml_table *table, bool histograms);

/* scan.c */
struct wml_source;
webml_status wml_table_scan(struct wml_source *source, const wml_table_options *options,
                            wml_table *table);
/* cache.c. load: false where there is no cache that belongs to `identity`. */
webml_status wml_table_cache_load(const char *path, uint64_t identity, wml_table *table,
                                  bool *found);
/* Ends a cache file whose blocks are written, and gives it its name. */
webml_status wml_table_cache_finish(wml_table *table, const char *temporary, uint64_t identity);
/* Where blocks begin in a cache file. */
enum { WML_TABLE_CACHE_HEADER = 64 };

#endif
