/* Whose call it is, and whether he may. */
#include "api.h"

#include "tickets.h"

#include "store/logins.h"
#include "store/tokens.h"
#include "store/users.h"

#include <stdio.h>
#include <string.h>

/* The account of the token, as the store has it now: a changed password, a log-in that was ended, a
 * disabled account and a lost right count at once. */
static bool read_account(const api *a, const char *text, api_user *out) {
  token t;
  bool found;
  if (!token_read(a->key, text, context_now(), &t)) return false;
  json_t *row = user_of_login(a->context.store, t.user, t.login, &found);
  bool ok = row && store_integer(row, "generation") == t.generation;
  if (ok) {
    const char *role = store_text(row, "role");
    *out = (api_user){.id = t.user,
                      .login = t.login,
                      .generation = t.generation,
                      .expires = t.expires,
                      .admin = strcmp(role, "admin") == 0,
                      .node = strcmp(role, "node") == 0};
    snprintf(out->name, sizeof out->name, "%s", store_text(row, "name"));
  }
  json_decref(row);
  return ok;
}

enum { NOTE_SECONDS = 60 };

static bool is_api_token(const char *text) {
  return strncmp(text, API_TOKEN_PREFIX, sizeof API_TOKEN_PREFIX - 1) == 0;
}

/* Whether its use has to be noted, which is done at most once a minute. */
static bool is_due(const api_user *u) {
  return (u->token || u->cookie) && context_now() - u->used >= NOTE_SECONDS;
}

/* The account of an API token, and what it lets the token do, as the store has them now. */
static bool read_api_token(const api *a, const char *text, api_user *out) {
  char hash[SECRET_HASH];
  bool found;
  int64_t now = context_now();
  if (strlen(text) != API_TOKEN_TEXT - 1) return false;
  secret_hash(text, hash);
  json_t *row = token_by_hash(a->context.store, hash, now, &found);
  if (!row) return false;
  const char *role = store_text(row, "role");
  bool admin = strcmp(role, "admin") == 0;
  int scopes = api_scopes_read(store_text(row, "scopes"), admin);
  *out = (api_user){.id = store_integer(row, "user"),
                    .generation = store_integer(row, "generation"),
                    .expires = store_integer(row, "expires"),
                    .token = store_integer(row, "token"),
                    .used = store_integer(row, "used"),
                    .admin = scopes & API_SCOPE_ADMIN,
                    .node = strcmp(role, "node") == 0,
                    .service = store_integer(row, "service"),
                    .scopes = (unsigned char)scopes};
  if (!out->expires) out->expires = INT64_MAX;
  snprintf(out->name, sizeof out->name, "%s", store_text(row, "name"));
  json_decref(row);
  /* A use that cannot be noted, on a full disk, counts all the same. */
  if (is_due(out) && token_touch(a->context.store, out->token, now) > 0) out->used = now;
  return true;
}

/* The account of a log-in by cookie. */
static bool read_cookie(const api *a, const char *text, api_user *out) {
  char hash[SECRET_HASH];
  bool found;
  int64_t now = context_now();
  secret_hash(text, hash);
  json_t *row = login_of_cookie(a->context.store, hash, now - API_COOKIE_SECONDS, &found);
  if (!row) return false;
  const char *role = store_text(row, "role");
  *out = (api_user){.id = store_integer(row, "id"),
                    .login = store_integer(row, "login"),
                    .generation = store_integer(row, "generation"),
                    .used = store_integer(row, "used"),
                    .admin = strcmp(role, "admin") == 0,
                    .node = strcmp(role, "node") == 0,
                    .cookie = true};
  snprintf(out->name, sizeof out->name, "%s", store_text(row, "name"));
  json_decref(row);
  if (is_due(out) && login_touch(a->context.store, out->login, now) > 0) out->used = now;
  out->expires = out->used + API_COOKIE_SECONDS;
  return true;
}

/* What a request says about whose it is. */
typedef struct credential {
  char kind; /* in the table of what is known */
  const char *text;
  bool (*read)(const api *a, const char *text, api_user *out);
} credential;

static credential bearer(const char *text) {
  return (credential){'a', text, is_api_token(text) ? read_api_token : read_account};
}

/* on_loop: the store is not asked. */
static api_verdict find_user(api *a, const credential *c, bool on_loop, api_user *found) {
  _Static_assert(sizeof *found <= CACHE_BYTES, "it is kept in the table of what is known");
  size_t n = strlen(c->text);
  bool is_known = cache_find(a->cache, c->kind, c->text, n, found, sizeof *found) && !is_due(found);
  if (!is_known && on_loop) return API_UNKNOWN;
  if (!is_known) {
    uint64_t version = store_version(a->context.store);
    if (!c->read(a, c->text, found)) return API_REFUSED;
    cache_keep(a->cache, c->kind, c->text, n, found, sizeof *found, version);
  }
  return found->expires > context_now() ? API_PASSED : API_REFUSED;
}

static api_verdict refuse(http_refusal *refusal, int status, const char *sentence) {
  refusal->status = status;
  snprintf(refusal->sentence, sizeof refusal->sentence, "%s", sentence);
  return API_REFUSED;
}

/* An Authorization header counts before a cookie. */
static api_verdict identify(api *a, const http_request *r, bool on_loop, api_user *found,
                            http_refusal *refusal) {
  const char *bad = "the token is not valid, or no longer; log in again";
  char secret[SECRET_TEXT];
  credential c;
  const char *text = http_header(r, "authorization");
  if (text) {
    if (strncmp(text, "Bearer ", 7) != 0) return refuse(refusal, 401, bad);
    c = bearer(text + 7);
  } else if (!api_cookie_of(r, secret))
    return refuse(refusal, 401, "log in first: this needs a token (Authorization: Bearer ...)");
  else if (!api_is_same_origin(r))
    return refuse(refusal, 403, "the cookie counts only for pages of this server");
  else {
    c = (credential){'c', secret, read_cookie};
    bad = "the log-in has ended; log in again";
  }
  api_verdict v = find_user(a, &c, on_loop, found);
  return v == API_REFUSED ? refuse(refusal, 401, bad) : v;
}

bool api_user_of(api *a, const http_request *r, api_user *user, http_refusal *refusal) {
  return identify(a, r, false, user, refusal) == API_PASSED;
}

/* What an account of its kind may not do. */
static api_verdict check_role(api_call *call) {
  if (!api_check_scope(call)) return API_REFUSED;
  if (call->route->right == API_ADMIN && !call->user.admin)
    api_fail(call, 403, "this is for administrators");
  else if (call->route->right == API_USER && call->user.node)
    api_fail(call, 403, "this is for people; the account is a machine's");
  else
    return API_PASSED;
  return API_REFUSED;
}

/* Of a path that is for anybody: another origin's page is nobody there. */
static bool has_good_cookie(const http_request *r) {
  char secret[SECRET_TEXT];
  return api_cookie_of(r, secret) && api_is_same_origin(r);
}

api_verdict api_authenticate(api_call *call, bool on_loop) {
  http_refusal refusal;
  const http_request *r = call->request;
  if (call->knows_user || call->route->right == API_ANYONE) return API_PASSED;
  bool is_nobody = call->route->right == API_OPTIONAL && !http_header(r, "authorization");
  if (is_nobody && !has_good_cookie(r)) return API_PASSED;
  api_verdict v = !api_has_ticket(call) ? identify(call->api, r, on_loop, &call->user, &refusal)
                  : on_loop             ? API_UNKNOWN
                  : api_use_ticket(call, &refusal) ? API_PASSED
                                                   : API_REFUSED;
  if (v == API_UNKNOWN) return v;
  if (v == API_REFUSED)
    api_fail(call, refusal.status, "%s", refusal.sentence);
  else
    v = check_role(call);
  if (v == API_PASSED) call->knows_user = true; /* else the answer has freed the call */
  return v;
}

/* Whether the API token still is what it was. */
static bool token_may_go_on(const api *a, const api_user *u, int64_t now) {
  bool found;
  json_t *row = token_by_id(a->context.store, u->token, now, &found);
  if (!row) return found; /* not known: the store is busy */
  const char *role = store_text(row, "role");
  int scopes = api_scopes_read(store_text(row, "scopes"), strcmp(role, "admin") == 0);
  bool ok = (strcmp(role, "node") == 0) == u->node && scopes == u->scopes;
  json_decref(row);
  return ok;
}

/* Whether the log-in, and the role that it was opened with, still stand. */
bool api_may_go_on(const api *a, const api_user *u, int64_t now) {
  bool found;
  if (u->expires <= now) return false;
  if (u->token) return token_may_go_on(a, u, now);
  json_t *row = user_of_login(a->context.store, u->id, u->login, &found);
  bool ok = (!row && found) || /* not known: the store is busy */
            (row && store_integer(row, "generation") == u->generation &&
             (strcmp(store_text(row, "role"), "admin") == 0) == u->admin);
  json_decref(row);
  return ok;
}

/* ---- before the body has come; on the loop ---- */

int api_may_send(const char *method, const char *path, const char *authorization,
                 const char *cookie, void *user) {
  api *a = user;
  api_call call = {0};
  token t;
  const api_route *r = api_find_route(method, path, &call);
  if (!r || r->right == API_ANYONE || r->right == API_OPTIONAL) return 0;
  /* The loop does not ask the store for cookies and API tokens: they are checked when the call
   * runs. */
  if (!authorization) return cookie && api_has_cookie(cookie) ? 0 : 401;
  if (strncmp(authorization, "Bearer ", 7) != 0) return 401;
  if (is_api_token(authorization + 7))
    return strlen(authorization + 7) == API_TOKEN_TEXT - 1 ? 0 : 401;
  return token_read(a->key, authorization + 7, context_now(), &t) ? 0 : 401;
}

size_t api_body_limit(const char *method, const char *path, void *user) {
  (void)user;
  api_call call = {0};
  const api_route *r = api_find_route(method, path, &call);
  return r ? api_most_body(r) : API_SMALL_BODY;
}

size_t api_most_body(const api_route *r) {
  return r->how & API_ENDLESS ? SIZE_MAX : r->how & API_LARGE ? API_LARGE_BODY : API_SMALL_BODY;
}
