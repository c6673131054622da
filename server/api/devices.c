/* What this machine computes on, and which device a training would get. */
#include "need.h"
#include "store/settings.h"

#include <stdio.h>
#include <string.h>

static void list(api_call *call) {
  api_reply(call, 200, monitor_json(call->api->monitor));
}

/* By name or UUID; NULL: the call was answered. The caller's. */
static json_t *find(api_call *call) {
  json_t *all = monitor_json(call->api->monitor), *device, *found = NULL;
  size_t i;
  json_array_foreach(json_object_get(all, "devices"), i, device) {
    const char *name = json_string_value(json_object_get(device, "name")),
               *uuid = json_string_value(json_object_get(device, "uuid"));
    if (strcmp(name, call->name) == 0 || (uuid && strcmp(uuid, call->name) == 0))
      found = json_incref(device);
  }
  json_decref(all);
  if (!found) api_fail(call, 404, "there is no device \"%s\"", call->name);
  return found;
}

/* By which the store knows it. */
static const char *key_of(const json_t *device) {
  const char *uuid = store_text(device, "uuid");
  return uuid ? uuid : "cpu";
}

/* If-Match compares the version alone; the rest of the tag is never the same twice, as load and
 * memory are not. Whether the device is closed the store knows before the monitor's next look. */
static void reply_with(api_call *call, json_t *device) {
  api_add_header(call, "etag", "\"%lld.%lld\"",
                 (long long)settings_version(call->store, key_of(device)),
                 (long long)(context_monotonic() * 1e6));
  json_object_set_new(device, "closed",
                      json_boolean(device_is_closed(call->store, key_of(device))));
  api_reply(call, 200, device);
}

static void one(api_call *call) {
  json_t *device = find(call);
  if (device) reply_with(call, device);
}

/* 1; 0: If-Match does not allow for it; STORE_FAILED. */
static int64_t set_closed(const api_call *call, const json_t *device, bool closed) {
  int64_t version = settings_version(call->store, key_of(device));
  if (!api_is_version(call, version)) return 0;
  bool any = !http_header(call->request, "if-match");
  return device_set_closed(call->store, key_of(device), closed, any ? 0 : version);
}

/* Trainings that run on it go on; no new one gets it. */
static void change(api_call *call) {
  json_t *device = find(call);
  if (!device) return;
  bool closed = api_boolean(call, "closed", true);
  int64_t done = set_closed(call, device, closed);
  if (done <= 0) {
    json_decref(device);
    if (done == 0)
      api_fail_version(call);
    else
      api_fail_store(call);
    return;
  }
  api_log("device", call, call->user.id, call->name, closed ? "closed" : "opened");
  monitor_wake(call->api->monitor);
  reply_with(call, device);
}

static json_t *device_json(const device_state *d, const training_need *need) {
  char why[160];
  device_fit fit = device_fits(d, &need->device, why, sizeof why);
  int64_t bytes = d->gpu ? need->device.on_gpu : need->device.on_cpu;
  json_t *json = json_pack("{s:s, s:b, s:I, s:o, s:b}", "name", d->name, "fits", fit == FITS,
                           "free", (json_int_t)device_free(d), "needed",
                           fit == UNABLE ? json_null() : json_integer(bytes), "estimated",
                           d->gpu && need->gpu_estimated);
  if (d->gpu) json_object_set_new(json, "uuid", json_string(d->uuid));
  json_object_set_new(json, "reason", fit == FITS ? json_null() : json_string(why));
  return json;
}

static void choose(api_call *call) {
  device_state states[CHOOSE_MOST_DEVICES];
  training_need computed;
  bool ever;
  if (!need_compute(call, api_integer(call, "model", 0), api_integer(call, "dataset", 0),
                    &computed))
    return;
  int n = monitor_states(call->api->monitor, states),
      which = device_choose(states, n, &computed.device, &ever);
  json_t *devices = json_array();
  for (int i = 0; i < n; i++) json_array_append_new(devices, device_json(&states[i], &computed));
  json_t *answer =
      json_pack("{s:n, s:b, s:o}", "device", "waiting_helps", ever, "devices", devices);
  if (which >= 0) {
    json_object_set_new(answer, "device", json_string(states[which].name));
    if (states[which].gpu) json_object_set_new(answer, "uuid", json_string(states[which].uuid));
  }
  api_reply(call, 200, answer);
}

static const api_field choose_fields[] = {
    {"model", API_ID, true, false, 0, 0, "one of your models", NULL},
    {"dataset", API_ID, false, false, 0, 0, "to which a dynamic model is shaped first", NULL},
    {"batch_size", API_INTEGER, false, false, 1, 65536, "samples per step; 32", NULL},
    {"device", API_TEXT, false, false, 1, 95, "auto, cpu, cuda, cuda:N or a GPU's UUID; auto",
     NULL},
    {"validation_split", API_NUMBER, false, false, 0, 0.9,
     "share held back where the data set has no such part", NULL},
    {"precision", API_TEXT, false, false, 1, 20, "of the training; float32", need_precisions},
    {"deterministic", API_BOOLEAN, false, false, 0, 0, "on a GPU: the same bits each time", NULL},
    {0}};
static const api_field change_fields[] = {
    {"closed", API_BOOLEAN, true, false, 0, 0, "true: no new training gets it", NULL}, {0}};

/* ---- answers ---- */

static const shape_member memory_shape_members[] = {
    {"total", SHAPE_BYTES, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"used", SHAPE_BYTES, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"free", SHAPE_BYTES, SHAPE_NULLABLE, NULL, NULL, NULL},
    {0}};
static const answer_shape memory_shape = {"Memory", memory_shape_members, NULL, NULL};
static const shape_member process_shape_members[] = {
    {"pid", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"user", SHAPE_TEXT, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"command", SHAPE_TEXT, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"memory", SHAPE_BYTES, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"session", SHAPE_INTEGER, SHAPE_NULLABLE, "the training that it is", NULL, NULL},
    {0}};
static const answer_shape process_shape = {"Process", process_shape_members, NULL, NULL};
static const shape_member api_device_shape_members[] = {
    {"name", SHAPE_TEXT, 0, "cpu, cuda:0, ...", NULL, NULL},
    {"kind", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"description", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"uuid", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"bus_id", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"threads", SHAPE_INTEGER, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"bfloat16", SHAPE_BOOLEAN, SHAPE_NULLABLE, "whether it computes in it", NULL, NULL},
    {"load", SHAPE_NUMBER, SHAPE_OPTIONAL, "share of all cores", NULL, NULL},
    {"memory", SHAPE_OBJECT, 0, NULL, &memory_shape, NULL},
    {"disk", SHAPE_OBJECT, SHAPE_OPTIONAL, NULL, &memory_shape, NULL},
    {"utilisation", SHAPE_INTEGER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "percent", NULL, NULL},
    {"memory_utilisation", SHAPE_INTEGER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "percent", NULL, NULL},
    {"temperature", SHAPE_INTEGER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "degrees Celsius", NULL, NULL},
    {"power", SHAPE_NUMBER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "watts", NULL, NULL},
    {"power_limit", SHAPE_NUMBER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "watts", NULL, NULL},
    {"compute_capability", SHAPE_TEXT, SHAPE_NULLABLE | SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"fan", SHAPE_INTEGER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "percent", NULL, NULL},
    {"sm_clock", SHAPE_INTEGER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "MHz", NULL, NULL},
    {"memory_clock", SHAPE_INTEGER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "MHz", NULL, NULL},
    {"processes", SHAPE_LIST, SHAPE_OPTIONAL, NULL, &process_shape, NULL},
    {"sessions", SHAPE_NUMBERS, 0, "numbers of the trainings on it", NULL, NULL},
    {"closed", SHAPE_BOOLEAN, 0, "no new training gets it", NULL, NULL},
    {"reservation", SHAPE_JSON, SHAPE_NULLABLE, NULL, NULL, NULL},
    {0}};
const answer_shape api_device_shape = {"Device", api_device_shape_members, NULL, NULL};
static const shape_member unavailable_shape_members[] = {
    {"kind", SHAPE_TEXT, 0, NULL, NULL, NULL}, {"reason", SHAPE_TEXT, 0, NULL, NULL, NULL}, {0}};
static const answer_shape unavailable_shape = {"Unavailable", unavailable_shape_members, NULL,
                                               NULL};
static const shape_member devices_members[] = {
    {"devices", SHAPE_LIST, 0, NULL, &api_device_shape, NULL},
    {"unavailable", SHAPE_LIST, 0, NULL, &unavailable_shape, NULL},
    {0}};
const answer_shape api_devices_shape = {"Devices", devices_members, NULL, NULL};
static const shape_member candidate_shape_members[] = {
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"uuid", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"fits", SHAPE_BOOLEAN, 0, NULL, NULL, NULL},
    {"free", SHAPE_BYTES, 0, NULL, NULL, NULL},
    {"needed", SHAPE_BYTES, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"estimated", SHAPE_BOOLEAN, 0, "no GPU was opened for it", NULL, NULL},
    {"reason", SHAPE_TEXT, SHAPE_NULLABLE, "why it does not fit", NULL, NULL},
    {0}};
static const answer_shape candidate_shape = {"Candidate", candidate_shape_members, NULL, NULL};
static const shape_member choice_shape_members[] = {
    {"device", SHAPE_TEXT, SHAPE_NULLABLE, "the one that it would get now", NULL, NULL},
    {"uuid", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"waiting_helps", SHAPE_BOOLEAN, 0, NULL, NULL, NULL},
    {"devices", SHAPE_LIST, 0, NULL, &candidate_shape, NULL},
    {0}};
static const answer_shape choice_shape = {"DeviceChoice", choice_shape_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "listDevices",
     .method = "GET",
     .path = "/api/v1/devices",
     .right = API_ACCOUNT,
     .about = "processors and GPUs, what they do and for whom, and why there is no GPU",
     .run = list,
     .answer = &api_devices_shape},
    {.id = "getDevice",
     .method = "GET",
     .path = "/api/v1/devices/{name}",
     .right = API_ACCOUNT,
     .about = "one of them",
     .run = one,
     .answer = &api_device_shape},
    {.id = "changeDevice",
     .method = "PATCH",
     .path = "/api/v1/devices/{name}",
     .right = API_ADMIN,
     .about = "close it for trainings, or open it again",
     .fields = change_fields,
     .run = change,
     .answer = &api_device_shape},
    {.id = "selectDevice",
     .method = "POST",
     .path = "/api/v1/devices/select",
     .right = API_USER,
     .about = "which device a training would get now, and why not the others",
     .fields = choose_fields,
     .run = choose,
     .how = API_TOOL,
     .answer = &choice_shape},
    {0}};

const api_resource api_devices = {"devices", "Processors and GPUs.", routes};
