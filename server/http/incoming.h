/* Inside server/http: a body that is handed on while it comes. All of it is the loop's, but for
 * what a job uses while the body is busy. */
#ifndef SERVER_HTTP_INCOMING_H
#define SERVER_HTTP_INCOMING_H

#include "loop.h"

enum { HTTP_BLOCK = 512 << 10 }; /* bytes; each body has two */

struct http_incoming {
  http_message super; /* from the thread to the loop, when a job is done */
  http_loop *loop;
  http_connection *connection; /* NULL: it has gone */
  http_request *request;
  uint32_t stream;                   /* of HTTP/2 */
  http_incoming *next_of_connection; /* likewise */
  uint64_t announced;                /* bytes; UINT64_MAX: not said */
  uint64_t total;                    /* bytes that have come */
  size_t limit;
  bool whole;  /* all have come */
  bool broken; /* no more will be taken */
  bool busy;   /* a thread has it */
  /* Of HTTP/2: its request may be handled, but waits for the end of a header block; is being handed
   * to libh2o; and has been handled. */
  bool delivered, ready, delivering, taken;
  bool begun, ended, told;
  char *filling, *writing;
  size_t n_filling, n_writing;
  http_refusal refusal;
  void (*run)(http_incoming *body); /* the job */
  http_incoming *next;              /* in the queue */
  /* What the protocol does: answers with the refusal; goes on reading, as there is room; has the
   * request handled. */
  void (*refuse)(http_incoming *body);
  void (*resume)(http_incoming *body);
  bool (*deliver)(http_incoming *body); /* false: not now; it will be */
};

/* request: a reference that becomes the body's, when it succeeds. */
http_incoming *http_incoming_start(http_connection *c, http_request *request, uint64_t announced);
size_t http_incoming_room(const http_incoming *body);
void http_incoming_put(http_incoming *body, const void *bytes, size_t size);
/* All has come. */
void http_incoming_finish(http_incoming *body);
/* The client has gone, or nobody wants the rest. The body must not be used after it. */
void http_incoming_break(http_incoming *body);

#endif
