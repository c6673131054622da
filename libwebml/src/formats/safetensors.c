#include "formats/safetensors.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const size_t max_header = 100000000, max_file = (size_t)1 << 40;

int64_t wml_named_elements(const wml_named_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->dim[i];
  return n;
}

static int64_t bytes_of(const wml_named_tensor *t) {
  return wml_named_elements(t) * (t->bytes ? 1 : (int64_t)sizeof(float));
}

/* ---- writing ---- */

static void write_header(wml_text *t, const wml_named_tensor *tensors, int n_tensors,
                         const wml_named_string *strings, int n_strings) {
  int64_t offset = 0;
  wml_json_open(t, '{');
  if (n_strings) {
    wml_json_key(t, "__metadata__");
    wml_json_open(t, '{');
    for (int i = 0; i < n_strings; i++) {
      wml_json_key(t, strings[i].name);
      wml_json_string(t, strings[i].value);
    }
    wml_json_close(t, '}');
  }
  for (int i = 0; i < n_tensors; i++) {
    int64_t bytes = bytes_of(&tensors[i]);
    wml_json_key(t, tensors[i].name);
    wml_json_open(t, '{');
    wml_json_key(t, "dtype");
    wml_json_string(t, tensors[i].bytes ? "I8" : "F32");
    wml_json_key(t, "shape");
    wml_json_open(t, '[');
    for (int k = 0; k < tensors[i].rank; k++) wml_json_int(t, tensors[i].dim[k]);
    wml_json_close(t, ']');
    wml_json_key(t, "data_offsets");
    wml_json_open(t, '[');
    wml_json_int(t, offset);
    wml_json_int(t, offset + bytes);
    wml_json_close(t, ']');
    wml_json_close(t, '}');
    offset += bytes;
  }
  wml_json_close(t, '}');
  while (t->length % 64 != 56 && !t->failed)
    wml_text_add(t, " ", 1); /* the data begins at a multiple of 64 */
}

webml_status wml_safetensors_write(const char *path, const wml_named_tensor *tensors, int n_tensors,
                                   const wml_named_string *strings, int n_strings) {
  wml_text header = {0};
  write_header(&header, tensors, n_tensors, strings, n_strings);
  if (header.failed) {
    wml_text_free(&header);
    return wml_no_memory(header.length, "the header of a weights file");
  }
  wml_atomic_file f;
  webml_status status = wml_atomic_open(path, &f);
  if (status != WEBML_OK) {
    wml_text_free(&header);
    return status;
  }
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header.length >> (8 * i));
  status = wml_atomic_write(&f, length, sizeof length);
  if (status == WEBML_OK) status = wml_atomic_write(&f, header.data, header.length);
  for (int i = 0; i < n_tensors && status == WEBML_OK;
       i++) /* little-endian machines only, as all we build for */
    status = wml_atomic_write(
        &f, tensors[i].bytes ? (const void *)tensors[i].bytes : (const void *)tensors[i].data,
        (size_t)bytes_of(&tensors[i]));
  wml_text_free(&header);
  if (status == WEBML_OK) return wml_atomic_commit(&f);
  wml_atomic_abandon(&f);
  return status;
}

/* ---- reading ---- */

static bool whole(const wml_json *v, double limit, int64_t *out) {
  if (!v || v->kind != WML_JSON_NUMBER || v->number < 0 || v->number > limit ||
      v->number != floor(v->number))
    return false;
  *out = (int64_t)v->number;
  return true;
}

static webml_status damaged(const char *name, const char *what) {
  return wml_fail(WEBML_ERROR_PARSE, "%s is not a sound weights file: %s", name, what);
}

static webml_status read_tensor(const wml_json *json, const char *data, size_t data_bytes,
                                const char *name, wml_named_tensor *t, int64_t *begin,
                                int64_t *end) {
  const wml_json *shape = wml_json_get(json, "shape"),
                 *offsets = wml_json_get(json, "data_offsets");
  if (!shape || shape->kind != WML_JSON_ARRAY || !offsets || offsets->kind != WML_JSON_ARRAY ||
      offsets->count != 2)
    return damaged(name, "a tensor without shape or data_offsets");
  const char *type = wml_json_get_string(json, "dtype", "of no type");
  bool int8 = strcmp(type, "I8") == 0;
  if (!int8 && strcmp(type, "F32") != 0)
    return wml_fail(WEBML_ERROR_UNSUPPORTED,
                    "%s: tensor \"%s\" is %s; only F32 and I8 are supported", name, json->key,
                    type);
  if (shape->count > 4) return damaged(name, "a tensor of more than four dimensions");
  if (!whole(offsets->first, (double)data_bytes, begin) ||
      !whole(offsets->first->next, (double)data_bytes, end) || *end < *begin)
    return damaged(name, "data_offsets beyond the end of the file");
  *t = (wml_named_tensor){.name = json->key, .rank = shape->count};
  if (int8)
    t->bytes = (const int8_t *)(data + *begin);
  else
    t->data = (const float *)(const void *)(data + *begin);
  int64_t n = 1;
  int i = 0;
  for (const wml_json *d = shape->first; d; d = d->next, i++) {
    if (!whole(d, 1e15, &t->dim[i]) || (t->dim[i] && n > ((int64_t)1 << 50) / t->dim[i]))
      return damaged(name, "a shape that is too large");
    n *= t->dim[i];
  }
  if (n * (int8 ? 1 : 4) != *end - *begin)
    return damaged(name, "a shape that does not match its data_offsets");
  if (!int8 && *begin % 4) return damaged(name, "a tensor at an odd offset");
  return WEBML_OK;
}

static webml_status parse(wml_safetensors *f, size_t size, const char *name) {
  uint64_t n = 0;
  if (size < 10) return damaged(name, "it is too short");
  for (int i = 0; i < 8; i++) n |= (uint64_t)(uint8_t)f->bytes[i] << (8 * i);
  if (n > max_header || n > size - 8) return damaged(name, "its header is longer than the file");
  if (f->bytes[8] != '{') return damaged(name, "it has no JSON header");
  const wml_json *root = NULL;
  WML_TRY(wml_json_parse(&f->arena, f->bytes + 8, (size_t)n, name, &root));
  if (root->kind != WML_JSON_OBJECT) return damaged(name, "its header is not an object");
  /* The data must be aligned for float32: move it to the start of the block, which is. */
  size_t data_bytes = size - 8 - (size_t)n;
  memmove(f->bytes, f->bytes + 8 + n, data_bytes);
  f->tensors = wml_arena_alloc(&f->arena, ((size_t)root->count + 1) * sizeof *f->tensors);
  if (!f->tensors) return wml_no_memory((size_t)root->count * sizeof *f->tensors, name);
  int64_t expected = 0, begin = 0, end = 0;
  for (const wml_json *m = root->first; m; m = m->next) {
    if (strcmp(m->key, "__metadata__") == 0) {
      if (m->kind == WML_JSON_OBJECT) f->metadata = m;
      continue;
    }
    WML_TRY(read_tensor(m, f->bytes, data_bytes, name, &f->tensors[f->n++], &begin, &end));
    if (begin != expected) return damaged(name, "holes or overlaps between tensors");
    expected = end;
  }
  return (size_t)expected == data_bytes
             ? WEBML_OK
             : damaged(name, "bytes that belong to no tensor, or too few");
}

webml_status wml_safetensors_parse(char *bytes, size_t size, const char *name, wml_safetensors *f) {
  *f = (wml_safetensors){.bytes = bytes};
  webml_status status = parse(f, size, name);
  if (status != WEBML_OK) wml_safetensors_free(f);
  return status;
}

webml_status wml_safetensors_read(const char *path, wml_safetensors *f) {
  char *bytes = NULL;
  size_t size = 0;
  *f = (wml_safetensors){0};
  WML_TRY(wml_file_read(path, max_file, &bytes, &size));
  return wml_safetensors_parse(bytes, size, path, f);
}

void wml_safetensors_free(wml_safetensors *f) {
  wml_free(f->bytes);
  wml_arena_free(&f->arena);
  *f = (wml_safetensors){0};
}

const wml_named_tensor *wml_safetensors_find(const wml_safetensors *f, const char *name) {
  for (int i = 0; i < f->n; i++)
    if (strcmp(f->tensors[i].name, name) == 0) return &f->tensors[i];
  return NULL;
}
