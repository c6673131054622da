/* Answers: from any thread to the loop, and into libh2o. */
#include "loop.h"

#include <stdlib.h>
#include <string.h>

static void add_header(h2o_req_t *req, const char *name, const char *value) {
  h2o_iovec_t v = h2o_strdup(&req->pool, value, SIZE_MAX);
  h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, v.base, v.len);
}

void http_set_head(h2o_req_t *req, const http_response *response) {
  req->res.status = response->status;
  req->res.reason = http_reason(response->status);
  if (response->content_type) add_header(req, "content-type", response->content_type);
  add_header(req, "x-content-type-options", "nosniff");
  for (int i = 0; i < response->n_fields; i++)
    add_header(req, response->fields[i].name, response->fields[i].value);
}

static void free_response(void *holder) {
  free(*(http_response **)holder);
}

/* libh2o copies what is sent inline; a large body is sent as it lies, and stays as long as the
 * request.
 */
static void send_kept(h2o_req_t *req, http_response *response) {
  static h2o_generator_t generator;
  http_response **holder = h2o_mem_alloc_shared(&req->pool, sizeof *holder, free_response);
  *holder = response;
  h2o_iovec_t body = {(char *)(uintptr_t)response->body, response->size};
  bool is_head = h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
  h2o_start_response(req, &generator);
  h2o_send(req, &body, is_head ? 0 : 1, H2O_SEND_STATE_FINAL);
}

static void set_length(h2o_req_t *req, const http_response *response) {
  bool none = response->status == 204 || response->status == 304;
  req->res.content_length = none ? SIZE_MAX : response->size;
}

static void send_now(http_request *r, const http_response *response) {
  h2o_req_t *req = r->req;
  if (req) {
    r->answered = true;
    http_set_head(req, response);
    set_length(req, response);
    h2o_send_inline(req, response->body ? response->body : "", response->size);
  }
  http_request_release(r);
}

static char *put_text(char **at, const char *text) {
  size_t n = strlen(text) + 1;
  char *to = memcpy(*at, text, n);
  *at += n;
  return to;
}

http_response *http_copy_response(const http_response *from) {
  size_t fields = (size_t)from->n_fields * sizeof *from->fields, size = sizeof *from + fields;
  size += (from->content_type ? strlen(from->content_type) + 1 : 0) + from->size;
  for (int i = 0; i < from->n_fields; i++) size += strlen(from->fields[i].value) + 1;
  http_response *to = malloc(size);
  if (!to) return NULL;
  http_field *list = (http_field *)(to + 1);
  char *at = (char *)list + fields;
  *to = *from;
  to->fields = list;
  if (from->content_type) to->content_type = put_text(&at, from->content_type);
  for (int i = 0; i < from->n_fields; i++) {
    list[i].name = from->fields[i].name; /* stays as long as the program */
    list[i].value = put_text(&at, from->fields[i].value);
  }
  to->body = from->size ? memcpy(at, from->body, from->size) : NULL;
  return to;
}

typedef struct answer {
  http_message super;
  http_request *request;
  http_response *response;
} answer;

static void run_answer(http_message *message) {
  enum { LARGE = 64 << 10 };
  answer *a = (answer *)message;
  h2o_req_t *req = a->request->req;
  if (req && a->response->size >= LARGE) {
    a->request->answered = true;
    http_set_head(req, a->response);
    set_length(req, a->response);
    send_kept(req, a->response);
    http_request_release(a->request);
  } else {
    send_now(a->request, a->response);
    free(a->response);
  }
  free(a);
}

static void respond(http_request *r, const http_response *response) {
  if (http_on_loop(r->loop)) {
    send_now(r, response);
    return;
  }
  answer *a = malloc(sizeof *a);
  http_response *copy = a ? http_copy_response(response) : NULL;
  if (a && !copy)
    copy = http_copy_response(&(http_response){.status = 503}); /* a small one may fit */
  if (!copy) { /* the client waits for its own time-out */
    free(a);
    http_request_release(r);
    return;
  }
  *a = (answer){{.run = run_answer}, r, copy};
  http_post(r->loop, &a->super);
}

void http_respond(http_request *r, const http_response *response) {
  http_shaped shaped;
  respond(r, http_shape(r, response, &shaped));
  free(shaped.packed);
}
