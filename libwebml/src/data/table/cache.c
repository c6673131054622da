/* The typed blocks of a large table in a file, so that the text is read once.
 *
 * Layout: header [64 bytes], blocks (each 64-byte aligned, with its checksum in the trailer),
 * trailer: length of the JSON, the JSON (columns, examples), the block index. The header is written
 * last. What does not add up is not an error: the file is made anew. */
#include "base/cachefile.h"
#include "base/hash.h"
#include "base/json.h"
#include "data/table/table.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct header {
  char magic[8];
  uint64_t identity, trailer_at, trailer_size, trailer_hash;
} header;

static const char magic[8] = {'w', 'e', 'b', 'm', 'l', 't', 'b', '1'};
static const int64_t max_block_rows = 1 << 27; /* of 64 MiB of text at most */
static const uint64_t max_trailer = (uint64_t)1 << 30;

_Static_assert(sizeof(header) <= WML_TABLE_CACHE_HEADER, "the header must fit");

/* ---- writing ---- */

static void write_numbers(wml_text *x, const char *key, const double *values, int n) {
  wml_json_key(x, key);
  wml_json_open(x, '[');
  for (int i = 0; i < n; i++) wml_json_number(x, values[i]);
  wml_json_close(x, ']');
}

static void write_column(wml_text *x, const wml_column *c) {
  const double facts[] = {(double)c->type,
                          (double)c->missing,
                          (double)c->first_missing,
                          (double)c->unique,
                          (double)c->unique_is_estimate,
                          (double)c->blocked,
                          c->min,
                          c->max,
                          c->mean,
                          c->deviation};
  wml_json_open(x, '{');
  wml_json_key(x, "name");
  wml_json_string(x, c->name);
  write_numbers(x, "facts", facts, 10);
  wml_json_key(x, "top");
  wml_json_open(x, '[');
  for (int i = 0; i < c->n_top; i++) {
    if (c->top[i].text)
      wml_json_string(x, c->top[i].text);
    else
      wml_json_number(x, c->top[i].number);
    wml_json_number(x, (double)c->top[i].count);
  }
  wml_json_close(x, ']');
  wml_json_key(x, "values"); /* each with its entry of `place` */
  wml_json_open(x, '[');
  for (int64_t i = 0; c->values && i < c->unique; i++) {
    wml_json_string(x, c->values[i]);
    wml_json_int(x, c->place[i]);
  }
  wml_json_close(x, ']');
  wml_json_close(x, '}');
}

static void write_trailer(wml_text *x, const wml_table *t) {
  char number[32];
  wml_json_open(x, '{');
  wml_json_key(x, "separator");
  wml_json_int(x, t->separator);
  wml_json_key(x, "rows");
  wml_json_int(x, t->rows);
  wml_json_key(x, "label_limit");
  wml_json_int(x, t->label_limit);
  snprintf(number, sizeof number, "%016llx", (unsigned long long)t->fingerprint);
  wml_json_key(x, "fingerprint");
  wml_json_string(x, number);
  wml_json_key(x, "columns");
  wml_json_open(x, '[');
  for (int i = 0; i < t->n_columns; i++) write_column(x, &t->columns[i]);
  wml_json_close(x, ']');
  wml_json_key(x, "examples");
  wml_json_open(x, '[');
  for (int i = 0; i < t->n_examples * t->n_columns; i++) {
    if (t->examples[i])
      wml_json_string(x, t->examples[i]);
    else
      wml_json_null(x);
  }
  wml_json_close(x, ']');
  wml_json_close(x, '}');
}

webml_status wml_table_cache_finish(wml_table *t, const char *name, uint64_t identity) {
  wml_text x = {0};
  uint64_t end = WML_TABLE_CACHE_HEADER;
  for (int64_t b = 0; b < t->n_blocks; b++)
    if (t->blocks[b].offset + t->blocks[b].size > end)
      end = t->blocks[b].offset + t->blocks[b].size;
  header h = {.identity = identity, .trailer_at = (end + 63) / 64 * 64};
  memcpy(h.magic, magic, sizeof magic);
  write_trailer(&x, t);
  uint64_t length = x.length;
  wml_text out = {0};
  wml_text_add(&out, (const char *)&length, sizeof length);
  wml_text_add(&out, x.data, x.length);
  wml_text_add(&out, (const char *)t->blocks, (size_t)t->n_blocks * sizeof *t->blocks);
  webml_status status =
      x.failed || out.failed ? wml_no_memory(x.length, "the cache of a table") : WEBML_OK;
  if (status == WEBML_OK) {
    h.trailer_size = out.length;
    h.trailer_hash = wml_hash(WML_HASH_SEED, out.data, out.length);
    status = wml_write_at(t->cache, name, out.data, out.length, h.trailer_at);
  }
  if (status == WEBML_OK) status = wml_write_at(t->cache, name, &h, sizeof h, 0);
  wml_text_free(&x);
  wml_text_free(&out);
  return status;
}

/* ---- reading ---- */

static bool copy_text(wml_table *t, const wml_json *v, const char **out) {
  *out = NULL;
  if (!v || v->kind != WML_JSON_STRING) return false;
  return (*out = wml_arena_copy(&t->arena, v->string, strlen(v->string))) != NULL;
}

static bool read_values(wml_table *t, const wml_json *list, wml_column *c) {
  if (list->count != 2 * c->unique) return c->blocked || c->type != WML_COLUMN_LABEL;
  c->values = wml_arena_alloc(&t->arena, ((size_t)c->unique + 1) * sizeof *c->values);
  c->place = wml_arena_alloc(&t->arena, ((size_t)c->unique + 1) * sizeof *c->place);
  if (!c->values || !c->place) return false;
  const wml_json *v = list->first;
  for (int64_t i = 0; i < c->unique; i++, v = v->next->next) {
    if (!copy_text(t, v, &c->values[i]) || v->next->kind != WML_JSON_NUMBER) return false;
    double place = v->next->number;
    if (!(place >= 0 && place < (double)c->unique)) return false;
    c->place[i] = (int32_t)place;
  }
  return true;
}

static bool read_column(wml_table *t, const wml_json *json, wml_column *c) {
  double facts[10];
  int n = 0;
  const wml_json *list = wml_json_get(json, "facts"), *top = wml_json_get(json, "top"),
                 *values = wml_json_get(json, "values");
  if (!list || !top || !values || !copy_text(t, wml_json_get(json, "name"), &c->name)) return false;
  for (const wml_json *v = list->first; v && n < 10; v = v->next)
    facts[n++] = v->kind == WML_JSON_NUMBER ? v->number : NAN;
  if (n != 10 || !(facts[0] >= 0 && facts[0] <= WML_COLUMN_BINARY)) return false;
  for (int i = 0; i < 6; i++)
    if (!(fabs(facts[i]) < 1e15)) return false;
  c->type = (wml_column_type)facts[0];
  c->missing = (int64_t)facts[1], c->first_missing = (int64_t)facts[2];
  c->unique = (int64_t)facts[3];
  c->unique_is_estimate = facts[4] != 0.0, c->blocked = facts[5] != 0.0;
  c->min = facts[6], c->max = facts[7], c->mean = facts[8], c->deviation = facts[9];
  for (const wml_json *v = top->first; v && v->next && c->n_top < WML_TOP_VALUES;
       v = v->next->next) {
    wml_top_value *out = &c->top[c->n_top++];
    out->number = v->number;
    out->count = (int64_t)v->next->number;
    if (v->kind == WML_JSON_STRING && !copy_text(t, v, &out->text)) return false;
  }
  return read_values(t, values, c);
}

static bool read_examples(wml_table *t, const wml_json *list) {
  if (!list || t->n_columns == 0 || list->count % t->n_columns) return false;
  t->n_examples = list->count / t->n_columns;
  t->examples = wml_arena_alloc(&t->arena, ((size_t)list->count + 1) * sizeof *t->examples);
  int i = 0;
  for (const wml_json *v = list->first; v && t->examples; v = v->next, i++)
    if (v->kind == WML_JSON_STRING && !copy_text(t, v, &t->examples[i])) return false;
  return t->examples != NULL;
}

static bool read_blocks(wml_table *t, const char *bytes, size_t size, uint64_t file_end) {
  int64_t rows = 0;
  t->blocks = wml_alloc(size + 1);
  if (!t->blocks || size % sizeof *t->blocks) return false;
  memcpy(t->blocks, bytes, size);
  t->n_blocks = (int64_t)(size / sizeof *t->blocks);
  /* Whatever the file says: freeing the table must never follow a pointer that was read. */
  for (int64_t b = 0; b < t->n_blocks; b++) t->blocks[b].bytes = NULL;
  for (int64_t b = 0; b < t->n_blocks; b++) {
    const wml_block *k = &t->blocks[b];
    if (k->first != rows || k->rows < 1 || k->rows > max_block_rows || k->offset > file_end ||
        k->size > file_end - k->offset)
      return false;
    rows += k->rows;
  }
  return rows == t->rows && rows > 0;
}

static bool read_table(wml_table *t, const wml_json *json) {
  const wml_json *columns = wml_json_get(json, "columns");
  if (!columns || columns->count < 1) return false;
  t->separator = (char)wml_json_get_number(json, "separator", ',');
  t->rows = (int64_t)wml_json_get_number(json, "rows", 0);
  t->label_limit = (int64_t)wml_json_get_number(json, "label_limit", WML_LABEL_LIMIT);
  t->fingerprint = strtoull(wml_json_get_string(json, "fingerprint", "0"), NULL, 16);
  t->n_columns = columns->count;
  t->columns = wml_calloc((size_t)t->n_columns, sizeof *t->columns);
  int i = 0;
  for (const wml_json *v = columns->first; v && t->columns; v = v->next, i++)
    if (!read_column(t, v, &t->columns[i])) return false;
  return t->columns && read_examples(t, wml_json_get(json, "examples"));
}

webml_status wml_table_cache_load(const char *path, uint64_t identity, wml_table *t, bool *found) {
  header h;
  struct stat info;
  char *trailer = NULL;
  wml_arena arena = {0};
  const wml_json *json = NULL;
  uint64_t length = 0;
  *found = false;
  t->cache = open(path, O_RDONLY | O_CLOEXEC);
  if (t->cache < 0) return WEBML_OK;
  bool ok = fstat(t->cache, &info) == 0 &&
            wml_read_at(t->cache, path, &h, sizeof h, 0) == WEBML_OK &&
            memcmp(h.magic, magic, sizeof magic) == 0 && h.identity == identity &&
            h.trailer_size >= sizeof length && h.trailer_size < max_trailer &&
            h.trailer_at < (uint64_t)info.st_size &&
            h.trailer_size <= (uint64_t)info.st_size - h.trailer_at;
  if (ok) trailer = wml_alloc(h.trailer_size);
  ok = trailer && wml_read_at(t->cache, path, trailer, h.trailer_size, h.trailer_at) == WEBML_OK &&
       wml_hash(WML_HASH_SEED, trailer, h.trailer_size) == h.trailer_hash;
  if (ok) memcpy(&length, trailer, sizeof length);
  ok = ok && length <= h.trailer_size - sizeof length &&
       wml_json_parse(&arena, trailer + sizeof length, length, path, &json) == WEBML_OK &&
       read_table(t, json) &&
       read_blocks(t, trailer + sizeof length + length, h.trailer_size - sizeof length - length,
                   h.trailer_at);
  wml_free(trailer);
  wml_arena_free(&arena);
  if (ok) t->cache_path = wml_arena_copy(&t->arena, path, strlen(path));
  if (ok && t->cache_path)
    *found = true;
  else
    wml_table_free(t);
  return WEBML_OK;
}
