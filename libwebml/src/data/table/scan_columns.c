/* Cells into columns: numbers, labels, statistics, and what they come to at the end. */
#include "base/cachefile.h"
#include "base/hash.h"
#include "data/table/scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t max_label_bytes = (size_t)1 << 22; /* of one column */

/* ---- cells ---- */

bool wml_cell_missing(const char *s, size_t n) {
  static const char *const words[] = {"NA", "?", "NaN", "nan", "N/A", "n/a", "null", "NULL"};
  if (n == 0) return true;
  if (n > 4 || !memchr("N?n", s[0], 3)) return false;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strlen(words[i]) == n && memcmp(words[i], s, n) == 0) return true;
  return false;
}

bool wml_cell_number(const char *s, double *value) {
  size_t n = strlen(s);
  while (n && (*s == ' ' || *s == '\t')) s++, n--;
  while (n && (s[n - 1] == ' ' || s[n - 1] == '\t')) n--;
  return wml_parse_number(s, n, value) && isfinite(*value);
}

static inline bool number_of(const char *s, size_t n, double *value, bool *whole) {
  if (wml_plain_number(s, n, value, whole)) return true;
  if (!wml_parse_number(s, n, value) || !isfinite(*value)) return false;
  *whole = true; /* 3 and +3, not 3.0 or 1e3 */
  for (size_t i = 0; i < n; i++) *whole &= s[i] != '.' && s[i] != 'e' && s[i] != 'E';
  return true;
}

bool wml_scan_number(const char *text, size_t length, double *value) {
  bool whole;
  return number_of(text, length, value, &whole);
}

/* ---- columns of a block ---- */

static void note_missing(wml_tally *t, int64_t block, int64_t row) {
  if (t->missing++ == 0) t->missing_block = block, t->missing_row = row;
}

static webml_status read_numbers(wml_worker *w, int column, int64_t block, wml_moments *m) {
  const wml_cells *c = &w->cells;
  wml_tally *t = &w->tallies[column];
  double *out = w->numbers, sum = 0.0, low = t->min, high = t->max;
  const wml_cell *cell = c->cells + column;
  bool fraction = false, other = false;
  size_t missing = 0;
  for (size_t r = 0; r < c->rows; r++, cell += c->columns) {
    const char *s = c->text + cell->at;
    bool whole;
    double value = NAN;
    if (wml_cell_missing(s, cell->length)) {
      note_missing(t, block, (int64_t)r);
      missing++;
    } else if (number_of(s, cell->length, &value, &whole)) {
      fraction |= !whole;
      other |= value != 0.0 && value != 1.0;
      low = value < low ? value : low;
      high = value > high ? value : high;
      sum += value;
      WML_TRY(wml_distinct_add(&t->distinct, wml_distinct_key_of_number(value), 1, NULL));
    } else {
      t->text = true; /* the pass will be done again */
      return WEBML_OK;
    }
    out[r] = value;
  }
  t->fraction |= fraction, t->other |= other || fraction;
  t->min = low, t->max = high;
  *m = wml_moments_of(out, (int64_t)c->rows, sum, (int64_t)(c->rows - missing));
  return wml_typed_numbers(&w->typed, column, out, c->rows, !fraction);
}

static webml_status add_label(wml_labels *l, uint64_t key, const char *text, size_t n,
                              int32_t *code) {
  if (l->n == l->capacity) {
    int32_t capacity = l->capacity * 2 + 16;
    const char **grown = wml_regrow((void *)l->texts, (size_t)l->n * sizeof *grown,
                                    (size_t)capacity * sizeof *grown);
    if (!grown) return wml_no_memory((size_t)capacity * sizeof *grown, "labels");
    l->texts = grown;
    l->capacity = capacity;
  }
  int64_t slot;
  const char *copy = wml_arena_copy(&l->arena, text, n);
  if (!copy) return wml_no_memory(n, "labels");
  WML_TRY(wml_distinct_add(&l->index, key, 1, &slot));
  l->index.codes[slot] = *code = l->n;
  l->texts[l->n++] = copy;
  l->bytes += n;
  return WEBML_OK;
}

/* The number of a label that this thread meets for the first time. */
static webml_status number_label(wml_scan *s, int column, uint64_t key, const char *text, size_t n,
                                 int32_t *code) {
  wml_labels *l = &s->labels[column];
  webml_status status = WEBML_OK;
  pthread_mutex_lock(&s->mutex);
  *code = wml_distinct_code(&l->index, key);
  l->full |= l->bytes > max_label_bytes || l->index.used == l->index.limit;
  if (*code < 0 && !l->full) status = add_label(l, key, text, n, code);
  pthread_mutex_unlock(&s->mutex);
  return status;
}

static webml_status read_labels(wml_worker *w, int column, int64_t block) {
  const wml_cells *c = &w->cells;
  wml_tally *t = &w->tallies[column];
  const wml_cell *cell = c->cells + column;
  double *out = w->numbers;
  for (size_t r = 0; r < c->rows; r++, cell += c->columns) {
    const char *s = c->text + cell->at;
    out[r] = NAN;
    if (wml_cell_missing(s, cell->length)) {
      note_missing(t, block, (int64_t)r);
      continue;
    }
    uint64_t key = wml_distinct_key_of_text(s, cell->length);
    int64_t slot;
    WML_TRY(wml_distinct_add(&t->distinct, key, 1, &slot));
    if (slot < 0) continue;
    int32_t *code = &t->distinct.codes[slot];
    if (*code < 0) WML_TRY(number_label(w->scan, column, key, s, cell->length, code));
    if (*code >= 0) out[r] = *code;
  }
  return wml_typed_numbers(&w->typed, column, out, c->rows, true);
}

/* ---- blocks ---- */

static webml_status room_for_numbers(wml_worker *w) {
  if (w->cells.rows <= w->number_capacity) return WEBML_OK;
  wml_free(w->numbers);
  w->number_capacity = w->cells.rows + w->cells.rows / 4;
  w->numbers = wml_alloc(w->number_capacity * sizeof *w->numbers);
  if (w->numbers) return WEBML_OK;
  w->number_capacity = 0;
  return wml_no_memory(w->cells.rows * sizeof *w->numbers, "a block of rows");
}

/* Puts the typed block where it stays: into memory, or behind the others in the cache file. */
static webml_status keep_block(wml_worker *w, wml_block *b) {
  wml_scan *s = w->scan;
  b->size = w->typed.size;
  b->checksum = wml_hash(WML_HASH_SEED, w->typed.bytes, w->typed.size);
  if (s->table->cache < 0) {
    if (!(b->bytes = wml_alloc(b->size))) return wml_no_memory(b->size, "the table");
    memcpy(b->bytes, w->typed.bytes, b->size);
    return WEBML_OK;
  }
  pthread_mutex_lock(&s->mutex);
  b->offset = s->file_at;
  s->file_at += (b->size + 63) / 64 * 64;
  pthread_mutex_unlock(&s->mutex);
  return wml_write_at(s->table->cache, s->table->cache_path, w->typed.bytes, b->size, b->offset);
}

webml_status wml_scan_process(wml_worker *w, int64_t block) {
  wml_scan *s = w->scan;
  wml_scan_record r = {.block = {.rows = (int64_t)w->cells.rows}};
  size_t columns = w->cells.columns;
  WML_TRY(room_for_numbers(w));
  r.columns = wml_calloc(columns, sizeof *r.columns);
  webml_status status = r.columns ? wml_typed_begin(&w->typed, (int)columns)
                                  : wml_no_memory(columns * sizeof *r.columns, "statistics");
  r.text_hash = wml_hash(WML_HASH_SEED, w->cells.text, w->cells.size);
  for (int i = 0; i < (int)columns && status == WEBML_OK; i++)
    status = s->is_label[i] ? read_labels(w, i, block) : read_numbers(w, i, block, &r.columns[i]);
  if (status == WEBML_OK) status = keep_block(w, &r.block);
  if (status != WEBML_OK) {
    wml_free(r.columns);
    return status;
  }
  pthread_mutex_lock(&s->mutex);
  s->records[block] = r;
  pthread_mutex_unlock(&s->mutex);
  return WEBML_OK;
}

void wml_scan_settle(wml_worker *w) {
  for (size_t i = 0; i < w->cells.columns; i++) wml_distinct_settle(&w->tallies[i].distinct);
}

/* ---- the end ---- */

static int compare_texts(const void *a, const void *b) {
  return strcmp(**(const char *const *const *)a, **(const char *const *const *)b);
}

/* Sorted values, and the place of each label among them. */
static webml_status sort_labels(wml_scan *s, int column) {
  wml_table *t = s->table;
  wml_column *col = &t->columns[column];
  const wml_labels *l = &s->labels[column];
  size_t n = (size_t)l->n;
  const char ***order = wml_alloc((n + 1) * sizeof *order);
  col->values = wml_arena_alloc(&t->arena, (n + 1) * sizeof *col->values);
  col->place = wml_arena_alloc(&t->arena, (n + 1) * sizeof *col->place);
  if (!order || !col->values || !col->place) {
    wml_free(order);
    return wml_no_memory(n * sizeof *order, "labels");
  }
  for (size_t i = 0; i < n; i++) order[i] = &l->texts[i];
  qsort(order, n, sizeof *order, compare_texts);
  webml_status status = WEBML_OK;
  for (size_t i = 0; i < n && status == WEBML_OK; i++) {
    col->place[order[i] - l->texts] = (int32_t)i;
    if (!(col->values[i] = wml_arena_copy(&t->arena, *order[i], strlen(*order[i]))))
      status = wml_no_memory(n, "labels");
  }
  wml_free(order);
  return status;
}

static webml_status keep_top(wml_scan *s, int column, const wml_distinct *d) {
  wml_column *col = &s->table->columns[column];
  const wml_labels *l = &s->labels[column];
  wml_frequent top[WML_TOP_VALUES];
  int n = wml_distinct_top(d, WML_TOP_VALUES, top);
  for (int i = 0; i < n && top[i].count > 1; i++) {
    wml_top_value *v = &col->top[col->n_top];
    *v = (wml_top_value){.count = top[i].count};
    if (!s->is_label[column]) {
      v->number = wml_distinct_number_of_key(top[i].key);
    } else {
      int32_t code = wml_distinct_code(&l->index, top[i].key);
      if (code < 0) continue;
      const char *text = l->texts[code];
      if (!(v->text = wml_arena_copy(&s->table->arena, text, strlen(text))))
        return wml_no_memory(strlen(text), "labels");
    }
    col->n_top++;
  }
  return WEBML_OK;
}

static void combine_moments(wml_scan *s, int column, wml_column *col) {
  wml_moments all = {0};
  for (int64_t b = 0; b < s->n_records; b++) wml_moments_add(&all, &s->records[b].columns[column]);
  col->mean = all.n > 0.0 ? all.mean : NAN;
  col->deviation = all.n > 0.0 ? sqrt(all.square / all.n) : NAN;
}

static webml_status finish_column(wml_scan *s, int column) {
  wml_column *col = &s->table->columns[column];
  wml_tally *all = &s->workers[0].tallies[column];
  for (int i = 1; i < s->helpers; i++) {
    if (!s->workers[i].tallies) continue; /* it was not needed */
    const wml_tally *t = &s->workers[i].tallies[column];
    WML_TRY(wml_distinct_merge(&all->distinct, &t->distinct));
    all->min = t->min < all->min ? t->min : all->min;
    all->max = t->max > all->max ? t->max : all->max;
    all->fraction |= t->fraction, all->other |= t->other;
    if (t->missing && (!all->missing || t->missing_block < all->missing_block))
      all->missing_block = t->missing_block, all->missing_row = t->missing_row;
    all->missing += t->missing;
  }
  col->missing = all->missing;
  col->first_missing =
      all->missing ? s->records[all->missing_block].block.first + all->missing_row : -1;
  col->unique = wml_distinct_count(&all->distinct);
  col->unique_is_estimate = wml_distinct_is_estimate(&all->distinct);
  col->min = col->max = col->mean = col->deviation = NAN;
  WML_TRY(keep_top(s, column, &all->distinct));
  if (s->is_label[column]) {
    col->type = WML_COLUMN_LABEL;
    col->blocked =
        col->unique_is_estimate || col->unique > s->table->label_limit || s->labels[column].full;
    return col->blocked ? WEBML_OK : sort_labels(s, column);
  }
  col->type = all->fraction ? WML_COLUMN_FLOAT : all->other ? WML_COLUMN_INT : WML_COLUMN_BINARY;
  if (col->unique) col->min = all->min, col->max = all->max;
  combine_moments(s, column, col);
  return WEBML_OK;
}

webml_status wml_scan_finish(wml_scan *s) {
  wml_table *t = s->table;
  t->blocks = wml_alloc((size_t)(s->n_records + 1) * sizeof *t->blocks);
  if (!t->blocks) return wml_no_memory((size_t)s->n_records * sizeof *t->blocks, "blocks");
  t->fingerprint = WML_HASH_SEED;
  for (int64_t b = 0; b < s->n_records; b++) {
    wml_scan_record *r = &s->records[b];
    r->block.first = t->rows;
    t->rows += r->block.rows;
    t->fingerprint = wml_hash(t->fingerprint, &r->text_hash, sizeof r->text_hash);
    t->blocks[t->n_blocks++] = r->block;
    r->block.bytes = NULL; /* the table's now */
  }
  if (t->rows == 0)
    return wml_fail(WEBML_ERROR_DATA, "%s has a header and no data rows", s->source->name);
  for (int i = 0; i < t->n_columns; i++) WML_TRY(finish_column(s, i));
  return WEBML_OK;
}
