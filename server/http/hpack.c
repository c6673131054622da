/* Counts the fields of a header block. A reference to a table is one byte on the wire and many in
 * memory (libh2o: some 60), whatever it refers to, so it is the number of fields that must be known
 * before libh2o decodes. For that the tables are not needed. */
#include "hpack.h"

/* An integer with a prefix of `bits` (5.1); false: broken, or larger than any block. */
static bool read_integer(const uint8_t **p, const uint8_t *end, int bits, size_t *value) {
  size_t most = ((size_t)1 << bits) - 1;
  if (*p >= end) return false;
  *value = *(*p)++ & most;
  if (*value < most) return true;
  for (int shift = 0; shift < 28; shift += 7) {
    if (*p >= end) return false;
    uint8_t byte = *(*p)++;
    *value += (size_t)(byte & 127) << shift;
    if (!(byte & 128)) return true;
  }
  return false;
}

/* A text (5.2). libh2o takes twice the bytes for what is Huffman-coded. */
static bool skip_text(const uint8_t **p, const uint8_t *end, http_block *b) {
  size_t size;
  if (*p >= end) return false;
  bool huffman = **p & 128;
  if (!read_integer(p, end, 7, &size) || size > (size_t)(end - *p)) return false;
  b->literal += huffman ? size * 2 : size;
  *p += size;
  return true;
}

bool http_block_measure(const uint8_t *p, size_t size, size_t most, http_block *b) {
  const uint8_t *end = p + size;
  *b = (http_block){0};
  while (p < end) {
    size_t index;
    uint8_t first = *p;
    bool literal = !(first & 128), update = (first & 224) == 32;
    int bits = first & 128 ? 7 : first & 64 ? 6 : update ? 5 : 4;
    if (!read_integer(&p, end, bits, &index)) return false;
    if (++b->fields > most) return false;
    if (!literal || update) continue;
    if (!index && !skip_text(&p, end, b)) return false;
    if (!skip_text(&p, end, b)) return false;
  }
  return true;
}
