#include "data/table/table.h"

#include "base/cachefile.h"
#include "base/hash.h"
#include "data/table/source.h"
#include "data/table/typed.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* Smaller tables are held in memory: reading their text again costs less than a second. */
static const size_t cache_from = (size_t)1 << 25;

static webml_status scan_into_cache(wml_source *source, const wml_table_options *o,
                                    uint64_t identity, wml_table *t) {
  wml_cachefile f;
  bool found;
  WML_TRY(wml_cachefile_lock(o->cache, &f));
  webml_status status = wml_table_cache_load(o->cache, identity, t, &found);
  if (found || status != WEBML_OK) { /* another process has just made it */
    wml_cachefile_abandon(&f);
    return status;
  }
  status = wml_cachefile_create(&f);
  *t = (wml_table){.cache = f.fd};
  if (status == WEBML_OK &&
      !(t->cache_path = wml_arena_copy(&t->arena, o->cache, strlen(o->cache))))
    status = wml_no_memory(strlen(o->cache), "a path");
  if (status == WEBML_OK) status = wml_table_scan(source, o, t);
  if (status == WEBML_OK) status = wml_table_cache_finish(t, f.temporary, identity);
  if (status == WEBML_OK) return wml_cachefile_commit(&f);
  t->cache = -1; /* closed with the file */
  wml_cachefile_abandon(&f);
  return status;
}

webml_status wml_table_read(const char *path, const wml_table_options *given, wml_table *t) {
  wml_table_options o = given ? *given : (wml_table_options){0};
  wml_source source;
  bool found = false;
  *t = (wml_table){.cache = -1};
  WML_TRY(wml_source_open(path, &source));
  const int64_t settings[] = {o.separator, o.label_limit};
  uint64_t identity = wml_hash(source.identity, settings, sizeof settings);
  if (source.size * (source.gzip ? 4 : 1) < (o.cache_from ? o.cache_from : cache_from))
    o.cache = NULL;
  webml_status status = WEBML_OK;
  if (o.cache) status = wml_table_cache_load(o.cache, identity, t, &found);
  if (status == WEBML_OK && !found)
    status = o.cache ? scan_into_cache(&source, &o, identity, t) : wml_table_scan(&source, &o, t);
  wml_source_close(&source);
  if (status != WEBML_OK) wml_table_free(t);
  return status;
}

webml_status wml_table_parse(const char *bytes, size_t size, const char *name,
                             const wml_table_options *given, wml_table *t) {
  wml_table_options o = given ? *given : (wml_table_options){0};
  wml_source source;
  *t = (wml_table){.cache = -1};
  wml_source_memory(bytes, size, name, &source);
  webml_status status = wml_table_scan(&source, &o, t);
  if (status != WEBML_OK) wml_table_free(t);
  return status;
}

void wml_table_free(wml_table *t) {
  for (int64_t b = 0; b < t->n_blocks; b++) wml_free(t->blocks[b].bytes);
  if (t->cache >= 0) close(t->cache);
  wml_free(t->blocks);
  wml_free(t->columns);
  wml_arena_free(&t->arena);
  *t = (wml_table){.cache = -1};
}

int64_t wml_table_block_rows(const wml_table *t) {
  int64_t rows = 0;
  for (int64_t b = 0; b < t->n_blocks; b++)
    if (t->blocks[b].rows > rows) rows = t->blocks[b].rows;
  return rows;
}

static webml_status damaged(const wml_table *t) {
  unlink(t->cache_path);
  return wml_fail(WEBML_ERROR_IO,
                  "the cache file %s was damaged and has been removed; start again to make it anew",
                  t->cache_path);
}

webml_status wml_table_block(const wml_table *t, int64_t block, wml_scratch *scratch,
                             const uint8_t **bytes) {
  const wml_block *b = &t->blocks[block];
  *bytes = b->bytes;
  if (b->bytes) return WEBML_OK;
  if (scratch->size < b->size) {
    wml_free(scratch->bytes);
    scratch->size = 0;
    scratch->bytes = wml_alloc(b->size);
    if (!scratch->bytes) return wml_no_memory(b->size, "a block of rows");
    scratch->size = b->size;
  }
  WML_TRY(wml_read_at(t->cache, t->cache_path, scratch->bytes, b->size, b->offset));
  if (wml_hash(WML_HASH_SEED, scratch->bytes, b->size) != b->checksum) return damaged(t);
  *bytes = scratch->bytes;
  return WEBML_OK;
}

void wml_block_column(const wml_table *t, int64_t block, const uint8_t *bytes, int column,
                      double *out) {
  const wml_block *b = &t->blocks[block];
  const wml_column *col = &t->columns[column];
  bool ok =
      !col->blocked && wml_typed_read(bytes, b->size, t->n_columns, column, (size_t)b->rows, out);
  for (int64_t r = 0; !ok && r < b->rows; r++) out[r] = NAN;
  if (!ok || col->type != WML_COLUMN_LABEL) return;
  for (int64_t r = 0; r < b->rows; r++)
    if (out[r] >= 0 && out[r] < (double)col->unique) out[r] = col->place[(int64_t)out[r]];
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
