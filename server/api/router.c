/* From a request to its handler: route, rights, and where it runs. */
#include "api.h"

#include "downloads.h"
#include "tickets.h"

#include "store/idempotency.h"

#include <stdlib.h>
#include <string.h>

/* ---- pages of another origin ask first (Fetch standard, CORS preflight) ---- */

static bool is_preflight(const api_call *call) {
  return call->api->allowed_origin && strcmp(http_method(call->request), "OPTIONS") == 0 &&
         http_header(call->request, "access-control-request-method");
}

static void answer_preflight(api_call *call) {
  api_add_header(call, "access-control-allow-methods", "GET, HEAD, POST, PATCH, DELETE");
  api_add_header(call, "access-control-allow-headers", "%s",
                 "authorization, content-type, idempotency-key, if-match, if-none-match, "
                 "last-event-id, range, tus-resumable, upload-checksum, upload-defer-length, "
                 "upload-length, upload-metadata, upload-offset, inference-header-content-length");
  api_add_header(call, "access-control-max-age", "600");
  api_reply_empty(call);
}

/* ---- entry ---- */

static void refuse_path(api_call *call) {
  char methods[64];
  api_allowed_methods(http_path(call->request), methods, sizeof methods);
  if (!methods[0]) {
    api_fail(call, 404, "there is nothing at this path; see /openapi.json");
    return;
  }
  api_add_header(call, "allow", "%s", methods);
  api_fail(call, 405, "%s is not for this path", http_method(call->request));
}

/* False: too large; answered. */
static bool check_size(api_call *call) {
  size_t size, most = api_most_body(call->route);
  http_body(call->request, &size);
  if (size <= most) return true;
  api_fail(call, 413, "the body has %zu bytes; here it may have %zu", size, most);
  return false;
}

static void run(api_call *call) {
  const api_route *route = call->route;
  if (!(route->how & API_INLINE) && !route->try_fast) {
    api_queue(call);
    return;
  }
  api_verdict v = api_authenticate(call, true);
  if (v == API_REFUSED) return;
  if (v == API_PASSED && route->how & API_INLINE) {
    if (api_check_fields(call)) route->run(call);
  } else if (v != API_PASSED || !route->try_fast(call))
    api_queue(call);
}

void api_handle(http_request *request, void *user) {
  api *a = user;
  api_call *call = calloc(1, sizeof *call);
  if (!call) {
    http_respond(request, &(http_response){.status = 503});
    return;
  }
  call->api = a;
  call->store = a->context.store;
  call->request = request;
  call->began = context_monotonic();
  if (is_preflight(call)) {
    answer_preflight(call);
    return;
  }
  call->route = api_find_route(http_method(request), http_path(request), call);
  if (!call->route)
    refuse_path(call);
  else if (check_size(call))
    run(call);
}

bool api_start(api *a) {
  api_settings_prepare();
  api_events_prepare(a);
  idempotency_recover(a->context.store);
  return api_backups_start(a) && api_checker_start(a) && api_downloads_start(a) &&
         api_tickets_start(a) && api_workers_start(a) && api_waits_start(a) && api_keeper_start(a);
}

void api_stop(api *a) {
  api_keeper_stop(a);
  api_waits_stop(a);
  api_workers_stop(a);
  api_checker_stop(a);
  api_waits_free(a);
  api_backups_stop(a);
  api_tickets_stop(a);
  free(a->document);
}
