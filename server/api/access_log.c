/* Lines of the system log about calls. */
#include "api.h"

#include "context/log.h"

#include <stdlib.h>
#include <string.h>

static void put_call(log_line *l, const api_call *call) {
  log_put_text(l, "method", http_method(call->request));
  log_put_text(l, "path", http_path(call->request));
  log_put_text(l, "peer", http_peer(call->request));
  if (call->status) log_put_number(l, "status", call->status);
  log_put_milliseconds(l, "ms", context_monotonic() - call->began);
}

void api_log_call(const api_call *call) {
  log_line l;
  log_begin(&l, "request", call->user.id);
  put_call(&l, call);
  log_put_text(&l, "outcome", call->refusal ? call->refusal : "done");
  log_end(&l, false);
}

void api_log(const char *event, const api_call *call, int64_t user, const char *object,
             const char *outcome) {
  log_line l;
  log_begin(&l, event, user);
  put_call(&l, call);
  log_put_text(&l, "object", object);
  log_put_text(&l, "outcome", outcome);
  log_end(&l, true);
}

void api_log_change(const char *event, const api_call *call, const json_t *before,
                    const json_t *changes) {
  json_t *old = json_object(), *value;
  const char *name;
  log_line l;
  json_object_foreach((json_t *)(uintptr_t)changes, name, value) {
    json_t *was = json_object_get(before, name);
    json_object_set(old, name, was ? was : json_null());
  }
  char *from = json_dumps(old, JSON_COMPACT), *to = json_dumps(changes, JSON_COMPACT);
  json_decref(old);
  log_begin(&l, event, call->user.id);
  put_call(&l, call);
  log_put_text(&l, "outcome", "changed");
  log_put_text(&l, "before", from);
  log_put_text(&l, "after", to);
  log_end(&l, true);
  free(from);
  free(to);
}
