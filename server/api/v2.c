/* The Open Inference Protocol V2 over REST, with the extensions that its metadata name. */
#include "inference.h"
#include "store/models.h"
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webml.h>

/* ---- what there is ---- */

static json_t *dims_of(const serve_shape *shape) {
  json_t *dims = json_pack("[i]", -1);
  for (int i = 0; i < shape->rank; i++) json_array_append_new(dims, json_integer(shape->dim[i]));
  return dims;
}

static void server(api_call *call) {
  api_reply(call, 200,
            json_pack("{s:s, s:s, s:[s, s, s, s]}", "name", "webml-server", "version",
                      webml_version(), "extensions", "binary_tensor_data", "model_repository",
                      "statistics", "model_configuration"));
}

static void live(api_call *call) {
  api_reply(call, 200, json_pack("{s:b}", "live", 1));
}

static void ready(api_call *call) {
  api_reply(call, 200, json_pack("{s:b}", "ready", 1));
}

static void model(api_call *call) {
  target t;
  served *s = target_open(call, &t);
  if (!s) return;
  const serve_shape *shape = serve_shape_of(s);
  json_t *answer =
      json_pack("{s:s, s:[s], s:s, s:[{s:s, s:s, s:o}], s:[{s:s, s:s, s:[i, I]}]}", "name",
                call->name, "versions", t.version, "platform", "webml", "inputs", "name", "input",
                "datatype", shape->images ? "UINT8" : "FP32", "shape", dims_of(shape), "outputs",
                "name", "output", "datatype", "FP32", "shape", -1, (json_int_t)shape->outputs);
  serve_release(s);
  api_reply(call, 200, answer);
}

static void model_ready(api_call *call) {
  target t;
  served *s = target_open(call, &t);
  if (!s) return;
  serve_release(s);
  api_reply(call, 200, json_pack("{s:s, s:b}", "name", call->name, "ready", 1));
}

static void index_of(api_call *call) {
  json_t *rows = model_targets(call->store, call->user.id), *list = json_array(), *row;
  size_t i;
  if (!rows) {
    json_decref(list);
    api_fail_store(call);
    return;
  }
  json_array_foreach(rows, i, row) {
    char version[24];
    int64_t id = store_integer(row, "id");
    bool loaded = serve_is_loaded(call->api->serving, id);
    snprintf(version, sizeof version, "%lld", (long long)id);
    json_array_append_new(list, json_pack("{s:O, s:s, s:s, s:s}", "name",
                                          json_object_get(row, "name"), "version", version, "state",
                                          loaded ? "READY" : "UNAVAILABLE", "reason",
                                          loaded ? "" : "unloaded; loads when it is asked for"));
  }
  json_decref(rows);
  api_reply(call, 200, list);
}

static void load(api_call *call) {
  target t;
  served *s = target_open(call, &t);
  if (!s) return;
  serve_release(s);
  api_reply(call, 200, json_object());
}

static void unload(api_call *call) {
  target t;
  if (!target_find(call, &t)) return;
  if (t.owner != call->user.id && !call->user.admin) {
    api_fail(call, 403, "a public model is unloaded by its owner and by administrators");
    return;
  }
  serve_unload(call->api->serving, t.weights);
  api_reply(call, 200, json_object());
}

/* What perf_analyzer and Triton's clients read. */
static void config(api_call *call) {
  target t;
  served *s = target_open(call, &t);
  if (!s) return;
  const serve_shape *shape = serve_shape_of(s);
  json_t *dims = dims_of(shape);
  json_array_remove(dims, 0);
  json_t *batching =
      json_pack("{s:[i], s:I, s:{s:i}}", "preferred_batch_size", t.batching.max_batch_size,
                "max_queue_delay_microseconds", (json_int_t)t.batching.max_queue_delay_microseconds,
                "default_queue_policy", "max_queue_size", t.batching.max_queue_size);
  json_t *answer =
      json_pack("{s:s, s:s, s:i, s:o, s:[{s:s, s:s, s:o}], s:[{s:s, s:s, s:[I]}]}", "name",
                call->name, "platform", "webml", "max_batch_size", INFERENCE_MOST_ROWS,
                "dynamic_batching", batching, "input", "name", "input", "data_type",
                shape->images ? "TYPE_UINT8" : "TYPE_FP32", "dims", dims, "output", "name",
                "output", "data_type", "TYPE_FP32", "dims", (json_int_t)shape->outputs);
  serve_release(s);
  api_reply(call, 200, answer);
}

static json_t *duration(int64_t count, int64_t ns) {
  return json_pack("{s:I, s:I}", "count", (json_int_t)count, "ns", (json_int_t)ns);
}

static json_t *batches_of(const serve_stats *x) {
  json_t *list = json_array();
  for (int i = 1; i <= SERVE_MOST_BATCH; i++)
    if (x->batches[i])
      json_array_append_new(list,
                            json_pack("{s:i, s:o, s:o, s:o}", "batch_size", i, "compute_input",
                                      duration(x->batches[i], 0), "compute_infer",
                                      duration(x->batches[i], x->batch_nanoseconds[i]),
                                      "compute_output", duration(x->batches[i], 0)));
  return list;
}

static json_t *stats_of(const char *name, const char *version, const serve_stats *x) {
  json_t *inference = json_pack(
      "{s:o, s:o, s:o, s:o, s:o, s:o}", "success", duration(x->requests, x->request.nanoseconds),
      "fail", duration(x->failed + x->rejected + x->cancelled, 0), "queue",
      duration(x->requests, x->queue.nanoseconds), "compute_input",
      duration(x->requests, x->input_nanoseconds), "compute_infer",
      duration(x->requests, x->compute.nanoseconds), "compute_output", duration(x->requests, 0));
  return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:[{s:s, s:i, s:I}]}", "name", name,
                   "version", version, "last_inference", (json_int_t)x->last_ms, "inference_count",
                   (json_int_t)x->rows, "execution_count", (json_int_t)x->runs, "inference_stats",
                   inference, "batch_stats", batches_of(x), "memory_usage", "type", "CPU", "id", 0,
                   "byte_size", (json_int_t)x->bytes);
}

static void statistics(api_call *call) {
  target t;
  serve_stats x;
  served *s = target_open(call, &t);
  if (!s) return;
  serve_read_stats(s, &x);
  serve_release(s);
  api_reply(call, 200, json_pack("{s:[o]}", "model_stats", stats_of(call->name, t.version, &x)));
}

/* Of all that are loaded and that the caller may use. */
static void all_statistics(api_call *call) {
  enum { MOST = 256 };
  serve_stats *stats = calloc(MOST, sizeof *stats);
  int n = stats ? serve_all_stats(call->api->serving, stats, MOST) : 0;
  json_t *rows = model_targets(call->store, call->user.id), *row, *list = json_array();
  size_t i;
  json_array_foreach(rows, i, row) for (int k = 0; k < n && k < MOST; k++) {
    char version[24];
    if (stats[k].weights != store_integer(row, "id")) continue;
    snprintf(version, sizeof version, "%lld", (long long)stats[k].weights);
    json_array_append_new(list, stats_of(store_text(row, "name"), version, &stats[k]));
  }
  bool ok = rows && stats;
  json_decref(rows);
  free(stats);
  if (ok)
    api_reply(call, 200, json_pack("{s:o}", "model_stats", list));
  else {
    json_decref(list);
    api_fail_store(call);
  }
}

/* KServe: the names. */
static void names(api_call *call) {
  json_t *rows = model_targets(call->store, call->user.id), *row, *list = json_array();
  const char *last = "";
  size_t i;
  json_array_foreach(rows, i, row) { /* by name */
    if (strcmp(store_text(row, "name"), last) != 0)
      json_array_append(list, json_object_get(row, "name"));
    last = store_text(row, "name");
  }
  if (rows)
    api_reply(call, 200, json_pack("{s:o}", "models", list));
  else {
    json_decref(list);
    api_fail_store(call);
  }
  json_decref(rows);
}

/* ---- inference ---- */

static bool infer_fast(api_call *call) {
  target t;
  served *s =
      target_known(call, &t) ? serve_find(call->api->serving, t.weights, &t.batching) : NULL;
  return s && inference_run(call, &t, s, INFERENCE_V2, true);
}

static void infer(api_call *call) {
  target t;
  served *s = target_open(call, &t);
  if (s) inference_run(call, &t, s, INFERENCE_V2, false);
}

#define V2 "/v2/models/{name}"
#define VERSION V2 "/versions/{id}"
static const char of_version[] = "the same of certain weights";
static const api_route routes[] = {
    {"POST", V2 "/infer", API_OPTIONAL, "inference, JSON or binary tensors", NULL, infer,
     API_RAW | API_LARGE, infer_fast},
    {"POST", VERSION "/infer", API_OPTIONAL, of_version, NULL, infer, API_RAW | API_LARGE,
     infer_fast},
    {"GET", "/v2", API_ANYONE, "server metadata", NULL, server, API_INLINE, NULL},
    {"GET", "/v2/health/live", API_ANYONE, "whether it lives", NULL, live, API_INLINE, NULL},
    {"GET", "/v2/health/ready", API_ANYONE, "whether it is ready", NULL, ready, API_INLINE, NULL},
    {"GET", "/v2/models", API_OPTIONAL, "names of the models that may be used", NULL, names, 0,
     NULL},
    {"GET", "/v2/models/stats", API_OPTIONAL, "statistics of all that are loaded", NULL,
     all_statistics, 0, NULL},
    {"GET", V2, API_OPTIONAL, "a model's inputs and outputs", NULL, model, 0, NULL},
    {"GET", VERSION, API_OPTIONAL, of_version, NULL, model, 0, NULL},
    {"GET", V2 "/ready", API_OPTIONAL, "loads it when that is needed", NULL, model_ready, 0, NULL},
    {"GET", VERSION "/ready", API_OPTIONAL, of_version, NULL, model_ready, 0, NULL},
    {"GET", V2 "/config", API_OPTIONAL, "its configuration", NULL, config, 0, NULL},
    {"GET", VERSION "/config", API_OPTIONAL, of_version, NULL, config, 0, NULL},
    {"GET", V2 "/stats", API_OPTIONAL, "its statistics since it was loaded", NULL, statistics, 0,
     NULL},
    {"GET", VERSION "/stats", API_OPTIONAL, of_version, NULL, statistics, 0, NULL},
    {"POST", "/v2/repository/index", API_OPTIONAL,
     "models with weights and whether they are loaded", NULL, index_of, API_RAW, NULL},
    {"POST", "/v2/repository/models/{name}/load", API_USER, "load a model", NULL, load, API_RAW,
     NULL},
    {"POST", "/v2/repository/models/{name}/unload", API_USER, "unload it; its memory is freed",
     NULL, unload, API_RAW, NULL},
    {0}};

const api_resource api_inference = {"inference", "Open Inference Protocol V2.", routes};
