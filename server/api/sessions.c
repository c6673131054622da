/* Sessions: jobs of the queue that train a model. Those that evaluate weights are begun by
 * evaluations.c, and the rest of their life is here. */
#include "sessions.h"
#include "context/settings.h"
#include "waits.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    {"vertical_flip", API_BOOLEAN, false, false, 0, 0, "turn over every other picture", NULL},
    {"width_shift", API_NUMBER, false, false, 0, 1, "move by up to this share of the width", NULL},
    {"height_shift", API_NUMBER, false, false, 0, 1, "the same, up and down", NULL},
    {"channel_shift", API_NUMBER, false, false, 0, 255, "add as much to all channels, at most",
     NULL},
    {"brightness", API_NUMBER, false, false, 0, 1, "factors from 1 - brightness to 1 + brightness",
     NULL},
    {"weights", API_ID, false, false, 0, 0, "start from these weights of yours, not at random",
     NULL},
    {"freeze", API_TEXT, false, false, 1, 47,
     "layers that keep their weights: names with * and ?, divided by commas", NULL},
    {"new_head", API_BOOLEAN, false, false, 0, 0,
     "with weights: the layers that give the outputs start anew", NULL},
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

/* The parameters that administrators limit. False: answered. */
static bool check_limits(api_call *call) {
  static const char *const names[] = {"epochs",      "batch_size", "rotation_range",
                                      "shear_range", "zoom_range", NULL};
  for (int i = 0; names[i] && !call->user.admin; i++) {
    const json_t *v = json_object_get(call->input, names[i]);
    double most = v ? setting(call->store, names[i]) : 0;
    if (!v || json_number_value(v) <= most) continue;
    api_fail(call, 400, "%s is at most %g on this server, it is %g", names[i], most,
             json_number_value(v));
    return false;
  }
  return true;
}

/* Whether some device could take it, now or later. False: answered, with the reason of each. */
static bool has_device(api_call *call, const device_need *need) {
  device_state list[CHOOSE_MOST_DEVICES];
  char reasons[800] = "", why[160];
  bool ever;
  size_t at = 0;
  int n = monitor_states(call->api->monitor, list);
  device_choose(list, n, need, &ever);
  if (ever) return true;
  for (int i = 0; i < n && at + 200 < sizeof reasons; i++)
    if (device_fits(&list[i], need, why, sizeof why) != NOT_WANTED)
      at += (size_t)snprintf(reasons + at, sizeof reasons - at, "%s%s: %s", at ? "; " : "",
                             list[i].name, why);
  if (at)
    api_fail(call, 422, "no device can take this: %s", reasons);
  else
    api_fail(call, 422, "there is no device \"%s\"; see /api/v1/devices", need->wanted);
  return false;
}

/* Why it could not be added. */
static void refuse_new(api_call *call, int64_t why, const session_new *n) {
  switch (why) {
  case SESSION_NO_MODEL:
    api_fail(call, 404, "there is no model %lld of yours", (long long)n->model);
    break;
  case SESSION_NO_DATASET:
    api_fail(call, 404, "there is no data set %lld of yours that is ready", (long long)n->dataset);
    break;
  case SESSION_TOO_MANY:
    api_fail(call, 429, "%lld of your sessions wait or run; that is all that one may have",
             (long long)n->most_sessions);
    break;
  case SESSION_TOO_MANY_WEIGHTS:
    api_fail(
        call, 429,
        "the model has, or will have, %lld weights; that is all that one may have: delete some",
        (long long)n->most_weights);
    break;
  default: api_fail_store(call);
  }
}

static void reply_with(api_call *call, int status);

/* The path of the weights that the training starts from; "": of none. False: answered. */
static bool find_first_weights(api_call *call, char *path, size_t size) {
  int64_t weights = api_integer(call, "weights", 0);
  bool found;
  path[0] = '\0';
  if (!weights && api_boolean(call, "new_head", false)) {
    api_fail(call, 400, "new_head is for a training that begins with weights");
    return false;
  }
  if (!weights) return true;
  json_t *row = weights_find(call->store, weights, call->user.id, false, &found);
  if (row)
    path_of_job(&call->api->context, store_integer(row, "session"), "weights.safetensors", path,
                size);
  else
    api_fail(call, 404, "there are no weights %lld of yours", (long long)weights);
  json_decref(row);
  return row != NULL;
}

/* They are the session's own from here on, whatever happens to the others; then it may start.
 * False: answered, and the session goes. */
static bool link_first_weights(api_call *call, int64_t session, const char *from) {
  char folder[CONTEXT_PATH], to[CONTEXT_PATH];
  path_of_job(&call->api->context, session, "", folder, sizeof folder);
  path_of_job(&call->api->context, session, JOB_FIRST_WEIGHTS, to, sizeof to);
  bool linked = (mkdir(folder, 0700) == 0 || errno == EEXIST) && link(from, to) == 0;
  int failed = errno;
  if (linked && session_resume(call->store, session) == 1) return true;
  session_wish(call->store, session, "cancel"); /* before the answer, which frees the call */
  jobs_wake(call->api->jobs);
  if (linked)
    api_fail_store(call);
  else if (failed == ENOENT)
    api_fail(call, 409, "the weights to start from were deleted meanwhile");
  else
    api_fail(call, failed == ENOSPC ? 507 : 500, "the weights to start from cannot be kept: %s",
             strerror(failed));
  return false;
}

bool session_is_allowed(api_call *call, session_new *n) {
  if (!call->user.admin) {
    n->most_sessions = (int64_t)setting(call->store, "sessions_per_user");
    if (!n->evaluates) n->most_weights = (int64_t)setting(call->store, "weights_per_model");
  }
  int64_t why = session_check(call->store, n);
  if (why < 0) refuse_new(call, why, n);
  return why >= 0;
}

void session_begin(api_call *call, session_new *n, const training_need *need, json_t *parameters,
                   const char *first) {
  char *text = json_dumps(parameters, JSON_COMPACT);
  json_decref(parameters);
  if (!has_device(call, &need->device)) {
    free(text);
    return;
  }
  n->device = need->device.wanted;
  n->paused = first[0] != '\0';
  n->parameters = text;
  n->need_cpu = need->device.on_cpu;
  n->need_gpu = need->device.on_gpu;
  int64_t id = text ? session_add(call->store, n) : STORE_FAILED;
  free(text);
  if (id < 0) {
    refuse_new(call, id, n);
    return;
  }
  if (n->paused && !link_first_weights(call, id, first)) return;
  jobs_wake(call->api->jobs);
  api_add_header(call, "location", "/api/v1/sessions/%lld", (long long)id);
  call->ids[0] = id;
  reply_with(call, 201);
}

static void start(api_call *call) {
  training_need need;
  char first[CONTEXT_PATH];
  session_new n = {.owner = call->user.id,
                   .model = api_integer(call, "model", 0),
                   .dataset = api_integer(call, "dataset", 0),
                   .created = context_now()};
  /* What is known at once comes first: the need takes a process. */
  if (session_is_allowed(call, &n) && check_limits(call) &&
      find_first_weights(call, first, sizeof first) && need_is_possible(call) &&
      need_compute(call, n.model, n.dataset, &need) && need_is_allowed(call, &need))
    session_begin(call, &n, &need, parameters_of(call), first);
}

static void add_progress(api_call *call, json_t *row) {
  bool runs = strcmp(store_text(row, "state"), "running") == 0; /* its process may end later */
  double share = runs ? jobs_progress(call->api->jobs, store_integer(row, "id")) : NAN;
  json_object_set_new(row, "progress", isnan(share) ? json_null() : json_real(share));
}

json_t *session_rows(api_call *call, json_t *rows) {
  json_t *row;
  size_t i;
  json_array_foreach(rows, i, row) add_progress(call, row);
  return rows;
}

static void list(api_call *call) {
  enum { MOST = 100000 };
  api_reply_page(
      call, "sessions",
      session_rows(call, sessions_list(call->store, call->user.id, call->user.admin, MOST)));
}

static json_t *find(api_call *call) {
  bool found;
  json_t *row = session_find(call->store, call->ids[0], call->user.id, call->user.admin, &found);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no session %lld of yours", (long long)call->ids[0]);
  return row;
}

/* False: answered. */
static bool is_own(api_call *call) {
  json_t *row = find(call);
  json_decref(row);
  return row != NULL;
}

/* Hands over the events of a kind, from the lines that the training has written. */
static void each_event(const context *c, int64_t id, const char *kind,
                       void (*take)(json_t *event, void *arg), void *arg) {
  char path[CONTEXT_PATH], mark[32], *line = NULL;
  size_t room = 0;
  snprintf(mark, sizeof mark, "\"event\":\"%s\"", kind);
  path_of_job(c, id, "progress", path, sizeof path);
  FILE *f = fopen(path, "re");
  while (f && getline(&line, &room, f) > 0) {
    if (!strstr(line, mark)) continue; /* most lines: not worth reading */
    json_t *event = json_loads(line, 0, NULL);
    if (event) take(event, arg);
    json_decref(event);
  }
  free(line);
  if (f) fclose(f);
}

static void add_epoch(json_t *event, void *arg) {
  json_t *epochs = arg;
  size_t n = json_array_size(epochs);
  json_object_del(event, "event");
  /* A training that resumed has computed some of them again: the later ones count. */
  while (n &&
         store_integer(json_array_get(epochs, n - 1), "epoch") >= store_integer(event, "epoch"))
    json_array_remove(epochs, --n);
  json_array_append(epochs, event);
}

/* The epochs so far. */
static json_t *history(const context *c, int64_t id) {
  json_t *epochs = json_array();
  each_event(c, id, "epoch", add_epoch, epochs);
  return epochs;
}

typedef struct detail {
  int64_t epoch; /* 0: the last one */
  json_t *found;
} detail;

static void take_detail(json_t *event, void *arg) {
  detail *d = arg;
  if (d->epoch && store_integer(event, "epoch") != d->epoch) return;
  json_decref(d->found);
  d->found = json_incref(event);
}

/* An epoch's confusion (0: the last one's); NULL: there is none. */
static json_t *find_detail(const context *c, int64_t id, int64_t epoch) {
  detail d = {.epoch = epoch};
  each_event(c, id, "detail", take_detail, &d);
  return d.found;
}

static void show_confusion(api_call *call) {
  if (!is_own(call)) return;
  json_t *confusion = find_detail(&call->api->context, call->ids[0], api_integer(call, "epoch", 0));
  if (confusion)
    api_reply(call, 200, confusion);
  else
    api_fail(call, 404,
             "there is no confusion of this epoch: it has not ended, or nothing is "
             "classified or validated");
}

static void reply_with(api_call *call, int status) {
  json_t *row = find(call);
  if (!row) return;
  json_t *report = session_report(call->store, call->ids[0]);
  add_progress(call, row);
  json_object_set_new(row, "report", report ? report : json_null());
  json_object_set_new(row, "history", history(&call->api->context, call->ids[0]));
  api_reply(call, status, row);
}

static bool is_over(const json_t *session) {
  static const char *const ends[] = {"finished", "failed", "cancelled"};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (strcmp(store_text(session, "state"), ends[i]) == 0) return true;
  return false;
}

static void one(api_call *call) {
  int64_t seconds = call->waited ? 0 : api_integer(call, "wait", 0);
  if (seconds) {
    json_t *row = find(call);
    if (!row) return;
    bool waits = !is_over(row) && api_wait(call, store_text(row, "state"), (double)seconds);
    json_decref(row);
    if (waits) return;
  }
  reply_with(call, 200);
}

static void show_curve(api_call *call) {
  if (!is_own(call)) return;
  const char *from = api_text(call, "from");
  bool by_epoch = !from || strcmp(from, "epoch") == 0;
  json_t *curve =
      curve_json(call->api->curves, call->ids[0], by_epoch, (int)api_integer(call, "points", 500));
  api_reply(call, 200, curve);
}

static const char *const curve_sources[] = {"epoch", "step", NULL};
static const api_field curve_fields[] = {
    {"points", API_INTEGER, false, true, CURVE_LEAST_POINTS, CURVE_MOST_POINTS,
     "at most so many per column; 500", NULL},
    {"from", API_TEXT, false, true, 1, 8,
     "epoch: the ends of epochs, with the validation's figures; step: all that was reported; epoch",
     curve_sources},
    {0}};
static const shape_member curve_shape_members[] = {
    {"columns", SHAPE_JSON, 0,
     "lists of one length by name: steps, epochs, loss, metrics, val_...; null: not measured", NULL,
     NULL},
    {"lines", SHAPE_INTEGER, 0, "points before thinning", NULL, NULL},
    {"best", SHAPE_JSON, SHAPE_NULLABLE, "the figures of the best epoch so far", NULL, NULL},
    {0}};
static const answer_shape curve_shape = {"Curve", curve_shape_members, NULL, NULL};

/* Its weights stay, and then the folder does, where their file is. */
static void erase(api_call *call) {
  if (!is_own(call)) return;
  int64_t id = call->ids[0], gone = session_delete(call->store, id);
  if (gone < 0) {
    api_fail_store(call);
    return;
  }
  if (gone == 0) {
    api_fail(call, 409, "the session waits or runs: cancel it first");
    return;
  }
  if (!session_is_needed(call->store, id)) jobs_remove(call->api->jobs, id);
  store_fill_ballast(call->store);
  api_log("session", call, call->user.id, NULL, "deleted");
  api_reply_empty(call);
}

static const api_field one_fields[] = {
    {"wait", API_INTEGER, false, true, 0, 120,
     "answer when its state is another than now, or after so many seconds; at once when it is over",
     NULL},
    {0}};

static const api_field confusion_fields[] = {
    {"epoch", API_INTEGER, false, true, 1, 1e9, "which; the last one", NULL}, {0}};
static const shape_member mistake_members[] = {
    {"sample", SHAPE_INTEGER, 0, "its number in the data set", NULL, NULL},
    {"class", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"said", SHAPE_TEXT, 0, "the class that it was taken for", NULL, NULL},
    {"probability", SHAPE_NUMBER, 0, NULL, NULL, NULL},
    {0}};
static const answer_shape mistake_shape = {"Mistake", mistake_members, NULL, NULL};
static const shape_member confusion_members[] = {
    {"epoch", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"classes", SHAPE_TEXTS, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"confusion", SHAPE_JSON, SHAPE_OPTIONAL, "samples by class, and by what was said; up to 128",
     NULL, NULL},
    {"mistakes", SHAPE_LIST, 0, "the surest first", &mistake_shape, NULL},
    {0}};
static const answer_shape confusion_shape = {"Confusion", confusion_members, NULL, NULL};

/* ---- steering ---- */

/* Answers with the session as it is now; refusal: where nothing has changed. */
static void answer_wish(api_call *call, int64_t changed, const char *refusal) {
  if (changed < 0)
    api_fail_store(call);
  else if (changed == 0)
    api_fail(call, 409, "%s", refusal);
  else {
    jobs_wake(call->api->jobs);
    reply_with(call, 202);
  }
}

static void cancel(api_call *call) {
  if (is_own(call))
    answer_wish(call, session_wish(call->store, call->ids[0], "cancel"),
                "the session is over already");
}

static void stop(api_call *call) {
  if (is_own(call))
    answer_wish(call, session_wish(call->store, call->ids[0], "stop"),
                "the session does not run, or is an evaluation");
}

static void pause_session(api_call *call) {
  if (is_own(call))
    answer_wish(call, session_wish(call->store, call->ids[0], "pause"),
                "the session does not run, or is an evaluation");
}

static void resume(api_call *call) {
  if (is_own(call))
    answer_wish(call, session_resume(call->store, call->ids[0]), "the session is not paused");
}

/* ---- answers ---- */

const char *const api_session_states[] = {"waiting", "running",   "paused", "finished",
                                          "failed",  "cancelled", NULL};
static const char *const session_kinds[] = {"training", "evaluation", NULL};
static const shape_member session_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner_name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"kind", SHAPE_TEXT, 0, NULL, NULL, session_kinds},
    {"evaluates", SHAPE_INTEGER, SHAPE_NULLABLE, "the weights, which may be gone", NULL, NULL},
    {"model", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"model_name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"dataset", SHAPE_INTEGER, SHAPE_NULLABLE, "null: it was deleted", NULL, NULL},
    {"dataset_name", SHAPE_TEXT, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"device", SHAPE_TEXT, 0, "as it was requested", NULL, NULL},
    {"placed", SHAPE_TEXT, SHAPE_NULLABLE, "where it runs or ran: cpu or the UUID of a GPU", NULL,
     NULL},
    {"waits_for", SHAPE_TEXT, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"need_cpu", SHAPE_BYTES, SHAPE_NULLABLE, "memory that it needs on the CPU", NULL, NULL},
    {"need_gpu", SHAPE_BYTES, SHAPE_NULLABLE, "memory that it needs on a GPU", NULL, NULL},
    {"parameters", SHAPE_JSON, 0, NULL, NULL, NULL},
    {"state", SHAPE_TEXT, 0, NULL, NULL, api_session_states},
    {"progress", SHAPE_NUMBER, SHAPE_NULLABLE, "the share of its work that is done, while it runs",
     NULL, NULL},
    {"error", SHAPE_TEXT, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"started", SHAPE_TIME, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"ended", SHAPE_TIME, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"weights", SHAPE_INTEGER, SHAPE_NULLABLE, "the weights that it produced", NULL, NULL},
    {"reservation", SHAPE_JSON, SHAPE_NULLABLE, NULL, NULL, NULL},
    {0}};
const answer_shape api_session_shape = {"Session", session_shape_members, NULL, NULL};
static const shape_member sessions_shape_members[] = {
    {"sessions", SHAPE_LIST, 0, NULL, &api_session_shape, NULL},
    {"next", SHAPE_INTEGER, SHAPE_NULLABLE, "cursor of the next page", NULL, NULL},
    {0}};
const answer_shape api_sessions_shape = {"Sessions", sessions_shape_members, NULL, NULL};
static const shape_member whole_shape_members[] = {
    {"history", SHAPE_JSON, 0, "one object for each epoch, with its figures", NULL, NULL},
    {"report", SHAPE_JSON, SHAPE_NULLABLE, "what an evaluation has found", NULL, NULL},
    {0}};
const answer_shape api_whole_session_shape = {"SessionWhole", whole_shape_members, NULL,
                                              &api_session_shape};

static const api_route routes[] = {
    {.id = "startSession",
     .method = "POST",
     .path = "/api/v1/sessions",
     .right = API_USER,
     .about = "train a model; it waits its turn in a fair queue",
     .fields = fields,
     .run = start,
     .how = API_TOOL | API_IDEMPOTENT,
     .answer = &api_whole_session_shape},
    {.id = "listSessions",
     .method = "GET",
     .path = "/api/v1/sessions",
     .right = API_USER,
     .about = "your sessions, the newest first",
     .fields = api_page_fields,
     .run = list,
     .answer = &api_sessions_shape},
    {.id = "getSession",
     .method = "GET",
     .path = "/api/v1/sessions/{id}",
     .right = API_USER,
     .about = "one session with its history",
     .fields = one_fields,
     .run = one,
     .answer = &api_whole_session_shape},
    {.id = "getConfusion",
     .method = "GET",
     .path = "/api/v1/sessions/{id}/confusion",
     .right = API_USER,
     .about = "confusion matrix and surest mistakes of an epoch, on the validation part",
     .fields = confusion_fields,
     .run = show_confusion,
     .answer = &confusion_shape},
    {.id = "getCurve",
     .method = "GET",
     .path = "/api/v1/sessions/{id}/curve",
     .right = API_USER,
     .about = "its learning curve, thinned so that peaks stay",
     .fields = curve_fields,
     .run = show_curve,
     .answer = &curve_shape},
    {.id = "deleteSession",
     .method = "DELETE",
     .path = "/api/v1/sessions/{id}",
     .right = API_USER,
     .about = "delete one that is over; its weights stay",
     .run = erase,
     .how = API_ESSENTIAL},
    {.id = "stopSession",
     .method = "POST",
     .path = "/api/v1/sessions/{id}/stop",
     .right = API_USER,
     .about = "end a running one now; the weights of its best epoch are kept",
     .run = stop,
     .answer = &api_whole_session_shape},
    {.id = "pauseSession",
     .method = "POST",
     .path = "/api/v1/sessions/{id}/pause",
     .right = API_USER,
     .about = "a running one gives its device back, and keeps a checkpoint",
     .run = pause_session,
     .answer = &api_whole_session_shape},
    {.id = "resumeSession",
     .method = "POST",
     .path = "/api/v1/sessions/{id}/resume",
     .right = API_USER,
     .about = "a paused one waits for its device, and goes on to the same bits",
     .run = resume,
     .answer = &api_whole_session_shape},
    {.id = "cancelSession",
     .method = "POST",
     .path = "/api/v1/sessions/{id}/cancel",
     .right = API_USER,
     .about = "end it; a running one keeps no weights",
     .run = cancel,
     .how = API_ESSENTIAL,
     .answer = &api_whole_session_shape},
    {0}};

const api_resource api_sessions = {
    "sessions", "Trainings and evaluations, live through /api/v1/events.", routes};
