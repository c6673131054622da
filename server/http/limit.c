/* What a client may send before anybody has looked at its request. */
#include "loop.h"

#include <stdlib.h>
#include <string.h>

size_t http_body_limit(http_server *s, const http_call *call) {
  const http_options *o = &s->options;
  return o->body_limit ? o->body_limit(call->method, call->path, o->user) : o->max_body;
}

int http_may_send(http_server *s, const http_call *call, const char **problem) {
  const http_options *o = &s->options;
  int status = o->may_send ? o->may_send(call->method, call->path, call->authorization,
                                         call->cookie, o->user)
                           : 0;
  *problem = status == 401   ? "log in first: a body of this size needs a token"
             : status == 403 ? "this account may not send this"
                             : "this may not be sent";
  return status;
}

bool http_wants_stream(http_server *s, const http_call *call) {
  const http_options *o = &s->options;
  return o->body.wants && o->body.wants(call->method, call->path, o->user);
}

static char *put(char **at, http_text text) {
  char *to = *at;
  memcpy(to, text.bytes, text.size);
  to[text.size] = '\0';
  *at += text.size + 1;
  return to;
}

/* False: no memory. */
static bool fill(http_call *call, http_text method, http_text path, const http_credentials *c) {
  size_t size = method.size + path.size + c->authorization.size + c->cookie.size + 4;
  call->block = size > sizeof call->small ? malloc(size) : NULL;
  char *at = call->block ? call->block : call->small;
  if (size > sizeof call->small && !call->block) return false;
  call->method = put(&at, method);
  call->path = put(&at, path);
  call->authorization = c->authorization.bytes ? put(&at, c->authorization) : NULL;
  call->cookie = c->cookie.bytes ? put(&at, c->cookie) : NULL;
  return true;
}

/* Nothing in the path is encoded, or may be a "." or ".." (as libh2o looks for them). */
static bool is_plain(http_text target) {
  if (!target.size || *target.bytes != '/') return false;
  for (size_t i = 0; i < target.size; i++)
    if (target.bytes[i] == '%' || (target.bytes[i] == '.' && i && target.bytes[i - 1] == '/'))
      return false;
  return true;
}

bool http_call_make(http_call *call, http_text method, http_text target,
                    const http_credentials *credentials) {
  const char *query = memchr(target.bytes, '?', target.size);
  h2o_mem_pool_t pool;
  size_t at, *indexes = NULL;
  if (is_plain(target)) {
    if (query) target.size = (size_t)(query - target.bytes);
    return fill(call, method, target, credentials);
  }
  h2o_mem_init_pool(&pool);
  h2o_iovec_t normal = h2o_url_normalize_path(&pool, target.bytes, target.size, &at, &indexes);
  bool ok = fill(call, method, (http_text){normal.base, normal.len}, credentials);
  h2o_mem_clear_pool(&pool);
  return ok;
}

void http_call_free(http_call *call) {
  free(call->block);
  call->block = NULL;
}
