/* Reading with libcsv, on one thread: for quoting that is out of the ordinary. */
#include "data/table/scan.h"

#include <csv.h>
#include <string.h>

enum { GROWTH = 1 << 20 }; /* of libcsv's buffer: its own 128 bytes at a time would never end */

typedef struct csv_reader {
  wml_scan *scan;
  wml_worker *worker;
  size_t fields;
  bool header;
  webml_status status;
  bool in_row; /* the failure belongs to a row: */
  size_t row;  /* of the rows that are not flushed */
} csv_reader;

/* A parser at the beginning of the source, and room for a piece of it. */
static webml_status open_parser(wml_scan *s, struct csv_parser *parser, char **piece) {
  *piece = wml_alloc(s->block_bytes);
  if (!*piece || csv_init(parser, 0) != 0) {
    wml_free(*piece);
    return wml_no_memory(s->block_bytes, s->source->name);
  }
  csv_set_realloc_func(parser, wml_realloc);
  csv_set_free_func(parser, wml_free);
  csv_set_blk_size(parser, GROWTH);
  return WEBML_OK;
}

/* Bytes of a byte order mark at the beginning. */
static size_t mark_length(const char *piece, size_t n) {
  return n >= 3 && memcmp(piece, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

static webml_status flush_rows(csv_reader *r) {
  wml_scan *s = r->scan;
  wml_worker *w = r->worker;
  wml_cells *c = &w->cells;
  int64_t block = 0;
  if (c->rows == 0) return WEBML_OK;
  webml_status status = wml_cells_check_text(c, &r->row);
  if (status != WEBML_OK) {
    r->in_row = true;
    return status;
  }
  WML_TRY(wml_scan_take_record(s, &block));
  WML_TRY(wml_scan_process(w, block));
  if (block == 0) wml_scan_settle(w);
  c->n = c->rows = c->size = 0;
  return WEBML_OK;
}

static void on_cell(void *bytes, size_t n, void *arg) {
  csv_reader *r = arg;
  wml_cells *c = &r->worker->cells;
  if (r->status != WEBML_OK) return;
  r->fields++;
  if (r->header) return;
  if (r->fields > c->columns) return; /* told at the end of the row */
  r->status = wml_cells_append(c, bytes, n);
}

static void on_row(int end, void *arg) {
  (void)end;
  csv_reader *r = arg;
  wml_cells *c = &r->worker->cells;
  if (r->status != WEBML_OK) return;
  if (r->header)
    r->header = false;
  else if (r->fields == 1 && c->columns > 1 && c->cells[c->n - 1].length == 0)
    c->n--; /* a line of blanks */
  else if (r->fields != c->columns) {
    r->in_row = true;
    r->row = c->rows;
    r->status = wml_cells_ragged(c, r->fields);
  } else
    c->rows++;
  r->fields = 0;
  if (r->status == WEBML_OK && c->size >= r->scan->block_bytes) r->status = flush_rows(r);
}

webml_status wml_scan_with_libcsv(wml_scan *s) {
  struct csv_parser parser;
  wml_worker *w = &s->workers[0];
  csv_reader r = {.scan = s, .worker = w, .header = true};
  char *piece;
  WML_TRY(open_parser(s, &parser, &piece));
  csv_set_delim(&parser, (unsigned char)s->table->separator);
  w->cells.n = w->cells.rows = w->cells.size = 0;
  webml_status status = wml_source_rewind(s->source);
  bool first = true;
  for (size_t got = s->block_bytes; status == WEBML_OK && got == s->block_bytes; first = false) {
    status = wml_source_read(s->source, piece, s->block_bytes, &got);
    size_t skip = first ? mark_length(piece, got) : 0;
    if (status != WEBML_OK) break;
    if (csv_parse(&parser, piece + skip, got - skip, on_cell, on_row, &r) != got - skip)
      status = csv_error(&parser) == CSV_ENOMEM
                   ? wml_no_memory(got, s->source->name)
                   : wml_fail(WEBML_ERROR_PARSE, "%s", csv_strerror(csv_error(&parser)));
    if (status == WEBML_OK && parser.entry_pos > WML_MAX_ROW)
      status =
          wml_fail(WEBML_ERROR_PARSE, "a field is longer than %zu MiB; is a quote never closed?",
                   WML_MAX_ROW >> 20),
      r.in_row = true, r.row = w->cells.rows;
    if (r.status != WEBML_OK) status = r.status;
  }
  if (status == WEBML_OK && csv_fini(&parser, on_cell, on_row, &r) != 0)
    status = wml_no_memory(s->block_bytes, s->source->name);
  if (status == WEBML_OK) status = r.status;
  if (status == WEBML_OK) status = flush_rows(&r);
  if (status != WEBML_OK)
    wml_scan_note_failure(s, status, s->n_records, r.in_row ? (int64_t)r.row : -1);
  csv_free(&parser);
  wml_free(piece);
  return WEBML_OK;
}

/* ---- the beginning ---- */

/* The header and the examples for files that only libcsv reads: once over the beginning. */
typedef struct header_reader {
  wml_cells *cells;
  size_t fields, rows_wanted;
  webml_status status;
} header_reader;

static void on_header_cell(void *bytes, size_t n, void *arg) {
  header_reader *h = arg;
  wml_cells *c = h->cells;
  if (h->status != WEBML_OK || c->rows == h->rows_wanted) return;
  h->status = wml_cells_append(c, bytes, n);
  h->fields++;
}

static void on_header_row(int end, void *arg) {
  (void)end;
  header_reader *h = arg;
  wml_cells *c = h->cells;
  if (h->status != WEBML_OK || c->rows == h->rows_wanted) return;
  if (!c->columns) c->columns = h->fields;
  if (h->fields == c->columns)
    c->rows++;
  else
    h->rows_wanted = c->rows, c->n -= h->fields; /* the pass will tell */
  h->fields = 0;
}

webml_status wml_scan_begin_with_libcsv(wml_scan *s, wml_worker *w) {
  struct csv_parser parser;
  wml_cells *c = &w->cells;
  header_reader h = {.cells = c, .rows_wanted = 1000};
  char *piece;
  size_t got = 0;
  WML_TRY(open_parser(s, &parser, &piece));
  c->n = c->rows = c->size = c->columns = 0;
  c->name = s->source->name;
  webml_status status = wml_source_rewind(s->source);
  size_t total = 0;
  do {
    if (status == WEBML_OK) status = wml_source_read(s->source, piece, s->block_bytes, &got);
    if (status != WEBML_OK) break;
    size_t skip = total == 0 ? mark_length(piece, got) : 0;
    if (total == 0)
      s->table->separator = s->options->separator ? s->options->separator
                                                  : wml_guess_separator(piece + skip, got - skip);
    csv_set_delim(&parser, (unsigned char)s->table->separator);
    csv_parse(&parser, piece + skip, got - skip, on_header_cell, on_header_row, &h);
    total += got;
    if (got < s->block_bytes) csv_fini(&parser, on_header_cell, on_header_row, &h);
    status = h.status;
  } while (status == WEBML_OK && got == s->block_bytes && c->rows < 2 && total < WML_MAX_ROW);
  if (status == WEBML_OK && c->rows == 0)
    status = got == s->block_bytes
                 ? wml_fail(WEBML_ERROR_PARSE,
                            "%s: the header is longer than %zu MiB; is a quote never closed?",
                            s->source->name, WML_MAX_ROW >> 20)
                 : wml_scan_empty(s);
  size_t row = 0;
  if (status == WEBML_OK && (status = wml_cells_check_text(c, &row)) != WEBML_OK)
    status = wml_scan_tell_first(s, status, row);
  if (status == WEBML_OK && c->columns > WML_CELLS_MAX_COLUMNS)
    status = wml_fail(WEBML_ERROR_PARSE, "%s: more than %d columns", s->source->name,
                      WML_CELLS_MAX_COLUMNS);
  csv_free(&parser);
  wml_free(piece);
  return status;
}
