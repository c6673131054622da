/* What a client may send before anybody has looked at its request. */
#include "loop.h"

#include <stdlib.h>
#include <string.h>

size_t http_body_limit(http_server *s, const char *method, const char *path) {
  const http_options *o = &s->options;
  return o->body_limit ? o->body_limit(method, path, o->user) : o->max_body;
}

int http_may_send(http_server *s, const char *method, const char *path, const char *authorization,
                  const char **problem) {
  const http_options *o = &s->options;
  int status = o->may_send ? o->may_send(method, path, authorization, o->user) : 0;
  *problem = status == 401   ? "log in first: a body of this size needs a token"
             : status == 403 ? "this account may not send this"
                             : "this may not be sent";
  return status;
}

static char *put(char **at, const char *bytes, size_t size) {
  char *to = *at;
  memcpy(to, bytes, size);
  to[size] = '\0';
  *at += size + 1;
  return to;
}

char *http_copy_head(http_text method, http_text target, http_text authorization, char **path,
                     char **authorization_copy) {
  h2o_mem_pool_t pool;
  size_t query, *indexes = NULL;
  h2o_mem_init_pool(&pool);
  h2o_iovec_t normal = h2o_url_normalize_path(&pool, target.bytes, target.size, &query, &indexes);
  char *block = malloc(method.size + normal.len + authorization.size + 3), *at = block;
  if (block) {
    put(&at, method.bytes, method.size);
    *path = put(&at, normal.base, normal.len);
    *authorization_copy =
        authorization.bytes ? put(&at, authorization.bytes, authorization.size) : NULL;
  }
  h2o_mem_clear_pool(&pool);
  return block;
}
