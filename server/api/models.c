/* Model descriptions: checked whole when they come in, by the library. */
#include "datasets.h"
#include "jobs/jobs.h"
#include "jobs/tool.h"
#include "predict/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <webml.h>

/* The description as the library writes it; NULL: the call was answered with all its errors. */
static char *check_description(api_call *call, const json_t *description, bool *dynamic) {
  webml_model *model = NULL;
  char *text = json_dumps(description, JSON_COMPACT), *canonical = NULL;
  webml_status status = text ? webml_model_parse(text, strlen(text), &model) : WEBML_ERROR_MEMORY;
  if (status == WEBML_OK) status = webml_model_to_json(model, &canonical);
  if (status == WEBML_OK)
    *dynamic = webml_model_is_dynamic(model);
  else
    api_fail(call, status == WEBML_ERROR_MEMORY ? 503 : 422, "%s", webml_last_error());
  webml_model_destroy(model);
  free(text);
  return status == WEBML_OK ? canonical : NULL;
}

/* Whether trainings wait or run, or weights exist: then a model is static. */
#define TRAINS                                                                                     \
  "EXISTS (SELECT 1 FROM sessions WHERE model = models.id AND state IN ('waiting', 'running'))"
#define USED "(" TRAINS " OR EXISTS (SELECT 1 FROM weights WHERE model = models.id))"

/* A stored row as clients see it, but for its description, which stays a text. */
static json_t *present(json_t *row) {
  const char *text = json_string_value(json_object_get(row, "description"));
  bool used = json_integer_value(json_object_get(row, "used"));
  webml_model *model = NULL;
  bool dynamic = !used && webml_model_parse(text, strlen(text), &model) == WEBML_OK &&
                 webml_model_is_dynamic(model);
  webml_model_destroy(model);
  json_object_set_new(row, "state",
                      json_string(used      ? "static"
                                  : dynamic ? "dynamic"
                                            : "editable"));
  json_object_del(row, "used");
  json_object_set_new(row, "public",
                      json_boolean(json_integer_value(json_object_get(row, "public"))));
  return row;
}

/* In lists: without the description. */
static json_t *present_short(json_t *row) {
  json_object_del(present(row), "description");
  return row;
}

static json_t *present_whole(json_t *row) {
  const char *text = json_string_value(json_object_get(present(row), "description"));
  json_t *description = json_loads(text, 0, NULL);
  json_object_set_new(row, "description", description ? description : json_null());
  return row;
}

/* The model of the path when it is the caller's (administrators see all). NULL: answered. */
static json_t *find(api_call *call) {
  bool found;
  json_t *row = store_row(call->api->store, &found,
                          "SELECT id, owner, name, description, public, created, changed, " USED
                          " AS used FROM models WHERE id = ?",
                          "i", call->ids[0]);
  bool own = row && (json_integer_value(json_object_get(row, "owner")) == call->user.id ||
                     call->user.admin);
  if (own) return row;
  json_decref(row);
  if (!row && found)
    api_fail_store(call);
  else /* what belongs to others is not told from what is not there */
    api_fail(call, 404, "there is no model %lld of yours", (long long)call->ids[0]);
  return NULL;
}

static void list(api_call *call) {
  json_t *rows = store_rows(call->api->store,
                            "SELECT id, owner, name, description, public, created, changed, " USED
                            " AS used FROM models"
                            " WHERE owner = ? OR ? ORDER BY name",
                            "ii", call->user.id, (int64_t)call->user.admin);
  api_reply_rows(call, "models", rows, present_short);
}

static void insert(api_call *call, const char *name, const char *text) {
  int64_t id = store_insert(
      call->api->store,
      "INSERT INTO models (owner, name, description, created, changed) VALUES (?, ?, ?, ?, ?)",
      "issii", call->user.id, name, text, api_now(), api_now());
  if (id == STORE_EXISTS)
    api_fail(call, 409, "you have a model of this name");
  else if (id < 0)
    api_fail_store(call);
  else {
    api_log("model", call, call->user.id, NULL, "made");
    api_reply(call, 201, json_pack("{s:I, s:s}", "id", (json_int_t)id, "name", name));
  }
}

static void make(api_call *call) {
  bool dynamic;
  char *text = check_description(call, json_object_get(call->input, "description"), &dynamic);
  if (text) insert(call, api_text(call, "name"), text);
  webml_free(text);
}

static void one(api_call *call) {
  json_t *row = find(call);
  if (row) api_reply(call, 200, present_whole(row));
}

static void summary(api_call *call) {
  json_t *row = find(call);
  webml_model *model = NULL;
  char *text = NULL;
  if (!row) return;
  const char *description = json_string_value(json_object_get(row, "description"));
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

static void save(api_call *call) {
  json_t *row = find(call); /* NULL: the call has ended and must not be touched */
  if (!row) return;
  const json_t *description = json_object_get(call->input, "description"),
               *public = json_object_get(call->input, "public");
  const int64_t same = -1; /* what is not given stays */
  const char *name = api_text(call, "name");
  char *text = NULL;
  bool dynamic;
  if (description && !(text = check_description(call, description, &dynamic))) {
    json_decref(row);
    return;
  }
  int64_t is_public =
      public ? json_is_true(public) : json_integer_value(json_object_get(row, "public"));
  int64_t changed =
      store_run(call->api->store,
                "UPDATE models SET name = ?1, description = ?2, public = ?3, changed = ?4,"
                " max_batch_size = COALESCE(NULLIF(?6, -1), max_batch_size),"
                " max_queue_delay_microseconds ="
                " COALESCE(NULLIF(?7, -1), max_queue_delay_microseconds),"
                " max_queue_size = COALESCE(NULLIF(?8, -1), max_queue_size)"
                " WHERE id = ?5 AND (description = ?2 OR NOT " USED ")",
                "ssiiiiii", name ? name : json_string_value(json_object_get(row, "name")),
                text ? text : json_string_value(json_object_get(row, "description")), is_public,
                api_now(), call->ids[0], api_integer(call, "max_batch_size", same),
                api_integer(call, "max_queue_delay_microseconds", same),
                api_integer(call, "max_queue_size", same));
  json_decref(row);
  webml_free(text);
  if (changed == STORE_EXISTS)
    api_fail(call, 409, "you have a model of this name");
  else if (changed < 0)
    api_fail_store(call);
  else if (changed == 0)
    api_fail(call, 409,
             "the model is static: a session waits or runs, or it has weights; clone it");
  else
    api_reply_empty(call);
}

static void copy(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  json_t *description = json_incref(json_object_get(row, "description"));
  json_decref(row);
  insert(call, api_text(call, "name"), json_string_value(description));
  json_decref(description);
}

/* ---- shaping: in a process, since it reads a data set ---- */

/* As a new model where a name is given, else in place. */
static void shape(api_call *call) {
  char data[4096];
  json_t *row = find(call);
  if (!row) return;
  if (!dataset_find_ready(call, api_integer(call, "dataset", 0), data, sizeof data)) {
    json_decref(row);
    return;
  }
  const char *const words[] = {"shape", TOOL_MODEL, "--data", data, "--json", NULL};
  json_t *result = tool_json(call, json_string_value(json_object_get(row, "description")), words);
  json_decref(row);
  char *text = result ? json_dumps(json_object_get(result, "model"), JSON_COMPACT) : NULL;
  const char *name = result ? api_text(call, "name") : NULL;
  if (text && name)
    insert(call, name, text);
  else if (text) {
    int64_t changed =
        store_run(call->api->store,
                  "UPDATE models SET description = ?, changed = ? WHERE id = ? AND NOT " USED,
                  "sii", text, api_now(), call->ids[0]);
    if (changed < 0)
      api_fail_store(call);
    else if (changed == 0)
      api_fail(call, 409,
               "the model is static: a session waits or runs, or it has weights; give a name for a "
               "new one");
    else
      api_reply(call, 200, json_pack("{s:O}", "chosen", json_object_get(result, "chosen")));
  }
  free(text);
  json_decref(result);
}

static void erase(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  json_decref(row);
  int64_t gone = store_run(call->api->store, "DELETE FROM models WHERE id = ? AND NOT " TRAINS, "i",
                           call->ids[0]);
  if (gone < 0)
    api_fail_store(call);
  else if (gone == 0)
    api_fail(call, 409, "a session of this model waits or runs; cancel it first");
  else {
    jobs_tidy(call->api); /* its weights went with it */
    api_log("model", call, call->user.id, NULL, "deleted");
    api_reply_empty(call);
  }
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
    {"name", API_NAME, false, false, 1, 100, "makes a new model; in place without it", NULL},
    {0}};
static const api_field copy_fields[] = {
    {"name", API_NAME, true, false, 1, 100, "of the copy", NULL}, {0}};

static const api_route routes[] = {
    {"GET", "/api/v1/models", API_USER, "your models (administrators: all)", NULL, list, 0},
    {"POST", "/api/v1/models", API_USER, "make a model from a description", make_fields, make, 0},
    {"GET", "/api/v1/models/{id}", API_USER, "one model with its description", NULL, one, 0},
    {"PATCH", "/api/v1/models/{id}", API_USER, "change name, description or who may predict",
     save_fields, save, 0},
    {"DELETE", "/api/v1/models/{id}", API_USER, "delete a model", NULL, erase, 0},
    {"POST", "/api/v1/models/{id}/clone", API_USER, "a copy under another name", copy_fields, copy,
     0},
    {"POST", "/api/v1/models/{id}/shape", API_USER, "fit open sizes to a data set", shape_fields,
     shape, 0},
    {"GET", "/api/v1/models/{id}/summary", API_USER, "layers, shapes, parameters, memory", NULL,
     summary, 0},
    {0}};

const api_resource api_models = {"models", "Model descriptions.", routes};
