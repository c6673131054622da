/* The end of one's own account, and passwords that are set anew. */
#include "api.h"
#include "cascade.h"
#include "store/resets.h"
#include "store/users.h"

#include <string.h>

enum { RESET_SECONDS = 86400 };

/* ---- one's own account ---- */

/* Whether it is the account's password; whoever guesses waits, as at log-ins. False: answered. */
static bool check_password(api_call *call) {
  throttle *t = call->api->throttle;
  const char *name = call->user.name, *peer = http_peer(call->request);
  bool found;
  int wait = throttle_wait(t, name, peer);
  if (wait) {
    api_add_header(call, "retry-after", "%d", wait);
    api_fail(call, 429, "the password was wrong too often; try again in %d s", wait);
    return false;
  }
  json_t *row = user_password(call->store, call->user.id, &found);
  bool failed = !row && found,
       ok = row && password_matches(api_text(call, "password"), store_text(row, "password"));
  json_decref(row);
  if (ok)
    throttle_passed(t, name, peer);
  else if (failed)
    api_fail_store(call);
  else {
    throttle_failed(t, name, peer);
    api_fail(call, 403, "the password is wrong");
  }
  return ok;
}

static void delete_me(api_call *call) {
  if (!check_password(call)) return;
  int64_t gone = user_delete(call->store, call->user.id);
  if (gone == USERS_NO_ADMIN)
    api_fail(call, 409, "this is the last administrator");
  else if (gone < 0)
    api_fail_store(call);
  else {
    api_log("user", call, call->user.id, call->user.name, "deleted by itself");
    api_clear_cookie(call);
    cascade(call->api);
    api_reply_empty(call);
  }
}

/* ---- a new password by a one-time key ---- */

/* Whether the account of the path may have a password; false: answered. */
static bool may_reset(api_call *call, const json_t *user) {
  if (call->ids[0] == call->user.id)
    api_fail(call, 409, "this is your own account; change its password by /api/v1/auth/password");
  else if (strcmp(store_text(user, "role"), "service") == 0)
    api_fail(call, 409, "a service account has no password; make a token for it");
  else
    return true;
  return false;
}

/* The key is shown once; the store has its hash. */
static void reply_with_key(api_call *call, const char *name) {
  char key[SECRET_TEXT], hash[SECRET_HASH];
  int64_t now = context_now(), expires = now + RESET_SECONDS;
  secret_make(key);
  secret_hash(key, hash);
  if (reset_begin(call->store, call->ids[0], hash, now, expires) != 1) {
    api_fail_store(call);
    return;
  }
  api_log("password", call, call->user.id, name, "reset by an administrator");
  api_reply(call, 201,
            json_pack("{s:s, s:I, s:I}", "key", key, "created", (json_int_t)now, "expires",
                      (json_int_t)expires));
}

static void begin_reset(api_call *call) {
  bool found;
  json_t *row = user_find(call->store, call->ids[0], &found);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no user %lld", (long long)call->ids[0]);
  else if (may_reset(call, row))
    reply_with_key(call, store_text(row, "name"));
  json_decref(row);
}

static void refuse_key(api_call *call, int64_t why) {
  if (why < 0) {
    api_fail_store(call);
    return;
  }
  throttle_failed(call->api->throttle, "reset", http_peer(call->request));
  api_fail(call, 403, "the key is not valid, was used, or has expired");
}

/* The key is looked at before the password is hashed, which takes long. */
static void reset_password(api_call *call) {
  char hash[SECRET_HASH], password[PASSWORD_TEXT];
  int wait = throttle_wait(call->api->throttle, "reset", http_peer(call->request));
  if (wait) {
    api_add_header(call, "retry-after", "%d", wait);
    api_fail(call, 429, "too many keys were wrong; try again in %d s", wait);
    return;
  }
  secret_hash(api_text(call, "key"), hash);
  int64_t user = reset_user(call->store, hash, context_now());
  if (user > 0 && !password_hash(api_text(call, "password"), password)) {
    api_fail(call, 503, "out of memory");
    return;
  }
  if (user > 0) user = reset_use(call->store, hash, password, context_now());
  if (user <= 0) {
    refuse_key(call, user);
    return;
  }
  api_log("password", call, user, NULL, "set by a reset key");
  api_reply_empty(call);
}

static const api_field delete_fields[] = {
    {"password", API_SECRET, true, false, 1, 256, "the account's password", NULL}, {0}};
static const api_field reset_fields[] = {
    {"key", API_SECRET, true, false, 1, 64, "the one-time key that an administrator has given you",
     NULL},
    {"password", API_SECRET, true, false, 10, 256, "the new one, at least ten bytes", NULL},
    {0}};

static const shape_member key_members[] = {
    {"key", SHAPE_TEXT, 0, "for POST /api/v1/auth/reset; shown this once", NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"expires", SHAPE_TIME, 0, NULL, NULL, NULL},
    {0}};
static const answer_shape key_shape = {"ResetKey", key_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "deleteMe",
     .method = "DELETE",
     .path = "/api/v1/auth/me",
     .right = API_USER,
     .about = "delete one's own account with all that it owns",
     .fields = delete_fields,
     .run = delete_me,
     .how = API_PASSWORD | API_ESSENTIAL},
    {.id = "createResetKey",
     .method = "POST",
     .path = "/api/v1/users/{id}/password",
     .right = API_ADMIN,
     .about = "void the password of an account and end its log-ins; a key, good for 24 hours and "
              "once, with which its person sets a new one",
     .run = begin_reset,
     .answer = &key_shape},
    {.id = "resetPassword",
     .method = "POST",
     .path = "/api/v1/auth/reset",
     .right = API_ANYONE,
     .about = "set a new password with a reset key",
     .fields = reset_fields,
     .run = reset_password,
     .how = API_PASSWORD},
    {0}};

const api_resource api_account = {"account", "One's own account, and passwords set anew.", routes};
