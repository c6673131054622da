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
            json_pack("{s:s, s:s, s:[s, s, s, s, s]}", "name", "webml-server", "version",
                      webml_version(), "extensions", "binary_tensor_data", "classification",
                      "model_repository", "statistics", "model_configuration"));
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

/* ---- answers ---- */

static const shape_member server_shape_members[] = {
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"version", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"extensions", SHAPE_TEXTS, 0, NULL, NULL, NULL},
    {0}};
static const answer_shape server_shape = {"ServerMetadata", server_shape_members, NULL, NULL};
static const shape_member live_shape_members[] = {{"live", SHAPE_BOOLEAN, 0, NULL, NULL, NULL},
                                                  {0}};
static const answer_shape live_shape = {"Live", live_shape_members, NULL, NULL};
static const shape_member ready_shape_members[] = {{"ready", SHAPE_BOOLEAN, 0, NULL, NULL, NULL},
                                                   {0}};
static const answer_shape ready_shape = {"Ready", ready_shape_members, NULL, NULL};
static const shape_member names_shape_members[] = {{"models", SHAPE_TEXTS, 0, NULL, NULL, NULL},
                                                   {0}};
static const answer_shape names_shape = {"ModelNames", names_shape_members, NULL, NULL};
static const shape_member tensor_shape__members[] = {{"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                     {"datatype", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                     {"shape", SHAPE_NUMBERS, 0, NULL, NULL, NULL},
                                                     {0}};
static const answer_shape tensor_shape_ = {"TensorMetadata", tensor_shape__members, NULL, NULL};
static const shape_member metadata_shape_members[] = {
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"versions", SHAPE_TEXTS, 0, NULL, NULL, NULL},
    {"platform", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"inputs", SHAPE_LIST, 0, NULL, &tensor_shape_, NULL},
    {"outputs", SHAPE_LIST, 0, NULL, &tensor_shape_, NULL},
    {0}};
static const answer_shape metadata_shape = {"ModelMetadata", metadata_shape_members, NULL, NULL};
static const shape_member model_ready_shape_members[] = {
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL}, {"ready", SHAPE_BOOLEAN, 0, NULL, NULL, NULL}, {0}};
static const answer_shape model_ready_shape = {"ModelReady", model_ready_shape_members, NULL, NULL};
static const answer_shape config_shape = {"ModelConfig", NULL, NULL, NULL};
static const shape_member statistics_shape_members[] = {
    {"model_stats", SHAPE_JSON, 0, "a list, as the extension statistics has it", NULL, NULL}, {0}};
static const answer_shape statistics_shape = {"ModelStatistics", statistics_shape_members, NULL,
                                              NULL};
static const shape_member entry_shape_members[] = {{"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                   {"version", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                   {"state", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                   {"reason", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                   {0}};
static const answer_shape entry_shape = {"RepositoryEntry", entry_shape_members, NULL, NULL};
static const answer_shape index_shape = {"RepositoryIndex", NULL, &entry_shape, NULL};
static const answer_shape empty_shape = {"Empty", NULL, NULL, NULL};
static const shape_member output_shape_members[] = {
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"datatype", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"shape", SHAPE_NUMBERS, 0, NULL, NULL, NULL},
    {"data", SHAPE_JSON, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"parameters", SHAPE_JSON, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {0}};
static const answer_shape output_shape = {"InferredTensor", output_shape_members, NULL, NULL};
static const shape_member inferred_shape_members[] = {
    {"model_name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"model_version", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"id", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"outputs", SHAPE_LIST, 0, NULL, &output_shape, NULL},
    {0}};
static const answer_shape inferred_shape = {"Inferred", inferred_shape_members, NULL, NULL};

#define V2 "/v2/models/{name}"
#define VERSION V2 "/versions/{id}"
static const char of_version[] = "the same of certain weights";
static const api_route routes[] = {{.id = "infer",
                                    .method = "POST",
                                    .path = V2 "/infer",
                                    .right = API_OPTIONAL,
                                    .about = "inference, JSON or binary tensors",
                                    .run = infer,
                                    .how = API_RAW | API_LARGE,
                                    .try_fast = infer_fast,
                                    .answer = &inferred_shape},
                                   {.id = "inferWithVersion",
                                    .method = "POST",
                                    .path = VERSION "/infer",
                                    .right = API_OPTIONAL,
                                    .about = of_version,
                                    .run = infer,
                                    .how = API_RAW | API_LARGE,
                                    .try_fast = infer_fast,
                                    .answer = &inferred_shape},
                                   {.id = "getServerMetadata",
                                    .method = "GET",
                                    .path = "/v2",
                                    .right = API_ANYONE,
                                    .about = "server metadata",
                                    .run = server,
                                    .how = API_INLINE,
                                    .answer = &server_shape},
                                   {.id = "getLive",
                                    .method = "GET",
                                    .path = "/v2/health/live",
                                    .right = API_ANYONE,
                                    .about = "whether it lives",
                                    .run = live,
                                    .how = API_INLINE,
                                    .answer = &live_shape},
                                   {.id = "getReady",
                                    .method = "GET",
                                    .path = "/v2/health/ready",
                                    .right = API_ANYONE,
                                    .about = "whether it is ready",
                                    .run = ready,
                                    .how = API_INLINE,
                                    .answer = &ready_shape},
                                   {.id = "listServedModels",
                                    .method = "GET",
                                    .path = "/v2/models",
                                    .right = API_OPTIONAL,
                                    .about = "names of the models that may be used",
                                    .run = names,
                                    .answer = &names_shape},
                                   {.id = "getAllStatistics",
                                    .method = "GET",
                                    .path = "/v2/models/stats",
                                    .right = API_OPTIONAL,
                                    .about = "statistics of all that are loaded",
                                    .run = all_statistics,
                                    .answer = &statistics_shape},
                                   {.id = "getModelMetadata",
                                    .method = "GET",
                                    .path = V2,
                                    .right = API_OPTIONAL,
                                    .about = "a model's inputs and outputs",
                                    .run = model,
                                    .answer = &metadata_shape},
                                   {.id = "getVersionMetadata",
                                    .method = "GET",
                                    .path = VERSION,
                                    .right = API_OPTIONAL,
                                    .about = of_version,
                                    .run = model,
                                    .answer = &metadata_shape},
                                   {.id = "getModelReady",
                                    .method = "GET",
                                    .path = V2 "/ready",
                                    .right = API_OPTIONAL,
                                    .about = "loads it when that is needed",
                                    .run = model_ready,
                                    .answer = &model_ready_shape},
                                   {.id = "getVersionReady",
                                    .method = "GET",
                                    .path = VERSION "/ready",
                                    .right = API_OPTIONAL,
                                    .about = of_version,
                                    .run = model_ready,
                                    .answer = &model_ready_shape},
                                   {.id = "getModelConfig",
                                    .method = "GET",
                                    .path = V2 "/config",
                                    .right = API_OPTIONAL,
                                    .about = "its configuration",
                                    .run = config,
                                    .answer = &config_shape},
                                   {.id = "getVersionConfig",
                                    .method = "GET",
                                    .path = VERSION "/config",
                                    .right = API_OPTIONAL,
                                    .about = of_version,
                                    .run = config,
                                    .answer = &config_shape},
                                   {.id = "getModelStatistics",
                                    .method = "GET",
                                    .path = V2 "/stats",
                                    .right = API_OPTIONAL,
                                    .about = "its statistics since it was loaded",
                                    .run = statistics,
                                    .answer = &statistics_shape},
                                   {.id = "getVersionStatistics",
                                    .method = "GET",
                                    .path = VERSION "/stats",
                                    .right = API_OPTIONAL,
                                    .about = of_version,
                                    .run = statistics,
                                    .answer = &statistics_shape},
                                   {.id = "indexRepository",
                                    .method = "POST",
                                    .path = "/v2/repository/index",
                                    .right = API_OPTIONAL,
                                    .about = "models with weights and whether they are loaded",
                                    .run = index_of,
                                    .how = API_RAW,
                                    .answer = &index_shape},
                                   {.id = "loadModel",
                                    .method = "POST",
                                    .path = "/v2/repository/models/{name}/load",
                                    .right = API_USER,
                                    .about = "load a model",
                                    .run = load,
                                    .how = API_RAW,
                                    .answer = &empty_shape},
                                   {.id = "unloadModel",
                                    .method = "POST",
                                    .path = "/v2/repository/models/{name}/unload",
                                    .right = API_USER,
                                    .about = "unload it; its memory is freed",
                                    .run = unload,
                                    .how = API_RAW,
                                    .answer = &empty_shape},
                                   {0}};

const api_resource api_inference = {"inference", "Open Inference Protocol V2.", routes};
