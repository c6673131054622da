/* Trained weights: one file each, in the folder of the session that made it. */
#include "cascade.h"
#include "datasets.h"
#include "store/sessions.h"

#include <stdio.h>

static json_t *present(json_t *row) {
  json_t *metrics = json_loads(store_text(row, "metrics"), 0, NULL);
  json_object_set_new(row, "metrics", metrics ? metrics : json_null());
  return row;
}

static void list(api_call *call) {
  api_reply_rows(call, "weights", weights_list(call->store, call->user.id, call->user.admin),
                 present);
}

static json_t *find(api_call *call) {
  bool found;
  json_t *row = weights_find(call->store, call->ids[0], call->user.id, call->user.admin, &found);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there are no weights %lld of yours", (long long)call->ids[0]);
  return row;
}

static void one(api_call *call) {
  json_t *row = find(call);
  if (row) api_reply(call, 200, present(row));
}

static void download(api_call *call) {
  json_t *row = find(call);
  char path[CONTEXT_PATH], name[64];
  if (!row) return;
  path_of_job(&call->api->context, store_integer(row, "session"), "weights.safetensors", path,
              sizeof path);
  json_decref(row);
  snprintf(name, sizeof name, "weights-%lld.safetensors", (long long)call->ids[0]);
  api_reply_download(call, path, "application/octet-stream", name);
}

/* In a process, which reads the data set. */
static void evaluate(api_call *call) {
  char weights[CONTEXT_PATH], data[CONTEXT_PATH];
  const char *part = api_text(call, "part");
  json_t *row = find(call);
  if (!row) return;
  path_of_job(&call->api->context, store_integer(row, "session"), "weights.safetensors", weights,
              sizeof weights);
  json_decref(row);
  if (!dataset_path_of_ready(call, api_integer(call, "dataset", 0), data, sizeof data)) return;
  const char *const words[] = {"evaluate", weights,    "--data", data,
                               "--json",   "--device", "cpu",    part ? "--part" : NULL,
                               part,       NULL};
  const tool_request request = {
      .words = words, .dataset = api_integer(call, "dataset", 0), .weights = weights};
  json_t *report = api_tool_json(call, &request);
  if (report) api_reply(call, 200, report);
}

static void erase(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  int64_t session = store_integer(row, "session"), gone = weights_delete(call->store, call->ids[0]);
  json_decref(row);
  if (gone < 0) {
    api_fail_store(call);
    return;
  }
  serve_unload(call->api->serving, call->ids[0]);
  jobs_remove(call->api->jobs, session);
  store_fill_ballast(call->store);
  api_log("weights", call, call->user.id, NULL, "deleted");
  api_reply_empty(call);
}

static const char *const parts[] = {"training", "validation", "test", NULL};
static const api_field evaluate_fields[] = {
    {"dataset", API_ID, true, false, 0, 0, "one of your data sets, or a public one", NULL},
    {"part", API_TEXT, false, false, 1, 16, "validation, or all where there is none", parts},
    {0}};

static const api_route routes[] = {
    {"GET", "/api/v1/weights", API_USER, "your trained weights, the newest first", NULL, list, 0,
     NULL},
    {"GET", "/api/v1/weights/{id}", API_USER, "one of them with its figures", NULL, one, 0, NULL},
    {"GET", "/api/v1/weights/{id}/file", API_USER, "the .safetensors file", NULL, download, 0,
     NULL},
    {"POST", "/api/v1/weights/{id}/evaluate", API_USER, "loss, metrics and confusion on a data set",
     evaluate_fields, evaluate, API_TOOL, NULL},
    {"DELETE", "/api/v1/weights/{id}", API_USER, "delete them", NULL, erase, API_ESSENTIAL, NULL},
    {0}};

const api_resource api_weights = {"weights", "What trainings have made.", routes};
