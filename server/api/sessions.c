/* Training sessions: a model, a data set, parameters, a device. */
#include "jobs/jobs.h"

#include <stdio.h>
#include <string.h>

/* What is passed on to `webml train` under its own name; limits are the dissertation's. */
static const api_field fields[] = {
    {"model", API_ID, true, false, 0, 0, "one of your models", NULL},
    {"dataset", API_ID, true, false, 0, 0, "one of your data sets, or a public one", NULL},
    {"device", API_TEXT, false, false, 1, 60, "auto, cpu, cuda:N or a GPU's UUID; auto", NULL},
    {"epochs", API_INTEGER, false, false, 1, 15, "passes over the data; 10", NULL},
    {"batch_size", API_INTEGER, false, false, 1, 1024, "samples per step; 32", NULL},
    {"learning_rate", API_NUMBER, false, false, 1e-8, 10, "the optimizer's own where absent", NULL},
    {"validation_split", API_NUMBER, false, false, 0, 0.9,
     "share held back where the data set has no such part", NULL},
    {"seed", API_INTEGER, false, false, 0, 4294967295.0,
     "of weights, order, dropout and augmentation; 0", NULL},
    {"early_stopping", API_INTEGER, false, false, 1, 1000,
     "end after so many epochs without improvement", NULL},
    {"rotation_range", API_INTEGER, false, false, 0, 45, "degrees; pictures only", NULL},
    {"shear_range", API_NUMBER, false, false, 0, 0.5, "degrees, as Keras: 0.2 is next to nothing",
     NULL},
    {"zoom_range", API_NUMBER, false, false, 0, 0.5, "factors from 1 - zoom to 1 + zoom", NULL},
    {"horizontal_flip", API_BOOLEAN, false, false, 0, 0, "mirror every other picture", NULL},
    {"deterministic", API_BOOLEAN, false, false, 0, 0, "on a GPU: the same bits each time", NULL},
    {0}};

enum { NOT_PASSED = 3, WAITING_PER_USER = 20 };

static json_t *parameters_of(const api_call *call) {
  json_t *parameters = json_object();
  for (const api_field *f = fields + NOT_PASSED; f->name; f++) {
    json_t *v = json_object_get(call->input, f->name);
    if (v) json_object_set(parameters, f->name, v);
  }
  return parameters;
}

/* Whether the row is there and the caller's (or, where that suffices, public). */
static bool may_use(api_call *call, const char *sql, int64_t id, const char *what) {
  bool found;
  json_t *row = store_row(call->api->store, &found, sql, "ii", id, call->user.id);
  bool ok = row != NULL;
  json_decref(row);
  if (!ok && found)
    api_fail_store(call);
  else if (!ok)
    api_fail(call, 404, "there is no %s %lld of yours that is ready", what, (long long)id);
  return ok;
}

static bool has_room(api_call *call) {
  bool found;
  json_t *row = store_row(
      call->api->store, &found,
      "SELECT COUNT(*) AS n FROM sessions WHERE owner = ? AND state IN ('waiting', 'running')", "i",
      call->user.id);
  int64_t n = row ? json_integer_value(json_object_get(row, "n")) : -1;
  json_decref(row);
  if (n < 0)
    api_fail_store(call);
  else if (n >= WAITING_PER_USER)
    api_fail(call, 429, "%lld of your sessions wait or run; that is all that one may have",
             (long long)n);
  else
    return true;
  return false;
}

static void start(api_call *call) {
  int64_t model = api_integer(call, "model", 0), dataset = api_integer(call, "dataset", 0);
  const char *device = api_text(call, "device");
  if (!may_use(call, "SELECT 1 AS one FROM models WHERE id = ? AND owner = ?", model, "model") ||
      !may_use(call,
               "SELECT 1 AS one FROM datasets WHERE id = ? AND (owner = ? OR public) AND state = "
               "'ready'",
               dataset, "data set") ||
      !has_room(call))
    return;
  json_t *parameters = parameters_of(call);
  char *text = json_dumps(parameters, JSON_COMPACT);
  json_decref(parameters);
  int64_t id =
      text ? store_insert(
                 call->api->store,
                 "INSERT INTO sessions (owner, model, dataset, device, parameters, state, created)"
                 " VALUES (?, ?, ?, ?, ?, 'waiting', ?)",
                 "iiissi", call->user.id, model, dataset, device ? device : "auto", text, api_now())
           : STORE_FAILED;
  free(text);
  if (id < 0) {
    api_fail_store(call);
    return;
  }
  jobs_wake(call->api);
  api_reply(call, 201, json_pack("{s:I, s:s}", "id", (json_int_t)id, "state", "waiting"));
}

static const char columns[] = "SELECT s.id AS id, s.owner AS owner, s.model AS model, s.dataset AS "
                              "dataset, s.device AS device, s.parameters AS parameters,"
                              " s.state AS state, s.error AS error, s.created AS created, "
                              "s.started AS started, s.ended AS ended, w.id AS weights"
                              " FROM sessions s LEFT JOIN weights w ON w.session = s.id";

static json_t *present(json_t *row) {
  json_t *parameters = json_loads(json_string_value(json_object_get(row, "parameters")), 0, NULL);
  json_object_set_new(row, "parameters", parameters ? parameters : json_null());
  json_object_set_new(row, "reservation", json_null());
  return row;
}

static void list(api_call *call) {
  char sql[1024];
  snprintf(sql, sizeof sql, "%s WHERE s.owner = ? OR ? ORDER BY s.id DESC LIMIT 500", columns);
  json_t *rows = store_rows(call->api->store, sql, "ii", call->user.id, (int64_t)call->user.admin);
  api_reply_rows(call, "sessions", rows, present);
}

static json_t *find(api_call *call) {
  char sql[1024];
  bool found;
  snprintf(sql, sizeof sql, "%s WHERE s.id = ? AND (s.owner = ? OR ?)", columns);
  json_t *row = store_row(call->api->store, &found, sql, "iii", call->ids[0], call->user.id,
                          (int64_t)call->user.admin);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no session %lld of yours", (long long)call->ids[0]);
  return row;
}

/* The epochs so far, from the job's own lines. */
static json_t *history(const api *a, int64_t id) {
  char path[4096], line[8192];
  json_t *epochs = json_array();
  jobs_path(a, id, "progress", path, sizeof path);
  FILE *f = fopen(path, "re");
  while (f && fgets(line, sizeof line, f)) {
    json_t *event = json_loads(line, 0, NULL);
    const char *kind = json_string_value(json_object_get(event, "event"));
    if (kind && strcmp(kind, "epoch") == 0) {
      json_object_del(event, "event");
      json_array_append(epochs, event);
    }
    json_decref(event);
  }
  if (f) fclose(f);
  return epochs;
}

static void one(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  json_object_set_new(row, "history", history(call->api, call->ids[0]));
  api_reply(call, 200, present(row));
}

static void cancel(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  const char *state = json_string_value(json_object_get(row, "state"));
  bool over = strcmp(state, "waiting") != 0 && strcmp(state, "running") != 0;
  json_decref(row);
  if (over) {
    api_fail(call, 409, "the session is over already");
    return;
  }
  if (store_run(call->api->store, "UPDATE sessions SET cancelled = 1 WHERE id = ?", "i",
                call->ids[0]) < 0) {
    api_fail_store(call);
    return;
  }
  jobs_wake(call->api);
  api_reply(call, 202, json_pack("{s:I}", "id", (json_int_t)call->ids[0]));
}

static const api_route routes[] = {
    {"POST", "/api/v1/sessions", API_USER, "train a model; it waits its turn in a fair queue",
     fields, start, 0},
    {"GET", "/api/v1/sessions", API_USER, "your sessions, the newest first", NULL, list, 0},
    {"GET", "/api/v1/sessions/{id}", API_USER, "one session with its history", NULL, one, 0},
    {"POST", "/api/v1/sessions/{id}/cancel", API_USER, "end it; a running one keeps no weights",
     NULL, cancel, 0},
    {0}};

const api_resource api_sessions = {"sessions", "Trainings, live through /api/v1/events.", routes};
