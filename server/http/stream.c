/* Answers without an end: server-sent events. What is sent while the client is still busy with the
 * last piece waits, up to a limit. */
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that several streams of a loop send. Used on the loop alone. */
typedef struct shared {
  int references;
  size_t size;  /* as it is */
  size_t whole; /* as a chunk, the bytes included */
  size_t begin; /* of the bytes in the chunk */
  char chunk[];
} shared;

static void drop(shared *b) {
  if (b && --b->references == 0) free(b);
}

struct http_stream {
  h2o_generator_t generator;
  http_loop *loop;
  http_request *request;
  http_stream *next, **place; /* in the loop's list */
  atomic_int references; /* h2o's memory pool, and messages on their way; the caller has none of
                            its own: it is told when the stream has closed */
  char *waiting, *flying;
  shared *flying_shared; /* instead of flying */
  size_t n_waiting, capacity, most;
  bool
      chunked; /* HTTP/1.1: pieces are framed here, each in one write, and not by libh2o in three */
  bool busy, ending, ended, closed;
  void (*on_closed)(void *user);
  void *user;
};

static void release(http_stream *s) {
  if (atomic_fetch_sub(&s->references, 1) != 1) return;
  http_request_release(s->request);
  free(s->waiting);
  free(s->flying);
  free(s);
}

/* What was sent is not needed any more. On the loop. */
static void forget_flying(http_stream *s) {
  free(s->flying);
  drop(s->flying_shared);
  s->flying = NULL;
  s->flying_shared = NULL;
}

/* The end of a chunked body (RFC 9112, 7.1). Without memory the connection's end says it. */
static void add_end(http_stream *s) {
  static const char last[] = "0\r\n\r\n";
  size_t n = sizeof last - 1;
  char *grown = s->ended ? NULL : realloc(s->waiting, s->n_waiting + n);
  s->ended = true;
  if (!grown) return;
  memcpy(grown + s->n_waiting, last, n);
  s->waiting = grown;
  s->n_waiting += n;
  s->capacity = s->n_waiting;
}

/* Sends what waits, and the end when that is wanted. On the loop, when h2o is ready for it. */
static void push(http_stream *s) {
  h2o_req_t *req = s->request->req;
  if (s->ending && s->chunked && !s->busy && !s->closed && req) add_end(s);
  if (s->busy || s->closed || !req || (!s->n_waiting && !s->ending)) return;
  forget_flying(s);
  s->flying = s->waiting;
  h2o_iovec_t bytes = {s->flying, s->n_waiting};
  s->waiting = NULL;
  s->n_waiting = s->capacity = 0;
  s->busy = true;
  h2o_send(req, &bytes, bytes.len ? 1 : 0,
           s->ending ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req) {
  (void)req;
  http_stream *s = (http_stream *)generator;
  s->busy = false;
  push(s);
}

static void on_disposed(void *holder) {
  http_stream *s = *(http_stream **)holder;
  s->closed = true;
  forget_flying(s);
  *s->place = s->next;
  if (s->next) s->next->place = s->place;
  if (s->on_closed) s->on_closed(s->user);
  release(s);
}

typedef struct piece {
  http_message super;
  http_stream *stream;
  size_t size;
  bool end;
  char bytes[];
} piece;

enum { FRAME = 24 }; /* bytes around a chunk, at most */

/* The bytes as the stream sends them; returns how many there are. to: size + FRAME. */
static size_t frame(bool chunked, char *to, const char *bytes, size_t size) {
  size_t n = chunked ? (size_t)snprintf(to, FRAME, "%zx\r\n", size) : 0;
  memcpy(to + n, bytes, size);
  if (chunked) memcpy(to + n + size, "\r\n", 2);
  return n + size + (chunked ? 2 : 0);
}

static void append(http_stream *s, const char *bytes, size_t size) {
  if (!size) return; /* an empty chunk would be the end */
  if (s->n_waiting + size >
      s->most) { /* too slow: the client comes again and asks for what it missed */
    s->ending = true;
    return;
  }
  if (s->n_waiting + size + FRAME > s->capacity) {
    size_t capacity = (s->n_waiting + size + FRAME) * 2;
    char *grown = realloc(s->waiting, capacity);
    if (!grown) {
      s->ending = true;
      return;
    }
    s->waiting = grown;
    s->capacity = capacity;
  }
  s->n_waiting += frame(s->chunked, s->waiting + s->n_waiting, bytes, size);
}

static void run_piece(http_message *message) {
  piece *p = (piece *)message;
  http_stream *s = p->stream;
  if (!s->closed && !s->ending) {
    append(s, p->bytes, p->size);
    s->ending = s->ending || p->end;
    push(s);
  }
  release(s);
  free(p);
}

static void post_piece(http_stream *s, const void *bytes, size_t size, bool end) {
  piece *p = malloc(sizeof *p + size);
  if (!p) return;
  *p = (piece){.super = {.run = run_piece}, .stream = s, .size = size, .end = end};
  if (size) memcpy(p->bytes, bytes, size);
  atomic_fetch_add(&s->references, 1);
  http_post(s->loop, &p->super);
}

void http_stream_send(http_stream *s, const void *bytes, size_t size) {
  post_piece(s, bytes, size, false);
}

/* ---- to several ---- */

typedef struct bundle {
  http_message super;
  shared *bytes;
  int n;
  http_stream *streams[]; /* a reference to each */
} bundle;

static void send_shared(http_stream *s, shared *b) {
  h2o_req_t *req = s->request->req;
  if (s->closed || s->ending) return;
  if (s->busy || s->n_waiting || !req) {
    append(s, b->chunk + b->begin, b->size);
    push(s);
    return;
  }
  forget_flying(s);
  s->flying_shared = b;
  b->references++;
  s->busy = true;
  h2o_iovec_t bytes = {s->chunked ? b->chunk : b->chunk + b->begin,
                       s->chunked ? b->whole : b->size};
  h2o_send(req, &bytes, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static void run_bundle(http_message *message) {
  bundle *b = (bundle *)message;
  for (int i = 0; i < b->n; i++) {
    send_shared(b->streams[i], b->bytes);
    release(b->streams[i]);
  }
  drop(b->bytes);
  free(b);
}

static void send_on_loop(http_loop *loop, http_stream *const *streams, int n, const void *bytes,
                         size_t size) {
  int count = 0;
  for (int i = 0; i < n; i++) count += streams[i]->loop == loop;
  if (!count) return;
  bundle *b = malloc(sizeof *b + (size_t)count * sizeof *b->streams);
  shared *copy = b ? malloc(sizeof *copy + size + FRAME) : NULL;
  if (!copy) {
    free(b);
    return;
  }
  copy->references = 1;
  copy->size = size;
  copy->whole = frame(true, copy->chunk, bytes, size);
  copy->begin = copy->whole - size - 2;
  b->super = (http_message){.run = run_bundle};
  b->bytes = copy;
  b->n = 0;
  for (int i = 0; i < n; i++) {
    if (streams[i]->loop != loop) continue;
    atomic_fetch_add(&streams[i]->references, 1);
    b->streams[b->n++] = streams[i];
  }
  http_post(loop, &b->super);
}

void http_stream_send_all(http_stream *const *streams, int n, const void *bytes, size_t size) {
  http_server *server = n ? streams[0]->loop->server : NULL;
  for (int i = 0; server && i < server->n_loops; i++)
    send_on_loop(&server->loops[i], streams, n, bytes, size);
}

void http_stream_end(http_stream *s) {
  post_piece(s, NULL, 0, true);
}

typedef struct start_message {
  http_message super;
  http_stream *stream;
  http_response *head;
} start_message;

static void run_start(http_message *message) {
  start_message *m = (start_message *)message;
  http_stream *s = m->stream;
  h2o_req_t *req = s->request->req;
  http_stream **holder = req ? h2o_mem_alloc_shared(&req->pool, sizeof *holder, on_disposed) : NULL;
  if (holder) {
    *holder = s;
    s->place = &s->loop->streams;
    s->next = s->loop->streams;
    if (s->next) s->next->place = &s->next;
    s->loop->streams = s;
    s->request->answered = true;
    http_set_head(req, m->head);
    s->chunked = req->version == 0x101;
    if (s->chunked)
      h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_TRANSFER_ENCODING, NULL,
                     H2O_STRLIT("chunked"));
    h2o_start_response(req, &s->generator);
    if (strcmp(s->request->method, "HEAD") == 0)
      s->ending = s->ended = true; /* no body, and no end of one */
    else
      append(s, m->head->body ? m->head->body : ":\n\n", m->head->body ? m->head->size : 3);
    if (s->loop->stopping) s->ending = true;
    push(s);
  } else { /* the client has gone before */
    s->closed = true;
    if (s->on_closed) s->on_closed(s->user);
    release(s);
  }
  free(m->head);
  free(m);
}

http_stream *http_stream_start(http_request *r, const http_response *head, size_t most,
                               void (*closed)(void *user), void *user) {
  http_stream *s = calloc(1, sizeof *s);
  start_message *m = malloc(sizeof *m);
  http_response *copy = http_copy_response(head);
  if (!s || !m || !copy) {
    free(s), free(m), free(copy);
    http_respond(r, &(http_response){.status = 503});
    return NULL;
  }
  s->generator.proceed = on_proceed;
  s->loop = r->loop;
  s->request = r; /* its reference becomes the stream's */
  s->most = most;
  s->on_closed = closed;
  s->user = user;
  atomic_init(&s->references, 1);
  *m = (start_message){{.run = run_start}, s, copy};
  if (http_on_loop(r->loop))
    run_start(&m->super);
  else
    http_post(r->loop, &m->super);
  return s;
}

http_stream *http_stream_next(const http_stream *s) {
  return s->next;
}
