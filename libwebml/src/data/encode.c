/* The rows of a table as a network is fed with them: block by block, by several threads, in compact
 * form, into memory or a mapped file. */
#include "base/hash.h"
#include "base/threads.h"
#include "data/dataset.h"

#include <math.h>
#include <string.h>

/* How one encoder reads one column. */
typedef struct reader {
  const wml_encoder *encoder;
  int column, cells;
  int32_t *places; /* [values of the label column] index of the encoder's label, -1 */
} reader;

typedef struct encoding {
  const webml_dataset *dataset;
  const wml_table *table;
  const wml_row_split *split;
  const wml_pipeline *pipeline;
  reader *readers; /* [inputs + outputs] */
  int n_inputs, n_outputs, input_cells, target_cells;
  bool classes;
  unsigned parts;
  wml_loaded *loaded;
  atomic_llong next, unknown;
} encoding;

/* ---- readers ---- */

static webml_status make_places(const encoding *e, reader *r) {
  const wml_column *col = &e->table->columns[r->column];
  const wml_encoder *k = r->encoder;
  size_t n = (size_t)col->unique;
  if (col->blocked)
    return wml_fail(WEBML_ERROR_DATA, "column \"%s\" has %lld different labels, more than are read",
                    col->name, (long long)col->unique);
  r->places = wml_alloc((n + 1) * sizeof *r->places);
  if (!r->places) return wml_no_memory(n * sizeof *r->places, "encoding");
  for (size_t i = 0; i < n; i++) {
    double number;
    if (k->type == WML_COLUMN_LABEL)
      r->places[i] = wml_encoder_find_label(k, col->values[i]);
    else if (k->encoding == WML_ENCODE_ONE_HOT && wml_cell_number(col->values[i], &number))
      r->places[i] = wml_encoder_find_number(k, number);
    else
      return wml_fail(WEBML_ERROR_DATA, "column \"%s\" takes numbers, but it holds \"%s\"",
                      col->name, col->values[i]);
  }
  return WEBML_OK;
}

static webml_status open_reader(const encoding *e, const wml_encoder *k, reader *r) {
  *r = (reader){.encoder = k, .cells = wml_encoder_cells(k)};
  r->column = wml_table_find(e->table, k->column, strlen(k->column));
  if (r->column < 0) return WEBML_ERROR_DATA;
  return e->table->columns[r->column].type == WML_COLUMN_LABEL ? make_places(e, r) : WEBML_OK;
}

/* Index among the values of a one-hot, from a label's or a number's column; -1: unknown. */
static int place_of(const reader *r, double x) {
  if (r->places) return r->places[(int64_t)x];
  if (r->encoder->type != WML_COLUMN_LABEL) return wml_encoder_find_number(r->encoder, x);
  char text[WML_NUMBER_BYTES]; /* numbers here, labels in training */
  return wml_encoder_find_label(r->encoder, wml_format_number(x, text));
}

static webml_status refuse(const encoding *e, const reader *r, int64_t row, double x) {
  const wml_column *col = &e->table->columns[r->column];
  char text[WML_NUMBER_BYTES];
  if (isnan(x))
    return wml_fail(WEBML_ERROR_DATA, "row %lld: column \"%s\" is missing", (long long)row + 1,
                    col->name);
  return wml_fail(WEBML_ERROR_DATA, "row %lld: column \"%s\" had no value \"%s\" in training",
                  (long long)row + 1, col->name,
                  r->places ? col->values[(int64_t)x] : wml_format_number(x, text));
}

/* One cell in compact form. Inputs take unknown values as none of the known ones. */
static inline webml_status encode_cell(encoding *e, const reader *r, bool output, int64_t row,
                                       double x, float *out) {
  const wml_encoder *k = r->encoder;
  bool one_hot = k->encoding == WML_ENCODE_ONE_HOT;
  if (isnan(x)) {
    if (k->missing == WML_MISSING_REFUSE) return refuse(e, r, row, x);
    bool fill = k->missing == WML_MISSING_FILL;
    if (one_hot)
      out[0] = fill ? (float)k->fill : (float)(k->places - 1);
    else
      out[0] = fill ? (float)wml_encoder_scale(k, k->fill) : 0.0f;
    if (r->cells > 1) out[1] = 1.0f;
    return WEBML_OK;
  }
  if (!one_hot) {
    out[0] = (float)wml_encoder_scale(k, x);
    if (r->cells > 1) out[1] = 0.0f;
    return WEBML_OK;
  }
  int place = place_of(r, x);
  if (place < 0 && output) return refuse(e, r, row, x);
  if (place < 0) atomic_fetch_add_explicit(&e->unknown, 1, memory_order_relaxed);
  out[0] = (float)place;
  return WEBML_OK;
}

/* ---- blocks ---- */

/* Room for the rows of one block, part by part. */
typedef struct bench {
  wml_scratch scratch;
  double *x;
  int64_t *place; /* of each row within its part's share of the block */
  float *input[WML_N_PARTS];
  float *target[WML_N_PARTS]; /* int32 where there are classes */
} bench;

static size_t target_row(const encoding *e) {
  return e->classes ? sizeof(int32_t) : (size_t)e->target_cells * sizeof(float);
}

static webml_status make_bench(const encoding *e, bench *b) {
  size_t rows = (size_t)wml_table_block_rows(e->table) + 1, cells = (size_t)e->input_cells;
  *b = (bench){.x = wml_alloc(rows * sizeof *b->x), .place = wml_alloc(rows * sizeof *b->place)};
  bool ok = b->x && b->place;
  for (int p = 0; p < WML_N_PARTS; p++) {
    if (!(e->parts & 1u << p) || !e->split->n[p]) continue;
    b->input[p] = wml_alloc(rows * cells * sizeof(float));
    b->target[p] = wml_alloc(rows * target_row(e));
    ok &= b->input[p] && b->target[p];
  }
  return ok ? WEBML_OK : wml_no_memory(rows * cells * sizeof(float), "encoding");
}

static void free_bench(bench *b) {
  wml_free(b->scratch.bytes);
  wml_free(b->x);
  wml_free(b->place);
  for (int p = 0; p < WML_N_PARTS; p++) {
    wml_free(b->input[p]);
    wml_free(b->target[p]);
  }
}

static webml_status encode_column(encoding *e, const reader *r, const wml_block *block, bool output,
                                  const bench *b, int cell) {
  int64_t stride = output ? e->target_cells : e->input_cells;
  for (int64_t i = 0; i < block->rows; i++) {
    int part = wml_row_part(e->split, block->first + i);
    if (part == WML_PART_NONE || !b->input[part]) continue;
    float value[2], *out = value;
    if (!output || !e->classes)
      out = (output ? b->target[part] : b->input[part]) + b->place[i] * stride + cell;
    WML_TRY(encode_cell(e, r, output, block->first + i, b->x[i], out));
    if (out == value) ((int32_t *)(void *)b->target[part])[b->place[i]] = (int32_t)value[0];
  }
  return WEBML_OK;
}

static webml_status encode_block(encoding *e, int64_t index, bench *b) {
  const wml_block *block = &e->table->blocks[index];
  const uint8_t *bytes;
  int64_t n[WML_N_PARTS] = {0};
  WML_TRY(wml_table_block(e->table, index, &b->scratch, &bytes));
  for (int64_t i = 0; i < block->rows; i++) {
    int part = wml_row_part(e->split, block->first + i);
    if (part != WML_PART_NONE) b->place[i] = n[part]++;
  }
  int cell = 0;
  for (int i = 0; i < e->n_inputs + e->n_outputs; i++) {
    const reader *r = &e->readers[i];
    if (i == e->n_inputs) cell = 0;
    wml_block_column(e->table, index, bytes, r->column, b->x);
    WML_TRY(encode_column(e, r, block, i >= e->n_inputs, b, cell));
    cell += r->cells;
  }
  for (int p = 0; p < WML_N_PARTS; p++) {
    if (!b->input[p]) continue;
    size_t at = (size_t)e->split->before[p][index], in = (size_t)e->input_cells * sizeof(float);
    WML_TRY(wml_region_write(&e->loaded->input[p], b->input[p], (size_t)n[p] * in, at * in));
    WML_TRY(wml_region_write(&e->loaded->target[p], b->target[p], (size_t)n[p] * target_row(e),
                             at * target_row(e)));
  }
  return WEBML_OK;
}

static webml_status encode_blocks(void *arg, int helper) {
  encoding *e = arg;
  bench b;
  (void)helper;
  webml_status status = make_bench(e, &b);
  while (status == WEBML_OK) {
    int64_t index = atomic_fetch_add(&e->next, 1);
    if (index >= e->table->n_blocks) break;
    status = encode_block(e, index, &b);
  }
  if (status != WEBML_OK) atomic_store(&e->next, e->table->n_blocks); /* the others stop, too */
  free_bench(&b);
  return status;
}

/* ---- a table ---- */

static webml_status make_parts(encoding *e) {
  wml_loaded *l = e->loaded;
  const wml_pipeline *p = e->pipeline;
  bool compact = e->input_cells != p->input_width, target = e->target_cells != p->output_width;
  for (int k = 0; k < WML_N_PARTS; k++) {
    size_t n = (size_t)e->split->n[k];
    if (!(e->parts & 1u << k) || !n) continue;
    const char *folder = e->dataset->cache;
    const size_t bytes[] = {n * (size_t)e->input_cells * sizeof(float), n * target_row(e)};
    bool rows = !(e->parts & WML_WITHOUT_ROWS);
    l->memory += wml_region_memory(bytes[0], folder) + wml_region_memory(bytes[1], folder);
    if (rows) WML_TRY(wml_region_create(bytes[0], folder, "the encoded table", &l->input[k]));
    if (rows) WML_TRY(wml_region_create(bytes[1], folder, "the encoded table", &l->target[k]));
    l->parts[k] = (wml_samples){.n = (int64_t)n,
                                .stored = (int64_t)n,
                                .input_type = WML_F32,
                                .target_type = e->classes ? WML_I32 : WML_F32,
                                .input = rows ? (void *)l->input[k].bytes : &l->input[k],
                                .target = rows ? (void *)l->target[k].bytes : &l->target[k],
                                .input_width = p->input_width,
                                .target_width = e->classes ? 1 : p->output_width,
                                .input_cells = compact ? e->input_cells : 0,
                                .input_widths = l->widths,
                                .target_cells = target && !e->classes ? e->target_cells : 0,
                                .target_widths = l->widths + e->input_cells};
  }
  return WEBML_OK;
}

/* The width of every cell, inputs first: a number with a place for missing ones is two cells. */
static webml_status list_widths(encoding *e) {
  int32_t *w = wml_alloc((size_t)(e->input_cells + e->target_cells) * sizeof *w);
  e->loaded->widths = w;
  if (!w) return wml_no_memory((size_t)e->input_cells * sizeof *w, "encoding");
  for (int i = 0; i < e->n_inputs + e->n_outputs; i++) {
    const reader *r = &e->readers[i];
    if (r->encoder->encoding == WML_ENCODE_ONE_HOT)
      *w++ = r->encoder->width; /* 1 where the index itself is wanted */
    else
      for (int k = 0; k < r->cells; k++) *w++ = 1;
  }
  return WEBML_OK;
}

static webml_status open_readers(encoding *e) {
  const wml_pipeline *p = e->pipeline;
  e->n_inputs = p->n_inputs, e->n_outputs = p->n_outputs;
  for (int i = 0; i < p->n_inputs; i++) {
    WML_TRY(open_reader(e, &p->inputs[i], &e->readers[i]));
    e->input_cells += e->readers[i].cells;
  }
  for (int i = 0; i < p->n_outputs; i++) {
    WML_TRY(open_reader(e, &p->outputs[i], &e->readers[p->n_inputs + i]));
    e->target_cells += e->readers[p->n_inputs + i].cells;
  }
  return list_widths(e);
}

/* Encodes the wanted parts of one table. */
static webml_status encode_table(const webml_dataset *d, const wml_table *t,
                                 const wml_row_split *split, unsigned parts, wml_loaded *l) {
  const wml_pipeline *p = &l->pipeline;
  encoding e = {.dataset = d,
                .table = t,
                .split = split,
                .pipeline = p,
                .classes = wml_pipeline_is_classes(p),
                .parts = parts,
                .loaded = l};
  atomic_init(&e.next, 0);
  atomic_init(&e.unknown, 0);
  size_t n = (size_t)(p->n_inputs + p->n_outputs);
  e.readers = wml_calloc(n, sizeof *e.readers);
  int32_t *before = l->widths;
  webml_status status =
      e.readers ? open_readers(&e) : wml_no_memory(n * sizeof *e.readers, "encoding");
  if (before) { /* the widths of the first table serve the second, too */
    if (status == WEBML_OK) wml_free(l->widths);
    l->widths = before;
  }
  if (status == WEBML_OK) status = make_parts(&e);
  int helpers = t->n_blocks < wml_helper_count() ? (int)t->n_blocks : wml_helper_count();
  if (status == WEBML_OK && !(parts & WML_WITHOUT_ROWS))
    status = wml_parallel(helpers, encode_blocks, &e);
  l->unknown += atomic_load(&e.unknown);
  for (size_t i = 0; e.readers && i < n; i++) wml_free(e.readers[i].places);
  wml_free(e.readers);
  return status;
}

static void take_fingerprint(const webml_dataset *d, const wml_row_split *split, wml_loaded *l) {
  wml_text text = {0};
  wml_pipeline_write(&text, &l->pipeline);
  uint64_t tables[2] = {d->table.fingerprint, d->validation_table.fingerprint};
  uint64_t hash = wml_hash(WML_HASH_SEED, tables, sizeof tables);
  if (text.data) hash = wml_hash(hash, text.data, text.length);
  if (split->parts) hash = wml_hash(hash, split->parts, (size_t)d->table.rows);
  l->fingerprint = hash;
  wml_text_free(&text);
}

static webml_status load_second(const webml_dataset *d, unsigned parts, wml_loaded *l) {
  wml_selection s;
  wml_row_split split;
  static const wml_split_options none = {.how = WEBML_SPLIT_LAST};
  WML_TRY(wml_select_like(d, &d->validation_table, &l->pipeline, &s));
  webml_status status =
      wml_table_split(&d->validation_table, &s, &none, WML_PART_VALIDATION, &split);
  if (status == WEBML_OK) {
    status = encode_table(d, &d->validation_table, &split,
                          1u << WML_PART_VALIDATION | (parts & WML_WITHOUT_ROWS), l);
    wml_row_split_free(&split);
  }
  wml_selection_free(&s);
  return status == WEBML_OK ? status : wml_prefix(status, "the validation file");
}

webml_status wml_load_table(const webml_dataset *d, const webml_model *m, const wml_pipeline *given,
                            unsigned parts, wml_loaded *l) {
  wml_selection s;
  wml_row_split split = {0};
  webml_status status =
      given ? wml_select_like(d, &d->table, given, &s) : wml_dataset_select(d, m, &s);
  if (status == WEBML_OK) {
    status = wml_table_split(&d->table, &s, &d->split, WML_PART_TRAINING, &split);
    if (status == WEBML_OK)
      status = given ? wml_pipeline_copy(given, &l->pipeline)
                     : wml_pipeline_fit(&d->table, &s, &split, &l->pipeline);
    if (status == WEBML_OK) status = encode_table(d, &d->table, &split, parts, l);
    if (status == WEBML_OK && d->validation_table.rows && (parts & 1u << WML_PART_VALIDATION))
      status = load_second(d, parts, l);
    if (status == WEBML_OK) take_fingerprint(d, &split, l);
    wml_row_split_free(&split);
    wml_selection_free(&s);
  }
  return status == WEBML_OK ? status : wml_prefix(status, "%s", d->path);
}
