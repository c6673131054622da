/* Limits and options, set by administrators. */
#include "context/settings.h"

#include "api.h"
#include "store/settings.h"

enum { MOST = 32 };

/* The kinds of settings as fields of a body. */
static api_field fields[MOST];

static json_t *value_of(const setting_kind *k, double value) {
  return k->whole ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *all_settings(store *s) {
  json_t *all = json_object();
  for (const setting_kind *k = setting_kinds; k->name; k++)
    json_object_set_new(all, k->name, value_of(k, setting(s, k->name)));
  return all;
}

static void list(api_call *call) {
  api_reply(call, 200, all_settings(call->store));
}

static void save(api_call *call) {
  json_t *before = all_settings(call->store);
  bool ok = settings_set(call->store, call->input);
  if (ok) api_log_change("setting", call, before, call->input);
  json_decref(before);
  if (ok)
    list(call);
  else
    api_fail_store(call);
}

static const api_route routes[] = {
    {"GET", "/api/v1/system/settings", API_USER, "the limits that hold", NULL, list, 0, NULL},
    {"PATCH", "/api/v1/system/settings", API_ADMIN, "set some of them; what is not named stays",
     fields, save, 0, NULL},
    {0}};

const api_resource api_settings = {"settings", "Limits and options, set by administrators.",
                                   routes};

void api_settings_prepare(void) {
  for (int i = 0; setting_kinds[i].name && i < MOST - 1; i++) {
    const setting_kind *k = &setting_kinds[i];
    fields[i] = (api_field){
        k->name, k->whole ? API_INTEGER : API_NUMBER, false, false, k->least, k->most, k->about,
        NULL};
  }
}
