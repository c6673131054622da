/* Model descriptions: checked whole when they come in, by the library. */
#include "store/models.h"
#include "api.h"
#include "cascade.h"
#include "datasets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webml.h>

/* All that is wrong with a description, each with its place and cure; NULL: not known. */
static json_t *errors_of(const char *text) {
  char *result = NULL;
  if (webml_model_check(text, strlen(text), NULL, &result) != WEBML_OK) return NULL;
  json_t *check = json_loads(result, 0, NULL), *errors = json_array(), *e;
  size_t i;
  webml_free(result);
  json_array_foreach(json_object_get(check, "errors"), i, e) {
    json_t *path = json_sprintf("/description%s", store_text(e, "path"));
    json_array_append_new(errors, json_pack("{s:o, s:O, s:O}", "path", path, "text",
                                            json_object_get(e, "text"), "cure",
                                            json_object_get(e, "cure")));
  }
  json_decref(check);
  return errors;
}

/* The description as the library writes it; NULL: the call was answered with all its errors. */
static char *check_description(api_call *call, const json_t *description) {
  webml_model *model = NULL;
  char *text = json_dumps(description, JSON_COMPACT), *canonical = NULL;
  webml_status status = text ? webml_model_parse(text, strlen(text), &model) : WEBML_ERROR_MEMORY;
  if (status == WEBML_OK) status = webml_model_to_json(model, &canonical);
  if (status == WEBML_ERROR_MEMORY)
    api_fail(call, 503, "out of memory");
  else if (status != WEBML_OK) {
    char sentence[2048];
    snprintf(sentence, sizeof sentence, "%s", webml_last_error()); /* the check has its own */
    api_fail_with(call, 422, errors_of(text), "%s", sentence);
  }
  webml_model_destroy(model);
  free(text);
  return status == WEBML_OK ? canonical : NULL;
}

/* A stored row, with the state of the model. */
static json_t *present(json_t *row) {
  const char *text = store_text(row, "description");
  bool used = store_integer(row, "used");
  webml_model *model = NULL;
  bool dynamic = !used && webml_model_parse(text, strlen(text), &model) == WEBML_OK &&
                 webml_model_is_dynamic(model);
  webml_model_destroy(model);
  json_object_set_new(row, "state",
                      json_string(used      ? "static"
                                  : dynamic ? "dynamic"
                                            : "editable"));
  return row;
}

/* The model of the path when it is the caller's (administrators see all). NULL: answered. */
static json_t *find(api_call *call) {
  bool found;
  json_t *row = model_find(call->store, call->ids[0], &found);
  if (row && api_may_change(call, row)) return row;
  json_decref(row);
  if (!row && found)
    api_fail_store(call);
  else /* what belongs to others is not told from what is not there */
    api_fail(call, 404, "there is no model %lld of yours", (long long)call->ids[0]);
  return NULL;
}

json_t *api_rows_of_models(api_call *call) {
  json_t *rows = models_list(call->store, call->user.id, call->user.admin), *row;
  size_t i;
  json_array_foreach(rows, i, row) present(row);
  return rows;
}

static void list(api_call *call) {
  api_reply_page(call, "models", api_rows_of_models(call)); /* with the states, to filter by */
}

static void reply_with(api_call *call, int status) {
  json_t *row = find(call);
  if (!row) return;
  api_add_version(call, row);
  api_reply(call, status, present(row));
}

static void one(api_call *call) {
  reply_with(call, 200);
}

/* The new model's id; 0: answered. */
static int64_t insert(api_call *call, const char *name, const char *text) {
  int64_t id = model_add(call->store, call->user.id, name, text, context_now());
  if (id == STORE_EXISTS)
    api_fail(call, 409, "you have a model of this name");
  else if (id < 0)
    api_fail_store(call);
  if (id < 0) return 0;
  api_log("model", call, call->user.id, name, "made");
  api_add_header(call, "location", "/api/v1/models/%lld", (long long)id);
  return id;
}

static void insert_and_show(api_call *call, const char *text) {
  int64_t id = insert(call, api_text(call, "name"), text);
  if (!id) return;
  call->ids[0] = id;
  reply_with(call, 201);
}

static void make(api_call *call) {
  char *text = check_description(call, json_object_get(call->input, "description"));
  if (text) insert_and_show(call, text);
  webml_free(text);
}

static void summary(api_call *call) {
  json_t *row = find(call);
  webml_model *model = NULL;
  char *text = NULL;
  if (!row) return;
  const char *description = store_text(row, "description");
  bool ok = webml_model_parse(description, strlen(description), &model) == WEBML_OK &&
            webml_model_summary(model, &text) == WEBML_OK;
  if (ok)
    api_reply(call, 200, json_loads(text, 0, NULL));
  else
    api_fail(call, 500, "%s", webml_last_error());
  webml_free(text);
  webml_model_destroy(model);
  json_decref(row);
}

static const char is_static[] =
    "the model is static: a session waits or runs, or it has weights; clone it";

/* What the change has come to; the row as it was. */
static void answer_change(api_call *call, int64_t changed, const json_t *row) {
  switch (changed) {
  case STORE_EXISTS: api_fail(call, 409, "you have a model of this name"); break;
  case MODEL_IS_STATIC: api_fail(call, 409, "%s", is_static); break;
  case MODEL_NAME_TAKEN:
    api_fail(call, 409, "a public model of somebody else has this name, or one that looks like it");
    break;
  case STORE_FAILED: api_fail_store(call); break;
  case 0: api_fail(call, 412, "the model has changed since you read it; read it again"); break;
  default:
    json_object_del(call->input, "description"); /* it may be long */
    json_object_del(call->input, "changed");
    api_log_change("model", call, row, call->input);
    one(call);
  }
}

static void save(api_call *call) {
  json_t *row = find(call); /* NULL: the call has ended and must not be touched */
  if (!row) return;
  const json_t *description = json_object_get(call->input, "description");
  char *text = NULL;
  if (!api_check_version(call, row) ||
      (description && !(text = check_description(call, description)))) {
    json_decref(row);
    return;
  }
  if (text) json_object_set_new(call->input, "description", json_string(text));
  webml_free(text);
  int64_t changed = model_change(call->store, call->ids[0], store_integer(row, "version"),
                                 call->input, context_now());
  answer_change(call, changed, row);
  json_decref(row);
}

static void copy(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  insert_and_show(call, store_text(row, "description"));
  json_decref(row);
}

/* ---- shaping: in a process, since it reads a data set ---- */

/* As a new model where a name is given, else in place. */
static void keep_shaped(api_call *call, const json_t *row, const char *text, json_t *chosen) {
  const char *name = api_text(call, "name");
  int64_t id = call->ids[0];
  if (name) {
    id = insert(call, name, text);
    if (!id) return;
  } else {
    json_t *changes = json_pack("{s:s}", "description", text);
    int64_t changed =
        model_change(call->store, id, store_integer(row, "version"), changes, context_now());
    json_decref(changes);
    if (changed <= 0) {
      answer_change(call, changed, row);
      return;
    }
  }
  api_reply(call, name ? 201 : 200,
            json_pack("{s:I, s:s, s:O}", "id", (json_int_t)id, "name",
                      name ? name : store_text(row, "name"), "chosen", chosen));
}

static void shape_model(api_call *call) {
  char data[CONTEXT_PATH];
  json_t *row = find(call);
  if (!row) return;
  if (!dataset_path_of_ready(call, api_integer(call, "dataset", 0), data, sizeof data)) {
    json_decref(row);
    return;
  }
  const char *const words[] = {"shape", TOOL_MODEL, "--data", data, "--json", NULL};
  const tool_request request = {.words = words,
                                .description = store_text(row, "description"),
                                .dataset = api_integer(call, "dataset", 0)};
  json_t *result = api_tool_json(call, &request);
  char *text = result ? json_dumps(json_object_get(result, "model"), JSON_COMPACT) : NULL;
  if (text) keep_shaped(call, row, text, json_object_get(result, "chosen"));
  free(text);
  json_decref(result);
  json_decref(row);
}

static void erase(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  int64_t gone = model_delete(call->store, call->ids[0]);
  if (gone < 0)
    api_fail_store(call);
  else if (gone == 0)
    api_fail(call, 409, "a session of this model waits or runs; cancel it first");
  else {
    cascade(call->api); /* its weights went with it */
    api_log("model", call, call->user.id, store_text(row, "name"), "deleted");
    api_reply_empty(call);
  }
  json_decref(row);
}

static const api_field make_fields[] = {
    {"name", API_NAME, true, false, 1, 100, "unique among your models", NULL},
    {"description", API_OBJECT, true, false, 0, 0,
     "layers, size, optimizer, loss: see docs/model.md", NULL},
    {0}};
static const api_field save_fields[] = {
    {"name", API_NAME, false, false, 1, 100, "a new name", NULL},
    {"description", API_OBJECT, false, false, 0, 0, "a new description", NULL},
    {"public", API_BOOLEAN, false, false, 0, 0, "true: anybody may predict with it", NULL},
    {"max_batch_size", API_INTEGER, false, false, 1, SERVE_MOST_BATCH,
     "rows of several requests that are computed together; 64", NULL},
    {"max_queue_delay_microseconds", API_INTEGER, false, false, 0, 1000000,
     "how long a request may wait for others; 0", NULL},
    {"max_queue_size", API_INTEGER, false, false, 1, 65536,
     "requests that may wait; beyond them 503 at once; 1024", NULL},
    {0}};
static const api_field shape_fields[] = {
    {"dataset", API_ID, true, false, 0, 0, "one of your data sets, or a public one", NULL},
    {"name", API_NAME, false, false, 1, 100, "of a new model; absent: this one is changed", NULL},
    {0}};
static const api_field copy_fields[] = {
    {"name", API_NAME, true, false, 1, 100, "of the copy", NULL}, {0}};

/* ---- answers ---- */

static const char *const state_names[] = {"editable", "dynamic", "static", NULL};
static const shape_member model_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner_name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"public", SHAPE_BOOLEAN, 0, NULL, NULL, NULL},
    {"state", SHAPE_TEXT, 0, NULL, NULL, state_names},
    {"max_batch_size", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"max_queue_delay_microseconds", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"max_queue_size", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"changed", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"version", SHAPE_INTEGER, 0, "as in ETag", NULL, NULL},
    {0}};
const answer_shape api_model_shape = {"Model", model_shape_members, NULL, NULL};
static const shape_member models_shape_members[] = {
    {"models", SHAPE_LIST, 0, NULL, &api_model_shape, NULL},
    {"next", SHAPE_INTEGER, SHAPE_NULLABLE, "cursor of the next page", NULL, NULL},
    {0}};
static const answer_shape models_shape = {"Models", models_shape_members, NULL, NULL};
static const shape_member whole_shape_members[] = {
    {"description", SHAPE_JSON, 0, "docs/model.md", NULL, NULL}, {0}};
static const answer_shape whole_shape = {"ModelWhole", whole_shape_members, NULL, &api_model_shape};
static const shape_member shaped_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, "of the model that has the sizes now", NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"chosen", SHAPE_TEXTS, 0, "what was chosen, a sentence each", NULL, NULL},
    {0}};
static const answer_shape shaped_shape = {"Shaped", shaped_shape_members, NULL, NULL};
static const answer_shape summary_shape = {"ModelSummary", NULL, NULL, NULL};

static const api_route routes[] = {{.id = "listModels",
                                    .method = "GET",
                                    .path = "/api/v1/models",
                                    .right = API_USER,
                                    .about = "your models",
                                    .fields = api_page_fields,
                                    .run = list,
                                    .answer = &models_shape},
                                   {.id = "createModel",
                                    .method = "POST",
                                    .path = "/api/v1/models",
                                    .right = API_USER,
                                    .about = "keep a description; it is checked whole",
                                    .fields = make_fields,
                                    .run = make,
                                    .how = API_LARGE | API_IDEMPOTENT,
                                    .answer = &whole_shape},
                                   {.id = "getModel",
                                    .method = "GET",
                                    .path = "/api/v1/models/{id}",
                                    .right = API_USER,
                                    .about = "one model with its description",
                                    .run = one,
                                    .answer = &whole_shape},
                                   {.id = "changeModel",
                                    .method = "PATCH",
                                    .path = "/api/v1/models/{id}",
                                    .right = API_USER,
                                    .about = "change some of it; what is not named stays",
                                    .fields = save_fields,
                                    .run = save,
                                    .how = API_LARGE,
                                    .answer = &whole_shape},
                                   {.id = "deleteModel",
                                    .method = "DELETE",
                                    .path = "/api/v1/models/{id}",
                                    .right = API_USER,
                                    .about = "delete it with its weights",
                                    .run = erase,
                                    .how = API_ESSENTIAL},
                                   {.id = "cloneModel",
                                    .method = "POST",
                                    .path = "/api/v1/models/{id}/clone",
                                    .right = API_USER,
                                    .about = "an editable copy",
                                    .fields = copy_fields,
                                    .run = copy,
                                    .answer = &whole_shape},
                                   {.id = "shapeModel",
                                    .method = "POST",
                                    .path = "/api/v1/models/{id}/shape",
                                    .right = API_USER,
                                    .about = "fit open sizes to a data set",
                                    .fields = shape_fields,
                                    .run = shape_model,
                                    .how = API_TOOL,
                                    .answer = &shaped_shape},
                                   {.id = "summarizeModel",
                                    .method = "GET",
                                    .path = "/api/v1/models/{id}/summary",
                                    .right = API_USER,
                                    .about = "layers, shapes, parameters, memory",
                                    .run = summary,
                                    .answer = &summary_shape},
                                   {0}};

const api_resource api_models = {"models", "Model descriptions.", routes};
