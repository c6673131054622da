/* API tokens: of one's own account, and of service accounts for administrators. */
#include "store/tokens.h"
#include "api.h"
#include "store/users.h"

#include <stdio.h>
#include <string.h>

enum { MOST_TOKENS = 100, DAY = 86400 };

/* "read predict" -> ["read", "predict"] */
static json_t *present(json_t *row) {
  json_t *list = json_array();
  for (const char *p = store_text(row, "scopes"); p && *p; p += strspn(p, " ")) {
    size_t n = strcspn(p, " ");
    json_array_append_new(list, json_stringn(p, n));
    p += n;
  }
  json_object_set_new(row, "scopes", list);
  return row;
}

static void list_of(api_call *call, int64_t user) {
  api_reply_rows(call, "tokens", tokens_of(call->store, user), present);
}

/* The scopes of the body as the store keeps them. */
static void write_scopes(const api_call *call, char *out, size_t size) {
  size_t i, at = 0;
  json_t *scope;
  out[0] = '\0';
  json_array_foreach(json_object_get(call->input, "scopes"), i, scope) if (at < size) at +=
      (size_t)snprintf(out + at, size - at, "%s%s", i ? " " : "", json_string_value(scope));
}

static void fail_new(api_call *call, int64_t why) {
  if (why == STORE_EXISTS)
    api_fail(call, 409, "the account has a token of this name");
  else if (why == TOKENS_TOO_MANY)
    api_fail(call, 429, "the account has %d tokens; that is all that one may have: revoke some",
             MOST_TOKENS);
  else
    api_fail_store(call);
}

/* The token is shown once; the store has its hash. `folder`: where it is found later. */
static void make_for(api_call *call, int64_t user, const char *folder) {
  char secret[SECRET_TEXT], text[API_TOKEN_TEXT], hash[SECRET_HASH], scopes[64];
  int64_t days = api_integer(call, "days", 0), now = context_now(),
          expires = days ? now + days * DAY : 0;
  const char *name = api_text(call, "name");
  secret_make(secret);
  snprintf(text, sizeof text, API_TOKEN_PREFIX "%s", secret);
  secret_hash(text, hash);
  write_scopes(call, scopes, sizeof scopes);
  int64_t id = token_add(call->store, user, hash, name, scopes, now, expires, MOST_TOKENS);
  if (id < 0) {
    fail_new(call, id);
    return;
  }
  api_log("token", call, call->user.id, name, "made");
  api_add_header(call, "location", "%s/%lld", folder, (long long)id);
  json_t *answer =
      json_pack("{s:I, s:s, s:s, s:O, s:I, s:o}", "id", (json_int_t)id, "token", text, "name", name,
                "scopes", json_object_get(call->input, "scopes"), "created", (json_int_t)now,
                "expires", expires ? json_integer(expires) : json_null());
  api_reply(call, 201, answer);
}

static void revoke_of(api_call *call, int64_t user, int64_t id) {
  int64_t gone = token_delete(call->store, user, id);
  if (gone < 0)
    api_fail_store(call);
  else if (gone == 0)
    api_fail(call, 404, "the account has no token %lld", (long long)id);
  else {
    char object[64];
    snprintf(object, sizeof object, "token %lld of account %lld", (long long)id, (long long)user);
    api_log("token", call, call->user.id, object, "revoked");
    api_reply_empty(call);
  }
}

/* ---- one's own ---- */

static bool asks_for(const api_call *call, const char *wanted) {
  size_t i;
  json_t *scope;
  json_array_foreach(json_object_get(call->input, "scopes"), i,
                     scope) if (strcmp(json_string_value(scope), wanted) == 0) return true;
  return false;
}

static void list(api_call *call) {
  list_of(call, call->user.id);
}

static void make(api_call *call) {
  if (asks_for(call, "admin") && !call->user.admin)
    api_fail(call, 403, "the scope \"admin\" is for tokens of administrators");
  else
    make_for(call, call->user.id, "/api/v1/tokens");
}

static void revoke(api_call *call) {
  revoke_of(call, call->user.id, call->ids[0]);
}

/* ---- of others ---- */

/* The account of the path; NULL: answered. */
static json_t *find(api_call *call) {
  bool found;
  json_t *row = user_find(call->store, call->ids[0], &found);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no user %lld", (long long)call->ids[0]);
  return row;
}

static void list_of_user(api_call *call) {
  json_t *row = find(call);
  if (row) list_of(call, call->ids[0]);
  json_decref(row);
}

/* Only for programs: with a token of a person one would act in that person's name. */
static void make_for_service(api_call *call) {
  char folder[64];
  json_t *row = find(call);
  if (!row) return;
  bool is_service = strcmp(store_text(row, "role"), "service") == 0;
  json_decref(row);
  snprintf(folder, sizeof folder, "/api/v1/users/%lld/tokens", (long long)call->ids[0]);
  if (!is_service)
    api_fail(call, 409, "people make their own tokens; this is for service accounts");
  else if (asks_for(call, "admin"))
    api_fail(call, 403, "the scope \"admin\" is for tokens of administrators");
  else
    make_for(call, call->ids[0], folder);
}

static void revoke_of_user(api_call *call) {
  revoke_of(call, call->ids[0], call->ids[1]);
}

static const api_field fields[] = {
    {"name", API_NAME, true, false, 1, 63, "what it is for; the account has no other of this name",
     NULL},
    {"scopes", API_TEXTS, true, false, 1, 4,
     "read: GET and HEAD; predict: the inference protocols; write: all that the account may do but "
     "administration and the account itself; admin: all that administrators may",
     api_scope_names},
    {"days", API_INTEGER, false, false, 1, 3650, "until it expires; absent: it does not", NULL},
    {0}};

/* ---- answers ---- */

static const shape_member token_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"scopes", SHAPE_TEXTS, 0, "read, predict, write, admin", NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"expires", SHAPE_TIME, SHAPE_NULLABLE, "null: it does not", NULL, NULL},
    {"used", SHAPE_TIME, SHAPE_NULLABLE, "last, to a minute; null: never", NULL, NULL},
    {0}};
static const answer_shape token_shape = {"ApiToken", token_members, NULL, NULL};
static const shape_member tokens_members[] = {{"tokens", SHAPE_LIST, 0, NULL, &token_shape, NULL},
                                              {0}};
static const answer_shape tokens_shape = {"ApiTokens", tokens_members, NULL, NULL};
static const shape_member new_token_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"token", SHAPE_TEXT, 0, "for Authorization: Bearer; shown this once", NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"scopes", SHAPE_TEXTS, 0, NULL, NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"expires", SHAPE_TIME, SHAPE_NULLABLE, "null: it does not", NULL, NULL},
    {0}};
static const answer_shape new_token_shape = {"NewApiToken", new_token_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "createToken",
     .method = "POST",
     .path = "/api/v1/tokens",
     .right = API_USER,
     .about = "a named token with which a program calls in the account's name",
     .fields = fields,
     .run = make,
     .how = API_IDEMPOTENT,
     .answer = &new_token_shape},
    {.id = "listTokens",
     .method = "GET",
     .path = "/api/v1/tokens",
     .right = API_USER,
     .about = "the account's tokens, the newest first",
     .run = list,
     .answer = &tokens_shape},
    {.id = "revokeToken",
     .method = "DELETE",
     .path = "/api/v1/tokens/{id}",
     .right = API_USER,
     .about = "revoke a token; its event streams end",
     .run = revoke,
     .how = API_ESSENTIAL},
    {.id = "createTokenOfUser",
     .method = "POST",
     .path = "/api/v1/users/{id}/tokens",
     .right = API_ADMIN,
     .about = "a token for a service account",
     .fields = fields,
     .run = make_for_service,
     .answer = &new_token_shape},
    {.id = "listTokensOfUser",
     .method = "GET",
     .path = "/api/v1/users/{id}/tokens",
     .right = API_ADMIN,
     .about = "the tokens of an account",
     .run = list_of_user,
     .answer = &tokens_shape},
    {.id = "revokeTokenOfUser",
     .method = "DELETE",
     .path = "/api/v1/users/{id}/tokens/{token}",
     .right = API_ADMIN,
     .about = "revoke a token of an account",
     .run = revoke_of_user,
     .how = API_ESSENTIAL},
    {0}};

const api_resource api_tokens = {"tokens", "Named API tokens, for programs.", routes};
