/* safetensors files of float32 and int8 tensors with string metadata. Format: u64 little-endian N,
 * N bytes of JSON, then the data; offsets are relative to the data, contiguous, without holes. */
#ifndef WML_FORMATS_SAFETENSORS_H
#define WML_FORMATS_SAFETENSORS_H

#include "base/json.h"

typedef struct wml_named_tensor {
  const char *name;
  int rank;
  int64_t dim[4];
  const float *data;   /* row-major; NULL: int8 */
  const int8_t *bytes; /* of an int8 tensor */
} wml_named_tensor;

typedef struct wml_named_string {
  const char *name, *value;
} wml_named_string;

/* Atomically; the data may be the caller's own buffers. int8 tensors come after all others. */
webml_status wml_safetensors_write(const char *path, const wml_named_tensor *tensors, int n_tensors,
                                   const wml_named_string *strings, int n_strings);

/* A file read whole; every length is checked before it is believed. */
typedef struct wml_safetensors {
  wml_arena arena;
  char *bytes;
  const wml_json *metadata; /* string -> string, or NULL */
  int n;
  wml_named_tensor *tensors; /* data points into bytes */
} wml_safetensors;

webml_status wml_safetensors_read(const char *path, wml_safetensors *file);
/* The same from memory; takes over `bytes` (wml_alloc) in any case. */
webml_status wml_safetensors_parse(char *bytes, size_t size, const char *name,
                                   wml_safetensors *file);
void wml_safetensors_free(wml_safetensors *file);
const wml_named_tensor *wml_safetensors_find(const wml_safetensors *file, const char *name);
int64_t wml_named_elements(const wml_named_tensor *tensor);

#endif
