/* Texts of strangers. */
#include "text.h"

#include <stdint.h>

/* The length of the UTF-8 sequence at p (RFC 3629: the shortest form, no surrogates, at most
 * U+10FFFF); 0: there is none. */
static size_t sequence(const unsigned char *p, const unsigned char *end) {
  size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
  if (!n || n > (size_t)(end - p)) return 0;
  for (size_t i = 1; i < n; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0) || (*p == 0xf0 && p[1] < 0x90) ||
      (*p == 0xf4 && p[1] >= 0x90))
    return 0;
  return n;
}

bool http_is_text(const char *bytes, size_t size) {
  const unsigned char *p = (const unsigned char *)bytes, *end = p + size;
  while (p < end) {
    if (*p < 32 || *p == 127) return false;
    size_t n = sequence(p, end);
    if (!n) return false;
    p += n;
  }
  return true;
}

static int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

size_t http_decode(char *bytes, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < size; i++) {
    int high = i + 2 < size && bytes[i] == '%' ? digit(bytes[i + 1]) : -1;
    int low = high >= 0 ? digit(bytes[i + 2]) : -1;
    bytes[n++] = low >= 0 ? (char)(high * 16 + low) : bytes[i];
    if (low >= 0) i += 2;
  }
  return n;
}
