#include "api/multipart.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* The content type up to the first line break, then the body: what is found lies inside it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *end = memchr(data, '\n', size);
  size_t n = end ? (size_t)(end - data) : size, length = 0;
  const uint8_t *body = end ? end + 1 : data + size;
  size_t left = (size_t)(data + size - body);
  char *type = malloc(n + 1);
  if (!type) return 0;
  memcpy(type, data, n);
  type[n] = '\0';
  const uint8_t *part = multipart_is(type) ? multipart_first(type, body, left, &length) : NULL;
  if (part && (part < body || length > left || part + length > body + left)) abort();
  free(type);
  return 0;
}
