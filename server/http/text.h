#ifndef SERVER_HTTP_TEXT_H
#define SERVER_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 without control characters. */
bool http_is_text(const char *bytes, size_t size);
/* Percent-decodes in place; returns the new size. What is no encoding stays. */
size_t http_decode(char *bytes, size_t size);

#endif
