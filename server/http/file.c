/* Answers from files: a piece at a time, when the client has taken the one before. */
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PIECE = 256 << 10 };

typedef struct sender {
  h2o_generator_t generator;
  int fd;
  int64_t at, end;
  char *piece;
  http_watch watch; /* may_go_on NULL: none */
} sender;

static void send_next(h2o_generator_t *generator, h2o_req_t *req) {
  sender *s = (sender *)generator;
  size_t want = s->end - s->at < PIECE ? (size_t)(s->end - s->at) : PIECE;
  bool ended = want && s->watch.may_go_on && !s->watch.may_go_on(s->watch.user);
  ssize_t got = want && !ended ? pread(s->fd, s->piece, want, s->at) : 0;
  h2o_iovec_t bytes = {s->piece, got > 0 ? (size_t)got : 0};
  s->at += got > 0 ? got : 0;
  if (want &&
      got <= 0) /* shorter than it was, or over: the client must not take it for the whole */
    h2o_send(req, NULL, 0, H2O_SEND_STATE_ERROR);
  else
    h2o_send(req, &bytes, bytes.len ? 1 : 0,
             s->at == s->end ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void free_sender(sender *s) {
  if (s->watch.closed) s->watch.closed(s->watch.user);
  close(s->fd);
  free(s->piece);
  free(s);
}

static void on_disposed(void *holder) {
  free_sender(*(sender **)holder);
}

typedef struct file_answer {
  http_message super;
  http_request *request;
  sender *sender;
  http_response *head;
} file_answer;

static void add_field(h2o_req_t *req, const char *name, const char *value) {
  h2o_iovec_t v = h2o_strdup(&req->pool, value, SIZE_MAX);
  h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, v.base, v.len);
}

/* Which part is sent, and the head that says so. */
static void set_part(file_answer *a, h2o_req_t *req) {
  char text[80];
  sender *s = a->sender;
  int64_t size = s->end, first = 0, last = size - 1;
  http_range range = HTTP_RANGE_NONE;
  if (http_is_unchanged(a->request, a->head)) {
    a->head->status = 304;
    a->head->content_type = NULL;
    s->end = 0;
  } else
    range = http_find_range(a->request, a->head, size, &first, &last);
  if (range == HTTP_RANGE_PART) {
    a->head->status = 206;
    s->at = first;
    s->end = last + 1;
    snprintf(text, sizeof text, "bytes %lld-%lld/%lld", (long long)first, (long long)last,
             (long long)size);
  } else if (range == HTTP_RANGE_BEYOND) {
    a->head->status = 416;
    s->end = 0;
    snprintf(text, sizeof text, "bytes */%lld", (long long)size);
  }
  bool is_file = a->head->status == 200;
  http_set_head(req, a->head);
  if (range != HTTP_RANGE_NONE) add_field(req, "content-range", text);
  if (is_file || range != HTTP_RANGE_NONE) add_field(req, "accept-ranges", "bytes");
  req->res.content_length = a->head->status == 304 ? SIZE_MAX : (size_t)(s->end - s->at);
}

static void run_file(http_message *message) {
  file_answer *a = (file_answer *)message;
  h2o_req_t *req = a->request->req;
  if (req) {
    sender **holder = h2o_mem_alloc_shared(&req->pool, sizeof *holder, on_disposed);
    *holder = a->sender;
    a->request->answered = true;
    set_part(a, req);
    if (strcmp(a->request->method, "HEAD") == 0) a->sender->at = a->sender->end;
    h2o_start_response(req, &a->sender->generator);
    send_next(&a->sender->generator, req);
  } else
    free_sender(a->sender);
  http_request_release(a->request);
  free(a->head);
  free(a);
}

void http_respond_file(http_request *r, const http_response *head, int fd, int64_t size,
                       const http_watch *watch) {
  sender *s = calloc(1, sizeof *s);
  file_answer *a = calloc(1, sizeof *a);
  http_response *copy = http_copy_response(head);
  char *piece = malloc(PIECE);
  if (!s || !a || !copy || !piece) {
    free(s), free(a), free(copy), free(piece);
    close(fd);
    if (watch && watch->closed) watch->closed(watch->user);
    http_respond(r, &(http_response){.status = 503});
    return;
  }
  *s = (sender){.generator = {send_next, NULL}, .fd = fd, .end = size, .piece = piece};
  if (watch) s->watch = *watch;
  *a = (file_answer){{.run = run_file}, r, s, copy};
  if (http_on_loop(r->loop))
    run_file(&a->super);
  else
    http_post(r->loop, &a->super);
}
