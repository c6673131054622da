/* Limits and options, set by administrators. */
#include "context/settings.h"

#include "api.h"
#include "store/settings.h"

enum { MOST = 32 };

/* The kinds of settings as fields of a body. */
static api_field fields[MOST];
static shape_member setting_members[MOST];

static json_t *value_of(const setting_kind *k, double value) {
  return k->whole ? json_integer((json_int_t)value) : json_real(value);
}

json_t *api_all_settings(store *s) {
  json_t *all = json_object();
  for (const setting_kind *k = setting_kinds; k->name; k++)
    json_object_set_new(all, k->name, value_of(k, setting(s, k->name)));
  return all;
}

static void list(api_call *call) {
  /* First: a change while the values are read makes the tag an old one. Another start may have
   * other defaults. */
  api_add_header(call, "etag", "\"%lld.%lld\"", (long long)settings_version(call->store, NULL),
                 (long long)call->api->started);
  api_reply(call, 200, api_all_settings(call->store));
}

static void save(api_call *call) {
  int64_t version = settings_version(call->store, NULL);
  if (!api_is_version(call, version)) {
    api_fail_version(call);
    return;
  }
  if (!http_header(call->request, "if-match")) version = 0;
  json_t *before = api_all_settings(call->store);
  int64_t done = settings_set(call->store, call->input, version);
  if (done > 0) api_log_change("setting", call, before, call->input);
  json_decref(before);
  if (done > 0)
    list(call);
  else if (done == 0)
    api_fail_version(call);
  else
    api_fail_store(call);
}

/* ---- answers ---- */

const answer_shape api_settings_shape = {"Settings", setting_members, NULL, NULL};

static const api_route routes[] = {{.id = "getSettings",
                                    .method = "GET",
                                    .path = "/api/v1/system/settings",
                                    .right = API_USER,
                                    .about = "the limits that hold",
                                    .run = list,
                                    .answer = &api_settings_shape},
                                   {.id = "changeSettings",
                                    .method = "PATCH",
                                    .path = "/api/v1/system/settings",
                                    .right = API_ADMIN,
                                    .about = "set some of them; what is not named stays",
                                    .fields = fields,
                                    .run = save,
                                    .answer = &api_settings_shape},
                                   {0}};

const api_resource api_settings = {"settings", "Limits and options, set by administrators.",
                                   routes};

void api_settings_prepare(void) {
  for (int i = 0; setting_kinds[i].name && i < MOST - 1; i++) {
    const setting_kind *k = &setting_kinds[i];
    fields[i] = (api_field){
        k->name, k->whole ? API_INTEGER : API_NUMBER, false, false, k->least, k->most, k->about,
        NULL};
    setting_members[i] = (shape_member){
        .name = k->name, .type = k->whole ? SHAPE_INTEGER : SHAPE_NUMBER, .about = k->about};
  }
}
