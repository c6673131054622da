/* HTTP/1.1 heads and chunks (RFC 9112). */
#include "head.h"

#include <stdlib.h>
#include <string.h>

/* ---- characters ---- */

static bool is_letter_or_digit(char c) {
  return (unsigned)((c | 32) - 'a') < 26 || (unsigned)(c - '0') < 10;
}

/* RFC 9110, 5.6.2 */
static bool is_token(char c) {
  static const char others[] = "!#$%&'*+-.^_`|~";
  return is_letter_or_digit(c) || c == '-' || (c && memchr(others, c, sizeof others - 1));
}

/* VCHAR, obs-text, SP, HTAB */
static bool is_value(char c) {
  unsigned char u = (unsigned char)c;
  return (u >= 32 && u != 127) || u == '\t';
}

/* The first byte that is no value's; eight at a time, as most bytes of a head are values'. */
static const char *skip_value(const char *p, const char *end) {
  const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
  for (uint64_t w; end - p >= 8; p += 8) {
    memcpy(&w, p, 8);
    uint64_t x = w ^ ones * 127, below_32 = (w - ones * 32) & ~w & highs,
             is_127 = (x - ones) & ~x & highs;
    if (below_32 | is_127) break;
  }
  while (p < end && is_value(*p)) p++;
  return p;
}

static bool is_host(char c) {
  static const char others[] = "-._~%!$&'()*+,;=:[]";
  return is_letter_or_digit(c) || c == '.' || (c && memchr(others, c, sizeof others - 1));
}

static bool is_name(http_text t, const char *name) {
  if (t.size != strlen(name)) return false;
  for (size_t i = 0; i < t.size; i++) {
    char c = t.bytes[i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != name[i]) return false;
  }
  return true;
}

static ptrdiff_t refuse(http_head *h, int status, const char *problem) {
  h->status = status;
  h->problem = problem;
  return -1;
}

/* ---- fields ---- */

static bool read_number(http_text t, uint64_t *out) {
  *out = 0;
  if (!t.size || t.size > 18) return false;
  for (size_t i = 0; i < t.size; i++) {
    if (t.bytes[i] < '0' || t.bytes[i] > '9') return false;
    *out = *out * 10 + (uint64_t)(t.bytes[i] - '0');
  }
  return true;
}

static bool check_host(http_head *h, http_text value, bool *has_host) {
  if (*has_host) return refuse(h, 400, "Host may be there once") > 0;
  *has_host = true;
  for (size_t i = 0; i < value.size; i++)
    if (!is_host(value.bytes[i])) return refuse(h, 400, "Host is not a host") > 0;
  return true;
}

static bool check_coding(http_head *h, http_text value) {
  if (h->chunked) return refuse(h, 400, "Transfer-Encoding may be there once") > 0;
  h->chunked = true;
  return is_name(value, "chunked") ||
         refuse(h, 501, "of the transfer codings only chunked is known here") > 0;
}

/* What decides where the request ends. False: refused. */
static bool note_field(http_head *h, http_text name, http_text value, bool *has_host) {
  switch (name.size) { /* most names are told apart by their lengths */
  case 4: return !is_name(name, "host") || check_host(h, value, has_host);
  case 6:
    if (is_name(name, "cookie")) h->cookie = value;
    if (!is_name(name, "expect")) return true;
    h->expect_field = name;
    return is_name(value, "100-continue") || refuse(h, 417, "Expect may be 100-continue") > 0;
  case 13:
    if (is_name(name, "authorization")) h->authorization = value;
    return true;
  case 14:
    if (!is_name(name, "content-length")) return true;
    if (h->has_length) return refuse(h, 400, "Content-Length may be there once") > 0;
    h->has_length = true;
    h->length_field = name;
    return read_number(value, &h->length) || refuse(h, 400, "Content-Length is not a number") > 0;
  case 17:
    if (!is_name(name, "transfer-encoding")) return true;
    h->coding_field = name;
    return check_coding(h, value);
  default: return true;
  }
}

/* One line, without its end. False: refused. */
static bool read_field(http_head *h, const char *line, const char *end, bool *has_host) {
  const char *p = line;
  if (*p == ' ' || *p == '\t') return refuse(h, 400, "a header field goes over two lines") > 0;
  while (p < end && is_token(*p)) p++;
  if (p == line || p == end || *p != ':')
    return refuse(h, 400, "a line of the head is not a name, a colon and a value") > 0;
  http_text name = {line, (size_t)(p - line)};
  if (skip_value(++p, end) < end)
    return refuse(h, 400, "a header field has control characters") > 0;
  while (p < end && (*p == ' ' || *p == '\t')) p++;
  while (end > p && (end[-1] == ' ' || end[-1] == '\t')) end--;
  return note_field(h, name, (http_text){p, (size_t)(end - p)}, has_host);
}

/* method SP target SP HTTP/1.x. False: refused. */
static bool read_request_line(http_head *h, const char *line, const char *end) {
  const char *p = line;
  while (p < end && is_token(*p)) p++;
  h->method = (http_text){line, (size_t)(p - line)};
  if (p == line || p == end || *p++ != ' ') return refuse(h, 400, "this is not HTTP") > 0;
  h->target.bytes = p;
  while (p < end && (unsigned char)*p > 32 && *p != 127) p++;
  h->target.size = (size_t)(p - h->target.bytes);
  if (!h->target.size || end - p != 9 || memcmp(p, " HTTP/", 6) != 0)
    return refuse(h, 400, "this is not HTTP") > 0;
  if (p[6] != '1' || p[7] != '.' || (p[8] != '0' && p[8] != '1'))
    return refuse(h, 505, "this server speaks HTTP/1.1 and HTTP/2") > 0;
  h->minor = p[8] - '0';
  return true;
}

/* ---- the head ---- */

/* The end of the line that begins at p, where its CR is; NULL: refused. An end is there. */
static const char *line_end(http_head *h, const char *p, const char *end) {
  const char *lf = memchr(p, '\n', (size_t)(end - p));
  if (!lf || lf == p || lf[-1] != '\r') {
    refuse(h, 400, "lines of the head end with CR LF");
    return NULL;
  }
  return lf - 1;
}

static ptrdiff_t check(http_head *h, bool has_host, size_t size) {
  if (h->minor == 1 && !has_host) return refuse(h, 400, "the field Host is missing");
  if (h->chunked && h->has_length)
    return refuse(h, 400, "Content-Length and Transfer-Encoding exclude each other");
  if (h->chunked && h->minor == 0)
    return refuse(h, 400, "Transfer-Encoding is not for this version");
  return (ptrdiff_t)size;
}

/* The size with the empty line at its end; 0: not there yet. Bare line feeds count as ends, too:
 * they are found, and refused, at once. */
static size_t find_end(const char *bytes, size_t size, size_t *scanned) {
  for (size_t at = *scanned; at < size;) {
    const char *lf = memchr(bytes + at, '\n', size - at);
    if (!lf) break;
    size_t i = (size_t)(lf - bytes);
    if (i >= 1 && bytes[i - 1] == '\n') return i + 1;
    if (i >= 2 && bytes[i - 1] == '\r' && bytes[i - 2] == '\n') return i + 1;
    at = i + 1;
  }
  *scanned = size > 2 ? size - 2 : 0;
  return 0;
}

ptrdiff_t http_head_parse(const char *bytes, size_t size, size_t *scanned,
                          const http_head_limits *limits, http_head *h) {
  bool has_host = false;
  *h = (http_head){0};
  size_t whole = find_end(bytes, size, scanned);
  if (!whole && size <= limits->bytes) return 0;
  if (!whole || whole > limits->bytes)
    return memchr(bytes, '\n', limits->bytes) ? refuse(h, 431, "the header fields are too large")
                                              : refuse(h, 414, "the path is too long");
  const char *end = bytes + whole, *cr = line_end(h, bytes, end);
  if (!cr || !read_request_line(h, bytes, cr)) return -1;
  for (const char *p = cr + 2; p < end; p = cr + 2) {
    if (!(cr = line_end(h, p, end))) return -1;
    if (cr == p) break; /* the empty line */
    if (++h->fields > limits->fields) return refuse(h, 431, "there are too many header fields");
    if (!read_field(h, p, cr, &has_host)) return -1;
  }
  return check(h, has_host, whole);
}

char *http_head_fields(const char *head, size_t size) {
  char *fields = malloc(size + 2), *to = fields;
  const char *end = head + size, *p = memchr(head, '\n', size);
  if (!fields) return NULL;
  for (p++; p < end && *p != '\r'; p++) {
    const char *colon = memchr(p, ':', (size_t)(end - p)), *cr = memchr(p, '\r', (size_t)(end - p)),
               *value = colon + 1, *stop = cr;
    while (value < stop && (*value == ' ' || *value == '\t')) value++;
    while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t')) stop--;
    const char *line = p;
    p = cr + 1;
    if (memchr(value, '\t', (size_t)(stop - value))) continue; /* as http_header() has it */
    memcpy(to, line, (size_t)(colon - line));
    to += colon - line;
    *to++ = '\0';
    memcpy(to, value, (size_t)(stop - value));
    to += stop - value;
    *to++ = '\0';
  }
  *to = '\0';
  return fields;
}

/* ---- chunks ---- */

enum {
  SIZE,
  EXTENSION,
  SIZE_LF,
  DATA,
  DATA_CR,
  DATA_LF,
  TRAILER,
  TRAILER_LINE,
  TRAILER_LF,
  LAST_LF
};
enum { MOST_LINE = 4096 };

static int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* One byte outside of the data; the next state, or -1. */
static int step(http_chunks *s, char c) {
  int d;
  switch (s->state) {
  case SIZE:
    if ((d = digit(c)) >= 0) {
      s->left = s->left * 16 + (uint64_t)d;
      return ++s->digits <= 15 ? SIZE : -1;
    }
    if (!s->digits) return -1;
    s->line = 0;
    return c == '\r' ? SIZE_LF : c == ';' ? EXTENSION : -1;
  case EXTENSION:
    if (c == '\r') return SIZE_LF;
    return is_value(c) && ++s->line < MOST_LINE ? EXTENSION : -1;
  case SIZE_LF: s->digits = s->line = 0; return c != '\n' ? -1 : s->left ? DATA : TRAILER;
  case DATA_CR: return c == '\r' ? DATA_LF : -1;
  case DATA_LF: return c == '\n' ? SIZE : -1;
  case TRAILER:
    if (c == '\r') return LAST_LF;
    return is_token(c) && ++s->line < MOST_LINE ? TRAILER_LINE : -1;
  case TRAILER_LINE:
    if (c == '\r') return TRAILER_LF;
    return is_value(c) && ++s->line < MOST_LINE ? TRAILER_LINE : -1;
  case TRAILER_LF: return c == '\n' ? TRAILER : -1;
  default: return -1;
  }
}

http_chunks_result http_chunks_walk(http_chunks *s, const char *bytes, size_t size, size_t *used,
                                    void (*data)(void *user, const char *bytes, size_t size),
                                    void *user) {
  size_t i = 0;
  while (i < size) {
    if (s->state == DATA) {
      size_t n = s->left < size - i ? (size_t)s->left : size - i;
      if (data) data(user, bytes + i, n);
      s->left -= n;
      s->total += n;
      i += n;
      if (!s->left) s->state = DATA_CR;
      continue;
    }
    char c = bytes[i++];
    if (s->state == LAST_LF) {
      *used = i;
      return c == '\n' ? HTTP_CHUNKS_END : HTTP_CHUNKS_BAD;
    }
    if ((s->state = step(s, c)) < 0) return HTTP_CHUNKS_BAD;
  }
  *used = i;
  return HTTP_CHUNKS_MORE;
}
