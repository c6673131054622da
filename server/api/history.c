/* What devices did, and for whom. Whose trainings ran is for administrators; others see themselves,
 * and everybody else together. */
#include "api.h"
#include "store/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "cpu", or the UUID of a GPU that there is; false: answered. */
static bool find_device(api_call *call, char *id, size_t size) {
  device_state *list = calloc(CHOOSE_MOST_DEVICES, sizeof *list);
  int n = list ? monitor_states(call->api->monitor, list) : 0, i = 0;
  while (i < n && strcmp(list[i].name, call->name) != 0 && strcmp(list[i].uuid, call->name) != 0)
    i++;
  bool found = i < n;
  if (found) snprintf(id, size, "%s", list[i].gpu ? list[i].uuid : "cpu");
  free(list);
  if (!found) api_fail(call, 404, "there is no device \"%s\"", call->name);
  return found;
}

/* ---- people ---- */

static void add_up(json_t *to, const json_t *from) {
  json_t *value;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)from, i, value) {
    double sum = json_number_value(json_array_get(to, i)) + json_number_value(value);
    json_array_set_new(to, i, json_real(sum));
  }
}

/* Those that the caller may not know by name, as one: who ran beside somebody counts twice. */
static json_t *hide_others(const api_call *call, json_t *people) {
  json_t *shown = json_array(), *others = NULL, *one;
  size_t i;
  json_array_foreach(people, i, one) {
    if (call->user.admin || store_integer(one, "user") == call->user.id)
      json_array_append(shown, one);
    else if (!others)
      others = one;
    else {
      add_up(json_object_get(others, "seconds"), json_object_get(one, "seconds"));
      add_up(json_object_get(others, "memory"), json_object_get(one, "memory"));
    }
  }
  if (others) {
    json_object_set_new(others, "user", json_null());
    json_array_append(shown, others);
  }
  json_decref(people);
  return shown;
}

/* Accounts that are gone have no name. */
static void add_names(api_call *call, json_t *people) {
  json_t *one;
  size_t i;
  json_array_foreach(people, i, one) {
    bool found;
    json_t *row = user_find(call->store, store_integer(one, "user"), &found);
    const char *name = store_text(row, "name");
    json_object_set_new(one, "name", name ? json_string(name) : json_null());
    json_decref(row);
  }
}

/* ---- the call ---- */

static const char *const spans[] = {"10m", "7d", "2y", NULL};
static const int64_t span_seconds[] = {HISTORY_SECONDS, HISTORY_MINUTES, HISTORY_QUARTERS};

/* What the query asks for. False: answered. */
static bool read_range(api_call *call, int64_t now, int64_t *from, int64_t *to) {
  const char *span = api_text(call, "span");
  int i = 0;
  while (span && strcmp(spans[i], span) != 0) i++;
  *to = api_integer(call, "to", now);
  *from = api_integer(call, "from", *to - span_seconds[i]);
  if (span && (json_object_get(call->input, "from") || json_object_get(call->input, "to")))
    api_fail(call, 400, "give a span, or from and to");
  else if (*from < 0 || *to > now + 86400 || *from >= *to)
    api_fail(call, 400, "from must be before to, and neither in the future");
  else if (*from < now - HISTORY_QUARTERS - 86400)
    api_fail(call, 400, "nothing is kept for longer than two years");
  else
    return true;
  return false;
}

static void show(api_call *call) {
  char id[96];
  int64_t now = context_now(), from, to;
  if (!find_device(call, id, sizeof id) || !read_range(call, now, &from, &to)) return;
  int64_t step = history_step(now, from, to, api_integer(call, "step", 1));
  json_t *json = history_json(call->api->history, id, from, to, step);
  if (!json) {
    api_fail_store(call);
    return;
  }
  json_t *people = hide_others(call, json_incref(json_object_get(json, "people")));
  add_names(call, people);
  json_object_set_new(json, "people", people);
  json_object_set_new(json, "device", json_string(id));
  json_object_set_new(json, "step", json_integer(step));
  api_reply(call, 200, json);
}

static const api_field fields[] = {
    {"span", API_TEXT, false, true, 2, 3, "the last ten minutes, seven days or two years; 10m",
     spans},
    {"from", API_ID, false, true, 0, 0, "Unix seconds; ten minutes before to", NULL},
    {"to", API_ID, false, true, 0, 0, "Unix seconds; now", NULL},
    {"step", API_INTEGER, false, true, 1, 604800,
     "at least so many seconds per sample; more where older samples are coarser, or there would be "
     "more than 1,000 of them",
     NULL},
    {0}};

static const shape_member person_members[] = {
    {"user", SHAPE_INTEGER, SHAPE_NULLABLE, "null: everybody else", NULL, NULL},
    {"name", SHAPE_TEXT, SHAPE_NULLABLE, "null: everybody else, or the account is gone", NULL,
     NULL},
    {"seconds", SHAPE_NUMBERS, 0, "in which trainings of theirs ran on the device", NULL, NULL},
    {"memory", SHAPE_NUMBERS, 0, "bytes that those held then, on average", NULL, NULL},
    {0}};
static const answer_shape person_shape = {"DevicePerson", person_members, NULL, NULL};
static const shape_member history_members[] = {
    {"device", SHAPE_TEXT, 0, "cpu or the UUID of a GPU", NULL, NULL},
    {"step", SHAPE_INTEGER, 0, "seconds from one sample to the next", NULL, NULL},
    {"times", SHAPE_NUMBERS, 0, "Unix seconds; the lists below have as many values", NULL, NULL},
    {"utilisation", SHAPE_JSON, 0, "mean, percent; null: not seen or not measured", NULL, NULL},
    {"utilisation_max", SHAPE_JSON, 0, "the greatest of a second", NULL, NULL},
    {"memory", SHAPE_JSON, 0, "used, bytes", NULL, NULL},
    {"memory_max", SHAPE_JSON, 0, NULL, NULL, NULL},
    {"power", SHAPE_JSON, 0, "watts", NULL, NULL},
    {"power_max", SHAPE_JSON, 0, NULL, NULL, NULL},
    {"temperature", SHAPE_JSON, 0, "degrees Celsius", NULL, NULL},
    {"temperature_max", SHAPE_JSON, 0, NULL, NULL, NULL},
    {"people", SHAPE_LIST, 0, NULL, &person_shape, NULL},
    {0}};
static const answer_shape history_shape = {"DeviceHistory", history_members, NULL, NULL};

static const api_route routes[] = {{.id = "getDeviceHistory",
                                    .method = "GET",
                                    .path = "/api/v1/devices/{name}/history",
                                    .right = API_ACCOUNT,
                                    .about = "what it did, and whose trainings ran on it",
                                    .fields = fields,
                                    .run = show,
                                    .answer = &history_shape},
                                   {0}};

const api_resource api_history = {"history", "What devices did.", routes};
