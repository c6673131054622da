/* Evaluations of weights as jobs of the queue, on any device: from here on they are sessions. */
#include "sessions.h"

#include <stdio.h>

/* The weights of the path, if they are the caller's own; NULL: answered. */
static json_t *find_own(api_call *call) {
  bool found;
  json_t *row = weights_find(call->store, call->ids[0], call->user.id, false, &found);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there are no weights %lld of yours", (long long)call->ids[0]);
  return row;
}

/* What is passed on to `webml evaluate`. */
static json_t *parameters_of(const api_call *call) {
  const char *part = api_text(call, "part");
  return json_pack("{s:I, s:s*}", "batch_size", (json_int_t)api_integer(call, "batch_size", 32),
                   "part", part);
}

static void start(api_call *call) {
  training_need need;
  char weights[CONTEXT_PATH];
  json_t *row = find_own(call);
  if (!row) return;
  session_new n = {.owner = call->user.id,
                   .model = store_integer(row, "model"),
                   .dataset = api_integer(call, "dataset", 0),
                   .evaluates = call->ids[0],
                   .created = context_now()};
  path_of_job(&call->api->context, store_integer(row, "session"), "weights.safetensors", weights,
              sizeof weights);
  json_decref(row);
  if (session_is_allowed(call, &n) && need_is_possible(call) &&
      need_compute(call, n.model, n.dataset, &need))
    session_begin(call, &n, &need, parameters_of(call), weights);
}

static void list(api_call *call) {
  json_t *row = find_own(call);
  if (row)
    api_reply_page(call, "sessions",
                   session_rows(call, sessions_evaluating(call->store, call->ids[0])));
  json_decref(row);
}

static const char *const parts[] = {"training", "validation", "test", NULL};
static const api_field fields[] = {
    {"dataset", API_ID, true, false, 0, 0, "one of your data sets, or a public one", NULL},
    {"part", API_TEXT, false, false, 1, 16, "validation, or all where there is none", parts},
    {"device", API_TEXT, false, false, 1, 95, "auto, cpu, cuda, cuda:N or a GPU's UUID; auto",
     NULL},
    {"batch_size", API_INTEGER, false, false, 1, 65536, "samples at once; 32", NULL},
    {0}};

static const api_route routes[] = {
    {.id = "startEvaluation",
     .method = "POST",
     .path = "/api/v1/weights/{id}/evaluations",
     .right = API_USER,
     .about = "measure weights on a data set; a session of the queue, which may take any time",
     .fields = fields,
     .run = start,
     .how = API_TOOL | API_IDEMPOTENT,
     .answer = &api_whole_session_shape},
    {.id = "listEvaluations",
     .method = "GET",
     .path = "/api/v1/weights/{id}/evaluations",
     .right = API_USER,
     .about = "the evaluations of these weights, the newest first; GET the session for its report",
     .fields = api_page_fields,
     .run = list,
     .answer = &api_sessions_shape},
    {0}};

const api_resource api_evaluations = {"evaluations", "Weights measured on data sets.", routes};
