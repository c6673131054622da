/* Tensors of the Open Inference Protocol V2: names, datatypes, JSON and binary forms. */
#ifndef SERVER_API_TENSORS_H
#define SERVER_API_TENSORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of one element; 0: not a datatype that is taken. */
size_t tensor_size(const char *datatype);
/* [n] elements of the datatype, little-endian, as float32. */
void tensor_to_floats(const char *datatype, const void *bytes, int64_t n, float *out);
/* The numbers of a nested or flat list, row-major; false: not n of them. */
bool tensor_from_json(const json_t *data, int64_t n, float *out);
/* The same as bytes 0 to 255; false: another number is among them. */
bool tensor_bytes_from_json(const json_t *data, int64_t n, uint8_t *out);

#endif
