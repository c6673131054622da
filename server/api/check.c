/* Checking a description that was not saved, as it is typed; and the tables that it is checked
 * against. In process: an answer takes milliseconds. */
#include "api.h"
#include "need.h"
#include "store/datasets.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <webml.h>

struct api_checker {
  pthread_mutex_t mutex; /* of all below */
  webml_device *cpu;     /* NULL: nobody has asked yet */
  bool tried[WEBML_MIXED_BFLOAT16 + 1], measured[WEBML_MIXED_BFLOAT16 + 1];
  webml_speed speeds[WEBML_MIXED_BFLOAT16 + 1];
};

bool api_checker_start(api *a) {
  if (!(a->checker = calloc(1, sizeof *a->checker))) return false;
  pthread_mutex_init(&a->checker->mutex, NULL);
  return true;
}

void api_checker_stop(api *a) {
  if (!a->checker) return;
  webml_device_destroy(a->checker->cpu);
  pthread_mutex_destroy(&a->checker->mutex);
  free(a->checker);
  a->checker = NULL;
}

/* The processor and how fast it is; measured once for each precision, in some tenths of a second.
 * *speed NULL: it does not compute in that precision. */
static webml_device *find_cpu(struct api_checker *c, webml_precision p, const webml_speed **speed) {
  pthread_mutex_lock(&c->mutex);
  if (!c->cpu && webml_device_open("cpu", 0, &c->cpu) != WEBML_OK) c->cpu = NULL;
  if (c->cpu && !c->tried[p]) {
    c->tried[p] = true;
    c->measured[p] = webml_device_speed(c->cpu, p, &c->speeds[p]) == WEBML_OK;
  }
  *speed = c->measured[p] ? &c->speeds[p] : NULL;
  webml_device *cpu = c->cpu;
  pthread_mutex_unlock(&c->mutex);
  return cpu;
}

static webml_precision precision_of(const api_call *call) {
  const char *text = api_text(call, "precision");
  for (int i = 0; text && need_precisions[i]; i++)
    if (strcmp(need_precisions[i], text) == 0) return (webml_precision)i;
  return WEBML_FLOAT32;
}

/* The processor, and the GPUs as they are now, estimated. Their number. */
static size_t list_devices(api_call *call, device_state states[CHOOSE_MOST_DEVICES],
                           webml_check_device list[CHOOSE_MOST_DEVICES]) {
  size_t n = 0;
  int count = monitor_states(call->api->monitor, states);
  for (int i = 0; i < count; i++) {
    webml_check_device *d = &list[n++];
    *d = (webml_check_device){.name = states[i].name, .available = (size_t)device_free(&states[i])};
    if (!states[i].gpu) d->device = find_cpu(call->api->checker, precision_of(call), &d->speed);
    if (!states[i].gpu && !d->device) n--;
  }
  return n;
}

/* The description as a text; free(). NULL: answered. */
static char *text_of(api_call *call) {
  const json_t *description = json_object_get(call->input, "description");
  const char *text = api_text(call, "text");
  if (!description == !text) {
    api_fail(call, 400, "give either the description or its text");
    return NULL;
  }
  char *copy = text ? strdup(text) : json_dumps(description, JSON_INDENT(2));
  if (!copy) api_fail(call, 503, "out of memory");
  return copy;
}

/* The properties of the data set that is named; *row holds them. False: answered. */
static bool find_properties(api_call *call, json_t **row, const char **properties) {
  int64_t id = api_integer(call, "dataset", 0);
  bool found;
  *row = NULL;
  *properties = NULL;
  if (!id) return true;
  *row = dataset_find_ready(call->store, id, call->user.id, &found);
  *properties = store_text(*row, "properties");
  if (*row) return true;
  if (found)
    api_fail_store(call);
  else
    api_fail(call, 404, "there is no data set %lld of yours that is ready", (long long)id);
  return false;
}

/* Lines of a text that the client has not written tell it nothing. */
static json_t *without_lines(json_t *result, bool own_text) {
  static const char *const lists[] = {"errors", "warnings"};
  size_t i;
  json_t *issue;
  for (int k = 0; own_text && k < 2; k++)
    json_array_foreach(json_object_get(result, lists[k]), i, issue)
        json_object_set_new(issue, "line", json_null());
  return result;
}

static void check(api_call *call) {
  device_state states[CHOOSE_MOST_DEVICES];
  webml_check_device devices[CHOOSE_MOST_DEVICES];
  json_t *row;
  char *result = NULL;
  webml_train_options training = {.struct_size = sizeof training,
                                  .batch_size = api_integer(call, "batch_size", 32),
                                  .precision = precision_of(call)};
  webml_check_options options = {
      .struct_size = sizeof options, .training = &training, .devices = devices};
  if (!find_properties(call, &row, &options.properties)) return;
  char *text = text_of(call);
  if (text) {
    options.n_devices = list_devices(call, states, devices);
    if (webml_model_check(text, strlen(text), &options, &result) == WEBML_OK)
      api_reply(call, 200, without_lines(json_loads(result, 0, NULL), !api_text(call, "text")));
    else
      api_fail(call, 500, "%s", webml_last_error());
  }
  webml_free(result);
  free(text);
  json_decref(row);
}

static void schema(api_call *call) {
  char *text = NULL;
  if (webml_schema(&text) != WEBML_OK) {
    api_fail(call, 500, "%s", webml_last_error());
    return;
  }
  api_add_header(call, "etag", "\"%s\"", webml_version());
  api_reply(call, 200, json_loads(text, 0, NULL));
  webml_free(text);
}

/* ---- answers ---- */

static const shape_member issue_members[] = {
    {"path", SHAPE_TEXT, 0, "JSON pointer into the description", NULL, NULL},
    {"line", SHAPE_INTEGER, SHAPE_NULLABLE, "of the text", NULL, NULL},
    {"text", SHAPE_TEXT, 0, "what is wrong, a sentence", NULL, NULL},
    {"cure", SHAPE_JSON, SHAPE_NULLABLE, "{text, patch}: what to do, and as a JSON patch", NULL,
     NULL},
    {0}};
static const answer_shape issue_shape = {"Issue", issue_members, NULL, NULL};
static const shape_member check_members[] = {
    {"valid", SHAPE_BOOLEAN, 0, "there are no errors", NULL, NULL},
    {"errors", SHAPE_LIST, 0, "what a training would refuse", &issue_shape, NULL},
    {"warnings", SHAPE_LIST, 0, "what is likely not meant", &issue_shape, NULL},
    {"name", SHAPE_JSON, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"input_shape", SHAPE_JSON, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"layers", SHAPE_JSON, SHAPE_NULLABLE, "with output shapes and parameters", NULL, NULL},
    {"parameters", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"trainable", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"flops", SHAPE_NUMBER, SHAPE_NULLABLE, "of one sample", NULL, NULL},
    {"optimizer", SHAPE_JSON, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"loss", SHAPE_JSON, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"chosen", SHAPE_TEXTS, 0, "what shaping to the data set chooses", NULL, NULL},
    {"samples", SHAPE_INTEGER, SHAPE_NULLABLE, "of an epoch", NULL, NULL},
    {"validation_samples", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"devices", SHAPE_JSON, 0, "memory, whether it fits, seconds of an epoch: from, to", NULL,
     NULL},
    {0}};
static const answer_shape check_shape = {"Check", check_members, NULL, NULL},
                          schema_shape = {"ModelSchema", NULL, NULL, NULL};

static const api_field check_fields[] = {
    {"description", API_OBJECT, false, false, 0, 0, "what is to be checked, or", NULL},
    {"text", API_TEXT, false, false, 0, 1 << 20, "its text, which may not even be JSON", NULL},
    {"dataset", API_ID, false, false, 0, 0, "to which it is to be shaped", NULL},
    {"batch_size", API_INTEGER, false, false, 1, 65536, "samples per step; 32", NULL},
    {"precision", API_TEXT, false, false, 1, 20, "of the training; float32", need_precisions},
    {0}};

static const api_route routes[] = {
    {.id = "checkModel",
     .method = "POST",
     .path = "/api/v1/models/check",
     .right = API_USER,
     .about = "everything that is wrong with a description, with cures; shapes, memory and time on "
              "each device",
     .fields = check_fields,
     .run = check,
     .how = API_LARGE,
     .answer = &check_shape},
    {.id = "getSchema",
     .method = "GET",
     .path = "/api/v1/schema",
     .right = API_USER,
     .about = "layers, options, ranges and kinds, from the tables that descriptions are checked "
              "against",
     .run = schema,
     .answer = &schema_shape},
    {0}};

const api_resource api_check = {"check", "Descriptions as they are typed.", routes};
