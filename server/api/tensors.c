#include "tensors.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

static float from_half(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023, bits;
  float x;
  if (exponent == 31)
    bits = sign | 0x7F800000 | fraction << 13;
  else if (exponent)
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  else { /* zero, or subnormal: a multiple of 2^-24 */
    x = (float)fraction * 0x1p-24f;
    return sign ? -x : x;
  }
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float from_bfloat(uint16_t b) {
  uint32_t bits = (uint32_t)b << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

#define AS_FLOAT(x) ((float)(x))

/* X(name, C type, conversion, whole, least, most) */
#define DATATYPES(X)                                                                               \
  X("FP32", float, AS_FLOAT, false, -FLT_MAX, FLT_MAX)                                             \
  X("UINT8", uint8_t, AS_FLOAT, true, 0, UINT8_MAX)                                                \
  X("FP16", uint16_t, from_half, false, -65504, 65504)                                             \
  X("BF16", uint16_t, from_bfloat, false, -0x1.FEp127, 0x1.FEp127)                                 \
  X("FP64", double, AS_FLOAT, false, -FLT_MAX, FLT_MAX)                                            \
  X("BOOL", uint8_t, AS_FLOAT, true, 0, 1)                                                         \
  X("UINT16", uint16_t, AS_FLOAT, true, 0, UINT16_MAX)                                             \
  X("UINT32", uint32_t, AS_FLOAT, true, 0, UINT32_MAX)                                             \
  X("UINT64", uint64_t, AS_FLOAT, true, 0, 0x1p63)                                                 \
  X("INT8", int8_t, AS_FLOAT, true, INT8_MIN, INT8_MAX)                                            \
  X("INT16", int16_t, AS_FLOAT, true, INT16_MIN, INT16_MAX)                                        \
  X("INT32", int32_t, AS_FLOAT, true, INT32_MIN, INT32_MAX)                                        \
  X("INT64", int64_t, AS_FLOAT, true, -0x1p63, 0x1p63)

#define KIND(name, type, convert, whole, least, most) {name, sizeof(type), whole, least, most},
static const tensor_kind kinds[] = {DATATYPES(KIND)};
#undef KIND

const tensor_kind *tensor_kind_of(const char *name) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
  return NULL;
}

void tensor_to_floats(const tensor_kind *kind, const void *bytes, int64_t n, float *out) {
#define CONVERT(name_, type, convert, whole_, least_, most_)                                       \
  if (strcmp(kind->name, name_) == 0) {                                                            \
    for (int64_t i = 0; i < n; i++) {                                                              \
      type value;                                                                                  \
      memcpy(&value, (const char *)bytes + (size_t)i * sizeof value, sizeof value);                \
      out[i] = convert(value);                                                                     \
    }                                                                                              \
    return;                                                                                        \
  }
  DATATYPES(CONVERT)
#undef CONVERT
}

int64_t tensor_elements(const tensor_shape *shape) {
  int64_t n = 1;
  for (int i = 0; i < shape->rank; i++) n *= shape->dim[i];
  return n;
}

/* ---- from JSON ---- */

typedef struct reading {
  const tensor_kind *kind;
  const tensor_shape *shape;
  float *floats;
  uint8_t *bytes; /* one of the two */
  int64_t at;
  char *error;
  size_t size;
} reading;

static bool take_number(reading *r, const json_t *value) {
  double x = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
  bool number = json_is_number(value) || (json_is_boolean(value) && r->kind->whole),
       whole = json_is_integer(value) || json_is_boolean(value);
  if (!number)
    snprintf(r->error, r->size, "element %lld is not a number", (long long)r->at);
  else if (r->kind->whole && !whole)
    snprintf(r->error, r->size, "element %lld is not a whole number, as %s has", (long long)r->at,
             r->kind->name);
  else if (!(x >= r->kind->least && x <= r->kind->most))
    snprintf(r->error, r->size, "element %lld is %.6g; %s has %.6g to %.6g", (long long)r->at, x,
             r->kind->name, r->kind->least, r->kind->most);
  else {
    if (r->bytes)
      r->bytes[r->at++] = (uint8_t)x;
    else
      r->floats[r->at++] = (float)x;
    return true;
  }
  return false;
}

/* level: how deep the list is nested. */
static bool take_list(reading *r, const json_t *list, int level, bool flat) {
  int64_t want = flat ? tensor_elements(r->shape) : r->shape->dim[level];
  size_t i;
  json_t *value;
  if (!json_is_array(list) || (int64_t)json_array_size(list) != want) {
    snprintf(r->error, r->size, "it must be a list of %lld %s%s, at element %lld", (long long)want,
             flat || level == r->shape->rank - 1 ? "numbers" : "lists",
             flat ? "" : " as its shape says", (long long)r->at);
    return false;
  }
  json_array_foreach((json_t *)(uintptr_t)list, i,
                     value) if (flat || level == r->shape->rank - 1
                                    ? !take_number(r, value)
                                    : !take_list(r, value, level + 1, false)) return false;
  return true;
}

static bool read_json(reading *r, const json_t *data) {
  bool flat = !json_is_array(json_array_get(data, 0));
  return take_list(r, data, 0, flat);
}

bool tensor_from_json(const json_t *data, const tensor_kind *kind, const tensor_shape *shape,
                      float *out, char *error, size_t size) {
  reading r = {.kind = kind, .shape = shape, .floats = out, .error = error, .size = size};
  return read_json(&r, data);
}

bool tensor_bytes_from_json(const json_t *data, const tensor_shape *shape, uint8_t *out,
                            char *error, size_t size) {
  reading r = {
      .kind = tensor_kind_of("UINT8"), .shape = shape, .bytes = out, .error = error, .size = size};
  return read_json(&r, data);
}
