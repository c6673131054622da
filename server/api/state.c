/* Everything that the first view of a page needs, in one answer. */
#include "api.h"
#include "context/events.h"
#include "sessions.h"
#include "store/datasets.h"

enum { MOST_SESSIONS = 100 };

static json_t *or_empty(json_t *rows) {
  return rows ? rows : json_array();
}

static void state(api_call *call) {
  const api_user *u = &call->user;
  store *s = call->store;
  /* First: what happens while the rest is read is told by an event after it. */
  int64_t event = events_last(call->api->context.events);
  json_t *answer = json_pack(
      "{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "event", (json_int_t)event, "me", api_me(u),
      "settings", api_all_settings(s), "models", or_empty(api_rows_of_models(call)), "datasets",
      or_empty(datasets_list(s, u->id, u->admin)), "sessions",
      or_empty(session_rows(call, sessions_list(s, u->id, u->admin, MOST_SESSIONS))), "weights",
      or_empty(weights_list(s, u->id, u->admin)), "uploads", or_empty(api_rows_of_uploads(call)),
      "devices", monitor_json(call->api->monitor));
  api_reply(call, 200, answer);
}

static const shape_member members[] = {
    {"event", SHAPE_INTEGER, 0, "go on with GET /api/v1/events?after= this", NULL, NULL},
    {"me", SHAPE_OBJECT, 0, NULL, &api_me_shape, NULL},
    {"settings", SHAPE_OBJECT, 0, NULL, &api_settings_shape, NULL},
    {"models", SHAPE_LIST, 0, NULL, &api_model_shape, NULL},
    {"datasets", SHAPE_LIST, 0, NULL, &api_dataset_shape, NULL},
    {"sessions", SHAPE_LIST, 0, "the newest hundred", &api_session_shape, NULL},
    {"weights", SHAPE_LIST, 0, NULL, &api_weights_shape, NULL},
    {"uploads", SHAPE_LIST, 0, NULL, &api_upload_shape, NULL},
    {"devices", SHAPE_OBJECT, 0, NULL, &api_devices_shape, NULL},
    {0}};
static const answer_shape state_shape = {"State", members, NULL, NULL};

static const api_route routes[] = {
    {.id = "getState",
     .method = "GET",
     .path = "/api/v1/state",
     .right = API_USER,
     .about = "everything that a first view needs, and the event to go on from",
     .run = state,
     .answer = &state_shape},
    {0}};

const api_resource api_state = {"state", "What there is, in one answer.", routes};
