/* Logging in, renewing and ending a log-in, registration by a one-time key, passwords. */
#include "api.h"
#include "context/events.h"
#include "context/settings.h"
#include "store/logins.h"
#include "store/users.h"

#include <stdio.h>
#include <string.h>

enum { ACCESS_SECONDS = 900, RENEWAL_SECONDS = 30 * 86400, GRACE_SECONDS = 30 };

static const char account_about[] = "the account's name";

static const char *role_of(const api_user *u) {
  return u->admin ? "admin" : u->node ? "node" : u->service ? "service" : "user";
}

/* ---- tokens ---- */

/* The account of a log-in that was just opened or renewed; NULL: the call was answered. */
static json_t *account_of(api_call *call, int64_t user, int64_t login) {
  bool found;
  json_t *row = login > 0 ? user_of_login(call->store, user, login, &found) : NULL;
  if (row) return row;
  if (login <= 0 || found)
    api_fail_store(call);
  else
    api_fail(call, 401, "the account is closed");
  return NULL;
}

/* {"expires", "login", "user"}, and for a log-in by token {"token", "renewal"}; the renewal is good
 * for one use. NULL: the call was answered. */
static json_t *grant(api_call *call, int64_t user, int64_t login) {
  char text[TOKEN_TEXT], renewal[SECRET_TEXT], hash[SECRET_HASH];
  json_t *row = account_of(call, user, login);
  if (!row) return NULL;
  token t = {user, login, store_integer(row, "generation"), context_now() + ACCESS_SECONDS};
  secret_make(renewal);
  secret_hash(renewal, hash);
  bool ok =
      token_write(call->api->key, &t, text) &&
      renewal_add(call->store, login, hash, context_now(), context_now() + RENEWAL_SECONDS) >= 0;
  json_t *answer =
      ok ? json_pack("{s:s, s:I, s:s, s:I, s:O}", "token", text, "expires", (json_int_t)t.expires,
                     "renewal", renewal, "login", (json_int_t)login, "user", row)
         : NULL;
  json_decref(row);
  if (!ok) api_fail_store(call);
  return answer;
}

/* The same for a log-in by cookie: the answer's body has no secret. */
static json_t *grant_cookie(api_call *call, int64_t user, int64_t login) {
  char secret[SECRET_TEXT], hash[SECRET_HASH];
  json_t *row = account_of(call, user, login);
  if (!row) return NULL;
  secret_make(secret);
  secret_hash(secret, hash);
  if (login_set_cookie(call->store, login, hash) != 1) {
    json_decref(row);
    api_fail_store(call);
    return NULL;
  }
  api_set_cookie(call, secret);
  return json_pack("{s:I, s:I, s:o}", "expires", (json_int_t)context_now() + API_COOKIE_SECONDS,
                   "login", (json_int_t)login, "user", row);
}

/* A new log-in, by cookie or by token. */
static json_t *open_login(api_call *call, int64_t user, bool by_cookie) {
  const char *agent = http_header(call->request, "user-agent");
  char kept[201];
  snprintf(kept, sizeof kept, "%s", agent ? agent : "");
  json_t *checked = json_string(kept); /* UTF-8? */
  int64_t login =
      login_open(call->store, user, http_peer(call->request), checked ? kept : "", context_now());
  json_decref(checked);
  return (by_cookie ? grant_cookie : grant)(call, user, login);
}

static void log_in(api_call *call) {
  const char *name = api_text(call, "name"), *password = api_text(call, "password"),
             *peer = http_peer(call->request);
  throttle *t = call->api->throttle;
  bool found, by_cookie;
  if (!api_wants_cookie(call, &by_cookie)) return;
  int wait = throttle_wait(t, name, peer);
  if (wait) {
    api_add_header(call, "retry-after", "%d", wait);
    api_fail(call, 429, "too many log-ins have failed; try again in %d s", wait);
    return;
  }
  json_t *row = user_by_name(call->store, name, &found);
  if (!row && found) {
    api_fail_store(call);
    return;
  }
  bool ok = row && password_matches(password, store_text(row, "password"));
  if (!row) password_pretend(password); /* as slow as a name that exists */
  int64_t user = store_integer(row, "id");
  json_decref(row);
  if (!ok) {
    throttle_failed(t, name, peer);
    api_log("log-in", call, user, NULL, "refused");
    api_fail(call, 401, "name or password are wrong");
    return;
  }
  throttle_passed(t, name, peer);
  api_log("log-in", call, user, NULL, "done");
  json_t *answer = open_login(call, user, by_cookie);
  if (answer) api_reply(call, 200, answer);
}

static void renew(api_call *call) {
  char hash[SECRET_HASH];
  int64_t user, login;
  secret_hash(api_text(call, "renewal"), hash);
  renewal_verdict v = renewal_use(call->store, hash, context_now(), GRACE_SECONDS, &user, &login);
  if (v == RENEWAL_STOLEN) api_log("log-in", call, user, NULL, "a renewal came again: ended");
  if (v == RENEWAL_FAILED)
    api_fail_store(call);
  else if (v != RENEWAL_GOOD)
    api_fail(call, 401, "the renewal is not valid, or was used; log in again");
  else {
    json_t *answer = grant(call, user, login);
    if (answer) api_reply(call, 200, answer);
  }
}

/* ---- ending log-ins ---- */

static void log_out(api_call *call) {
  bool all = api_boolean(call, "everywhere", false);
  int64_t done = all ? logins_end(call->store, call->user.id)
                     : login_end(call->store, call->user.id, call->user.login);
  if (done < 0) {
    api_fail_store(call);
    return;
  }
  api_log("log-out", call, call->user.id, NULL, all ? "everywhere" : "done");
  api_clear_cookie(call);
  api_reply_empty(call);
}

static void list_logins(api_call *call) {
  json_t *rows = logins_of(call->store, call->user.id), *row;
  size_t i;
  json_array_foreach(rows, i, row) json_object_set_new(
      row, "current", json_boolean(store_integer(row, "id") == call->user.login));
  api_reply_rows(call, "logins", rows, NULL);
}

static void end_login(api_call *call) {
  int64_t done = login_end(call->store, call->user.id, call->ids[0]);
  if (done < 0)
    api_fail_store(call);
  else if (done == 0)
    api_fail(call, 404, "there is no log-in %lld of yours", (long long)call->ids[0]);
  else
    api_reply_empty(call);
}

/* ---- accounts ---- */

enum { MOST_WAITING = 100 };

/* Without a key: an account that is closed until an administrator opens it. */
static void ask_for_account(api_call *call, const char *password) {
  const char *name = api_text(call, "name");
  int64_t user = user_ask(call->store, name, password, context_now(), MOST_WAITING);
  /* Each counts: nobody fills the list. */
  throttle_failed(call->api->throttle, "registration", http_peer(call->request));
  if (user == STORE_EXISTS)
    api_fail(call, 409, "there is an account of this name, or of one that looks like it");
  else if (user < 0)
    api_fail_store(call);
  else if (user == 0)
    api_fail(call, 429, "too many accounts wait for an administrator");
  else {
    api_log("registration", call, user, NULL, "waits for an administrator");
    event_send(&call->api->context, "registration", EVENT_FOR_ADMINS, 0,
               json_pack("{s:I, s:s}", "user", (json_int_t)user, "name", name));
    api_reply(call, 202, json_pack("{s:s}", "state", "an administrator has to let you in"));
  }
}

static void enrol(api_call *call) {
  const char *key = api_text(call, "key"), *peer = http_peer(call->request);
  char hash[SECRET_HASH], password[PASSWORD_TEXT];
  bool by_cookie;
  if (!api_wants_cookie(call, &by_cookie)) return;
  if (throttle_wait(call->api->throttle, "registration", peer)) {
    api_fail(call, 429, "too many registrations have failed; try again later");
    return;
  }
  if (!key && setting(call->store, "self_registration") == 0) {
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
  int64_t user = user_register(call->store, hash, api_text(call, "name"), password, context_now());
  if (user == STORE_EXISTS)
    api_fail(call, 409, "there is an account of this name, or of one that looks like it");
  else if (user == USERS_NO_KEY) {
    throttle_failed(call->api->throttle, "registration", peer);
    api_fail(call, 403, "the registration key is not valid, or was used");
  } else if (user < 0)
    api_fail_store(call);
  else {
    api_log("registration", call, user, NULL, "done");
    json_t *answer = open_login(call, user, by_cookie);
    if (answer) api_reply(call, 201, answer);
  }
}

static void change_password(api_call *call) {
  char password[PASSWORD_TEXT];
  bool found;
  json_t *row = user_password(call->store, call->user.id, &found);
  bool ok = row && password_matches(api_text(call, "password"), store_text(row, "password"));
  json_decref(row);
  if (!ok) {
    api_fail(call, 403, "the present password is wrong");
    return;
  }
  if (!password_hash(api_text(call, "new_password"), password)) {
    api_fail(call, 503, "out of memory");
    return;
  }
  if (user_set_password(call->store, call->user.id, password) != 1) {
    api_fail_store(call);
    return;
  }
  api_log("password", call, call->user.id, NULL, "changed");
  /* Other log-ins have ended, this one goes on. */
  json_t *answer = open_login(call, call->user.id, call->user.cookie);
  if (answer) api_reply(call, 200, answer);
}

json_t *api_me(const api_user *u) {
  return json_pack("{s:I, s:s, s:s, s:o, s:o, s:o*}", "id", (json_int_t)u->id, "name", u->name,
                   "role", role_of(u), "login", u->login ? json_integer(u->login) : json_null(),
                   "expires", u->expires < INT64_MAX ? json_integer(u->expires) : json_null(),
                   "scopes", u->token ? api_scopes_json(u->scopes) : NULL);
}

static void whoami(api_call *call) {
  api_reply(call, 200, api_me(&call->user));
}

#define PASSWORD(name, about)                                                                      \
  { name, API_SECRET, true, false, 10, 256, about, NULL }
#define COOKIE_FIELD                                                                               \
  {                                                                                                \
    "cookie", API_BOOLEAN, false, false, 0, 0,                                                     \
        "true: log in by cookie instead of a token; for pages of this server, over TLS", NULL      \
  }
static const api_field log_in_fields[] = {
    {"name", API_TEXT, true, false, 1, 63, account_about, NULL},
    {"password", API_SECRET, true, false, 1, 256, "its password", NULL},
    COOKIE_FIELD,
    {0}};
static const api_field renewal_fields[] = {{"renewal", API_SECRET, true, false, 1, 64,
                                            "the renewal of the last log-in; good for one use, and "
                                            "again for 30 s, since two tabs may renew "
                                            "at once. Later reuse ends the log-in",
                                            NULL},
                                           {0}};
static const api_field log_out_fields[] = {
    {"everywhere", API_BOOLEAN, false, false, 0, 0, "true: every log-in of the account", NULL},
    {0}};
static const api_field registration_fields[] = {
    {"key", API_SECRET, false, false, 1, 64,
     "an administrator's one-time key; without it, where that is allowed, an administrator has to "
     "open the account",
     NULL},
    {"name", API_NAME, true, false, 3, 63, account_about, NULL},
    PASSWORD("password", "at least ten bytes"),
    COOKIE_FIELD,
    {0}};
static const api_field password_fields[] = {
    {"password", API_SECRET, true, false, 1, 256, "the present password", NULL},
    PASSWORD("new_password", "at least ten bytes"),
    {0}};

/* ---- answers ---- */

static const char *const role_names[] = {"admin", "user", "node", "service", NULL};
static const shape_member person_shape_members[] = {{"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
                                                    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                    {"role", SHAPE_TEXT, 0, NULL, NULL, role_names},
                                                    {0}};
static const answer_shape person_shape = {"Person", person_shape_members, NULL, NULL};
static const shape_member token_shape_members[] = {
    {"token", SHAPE_TEXT, SHAPE_OPTIONAL, "for Authorization: Bearer; absent with a cookie", NULL,
     NULL},
    {"expires", SHAPE_TIME, 0, "of the token; the renewal gets another one", NULL, NULL},
    {"renewal", SHAPE_TEXT, SHAPE_OPTIONAL, "good for one use; absent with a cookie", NULL, NULL},
    {"login", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"user", SHAPE_OBJECT, 0, NULL, &person_shape, NULL},
    {0}};
static const answer_shape token_shape = {"Token", token_shape_members, NULL, NULL};
static const shape_member registered_members[] = {
    {"token", SHAPE_TEXT, SHAPE_OPTIONAL, "as of a log-in", NULL, NULL},
    {"expires", SHAPE_TIME, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"renewal", SHAPE_TEXT, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"login", SHAPE_INTEGER, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"user", SHAPE_OBJECT, SHAPE_OPTIONAL, NULL, &person_shape, NULL},
    {"state", SHAPE_TEXT, SHAPE_OPTIONAL, "instead of all this: who has to let one in", NULL, NULL},
    {0}};
static const answer_shape registered_shape = {"Registered", registered_members, NULL, NULL};
static const shape_member me_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"role", SHAPE_TEXT, 0, NULL, NULL, role_names},
    {"login", SHAPE_INTEGER, SHAPE_NULLABLE | SHAPE_OPTIONAL, "the log-in of this token", NULL,
     NULL},
    {"expires", SHAPE_TIME, SHAPE_NULLABLE, "null: an API token without an end", NULL, NULL},
    {"scopes", SHAPE_TEXTS, SHAPE_OPTIONAL, "what the API token may", NULL, NULL},
    {0}};
const answer_shape api_me_shape = {"Me", me_shape_members, NULL, NULL};
static const shape_member login_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"address", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"agent", SHAPE_TEXT, 0, "User-Agent of the browser or script", NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"used", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"current", SHAPE_BOOLEAN, 0, "the one that asks", NULL, NULL},
    {0}};
static const answer_shape login_shape = {"LogIn", login_shape_members, NULL, NULL};
static const shape_member logins_shape_members[] = {
    {"logins", SHAPE_LIST, 0, NULL, &login_shape, NULL}, {0}};
static const answer_shape logins_shape = {"LogIns", logins_shape_members, NULL, NULL};

static const api_route routes[] = {{.id = "logIn",
                                    .method = "POST",
                                    .path = "/api/v1/auth/login",
                                    .right = API_ANYONE,
                                    .about = "log in: a token for 15 minutes and its renewal",
                                    .fields = log_in_fields,
                                    .run = log_in,
                                    .how = API_PASSWORD | API_ESSENTIAL,
                                    .answer = &token_shape},
                                   {.id = "renewLogIn",
                                    .method = "POST",
                                    .path = "/api/v1/auth/renew",
                                    .right = API_ANYONE,
                                    .about = "a new token for a renewal",
                                    .fields = renewal_fields,
                                    .run = renew,
                                    .how = API_ESSENTIAL,
                                    .answer = &token_shape},
                                   {.id = "logOut",
                                    .method = "POST",
                                    .path = "/api/v1/auth/logout",
                                    .right = API_ACCOUNT,
                                    .about = "end this log-in, or all of the account",
                                    .fields = log_out_fields,
                                    .run = log_out,
                                    .how = API_ESSENTIAL},
                                   {.id = "listLogIns",
                                    .method = "GET",
                                    .path = "/api/v1/auth/logins",
                                    .right = API_ACCOUNT,
                                    .about = "where the account is logged in",
                                    .run = list_logins,
                                    .answer = &logins_shape},
                                   {.id = "endLogIn",
                                    .method = "DELETE",
                                    .path = "/api/v1/auth/logins/{id}",
                                    .right = API_ACCOUNT,
                                    .about = "end one of these log-ins",
                                    .run = end_login,
                                    .how = API_ESSENTIAL},
                                   {.id = "register",
                                    .method = "POST",
                                    .path = "/api/v1/auth/register",
                                    .right = API_ANYONE,
                                    .about = "make an account with a one-time key",
                                    .fields = registration_fields,
                                    .run = enrol,
                                    .how = API_PASSWORD,
                                    .answer = &registered_shape},
                                   {.id = "changePassword",
                                    .method = "POST",
                                    .path = "/api/v1/auth/password",
                                    .right = API_ACCOUNT,
                                    .about = "change the password; other log-ins end",
                                    .fields = password_fields,
                                    .run = change_password,
                                    .how = API_PASSWORD,
                                    .answer = &token_shape},
                                   {.id = "getMe",
                                    .method = "GET",
                                    .path = "/api/v1/auth/me",
                                    .right = API_ACCOUNT,
                                    .about = "the account of this token",
                                    .run = whoami,
                                    .answer = &api_me_shape},
                                   {0}};

const api_resource api_auth = {"auth", "Logging in, tokens and passwords.", routes};
