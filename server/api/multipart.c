#define _GNU_SOURCE /* memmem */
#include "multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

bool multipart_is(const char *content_type) {
  return content_type && strncasecmp(content_type, "multipart/form-data", 19) == 0;
}

/* "--" and the boundary of the content type. False: it has none of 1 to 70 characters. */
static bool read_delimiter(const char *content_type, char out[80]) {
  const char *at = strcasestr(content_type, "boundary=");
  if (!at) return false;
  at += strlen("boundary=");
  bool quoted = *at == '"';
  size_t n = quoted ? strcspn(++at, "\"") : strcspn(at, "; \t");
  if (!n || n > 70) return false;
  snprintf(out, 80, "--%.*s", (int)n, at);
  return true;
}

const void *multipart_first(const char *content_type, const void *body, size_t size,
                            size_t *length) {
  char delimiter[80];
  const char *end = (const char *)body + size;
  if (!read_delimiter(content_type, delimiter)) return NULL;
  size_t n = strlen(delimiter);
  const char *at = memmem(body, size, delimiter, n);
  while (at) {
    const char *head = at + n;
    const char *text = memmem(head, (size_t)(end - head), "\r\n\r\n", 4);
    if (!text) return NULL;
    text += 4;
    const char *next = memmem(text, (size_t)(end - text), delimiter, n);
    if (!next || next - text < 2) return NULL;
    *length = (size_t)(next - 2 - text); /* the line break belongs to the delimiter */
    if (*length) return text;
    at = next;
  }
  return NULL;
}
