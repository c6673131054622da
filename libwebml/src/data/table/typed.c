#include "data/table/typed.h"

#include "base/alloc.h"

#include <math.h>
#include <string.h>

typedef enum form { FORM_NONE, FORM_U8, FORM_I16, FORM_I32, FORM_F32, FORM_F64, N_FORMS } form;

static const size_t form_bytes[N_FORMS] = {0, 1, 2, 4, 4, 8};

static size_t aligned(size_t n) {
  return (n + 7) / 8 * 8;
}

static webml_status reserve(wml_typed *t, size_t more) {
  if (t->capacity - t->size >= more) return WEBML_OK;
  size_t capacity = (t->size + more) * 3 / 2;
  uint8_t *grown = wml_regrow(t->bytes, t->size, capacity);
  if (!grown) return wml_no_memory(capacity, "a block of rows");
  t->bytes = grown;
  t->capacity = capacity;
  return WEBML_OK;
}

webml_status wml_typed_begin(wml_typed *t, int columns) {
  size_t head = aligned((size_t)columns * sizeof(uint32_t));
  t->size = 0;
  WML_TRY(reserve(t, head));
  memset(t->bytes, 0, head);
  t->size = head;
  return WEBML_OK;
}

static form choose(const double *x, size_t n, bool whole) {
  double low = 0.0, high = 0.0;
  bool any = false, narrow = true;
  for (size_t i = 0; i < n; i++) {
    bool there = x[i] == x[i];
    any |= there;
    low = there && x[i] < low ? x[i] : low;
    high = there && x[i] > high ? x[i] : high;
  }
  if (!any) return FORM_NONE;
  if (whole && low >= 0 && high < 255) return FORM_U8;
  if (whole && low > -32768 && high < 32768) return FORM_I16;
  if (whole && low > -2147483648.0 && high < 2147483648.0) return FORM_I32;
  for (size_t i = 0; i < n; i++) narrow &= !((double)(float)x[i] != x[i]) || x[i] != x[i];
  return narrow ? FORM_F32 : FORM_F64;
}

#define PACK(type, missing)                                                                        \
  do {                                                                                             \
    type *to = (type *)(void *)out;                                                                \
    for (size_t i = 0; i < rows; i++) to[i] = x[i] == x[i] ? (type)x[i] : (type)(missing);         \
  } while (0)

webml_status wml_typed_numbers(wml_typed *t, int column, const double *x, size_t rows, bool whole) {
  form f = choose(x, rows, whole);
  size_t bytes = aligned(rows * form_bytes[f]);
  uint32_t where = (uint32_t)(t->size / 8) << 3 | (uint32_t)f;
  WML_TRY(reserve(t, bytes));
  memcpy(t->bytes + (size_t)column * sizeof where, &where, sizeof where);
  uint8_t *out = t->bytes + t->size;
  if (bytes) memset(out + bytes - 8, 0, 8);
  switch (f) {
  case FORM_U8: PACK(uint8_t, 255); break;
  case FORM_I16: PACK(int16_t, INT16_MIN); break;
  case FORM_I32: PACK(int32_t, INT32_MIN); break;
  case FORM_F32: PACK(float, NAN); break;
  case FORM_F64: memcpy(out, x, rows * sizeof *x); break;
  default: break;
  }
  t->size += bytes;
  return WEBML_OK;
}

void wml_typed_free(wml_typed *t) {
  wml_free(t->bytes);
  *t = (wml_typed){0};
}

#define UNPACK(type, missing)                                                                      \
  do {                                                                                             \
    const type *from = (const type *)(const void *)in;                                             \
    for (size_t i = 0; i < rows; i++) out[i] = from[i] == (missing) ? NAN : (double)from[i];       \
  } while (0)

bool wml_typed_read(const uint8_t *bytes, size_t size, int columns, int column, size_t rows,
                    double *out) {
  uint32_t where;
  if (column >= columns || size < (size_t)columns * sizeof where) return false;
  memcpy(&where, bytes + (size_t)column * sizeof where, sizeof where);
  form f = (form)(where & 7);
  size_t offset = (size_t)(where >> 3) * 8;
  if (f >= N_FORMS || offset > size || rows > (size - offset) / (form_bytes[f] ? form_bytes[f] : 1))
    if (f != FORM_NONE) return false;
  const uint8_t *in = bytes + offset;
  switch (f) {
  case FORM_U8: UNPACK(uint8_t, 255); break;
  case FORM_I16: UNPACK(int16_t, INT16_MIN); break;
  case FORM_I32: UNPACK(int32_t, INT32_MIN); break;
  case FORM_F32:
    for (size_t i = 0; i < rows; i++) out[i] = (double)((const float *)(const void *)in)[i];
    break;
  case FORM_F64: memcpy(out, in, rows * sizeof *out); break;
  default:
    for (size_t i = 0; i < rows; i++) out[i] = NAN;
  }
  return true;
}
