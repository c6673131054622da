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
  serve_batching batching;
  char version[24];
} target;

static const char find_sql[] =
    "SELECT w.id AS id, w.session AS session,"
    " COALESCE(m.max_batch_size, ?4) AS batch, COALESCE(m.max_queue_delay_microseconds, 0) AS "
    "delay,"
    " COALESCE(m.max_queue_size, ?5) AS queue"
    " FROM weights w JOIN models m ON m.id = w.model"
    " WHERE m.name = ?1 AND (m.owner = ?2 OR m.public) AND (?3 = 0 OR w.id = ?3)"
    " ORDER BY m.owner = ?2 DESC, w.id DESC LIMIT 1";

/* False: answered, or put off. */
static bool find(api_call *call, target *t) {
  struct {
    int64_t user, version;
    char name[sizeof call->name];
  } key = {call->user.id, call->ids[0], {0}};
  size_t n = strlen(call->name), key_size = offsetof(typeof(key), name) + n;
  bool found;
  memcpy(key.name, call->name, n);
  if (api_known(call->api, 't', &key, key_size, t, sizeof *t)) return true;
  if (call->on_loop) {
    api_defer(call);
    return false;
  }
  uint64_t version = store_version(call->api->store);
  json_t *row = store_row(call->api->store, &found, find_sql, "siiii", call->name, call->user.id,
                          call->ids[0], (int64_t)SERVE_MOST_BATCH, (int64_t)SERVE_QUEUE);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no model \"%s\"%s with weights that you may use", call->name,
             call->ids[0] ? " of this version" : "");
  if (!row) return false;
  *t = (target){.weights = store_integer(row, "id"),
                .session = store_integer(row, "session"),
                .batching = {.max_batch_size = (int)store_integer(row, "batch"),
                             .max_queue_delay_microseconds = store_integer(row, "delay"),
                             .max_queue_size = (int)store_integer(row, "queue")}};
  snprintf(t->version, sizeof t->version, "%lld", (long long)t->weights);
  json_decref(row);
  api_know(call->api, 't', &key, key_size, t, sizeof *t, version);
  return true;
}

/* The predictor, held; NULL: answered, or put off. */
static served *open_target(api_call *call, target *t) {
  char error[1024];
  if (!find(call, t)) return NULL;
  if (call->on_loop) {
    served *s = serve_find(call->api, t->weights, &t->batching);
    if (!s) api_defer(call);
    return s;
  }
  served *s = serve_acquire(call->api, t->weights, t->session, &t->batching, error, sizeof error);
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

static const char mine[] =
    "SELECT m.name AS name, w.id AS id FROM weights w JOIN models m ON m.id = w.model"
    " WHERE m.owner = ? OR m.public ORDER BY m.name, w.id";

static void index_of(api_call *call) {
  json_t *rows = store_rows(call->api->store, mine, "i", call->user.id), *list = json_array(), *row;
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
  json_t *batching =
      json_pack("{s:[i], s:I, s:{s:i}}", "preferred_batch_size", t.batching.max_batch_size,
                "max_queue_delay_microseconds", (json_int_t)t.batching.max_queue_delay_microseconds,
                "default_queue_policy", "max_queue_size", t.batching.max_queue_size);
  json_t *answer = json_pack(
      "{s:s, s:s, s:i, s:o, s:[{s:s, s:s, s:o}], s:[{s:s, s:s, s:[I]}]}", "name", call->name,
      "platform", "webml", "max_batch_size", MOST_ROWS, "dynamic_batching", batching, "input",
      "name", "input", "data_type", shape->images ? "TYPE_UINT8" : "TYPE_FP32", "dims", dims,
      "output", "name", "output", "data_type", "TYPE_FP32", "dims", (json_int_t)shape->outputs);
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
  served *s = open_target(call, &t);
  if (!s) return;
  serve_read_stats(s, &x);
  serve_release(s);
  api_reply(call, 200, json_pack("{s:[o]}", "model_stats", stats_of(call->name, t.version, &x)));
}

/* Of all that are loaded and that the caller may use. */
static void all_statistics(api_call *call) {
  enum { MOST = 256 };
  serve_stats *stats = calloc(MOST, sizeof *stats);
  int n = stats ? serve_all_stats(call->api, stats, MOST) : 0;
  json_t *rows = store_rows(call->api->store, mine, "i", call->user.id), *row, *list = json_array();
  size_t i;
  json_array_foreach(rows, i, row) for (int k = 0; k < n && k < MOST; k++) {
    char version[24];
    if (stats[k].weights != store_integer(row, "id")) continue;
    snprintf(version, sizeof version, "%lld", (long long)stats[k].weights);
    json_array_append_new(
        list, stats_of(json_string_value(json_object_get(row, "name")), version, &stats[k]));
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
  json_t *rows = store_rows(call->api->store,
                            "SELECT DISTINCT m.name AS name FROM weights w JOIN models m ON m.id = "
                            "w.model WHERE m.owner = ? OR m.public ORDER BY m.name",
                            "i", call->user.id),
         *row, *list = json_array();
  size_t i;
  json_array_foreach(rows, i, row) json_array_append(list, json_object_get(row, "name"));
  bool ok = rows != NULL;
  json_decref(rows);
  if (ok)
    api_reply(call, 200, json_pack("{s:o}", "models", list));
  else {
    json_decref(list);
    api_fail_store(call);
  }
}

/* ---- inference ---- */

/* What a request's JSON says, but for data in it. */
typedef struct form {
  int64_t rows;
  size_t bytes; /* of the binary tensor */
  bool binary, binary_output;
  char datatype[8];
  char id[72]; /* as JSON; "": it is longer, and stands in the request */
} form;

typedef struct inference {
  serve_job job; /* first */
  api_call *call;
  served *served;
  json_t *json; /* NULL: the body is the tensor, or the form is known */
  form form;
  const char *head; /* the JSON as it came */
  size_t head_size;
  const char *binary; /* what lies behind it */
  size_t binary_size;
  bool known;            /* the form, from an earlier request */
  const char *rows_name; /* TensorFlow Serving: what the answer's rows are called; else NULL */
  int64_t weights;
  char version[24];
} inference;

static void free_inference(inference *r) {
  serve_release(r->served);
  json_decref(r->json);
  free((void *)(uintptr_t)r->job.inputs);
  free(r->job.outputs);
  free(r);
}

/* Clients send the same JSON before other bytes again and again: a thread keeps the last few with
 * what they said. Weights do not change, so what fitted them once fits them again. */
enum { HEADS = 16, HEAD_BYTES = 512 };

typedef struct kept_head {
  int64_t weights;
  size_t size;
  char bytes[HEAD_BYTES];
  form form;
} kept_head;

static _Thread_local kept_head heads[HEADS];
static _Thread_local int next_head;

static bool recall(inference *r) {
  for (int i = 0; i < HEADS; i++) {
    const kept_head *h = &heads[i];
    if (h->size != r->head_size || h->weights != r->weights ||
        memcmp(h->bytes, r->head, h->size) != 0)
      continue;
    r->form = h->form;
    return true;
  }
  return false;
}

static void keep_head(const inference *r) {
  if (!r->form.binary || !r->form.id[0] || !r->head_size || r->head_size > HEAD_BYTES) return;
  kept_head *h = &heads[next_head++ % HEADS];
  h->weights = r->weights;
  h->size = r->head_size;
  h->form = r->form;
  memcpy(h->bytes, r->head, r->head_size);
}

/* What the loop itself takes time for. */
enum { LOOP_JSON = 16 << 10, LOOP_BYTES = 1 << 20 };

typedef enum split_result { SPLIT, ANSWERED, TOO_LONG } split_result;

/* JSON and what lies behind it. */
static split_result split(api_call *call, inference *r) {
  size_t size;
  const char *body = http_body(call->request, &size),
             *header = http_header(call->request, "inference-header-content-length");
  json_error_t error;
  r->head = body;
  r->head_size = size;
  if (header) {
    char *end;
    unsigned long long n = strtoull(header, &end, 10);
    if (*header < '0' || *header > '9' || *end || n > size) {
      api_fail(call, 400, "Inference-Header-Content-Length is %.40s, the body has %zu bytes",
               header, size);
      return ANSWERED;
    }
    r->head_size = (size_t)n;
  }
  if (call->on_loop && (r->head_size > LOOP_JSON || size > LOOP_BYTES)) return TOO_LONG;
  r->binary = body + r->head_size;
  r->binary_size = size - r->head_size;
  if (header && r->head_size == 0) return SPLIT;
  if ((r->known = recall(r))) return SPLIT;
  r->json = json_loadb(body, r->head_size, JSON_REJECT_DUPLICATES, &error);
  if (json_is_object(r->json)) return SPLIT;
  api_fail(call, 400,
           r->json ? "the request must be an object" : "the request is not JSON: line %d: %s",
           error.line, error.text);
  return ANSWERED;
}

static bool take_shape(inference *r, const json_t *input, const serve_shape *shape) {
  const json_t *dims = json_object_get(input, "shape"), *dim;
  int64_t elements = 1;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)dims, i, dim) {
    json_int_t d = json_integer_value(dim);
    if (!json_is_integer(dim) || d < 0 || (d && elements > ((int64_t)1 << 40) / d)) elements = -1;
    if (elements < 0) break;
    elements *= d;
    if (i == 0) r->form.rows = d;
  }
  if (json_array_size(dims) >= 2 && elements == r->form.rows * shape->inputs && r->form.rows >= 1 &&
      r->form.rows <= MOST_ROWS)
    return true;
  api_fail(r->call, 400, "the shape of input must be [1 to %d, ...] with %lld values per row",
           MOST_ROWS, (long long)shape->inputs);
  return false;
}

static void *allocate(inference *r, const serve_shape *shape) {
  void *inputs =
      malloc((size_t)(r->job.rows * shape->inputs) * (r->job.pixels ? 1 : sizeof(float)));
  r->job.inputs = inputs;
  r->job.outputs = malloc((size_t)(r->job.rows * shape->outputs) * sizeof(float));
  if (inputs && r->job.outputs) return inputs;
  api_fail(r->call, 503, "out of memory");
  return NULL;
}

static bool read_outputs(inference *r) {
  const json_t *outputs = json_object_get(r->json, "outputs"), *output;
  size_t i;
  r->form.binary_output =
      json_is_true(json_object_get(json_object_get(r->json, "parameters"), "binary_data_output"));
  json_array_foreach((json_t *)(uintptr_t)outputs, i, output) {
    const char *name = json_string_value(json_object_get(output, "name"));
    const json_t *binary = json_object_get(json_object_get(output, "parameters"), "binary_data");
    if (!name || strcmp(name, "output") != 0) {
      api_fail(r->call, 400, "there is one output, with the name \"output\"");
      return false;
    }
    if (binary) r->form.binary_output = json_is_true(binary);
  }
  return true;
}

static void read_id(inference *r) {
  json_t *id = json_object_get(r->json, "id");
  char *text = json_is_string(id) ? json_dumps(id, JSON_ENCODE_ANY) : NULL;
  if (!json_is_string(id))
    memcpy(r->form.id, "\"\"", 3);
  else if (text && strlen(text) < sizeof r->form.id)
    memcpy(r->form.id, text, strlen(text) + 1);
  free(text);
}

/* The one input. False: answered. */
static bool read_input(inference *r, const json_t *input, const serve_shape *shape) {
  const char *datatype = json_string_value(json_object_get(input, "datatype")),
             *name = json_string_value(json_object_get(input, "name"));
  const json_t *size = json_object_get(json_object_get(input, "parameters"), "binary_data_size");
  if (!input || !name || strcmp(name, "input") != 0) {
    api_fail(r->call, 400, "there must be one input, with the name \"input\"");
    return false;
  }
  if (!datatype || !tensor_size(datatype)) {
    api_fail(
        r->call, 400,
        "the datatype of input must be one of BOOL, UINT8 to UINT64, INT8 to INT64, FP32 and FP64");
    return false;
  }
  if (!take_shape(r, input, shape)) return false;
  memcpy(r->form.datatype, datatype, strlen(datatype) + 1);
  r->form.binary = size != NULL;
  r->form.bytes = (size_t)(r->form.rows * shape->inputs) * tensor_size(datatype);
  if (!size || json_integer_value(size) == (json_int_t)r->form.bytes) return true;
  api_fail(r->call, 400, "binary_data_size of input is %lld, its shape needs %zu",
           (long long)json_integer_value(size), r->form.bytes);
  return false;
}

static bool take_binary(inference *r, const serve_shape *shape) {
  if (r->binary_size != r->form.bytes) {
    api_fail(r->call, 400, "input has %zu binary bytes, it needs %zu", r->binary_size,
             r->form.bytes);
    return false;
  }
  void *to = allocate(r, shape);
  if (!to) return false;
  if (r->job.pixels || strcmp(r->form.datatype, "FP32") == 0)
    memcpy(to, r->binary, r->form.bytes);
  else
    tensor_to_floats(r->form.datatype, r->binary, r->job.rows * shape->inputs, to);
  return true;
}

static bool take_data(inference *r, const json_t *data, const serve_shape *shape) {
  int64_t n = r->job.rows * shape->inputs;
  void *to = allocate(r, shape);
  if (!to) return false;
  if (r->job.pixels ? tensor_bytes_from_json(data, n, to) : tensor_from_json(data, n, to))
    return true;
  api_fail(r->call, 400, "data of input must be %lld numbers%s", (long long)n,
           r->job.pixels ? " from 0 to 255" : "");
  return false;
}

/* The input as numbers, and what is wanted. False: answered. */
static bool take_input(inference *r, const serve_shape *shape) {
  const json_t *inputs = json_object_get(r->json, "inputs"),
               *input = json_array_size(inputs) == 1 ? json_array_get(inputs, 0) : NULL;
  if (!r->known) {
    if (!read_outputs(r) || !read_input(r, input, shape)) return false;
    read_id(r);
    keep_head(r);
  }
  r->job.rows = r->form.rows;
  r->job.pixels = shape->images && strcmp(r->form.datatype, "UINT8") == 0;
  return r->form.binary ? take_binary(r, shape)
                        : take_data(r, json_object_get(input, "data"), shape);
}

/* Inference-Header-Content-Length: 0: one row, binary in and out. */
static bool take_raw(inference *r, const serve_shape *shape) {
  r->job.rows = 1;
  r->job.pixels = shape->images;
  r->form = (form){.bytes = (size_t)shape->inputs * (shape->images ? 1 : sizeof(float)),
                   .binary_output = true,
                   .datatype = "FP32",
                   .id = "\"\""};
  return take_binary(r, shape);
}

/* ---- answers: written by hand, since thousands a second go through here ---- */

enum { NUMBER_BYTES = 20 };

static size_t put_number(char *to, float x) {
  if (!(x - x == 0)) return (size_t)sprintf(to, "null"); /* JSON has no NaN */
  return (size_t)snprintf(to, NUMBER_BYTES, "%.9g", (double)x);
}

static size_t put_numbers(char *to, const float *x, int64_t n) {
  size_t size = 0;
  to[size++] = '[';
  for (int64_t i = 0; i < n; i++) {
    if (i) to[size++] = ',';
    size += put_number(to + size, x[i]);
  }
  to[size++] = ']';
  return size;
}

static void answer(inference *r) {
  int64_t columns = serve_shape_of(r->served)->outputs, n = r->job.rows * columns;
  size_t bytes = (size_t)n * sizeof(float);
  char small[1024], *long_id = NULL;
  if (!r->form.id[0]) long_id = json_dumps(json_object_get(r->json, "id"), JSON_ENCODE_ANY);
  const char *id = long_id ? long_id : r->form.id;
  size_t room = 512 + strlen(r->call->name) + strlen(id) +
                (r->form.binary_output ? bytes : (size_t)n * NUMBER_BYTES);
  char *text = room <= sizeof small ? small : malloc(room);
  if (!text || !*id) {
    free(long_id);
    api_fail(r->call, 503, "out of memory");
    return;
  }
  /* Names of models have nothing that JSON would escape. */
  size_t size = (size_t)sprintf(
      text,
      "{\"model_name\":\"%s\",\"model_version\":\"%s\",\"id\":%s,\"outputs\":[{\"name\":\"output\","
      "\"datatype\":\"FP32\",\"shape\":[%lld,%lld],",
      r->call->name, r->version, id, (long long)r->job.rows, (long long)columns);
  free(long_id);
  if (r->form.binary_output) {
    size += (size_t)sprintf(text + size, "\"parameters\":{\"binary_data_size\":%zu}}]}", bytes);
    api_add_header(r->call, "inference-header-content-length", "%zu", size);
    memcpy(text + size, r->job.outputs, bytes);
    api_reply_bytes(r->call, 200, "application/octet-stream", text, size + bytes);
  } else {
    size += (size_t)sprintf(text + size, "\"data\":");
    size += put_numbers(text + size, r->job.outputs, n);
    size += (size_t)sprintf(text + size, "}]}");
    api_reply_bytes(r->call, 200, "application/json", text, size);
  }
  if (text != small) free(text);
}

/* TensorFlow Serving: rows as lists. */
static void answer_rows(inference *r) {
  int64_t columns = serve_shape_of(r->served)->outputs;
  char *text = malloc(64 + (size_t)r->job.rows * (3 + (size_t)columns * NUMBER_BYTES));
  if (!text) {
    api_fail(r->call, 503, "out of memory");
    return;
  }
  size_t size = (size_t)sprintf(text, "{\"%s\":[", r->rows_name);
  for (int64_t i = 0; i < r->job.rows; i++) {
    if (i) text[size++] = ',';
    size += put_numbers(text + size, r->job.outputs + i * columns, columns);
  }
  size += (size_t)sprintf(text + size, "]}");
  api_reply_bytes(r->call, 200, "application/json", text, size);
  free(text);
}

static void on_done(serve_job *job, serve_outcome outcome, const char *error) {
  inference *r = (inference *)job;
  if (outcome != SERVE_DONE)
    api_fail(r->call, outcome == SERVE_FAILED ? 500 : 503, "%s", error);
  else if (r->rows_name)
    answer_rows(r);
  else
    answer(r);
  free_inference(r);
}

static bool is_gone(const serve_job *job) {
  return http_is_gone(((const inference *)job)->call->request);
}

/* A request to the model of the path. NULL: answered, or put off. */
static inference *begin(api_call *call) {
  target t;
  served *s = open_target(call, &t);
  inference *r = s ? calloc(1, sizeof *r) : NULL;
  if (!s) return NULL;
  if (!r) {
    serve_release(s);
    api_fail(call, 503, "out of memory");
    return NULL;
  }
  r->call = call;
  r->served = s;
  r->job.done = on_done;
  r->job.is_gone = is_gone;
  r->weights = t.weights;
  memcpy(r->version, t.version, sizeof r->version);
  split_result result = split(call, r);
  if (result == SPLIT) return r;
  free_inference(r);
  if (result == TOO_LONG) api_defer(call);
  return NULL;
}

static void infer(api_call *call) {
  inference *r = begin(call);
  if (!r) return;
  const serve_shape *shape = serve_shape_of(r->served);
  if (r->json || r->known ? take_input(r, shape) : take_raw(r, shape))
    serve_submit(r->served, &r->job);
  else
    free_inference(r);
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

/* False: answered. */
static bool take_rows(inference *r, const serve_shape *shape) {
  const json_t *instances = json_object_get(r->json, "instances"),
               *rows = instances ? instances : json_object_get(r->json, "inputs");
  r->rows_name = instances ? "predictions" : "outputs";
  r->job.rows = (int64_t)json_array_size(rows);
  if (r->job.rows < 1 || r->job.rows > MOST_ROWS) {
    api_fail(r->call, 400, "instances (or inputs) must be a list of 1 to %d rows", MOST_ROWS);
    return false;
  }
  float *to = allocate(r, shape);
  if (!to) return false;
  if (tensor_from_json(rows, r->job.rows * shape->inputs, to)) return true;
  api_fail(r->call, 400, "every row must have %lld numbers", (long long)shape->inputs);
  return false;
}

static void tf_predict(api_call *call) {
  char *colon = strrchr(call->name, ':');
  if (!colon || strcmp(colon, ":predict") != 0) {
    api_fail(call, 404, "there is %s:predict here", call->name);
    return;
  }
  *colon = '\0';
  inference *r = begin(call);
  if (!r) return;
  if (take_rows(r, serve_shape_of(r->served)))
    serve_submit(r->served, &r->job);
  else
    free_inference(r);
}

#define V2 "/v2/models/{name}"
static const api_route routes[] = {
    {"GET", "/v2", API_ANYONE, "server metadata", NULL, server, API_INLINE},
    {"GET", "/v2/health/live", API_ANYONE, "whether it lives", NULL, live, API_INLINE},
    {"GET", "/v2/health/ready", API_ANYONE, "whether it is ready", NULL, ready, API_INLINE},
    {"GET", "/v2/models", API_OPTIONAL, "names of the models that may be used", NULL, names, 0},
    {"GET", "/v2/models/stats", API_OPTIONAL, "statistics of all that are loaded", NULL,
     all_statistics, 0},
    {"GET", V2, API_OPTIONAL, "a model's inputs and outputs", NULL, model, 0},
    {"GET", V2 "/versions/{id}", API_OPTIONAL, "the same of certain weights", NULL, model, 0},
    {"GET", V2 "/ready", API_OPTIONAL, "loads it when that is needed", NULL, model_ready, 0},
    {"GET", V2 "/versions/{id}/ready", API_OPTIONAL, "the same of certain weights", NULL,
     model_ready, 0},
    {"GET", V2 "/config", API_OPTIONAL, "its configuration", NULL, config, 0},
    {"GET", V2 "/stats", API_OPTIONAL, "its statistics since it was loaded", NULL, statistics, 0},
    {"GET", V2 "/versions/{id}/stats", API_OPTIONAL, "the same of certain weights", NULL,
     statistics, 0},
    {"POST", V2 "/infer", API_OPTIONAL, "inference, JSON or binary tensors", NULL, infer,
     API_RAW | API_FAST},
    {"POST", V2 "/versions/{id}/infer", API_OPTIONAL, "the same with certain weights", NULL, infer,
     API_RAW | API_FAST},
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
