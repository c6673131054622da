/* Health, figures, and the document of this interface. */
#include "api.h"

#include "journal/journal.h"
#include "store/sessions.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webml.h>

static void health(api_call *call) {
  api_reply(call, 200,
            json_pack("{s:s, s:s, s:I}", "status", "ok", "version", webml_version(), "seconds",
                      (json_int_t)(context_now() - call->api->started)));
}

/* Made once: it is the same until the program ends. */
static void openapi(api_call *call) {
  static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
  api *a = call->api;
  pthread_mutex_lock(&making);
  if (!a->document) {
    json_t *document = api_openapi(a);
    a->document = json_dumps(document, JSON_COMPACT);
    json_decref(document);
  }
  pthread_mutex_unlock(&making);
  if (a->document)
    api_reply_bytes(call, 200, "application/json", a->document, strlen(a->document));
  else
    api_fail(call, 503, "out of memory");
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
static void label(store *s, labelled *m) {
  json_t *row = weights_public_name(s, m->stats.weights);
  const char *name = store_text(row, "name");
  snprintf(m->labels, sizeof m->labels, "model=\"%.200s\",version=\"%lld\"", name ? name : "",
           (long long)m->stats.weights);
  json_decref(row);
}

static int64_t member(const labelled *m, size_t offset) {
  int64_t value;
  memcpy(&value, (const char *)&m->stats + offset, sizeof value);
  return value;
}

static void put_head(page *p, const char *name, const char *type, const char *about) {
  put(p, "# HELP %s %s\n# TYPE %s %s\n", name, about, name, type);
}

static void put_values(page *p, const labelled *list, int n, const char *name, const char *type,
                       const char *about, size_t offset, double scale) {
  put_head(p, name, type, about);
  for (int i = 0; i < n; i++)
    put(p, "%s{%s} %.17g\n", name, list[i].labels, (double)member(&list[i], offset) * scale);
}

static void put_failures(page *p, const labelled *list, int n) {
  static const struct {
    const char *reason;
    size_t offset;
  } reasons[] = {{"REJECTED", offsetof(serve_stats, rejected)},
                 {"CANCELED", offsetof(serve_stats, cancelled)},
                 {"BACKEND", offsetof(serve_stats, failed)}};
  static const char name[] = "nv_inference_request_failure";
  put_head(p, name, "counter", "requests that were not answered");
  for (int i = 0; i < n; i++)
    for (size_t k = 0; k < sizeof reasons / sizeof *reasons; k++)
      put(p, "%s{%s,reason=\"%s\"} %lld\n", name, list[i].labels, reasons[k].reason,
          (long long)member(&list[i], reasons[k].offset));
}

static void put_histogram(page *p, const labelled *list, int n, const char *name, const char *about,
                          size_t offset) {
  static const double bounds[] = SERVE_BOUNDS;
  put_head(p, name, "histogram", about);
  for (int i = 0; i < n; i++) {
    serve_times t;
    int64_t sum = 0;
    memcpy(&t, (const char *)&list[i].stats + offset, sizeof t);
    for (int b = 0; b < SERVE_BUCKETS - 1; b++) {
      sum += t.buckets[b];
      put(p, "%s_bucket{%s,le=\"%g\"} %lld\n", name, list[i].labels, bounds[b], (long long)sum);
    }
    put(p, "%s_bucket{%s,le=\"+Inf\"} %lld\n", name, list[i].labels, (long long)t.count);
    put(p, "%s_sum{%s} %.17g\n%s_count{%s} %lld\n", name, list[i].labels,
        (double)t.nanoseconds * 1e-9, name, list[i].labels, (long long)t.count);
  }
}

static void put_device(void *p, const char *name, const char *labels, double value) {
  put(p, "%s{%s} %.17g\n", name, labels, value);
}

static void put_models(page *p, const labelled *list, int n) {
#define VALUES(name, type, member, scale, about)                                                   \
  put_values(p, list, n, name, type, about, offsetof(serve_stats, member), scale)
  VALUES("nv_inference_request_success", "counter", requests, 1.0, "requests that were answered");
  put_failures(p, list, n);
  VALUES("nv_inference_count", "counter", rows, 1.0, "rows that were computed");
  VALUES("nv_inference_exec_count", "counter", runs, 1.0, "runs of the engine");
  VALUES("nv_inference_pending_request_count", "gauge", waiting, 1.0, "requests that wait");
  VALUES("nv_inference_request_duration_us", "counter", request.nanoseconds, 1e-3,
         "time of requests, waiting and computing");
  VALUES("nv_inference_queue_duration_us", "counter", queue.nanoseconds, 1e-3,
         "time of requests in the queue");
  VALUES("nv_inference_compute_infer_duration_us", "counter", compute.nanoseconds, 1e-3,
         "time of requests in the engine");
#undef VALUES
#define HISTOGRAM(name, member, about)                                                             \
  put_histogram(p, list, n, name, about, offsetof(serve_stats, member))
  HISTOGRAM("webml_request_seconds", request, "a request, waiting and computing");
  HISTOGRAM("webml_queue_seconds", queue, "a request in the queue");
  HISTOGRAM("webml_compute_seconds", compute, "a request in the engine");
#undef HISTOGRAM
}

static void metrics(api_call *call) {
  enum { MOST = 256 };
  page p = {0};
  http_counts c;
  serve_stats *stats = calloc(MOST, sizeof *stats);
  labelled *list = calloc(MOST, sizeof *list);
  int n = stats && list ? serve_all_stats(call->api->serving, stats, MOST) : 0;
  if (n > MOST) n = MOST;
  for (int i = 0; i < n; i++) {
    list[i].stats = stats[i];
    label(call->store, &list[i]);
  }
  put_models(&p, list, n);
  monitor_metrics(call->api->monitor, put_device, &p);
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

/* ---- the log ---- */

static void read_log(api_call *call) {
  const journal_filter filter = {.event = api_text(call, "event"),
                                 .outcome = api_text(call, "outcome"),
                                 .path = api_text(call, "path"),
                                 .user = api_integer(call, "user", -1),
                                 .since = api_integer(call, "since", 0),
                                 .until = api_integer(call, "until", 0),
                                 .status = (int)api_integer(call, "status", 0),
                                 .most = (int)api_integer(call, "most", 100)};
  json_t *lines = journal_read(&filter);
  if (lines)
    api_reply(call, 200, json_pack("{s:o}", "lines", lines));
  else
    api_fail(call, 503, "out of memory");
}

static const api_field log_fields[] = {
    {"event", API_TEXT, false, true, 1, 32, "request, log-in, session, dataset, ...", NULL},
    {"outcome", API_TEXT, false, true, 1, 200, "exactly this outcome", NULL},
    {"path", API_TEXT, false, true, 1, 200, "requests whose path begins so", NULL},
    {"user", API_ID, false, true, 0, 0, "of this account; 0: of nobody", NULL},
    {"since", API_INTEGER, false, true, 0, 4e9, "from this second (Unix time) on", NULL},
    {"until", API_INTEGER, false, true, 0, 4e9, "up to this second", NULL},
    {"status", API_INTEGER, false, true, 100, 599, "answers of this status and above", NULL},
    {"most", API_INTEGER, false, true, 1, 10000, "lines; 100", NULL},
    {0}};

/* ---- answers ---- */

static const shape_member health_shape_members[] = {
    {"status", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"version", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"seconds", SHAPE_INTEGER, 0, "since the start", NULL, NULL},
    {0}};
static const answer_shape health_shape = {"Health", health_shape_members, NULL, NULL};
static const shape_member counts_shape_members[] = {
    {"connections", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"open_connections", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"requests", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"given_up", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"refused_connections", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {0}};
static const answer_shape counts_shape = {"Counts", counts_shape_members, NULL, NULL};
static const shape_member log_shape_members[] = {
    {"lines", SHAPE_JSON, 0, "objects, the newest first", NULL, NULL}, {0}};
static const answer_shape log_shape = {"LogLines", log_shape_members, NULL, NULL};
static const answer_shape any_shape = {"OpenApi", NULL, NULL, NULL};

static const api_route routes[] = {
    {.id = "getRoot",
     .method = "GET",
     .path = "/",
     .right = API_ANYONE,
     .about = "whether the server answers, for clients that ask here",
     .run = health,
     .how = API_INLINE,
     .answer = &health_shape},
    {.id = "getHealth",
     .method = "GET",
     .path = "/healthz",
     .right = API_ANYONE,
     .about = "whether the server answers",
     .run = health,
     .how = API_INLINE,
     .answer = &health_shape},
    {.id = "getMetrics",
     .method = "GET",
     .path = "/metrics",
     .right = API_ANYONE,
     .about = "figures for Prometheus",
     .run = metrics,
     .content = "text/plain"},
    {.id = "getOpenapi",
     .method = "GET",
     .path = "/openapi.json",
     .right = API_ANYONE,
     .about = "this interface as an OpenAPI 3.1 document",
     .run = openapi,
     .answer = &any_shape},
    {.id = "getCounts",
     .method = "GET",
     .path = "/api/v1/system/counts",
     .right = API_ADMIN,
     .about = "connections and requests since the start",
     .run = counts,
     .answer = &counts_shape},
    {.id = "readLog",
     .method = "GET",
     .path = "/api/v1/system/log",
     .right = API_ADMIN,
     .about = "lines of the system log, the newest first",
     .fields = log_fields,
     .run = read_log,
     .how = API_TICKET,
     .answer = &log_shape},
    {0}};

const api_resource api_system = {"system", "Health and figures.", routes};
