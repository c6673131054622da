/* HTTP/2 between the socket and libh2o.
 *
 * libh2o 2.2.5 decodes header blocks of up to 400 KB into some 60 bytes of memory for each byte (a
 * reference to its tables), prints a line for each unknown frame, takes any number of frames that
 * mean nothing, and answers a body that is too large with a reset, after which clients try again.
 *
 * It reads frames through a pointer in its connection (_read_expect, http2_internal.h). Ours stands
 * there and sees each frame, whole, before libh2o does:
 *
 * - The fields of a header block are counted before they are decoded (hpack.c); a block over
 * several frames is bounded as it grows. Up to twice the limits it is decoded, as the tables of
 * both sides must agree, and the request is answered with 431. Beyond that the connection ends.
 * - Frames that do nothing for a request are counted against what the connection has done.
 * - The body of a stream is looked at as it grows. A refusal is an ordinary answer on the stream,
 *   and what is sent there afterwards is thrown away.
 * - Bodies that are handed on (http_body_functions) are taken from their frames. libh2o sees the
 *   frames, too, for its windows, but none with END_STREAM: that comes, in an empty frame made
 *   here, when all has been handed on.
 * - What the streams hold in memory is counted per connection, client and server.
 *
 * Trailers are an error of the connection where a body was refused or is handed on. */
#include "hpack.h"
#include "incoming.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  FRAME_HEAD = H2O_HTTP2_FRAME_HEADER_SIZE,
  MOST_FRAME = 16384,       /* what libh2o announces */
  STREAM_BYTES = 8 << 10,   /* of memory for a stream, without its fields and its body */
  ENOUGH_THROWN = 32 << 20, /* bytes after which a client is told to stop */
  MOST_THROWN = 64 << 20
};

typedef struct frame {
  size_t length;
  uint8_t type, flags;
  uint32_t stream;
  const uint8_t *payload;
} frame;

static uint32_t read_32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- ends of connections ---- */

/* libh2o says so to the client and closes; without a limit on the time, and reading on, it would
 * wait for one that does not listen. */
static ssize_t end(http_connection *c, const char *reason, const char **problem) {
  http_connection_note_end(c, reason);
  h2o_socket_read_stop(c->socket);
  c->end_at = http_now() + 1;
  *problem = reason;
  return H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM;
}

/* ---- memory ---- */

static size_t held_by(const h2o_http2_stream_t *stream) {
  size_t n = STREAM_BYTES;
  for (size_t i = 0; i < stream->req.headers.size; i++)
    n += stream->req.headers.entries[i].value.len + 64;
  return stream->_req_body ? n + stream->_req_body->capacity : n;
}

static void on_read(h2o_socket_t *socket, const char *error);

bool http2_is_alive(const http_connection *c) {
  return c->two.connection && (c->two.paused || c->socket->_cb.read == on_read);
}

static size_t unsent_of(const h2o_http2_stream_t *stream) {
  size_t n = 0;
  for (size_t i = 0; i < stream->_data.size; i++) n += stream->_data.entries[i].len;
  return n;
}

size_t http2_held(http_connection *c) {
  h2o_http2_conn_t *conn = c->two.connection;
  h2o_http2_stream_t *stream;
  size_t n = 0;
  c->unsent = conn->_write.buf->size;
  kh_foreach_value(conn->streams, stream, {
    n += held_by(stream);
    c->unsent += unsent_of(stream);
  });
  for (const http_incoming *b = c->two.bodies; b; b = b->next_of_connection) n += 2 * HTTP_BLOCK;
  return n + c->unsent;
}

/* False: more than the client may hold. */
static bool count(http_connection *c, size_t grown) {
  c->two.grown += grown;
  if (c->two.grown < HTTP_UNASKED) return true;
  c->two.grown = 0;
  return http_connection_holds(c, http2_held(c));
}

static void on_send(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bytes, size_t n,
                    h2o_send_state_t state) {
  http_connection *c = ((h2o_http2_conn_t *)req->conn)->sock->on_close.data;
  size_t size = 0;
  for (size_t i = 0; i < n; i++) size += bytes[i].len;
  c->send(self, req, bytes, n, state);
  if (!count(c, size)) http_connection_end(c, "its address holds too many answers");
}

void http2_answering(http_connection *c, h2o_req_t *req) {
  if (req->_ostr_top->do_send == on_send) return;
  c->send = req->_ostr_top->do_send;
  req->_ostr_top->do_send = on_send;
}

bool http2_is_blocked(http_connection *c) {
  h2o_http2_conn_t *conn = c->two.connection;
  h2o_http2_stream_t *stream;
  if (conn->_write.buf_in_flight) return true;
  kh_foreach_value(conn->streams, stream, {
    if (stream->_data.size) return true;
  });
  return false;
}

/* ---- frames that do nothing ---- */

static bool is_noise(const frame *f) {
  switch (f->type) {
  case H2O_HTTP2_FRAME_TYPE_DATA:
    return !f->length && !(f->flags & H2O_HTTP2_FRAME_FLAG_END_STREAM);
  case H2O_HTTP2_FRAME_TYPE_HEADERS: return false;
  case H2O_HTTP2_FRAME_TYPE_CONTINUATION: return f->length < 1024;
  default: return true;
  }
}

/* A client that is at work sends some, too: for its requests, for what it takes of answers, and to
 * see that the connection lives. */
static bool is_flood(http_connection *c) {
  uint64_t allowed = 1000 + 20 * c->requests + c->socket->bytes_written / 256 + c->received / 256 +
                     (uint64_t)(http_now() - c->opened) * 20;
  return ++c->two.noise > allowed;
}

/* ---- header blocks ---- */

static const uint8_t *block_of(const frame *f, size_t *size) {
  const uint8_t *p = f->payload, *end = p + f->length;
  *size = 0;
  if (f->flags & H2O_HTTP2_FRAME_FLAG_PADDED) {
    if (p == end || *p >= end - p) return NULL;
    end -= *p++;
  }
  if (f->flags & H2O_HTTP2_FRAME_FLAG_PRIORITY) {
    if (end - p < 5) return NULL;
    p += 5;
  }
  *size = (size_t)(end - p);
  return p;
}

static bool is_bounded(http_connection *c, const uint8_t *bytes, size_t size) {
  const http_options *o = &c->loop->server->options;
  http_block block;
  if (size <= (size_t)o->max_fields) return true; /* a field has at least a byte */
  /* what is broken is libh2o's to refuse, as long as it is small */
  return http_block_measure(bytes, size, 2 * (size_t)o->max_fields + 8, &block)
             ? block.literal <= 4 * o->max_head
             : block.fields <= 2 * (size_t)o->max_fields + 8;
}

/* The last frame of a block over several. */
static bool is_bounded_with(http_connection *c, const h2o_buffer_t *before, const frame *f) {
  uint8_t *all = malloc(before->size + f->length + 1);
  if (!all) return false;
  memcpy(all, before->bytes, before->size);
  memcpy(all + before->size, f->payload, f->length);
  bool ok = is_bounded(c, all, before->size + f->length);
  free(all);
  return ok;
}

/* NULL, or why the connection ends. */
static const char *check_block(http_connection *c, h2o_http2_conn_t *conn, const frame *f) {
  static const char many[] = "too many or too large header fields";
  bool last = f->flags & H2O_HTTP2_FRAME_FLAG_END_HEADERS;
  size_t size = f->length;
  const uint8_t *bytes = f->payload;
  if (f->type == H2O_HTTP2_FRAME_TYPE_HEADERS) {
    c->two.block = 0;
    bytes = block_of(f, &size);
    if (bytes && last && !is_bounded(c, bytes, size)) return many;
  } else if (last && conn->_headers_unparsed && !is_bounded_with(c, conn->_headers_unparsed, f))
    return many;
  c->two.block += size;
  return c->two.block > 2 * c->loop->server->options.max_head ? many : NULL;
}

/* ---- refusals ---- */

static void forget_body(h2o_http2_stream_t *stream) {
  stream->req.entity = (h2o_iovec_t){NULL, 0};
  if (stream->_req_body) h2o_buffer_dispose(&stream->_req_body);
}

/* libh2o handles the request as if it had come whole; http_on_request() finds the refusal. */
static void refuse(http_connection *c, h2o_http2_stream_t *stream, int status,
                   const char *sentence) {
  http2 *t = &c->two;
  t->refused[t->n_refused % HTTP2_REFUSED].stream = stream->stream_id;
  t->refused[t->n_refused++ % HTTP2_REFUSED].told = false;
  atomic_fetch_add(&c->loop->server->rejected, 1);
  forget_body(stream);
  t->status = status;
  t->problem = sentence;
  h2o_http2_stream_set_state(t->connection, stream, H2O_HTTP2_STREAM_STATE_REQ_PENDING);
  h2o_http2_stream_set_state(t->connection, stream, H2O_HTTP2_STREAM_STATE_SEND_HEADERS);
  if (t->connection->pull_stream_ids.max_processed < stream->stream_id)
    t->connection->pull_stream_ids.max_processed = stream->stream_id;
  h2o_process_request(&stream->req);
  t->status = 0;
}

/* Windows are kept open as libh2o does it, for a stream only while its client may go on. */
static void keep_open(h2o_http2_conn_t *conn, const frame *f, bool stream) {
  h2o_http2_window_consume_window(&conn->_input_window, f->length);
  ssize_t window = h2o_http2_window_get_window(&conn->_input_window),
          whole = (ssize_t)H2O_HTTP2_SETTINGS_HOST.initial_window_size;
  if (window * 2 < whole) {
    h2o_http2_encode_window_update_frame(&conn->_write.buf, 0, (int32_t)(whole - window));
    h2o_http2_window_update(&conn->_input_window, whole - window);
  }
  if (stream && f->length)
    h2o_http2_encode_window_update_frame(&conn->_write.buf, f->stream, (int32_t)f->length);
  h2o_http2_conn_request_write(conn);
}

/* DATA for a stream that was refused. A client may go on for a while, as some read no answer before
 * they have sent all; then it is told to stop (RFC 9113, 8.1), once its answer is out. */
static bool throw_away(http_connection *c, const frame *f) {
  http2 *t = &c->two;
  h2o_http2_conn_t *conn = t->connection;
  int i = 0;
  if (!t->n_refused) return false;
  while (i < HTTP2_REFUSED && t->refused[i].stream != f->stream) i++;
  if (!f->stream || i == HTTP2_REFUSED || conn->state >= H2O_HTTP2_CONN_STATE_HALF_CLOSED)
    return false;
  bool enough = (t->thrown_away += f->length) > ENOUGH_THROWN;
  keep_open(conn, f, !enough && !(f->flags & H2O_HTTP2_FRAME_FLAG_END_STREAM));
  if (enough && !t->refused[i].told && !h2o_http2_conn_get_stream(conn, f->stream)) {
    t->refused[i].told = true;
    h2o_http2__encode_rst_stream_frame(&conn->_write.buf, f->stream, 0); /* NO_ERROR */
  }
  return true;
}

/* ---- bodies ---- */

static http_text text_of(h2o_iovec_t v) {
  return (http_text){v.base, v.len};
}

/* Cookies may come in several fields (RFC 9113, 8.2.3). */
static http_text cookies_of(h2o_req_t *req) {
  h2o_iovec_t all = {NULL, 0};
  for (ssize_t i = -1; (i = h2o_find_header(&req->headers, H2O_TOKEN_COOKIE, i)) >= 0;) {
    h2o_iovec_t value = req->headers.entries[i].value;
    all = all.base ? h2o_concat(&req->pool, all, h2o_iovec_init(H2O_STRLIT("; ")), value) : value;
  }
  return text_of(all);
}

static http_credentials credentials_of(h2o_req_t *req) {
  ssize_t i = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
  return (http_credentials){i < 0 ? (http_text){NULL, 0} : text_of(req->headers.entries[i].value),
                            cookies_of(req)};
}

/* The body had `before` bytes and has `size`; `expected` is what the client has announced, or 0. */
static void check_body(http_connection *c, h2o_http2_stream_t *stream, size_t before, size_t size,
                       size_t expected) {
  const http_options *o = &c->loop->server->options;
  const char *problem = "the body is larger than this path takes";
  http_call call;
  int status = 0;
  if (size <= HTTP_UNASKED && expected <= HTTP_UNASKED && size <= o->max_body &&
      expected <= o->max_body)
    return;
  bool crossed =
      (expected > HTTP_UNASKED && before == 0) || (before <= HTTP_UNASKED && size > HTTP_UNASKED);
  const http_credentials credentials = credentials_of(&stream->req);
  if (!http_call_make(&call, text_of(stream->req.input.method), text_of(stream->req.input.path),
                      &credentials)) {
    refuse(c, stream, 503, "out of memory");
    return;
  }
  if (crossed) status = http_may_send(c->loop->server, &call, &problem);
  size_t limit = http_body_limit(c->loop->server, &call);
  if (!status && (size > limit || expected > limit)) status = 413;
  http_call_free(&call);
  if (status) refuse(c, stream, status, problem);
}

/* ---- bodies that are handed on ---- */

static ssize_t pass(http_connection *c, const uint8_t *bytes, size_t size, const char **problem);

static http_incoming *body_of(http_connection *c, uint32_t stream) {
  http_incoming *b = c->two.bodies;
  while (b && b->stream != stream) b = b->next_of_connection;
  return b;
}

static void unlink_body(http_connection *c, const http_incoming *b) {
  http_incoming **place = &c->two.bodies;
  while (*place != b) place = &(*place)->next_of_connection;
  *place = b->next_of_connection;
}

/* The stream has ended, by its request's end or before. */
typedef struct watch {
  http_connection *connection;
  uint32_t stream;
} watch;

static void on_stream_disposed(void *arg) {
  const watch *w = arg;
  http_incoming *b = body_of(w->connection, w->stream);
  if (!b) return;
  unlink_body(w->connection, b);
  http_incoming_break(b);
  if (!w->connection->two.bodies) w->connection->two.paused = false;
}

void http2_free(http_connection *c) {
  while (c->two.bodies) {
    http_incoming *b = c->two.bodies;
    unlink_body(c, b);
    http_incoming_break(b);
  }
}

/* Reads again, beginning with what is there. */
static void go_on(http_connection *c) {
  if (!c->two.paused) return;
  c->two.paused = false;
  h2o_socket_read_start(c->socket, on_read);
  if (c->socket->input->size) on_read(c->socket, NULL);
}

static void refuse_stream(http_incoming *b) {
  http_connection *c = b->connection;
  h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(c->two.connection, b->stream);
  unlink_body(c, b);
  b->connection = NULL;
  if (stream)
    refuse(c, stream, b->refusal.status,
           b->refusal.sentence[0] ? b->refusal.sentence : "the body cannot be taken");
  go_on(c); /* it may have been this one that was waited for */
}

static void resume_stream(http_incoming *b) {
  if (http_incoming_room(b) >= MOST_FRAME) go_on(b->connection);
}

/* libh2o gets the end of the body, and has the request handled: at once, or when others of the
 * connection have been answered. False: later. */
static bool deliver_now(http_connection *c, http_incoming *b) {
  const char *problem = NULL;
  uint8_t last[FRAME_HEAD] = {0, 0, 0, H2O_HTTP2_FRAME_TYPE_DATA, H2O_HTTP2_FRAME_FLAG_END_STREAM};
  for (int i = 0; i < 4; i++) last[5 + i] = (uint8_t)(b->stream >> (24 - 8 * i));
  b->ready = false;
  b->delivering = true;
  pass(c, last, sizeof last, &problem);
  b->delivering = false;
  return b->taken;
}

/* Between the frames of a header block there can be no other: then it waits for the block's end. */
static bool deliver_stream(http_incoming *b) {
  b->delivered = true;
  b->ready = b->connection->two.connection->_headers_unparsed != NULL;
  return !b->ready && deliver_now(b->connection, b);
}

static void deliver_ready(http_connection *c) {
  for (http_incoming *b = c->two.bodies, *next; b; b = next) {
    next = b->next_of_connection;
    if (b->ready && deliver_now(c, b)) http_incoming_break(b);
  }
}

http_request *http2_take_early(http_connection *c, h2o_req_t *req) {
  uint32_t stream = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, req)->stream_id;
  http_incoming *b = c->two.bodies ? body_of(c, stream) : NULL;
  if (!b || !b->delivered) return NULL;
  http_request *r = b->request;
  atomic_fetch_add(&r->references, 2);
  unlink_body(c, b);
  b->taken = true;
  if (!b->delivering) http_incoming_break(b);
  return r;
}

/* False: no memory. */
static bool start_stream(http_connection *c, h2o_http2_stream_t *stream) {
  char *fields = http_copy_fields(&stream->req);
  http_request *r = fields ? http_request_early(c, text_of(stream->req.input.method),
                                                text_of(stream->req.input.path), fields)
                           : NULL;
  size_t expected = stream->_expected_content_length;
  http_incoming *b =
      r ? http_incoming_start(c, r, expected == SIZE_MAX ? UINT64_MAX : expected) : NULL;
  if (!b) {
    if (r) http_request_release(r);
    return false;
  }
  b->stream = stream->stream_id;
  b->limit = http_body_limit(c->loop->server, &(http_call){.method = r->method, .path = r->path});
  b->refuse = refuse_stream;
  b->resume = resume_stream;
  b->deliver = deliver_stream;
  b->next_of_connection = c->two.bodies;
  c->two.bodies = b;
  watch *w = h2o_mem_alloc_shared(&stream->req.pool, sizeof *w, on_stream_disposed);
  *w = (watch){c, stream->stream_id};
  stream->_expected_content_length = SIZE_MAX; /* checked here; libh2o will see none of it */
  return true;
}

static bool wants_stream(http_connection *c, const h2o_http2_stream_t *stream) {
  http_call call;
  if (!c->loop->server->options.body.wants ||
      !http_call_make(&call, text_of(stream->req.input.method), text_of(stream->req.input.path),
                      &(http_credentials){0}))
    return false;
  bool wants = http_wants_stream(c->loop->server, &call);
  http_call_free(&call);
  return wants;
}

/* What of a frame is not padding. False: libh2o will refuse it. */
static bool payload_of(const frame *f, const uint8_t **bytes, size_t *size) {
  *bytes = f->payload;
  *size = f->length;
  if (!(f->flags & H2O_HTTP2_FRAME_FLAG_PADDED)) return true;
  if (!f->length || f->payload[0] >= f->length) return false;
  *bytes = f->payload + 1;
  *size = f->length - 1 - f->payload[0];
  return true;
}

static void break_off(http_connection *c, http_incoming *b, h2o_http2_stream_t *stream, int status,
                      const char *sentence) {
  unlink_body(c, b);
  http_incoming_break(b);
  refuse(c, stream, status, sentence);
}

typedef enum fate { PASS, TAKEN, LATER } fate;

/* A frame with a piece of such a body; `flags` are the frame's, in the socket's input. */
static fate hand_on(http_connection *c, http_incoming *b, const frame *f, uint8_t *flags) {
  const uint8_t *bytes;
  size_t size;
  h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(c->two.connection, f->stream);
  if (!payload_of(f, &bytes, &size) || b->whole) return PASS;
  if (http_incoming_room(b) < size) {
    c->two.paused = true;
    h2o_socket_read_stop(c->socket);
    return LATER;
  }
  bool last = f->flags & H2O_HTTP2_FRAME_FLAG_END_STREAM;
  uint64_t total = b->total + size;
  if (total > b->limit ||
      (b->announced != UINT64_MAX && (total > b->announced || (last && total < b->announced)))) {
    bool large = total > b->limit;
    break_off(c, b, stream, large ? 413 : 400,
              large ? "the body is larger than this path takes"
                    : "the body does not have the length that was announced");
    return throw_away(c, f) ? TAKEN : PASS;
  }
  http_incoming_put(b, bytes, size);
  *flags &= (uint8_t)~H2O_HTTP2_FRAME_FLAG_END_STREAM;
  if (last) http_incoming_finish(b);
  return PASS;
}

/* libh2o has kept what was handed on. */
static void forget_piece(http_connection *c, uint32_t id) {
  h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(c->two.connection, id);
  if (stream && stream->_req_body && stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY)
    stream->_req_body->size = 0;
}

/* ---- frames ---- */

/* What a request without its body takes: of few streams, nothing that has to be counted. */
static size_t cost_of(const h2o_http2_conn_t *conn, const frame *f) {
  enum { FEW = 32 };
  return f->length * 2 + (conn->num_streams.pull.open > FEW ? STREAM_BYTES / 8 : 0);
}

static void after_headers(http_connection *c, const frame *f) {
  h2o_http2_conn_t *conn = c->two.connection;
  h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(conn, f->stream);
  if (!stream || stream->state != H2O_HTTP2_STREAM_STATE_RECV_BODY) return;
  size_t expected = stream->_expected_content_length;
  check_body(c, stream, 0, 0, expected == SIZE_MAX ? 0 : expected);
  if (stream->state != H2O_HTTP2_STREAM_STATE_RECV_BODY) return;
  if (wants_stream(c, stream) && !start_stream(c, stream))
    refuse(c, stream, 503, "out of memory");
  else if (!count(c, cost_of(conn, f)))
    refuse(c, stream, 503, "too much is being sent at the moment; try again later");
}

/* Before libh2o sees the bytes: with the last of them it hands the request on. */
static fate before_data(http_connection *c, const frame *f, uint8_t *flags) {
  http_incoming *b = body_of(c, f->stream);
  if (throw_away(c, f)) return TAKEN;
  h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(c->two.connection, f->stream);
  if (!stream || stream->state != H2O_HTTP2_STREAM_STATE_RECV_BODY || !stream->_req_body)
    return PASS;
  if (b) {
    fate what = hand_on(c, b, f, flags);
    if (what != LATER) c->received += f->length;
    return what;
  }
  size_t before = stream->_req_body->size;
  c->received += f->length;
  check_body(c, stream, before, before + f->length, 0);
  if (stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY && !count(c, f->length))
    refuse(c, stream, 503, "too much is being sent at the moment; try again later");
  bool refused = stream->state != H2O_HTTP2_STREAM_STATE_RECV_BODY;
  return refused && throw_away(c, f) ? TAKEN : PASS;
}

static ssize_t on_frame(h2o_http2_conn_t *conn, const uint8_t *bytes, size_t size,
                        const char **problem);

/* libh2o's turn. It may set the pointer anew. */
static ssize_t pass(http_connection *c, const uint8_t *bytes, size_t size, const char **problem) {
  h2o_http2_conn_t *conn = c->two.connection;
  ssize_t n = c->two.expect(conn, bytes, size, problem);
  if (conn->_read_expect != on_frame) {
    c->two.expect = conn->_read_expect;
    conn->_read_expect = on_frame;
  }
  return n;
}

/* How many fields this server takes is in no setting of libh2o's: a frame of our own says it. */
static ssize_t greet(http_connection *c, const uint8_t *bytes, size_t size, const char **problem) {
  ssize_t n = pass(c, bytes, size, problem);
  if (n <= 0) return n;
  c->two.greeted = true;
  uint32_t most = (uint32_t)c->loop->server->options.max_head;
  uint8_t setting[FRAME_HEAD + 6] = {0, 0, 6, H2O_HTTP2_FRAME_TYPE_SETTINGS};
  uint8_t value[6] = {
      0, 6, (uint8_t)(most >> 24), (uint8_t)(most >> 16), (uint8_t)(most >> 8), (uint8_t)most};
  memcpy(setting + FRAME_HEAD, value, sizeof value);
  h2o_buffer_t **out = &c->two.connection->_write.buf;
  h2o_iovec_t to = h2o_buffer_reserve(out, sizeof setting);
  if (to.base) {
    memcpy(to.base, setting, sizeof setting);
    (*out)->size += sizeof setting;
  }
  return n;
}

static ssize_t on_frame(h2o_http2_conn_t *conn, const uint8_t *bytes, size_t size,
                        const char **problem) {
  http_connection *c = conn->sock->on_close.data;
  if (!c->two.greeted) return greet(c, bytes, size, problem);
  if (size < FRAME_HEAD) return H2O_HTTP2_ERROR_INCOMPLETE;
  frame f = {.length = read_32(bytes) >> 8,
             .type = bytes[3],
             .flags = bytes[4],
             .stream = read_32(bytes + 5) & 0x7fffffff,
             .payload = bytes + FRAME_HEAD};
  if (f.length > MOST_FRAME) return H2O_HTTP2_ERROR_FRAME_SIZE;
  if (size < FRAME_HEAD + f.length) return H2O_HTTP2_ERROR_INCOMPLETE;
  ssize_t whole = (ssize_t)(FRAME_HEAD + f.length);
  if (is_noise(&f) && is_flood(c)) return end(c, "too many frames that do nothing", problem);
  bool is_headers = f.type == H2O_HTTP2_FRAME_TYPE_HEADERS,
       in_block = conn->_headers_unparsed != NULL;
  bool is_block = is_headers || f.type == H2O_HTTP2_FRAME_TYPE_CONTINUATION;
  if (is_block) {
    const char *reason = check_block(c, conn, &f);
    if (reason) return end(c, reason, problem);
    if (is_headers && !in_block && body_of(c, f.stream)) {
      *problem = "trailers are not taken here";
      return H2O_HTTP2_ERROR_PROTOCOL;
    }
  } else if (f.type > H2O_HTTP2_FRAME_TYPE_CONTINUATION && !in_block)
    return whole; /* RFC 9113, 5.5: unknown ones are ignored; libh2o would print a line for each */
  else if (f.type == H2O_HTTP2_FRAME_TYPE_DATA && !in_block) {
    fate what = before_data(c, &f, (uint8_t *)(uintptr_t)bytes + 4);
    if (what == LATER) return H2O_HTTP2_ERROR_INCOMPLETE;
    if (c->two.thrown_away > MOST_THROWN)
      return end(c, "it goes on with what was refused", problem);
    if (what == TAKEN) return whole;
  }
  ssize_t n = pass(c, bytes, size, problem);
  if (n <= 0) return n;
  if (is_block && !(f.flags & H2O_HTTP2_FRAME_FLAG_END_STREAM && is_headers))
    after_headers(c, &f);
  else if (f.type == H2O_HTTP2_FRAME_TYPE_DATA && c->two.bodies)
    forget_piece(c, f.stream);
  if (in_block && !conn->_headers_unparsed) deliver_ready(c);
  return n;
}

/* While libh2o waits to write its last words it would go on reading, into memory. */
static void on_read(h2o_socket_t *socket, const char *error) {
  http_connection *c = socket->on_close.data;
  if (error || c->two.connection->state < H2O_HTTP2_CONN_STATE_IS_CLOSING) {
    c->read(socket, error);
    return;
  }
  h2o_buffer_consume(&socket->input, socket->input->size);
  h2o_socket_read_stop(socket);
  c->end_at = http_now() + 1;
}

void http2_start(http_connection *c) {
  h2o_socket_t *socket = c->socket;
  h2o_buffer_t *bytes = socket->input; /* libh2o would read them at once */
  h2o_buffer_init(&socket->input, &h2o_socket_buffer_prototype);
  h2o_http2_accept(&c->loop->accept, socket, *h2o_get_timestamp(&c->loop->context, NULL, NULL));
  socket->input = bytes;
  h2o_http2_conn_t *conn = c->two.connection = socket->data;
  c->two.expect = conn->_read_expect;
  conn->_read_expect = on_frame;
  c->read = socket->_cb.read;
  socket->_cb.read = on_read;
  if (bytes->size) on_read(socket, NULL);
}
