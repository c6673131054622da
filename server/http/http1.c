/* HTTP/1.1 between the socket and libh2o.
 *
 * libh2o 2.2.5 takes bare line feeds, two Content-Lengths, up to 400 KB of head, and buffers a body
 * before anybody can object. So its read callback (h2o_socket_t._cb.read) is wrapped:
 *
 * - libh2o gets the head of a request when that is whole and as strict as head.c has it, and of a
 *   body what may come: the callbacks of http_options are asked with the first 64 KiB.
 * - It never sees more than one request. What comes behind waits in `rest` until the answer has
 *   been written. So each request passes here, and not through a loop inside libh2o.
 * - A refusal is written here. libh2o's connection then ends as if the client had gone.
 * - A body that is handed on (http_body_functions) never reaches libh2o. Its head waits in `kept`
 *   and is fed when all has come, changed such that no body follows it.
 *
 * libh2o sets its callbacks anew whenever it goes on reading or writing; settle() puts ours in
 * front of them again after each call. It may free the connection in any call: call() tells. */
#include "incoming.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  MOST_REST = 64 << 10, /* bytes of requests that are sent before an answer has come */
  LINGER = 5            /* seconds in which a client may read its refusal */
};

static void on_read(h2o_socket_t *socket, const char *error);
static void on_written(h2o_socket_t *socket, const char *error);
static void input(http_connection *c);

void http1_free(http_connection *c) {
  free(c->one.rest);
  free(c->one.refusal);
  http_call_free(&c->one.call);
  free(c->one.kept);
  if (c->one.body) http_incoming_break(c->one.body);
}

/* ---- calls into libh2o ---- */

/* False: the connection has gone. */
static bool call(http_connection *c, h2o_socket_cb callback, const char *error) {
  bool gone = false, *outer = c->gone;
  c->gone = &gone;
  callback(c->socket, error);
  if (gone) {
    if (outer) *outer = true;
    return false;
  }
  c->gone = outer;
  return true;
}

/* The request has been answered, and libh2o reads the next one. */
static void next_request(http_connection *c) {
  c->one.state = HTTP1_HEAD;
  c->one.scanned = c->unsent = 0;
  http_call_free(&c->one.call);
  http_connection_holds(c, c->one.n_rest);
  if (c->one.n_rest && !h2o_timeout_is_linked(&c->again))
    h2o_timeout_link(c->loop->loop, &c->loop->context.zero_timeout, &c->again);
}

/* After every call: ours are in front again. */
static void settle(http_connection *c) {
  h2o_socket_t *socket = c->socket;
  bool reads = socket->_cb.read && socket->_cb.read != on_read;
  if (reads) {
    c->read = socket->_cb.read;
    socket->_cb.read = on_read;
  }
  if (socket->_cb.write && socket->_cb.write != on_written) {
    c->write = socket->_cb.write;
    socket->_cb.write = on_written;
  }
  if (reads && c->one.state == HTTP1_ANSWER) next_request(c);
}

static void on_written(h2o_socket_t *socket, const char *error) {
  http_connection *c = socket->on_close.data;
  if (error) { /* the client has gone: what it has asked for besides is not computed */
    c->one.n_rest = 0;
    shutdown(h2o_socket_get_fd(socket), SHUT_RDWR);
  }
  if (!call(c, c->write, error)) return;
  /* after "100 Continue" libh2o has taken chunks apart, in place */
  if (c->one.state == HTTP1_BODY) c->one.seen = socket->input->size;
  settle(c);
}

static void on_send(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bytes, size_t n,
                    h2o_send_state_t state) {
  h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
  http_connection *c = socket->on_close.data;
  bool gone = false, *outer = c->gone;
  c->gone = &gone;
  c->unsent = 0;
  for (size_t i = 0; i < n; i++) c->unsent += bytes[i].len;
  if (c->unsent > HTTP_UNASKED && !http_connection_holds(c, c->unsent + c->one.n_rest))
    http_connection_end(c, "its address holds too many answers");
  c->send(self, req, bytes, n, state);
  if (gone) {
    if (outer) *outer = true;
    return;
  }
  c->gone = outer;
  settle(c);
}

void http1_answering(http_connection *c, h2o_req_t *req) {
  if (req->_ostr_top->do_send == on_send) return;
  c->send = req->_ostr_top->do_send;
  req->_ostr_top->do_send = on_send;
}

/* ---- refusals ---- */

static void on_refused(h2o_socket_t *socket, const char *error) {
  http_connection *c = socket->on_close.data;
  if (error)
    call(c, c->read, error);
  else if (!socket->ssl)
    shutdown(h2o_socket_get_fd(socket), SHUT_WR);
}

/* Answers and ends the connection, which must not be touched afterwards. A client that is still
 * sending would lose the answer if the socket were closed at once (RFC 9112, 9.6): what it sends is
 * thrown away for a moment. */
static void refuse(http_connection *c, int status, const char *sentence) {
  enum { SIZE = 1024 };
  char body[512];
  size_t n = http_problem(body, sizeof body, status, sentence);
  char *text = malloc(SIZE);
  http_incoming *incoming = c->one.body;
  atomic_fetch_add(&c->loop->server->rejected, 1);
  c->one.state = HTTP1_REFUSED;
  c->one.body = NULL;
  if (incoming) http_incoming_break(incoming);
  c->end_at = http_now() + LINGER;
  if (!text || c->socket->_cb.write) {
    free(text);
    call(c, c->read, h2o_socket_error_closed);
    return;
  }
  int size = snprintf(text, SIZE,
                      "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: %s\r\n%s"
                      "Content-Length: %zu\r\n\r\n%s",
                      status, http_reason(status), http_problem_type,
                      status == 401 ? "WWW-Authenticate: Bearer\r\n" : "", n, body);
  free(c->one.refusal);
  c->one.refusal = text;
  h2o_buffer_consume(&c->socket->input, c->socket->input->size);
  http_connection_holds(c, 0);
  h2o_iovec_t bytes = {text, (size_t)size};
  h2o_socket_write(c->socket, &bytes, 1, on_refused);
}

/* ---- requests ---- */

/* What comes behind the request waits. False: refused. */
static bool set_aside(http_connection *c, size_t request) {
  h2o_buffer_t *in = c->socket->input;
  size_t n = in->size - request;
  if (!n) return true;
  char *rest = n <= MOST_REST ? malloc(n) : NULL;
  if (!rest) {
    refuse(c, 400, "too much was sent before the answer to the first request");
    return false;
  }
  memcpy(rest, in->bytes + request, n);
  if (request)
    in->size = request;
  else
    h2o_buffer_consume(&c->socket->input, n);
  c->one.rest = rest;
  c->one.n_rest = n;
  return true;
}

/* Bytes that waited come before those that have just come. False: no memory. */
static bool put_back(http_connection *c) {
  http1 *o = &c->one;
  if (!o->n_rest) return true;
  size_t n = c->socket->input->size;
  if (!h2o_buffer_reserve(&c->socket->input, o->n_rest).base) return false;
  char *bytes = c->socket->input->bytes;
  memmove(bytes + o->n_rest, bytes, n);
  memcpy(bytes, o->rest, o->n_rest);
  c->socket->input->size = n + o->n_rest;
  free(o->rest);
  o->rest = NULL;
  o->n_rest = 0;
  return true;
}

/* libh2o reads what is in the socket's input. */
static void feed(http_connection *c) {
  if (c->one.whole) c->one.state = HTTP1_ANSWER;
  if (!call(c, c->read, NULL)) return;
  c->one.seen = c->socket->input->size;
  settle(c);
}

/* The callbacks decide about a body of `size` bytes that is about to come, or of which so many
 * have. False: refused. */
static bool may_come(http_connection *c, uint64_t size) {
  http1 *o = &c->one;
  http_server *s = c->loop->server;
  const char *problem;
  if (!o->asked && size > HTTP_UNASKED) {
    o->asked = true;
    int status = http_may_send(s, &o->call, &problem);
    if (status) return refuse(c, status, problem), false;
  }
  if (size <= o->limit) return true;
  refuse(c, 413, "the body is larger than this path takes");
  return false;
}

/* A body has been looked at up to `end`, and holds memory. False: refused. */
static bool took(http_connection *c, size_t end) {
  size_t come = end - c->one.seen;
  c->received += come;
  if (c->one.whole && !set_aside(c, end)) return false;
  size_t held = c->socket->input->capacity;
  if (c->socket->input->size < HTTP_UNASKED || http_connection_holds(c, held)) return true;
  refuse(c, 503, "too much is being sent at the moment; try again later");
  return false;
}

static void take_chunks(http_connection *c) {
  http1 *o = &c->one;
  h2o_buffer_t *in = c->socket->input;
  size_t used = 0;
  http_chunks_result r =
      http_chunks_walk(&o->chunks, in->bytes + o->seen, in->size - o->seen, &used, NULL, NULL);
  if (r == HTTP_CHUNKS_BAD) {
    refuse(c, 400, "the chunks of the body are broken");
    return;
  }
  o->whole = r == HTTP_CHUNKS_END;
  if (may_come(c, o->chunks.total) && took(c, o->seen + used)) feed(c);
}

static void take_body(http_connection *c) {
  http1 *o = &c->one;
  if (o->head.chunked) {
    take_chunks(c);
    return;
  }
  size_t all = o->n_head + (size_t)o->head.length, here = c->socket->input->size;
  o->whole = here >= all;
  if (took(c, o->whole ? all : here)) feed(c);
}

/* ---- bodies that are handed on ---- */

static void on_continued(h2o_socket_t *socket, const char *error);

static void refuse_stream(http_incoming *b) {
  http_connection *c = b->connection;
  c->one.body = NULL;
  b->connection = NULL;
  if (!c->socket->_cb.read) h2o_socket_read_start(c->socket, on_read);
  refuse(c, b->refusal.status,
         b->refusal.sentence[0] ? b->refusal.sentence : "the body cannot be taken");
}

/* All has been handed on: libh2o gets the head. */
static void feed_kept(http_connection *c) {
  http1 *o = &c->one;
  h2o_iovec_t to = h2o_buffer_reserve(&c->socket->input, o->n_head);
  if (!to.base) {
    call(c, c->read, h2o_socket_error_out_of_memory);
    return;
  }
  memcpy(to.base, o->kept, o->n_head);
  c->socket->input->size = o->n_head;
  free(o->kept);
  o->kept = NULL;
  http_connection_holds(c, o->n_rest);
  feed(c);
}

static bool deliver_stream(http_incoming *b) {
  http_connection *c = b->connection;
  atomic_fetch_add(&b->request->references, 1);
  c->early = b->request;
  c->one.body = NULL;
  if (!c->one.continuing) feed_kept(c); /* else on_continued() does */
  return true;
}

static void hand_on(void *body, const char *bytes, size_t size) {
  http_incoming_put(body, bytes, size);
}

/* Bytes of the input that belong to the body, as many as there is room for. False: refused. */
static bool hand_on_some(http_connection *c, size_t *used) {
  http1 *o = &c->one;
  h2o_buffer_t *in = c->socket->input;
  size_t n = http_incoming_room(o->body) < in->size ? http_incoming_room(o->body) : in->size;
  *used = 0;
  if (o->head.chunked) {
    http_chunks_result r = http_chunks_walk(&o->chunks, in->bytes, n, used, hand_on, o->body);
    o->whole = r == HTTP_CHUNKS_END;
    if (r == HTTP_CHUNKS_BAD) return refuse(c, 400, "the chunks of the body are broken"), false;
    return may_come(c, o->chunks.total);
  }
  *used = n < o->left ? n : (size_t)o->left;
  if (*used) http_incoming_put(o->body, in->bytes, *used);
  o->left -= *used;
  o->whole = !o->left;
  return true;
}

/* Reading rests while there is no room, and when all has come. */
static void take_stream(http_connection *c) {
  http1 *o = &c->one;
  while (!o->whole && c->socket->input->size && http_incoming_room(o->body)) {
    size_t used;
    if (!hand_on_some(c, &used)) return;
    c->received += used;
    if (used) h2o_buffer_consume(&c->socket->input, used);
  }
  if (o->whole) {
    if (!set_aside(c, 0)) return;
    h2o_socket_read_stop(c->socket);
    http_incoming_finish(o->body);
  } else if (!http_incoming_room(o->body))
    h2o_socket_read_stop(c->socket);
}

static void resume_stream(http_incoming *b) {
  static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
  http_connection *c = b->connection;
  http1 *o = &c->one;
  if (o->whole) return;
  if (o->expects && !b->total && !c->socket->input->size) {
    h2o_iovec_t bytes = {(char *)(uintptr_t)text, sizeof text - 1};
    o->continuing = true;
    h2o_socket_write(c->socket, &bytes, 1, on_continued);
  }
  o->expects = false;
  if (!c->socket->_cb.read) h2o_socket_read_start(c->socket, on_read);
  take_stream(c);
}

static void on_continued(h2o_socket_t *socket, const char *error) {
  http_connection *c = socket->on_close.data;
  c->one.continuing = false;
  if (error)
    call(c, c->read, error);
  else if (c->early)
    feed_kept(c);
}

/* The head that libh2o will see has no body: its length is 0, or the name of its coding is no name
 * that libh2o knows. */
static void hide_body(http1 *o, const char *bytes) {
  http_text name = o->head.length_field;
  if (name.bytes) {
    char *p = o->kept + (name.bytes - bytes) + name.size;
    for (; *p != '\r'; p++)
      if (*p >= '0' && *p <= '9') *p = '0';
  }
  if (o->head.coding_field.bytes) o->kept[o->head.coding_field.bytes - bytes] = 'x';
  if (o->head.expect_field.bytes) o->kept[o->head.expect_field.bytes - bytes] = 'x';
}

/* False: no memory. */
static bool start_stream(http_connection *c) {
  http1 *o = &c->one;
  const char *bytes = c->socket->input->bytes;
  char *fields = http_head_fields(bytes, o->n_head);
  http_request *r = fields ? http_request_early(c, o->head.method, o->head.target, fields) : NULL;
  o->kept = r ? malloc(o->n_head) : NULL;
  if (o->kept) o->body = http_incoming_start(c, r, o->head.chunked ? UINT64_MAX : o->head.length);
  if (!o->body) {
    if (r) http_request_release(r);
    return false;
  }
  o->body->refuse = refuse_stream;
  o->body->resume = resume_stream;
  o->body->deliver = deliver_stream;
  memcpy(o->kept, bytes, o->n_head);
  hide_body(o, bytes);
  h2o_buffer_consume(&c->socket->input, o->n_head);
  o->state = HTTP1_STREAM;
  o->left = o->head.length;
  o->expects = o->head.expect_field.bytes != NULL;
  if (http_connection_holds(c, 2 * HTTP_BLOCK))
    take_stream(c);
  else
    refuse(c, 503, "too much is being sent at the moment; try again later");
  return true;
}

/* ---- heads ---- */

/* A head that has come whole. */
static void begin(http_connection *c, size_t n_head) {
  http1 *o = &c->one;
  o->whole = o->asked = false;
  o->n_head = o->seen = n_head;
  o->chunks = (http_chunks){0};
  if (!o->head.chunked && o->head.length == 0) {
    o->whole = true;
    if (took(c, n_head)) feed(c);
    return;
  }
  o->state = HTTP1_BODY;
  const http_credentials credentials = {o->head.authorization, o->head.cookie};
  if (!http_call_make(&o->call, o->head.method, o->head.target, &credentials)) {
    refuse(c, 503, "out of memory");
    return;
  }
  o->limit = http_body_limit(c->loop->server, &o->call);
  if (!may_come(c, o->head.length)) return;
  if (!http_wants_stream(c->loop->server, &o->call))
    take_body(c);
  else if (!start_stream(c))
    refuse(c, 503, "out of memory");
}

static void take_head(http_connection *c) {
  const http_options *options = &c->loop->server->options;
  http_head_limits limits = {options->max_head, options->max_fields};
  h2o_buffer_t **in = &c->socket->input;
  /* RFC 9112, 2.2: an empty line before a request is no harm */
  if (c->one.scanned == 0 && (*in)->size > 2 && memcmp((*in)->bytes, "\r\n", 2) == 0)
    h2o_buffer_consume(in, 2);
  ptrdiff_t n = http_head_parse((*in)->bytes, (*in)->size, &c->one.scanned, &limits, &c->one.head);
  if (n < 0)
    refuse(c, c->one.head.status, c->one.head.problem);
  else if (n > 0)
    begin(c, (size_t)n);
}

static void input(http_connection *c) {
  if (!put_back(c)) {
    call(c, c->read, h2o_socket_error_out_of_memory);
    return;
  }
  switch (c->one.state) {
  case HTTP1_HEAD:
    if (c->socket->input->size) take_head(c);
    break;
  case HTTP1_BODY: take_body(c); break;
  case HTTP1_STREAM:
    if (c->one.body) take_stream(c);
    break;
  case HTTP1_ANSWER: break;
  case HTTP1_REFUSED: h2o_buffer_consume(&c->socket->input, c->socket->input->size); break;
  }
}

static void on_read(h2o_socket_t *socket, const char *error) {
  http_connection *c = socket->on_close.data;
  if (error)
    call(c, c->read, error);
  else
    input(c);
}

static void on_again(h2o_timeout_entry_t *entry) {
  http_connection *c = H2O_STRUCT_FROM_MEMBER(http_connection, again, entry);
  if (c->one.state == HTTP1_HEAD) input(c);
}

void http1_start(http_connection *c) {
  h2o_socket_t *socket = c->socket;
  h2o_buffer_t *bytes = socket->input; /* libh2o would read them at once */
  h2o_buffer_init(&socket->input, &h2o_socket_buffer_prototype);
  c->again.cb = on_again;
  h2o_http1_accept(&c->loop->accept, socket, *h2o_get_timestamp(&c->loop->context, NULL, NULL));
  socket->input = bytes;
  settle(c);
  input(c);
}
