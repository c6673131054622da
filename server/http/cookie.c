/* Cookies of a request (RFC 6265, 4.2.1): "name=value; name=value". */
#include "loop.h"

#include <string.h>

bool http_cookie_in(const char *field, size_t n, const char *name, char *value, size_t size) {
  const char *end = field + n;
  size_t length = strlen(name);
  for (const char *p = field; p < end;) {
    while (p < end && (*p == ' ' || *p == ';')) p++;
    const char *stop = memchr(p, ';', (size_t)(end - p)), *equals;
    if (!stop) stop = end;
    equals = memchr(p, '=', (size_t)(stop - p));
    if (equals && (size_t)(equals - p) == length && memcmp(p, name, length) == 0) {
      size_t bytes = (size_t)(stop - equals - 1);
      if (bytes >= size) return false;
      memcpy(value, equals + 1, bytes);
      value[bytes] = '\0';
      return true;
    }
    p = stop;
  }
  return false;
}

bool http_cookie(const http_request *r, const char *name, char *value, size_t size) {
  http_text fields[HTTP_MOST_VALUES];
  int n = http_values_of(r, "cookie", fields);
  for (int i = 0; i < n && i < HTTP_MOST_VALUES; i++)
    if (http_cookie_in(fields[i].bytes, fields[i].size, name, value, size)) return true;
  return false;
}
