/* Bodies of requests that came compressed (Content-Encoding; RFC 9110, 8.4). */
#include "loop.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { GZIP_OR_ZLIB = 15 + 32 };

/* Grows as it goes: what a client announces costs nothing. */
static void *inflate_all(const void *from, size_t size, size_t most, size_t *out, int *status) {
  z_stream z = {.next_in = (Bytef *)(uintptr_t)from, .avail_in = (uInt)size};
  size_t room = size * 4 + 4096;
  char *to = NULL;
  int code = Z_OK;
  *status = 503;
  if (inflateInit2(&z, GZIP_OR_ZLIB) != Z_OK) return NULL;
  while (code == Z_OK) {
    if (room > most + 1) room = most + 1;
    char *grown = realloc(to, room);
    if (!grown) break;
    to = grown;
    z.next_out = (Bytef *)to + z.total_out;
    z.avail_out = (uInt)(room - z.total_out);
    code = inflate(&z, Z_NO_FLUSH);
    *status = z.total_out > most ? 413 : 400;
    if (z.total_out > most || (code == Z_OK && z.avail_out)) break; /* too large; or cut */
    room *= 2;
  }
  *out = z.total_out;
  bool whole = code == Z_STREAM_END && *out <= most && !z.avail_in;
  inflateEnd(&z);
  if (whole) return to;
  free(to);
  return NULL;
}

void *http_unpack_body(const http_request *r, size_t most, size_t *size, int *status) {
  const char *how = http_header(r, "content-encoding");
  size_t packed;
  *status = 0;
  if (!how || strcmp(how, "identity") == 0) return NULL;
  *status = 415;
  if (strcmp(how, "gzip") != 0 && strcmp(how, "deflate") != 0) return NULL;
  const void *body = http_body(r, &packed);
  return inflate_all(body, packed, most, size, status);
}
