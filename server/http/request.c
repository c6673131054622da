/* A request from h2o's memory to the handler and back. */
#include "loop.h"
#include "text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- life ---- */

void http_request_release(http_request *r) {
  if (atomic_fetch_sub(&r->references, 1) != 1) return;
  free(r->copies);
  free(r->header);
  if (r->buffer) {
    http_server_holds_less(r->loop->server, r->buffer->capacity);
    h2o_buffer_dispose(&r->buffer);
  } else if (r->detached)
    free((void *)(uintptr_t)r->body);
  if (r->object) r->loop->server->options.body.free(r->object);
  free(r);
}

/* h2o frees the request: it was answered, or the client has gone. On the loop. */
static void on_disposed(void *holder) {
  http_request *r = *(http_request **)holder;
  r->loop->pending--;
  if (!r->answered) atomic_store(&r->gone, true);
  if (r->connection) http_connection_done(r->connection, !r->answered);
  if (r->client) http_client_leave(r->loop->server, r->client);
  r->client = NULL;
  r->connection = NULL;
  r->req = NULL;
  http_request_release(r);
}

static char *copy_text(const char *bytes, size_t size) {
  char *text = malloc(size + 1);
  if (!text) return NULL;
  memcpy(text, bytes, size);
  text[size] = '\0';
  return text;
}

static bool is_clean(const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)bytes[i] < 32 || bytes[i] == 127) return false;
  return true;
}

static const char *put_bytes(char **at, const char *bytes, size_t size) {
  char *to = memcpy(*at, bytes, size);
  to[size] = '\0';
  *at += size + 1;
  return to;
}

/* Method, path and query lie behind the request in one block. */
static http_request *new_request(http_loop *loop, h2o_req_t *req) {
  size_t query = req->query_at == SIZE_MAX ? req->path.len : req->query_at,
         n_query = query < req->path.len ? req->path.len - query - 1 : 0;
  http_request *r = malloc(sizeof *r + req->method.len + req->path_normalized.len + n_query + 3);
  if (!r) return NULL;
  *r = (http_request){
      .loop = loop, .req = req, .body = req->entity.base, .body_size = req->entity.len};
  atomic_init(&r->references, 2);
  char *at = (char *)(r + 1);
  r->method = put_bytes(&at, req->method.base, req->method.len);
  r->path = put_bytes(&at, req->path_normalized.base, req->path_normalized.len);
  r->query = put_bytes(&at, req->path.base + req->path.len - n_query, n_query);
  r->connection = http_connection_request(req, r->peer);
  return r;
}

static void refuse(h2o_req_t *req, int status, const char *sentence) {
  char body[512];
  size_t n = http_problem(body, sizeof body, status, sentence);
  http_set_head(req, &(http_response){.status = status, .content_type = http_problem_type});
  if (status == 401)
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("www-authenticate"), 1, NULL,
                          H2O_STRLIT("Bearer"));
  req->res.content_length = n;
  h2o_send_inline(req, body, n);
}

/* Header fields as RFC 9113, 6.5.2 counts them; each may be a reference to the same few bytes. */
static bool is_too_large(const http_options *o, const h2o_req_t *req) {
  size_t size = req->path.len + req->authority.len;
  for (size_t i = 0; i < req->headers.size; i++)
    size += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 32;
  return req->headers.size > (size_t)o->max_fields || size > o->max_head;
}

/* ---- requests whose bodies are handed on ---- */

http_request *http_request_early(http_connection *c, http_text method, http_text target,
                                 char *fields) {
  h2o_mem_pool_t pool;
  size_t at, *indexes = NULL;
  h2o_mem_init_pool(&pool);
  h2o_iovec_t path = h2o_url_normalize_path(&pool, target.bytes, target.size, &at, &indexes);
  size_t n_query = at < target.size ? target.size - at - 1 : 0;
  http_request *r = malloc(sizeof *r + method.size + path.len + n_query + 3);
  if (r) {
    *r = (http_request){.loop = c->loop, .detached = true, .copies = fields};
    atomic_init(&r->references, 1);
    char *to = (char *)(r + 1);
    r->method = put_bytes(&to, method.bytes, method.size);
    r->path = put_bytes(&to, path.base, path.len);
    r->query = put_bytes(&to, target.bytes + target.size - n_query, n_query);
    memcpy(r->peer, c->address, sizeof r->peer);
    if (c->is_proxy) http_find_client(r); /* checked when it is handled */
  } else
    free(fields);
  h2o_mem_clear_pool(&pool);
  return r;
}

/* A request whose body has been handed on: libh2o has it now, too. NULL: it is not such a one. */
static http_request *bind_early(http_connection *c, h2o_req_t *req) {
  char address[48];
  http_request *r = c->early;
  if (req->version >= 0x200)
    r = http2_take_early(c, req);
  else if (r)
    atomic_fetch_add(&r->references, 1); /* the other one was the connection's */
  if (!r) return NULL;
  c->early = NULL;
  r->req = req;
  r->connection = http_connection_request(req, address);
  return r;
}

enum { MOST_UNSENT = 16 << 20 }; /* bytes of answers that may wait before there is another one */

static bool is_text_decoded(const char *bytes, size_t size) {
  if (!memchr(bytes, '%', size)) return http_is_text(bytes, size);
  char *copy = copy_text(bytes, size);
  bool ok = copy && http_is_text(copy, http_decode(copy, size));
  free(copy);
  return ok;
}

/* NULL: the request may be handled; else why not. */
static const char *check(http_loop *loop, const http_connection *c, h2o_req_t *req, int *status) {
  *status = c && c->two.connection ? c->two.status : 0;
  if (*status) return c->two.problem;
  *status = 503;
  if (c && c->unsent > MOST_UNSENT) return "take the answers to earlier requests first";
  *status = 431;
  if (is_too_large(&loop->server->options, req)) return "the header fields are too large";
  *status = 400;
  if (!http_is_text(req->path_normalized.base, req->path_normalized.len))
    return "the path is not UTF-8, or has control characters";
  size_t query = req->query_at < req->path.len ? req->query_at : req->path.len;
  if (!is_text_decoded(req->path.base + query, req->path.len - query))
    return "the query is not UTF-8, or has control characters";
  return NULL;
}

int http_on_request(h2o_handler_t *handler, h2o_req_t *req) {
  (void)handler;
  int status;
  http_loop *loop = http_current_loop;
  atomic_fetch_add(&loop->server->requests, 1);
  h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
  http_connection *c = socket->on_close.data;
  http_request *r = bind_early(c, req);
  if (!r) r = new_request(loop, req);
  if (!r) {
    refuse(req, 503, "out of memory");
    return 0;
  }
  http_request **holder = h2o_mem_alloc_shared(&req->pool, sizeof *holder, on_disposed);
  *holder = r;
  loop->pending++;
  if (r->connection) (req->version < 0x200 ? http1_answering : http2_answering)(r->connection, req);
  const char *problem = check(loop, r->connection, req, &status);
  if (!problem && c->is_proxy) problem = http_check_client(r, &status);
  if (problem) {
    r->answered = true;
    refuse(req, status, problem);
    http_request_release(r);
  } else
    loop->server->options.handle(r, loop->server->options.user);
  return 0;
}

/* ---- reading ---- */

const char *http_method(const http_request *r) {
  return r->method;
}
const char *http_path(const http_request *r) {
  return r->path;
}
const char *http_query(const http_request *r) {
  return r->query;
}
void *http_body_object(const http_request *r) {
  return r->object;
}
const char *http_peer(const http_request *r) {
  return r->peer;
}
const void *http_body(const http_request *r, size_t *size) {
  *size = r->body_size;
  return r->body_size ? r->body : "";
}
bool http_is_secure(const http_request *r) {
  return r->loop->server->tls != NULL;
}

/* The text of the last header is the request's own. */
static const char *keep_header(http_request *r, const char *bytes, size_t size) {
  if (!is_clean(bytes, size)) return NULL;
  free(r->header);
  return r->header = copy_text(bytes, size);
}

const char *http_header(const http_request *request, const char *name) {
  http_request *r = (http_request *)(uintptr_t)request;
  if (r->detached) {
    for (const char *p = r->copies; *p;) {
      const char *value = p + strlen(p) + 1;
      if (http_same_name(p, strlen(p), name)) return value;
      p = value + strlen(value) + 1;
    }
    return NULL;
  }
  if (strcmp(name, "host") == 0) /* libh2o keeps it apart */
    return keep_header(r, r->req->input.authority.base, r->req->input.authority.len);
  for (size_t i = 0; i < r->req->headers.size; i++) {
    const h2o_header_t *h = &r->req->headers.entries[i];
    if (http_same_name(h->name->base, h->name->len, name))
      return keep_header(r, h->value.base, h->value.len);
  }
  return NULL;
}

/* Where libh2o keeps the body of the request. */
static h2o_buffer_t **buffer_of(const http_request *r) {
  if (r->req->version >= 0x200)
    return &H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, r->req)->_req_body;
  return &r->connection->socket->input;
}

/* Takes libh2o's buffer with the body, instead of a copy. HTTP/1.1 will still want to take the
 * request's bytes out of its own: it gets a dummy that claims to have them. False: no memory. */
static bool take_buffer(http_request *r) {
  static h2o_buffer_prototype_t plain; /* without a list of buffers, which would be a thread's */
  h2o_buffer_t **place = buffer_of(r), *dummy = NULL;
  if (r->req->version < 0x200) {
    if (!(dummy = calloc(1, sizeof *dummy))) return false;
    *dummy = (h2o_buffer_t){.capacity = 1,
                            .size = (*place)->size,
                            .bytes = dummy->_buf,
                            ._prototype = &h2o_socket_buffer_prototype,
                            ._fd = -1};
  }
  r->buffer = *place;
  r->buffer->_prototype = &plain;
  http_server_holds_more(r->loop->server, r->buffer->capacity);
  *place = dummy;
  return true;
}

/* The body is the request's own. False: no memory. */
static bool keep_body(http_request *r) {
  if (!r->body_size) r->body = NULL; /* it is nobody's */
  if (!r->body_size) return true;
  if (r->body_size >= HTTP_UNASKED && r->connection) return take_buffer(r);
  void *copy = malloc(r->body_size);
  if (copy) memcpy(copy, r->body, r->body_size);
  if (copy) r->body = copy;
  return copy != NULL;
}

char *http_copy_fields(const h2o_req_t *req) {
  static const char host[] = "host";
  h2o_iovec_t authority = req->input.authority;
  size_t size = sizeof host + authority.len + 2;
  for (size_t i = 0; i < req->headers.size; i++)
    size += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 2;
  char *copies = malloc(size), *at = copies;
  if (!copies) return NULL;
  if (authority.len && is_clean(authority.base, authority.len)) {
    put_bytes(&at, host, sizeof host - 1);
    put_bytes(&at, authority.base, authority.len);
  }
  for (size_t i = 0; i < req->headers.size; i++) {
    const h2o_header_t *h = &req->headers.entries[i];
    if (!h->name->len || !is_clean(h->value.base, h->value.len)) continue;
    put_bytes(&at, h->name->base, h->name->len);
    put_bytes(&at, h->value.base, h->value.len);
  }
  *at = '\0';
  return copies;
}

bool http_detach(http_request *r) {
  if (r->detached) return true;
  char *copies = http_copy_fields(r->req);
  if (!copies || !keep_body(r)) {
    char text[64];
    size_t n = http_problem(text, sizeof text, 503, "out of memory");
    free(copies);
    http_respond(r, &(http_response){
                        .status = 503, .content_type = http_problem_type, .body = text, .size = n});
    return false;
  }
  r->copies = copies;
  r->detached = true;
  return true;
}

bool http_is_gone(const http_request *r) {
  return atomic_load(&((http_request *)(uintptr_t)r)->gone);
}

typedef struct look {
  http_message super;
  http_request *request;
} look;

static void run_look(http_message *message) {
  look *l = (look *)message;
  http_request *r = l->request;
  char byte;
  http_connection *c = r->req ? r->connection : NULL;
  if (c && !c->two.connection &&
      recv(h2o_socket_get_fd(c->socket), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
    atomic_store(&r->gone, true);
  http_request_release(r);
  free(l);
}

void http_look_for_client(http_request *r) {
  look *l = calloc(1, sizeof *l);
  if (!l) return; /* next time */
  atomic_fetch_add(&r->references, 1);
  *l = (look){{.run = run_look}, r};
  http_post(r->loop, &l->super);
}
