#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The dissertation's limits where it names them. Administrators themselves are not bound by those
 * of users. */
static const api_field fields[] = {
    {"sessions_per_user", API_INTEGER, false, false, 1, 10000,
     "trainings of one user that wait or run", NULL},
    {"epochs", API_INTEGER, false, false, 1, 100000, "most epochs of a training", NULL},
    {"batch_size", API_INTEGER, false, false, 1, 65536, "largest batch of a training", NULL},
    {"rotation_range", API_INTEGER, false, false, 0, 180, "most degrees of rotation", NULL},
    {"shear_range", API_NUMBER, false, false, 0, 90, "most degrees of shear", NULL},
    {"zoom_range", API_NUMBER, false, false, 0, 0.99, "most zoom", NULL},
    {"weights_per_model", API_INTEGER, false, false, 1, 100000, "weights that a model may have",
     NULL},
    {"weights_bytes", API_INTEGER, false, false, 1024, 1e15, "size of the weights of a model",
     NULL},
    {"layers", API_INTEGER, false, false, 1, 100000, "layers of a model", NULL},
    {"parameters", API_INTEGER, false, false, 1, 1e12, "parameters of a model", NULL},
    {"storage_bytes", API_INTEGER, false, false, 0, 1e18,
     "data sets and uploads of a user, together", NULL},
    {"sessions_per_device", API_INTEGER, false, false, 1, 64, "trainings at a time on one device",
     NULL},
    {"self_registration", API_INTEGER, false, false, 0, 1,
     "1: people may register without a key, and an administrator lets them in", NULL},
    {0}};

/* In the order of the fields. */
static double defaults[] = {20, 15, 1024, 45, 0.5, 0.5, 20, 1 << 30, 100, 1e8, 20e9, 1, 0};

static int find(const char *name) {
  for (int i = 0; fields[i].name; i++)
    if (strcmp(fields[i].name, name) == 0) return i;
  return -1;
}

void setting_default(const char *name, double value) {
  defaults[find(name)] = value;
}

double setting(api *a, const char *name) {
  bool found;
  double value = defaults[find(name)];
  json_t *row = store_row(a->store, &found, "SELECT value FROM settings WHERE name = ?", "s", name);
  if (row) value = strtod(json_string_value(json_object_get(row, "value")), NULL);
  json_decref(row);
  return value;
}

static json_t *value_of(const api_field *f, double value) {
  return f->type == API_INTEGER ? json_integer((json_int_t)value) : json_real(value);
}

static void list(api_call *call) {
  json_t *all = json_object();
  for (int i = 0; fields[i].name; i++)
    json_object_set_new(all, fields[i].name,
                        value_of(&fields[i], setting(call->api, fields[i].name)));
  api_reply(call, 200, all);
}

static void save(api_call *call) {
  const char *name;
  json_t *value;
  store *s = call->api->store;
  bool ok = store_begin(s);
  if (!ok) {
    api_fail_store(call);
    return;
  }
  json_object_foreach(call->input, name, value) {
    char text[32];
    snprintf(text, sizeof text, "%.17g", json_number_value(value));
    ok = ok && store_run(s,
                         "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO "
                         "UPDATE SET value = ?2",
                         "ss", name, text) >= 0;
    if (ok) api_log("setting", call, call->user.id, name, text);
  }
  if (!ok) {
    store_rollback(s);
    api_fail_store(call);
  } else if (!store_commit(s))
    api_fail_store(call);
  else
    list(call);
}

static const api_route routes[] = {
    {"GET", "/api/v1/system/settings", API_USER, "the limits that hold", NULL, list, 0},
    {"PATCH", "/api/v1/system/settings", API_ADMIN, "set some of them", fields, save, 0},
    {0}};

const api_resource api_settings = {"settings", "Limits and options, set by administrators.",
                                   routes};
