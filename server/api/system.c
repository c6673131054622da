/* Health, figures, and the document of this interface. */
#include "api.h"

#include <stdio.h>
#include <webml.h>

static void health(api_call *call) {
  api_reply(call, 200,
            json_pack("{s:s, s:s, s:I}", "status", "ok", "version", webml_version(), "seconds",
                      (json_int_t)(api_now() - call->api->started)));
}

static void openapi(api_call *call) {
  api_reply(call, 200, api_openapi(call->api));
}

static void counts(api_call *call) {
  http_counts c;
  http_server_counts(call->api->server, &c);
  api_reply(call, 200,
            json_pack("{s:I, s:I, s:I, s:I, s:I}", "connections", (json_int_t)c.connections,
                      "open_connections", (json_int_t)c.open_connections, "requests",
                      (json_int_t)c.requests, "given_up", (json_int_t)c.resets,
                      "refused_connections", (json_int_t)c.refused));
}

static const api_route routes[] = {
    {"GET", "/healthz", API_ANYONE, "whether the server answers", NULL, health, API_INLINE},
    {"GET", "/openapi.json", API_ANYONE, "this interface as an OpenAPI 3.1 document", NULL, openapi,
     0},
    {"GET", "/api/v1/system/counts", API_ADMIN, "connections and requests since the start", NULL,
     counts, 0},
    {0}};

const api_resource api_system = {"system", "Health and figures.", routes};
