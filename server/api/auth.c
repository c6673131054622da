/* Logging in, renewing and ending a log-in, registration by a one-time key, passwords. */
#include "events.h"
#include "settings.h"

#include <string.h>

enum { ACCESS_SECONDS = 900, RENEWAL_SECONDS = 30 * 86400 };

static const char account_about[] = "the account's name";

/* ---- tokens ---- */

/* {"token", "expires", "renewal", "user"}; the renewal is good for one use. NULL: the call was
 * answered. */
static json_t *grant(api_call *call, int64_t user) {
  char text[TOKEN_TEXT], renewal[SECRET_TEXT], hash[SECRET_HASH];
  bool found;
  json_t *row =
      store_row(call->api->store, &found,
                "SELECT id, name, role, generation FROM users WHERE id = ? AND enabled", "i", user);
  if (!row) {
    if (found)
      api_fail_store(call);
    else
      api_fail(call, 401, "the account is closed");
    return NULL;
  }
  token t = {user, json_integer_value(json_object_get(row, "generation")),
             api_now() + ACCESS_SECONDS};
  secret_make(renewal);
  secret_hash(renewal, hash);
  bool ok = token_write(call->api->key, &t, text) &&
            store_run(call->api->store,
                      "INSERT INTO renewals (hash, user, created, expires) VALUES (?, ?, ?, ?)",
                      "siii", hash, user, api_now(), api_now() + RENEWAL_SECONDS) >= 0;
  json_object_del(row, "generation");
  json_t *answer = ok ? json_pack("{s:s, s:I, s:s, s:O}", "token", text, "expires",
                                  (json_int_t)t.expires, "renewal", renewal, "user", row)
                      : NULL;
  json_decref(row);
  if (!ok) api_fail_store(call);
  return answer;
}

static void log_in(api_call *call) {
  const char *name = api_text(call, "name"), *password = api_text(call, "password");
  const char *peer = http_peer(call->request);
  bool found;
  int wait = api_throttle_wait(call->api, name, peer);
  if (wait) {
    api_fail(call, 429, "too many log-ins have failed; try again in %d s", wait);
    return;
  }
  json_t *row = store_row(call->api->store, &found,
                          "SELECT id, password FROM users WHERE name = ? AND enabled", "s", name);
  if (!row && found) {
    api_fail_store(call);
    return;
  }
  bool ok = row && password_matches(password, json_string_value(json_object_get(row, "password")));
  if (!row) password_pretend(password); /* as slow as a name that exists */
  int64_t user = json_integer_value(json_object_get(row, "id"));
  json_decref(row);
  if (!ok) {
    api_throttle_failed(call->api, name, peer);
    api_log("log-in", call, user, NULL, "refused");
    api_fail(call, 401, "name or password are wrong");
    return;
  }
  api_throttle_passed(call->api, name, peer);
  api_log("log-in", call, user, NULL, "done");
  json_t *answer = grant(call, user);
  if (answer) api_reply(call, 200, answer);
}

static void renew(api_call *call) {
  char hash[SECRET_HASH];
  bool found;
  secret_hash(api_text(call, "renewal"), hash);
  json_t *row = store_row(call->api->store, &found,
                          "DELETE FROM renewals WHERE hash = ? RETURNING user, expires", "s", hash);
  int64_t user = json_integer_value(json_object_get(row, "user"));
  bool good = row && json_integer_value(json_object_get(row, "expires")) > api_now();
  json_decref(row);
  if (!good) {
    api_fail(call, 401, "the renewal is not valid, or was used; log in again");
    return;
  }
  json_t *answer = grant(call, user);
  if (answer) api_reply(call, 200, answer);
}

/* Every token and renewal of the account ends. */
static void log_out(api_call *call) {
  store *s = call->api->store;
  bool ok = store_begin(s);
  ok = ok && store_run(s, "UPDATE users SET generation = generation + 1 WHERE id = ?", "i",
                       call->user.id) >= 0;
  bool renewals =
      ok && store_run(s, "DELETE FROM renewals WHERE user = ?", "i", call->user.id) >= 0;
  if (ok && !renewals) store_rollback(s);
  if (renewals && store_commit(s))
    api_reply_empty(call);
  else
    api_fail_store(call);
}

/* ---- accounts ---- */

/* Uses the key up and makes the account, or neither. */
static int64_t use_key(api_call *call, const char *hash, const char *name, const char *password) {
  store *s = call->api->store;
  bool found;
  if (!store_begin(s)) return STORE_FAILED;
  json_t *row = store_row(
      s, &found,
      "SELECT role FROM registration_keys WHERE hash = ? AND used_by IS NULL AND expires > ?", "si",
      hash, api_now());
  int64_t user =
      row ? store_insert(s, "INSERT INTO users (name, password, role, created) VALUES (?, ?, ?, ?)",
                         "sssi", name, password, json_string_value(json_object_get(row, "role")),
                         api_now())
          : 0;
  json_decref(row);
  bool ok = user > 0 && store_run(s, "UPDATE registration_keys SET used_by = ? WHERE hash = ?",
                                  "is", user, hash) == 1;
  if (!ok) {
    store_rollback(s);
    return user > 0 ? STORE_FAILED : user;
  }
  return store_commit(s) ? user : STORE_FAILED;
}

enum { MOST_WAITING = 100 };

/* Without a key: an account that is closed until an administrator opens it. */
static void ask_for_account(api_call *call, const char *password) {
  store *s = call->api->store;
  bool found;
  const char *name = api_text(call, "name");
  json_t *row = store_row(s, &found, "SELECT COUNT(*) AS n FROM users WHERE waiting", "");
  int64_t n = json_integer_value(json_object_get(row, "n"));
  bool known = row != NULL;
  json_decref(row);
  int64_t user = !known ? STORE_FAILED
                 : n >= MOST_WAITING
                     ? 0
                     : store_insert(s,
                                    "INSERT INTO users (name, password, role, enabled, waiting,"
                                    " created) VALUES (?, ?, 'user', 0, 1, ?)",
                                    "ssi", name, password, api_now());
  /* Each counts: nobody fills the list. */
  api_throttle_failed(call->api, "registration", http_peer(call->request));
  if (user == STORE_EXISTS)
    api_fail(call, 409, "there is an account of this name");
  else if (user < 0)
    api_fail_store(call);
  else if (user == 0)
    api_fail(call, 429, "too many accounts wait for an administrator");
  else {
    api_log("registration", call, user, NULL, "waits for an administrator");
    event_send(call->api, "registration", EVENT_FOR_ADMINS, 0,
               json_pack("{s:I, s:s}", "user", (json_int_t)user, "name", name));
    api_reply(call, 202, json_pack("{s:s}", "state", "an administrator has to let you in"));
  }
}

static void enrol(api_call *call) {
  const char *key = api_text(call, "key");
  char hash[SECRET_HASH], password[PASSWORD_TEXT];
  const char *peer = http_peer(call->request);
  if (api_throttle_wait(call->api, "registration", peer)) {
    api_fail(call, 429, "too many registrations have failed; try again later");
    return;
  }
  if (!key && setting(call->api, "self_registration") == 0) {
    api_fail(call, 403, "an administrator's one-time key is needed to register here");
    return;
  }
  if (!password_hash(api_text(call, "password"), password)) {
    api_fail(call, 503, "out of memory");
    return;
  }
  if (!key) {
    ask_for_account(call, password);
    return;
  }
  secret_hash(key, hash);
  int64_t user = use_key(call, hash, api_text(call, "name"), password);
  if (user == STORE_EXISTS)
    api_fail(call, 409, "there is an account of this name");
  else if (user == STORE_FAILED)
    api_fail_store(call);
  else if (user == 0) {
    api_throttle_failed(call->api, "registration", peer);
    api_fail(call, 403, "the registration key is not valid, or was used");
  } else {
    api_log("registration", call, user, NULL, "done");
    json_t *answer = grant(call, user);
    if (answer) api_reply(call, 201, answer);
  }
}

static void change_password(api_call *call) {
  store *s = call->api->store;
  char password[PASSWORD_TEXT];
  bool found;
  json_t *row = store_row(s, &found, "SELECT password FROM users WHERE id = ?", "i", call->user.id);
  bool ok = row && password_matches(api_text(call, "password"),
                                    json_string_value(json_object_get(row, "password")));
  json_decref(row);
  if (!ok) {
    api_fail(call, 403, "the present password is wrong");
    return;
  }
  if (!password_hash(api_text(call, "new_password"), password)) {
    api_fail(call, 503, "out of memory");
    return;
  }
  ok = store_run(s, "UPDATE users SET password = ?, generation = generation + 1 WHERE id = ?", "si",
                 password, call->user.id) == 1 &&
       store_run(s, "DELETE FROM renewals WHERE user = ?", "i", call->user.id) >= 0;
  if (!ok) {
    api_fail_store(call);
    return;
  }
  api_log("password", call, call->user.id, NULL, "changed");
  json_t *answer = grant(call, call->user.id); /* other log-ins have ended, this one goes on */
  if (answer) api_reply(call, 200, answer);
}

static void whoami(api_call *call) {
  api_reply(call, 200,
            json_pack("{s:I, s:s, s:s}", "id", (json_int_t)call->user.id, "name", call->user.name,
                      "role",
                      call->user.admin  ? "admin"
                      : call->user.node ? "node"
                                        : "user"));
}

#define PASSWORD(name, about)                                                                      \
  { name, API_SECRET, true, false, 10, 256, about, NULL }
static const api_field log_in_fields[] = {
    {"name", API_TEXT, true, false, 1, 63, account_about, NULL},
    {"password", API_SECRET, true, false, 1, 256, "its password", NULL},
    {0}};
static const api_field renewal_fields[] = {{"renewal", API_SECRET, true, false, 1, 64,
                                            "the renewal of the last log-in; good for one use",
                                            NULL},
                                           {0}};
static const api_field registration_fields[] = {
    {"key", API_SECRET, false, false, 1, 64,
     "an administrator's one-time key; without it, where that is allowed, an administrator has to "
     "open the account",
     NULL},
    {"name", API_NAME, true, false, 3, 63, account_about, NULL},
    PASSWORD("password", "at least ten bytes"),
    {0}};
static const api_field password_fields[] = {
    {"password", API_SECRET, true, false, 1, 256, "the present password", NULL},
    PASSWORD("new_password", "at least ten bytes"),
    {0}};

static const api_route routes[] = {
    {"POST", "/api/v1/auth/login", API_ANYONE, "log in: a token for 15 minutes and its renewal",
     log_in_fields, log_in, 0},
    {"POST", "/api/v1/auth/renew", API_ANYONE, "a new token for a renewal", renewal_fields, renew,
     0},
    {"POST", "/api/v1/auth/logout", API_ACCOUNT, "end every log-in of this account", NULL, log_out,
     0},
    {"POST", "/api/v1/auth/register", API_ANYONE, "make an account with a one-time key",
     registration_fields, enrol, 0},
    {"POST", "/api/v1/auth/password", API_ACCOUNT, "change the password; other log-ins end",
     password_fields, change_password, 0},
    {"GET", "/api/v1/auth/me", API_ACCOUNT, "the account of this token", NULL, whoami, 0},
    {0}};

const api_resource api_auth = {"auth", "Logging in, tokens and passwords.", routes};
