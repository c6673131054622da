/* Accounts, for administrators. */
#include "store/users.h"
#include "api.h"
#include "cascade.h"
#include "store/sessions.h"

#include <string.h>

static const char *const roles[] = {"admin", "user", "node", NULL};
static const char *const shown_roles[] = {"admin", "user", "node", "service", NULL};

static void list(api_call *call) {
  api_reply_page(call, "users", users_list(call->store));
}

/* The account of the path; NULL: answered. */
static json_t *find(api_call *call) {
  bool found;
  json_t *row = user_find(call->store, call->ids[0], &found);
  if (row) return row;
  if (found)
    api_fail_store(call);
  else
    api_fail(call, 404, "there is no user %lld", (long long)call->ids[0]);
  return NULL;
}

static void one(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  api_add_version(call, row);
  api_reply(call, 200, row);
}

/* Without a password: administrators make tokens for a service account, and a reset key for a
 * person. */
static void make(api_call *call) {
  const char *name = api_text(call, "name"), *role = api_text(call, "role");
  bool service = strcmp(role, "service") == 0;
  int64_t id = user_add(call->store, name, service ? "user" : role, service, context_now());
  if (id == STORE_EXISTS) {
    api_fail(call, 409, "there is an account of this name, or of one that looks like it");
    return;
  }
  if (id < 0) {
    api_fail_store(call);
    return;
  }
  api_log("user", call, call->user.id, name, "made");
  api_add_header(call, "location", "/api/v1/users/%lld", (long long)id);
  call->ids[0] = id;
  json_t *row = find(call);
  if (!row) return;
  api_add_version(call, row);
  api_reply(call, 201, row);
}

/* A service account stays one: it has no password to become a person's. False: answered. */
static bool check_role_change(api_call *call, const json_t *row) {
  if (!api_text(call, "role") || strcmp(store_text(row, "role"), "service") != 0) return true;
  api_fail(call, 409, "a service account keeps its role");
  return false;
}

static void fail_change(api_call *call, int64_t result) {
  if (result == USERS_NO_ADMIN)
    api_fail(call, 409, "this is the last administrator");
  else if (result == 0)
    api_fail(call, 412, "the account has changed, or is gone, since it was read; read it again");
  else
    api_fail_store(call);
}

static void save(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  if (json_object_size(call->input) == 0) {
    json_decref(row);
    api_fail(call, 400, "nothing to change: name role, enabled or both");
    return;
  }
  if (!check_role_change(call, row) || !api_check_version(call, row)) {
    json_decref(row);
    return;
  }
  int64_t changed =
      user_change(call->store, call->ids[0], store_integer(row, "version"), call->input);
  if (changed <= 0) {
    json_decref(row);
    fail_change(call, changed);
    return;
  }
  api_log_change("user", call, row, call->input);
  json_decref(row);
  if (!api_boolean(call, "enabled", true)) {
    sessions_cancel_of(call->store, call->ids[0]);
    jobs_wake(call->api->jobs);
  }
  one(call);
}

static void erase(api_call *call) {
  json_t *row = find(call);
  if (!row) return;
  int64_t gone = user_delete(call->store, call->ids[0]);
  if (gone <= 0) {
    json_decref(row);
    fail_change(call, gone);
    return;
  }
  api_log("user", call, call->user.id, store_text(row, "name"), "deleted");
  json_decref(row);
  cascade(call->api);
  api_reply_empty(call);
}

/* ---- one-time keys ---- */

/* The key is shown once; the store has its hash. */
static void make_key(api_call *call) {
  char key[SECRET_TEXT], hash[SECRET_HASH];
  const char *role = api_text(call, "role") ? api_text(call, "role") : "user";
  int64_t expires = context_now() + api_integer(call, "hours", 72) * 3600;
  secret_make(key);
  secret_hash(key, hash);
  int64_t id = key_add(call->store, hash, role, call->user.id, context_now(), expires);
  if (id < 0) {
    api_fail_store(call);
    return;
  }
  api_log("key", call, call->user.id, role, "made");
  api_reply(call, 201,
            json_pack("{s:I, s:s, s:s, s:I}", "id", (json_int_t)id, "key", key, "role", role,
                      "expires", (json_int_t)expires));
}

static void list_keys(api_call *call) {
  api_reply_rows(call, "keys", keys_list(call->store, context_now()), NULL);
}

static void revoke_key(api_call *call) {
  int64_t gone = key_delete(call->store, call->ids[0]);
  if (gone < 0)
    api_fail_store(call);
  else if (gone == 0)
    api_fail(call, 404, "there is no key %lld that can still be used", (long long)call->ids[0]);
  else {
    api_log("key", call, call->user.id, NULL, "revoked");
    api_reply_empty(call);
  }
}

static const api_field make_fields[] = {
    {"name", API_NAME, true, false, 3, 63, "the account's name", NULL},
    {"role", API_TEXT, true, false, 1, 16,
     "service: a program's, which owns what it makes as a user does and calls with tokens",
     shown_roles},
    {0}};
static const api_field save_fields[] = {
    {"role", API_TEXT, false, false, 1, 16, "admin, user or node", roles},
    {"enabled", API_BOOLEAN, false, false, 0, 0,
     "false: the account is closed, its data stay; true lets one in that waits", NULL},
    {0}};
static const api_field key_fields[] = {
    {"role", API_TEXT, false, false, 1, 16, "of the account that it makes; user", roles},
    {"hours", API_INTEGER, false, false, 1, 8760, "how long it is good; 72", NULL},
    {0}};

/* ---- answers ---- */

static const shape_member user_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"role", SHAPE_TEXT, 0, NULL, NULL, shown_roles},
    {"enabled", SHAPE_BOOLEAN, 0, NULL, NULL, NULL},
    {"waiting", SHAPE_BOOLEAN, 0, "for an administrator's approval", NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"version", SHAPE_INTEGER, 0, "as in ETag", NULL, NULL},
    {0}};
static const answer_shape user_shape = {"User", user_shape_members, NULL, NULL};
static const shape_member users_shape_members[] = {
    {"users", SHAPE_LIST, 0, NULL, &user_shape, NULL},
    {"next", SHAPE_INTEGER, SHAPE_NULLABLE, "cursor of the next page", NULL, NULL},
    {0}};
static const answer_shape users_shape = {"Users", users_shape_members, NULL, NULL};
static const shape_member key_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"role", SHAPE_TEXT, 0, NULL, NULL, roles},
    {"creator", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"expires", SHAPE_TIME, 0, NULL, NULL, NULL},
    {0}};
static const answer_shape key_shape = {"Key", key_shape_members, NULL, NULL};
static const shape_member keys_shape_members[] = {{"keys", SHAPE_LIST, 0, NULL, &key_shape, NULL},
                                                  {0}};
static const answer_shape keys_shape = {"Keys", keys_shape_members, NULL, NULL};
static const shape_member new_key_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"key", SHAPE_TEXT, 0, "shown this once", NULL, NULL},
    {"role", SHAPE_TEXT, 0, NULL, NULL, roles},
    {"expires", SHAPE_TIME, 0, NULL, NULL, NULL},
    {0}};
static const answer_shape new_key_shape = {"NewKey", new_key_shape_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "listUsers",
     .method = "GET",
     .path = "/api/v1/users",
     .right = API_ADMIN,
     .about = "all accounts",
     .fields = api_page_fields,
     .run = list,
     .answer = &users_shape},
    {.id = "createUser",
     .method = "POST",
     .path = "/api/v1/users",
     .right = API_ADMIN,
     .about = "an account without a password; people set one by a reset key",
     .fields = make_fields,
     .run = make,
     .answer = &user_shape},
    {.id = "getUser",
     .method = "GET",
     .path = "/api/v1/users/{id}",
     .right = API_ADMIN,
     .about = "one account",
     .run = one,
     .answer = &user_shape},
    {.id = "changeUser",
     .method = "PATCH",
     .path = "/api/v1/users/{id}",
     .right = API_ADMIN,
     .about = "change the role, close or open the account; what is not named stays",
     .fields = save_fields,
     .run = save,
     .answer = &user_shape},
    {.id = "deleteUser",
     .method = "DELETE",
     .path = "/api/v1/users/{id}",
     .right = API_ADMIN,
     .about = "delete the account with all that it owns",
     .run = erase,
     .how = API_ESSENTIAL},
    {.id = "createKey",
     .method = "POST",
     .path = "/api/v1/users/keys",
     .right = API_ADMIN,
     .about = "a one-time key with which somebody can register",
     .fields = key_fields,
     .run = make_key,
     .answer = &new_key_shape},
    {.id = "listKeys",
     .method = "GET",
     .path = "/api/v1/users/keys",
     .right = API_ADMIN,
     .about = "the keys that can still be used",
     .run = list_keys,
     .answer = &keys_shape},
    {.id = "revokeKey",
     .method = "DELETE",
     .path = "/api/v1/users/keys/{id}",
     .right = API_ADMIN,
     .about = "revoke a key",
     .run = revoke_key,
     .how = API_ESSENTIAL},
    {0}};

const api_resource api_users = {"users", "Accounts and who may make them.", routes};
