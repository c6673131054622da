/* A scan of a CSV file, as its parts share it: scan.c goes over the file, scan_columns.c turns
 * cells into columns, scan_libcsv.c reads what only libcsv can. */
#ifndef WML_DATA_TABLE_SCAN_H
#define WML_DATA_TABLE_SCAN_H

#include "data/table/cells.h"
#include "data/table/distinct.h"
#include "data/table/moments.h"
#include "data/table/source.h"
#include "data/table/table.h"
#include "data/table/typed.h"

#include <pthread.h>

/* The longest row: 64 MiB. */
#define WML_MAX_ROW ((size_t)1 << 26)

/* What one thread has seen of one column. */
typedef struct wml_tally {
  wml_distinct distinct;
  double min, max;
  int64_t missing, missing_block, missing_row; /* the first missing one; block -1: none */
  bool text, fraction, other;                  /* met: text, not whole, neither 0 nor 1 */
} wml_tally;

/* The labels of one column, numbered as they were met; shared by the threads. */
typedef struct wml_labels {
  wml_distinct index;
  wml_arena arena;
  const char **texts; /* [n] */
  int32_t n, capacity;
  size_t bytes;
  bool full; /* too many, or too much text: blocked */
} wml_labels;

typedef struct wml_scan_record {
  wml_block block; /* first is not known yet */
  uint64_t text_hash;
  wml_moments *columns;
} wml_scan_record;

typedef struct wml_scan wml_scan;

typedef struct wml_worker {
  wml_scan *scan;
  wml_cells cells;
  wml_tally *tallies; /* [columns] */
  double *numbers;    /* [number_capacity] */
  size_t number_capacity;
  wml_typed typed;
} wml_worker;

struct wml_scan {
  wml_table *table;
  wml_source *source;
  const wml_table_options *options;
  size_t block_bytes;
  int helpers;
  bool *is_label;     /* [columns] the guess */
  wml_labels *labels; /* [columns] */
  wml_worker *workers;
  pthread_mutex_t mutex; /* source, carry, records, labels, failure */
  wml_cells carry;       /* the bytes behind the last whole row */
  bool ended, uncommon, stop;
  int64_t n_records, record_capacity;
  wml_scan_record *records;
  uint64_t file_at;                 /* of the next block in the cache file */
  int64_t failed_block, failed_row; /* -1: not in a row */
  webml_status failure;
  char message[512];
};

/* ---- scan.c ---- */

/* Takes a number for a block; the mutex is held or there is one thread. */
webml_status wml_scan_take_record(wml_scan *s, int64_t *block);
/* Remembers the failure that comes first in the file: row is 0-based in the block, -1 outside rows.
 */
void wml_scan_note_failure(wml_scan *s, webml_status status, int64_t block, int64_t row);
/* "the file is empty" */
webml_status wml_scan_empty(const wml_scan *s);
/* A failure of the first rows, the header being row 0. */
webml_status wml_scan_tell_first(const wml_scan *s, webml_status status, size_t row);

/* ---- scan_columns.c ---- */

/* Types the worker's cells, keeps the block and its statistics. */
webml_status wml_scan_process(wml_worker *w, int64_t block);
/* After the first block: which values keep being counted where there are too many. */
void wml_scan_settle(wml_worker *w);
bool wml_scan_number(const char *text, size_t length, double *value);
/* Puts together what the threads have seen. */
webml_status wml_scan_finish(wml_scan *s);

/* ---- scan_libcsv.c ---- */

/* The header and up to a thousand rows into the worker's cells. */
webml_status wml_scan_begin_with_libcsv(wml_scan *s, wml_worker *w);
/* The whole file on one thread; failures are noted. */
webml_status wml_scan_with_libcsv(wml_scan *s);

#endif
