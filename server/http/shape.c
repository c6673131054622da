/* What an answer becomes by the fields of its request: 304, compressed, a part (RFC 9110, 12.5.3,
 * 13, 14). */
#include "loop.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LEAST = 1024, LEVEL = 4 }; /* bytes below which compressing is not worth it */

static const char *field_of(const http_response *response, const char *name) {
  for (int i = 0; i < response->n_fields; i++)
    if (strcmp(response->fields[i].name, name) == 0) return response->fields[i].value;
  return NULL;
}

/* ---- entity tags ---- */

/* Weak comparison of a tag with those of a list (RFC 9110, 8.8.3.2). */
static bool has_tag(const char *list, const char *tag) {
  if (strncmp(tag, "W/", 2) == 0) tag += 2;
  size_t n = strlen(tag);
  for (const char *p = list + strspn(list, " \t,"); *p; p += strspn(p, " \t,")) {
    if (*p == '*') return true;
    if (strncmp(p, "W/", 2) == 0) p += 2;
    const char *end = *p == '"' ? strchr(p + 1, '"') : NULL;
    if (!end) return false;
    if ((size_t)(end + 1 - p) == n && memcmp(p, tag, n) == 0) return true;
    p = end + 1;
  }
  return false;
}

static bool is_read(const http_request *r) {
  return strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
}

bool http_is_unchanged(const http_request *r, const http_response *response) {
  const char *tag = response->status == 200 ? field_of(response, "etag") : NULL;
  const char *list = tag && is_read(r) ? http_header(r, "if-none-match") : NULL;
  return list && has_tag(list, tag);
}

/* ---- gzip ---- */

/* gzip is among the codings, and not with q=0. */
static bool takes_gzip(const char *list) {
  for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
    p += strspn(p, " \t");
    size_t n = strcspn(p, " \t,;");
    bool is = (n == 4 && http_same_name(p, 4, "gzip")) || (n == 1 && *p == '*');
    if (!is) continue;
    const char *q = p + n + strspn(p + n, " \t");
    if (*q != ';') return true;
    q += 1 + strspn(q + 1, " \t");
    return (*q | 32) != 'q' || q[1] != '=' || strtod(q + 2, NULL) > 0;
  }
  return false;
}

/* NULL: it does not get smaller, or no memory. */
static void *compress_body(const void *bytes, size_t size, size_t *packed_size) {
  z_stream z = {0};
  if (size > UINT32_MAX ||
      deflateInit2(&z, LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return NULL;
  void *packed = malloc(size);
  z.next_in = (Bytef *)(uintptr_t)bytes;
  z.avail_in = (uInt)size;
  z.next_out = packed;
  z.avail_out = (uInt)size;
  bool done = packed && deflate(&z, Z_FINISH) == Z_STREAM_END;
  *packed_size = z.total_out;
  deflateEnd(&z);
  if (done) return packed;
  free(packed);
  return NULL;
}

static void add(http_shaped *s, const char *name, const char *value) {
  s->fields[s->response.n_fields++] = (http_field){name, value};
}

/* Bytes that were compressed are not those that a strong tag stands for. */
static void weaken_tag(http_shaped *s) {
  for (int i = 0; i < s->response.n_fields; i++) {
    http_field *f = &s->fields[i];
    if (strcmp(f->name, "etag") != 0 || strncmp(f->value, "W/", 2) == 0) continue;
    if (snprintf(s->tag, sizeof s->tag, "W/%s", f->value) < (int)sizeof s->tag) f->value = s->tag;
  }
}

/* ---- all ---- */

static bool begin(const http_response *response, http_shaped *s) {
  if (response->n_fields + 2 > HTTP_SHAPED_FIELDS) return false;
  s->response = *response;
  if (response->n_fields)
    memcpy(s->fields, response->fields, (size_t)response->n_fields * sizeof *s->fields);
  s->response.fields = s->fields;
  return true;
}

const http_response *http_shape(const http_request *r, const http_response *response,
                                http_shaped *s) {
  s->packed = NULL;
  bool packs = response->may_compress && response->size > LEAST,
       same = http_is_unchanged(r, response);
  if ((!packs && !same && !response->may_compress) || !begin(response, s)) return response;
  if (response->may_compress) add(s, "vary", "accept-encoding");
  if (same) {
    s->response.status = 304;
    s->response.content_type = NULL;
    s->response.body = NULL;
    s->response.size = 0;
    return &s->response;
  }
  if (packs && takes_gzip(http_header(r, "accept-encoding")))
    s->packed = compress_body(response->body, response->size, &s->response.size);
  if (s->packed) {
    s->response.body = s->packed;
    add(s, "content-encoding", "gzip");
    weaken_tag(s);
  } else
    s->response.size = response->size;
  return &s->response;
}

/* ---- parts of files ---- */

/* "bytes=a-b", "a-" or "-n". */
http_range http_find_range(const http_request *r, const http_response *response, int64_t size,
                           int64_t *first, int64_t *last) {
  const char *text =
      response->status == 200 && strcmp(r->method, "GET") == 0 ? http_header(r, "range") : NULL;
  char *end;
  if (!text || strncmp(text, "bytes=", 6) != 0) return HTTP_RANGE_NONE;
  const char *p = text + 6;
  int64_t a = -1, b = size - 1;
  if (isdigit((unsigned char)*p)) {
    a = strtoll(p, &end, 10);
    p = end;
  }
  if (*p++ != '-') return HTTP_RANGE_NONE;
  if (isdigit((unsigned char)*p)) {
    b = strtoll(p, &end, 10);
    p = end;
  } else if (a < 0)
    return HTTP_RANGE_NONE;
  if (*p) return HTTP_RANGE_NONE; /* several, or nonsense: the whole file is an answer, too */
  if (a < 0) {                    /* the last b bytes */
    a = b < size ? size - b : 0;
    if (!b) return HTTP_RANGE_BEYOND;
    b = size - 1;
  } else if (b < a && p[-1] != '-')
    return HTTP_RANGE_NONE;
  if (a >= size) return HTTP_RANGE_BEYOND;
  *first = a;
  *last = b < size ? b : size - 1;
  const char *tag = field_of(response, "etag"), *condition = http_header(r, "if-range");
  bool changed = condition && (!tag || strcmp(condition, tag) != 0 || *tag == 'W');
  return changed ? HTTP_RANGE_NONE : HTTP_RANGE_PART;
}
