#include "tensors.h"

#include <string.h>

/* X(name, C type) */
#define DATATYPES(X)                                                                               \
  X("BOOL", uint8_t)                                                                               \
  X("UINT8", uint8_t)                                                                              \
  X("UINT16", uint16_t)                                                                            \
  X("UINT32", uint32_t)                                                                            \
  X("UINT64", uint64_t)                                                                            \
  X("INT8", int8_t)                                                                                \
  X("INT16", int16_t)                                                                              \
  X("INT32", int32_t)                                                                              \
  X("INT64", int64_t)                                                                              \
  X("FP32", float)                                                                                 \
  X("FP64", double)

size_t tensor_size(const char *datatype) {
#define SIZE(name, type)                                                                           \
  if (strcmp(datatype, name) == 0) return sizeof(type);
  DATATYPES(SIZE)
#undef SIZE
  return 0;
}

void tensor_to_floats(const char *datatype, const void *bytes, int64_t n, float *out) {
#define CONVERT(name, type)                                                                        \
  if (strcmp(datatype, name) == 0) {                                                               \
    for (int64_t i = 0; i < n; i++) {                                                              \
      type value;                                                                                  \
      memcpy(&value, (const char *)bytes + (size_t)i * sizeof value, sizeof value);                \
      out[i] = (float)value;                                                                       \
    }                                                                                              \
    return;                                                                                        \
  }
  DATATYPES(CONVERT)
#undef CONVERT
}

/* Depth is bounded by the JSON reader's own limit. */
static bool flatten(const json_t *data, int64_t n, int64_t *at, float *out) {
  size_t i;
  json_t *value;
  if (json_is_array(data)) {
    json_array_foreach(data, i, value) if (!flatten(value, n, at, out)) return false;
    return true;
  }
  if (*at >= n || !(json_is_number(data) || json_is_boolean(data))) return false;
  out[(*at)++] = json_is_boolean(data) ? (float)json_is_true(data) : (float)json_number_value(data);
  return true;
}

bool tensor_from_json(const json_t *data, int64_t n, float *out) {
  int64_t at = 0;
  return json_is_array(data) && flatten(data, n, &at, out) && at == n;
}

static bool flatten_bytes(const json_t *data, int64_t n, int64_t *at, uint8_t *out) {
  size_t i;
  json_t *value;
  if (json_is_array(data)) {
    json_array_foreach(data, i, value) if (!flatten_bytes(value, n, at, out)) return false;
    return true;
  }
  json_int_t number = json_integer_value(data);
  if (*at >= n || !json_is_integer(data) || number < 0 || number > 255) return false;
  out[(*at)++] = (uint8_t)number;
  return true;
}

bool tensor_bytes_from_json(const json_t *data, int64_t n, uint8_t *out) {
  int64_t at = 0;
  return json_is_array(data) && flatten_bytes(data, n, &at, out) && at == n;
}
