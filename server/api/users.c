/* Accounts, for administrators. */
#include "datasets.h"
#include "jobs/jobs.h"

#include <stdio.h>
#include <string.h>

static const char *const roles[] = {"admin", "user", "node", NULL};

static void list(api_call *call) {
  api_reply_rows(
      call, "users",
      store_rows(call->api->store,
                 "SELECT id, name, role, enabled, waiting, created FROM users ORDER BY name", ""),
      NULL);
}

static void one(api_call *call) {
  bool found;
  json_t *user =
      store_row(call->api->store, &found,
                "SELECT id, name, role, enabled, waiting, created FROM users WHERE id = ?", "i",
                call->ids[0]);
  if (user)
    api_reply(call, 200, user);
  else if (found)
    api_fail_store(call);
  else
    api_fail(call, 404, "there is no user %lld", (long long)call->ids[0]);
}

/* An administrator is always left. `change` must be a statement with the user's id last. */
static bool change_user(api_call *call, const char *change, const char *types, int64_t number,
                        const char *text) {
  store *s = call->api->store;
  bool found;
  int64_t changed = STORE_FAILED;
  if (!store_begin(s)) {
    api_fail_store(call);
    return false;
  }
  if (strcmp(types, "i") == 0)
    changed = store_run(s, change, "i", call->ids[0]);
  else if (strcmp(types, "ii") == 0)
    changed = store_run(s, change, "ii", number, call->ids[0]);
  else
    changed = store_run(s, change, "si", text, call->ids[0]);
  json_t *left =
      changed > 0
          ? store_row(s, &found, "SELECT 1 AS one FROM users WHERE role = 'admin' AND enabled", "")
          : NULL;
  bool ok = changed > 0 && left;
  json_decref(left);
  if (!ok) {
    store_rollback(s);
    if (changed > 0)
      api_fail(call, 409, "this is the last administrator");
    else if (changed == 0)
      api_fail(call, 404, "there is no user %lld", (long long)call->ids[0]);
    else
      api_fail_store(call);
    return false;
  }
  if (!store_commit(s)) {
    api_fail_store(call);
    return false;
  }
  api_log("user", call, call->ids[0], NULL, change);
  api_reply_empty(call);
  return true;
}

static void save(api_call *call) {
  const char *role = api_text(call, "role");
  if (role)
    change_user(call, "UPDATE users SET role = ?, generation = generation + 1 WHERE id = ?", "si",
                0, role);
  else
    change_user(
        call, "UPDATE users SET enabled = ?, waiting = 0, generation = generation + 1 WHERE id = ?",
        "ii", api_boolean(call, "enabled", true), NULL);
}

static void erase(api_call *call) {
  api *a = call->api;
  if (change_user(call, "DELETE FROM users WHERE id = ?", "i", 0, NULL)) {
    datasets_tidy(a);
    jobs_tidy(a);
  }
}

/* The key is shown once; the store has its hash. */
static void make_key(api_call *call) {
  char key[SECRET_TEXT], hash[SECRET_HASH];
  const char *role = api_text(call, "role");
  int64_t expires = api_now() + api_integer(call, "hours", 72) * 3600;
  secret_make(key);
  secret_hash(key, hash);
  if (store_run(call->api->store,
                "INSERT INTO registration_keys (hash, role, created, expires) VALUES (?, ?, ?, ?)",
                "ssii", hash, role ? role : "user", api_now(), expires) < 0) {
    api_fail_store(call);
    return;
  }
  api_reply(call, 201,
            json_pack("{s:s, s:s, s:I}", "key", key, "role", role ? role : "user", "expires",
                      (json_int_t)expires));
}

static const api_field save_fields[] = {
    {"role", API_TEXT, false, false, 1, 16, "admin, user or node; alone, or", roles},
    {"enabled", API_BOOLEAN, false, false, 0, 0,
     "false: the account is closed, its data stay; true lets one in that waits", NULL},
    {0}};
static const api_field key_fields[] = {
    {"role", API_TEXT, false, false, 1, 16, "of the account that it makes; user", roles},
    {"hours", API_INTEGER, false, false, 1, 8760, "how long it is good; 72", NULL},
    {0}};

static const api_route routes[] = {
    {"GET", "/api/v1/users", API_ADMIN, "all accounts", NULL, list, 0},
    {"GET", "/api/v1/users/{id}", API_ADMIN, "one account", NULL, one, 0},
    {"PATCH", "/api/v1/users/{id}", API_ADMIN, "change role, or close and open the account",
     save_fields, save, 0},
    {"DELETE", "/api/v1/users/{id}", API_ADMIN, "delete the account with all that it owns", NULL,
     erase, 0},
    {"POST", "/api/v1/users/keys", API_ADMIN, "a one-time key with which somebody can register",
     key_fields, make_key, 0},
    {0}};

const api_resource api_users = {"users", "Accounts and who may make them.", routes};
