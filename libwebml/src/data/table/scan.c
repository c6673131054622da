/* One pass over a CSV file by several threads: blocks of whole rows are split into cells, cells
 * become typed columns, and statistics are kept per thread and put together at the end.
 *
 * Which columns are labels is guessed from the first block. Where a later block holds text in a
 * column that was taken for numbers, the pass is done again with that column as a label: a column
 * can only go that way, so two passes are the most. Quoting that is out of the ordinary goes
 * through libcsv, on one thread. Whatever the number of threads, the results are the same: blocks
 * begin at the same rows, and sums over blocks are made in their order. */
#include "data/table/scan.h"
#include "base/hash.h"
#include "base/threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 22, EXAMPLE_BYTES = 120 };

/* ---- blocks of rows ---- */

webml_status wml_scan_take_record(wml_scan *s, int64_t *block) {
  if (s->n_records == s->record_capacity) {
    int64_t capacity = s->record_capacity * 2 + 16;
    wml_scan_record *grown = wml_regrow(s->records, (size_t)s->n_records * sizeof *grown,
                                        (size_t)capacity * sizeof *grown);
    if (!grown) return wml_no_memory((size_t)capacity * sizeof *grown, "blocks");
    s->records = grown;
    s->record_capacity = capacity;
  }
  s->records[s->n_records] = (wml_scan_record){0};
  *block = s->n_records++;
  return WEBML_OK;
}

void wml_scan_note_failure(wml_scan *s, webml_status status, int64_t block, int64_t row) {
  pthread_mutex_lock(&s->mutex);
  if (s->failure == WEBML_OK || block < s->failed_block) {
    s->failure = status;
    s->failed_block = block;
    s->failed_row = row;
    snprintf(s->message, sizeof s->message, "%s", webml_last_error());
  }
  s->stop = true;
  pthread_mutex_unlock(&s->mutex);
}

/* Fills the worker's text with whole rows and takes their number; the mutex is held. Nothing is
 * left when the text is empty. */
static webml_status next_rows(wml_scan *s, wml_worker *w, int64_t *block) {
  wml_cells *c = &w->cells;
  c->size = 0;
  if (s->ended && s->carry.size == 0) return WEBML_OK;
  WML_TRY(wml_cells_reserve(c, s->block_bytes > s->carry.size * 2 ? s->block_bytes
                                                                  : s->carry.size * 2));
  if (s->carry.size) memcpy(c->text, s->carry.text, s->carry.size);
  c->size = s->carry.size;
  s->carry.size = 0;
  size_t end = 0;
  for (;;) {
    size_t got = 0, want = c->capacity - c->size;
    if (!s->ended) {
      WML_TRY(wml_source_read(s->source, c->text + c->size, want, &got));
      s->ended = got < want;
    }
    c->size += got;
    end = s->ended ? c->size : wml_rows_end(c->text, c->size);
    if (end || s->ended) break;
    if (c->size > WML_MAX_ROW) { /* is a quote never closed? libcsv will tell */
      s->uncommon = s->stop = true;
      c->size = 0;
      return WEBML_OK;
    }
    WML_TRY(wml_cells_reserve(c, c->size * 2));
  }
  WML_TRY(wml_cells_reserve(&s->carry, c->size - end));
  if (c->size > end) memcpy(s->carry.text, c->text + end, c->size - end);
  s->carry.size = c->size - end;
  c->size = end;
  return end ? wml_scan_take_record(s, block) : WEBML_OK;
}

static webml_status run_worker(void *arg, int number) {
  wml_scan *s = arg;
  wml_worker *w = &s->workers[number];
  for (;;) {
    int64_t block = 0;
    size_t row = 0;
    pthread_mutex_lock(&s->mutex);
    w->cells.size = 0;
    webml_status status = s->stop ? WEBML_OK : next_rows(s, w, &block);
    if (status != WEBML_OK) block = s->n_records;
    pthread_mutex_unlock(&s->mutex);
    if (status != WEBML_OK) wml_scan_note_failure(s, status, block, -1);
    if (status != WEBML_OK || w->cells.size == 0) return WEBML_OK;
    bool uncommon = false, in_row = true;
    status = wml_cells_split(&w->cells, s->table->separator, &uncommon, &row);
    if (uncommon) {
      pthread_mutex_lock(&s->mutex);
      s->uncommon = s->stop = true;
      pthread_mutex_unlock(&s->mutex);
      return WEBML_OK;
    }
    if (status == WEBML_OK) status = wml_cells_check_text(&w->cells, &row);
    if (status == WEBML_OK) {
      in_row = false;
      status = wml_scan_process(w, block);
    }
    if (status != WEBML_OK) {
      wml_scan_note_failure(s, status, block,
                            in_row && status == WEBML_ERROR_PARSE ? (int64_t)row : -1);
      return WEBML_OK;
    }
  }
}

/* ---- beginning: header and guess ---- */

static webml_status name_columns(wml_scan *s, const wml_cells *c) {
  wml_table *t = s->table;
  wml_distinct names;
  size_t columns = c->columns;
  WML_TRY(wml_distinct_init(&names, columns + 1, true));
  webml_status status = WEBML_OK;
  for (size_t i = 0; i < columns && status == WEBML_OK; i++) {
    const char *text = c->text + c->cells[i].at;
    size_t n = c->cells[i].length;
    int64_t slot = 0;
    if (n == 0) {
      status =
          wml_fail(WEBML_ERROR_PARSE, "%s: column %zu has no name in the header", c->name, i + 1);
      break;
    }
    if (!(t->columns[i].name = wml_arena_copy(&t->arena, text, n))) {
      status = wml_no_memory(n, "a name");
      break;
    }
    status = wml_distinct_add(&names, wml_distinct_key_of_text(text, n), 1, &slot);
    if (status != WEBML_OK) break;
    if (names.codes[slot] >= 0)
      status = wml_fail(WEBML_ERROR_PARSE,
                        "%s: columns %d and %zu are both named \"%s\"; names must differ", c->name,
                        names.codes[slot] + 1, i + 1, t->columns[i].name);
    names.codes[slot] = (int32_t)i;
  }
  wml_distinct_free(&names);
  return status;
}

static webml_status keep_examples(wml_scan *s, const wml_cells *c) {
  wml_table *t = s->table;
  size_t n = c->rows < WML_EXAMPLES ? c->rows : WML_EXAMPLES;
  t->n_examples = (int)n;
  t->examples = wml_arena_alloc(&t->arena, (n * c->columns + 1) * sizeof *t->examples);
  if (!t->examples) return wml_no_memory(n * c->columns, "examples");
  for (size_t i = 0; i < n * c->columns; i++) {
    const char *text = c->text + c->cells[i].at;
    size_t length = c->cells[i].length;
    if (wml_cell_missing(text, length)) continue;
    if (length > EXAMPLE_BYTES) /* cut, between two characters */
      for (length = EXAMPLE_BYTES; length && ((unsigned char)text[length] & 0xC0) == 0x80;
           length--) {
      }
    if (!(t->examples[i] = wml_arena_copy(&t->arena, text, length)))
      return wml_no_memory(length, "an example");
  }
  return WEBML_OK;
}

static void guess_types(wml_scan *s, const wml_cells *c) {
  for (size_t i = 0; i < c->n; i++) {
    size_t column = i % c->columns;
    const char *text = c->text + c->cells[i].at;
    double value;
    if (s->is_label[column] || wml_cell_missing(text, c->cells[i].length)) continue;
    s->is_label[column] = !wml_scan_number(text, c->cells[i].length, &value);
  }
}

static webml_status allocate_columns(wml_scan *s, size_t columns) {
  wml_table *t = s->table;
  if (t->columns) return WEBML_OK; /* a second pass */
  t->columns = wml_calloc(columns, sizeof *t->columns);
  s->is_label = wml_calloc(columns, 1);
  s->labels = wml_calloc(columns, sizeof *s->labels);
  if (!t->columns || !s->is_label || !s->labels)
    return wml_no_memory(columns * sizeof *t->columns, "columns");
  t->n_columns = (int)columns;
  return WEBML_OK;
}

/* How many different values are counted exactly: fewer the more columns there are. */
static size_t distinct_limit(const wml_scan *s, bool label) {
  size_t limit = ((size_t)1 << 18) / (size_t)s->table->n_columns;
  limit = limit < 256 ? 256 : limit > 32768 ? 32768 : limit;
  return label && limit < (size_t)s->table->label_limit ? (size_t)s->table->label_limit : limit;
}

static webml_status start_worker(wml_scan *s, wml_worker *w, const wml_worker *first) {
  int n = s->table->n_columns;
  w->scan = s;
  w->cells.name = s->source->name;
  w->cells.columns = (size_t)n;
  w->tallies = wml_calloc((size_t)n, sizeof *w->tallies);
  if (!w->tallies) return wml_no_memory((size_t)n * sizeof *w->tallies, "statistics");
  for (int i = 0; i < n; i++) {
    wml_tally *t = &w->tallies[i];
    *t = (wml_tally){.min = INFINITY, .max = -INFINITY, .missing_block = -1};
    WML_TRY(
        first ? wml_distinct_start_like(&first->tallies[i].distinct, &t->distinct, s->is_label[i])
              : wml_distinct_init(&t->distinct, distinct_limit(s, s->is_label[i]), s->is_label[i]));
  }
  return WEBML_OK;
}

static void stop_worker(wml_worker *w, int columns) {
  for (int i = 0; w->tallies && i < columns; i++) wml_distinct_free(&w->tallies[i].distinct);
  wml_free(w->tallies);
  wml_free(w->numbers);
  wml_cells_free(&w->cells);
  wml_typed_free(&w->typed);
  *w = (wml_worker){0};
}

static webml_status start_labels(wml_scan *s) {
  for (int i = 0; i < s->table->n_columns; i++)
    if (s->is_label[i])
      WML_TRY(wml_distinct_init(&s->labels[i].index, distinct_limit(s, true), true));
  return WEBML_OK;
}

static void free_labels(wml_scan *s) {
  for (int i = 0; s->labels && i < s->table->n_columns; i++) {
    wml_distinct_free(&s->labels[i].index);
    wml_arena_free(&s->labels[i].arena);
    wml_free((void *)s->labels[i].texts);
    s->labels[i] = (wml_labels){0};
  }
}

webml_status wml_scan_empty(const wml_scan *s) {
  return wml_fail(WEBML_ERROR_DATA,
                  "%s is empty; a header row with column names and data rows are needed",
                  s->source->name);
}

/* "NAME: row 7: what" with the number of the data row, counted from 1. */
static webml_status tell_failure(const wml_scan *s) {
  int64_t row = s->failed_row;
  if (row < 0) return wml_fail(s->failure, "%s", s->message);
  for (int64_t b = 0; b < s->failed_block; b++) row += s->records[b].block.rows;
  return wml_fail(s->failure, "%s: row %lld: %s", s->source->name, (long long)row + 1, s->message);
}

webml_status wml_scan_tell_first(const wml_scan *s, webml_status status, size_t row) {
  return row == 0 ? wml_prefix(status, "%s: the header", s->source->name)
                  : wml_prefix(status, "%s: row %zu", s->source->name, row);
}

/* The first block on this thread: separator and header, and rows to guess the types from. */
static webml_status begin(wml_scan *s, wml_worker *w) {
  wml_table *t = s->table;
  wml_cells *c = &w->cells;
  int64_t block = 0;
  size_t row = 0;
  c->name = s->source->name;
  WML_TRY(next_rows(s, w, &block));
  if (s->uncommon) return WEBML_OK;
  if (c->size >= 3 && memcmp(c->text, "\xEF\xBB\xBF", 3) == 0) memcpy(c->text, "   ", 3);
  if (c->size == 0) return wml_scan_empty(s);
  t->separator =
      s->options->separator ? s->options->separator : wml_guess_separator(c->text, c->size);
  webml_status status = wml_cells_split(c, t->separator, &s->uncommon, &row);
  if (s->uncommon) return WEBML_OK;
  if (status == WEBML_OK && c->rows == 0) return wml_scan_empty(s);
  if (status == WEBML_OK) status = wml_cells_check_text(c, &row);
  return status == WEBML_OK ? status : wml_scan_tell_first(s, status, row);
}

/* Takes the header row off the cells. */
static void drop_header(wml_cells *c) {
  memmove(c->cells, c->cells + c->columns, (c->n - c->columns) * sizeof *c->cells);
  c->n -= c->columns;
  c->rows--;
}

/* ---- one pass ---- */

static void forget_pass(wml_scan *s) {
  for (int i = 0; i < s->helpers; i++) stop_worker(&s->workers[i], s->table->n_columns);
  for (int64_t b = 0; b < s->n_records; b++) {
    wml_free(s->records[b].columns);
    wml_free(s->records[b].block.bytes);
  }
  s->n_records = 0;
  s->carry.size = 0;
  s->ended = s->stop = false;
  s->file_at = WML_TABLE_CACHE_HEADER;
  free_labels(s);
}

/* Goes over the file once. *again: columns that were taken for numbers hold text. */
static webml_status pass(wml_scan *s, bool *again) {
  wml_worker *w = &s->workers[0], first = {.scan = s};
  bool libcsv = s->uncommon;
  *again = false;
  webml_status status = libcsv ? wml_scan_begin_with_libcsv(s, &first) : begin(s, &first);
  if (!libcsv && s->uncommon) {
    stop_worker(&first, 0);
    *again = true;
    return WEBML_OK;
  }
  bool named = s->table->columns != NULL;
  if (status == WEBML_OK) status = allocate_columns(s, first.cells.columns);
  if (status == WEBML_OK && !named) status = name_columns(s, &first.cells);
  if (status == WEBML_OK) {
    drop_header(&first.cells);
    if (!named) status = keep_examples(s, &first.cells);
  }
  if (status == WEBML_OK) {
    guess_types(s, &first.cells);
    status = start_labels(s);
  }
  if (status == WEBML_OK) status = start_worker(s, w, NULL);
  if (status == WEBML_OK && !libcsv) {
    wml_cells swap = w->cells;
    w->cells = first.cells;
    first.cells = swap;
    status = wml_scan_process(w, 0);
    wml_scan_settle(w);
    if (status != WEBML_OK) status = wml_prefix(status, "%s", s->source->name);
    int helpers = s->ended && s->carry.size == 0 ? 1 : s->helpers;
    for (int i = 1; i < helpers && status == WEBML_OK; i++)
      status = start_worker(s, &s->workers[i], w);
    if (status == WEBML_OK) status = wml_parallel(helpers, run_worker, s);
  } else if (status == WEBML_OK)
    status = wml_scan_with_libcsv(s);
  stop_worker(&first, 0);
  WML_TRY(status);
  if (!libcsv && s->uncommon) {
    *again = true;
    return WEBML_OK;
  }
  if (s->failure != WEBML_OK) return tell_failure(s);
  for (int i = 0; i < s->helpers; i++)
    for (int c = 0; s->workers[i].tallies && c < s->table->n_columns; c++)
      if (s->workers[i].tallies[c].text) s->is_label[c] = *again = true;
  return *again ? WEBML_OK : wml_scan_finish(s);
}

webml_status wml_table_scan(wml_source *source, const wml_table_options *o, wml_table *t) {
  wml_scan s = {.table = t,
                .source = source,
                .options = o,
                .block_bytes = o->block_bytes ? o->block_bytes : BLOCK_BYTES,
                .helpers = o->helpers ? o->helpers : wml_helper_count(),
                .file_at = WML_TABLE_CACHE_HEADER};
  if (s.helpers > WML_MAX_HELPERS) s.helpers = WML_MAX_HELPERS;
  t->label_limit = o->label_limit ? o->label_limit : WML_LABEL_LIMIT;
  s.workers = wml_calloc((size_t)s.helpers, sizeof *s.workers);
  if (!s.workers) return wml_no_memory((size_t)s.helpers * sizeof *s.workers, "a table");
  pthread_mutex_init(&s.mutex, NULL);
  bool again = true;
  webml_status status = WEBML_OK;
  while (again && status == WEBML_OK) {
    forget_pass(&s);
    status = wml_source_rewind(source);
    if (status == WEBML_OK) status = pass(&s, &again);
  }
  forget_pass(&s);
  pthread_mutex_destroy(&s.mutex);
  wml_cells_free(&s.carry);
  wml_free(s.records);
  wml_free(s.workers);
  wml_free(s.is_label);
  wml_free(s.labels);
  return status;
}
