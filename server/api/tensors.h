/* Tensors of the Open Inference Protocol V2: datatypes, JSON and binary forms. */
#ifndef SERVER_API_TENSORS_H
#define SERVER_API_TENSORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tensor_kind {
  const char *name;
  size_t size;        /* bytes of an element */
  bool whole;         /* whole numbers only */
  double least, most; /* of a number in JSON */
} tensor_kind;

/* The datatype of this name; NULL: none that is taken. */
const tensor_kind *tensor_kind_of(const char *name);
/* [n] elements, little-endian, as float32. */
void tensor_to_floats(const tensor_kind *kind, const void *bytes, int64_t n, float *out);

enum { TENSOR_MOST_DIMS = 8 };

typedef struct tensor_shape {
  int rank;
  int64_t dim[TENSOR_MOST_DIMS];
} tensor_shape;

int64_t tensor_elements(const tensor_shape *shape);

/* The numbers of a list that is flat, row-major, or nested exactly as the shape says. False with a
 * sentence: of another shape, or a number that the datatype does not have. */
bool tensor_from_json(const json_t *data, const tensor_kind *kind, const tensor_shape *shape,
                      float *out, char *error, size_t error_size);
/* The same as bytes; the datatype must be UINT8. */
bool tensor_bytes_from_json(const json_t *data, const tensor_shape *shape, uint8_t *out,
                            char *error, size_t error_size);

#endif
