#include "need.h"

#include "datasets.h"
#include "jobs/tool.h"
#include "settings.h"

#include <stdio.h>

/* The CUDA context with the code of cuDNN and cuBLASLt, and the workspace of the convolutions. */
static const int64_t gpu_extra = (int64_t)600 << 20;

bool need_compute(api_call *call, int64_t model, int64_t dataset, int64_t batch,
                  training_need *need) {
  bool found;
  char data[4096], size[24];
  json_t *row = store_row(call->api->store, &found,
                          "SELECT m.description AS description, d.file AS file FROM models m"
                          " LEFT JOIN datasets d ON d.id = ?1 AND (d.owner = ?3 OR d.public) AND"
                          " d.state = 'ready' WHERE m.id = ?2 AND m.owner = ?3",
                          "iii", dataset, model, call->user.id);
  const char *file = json_string_value(json_object_get(row, "file"));
  if (!row || (dataset && !file)) {
    if (!row && found)
      api_fail_store(call);
    else
      api_fail(call, 404, "there is no %s %lld of yours%s", row ? "data set" : "model",
               (long long)(row ? dataset : model), row ? " that is ready" : "");
    json_decref(row);
    return false;
  }
  if (file) dataset_path(call->api, dataset, file, data, sizeof data);
  snprintf(size, sizeof size, "%lld", (long long)batch);
  const char *const words[] = {"summary", TOOL_MODEL,
                               "--json",  "--device",
                               "cpu",     "--batch-size",
                               size,      file ? "--data" : NULL,
                               data,      NULL};
  json_t *summary = tool_json(call, json_string_value(json_object_get(row, "description")), words);
  json_decref(row);
  if (!summary) return false;
  const json_t *memory = json_array_get(json_object_get(summary, "memory"), 0);
  int64_t bytes = store_integer(json_object_get(memory, "training"), "total");
  *need = (training_need){.on_cpu = bytes,
                          .on_gpu = bytes + gpu_extra,
                          .parameters = store_integer(summary, "parameters"),
                          .layers = (int64_t)json_array_size(json_object_get(summary, "layers"))};
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
    double most = setting(call->api, limits[i].setting);
    if (limits[i].value <= most) continue;
    api_fail(call, 422, "the model has %.0f %s; this server's limit is %.0f", limits[i].value,
             limits[i].what, most);
    return false;
  }
  return true;
}
