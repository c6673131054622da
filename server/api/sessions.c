/* Training sessions: a model, a data set, parameters, a device. */
#include "devices/monitor.h"
#include "jobs/jobs.h"
#include "need.h"
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is passed on to `webml train` under its own name. These are the library's limits; those of
 * users are settings. */
static const api_field fields[] = {
    {"model", API_ID, true, false, 0, 0, "one of your models", NULL},
    {"dataset", API_ID, true, false, 0, 0, "one of your data sets, or a public one", NULL},
    {"device", API_TEXT, false, false, 1, 95, "auto, cpu, cuda, cuda:N or a GPU's UUID; auto",
     NULL},
    {"epochs", API_INTEGER, false, false, 1, 100000, "passes over the data; 10", NULL},
    {"batch_size", API_INTEGER, false, false, 1, 65536, "samples per step; 32", NULL},
    {"learning_rate", API_NUMBER, false, false, 1e-8, 10, "the optimizer's own where absent", NULL},
    {"validation_split", API_NUMBER, false, false, 0, 0.9,
     "share held back where the data set has no such part", NULL},
    {"seed", API_INTEGER, false, false, 0, 4294967295.0,
     "of weights, order, dropout and augmentation; 0", NULL},
    {"early_stopping", API_INTEGER, false, false, 1, 1000,
     "end after so many epochs without improvement", NULL},
    {"rotation_range", API_INTEGER, false, false, 0, 180, "degrees; pictures only", NULL},
    {"shear_range", API_NUMBER, false, false, 0, 90, "degrees, as Keras: 0.2 is next to nothing",
     NULL},
    {"zoom_range", API_NUMBER, false, false, 0, 0.99, "factors from 1 - zoom to 1 + zoom", NULL},
    {"horizontal_flip", API_BOOLEAN, false, false, 0, 0, "mirror every other picture", NULL},
    {"precision", API_TEXT, false, false, 1, 20,
     "mixed_bfloat16: GPUs from compute capability 8.0 on, CPUs with AVX512_BF16 or AMX; float32",
     need_precisions},
    {"deterministic", API_BOOLEAN, false, false, 0, 0, "on a GPU: the same bits each time", NULL},
    {0}};

enum { NOT_PASSED = 3 };

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

/* The parameters that administrators limit. False: answered. */
static bool check_limits(api_call *call) {
  static const char *const names[] = {"epochs",      "batch_size", "rotation_range",
                                      "shear_range", "zoom_range", NULL};
  for (int i = 0; names[i] && !call->user.admin; i++) {
    const json_t *v = json_object_get(call->input, names[i]);
    double most = v ? setting(call->api, names[i]) : 0;
    if (!v || json_number_value(v) <= most) continue;
    api_fail(call, 400, "%s is at most %g on this server, it is %g", names[i], most,
             json_number_value(v));
    return false;
  }
  return true;
}

/* False: answered. */
static bool has_room(api_call *call, int64_t model) {
  bool found;
  json_t *row =
      store_row(call->api->store, &found,
                "SELECT (SELECT COUNT(*) FROM sessions WHERE owner = ?1 AND state IN "
                "('waiting', 'running')) AS sessions,"
                " (SELECT COUNT(*) FROM weights WHERE model = ?2) + (SELECT COUNT(*) FROM"
                " sessions WHERE model = ?2 AND state IN ('waiting', 'running')) AS weights",
                "ii", call->user.id, model);
  int64_t sessions = json_integer_value(json_object_get(row, "sessions")),
          weights = json_integer_value(json_object_get(row, "weights"));
  bool known = row != NULL;
  json_decref(row);
  if (!known)
    api_fail_store(call);
  else if (!call->user.admin && (double)sessions >= setting(call->api, "sessions_per_user"))
    api_fail(call, 429, "%lld of your sessions wait or run; that is all that one may have",
             (long long)sessions);
  else if (!call->user.admin && (double)weights >= setting(call->api, "weights_per_model"))
    api_fail(
        call, 429,
        "the model has, or will have, %lld weights; that is all that one may have: delete some",
        (long long)weights);
  else
    return true;
  return false;
}

/* Whether some device could take it, now or later. False: answered, with the reason of each. */
static bool has_device(api_call *call, const device_need *need) {
  device_state list[CHOOSE_MOST_DEVICES];
  char reasons[800] = "", why[160];
  bool ever;
  size_t at = 0;
  int n = monitor_states(call->api, list);
  device_choose(list, n, need, &ever);
  if (ever) return true;
  for (int i = 0; i < n && at + 200 < sizeof reasons; i++)
    if (device_fits(&list[i], need, why, sizeof why) != NOT_WANTED)
      at += (size_t)snprintf(reasons + at, sizeof reasons - at, "%s%s: %s", at ? "; " : "",
                             list[i].name, why);
  if (at)
    api_fail(call, 422, "no device can take this training: %s", reasons);
  else
    api_fail(call, 422, "there is no device \"%s\"; see /api/v1/devices", need->wanted);
  return false;
}

static void start(api_call *call) {
  int64_t model = api_integer(call, "model", 0), dataset = api_integer(call, "dataset", 0);
  training_need need;
  if (!may_use(call, "SELECT 1 AS one FROM models WHERE id = ? AND owner = ?", model, "model") ||
      !may_use(call,
               "SELECT 1 AS one FROM datasets WHERE id = ? AND (owner = ? OR public) AND state = "
               "'ready'",
               dataset, "data set") ||
      !check_limits(call) || !has_room(call, model) || !need_is_possible(call) ||
      !need_compute(call, model, dataset, &need) || !need_is_allowed(call, &need) ||
      !has_device(call, &need.device))
    return;
  json_t *parameters = parameters_of(call);
  char *text = json_dumps(parameters, JSON_COMPACT);
  json_decref(parameters);
  int64_t id = text
                   ? store_insert(call->api->store,
                                  "INSERT INTO sessions (owner, model, dataset, device, parameters,"
                                  " state, created, need_cpu, need_gpu)"
                                  " VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?, ?)",
                                  "iiissiii", call->user.id, model, dataset, need.device.wanted,
                                  text, api_now(), need.device.on_cpu, need.device.on_gpu)
                   : STORE_FAILED;
  free(text);
  if (id < 0) {
    api_fail_store(call);
    return;
  }
  jobs_wake(call->api);
  api_reply(call, 201, json_pack("{s:I, s:s}", "id", (json_int_t)id, "state", "waiting"));
}

static const char columns[] =
    "SELECT s.id AS id, s.owner AS owner, s.model AS model, s.dataset AS "
    "dataset, s.device AS device, s.placed AS placed, s.waits_for AS waits_for,"
    " s.need_cpu AS need_cpu, s.need_gpu AS need_gpu,"
    " s.parameters AS parameters,"
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
