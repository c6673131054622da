/* The web server, seen from the rest of this program: requests come to one function, answers go
 * back from any thread. Everything that knows libh2o is in this folder, so that it can be
 * exchanged.
 *
 * Threads: one event loop per core, each with a listener of its own. A request belongs to the
 * handler from the call until it is answered, streamed or abandoned; then it must not be touched.
 * Handlers run on the loop and must not block: what may take long detaches the request and goes to
 * a thread of the caller's. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct http_server http_server;
typedef struct http_request http_request;
typedef struct http_stream http_stream;

/* Why a body is not taken: the status of the answer, and its sentence, without quotation marks,
 * backslashes or control characters. */
typedef struct http_refusal {
  int status;
  char sentence[200];
} http_refusal;

/* Bodies that are handed on while they come, instead of being kept whole until the request is
 * handled: of any size, in 1 MiB of memory, and what has come before a connection breaks is not
 * lost. body_limit() and may_send() are asked before, and body_limit() must allow for the size.
 *
 * wants() is called on the loop. The others are called on threads of the server's own, may block,
 * and come one after the other for one request. When all has come, the request is handled as others
 * are, with http_body_object() in place of http_body(). */
typedef struct http_body_functions {
  /* Is this such a request? Must not block. path: decoded, without the query. NULL: none is. */
  bool (*wants)(const char *method, const char *path, void *user);
  /* Before the first byte, with the request's head: http_header() and so on may be called, but it
   * may not be answered. size: bytes that are announced, or UINT64_MAX. Returns what the other
   * functions get, or NULL with a refusal, which becomes the answer. */
  void *(*begin)(const http_request *request, uint64_t size, http_refusal *refusal, void *user);
  /* Some bytes, at most 512 KiB. False with a refusal: no more of them are taken. */
  bool (*piece)(void *object, const void *bytes, size_t size, http_refusal *refusal);
  /* Once, after a begin() that succeeded. whole: all has come; else the client has gone or was
   * refused, and the request is not handled. */
  void (*end)(void *object, bool whole);
  /* At last, on any thread. */
  void (*free)(void *object);
} http_body_functions;

typedef struct http_options {
  const char *host;    /* numeric address, or NULL: 127.0.0.1 */
  int port;            /* 0: any that is free */
  int loops;           /* threads; 0: one per core */
  size_t max_body;     /* bytes; larger ones get 413; 0: 16 MiB */
  int max_connections; /* of all clients; 0: 16,384; never more than files may be open */
  int max_connections_per_address; /* 0: 2,048 */
  int max_resets; /* requests that one connection may give up before it is closed; 0: 200 */
  /* For a request to come, body and all, and between them; 0: 120. A large body gets a second more
   * for every 4 KiB that have come. The same holds for what the client takes of an answer. */
  int idle_seconds;
  const char *certificate, *key; /* PEM files; both or none */
  void (*handle)(http_request *request, void *user);
  void *user;

  /* ---- what a request may cost before it is handled ---- */

  size_t max_head; /* bytes of the header fields; beyond: 431; 0: 32 KiB */
  int max_fields;  /* 0: 100 */
  /* The most bytes that the body of such a request may have, in place of max_body; NULL: max_body
   * for all. And who may send one at all: 0, or the status of a refusal (401, 403). Both are asked
   * on the loop when a body is larger than 64 KiB, before more of it is taken, and must not block.
   * path is decoded, without the query; authorization, cookie: these header fields, or NULL. */
  size_t (*body_limit)(const char *method, const char *path, void *user);
  int (*may_send)(const char *method, const char *path, const char *authorization,
                  const char *cookie, void *user);
  /* Bytes of requests and of answers that clients have not taken: of one address (0: 512 MiB), and
   * of all (0: 2 GiB). Beyond them what would need more gets 503. Bodies in files count, too. */
  size_t max_held_per_address, max_held;
  /* Where bodies of 4 MiB and more are kept while they come, in files without names; NULL: /tmp. */
  const char *spool_folder;
  http_body_functions body;
  /* Addresses and networks, "10.0.0.1, 192.168.0.0/16, fd00::/8": whoever connects from there is a
   * proxy, whose Forwarded or X-Forwarded-For says who the client is. NULL: none. */
  const char *trusted_proxies;
} http_options;

/* NULL with a sentence in `error`. Listens already when it returns. */
http_server *http_server_create(const http_options *options, char *error, size_t error_size);
int http_server_port(const http_server *server);
/* Serves until http_server_stop(); then takes no connections, waits up to `drain_seconds` for what
 * is being answered, and returns. */
void http_server_run(http_server *server, int drain_seconds);
/* Any thread, signal handlers too. */
void http_server_stop(http_server *server);
/* Whether it was told to: whatever waits should be answered now. Any thread. */
bool http_server_is_stopping(const http_server *server);
/* Reads certificate and key again; connections that are open keep the old ones. False with a
 * sentence: the old ones stay. Any thread. */
bool http_server_reload_tls(http_server *server, char *error, size_t error_size);
void http_server_destroy(http_server *server);

typedef struct http_counts {
  uint64_t connections, open_connections, requests, resets, refused;
  uint64_t rejected; /* requests that were refused before they were handled */
  uint64_t ended;    /* connections that were ended for what they sent, or did not take */
  uint64_t held;     /* bytes, of all connections */
} http_counts;
void http_server_counts(const http_server *server, http_counts *counts);

/* ---- the request: strings live as long as it does ---- */

const char *http_method(const http_request *request);
const char *http_path(const http_request *request);  /* decoded, without "." and ".."; "/..." */
const char *http_query(const http_request *request); /* behind the "?", as sent; "" */
/* Case does not matter; NULL when there is none. Bytes below 32 never occur in it. */
const char *http_header(const http_request *request, const char *name);
/* The value of a cookie of the request; false: there is none, or it is longer than `size` - 1. */
bool http_cookie(const http_request *request, const char *name, char *value, size_t size);
/* The same from the text of a Cookie field. */
bool http_cookie_in(const char *field, size_t n, const char *name, char *value, size_t size);
const void *http_body(const http_request *request, size_t *size);
/* The body unpacked, where it came with Content-Encoding gzip or deflate; free(). NULL: *status 0:
 * it did not; else why not: 400 it is broken, 413 it unpacks to more than `most` bytes, 415 another
 * encoding, 503 no memory. Blocks for the time that it takes. */
void *http_unpack_body(const http_request *request, size_t most, size_t *size, int *status);
/* What begin() of http_body_functions has made of the body; NULL: the body is in http_body(). */
void *http_body_object(const http_request *request);
const char *http_peer(const http_request *request); /* address without port */
bool http_is_secure(const http_request *request);   /* TLS */

/* A route for GET serves HEAD, too (RFC 9110, 9.3.2): whatever is answered, no body is sent. */
static inline bool http_serves(const char *route_method, const char *method) {
  if (*route_method == *method) return strcmp(route_method, method) == 0;
  return *method == 'H' && strcmp(method, "HEAD") == 0 && strcmp(route_method, "GET") == 0;
}

/* Makes the request independent of the loop: it may be read and answered from any thread. False: no
 * memory; it has been answered with 503. */
bool http_detach(http_request *request);
/* True once the client has gone (of a detached request): work for it can be dropped. */
bool http_is_gone(const http_request *request);
/* Of a detached request: has its loop look whether the client has closed the connection, which is
 * not noticed by itself over HTTP/1 while an answer is awaited; http_is_gone() is true then. Who
 * has closed only the sending side counts as gone, too: for answers that may take minutes. */
void http_look_for_client(http_request *request);
/* ---- the answer ---- */

/* A status in words, "Not Found"; and as a word for programs, "not_found". */
const char *http_reason(int status);
void http_code(int status, char *code, size_t size);

/* Names are lower-case texts that live as long as the program. */
typedef struct http_field {
  const char *name, *value;
} http_field;

typedef struct http_response {
  int status;
  const char *content_type; /* NULL: none */
  const void *body;
  size_t size;
  int n_fields;
  const http_field *fields; /* further headers */
  bool may_compress;        /* by gzip, when it is larger than 1 KiB and the client takes that */
} http_response;

/* Everything is copied. Ends the request. With a field "etag" and status 200, a client that has it
 * already (If-None-Match) gets 304. */
void http_respond(http_request *request, const http_response *response);

/* What the calling thread answers between these two goes to the loops together, at the end: one
 * wake-up instead of one per answer. */
void http_gather(void);
void http_flush(void);

/* What a file's answer may depend on while it is sent, which may take hours. Both are called on the
 * loop: may_go_on() before each piece, must not block; false ends the connection or the stream, so
 * that the client does not take what it has for the whole. closed() is called once. */
typedef struct http_watch {
  bool (*may_go_on)(void *user);
  void (*closed)(void *user);
  void *user;
} http_watch;

/* The body comes from a file, from its beginning, as the client takes it; `size` bytes. The
 * descriptor is the request's from here on; watch NULL: none. Ends the request. A client may ask
 * for a part (Range, one of it; If-Range with the field "etag"), or have it already
 * (If-None-Match). */
void http_respond_file(http_request *request, const http_response *head, int fd, int64_t size,
                       const http_watch *watch);

/* Starts an answer without an end. closed(user) is called once, on the loop, when the client has
 * gone or after http_stream_end(); the stream must not be used after it. `most` bytes may wait for
 * a slow client; beyond them the stream is closed. NULL: no memory, the request has been answered.
 */
http_stream *http_stream_start(http_request *request, const http_response *head, size_t most,
                               void (*closed)(void *user), void *user);
/* Any thread; copied. */
void http_stream_send(http_stream *stream, const void *bytes, size_t size);
/* The same bytes to several streams of one server; cheaper than one by one. */
void http_stream_send_all(http_stream *const *streams, int n, const void *bytes, size_t size);
void http_stream_end(http_stream *stream);

#endif
