#define _GNU_SOURCE /* memrchr */
#include "data/table/cells.h"

#include "base/text.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

void wml_cells_free(wml_cells *c) {
  wml_free(c->text);
  wml_free(c->cells);
  *c = (wml_cells){0};
}

webml_status wml_cells_reserve(wml_cells *c, size_t bytes) {
  if (bytes <= c->capacity && c->text) return WEBML_OK;
  char *grown = wml_regrow(c->text, c->size, bytes + WML_CELLS_PADDING);
  if (!grown) return wml_no_memory(bytes, c->name);
  c->text = grown;
  c->capacity = bytes;
  return WEBML_OK;
}

static webml_status grow_cells(wml_cells *c) {
  size_t capacity = c->cell_capacity * 2 + 1024;
  wml_cell *grown = wml_regrow(c->cells, c->n * sizeof *grown, capacity * sizeof *grown);
  if (!grown) return wml_no_memory(capacity * sizeof *grown, c->name);
  c->cells = grown;
  c->cell_capacity = capacity;
  return WEBML_OK;
}

webml_status wml_cells_push(wml_cells *c, size_t at, size_t length) {
  if (c->n == c->cell_capacity) WML_TRY(grow_cells(c));
  c->cells[c->n++] = (wml_cell){(uint32_t)at, (uint32_t)length};
  return WEBML_OK;
}

webml_status wml_cells_append(wml_cells *c, const void *bytes, size_t n) {
  WML_TRY(wml_cells_reserve(c, c->size + n > c->capacity ? (c->size + n) * 2 : c->capacity));
  WML_TRY(wml_cells_push(c, c->size, n));
  if (n) memcpy(c->text + c->size, bytes, n);
  c->size += n;
  return WEBML_OK;
}

webml_status wml_cells_ragged(const wml_cells *c, size_t fields) {
  return wml_fail(WEBML_ERROR_PARSE, "%zu field%s where the header has %zu", fields,
                  fields == 1 ? "" : "s", c->columns);
}

/* ---- the places that matter: separators, quotes and ends of lines, 64 bytes at a time ---- */

typedef struct places {
  const char *text;
  size_t size, base;
  uint64_t mask;
  char separator;
} places;

#if defined(__SSE2__)
static inline uint64_t places_in(const char *p, char separator) {
  const __m128i sep = _mm_set1_epi8(separator), quote = _mm_set1_epi8('"'),
                lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r');
  uint64_t mask = 0;
  for (int i = 0; i < 4; i++) {
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
    __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, sep), _mm_cmpeq_epi8(x, quote)),
                               _mm_or_si128(_mm_cmpeq_epi8(x, lf), _mm_cmpeq_epi8(x, cr)));
    mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(hit) << (16 * i);
  }
  return mask;
}
#elif defined(__aarch64__) && defined(__ARM_NEON)
static inline uint8x16_t hits_in(const uint8_t *p, uint8_t separator) {
  uint8x16_t x = vld1q_u8(p);
  return vorrq_u8(vorrq_u8(vceqq_u8(x, vdupq_n_u8(separator)), vceqq_u8(x, vdupq_n_u8('"'))),
                  vorrq_u8(vceqq_u8(x, vdupq_n_u8('\n')), vceqq_u8(x, vdupq_n_u8('\r'))));
}

/* NEON has no movemask: each byte keeps the bit of its place in a group of eight, and three rounds
 * of pairwise sums bring the eight together. */
static inline uint64_t places_in(const char *p, char separator) {
  static const uint8_t bit_of_place[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                           1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t bits = vld1q_u8(bit_of_place);
  const uint8_t *bytes = (const uint8_t *)p, sep = (uint8_t)separator;
  uint8x16_t a =
      vpaddq_u8(vandq_u8(hits_in(bytes, sep), bits), vandq_u8(hits_in(bytes + 16, sep), bits));
  uint8x16_t b =
      vpaddq_u8(vandq_u8(hits_in(bytes + 32, sep), bits), vandq_u8(hits_in(bytes + 48, sep), bits));
  uint8x16_t all = vpaddq_u8(a, b);
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}
#else
static inline uint64_t places_in(const char *p, char separator) {
  uint64_t mask = 0;
  for (int i = 0; i < 64; i++)
    mask |= (uint64_t)(p[i] == separator || p[i] == '"' || p[i] == '\n' || p[i] == '\r') << i;
  return mask;
}
#endif

/* The next place, or the size. */
static inline size_t next_place(places *p) {
  while (!p->mask) {
    p->base += 64;
    if (p->base >= p->size) return p->size;
    p->mask = places_in(p->text + p->base, p->separator);
  }
  size_t at = p->base + (size_t)__builtin_ctzll(p->mask);
  p->mask &= p->mask - 1;
  return at < p->size ? at : p->size;
}

/* ---- splitting ---- */

static inline bool blank(char c, char separator) {
  return (c == ' ' || c == '\t') && c != separator;
}

static inline bool all_blank(const char *text, size_t from, size_t to, char separator) {
  while (from < to && blank(text[from], separator)) from++;
  return from == to;
}

/* A cell that begins with the quote at `at`. Doubled quotes are closed up in place. Returns the
 * place behind it (separator, end of line or size); SIZE_MAX where the quoting is uncommon. */
static size_t quoted_cell(wml_cells *c, places *p, size_t at, size_t *length) {
  size_t from = at + 1, to = at + 1;
  for (;;) {
    size_t q = next_place(p);
    while (q < c->size && c->text[q] != '"') q = next_place(p);
    if (q == c->size) return SIZE_MAX; /* never closed */
    size_t piece = q - from;
    if (to != from) memmove(c->text + to, c->text + from, piece);
    to += piece;
    if (q + 1 < c->size && c->text[q + 1] == '"') {
      c->text[to++] = '"';
      from = next_place(p) + 1;
      continue;
    }
    *length = to - at - 1;
    size_t end = next_place(p);
    bool plain =
        (end == c->size || c->text[end] != '"') && all_blank(c->text, q + 1, end, p->separator);
    return plain ? end : SIZE_MAX;
  }
}

webml_status wml_cells_split(wml_cells *c, char separator, bool *uncommon, size_t *bad_row) {
  c->n = c->rows = 0;
  *uncommon = false;
  if (c->size == 0) return WEBML_OK;
  memset(c->text + c->size, 0, WML_CELLS_PADDING);
  places p = {c->text, c->size, 0, places_in(c->text, separator), separator};
  size_t start = 0, in_row = 0;
  while (start < c->size || in_row) {
    size_t end = next_place(&p), from = start, length;
    bool quoted = end < c->size && c->text[end] == '"';
    if (quoted) {
      if (!all_blank(c->text, start, end, separator)) {
        *uncommon = true;
        return WEBML_OK;
      }
      from = end + 1;
      end = quoted_cell(c, &p, end, &length);
      if (end == SIZE_MAX) {
        *uncommon = true;
        return WEBML_OK;
      }
    } else {
      size_t to = end;
      while (from < to && blank(c->text[from], separator)) from++;
      while (to > from && blank(c->text[to - 1], separator)) to--;
      length = to - from;
    }
    bool line_ends = end == c->size || c->text[end] != separator;
    start = end + 1;
    if (line_ends && !in_row && !quoted && length == 0) continue; /* an empty line */
    WML_TRY(wml_cells_push(c, from, length));
    in_row++;
    if (!line_ends) {
      if (in_row > WML_CELLS_MAX_COLUMNS) break;
      continue;
    }
    if (!c->columns) c->columns = in_row;
    if (in_row != c->columns) {
      *bad_row = c->rows;
      return wml_cells_ragged(c, in_row);
    }
    c->rows++;
    in_row = 0;
  }
  if (in_row > WML_CELLS_MAX_COLUMNS) {
    *bad_row = c->rows;
    return wml_fail(WEBML_ERROR_PARSE, "more than %d fields", WML_CELLS_MAX_COLUMNS);
  }
  return WEBML_OK;
}

webml_status wml_cells_check_text(const wml_cells *c, size_t *bad_row) {
  unsigned char high = 0;
  for (size_t i = 0; i < c->size; i++) high |= (unsigned char)c->text[i];
  if (high < 0x80 && !memchr(c->text, 0, c->size)) return WEBML_OK;
  for (size_t i = 0; i < c->n; i++) {
    const char *s = c->text + c->cells[i].at;
    for (size_t k = 0, n = c->cells[i].length, step; k < n; k += step)
      if ((step = wml_utf8_length(s + k, n - k)) == 0 || s[k] == '\0') {
        *bad_row = i / c->columns;
        return wml_fail(WEBML_ERROR_PARSE,
                        "column %zu is not UTF-8 text; convert the file to UTF-8",
                        i % c->columns + 1);
      }
  }
  return WEBML_OK;
}

/* ---- rows ---- */

static size_t last_line_end(const char *text, size_t from, size_t to) {
  const char *lf = memrchr(text + from, '\n', to - from);
  if (lf) return (size_t)(lf - text) + 1;
  const char *cr = memrchr(text + from, '\r', to - from);
  /* A CR that ends the piece may be half of a CRLF: wait for the next byte. */
  if (cr && (size_t)(cr - text) + 1 < to) return (size_t)(cr - text) + 1;
  return 0;
}

size_t wml_rows_end(const char *text, size_t size) {
  size_t end = 0, at = 0;
  for (bool quoted = false; at < size; quoted = !quoted) {
    const char *quote = memchr(text + at, '"', size - at);
    size_t next = quote ? (size_t)(quote - text) : size;
    size_t found = quoted ? 0 : last_line_end(text, at, next);
    if (found) end = found;
    at = next + 1;
  }
  return end;
}

char wml_guess_separator(const char *s, size_t n) {
  size_t comma = 0, semicolon = 0, tab = 0;
  bool quoted = false;
  for (size_t i = 0; i < n && (quoted || (s[i] != '\n' && s[i] != '\r')); i++) {
    if (s[i] == '"') quoted = !quoted;
    if (quoted) continue;
    comma += s[i] == ',', semicolon += s[i] == ';', tab += s[i] == '\t';
  }
  return semicolon > comma && semicolon >= tab ? ';' : tab > comma ? '\t' : ',';
}
