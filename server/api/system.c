/* Health, figures, and the document of this interface. */
#include "api.h"

#include "predict/serve.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* ---- metrics: Prometheus' text format, version 0.0.4 ---- */

typedef struct page {
  char *text;
  size_t size, capacity;
  bool failed;
} page;

static void put(page *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(page *p, const char *format, ...) {
  char line[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  if (n < 0 || n >= (int)sizeof line || p->failed) return;
  if (p->size + (size_t)n + 1 > p->capacity) {
    size_t capacity = p->capacity * 2 + 4096;
    char *grown = realloc(p->text, capacity);
    p->failed = !grown;
    if (!grown) return;
    p->text = grown;
    p->capacity = capacity;
  }
  memcpy(p->text + p->size, line, (size_t)n + 1);
  p->size += (size_t)n;
}

typedef struct labelled {
  serve_stats stats;
  char labels[320]; /* model="...",version="..." */
} labelled;

/* Names of models that are not public are their owners' business. Backslash, quote and line break,
 * which a label would escape, are not in names. */
static void label(api *a, labelled *m) {
  bool found;
  json_t *row = store_row(a->store, &found,
                          "SELECT m.name AS name FROM weights w JOIN models m ON m.id = w.model "
                          "WHERE w.id = ? AND m.public",
                          "i", m->stats.weights);
  const char *name = json_string_value(json_object_get(row, "name"));
  snprintf(m->labels, sizeof m->labels, "model=\"%.200s\",version=\"%lld\"", name ? name : "",
           (long long)m->stats.weights);
  json_decref(row);
}

static void put_counter(page *p, const labelled *list, int n, const char *name, const char *about,
                        size_t offset, double scale) {
  put(p, "# HELP %s %s\n# TYPE %s counter\n", name, about, name);
  for (int i = 0; i < n; i++) {
    int64_t value;
    memcpy(&value, (const char *)&list[i].stats + offset, sizeof value);
    put(p, "%s{%s} %.17g\n", name, list[i].labels, (double)value * scale);
  }
}

static void put_histogram(page *p, const labelled *list, int n) {
  static const double bounds[] = SERVE_BOUNDS;
  static const char name[] = "webml_compute_seconds";
  put(p, "# HELP %s time of a request in the engine\n# TYPE %s histogram\n", name, name);
  for (int i = 0; i < n; i++) {
    int64_t sum = 0;
    for (int b = 0; b < SERVE_BUCKETS; b++) {
      sum += list[i].stats.buckets[b];
      if (b < SERVE_BUCKETS - 1)
        put(p, "%s_bucket{%s,le=\"%g\"} %lld\n", name, list[i].labels, bounds[b], (long long)sum);
      else
        put(p, "%s_bucket{%s,le=\"+Inf\"} %lld\n", name, list[i].labels, (long long)sum);
    }
    put(p, "%s_sum{%s} %.17g\n%s_count{%s} %lld\n", name, list[i].labels,
        (double)list[i].stats.nanoseconds * 1e-9, name, list[i].labels, (long long)sum);
  }
}

static void metrics(api_call *call) {
  enum { MOST = 256 };
  page p = {0};
  http_counts c;
  serve_stats *stats = calloc(MOST, sizeof *stats);
  labelled *list = calloc(MOST, sizeof *list);
  int n = stats && list ? serve_all_stats(call->api, stats, MOST) : 0;
  if (n > MOST) n = MOST;
  for (int i = 0; i < n; i++) {
    list[i].stats = stats[i];
    label(call->api, &list[i]);
  }
#define COUNTER(name, member, about)                                                               \
  put_counter(&p, list, n, name, about, offsetof(serve_stats, member), 1.0)
  COUNTER("nv_inference_request_success", requests, "requests that were answered");
  COUNTER("nv_inference_request_failure", failures, "requests that failed");
  COUNTER("nv_inference_count", rows, "rows that were computed");
  COUNTER("nv_inference_exec_count", requests, "runs of the engine");
#undef COUNTER
  put_counter(&p, list, n, "nv_inference_compute_infer_duration_us", "time in the engine",
              offsetof(serve_stats, nanoseconds), 1e-3);
  put_histogram(&p, list, n);
  http_server_counts(call->api->server, &c);
  put(&p, "# TYPE webml_http_requests_total counter\nwebml_http_requests_total %llu\n",
      (unsigned long long)c.requests);
  put(&p, "# TYPE webml_http_connections gauge\nwebml_http_connections %llu\n",
      (unsigned long long)c.open_connections);
  put(&p, "# TYPE webml_http_given_up_total counter\nwebml_http_given_up_total %llu\n",
      (unsigned long long)c.resets);
  put(&p,
      "# TYPE webml_http_refused_connections_total counter\nwebml_http_refused_connections_total "
      "%llu\n",
      (unsigned long long)c.refused);
  free(stats);
  free(list);
  if (p.failed)
    api_fail(call, 503, "out of memory");
  else
    api_reply_bytes(call, 200, "text/plain; version=0.0.4", p.text, p.size);
  free(p.text);
}

static const api_route routes[] = {
    {"GET", "/healthz", API_ANYONE, "whether the server answers", NULL, health, API_INLINE},
    {"GET", "/metrics", API_ANYONE, "figures for Prometheus", NULL, metrics, 0},
    {"GET", "/openapi.json", API_ANYONE, "this interface as an OpenAPI 3.1 document", NULL, openapi,
     0},
    {"GET", "/api/v1/system/counts", API_ADMIN, "connections and requests since the start", NULL,
     counts, 0},
    {0}};

const api_resource api_system = {"system", "Health and figures.", routes};
