#include "inference.h"

#include "tensors.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a request's JSON says, but for data in it. */
typedef struct request_form {
  tensor_shape shape;
  size_t bytes; /* of the binary tensor */
  bool binary, binary_output;
  int classes; /* the classification extension: so many per row; 0: the numbers */
  const tensor_kind *kind;
  char id[72]; /* as JSON; "": it is longer */
} request_form;

typedef struct inference {
  serve_job job; /* first */
  api_call *call;
  served *served;
  json_t *
      json; /* until the input has been taken; NULL: the body is the tensor, or the form is known */
  size_t n_values; /* that the JSON has taken of the budget */
  request_form form;
  char *long_id;    /* as JSON */
  char *unpacked;   /* a body that came compressed */
  const char *head; /* the JSON as it came */
  size_t head_size;
  const char *binary; /* what lies behind it */
  size_t binary_size;
  bool known;            /* the form, from an earlier request */
  const char *rows_name; /* TensorFlow Serving: what the answer's rows are called; else NULL */
  int64_t weights;
  char version[24];
} inference;

/* ---- JSON values cost some 40 bytes each: so many may be in memory at once, of all requests ----
 */

enum { MOST_VALUES = 4 << 20 };

static atomic_size_t values_in_memory;

static bool reserve(inference *r, size_t n) {
  if (atomic_fetch_add(&values_in_memory, n) + n <= MOST_VALUES) {
    r->n_values = n;
    return true;
  }
  atomic_fetch_sub(&values_in_memory, n);
  return false;
}

static void drop_json(api *a, inference *r) {
  enum { MANY = 100000 };
  json_decref(r->json);
  r->json = NULL;
  atomic_fetch_sub(&values_in_memory, r->n_values);
  if (r->n_values > MANY) api_keeper_trim(a);
  r->n_values = 0;
}

/* The call may have been answered, and is not looked at. */
static void free_inference(inference *r) {
  serve_release(r->served);
  free(r->long_id);
  free(r->unpacked);
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
  request_form form;
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

/* Where the JSON ends and what lies behind it begins. False: answered. */
static bool split(inference *r) {
  api_call *call = r->call;
  size_t size;
  int refused;
  const char *body = r->unpacked = http_unpack_body(call->request, API_LARGE_BODY, &size, &refused);
  if (!body && refused) {
    api_fail(call, refused,
             "the body cannot be unpacked: it must be gzip or deflate, whole, and "
             "have at most %d bytes",
             API_LARGE_BODY);
    return false;
  }
  if (!body) body = http_body(call->request, &size);
  const char *header = http_header(call->request, "inference-header-content-length");
  r->head = body;
  r->head_size = size;
  if (header) {
    char *end;
    unsigned long long n = strtoull(header, &end, 10);
    if (*header < '0' || *header > '9' || *end || n > size) {
      api_fail(call, 400, "Inference-Header-Content-Length is %.40s, the body has %zu bytes",
               header, size);
      return false;
    }
    r->head_size = (size_t)n;
  }
  r->binary = body + r->head_size;
  r->binary_size = size - r->head_size;
  return true;
}

/* Reads the JSON; nothing where there is none, or where it is known. False: answered. */
static bool read_head(inference *r) {
  json_error_t error;
  const serve_shape *shape = serve_shape_of(r->served);
  size_t most = (size_t)(INFERENCE_MOST_ROWS * shape->inputs) * 2 + 1000;
  if ((r->binary_size && r->head_size == 0) || (r->known = recall(r))) return true;
  /* Of small ones it is enough to know that they have no more than one value for two bytes. */
  size_t n = r->head_size <= LOOP_JSON ? r->head_size / 2 : api_count_values(r->head, r->head_size);
  if (n > most && r->head_size > LOOP_JSON)
    api_fail(r->call, 413, "the request has about %zu values; %d rows of this model have %lld", n,
             INFERENCE_MOST_ROWS, (long long)(INFERENCE_MOST_ROWS * shape->inputs));
  else if (!reserve(r, n))
    api_fail(r->call, 503,
             "too many numbers are being read; try again in a moment, or send binary");
  else {
    r->json = json_loadb(r->head, r->head_size, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(r->json)) return true;
    api_fail(r->call, 400,
             r->json ? "the request must be an object" : "the request is not JSON: line %d: %s",
             error.line, error.text);
  }
  return false;
}

/* The dimensions that the request names: rows, then anything that has as many elements as a sample.
 * False: answered. */
static bool take_shape(inference *r, const json_t *input, const serve_shape *shape) {
  const json_t *dims = json_object_get(input, "shape"), *dim;
  tensor_shape *s = &r->form.shape;
  int64_t elements = 1;
  size_t i, n = json_array_size(dims);
  s->rank = n <= TENSOR_MOST_DIMS ? (int)n : 0;
  json_array_foreach((json_t *)(uintptr_t)dims, i, dim) {
    json_int_t d = json_integer_value(dim);
    if (!json_is_integer(dim) || d < 1 || !s->rank || elements > ((int64_t)1 << 40) / d)
      elements = -1;
    if (elements < 0) break;
    elements *= d;
    s->dim[i] = d;
  }
  if (s->rank >= 2 && elements == s->dim[0] * shape->inputs && s->dim[0] <= INFERENCE_MOST_ROWS)
    return true;
  api_fail(r->call, 400, "the shape of input must be [1 to %d, ...] with %lld values per row",
           INFERENCE_MOST_ROWS, (long long)shape->inputs);
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
    r->form.classes = (int)json_integer_value(
        json_object_get(json_object_get(output, "parameters"), "classification"));
  }
  if (r->form.classes >= 0 && !(r->form.classes && r->form.binary_output)) return true;
  api_fail(r->call, 400, "classification must be a number of classes, and its output is JSON");
  return false;
}

static void read_id(inference *r) {
  json_t *id = json_object_get(r->json, "id");
  char *text = json_is_string(id) ? json_dumps(id, JSON_ENCODE_ANY) : NULL;
  r->form.id[0] = '\0';
  if (!text)
    memcpy(r->form.id, "\"\"", 3);
  else if (strlen(text) < sizeof r->form.id)
    memcpy(r->form.id, text, strlen(text) + 1);
  else {
    r->long_id = text;
    return;
  }
  free(text);
}

/* What this server does not have is refused, not passed over. False: answered. */
static bool check_parameters(inference *r, const json_t *input) {
  static const struct {
    const char *name, *what;
  } missing[] = {{"shared_memory_region", "shared memory"},
                 {"sequence_id", "sequences"},
                 {"sequence_start", "sequences"},
                 {"sequence_end", "sequences"},
                 {"priority", "priorities"},
                 {"timeout", "time limits of requests"}};
  const json_t *own = json_object_get(input, "parameters"),
               *all = json_object_get(r->json, "parameters");
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
    if (json_object_get(own, missing[i].name) || json_object_get(all, missing[i].name)) {
      api_fail(r->call, 400, "this server has no %s (parameter \"%s\")", missing[i].what,
               missing[i].name);
      return false;
    }
  return true;
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
  r->form.kind = datatype ? tensor_kind_of(datatype) : NULL;
  if (!r->form.kind) {
    api_fail(
        r->call, 400,
        "the datatype of input must be one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, "
        "FP32 and FP64");
    return false;
  }
  if (!check_parameters(r, input) || !take_shape(r, input, shape)) return false;
  r->form.binary = size != NULL;
  r->form.bytes = (size_t)(r->form.shape.dim[0] * shape->inputs) * r->form.kind->size;
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
  if (r->job.pixels || r->form.kind == tensor_kind_of("FP32"))
    memcpy(to, r->binary, r->form.bytes);
  else
    tensor_to_floats(r->form.kind, r->binary, r->job.rows * shape->inputs, to);
  return true;
}

static bool take_data(inference *r, const json_t *data, const serve_shape *shape) {
  char error[256];
  void *to = allocate(r, shape);
  if (!to) return false;
  if (r->job.pixels ? tensor_bytes_from_json(data, &r->form.shape, to, error, sizeof error)
                    : tensor_from_json(data, r->form.kind, &r->form.shape, to, error, sizeof error))
    return true;
  api_fail(r->call, 400, "the data of input: %s", error);
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
  r->job.rows = r->form.shape.dim[0];
  r->job.pixels = shape->images && r->form.kind == tensor_kind_of("UINT8");
  return r->form.binary ? take_binary(r, shape)
                        : take_data(r, json_object_get(input, "data"), shape);
}

/* Inference-Header-Content-Length: 0: one row, binary in and out. */
static bool take_raw(inference *r, const serve_shape *shape) {
  r->job.rows = 1;
  r->job.pixels = shape->images;
  r->form = (request_form){.bytes = (size_t)shape->inputs * (shape->images ? 1 : sizeof(float)),
                           .binary_output = true,
                           .kind = tensor_kind_of("FP32"),
                           .id = "\"\""};
  return take_binary(r, shape);
}

/* TensorFlow Serving: a list of rows, each flat or nested as a sample is. False: answered. */
static bool take_rows(inference *r, const serve_shape *shape) {
  const json_t *instances = json_object_get(r->json, "instances"),
               *rows = instances ? instances : json_object_get(r->json, "inputs"), *row;
  char error[256];
  size_t i;
  r->rows_name = instances ? "predictions" : "outputs";
  r->job.rows = (int64_t)json_array_size(rows);
  if (r->job.rows < 1 || r->job.rows > INFERENCE_MOST_ROWS) {
    api_fail(r->call, 400, "instances (or inputs) must be a list of 1 to %d rows",
             INFERENCE_MOST_ROWS);
    return false;
  }
  float *to = allocate(r, shape);
  tensor_shape sample = {.rank = shape->rank};
  for (int k = 0; k < shape->rank; k++) sample.dim[k] = shape->dim[k];
  if (!to) return false;
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    if (tensor_from_json(row, tensor_kind_of("FP32"), &sample, to + (int64_t)i * shape->inputs,
                         error, sizeof error))
      continue;
    api_fail(r->call, 400, "row %zu: %s", i, error);
    return false;
  }
  return true;
}

/* ---- answers: written by hand, since thousands a second go through here ---- */

enum { NUMBER_BYTES = 20 };

static size_t put_number(char *to, float x) {
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

/* JSON has no NaN and no infinity. False: answered. */
static bool check_outputs(inference *r) {
  int64_t n = r->job.rows * serve_shape_of(r->served)->outputs;
  for (int64_t i = 0; i < n; i++)
    if (!(r->job.outputs[i] - r->job.outputs[i] == 0)) {
      api_fail(
          r->call, 500,
          "the answer has numbers that JSON has not (NaN or infinity); binary output has them");
      return false;
    }
  return true;
}

static void answer(inference *r) {
  int64_t columns = serve_shape_of(r->served)->outputs, n = r->job.rows * columns;
  size_t bytes = (size_t)n * sizeof(float);
  char small[1024];
  const char *id = r->long_id ? r->long_id : r->form.id;
  size_t room = 512 + strlen(r->call->name) + strlen(id) +
                (r->form.binary_output ? bytes : (size_t)n * NUMBER_BYTES);
  char *text = room <= sizeof small ? small : malloc(room);
  if (!text) {
    api_fail(r->call, 503, "out of memory");
    return;
  }
  /* Names of models have nothing that JSON would escape. */
  size_t size = (size_t)sprintf(
      text,
      "{\"model_name\":\"%s\",\"model_version\":\"%s\",\"id\":%s,\"outputs\":[{\"name\":\"output\","
      "\"datatype\":\"FP32\",\"shape\":[%lld,%lld],",
      r->call->name, r->version, id, (long long)r->job.rows, (long long)columns);
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

/* The extension "classification": of each row the k largest outputs, as "value:index". */
static void answer_classes(inference *r) {
  int64_t columns = serve_shape_of(r->served)->outputs,
          k = r->form.classes < columns ? r->form.classes : columns;
  json_t *data = json_array(),
         *id = json_loads(r->long_id ? r->long_id : r->form.id, JSON_DECODE_ANY, NULL);
  for (int64_t row = 0; row < r->job.rows; row++) {
    float *y = r->job.outputs + row * columns;
    for (int64_t n = 0; n < k; n++) {
      int64_t best = 0;
      for (int64_t i = 1; i < columns; i++)
        if (y[i] > y[best]) best = i;
      json_array_append_new(data, json_sprintf("%.9g:%lld", (double)y[best], (long long)best));
      y[best] = -INFINITY;
    }
  }
  api_reply(r->call, 200,
            json_pack("{s:s, s:s, s:o, s:[{s:s, s:s, s:[I, I], s:o}]}", "model_name", r->call->name,
                      "model_version", r->version, "id", id, "outputs", "name", "output",
                      "datatype", "BYTES", "shape", (json_int_t)r->job.rows, (json_int_t)k, "data",
                      data));
}

static void on_done(serve_job *job, serve_outcome outcome, const char *error) {
  inference *r = (inference *)job;
  if (outcome != SERVE_DONE)
    api_fail(r->call, outcome == SERVE_FAILED ? 500 : 503, "%s", error);
  else if (!r->form.binary_output && !check_outputs(r)) {
    /* answered */
  } else if (r->rows_name)
    answer_rows(r);
  else if (r->form.classes)
    answer_classes(r);
  else
    answer(r);
  free_inference(r);
}

static bool is_gone(const serve_job *job) {
  return http_is_gone(((const inference *)job)->call->request);
}

/* ---- one request ---- */

static bool take(inference *r, inference_protocol protocol) {
  const serve_shape *shape = serve_shape_of(r->served);
  bool ok = split(r) && read_head(r);
  if (ok && protocol == INFERENCE_TENSORFLOW)
    ok = take_rows(r, shape);
  else if (ok)
    ok = r->json || r->known ? take_input(r, shape) : take_raw(r, shape);
  return ok;
}

/* By the sizes alone. */
static bool is_too_long(const api_call *call) {
  size_t size;
  http_body(call->request, &size);
  if (http_header(call->request, "content-encoding")) return true;
  if (size <= LOOP_JSON) return false;
  const char *header = http_header(call->request, "inference-header-content-length");
  return size > LOOP_BYTES || !header || strtoull(header, NULL, 10) > LOOP_JSON;
}

bool inference_run(api_call *call, const target *t, served *s, inference_protocol protocol,
                   bool on_loop) {
  inference *r = on_loop && is_too_long(call) ? NULL : calloc(1, sizeof *r);
  if (!r) {
    serve_release(s);
    if (!on_loop) api_fail(call, 503, "out of memory");
    return !on_loop;
  }
  api *a = call->api;
  *r = (inference){.job = {.done = on_done, .is_gone = is_gone},
                   .call = call,
                   .served = s,
                   .weights = t->weights};
  memcpy(r->version, t->version, sizeof r->version);
  bool ok = take(r, protocol); /* the call may be gone */
  drop_json(a, r);
  if (ok)
    serve_submit(s, &r->job);
  else
    free_inference(r);
  return true;
}
