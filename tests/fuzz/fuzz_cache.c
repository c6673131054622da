/* Cache files that hold anything: a table's, a list's, and packed pixels. Sums are set right where
 * the format has them, so that what lies behind is reached. */
#include "base/hash.h"
#include "data/images/pictures.h"
#include "data/table/table.h"
#include "fuzz.h"

#include <string.h>

static void table(const char *path) {
  wml_table t = {.cache = -1};
  bool found = false;
  if (wml_table_cache_load(path, 1, &t, &found) != WEBML_OK || !found) return;
  wml_scratch scratch = {0};
  wml_text text = {0};
  int64_t rows = wml_table_block_rows(&t);
  double *x = rows < 1 << 20 ? wml_alloc((size_t)rows * sizeof *x + 1) : NULL;
  for (int64_t b = 0; b < t.n_blocks && x; b++) {
    const uint8_t *bytes;
    if (wml_table_block(&t, b, &scratch, &bytes) != WEBML_OK) break;
    for (int i = 0; i < t.n_columns; i++) wml_block_column(&t, b, bytes, i, x);
  }
  if (x) wml_table_write_properties(&text, &t, false);
  wml_free(x);
  wml_free(scratch.bytes);
  wml_text_free(&text);
  wml_table_free(&t);
}

static void list(const char *path) {
  wml_pictures p = {.path = "fuzz"};
  bool found;
  if (wml_list_load(&p, path, 1, &found) == WEBML_OK && found)
    for (int64_t i = 0; i < p.n; i++) {
      char name[64];
      wml_picture_name(&p, i, name, sizeof name);
    }
  wml_pictures_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size + 1);
  uint64_t one = 1, words[5];
  if (!copy) return 0;
  memcpy(copy, data, size);
  if (size >= 64) {
    memcpy(copy + 8, &one, 8); /* identity or key */
    memcpy(words, copy, sizeof words);
    if (memcmp(copy, "webmltb1", 8) == 0 && words[2] < size && words[3] <= size - words[2]) {
      uint64_t hash = wml_hash(WML_HASH_SEED, copy + words[2], words[3]);
      memcpy(copy + 32, &hash, 8);
    } else if (memcmp(copy, "webmlls1", 8) == 0 && size > 48) {
      uint64_t hash = wml_hash(WML_HASH_SEED, copy + 48, size - 48);
      memcpy(copy + 16, &hash, 8);
    }
  }
  const char *path = fuzz_file("cache", copy, size);
  table(path);
  list(path);
  unlink(path);
  free(copy);
  return 0;
}
