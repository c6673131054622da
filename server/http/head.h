/* The head of an HTTP/1.1 request and the chunks of its body, checked as RFC 9112 says and not a
 * bit more leniently: whoever reads the same bytes differently (a proxy in front of this server) is
 * what request smuggling lives on. Knows nothing of libh2o. */
#ifndef SERVER_HTTP_HEAD_H
#define SERVER_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct http_text { /* not terminated */
  const char *bytes;
  size_t size;
} http_text;

typedef struct http_head {
  http_text method, target, authorization, cookie;
  http_text length_field, coding_field, expect_field; /* names, in the bytes that were parsed */
  uint64_t length;                                    /* Content-Length */
  int minor, fields;
  bool has_length, chunked;
  int status; /* of a refusal, with a sentence */
  const char *problem;
} http_head;

typedef struct http_head_limits {
  size_t bytes;
  int fields;
} http_head_limits;

/* Returns the size of the head, 0: it has not come whole, or -1: refused, see status and problem.
 * scanned: where the search for its end goes on; 0 at first. */
ptrdiff_t http_head_parse(const char *bytes, size_t size, size_t *scanned,
                          const http_head_limits *limits, http_head *head);

/* The fields of a head that was parsed, as "name\0value\0...\0"; free(). NULL: no memory. */
char *http_head_fields(const char *head, size_t size);

/* Walks over a chunked body (RFC 9112, 7.1) without taking it apart. Begins as zeros. */
typedef struct http_chunks {
  int state;
  int digits, line; /* line: bytes of the extension or trailer that have come */
  uint64_t left;    /* of this chunk */
  uint64_t total;   /* bytes of the body so far */
} http_chunks;

typedef enum http_chunks_result {
  HTTP_CHUNKS_MORE,
  HTTP_CHUNKS_END,
  HTTP_CHUNKS_BAD
} http_chunks_result;

/* used: how many bytes belong to the body. data(user, ...), where given, gets what the chunks
 * carry.
 */
http_chunks_result http_chunks_walk(http_chunks *chunks, const char *bytes, size_t size,
                                    size_t *used,
                                    void (*data)(void *user, const char *bytes, size_t size),
                                    void *user);

#endif
