/* Answers from files: a piece at a time, when the client has taken the one before. */
#include "loop.h"

#include <stdlib.h>
#include <unistd.h>

enum { PIECE = 256 << 10 };

typedef struct sender {
  h2o_generator_t generator;
  int fd;
  int64_t at, size;
  char *piece;
} sender;

static void send_next(h2o_generator_t *generator, h2o_req_t *req) {
  sender *s = (sender *)generator;
  size_t want = s->size - s->at < PIECE ? (size_t)(s->size - s->at) : PIECE;
  ssize_t got = want ? pread(s->fd, s->piece, want, s->at) : 0;
  h2o_iovec_t bytes = {s->piece, got > 0 ? (size_t)got : 0};
  s->at += got > 0 ? got : 0;
  if (want && got <= 0) /* shorter than it was: the client must not take it for the whole */
    h2o_send(req, NULL, 0, H2O_SEND_STATE_ERROR);
  else
    h2o_send(req, &bytes, bytes.len ? 1 : 0,
             s->at == s->size ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void on_disposed(void *holder) {
  sender *s = *(sender **)holder;
  close(s->fd);
  free(s->piece);
  free(s);
}

typedef struct file_answer {
  http_message super;
  http_request *request;
  sender *sender;
} file_answer;

static void run_file(http_message *message) {
  file_answer *a = (file_answer *)message;
  h2o_req_t *req = a->request->req;
  sender *s = a->sender;
  if (req) {
    sender **holder = h2o_mem_alloc_shared(&req->pool, sizeof *holder, on_disposed);
    *holder = s;
    a->request->answered = true;
    req->res.content_length = (size_t)s->size;
    h2o_start_response(req, &s->generator);
    send_next(&s->generator, req);
  } else {
    close(s->fd);
    free(s->piece);
    free(s);
  }
  http_request_release(a->request);
  free(a);
}

typedef struct head_message {
  http_message super;
  http_request *request;
  file_answer *next;
  http_response *head;
} head_message;

/* The head is set on the loop, too; its texts are copied by the message that carries them. */
static void run_head(http_message *message) {
  head_message *m = (head_message *)message;
  if (m->request->req) http_set_head(m->request->req, m->head);
  free(m->head);
  run_file(&m->next->super);
  free(m);
}

void http_respond_file(http_request *r, const http_response *head, int fd, int64_t size) {
  sender *s = calloc(1, sizeof *s);
  file_answer *a = calloc(1, sizeof *a);
  head_message *m = calloc(1, sizeof *m);
  http_response *copy = http_copy_response(head);
  char *piece = malloc(PIECE);
  if (!s || !a || !m || !copy || !piece) {
    free(s), free(a), free(m), free(copy), free(piece);
    close(fd);
    http_respond(r, &(http_response){.status = 503});
    return;
  }
  *s = (sender){.generator = {send_next, NULL}, .fd = fd, .size = size, .piece = piece};
  *a = (file_answer){.request = r, .sender = s};
  *m = (head_message){{.run = run_head}, r, a, copy};
  if (http_on_loop(r->loop))
    run_head(&m->super);
  else
    http_post(r->loop, &m->super);
}
