/* Trained weights: one file each, in the folder of the session that made it. */
#include "cascade.h"
#include "datasets.h"
#include "store/sessions.h"

#include <stdio.h>

static void list(api_call *call) {
  api_reply_page(call, "weights", weights_list(call->store, call->user.id, call->user.admin));
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
  if (row) api_reply(call, 200, row);
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

/* ---- answers ---- */

static const shape_member weights_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner_name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"model", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"model_name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"session", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"bytes", SHAPE_BYTES, 0, NULL, NULL, NULL},
    {"metrics", SHAPE_JSON, 0, "of the last epoch", NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {0}};
const answer_shape api_weights_shape = {"Weights", weights_shape_members, NULL, NULL};
static const shape_member list_shape_members[] = {
    {"weights", SHAPE_LIST, 0, NULL, &api_weights_shape, NULL},
    {"next", SHAPE_INTEGER, SHAPE_NULLABLE, "cursor of the next page", NULL, NULL},
    {0}};
static const answer_shape list_shape = {"WeightsList", list_shape_members, NULL, NULL};
static const answer_shape report_shape = {"Evaluation", NULL, NULL, NULL};

static const api_route routes[] = {{.id = "listWeights",
                                    .method = "GET",
                                    .path = "/api/v1/weights",
                                    .right = API_USER,
                                    .about = "your trained weights, the newest first",
                                    .fields = api_page_fields,
                                    .run = list,
                                    .answer = &list_shape},
                                   {.id = "getWeights",
                                    .method = "GET",
                                    .path = "/api/v1/weights/{id}",
                                    .right = API_USER,
                                    .about = "one of them with its figures",
                                    .run = one,
                                    .answer = &api_weights_shape},
                                   {.id = "downloadWeights",
                                    .method = "GET",
                                    .path = "/api/v1/weights/{id}/file",
                                    .right = API_USER,
                                    .about = "the .safetensors file",
                                    .run = download,
                                    .how = API_TICKET,
                                    .content = "application/octet-stream"},
                                   {.id = "evaluateWeights",
                                    .method = "POST",
                                    .path = "/api/v1/weights/{id}/evaluate",
                                    .right = API_USER,
                                    .about = "loss, metrics and confusion on a data set",
                                    .fields = evaluate_fields,
                                    .run = evaluate,
                                    .how = API_TOOL,
                                    .answer = &report_shape},
                                   {.id = "deleteWeights",
                                    .method = "DELETE",
                                    .path = "/api/v1/weights/{id}",
                                    .right = API_USER,
                                    .about = "delete them",
                                    .run = erase,
                                    .how = API_ESSENTIAL},
                                   {0}};

const api_resource api_weights = {"weights", "What trainings have made.", routes};
