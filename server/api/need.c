#include "need.h"

#include "context/settings.h"
#include "datasets.h"
#include "store/datasets.h"
#include "store/models.h"

#include <stdio.h>
#include <string.h>

const char *const need_precisions[] = {"float32", "float32_strict", "mixed_bfloat16", NULL};

/* Free bytes that a card must have to be opened: CUDA itself takes some hundred megabytes. */
static const int64_t room_to_open = (int64_t)1 << 30;

static const char *wanted_of(const api_call *call) {
  const char *device = api_text(call, "device");
  return device ? device : "auto";
}

static const char *precision_of(const api_call *call) {
  const char *precision = api_text(call, "precision");
  return precision ? precision : need_precisions[0];
}

static bool needs_bfloat16(const api_call *call) {
  return strcmp(precision_of(call), "mixed_bfloat16") == 0;
}

/* ---- what is impossible ---- */

static void refuse_bfloat16(api_call *call, const device_state *list, int n) {
  char unable[CHOOSE_MOST_DEVICES * 20] = "";
  const char *other = NULL;
  size_t at = 0;
  int count = 0;
  for (int i = 0; i < n; i++) {
    if (!list[i].no_bfloat16)
      other = other ? other : list[i].name;
    else if (device_is_wanted(&list[i], wanted_of(call)))
      at += (size_t)snprintf(unable + at, sizeof unable - at, "%s%.15s", count++ ? ", " : "",
                             list[i].name);
  }
  api_fail(call, 422,
           "%s %s %s not compute in bfloat16, which precision mixed_bfloat16 needs; use precision "
           "float32, or %s%s",
           count > 1 ? "the devices" : "device", unable, count > 1 ? "do" : "does",
           other ? "device " : "another machine's device", other ? other : "");
}

bool need_is_possible(api_call *call) {
  device_state list[CHOOSE_MOST_DEVICES];
  int n = monitor_states(call->api->monitor, list);
  bool some = false, able = false;
  for (int i = 0; i < n; i++) {
    if (!device_is_wanted(&list[i], wanted_of(call))) continue;
    some = true;
    able = able || !list[i].no_bfloat16;
  }
  if (!some)
    api_fail(call, 422, "there is no device \"%s\"; see /api/v1/devices", wanted_of(call));
  else if (needs_bfloat16(call) && !able)
    refuse_bfloat16(call, list, n);
  else
    return true;
  return false;
}

/* ---- the need ---- */

static bool may_be_opened(const device_state *d) {
  return d->gpu && !d->closed && !d->others && device_free(d) >= room_to_open;
}

/* The devices that `webml summary` is asked about: the CPU, and of the GPUs that are wanted the one
 * with the most free memory that may be opened; else *estimate. */
static void name_devices(const api_call *call, char *names, size_t size, bool *estimate) {
  device_state list[CHOOSE_MOST_DEVICES];
  int n = monitor_states(call->api->monitor, list), best = -1;
  bool bfloat16 = needs_bfloat16(call), cpu = true;
  for (int i = 0; i < n; i++) {
    const device_state *d = &list[i];
    bool able = !bfloat16 || !d->no_bfloat16;
    if (!d->gpu) cpu = able;
    if (able && device_is_wanted(d, wanted_of(call)) && may_be_opened(d) &&
        (best < 0 || device_free(d) > device_free(&list[best])))
      best = i;
  }
  *estimate = best < 0;
  snprintf(names, size, "%s%s", cpu ? "cpu," : "", best < 0 ? "cuda" : list[best].uuid);
}

/* data: the path of the data set's file; NULL: none. */
static json_t *summary_of(api_call *call, const char *description, int64_t dataset,
                          const char *data) {
  char batch[24], split[32], devices[128];
  bool estimate;
  const json_t *share = json_object_get(call->input, "validation_split");
  snprintf(batch, sizeof batch, "%lld", (long long)api_integer(call, "batch_size", 32));
  snprintf(split, sizeof split, "%.9g", json_number_value(share));
  name_devices(call, devices, sizeof devices, &estimate);
  const char *words[20] = {"summary",      TOOL_MODEL, "--json",      "--device",        devices,
                           "--batch-size", batch,      "--precision", precision_of(call)};
  int n = 9;
  if (estimate) words[n++] = "--estimate";
  if (api_boolean(call, "deterministic", false)) words[n++] = "--deterministic";
  if (data) words[n++] = "--data", words[n++] = data;
  if (data && share) words[n++] = "--validation-split", words[n++] = split;
  const tool_request request = {
      .words = words, .description = description, .dataset = dataset, .gpu = !estimate};
  return api_tool_json(call, &request);
}

/* What `webml summary` has said. */
static void read_need(const json_t *summary, training_need *need) {
  size_t i;
  json_t *entry;
  json_array_foreach(json_object_get(summary, "memory"), i, entry) {
    const json_t *training = json_object_get(entry, "training");
    int64_t bytes = store_integer(training, "total");
    if (strcmp(store_text(entry, "device"), "cpu") == 0)
      need->device.on_cpu = bytes;
    else {
      need->device.on_gpu = bytes;
      need->gpu_estimated = json_is_true(json_object_get(training, "estimated"));
    }
  }
  need->parameters = store_integer(summary, "parameters");
  need->layers = (int64_t)json_array_size(json_object_get(summary, "layers"));
}

/* The description of a model of the caller's; NULL: answered. */
static json_t *find_model(api_call *call, int64_t model) {
  bool found;
  json_t *row = model_description(call->store, model, call->user.id, &found);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no model %lld of yours", (long long)model);
  return row;
}

bool need_compute(api_call *call, int64_t model, int64_t dataset, training_need *need) {
  char data[CONTEXT_PATH];
  if (dataset && !dataset_path_of_ready(call, dataset, data, sizeof data)) return false;
  json_t *row = find_model(call, model);
  json_t *summary =
      row ? summary_of(call, store_text(row, "description"), dataset, dataset ? data : NULL) : NULL;
  json_decref(row);
  if (!summary) return false;
  *need = (training_need){.device = {.wanted = wanted_of(call), .bfloat16 = needs_bfloat16(call)}};
  read_need(summary, need);
  json_decref(summary);
  return true;
}

bool need_is_allowed(api_call *call, const training_need *need) {
  const struct {
    const char *setting, *what;
    double value;
  } limits[] = {{"layers", "layers", (double)need->layers},
                {"parameters", "parameters", (double)need->parameters},
                {"weights_bytes", "bytes of weights", (double)need->parameters * 4}};
  for (size_t i = 0; !call->user.admin && i < sizeof limits / sizeof *limits; i++) {
    double most = setting(call->store, limits[i].setting);
    if (limits[i].value <= most) continue;
    api_fail(call, 422, "the model has %.0f %s; this server's limit is %.0f", limits[i].value,
             limits[i].what, most);
    return false;
  }
  return true;
}
