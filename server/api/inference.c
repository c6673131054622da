/* The Open Inference Protocol V2 over REST, binary tensors included, and TensorFlow Serving's
 * alias. A model's name is its name on this server: one's own first, then public ones; its versions
 * are the ids of its weights, the newest unless one is named. */
#include "predict/serve.h"
#include "tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webml.h>

enum { MOST_ROWS = 4096 };

/* ---- which weights ---- */

typedef struct target {
  int64_t weights, session;
  char version[24];
} target;

/* False: answered. */
static bool find(api_call *call, target *t) {
  bool found;
  json_t *row = store_row(
      call->api->store, &found,
      "SELECT w.id AS id, w.session AS session FROM weights w JOIN models m ON m.id = w.model"
      " WHERE m.name = ?1 AND (m.owner = ?2 OR m.public) AND (?3 = 0 OR w.id = ?3)"
      " ORDER BY m.owner = ?2 DESC, w.id DESC LIMIT 1",
      "sii", call->name, call->user.id, call->ids[0]);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no model \"%s\"%s with weights that you may use", call->name,
             call->ids[0] ? " of this version" : "");
  if (!row) return false;
  t->weights = json_integer_value(json_object_get(row, "id"));
  t->session = json_integer_value(json_object_get(row, "session"));
  snprintf(t->version, sizeof t->version, "%lld", (long long)t->weights);
  json_decref(row);
  return true;
}

/* The predictor, held; NULL: answered. */
static served *open_target(api_call *call, target *t) {
  char error[1024];
  if (!find(call, t)) return NULL;
  served *s = serve_acquire(call->api, t->weights, t->session, error, sizeof error);
  if (!s) api_fail(call, 503, "%s", error);
  return s;
}

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
  served *s = open_target(call, &t);
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
  served *s = open_target(call, &t);
  if (!s) return;
  serve_release(s);
  api_reply(call, 200, json_pack("{s:s, s:b}", "name", call->name, "ready", 1));
}

static void index_of(api_call *call) {
  json_t *rows = store_rows(
             call->api->store,
             "SELECT m.name AS name, w.id AS id FROM weights w JOIN models m ON m.id = w.model"
             " WHERE m.owner = ? OR m.public ORDER BY m.name, w.id",
             "i", call->user.id),
         *list = json_array(), *row;
  size_t i;
  if (!rows) {
    json_decref(list);
    api_fail_store(call);
    return;
  }
  json_array_foreach(rows, i, row) {
    char version[24];
    int64_t id = json_integer_value(json_object_get(row, "id"));
    bool loaded = serve_is_loaded(call->api, id);
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
  served *s = open_target(call, &t);
  if (!s) return;
  serve_release(s);
  api_reply(call, 200, json_object());
}

static void unload(api_call *call) {
  target t;
  if (!find(call, &t)) return;
  serve_unload(call->api, t.weights);
  api_reply(call, 200, json_object());
}

/* What perf_analyzer and Triton's clients read. */
static void config(api_call *call) {
  target t;
  served *s = open_target(call, &t);
  if (!s) return;
  const serve_shape *shape = serve_shape_of(s);
  json_t *dims = dims_of(shape);
  json_array_remove(dims, 0);
  json_t *answer =
      json_pack("{s:s, s:s, s:i, s:[{s:s, s:s, s:o}], s:[{s:s, s:s, s:[I]}]}", "name", call->name,
                "platform", "webml", "max_batch_size", MOST_ROWS, "input", "name", "input",
                "data_type", shape->images ? "TYPE_UINT8" : "TYPE_FP32", "dims", dims, "output",
                "name", "output", "data_type", "TYPE_FP32", "dims", (json_int_t)shape->outputs);
  serve_release(s);
  api_reply(call, 200, answer);
}

static json_t *duration(int64_t count, int64_t ns) {
  return json_pack("{s:I, s:I}", "count", (json_int_t)count, "ns", (json_int_t)ns);
}

/* Nothing waits for a batch today: queue, input and output take no time of their own. */
static void statistics(api_call *call) {
  target t;
  serve_stats x;
  served *s = open_target(call, &t);
  if (!s) return;
  serve_read_stats(s, &x);
  serve_release(s);
  json_t *inference =
      json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "success", duration(x.requests, x.nanoseconds),
                "fail", duration(x.failures, 0), "queue", duration(x.requests, 0), "compute_input",
                duration(x.requests, 0), "compute_infer", duration(x.requests, x.nanoseconds),
                "compute_output", duration(x.requests, 0));
  api_reply(call, 200,
            json_pack("{s:[{s:s, s:s, s:I, s:I, s:I, s:o, s:[], s:[{s:s, s:i, s:I}]}]}",
                      "model_stats", "name", call->name, "version", t.version, "last_inference",
                      (json_int_t)x.last_ms, "inference_count", (json_int_t)x.rows,
                      "execution_count", (json_int_t)x.requests, "inference_stats", inference,
                      "batch_stats", "memory_usage", "type", "CPU", "id", 0, "byte_size",
                      (json_int_t)x.bytes));
}

/* ---- inference ---- */

typedef struct request {
  json_t *json; /* NULL: the body is the tensor */
  const char *binary;
  size_t binary_size;
  int64_t rows;
  bool pixels, binary_output;
  void *inputs;
  float *outputs;
} request;

static void free_request(request *r) {
  json_decref(r->json);
  free(r->inputs);
  free(r->outputs);
}

/* JSON and what lies behind it. False: answered. */
static bool split(api_call *call, request *r) {
  size_t size;
  const char *body = http_body(call->request, &size),
             *header = http_header(call->request, "inference-header-content-length");
  size_t length = size;
  json_error_t error;
  if (header) {
    char *end;
    unsigned long long n = strtoull(header, &end, 10);
    if (*header < '0' || *header > '9' || *end || n > size) {
      api_fail(call, 400, "Inference-Header-Content-Length is %.40s, the body has %zu bytes",
               header, size);
      return false;
    }
    length = (size_t)n;
  }
  r->binary = body + length;
  r->binary_size = size - length;
  if (header && length == 0) return true;
  r->json = json_loadb(body, length, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_object(r->json)) {
    api_fail(call, 400,
             r->json ? "the request must be an object" : "the request is not JSON: line %d: %s",
             error.line, error.text);
    return false;
  }
  return true;
}

static bool take_shape(api_call *call, request *r, const json_t *input, const serve_shape *shape) {
  const json_t *dims = json_object_get(input, "shape"), *dim;
  int64_t elements = 1;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)dims, i, dim) {
    json_int_t d = json_integer_value(dim);
    if (!json_is_integer(dim) || d < 0 || (d && elements > ((int64_t)1 << 40) / d)) elements = -1;
    if (elements < 0) break;
    elements *= d;
    if (i == 0) r->rows = d;
  }
  if (json_array_size(dims) >= 2 && elements == r->rows * shape->inputs && r->rows >= 1 &&
      r->rows <= MOST_ROWS)
    return true;
  api_fail(call, 400, "the shape of input must be [1 to %d, ...] with %lld values per row",
           MOST_ROWS, (long long)shape->inputs);
  return false;
}

static bool allocate(api_call *call, request *r, const serve_shape *shape) {
  r->inputs = malloc((size_t)(r->rows * shape->inputs) * (r->pixels ? 1 : sizeof(float)));
  r->outputs = malloc((size_t)(r->rows * shape->outputs) * sizeof(float));
  if (r->inputs && r->outputs) return true;
  api_fail(call, 503, "out of memory");
  return false;
}

/* The one input, as numbers. False: answered. */
static bool take_input(api_call *call, request *r, const serve_shape *shape) {
  const json_t *inputs = json_object_get(r->json, "inputs"), *input = json_array_get(inputs, 0);
  const char *datatype = json_string_value(json_object_get(input, "datatype")),
             *name = json_string_value(json_object_get(input, "name"));
  const json_t *size = json_object_get(json_object_get(input, "parameters"), "binary_data_size"),
               *data = json_object_get(input, "data");
  if (json_array_size(inputs) != 1 || !name || strcmp(name, "input") != 0) {
    api_fail(call, 400, "there must be one input, with the name \"input\"");
    return false;
  }
  if (!datatype || !tensor_size(datatype)) {
    api_fail(
        call, 400,
        "the datatype of input must be one of BOOL, UINT8 to UINT64, INT8 to INT64, FP32 and FP64");
    return false;
  }
  if (!take_shape(call, r, input, shape)) return false;
  r->pixels = shape->images && strcmp(datatype, "UINT8") == 0;
  int64_t n = r->rows * shape->inputs;
  if (!allocate(call, r, shape)) return false;
  if (size) {
    size_t bytes = (size_t)n * tensor_size(datatype);
    if (json_integer_value(size) != (json_int_t)bytes || r->binary_size != bytes) {
      api_fail(call, 400, "input has %zu binary bytes, binary_data_size says %lld, its shape %zu",
               r->binary_size, (long long)json_integer_value(size), bytes);
      return false;
    }
    if (r->pixels)
      memcpy(r->inputs, r->binary, bytes);
    else
      tensor_to_floats(datatype, r->binary, n, r->inputs);
    return true;
  }
  bool ok =
      r->pixels ? tensor_bytes_from_json(data, n, r->inputs) : tensor_from_json(data, n, r->inputs);
  if (!ok)
    api_fail(call, 400, "data of input must be %lld numbers%s", (long long)n,
             r->pixels ? " from 0 to 255" : "");
  return ok;
}

/* Inference-Header-Content-Length: 0: one row, binary in and out. */
static bool take_raw(api_call *call, request *r, const serve_shape *shape) {
  size_t bytes = (size_t)shape->inputs * (shape->images ? 1 : sizeof(float));
  r->rows = 1;
  r->pixels = shape->images;
  r->binary_output = true;
  if (r->binary_size != bytes) {
    api_fail(call, 400, "the body has %zu bytes, one row of input %zu", r->binary_size, bytes);
    return false;
  }
  if (!allocate(call, r, shape)) return false;
  memcpy(r->inputs, r->binary, bytes);
  return true;
}

static bool take_outputs(api_call *call, request *r) {
  const json_t *outputs = json_object_get(r->json, "outputs"), *output;
  size_t i;
  r->binary_output =
      json_is_true(json_object_get(json_object_get(r->json, "parameters"), "binary_data_output"));
  json_array_foreach((json_t *)(uintptr_t)outputs, i, output) {
    const char *name = json_string_value(json_object_get(output, "name"));
    const json_t *binary = json_object_get(json_object_get(output, "parameters"), "binary_data");
    if (!name || strcmp(name, "output") != 0) {
      api_fail(call, 400, "there is one output, with the name \"output\"");
      return false;
    }
    if (binary) r->binary_output = json_is_true(binary);
  }
  return true;
}

static void answer(api_call *call, const request *r, const target *t, const serve_shape *shape) {
  int64_t n = r->rows * shape->outputs;
  size_t bytes = (size_t)n * sizeof(float);
  const char *id = json_string_value(json_object_get(r->json, "id"));
  json_t *output = json_pack("{s:s, s:s, s:[I, I]}", "name", "output", "datatype", "FP32", "shape",
                             (json_int_t)r->rows, (json_int_t)shape->outputs);
  if (r->binary_output)
    json_object_set_new(output, "parameters",
                        json_pack("{s:I}", "binary_data_size", (json_int_t)bytes));
  else {
    json_t *data = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(data, json_real((double)r->outputs[i]));
    json_object_set_new(output, "data", data);
  }
  json_t *json = json_pack("{s:s, s:s, s:s, s:[o]}", "model_name", call->name, "model_version",
                           t->version, "id", id ? id : "", "outputs", output);
  char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(json);
  size_t length = text ? strlen(text) : 0;
  char *whole = text && r->binary_output ? realloc(text, length + bytes) : text;
  if (!whole) {
    free(text);
    api_fail(call, 503, "out of memory");
    return;
  }
  if (r->binary_output) {
    memcpy(whole + length, r->outputs, bytes);
    api_add_header(call, "inference-header-content-length", "%zu", length);
    api_reply_bytes(call, 200, "application/octet-stream", whole, length + bytes);
  } else
    api_reply_bytes(call, 200, "application/json", whole, length);
  free(whole);
}

static void infer(api_call *call) {
  request r = {0};
  target t;
  char error[1024];
  served *s = open_target(call, &t);
  if (!s) return;
  const serve_shape *shape = serve_shape_of(s);
  bool ok = split(call, &r) && (r.json ? take_outputs(call, &r) && take_input(call, &r, shape)
                                       : take_raw(call, &r, shape));
  if (ok) {
    if (serve_run(s, r.inputs, r.pixels, r.rows, r.outputs, error, sizeof error))
      answer(call, &r, &t, shape);
    else
      api_fail(call, 500, "%s", error);
  }
  free_request(&r);
  serve_release(s);
}

/* ---- TensorFlow Serving's alias: rows in, rows out ---- */

static void tf_status(api_call *call) {
  target t;
  if (!find(call, &t)) return;
  api_reply(call, 200,
            json_pack("{s:[{s:s, s:s, s:{s:s, s:s}}]}", "model_version_status", "version",
                      t.version, "state", "AVAILABLE", "status", "error_code", "OK",
                      "error_message", ""));
}

static void tf_predict(api_call *call) {
  request r = {0};
  target t;
  char error[1024];
  char *colon = strrchr(call->name, ':');
  if (!colon || strcmp(colon, ":predict") != 0) {
    api_fail(call, 404, "there is %s:predict here", call->name);
    return;
  }
  *colon = '\0';
  served *s = open_target(call, &t);
  if (!s) return;
  const serve_shape *shape = serve_shape_of(s);
  bool ok = split(call, &r);
  const json_t *instances = json_object_get(r.json, "instances"),
               *inputs = json_object_get(r.json, "inputs"), *rows = instances ? instances : inputs;
  r.rows = (int64_t)json_array_size(rows);
  if (ok && (r.rows < 1 || r.rows > MOST_ROWS)) {
    api_fail(call, 400, "instances (or inputs) must be a list of 1 to %d rows", MOST_ROWS);
    ok = false;
  }
  ok = ok && allocate(call, &r, shape);
  if (ok && !tensor_from_json(rows, r.rows * shape->inputs, r.inputs)) {
    api_fail(call, 400, "every row must have %lld numbers", (long long)shape->inputs);
    ok = false;
  }
  if (ok && !serve_run(s, r.inputs, false, r.rows, r.outputs, error, sizeof error)) {
    api_fail(call, 500, "%s", error);
    ok = false;
  }
  if (ok) {
    json_t *list = json_array();
    for (int64_t i = 0; i < r.rows; i++) {
      json_t *row = json_array();
      for (int64_t k = 0; k < shape->outputs; k++)
        json_array_append_new(row, json_real((double)r.outputs[i * shape->outputs + k]));
      json_array_append_new(list, row);
    }
    api_reply(call, 200, json_pack("{s:o}", instances ? "predictions" : "outputs", list));
  }
  free_request(&r);
  serve_release(s);
}

#define V2 "/v2/models/{name}"
static const api_route routes[] = {
    {"GET", "/v2", API_ANYONE, "server metadata", NULL, server, API_INLINE},
    {"GET", "/v2/health/live", API_ANYONE, "whether it lives", NULL, live, API_INLINE},
    {"GET", "/v2/health/ready", API_ANYONE, "whether it is ready", NULL, ready, API_INLINE},
    {"GET", V2, API_OPTIONAL, "a model's inputs and outputs", NULL, model, 0},
    {"GET", V2 "/versions/{id}", API_OPTIONAL, "the same of certain weights", NULL, model, 0},
    {"GET", V2 "/ready", API_OPTIONAL, "loads it when that is needed", NULL, model_ready, 0},
    {"GET", V2 "/versions/{id}/ready", API_OPTIONAL, "the same of certain weights", NULL,
     model_ready, 0},
    {"GET", V2 "/config", API_OPTIONAL, "its configuration", NULL, config, 0},
    {"GET", V2 "/stats", API_OPTIONAL, "its statistics since it was loaded", NULL, statistics, 0},
    {"GET", V2 "/versions/{id}/stats", API_OPTIONAL, "the same of certain weights", NULL,
     statistics, 0},
    {"POST", V2 "/infer", API_OPTIONAL, "inference, JSON or binary tensors", NULL, infer, API_RAW},
    {"POST", V2 "/versions/{id}/infer", API_OPTIONAL, "the same with certain weights", NULL, infer,
     API_RAW},
    {"POST", "/v2/repository/index", API_OPTIONAL,
     "models with weights and whether they are loaded", NULL, index_of, API_RAW},
    {"POST", "/v2/repository/models/{name}/load", API_USER, "load a model", NULL, load, API_RAW},
    {"POST", "/v2/repository/models/{name}/unload", API_USER, "unload it; its memory is freed",
     NULL, unload, API_RAW},
    {"GET", "/v1/models/{name}", API_OPTIONAL, "TensorFlow Serving: status", NULL, tf_status, 0},
    {"POST", "/v1/models/{name}", API_OPTIONAL, "TensorFlow Serving: NAME:predict", NULL,
     tf_predict, API_RAW},
    {0}};

const api_resource api_inference = {
    "inference", "Open Inference Protocol V2 and TensorFlow Serving's alias.", routes};
