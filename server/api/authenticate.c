/* Whose call it is, and whether he may. */
#include "api.h"

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

/* Of an Authorization header. on_loop: the store is not asked. */
static api_verdict find_user(api *a, const char *text, bool on_loop, api_user *found) {
  _Static_assert(sizeof *found <= CACHE_BYTES, "it is kept in the table of what is known");
  if (strncmp(text, "Bearer ", 7) != 0) return API_REFUSED;
  text += 7;
  bool is_known = cache_find(a->cache, 'a', text, strlen(text), found, sizeof *found);
  if (!is_known && on_loop) return API_UNKNOWN;
  if (!is_known) {
    uint64_t version = store_version(a->context.store);
    if (!read_account(a, text, found)) return API_REFUSED;
    cache_keep(a->cache, 'a', text, strlen(text), found, sizeof *found, version);
  }
  return found->expires > context_now() ? API_PASSED : API_REFUSED;
}

bool api_user_of(api *a, const char *authorization, api_user *user) {
  return authorization && find_user(a, authorization, false, user) == API_PASSED;
}

/* What an account of its kind may not do. */
static api_verdict check_role(api_call *call) {
  if (call->route->right == API_ADMIN && !call->user.admin)
    api_fail(call, 403, "this is for administrators");
  else if (call->route->right == API_USER && call->user.node)
    api_fail(call, 403, "this is for people; the account is a machine's");
  else
    return API_PASSED;
  return API_REFUSED;
}

api_verdict api_authenticate(api_call *call, bool on_loop) {
  if (call->knows_user || call->route->right == API_ANYONE) return API_PASSED;
  const char *text = http_header(call->request, "authorization");
  if (!text && call->route->right == API_OPTIONAL) return API_PASSED;
  api_verdict v = text ? find_user(call->api, text, on_loop, &call->user) : API_REFUSED;
  if (v == API_UNKNOWN) return v;
  if (v == API_REFUSED)
    api_fail(call, 401,
             text ? "the token is not valid, or no longer; log in again"
                  : "log in first: this needs a token (Authorization: Bearer ...)");
  else
    v = check_role(call);
  if (v == API_PASSED) call->knows_user = true; /* else the call is gone */
  return v;
}

/* ---- before the body has come; on the loop ---- */

int api_may_send(const char *method, const char *path, const char *authorization, void *user) {
  api *a = user;
  api_call call = {0};
  token t;
  const api_route *r = api_find_route(method, path, &call);
  if (!r || r->right == API_ANYONE || r->right == API_OPTIONAL) return 0;
  if (!authorization || strncmp(authorization, "Bearer ", 7) != 0) return 401;
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
