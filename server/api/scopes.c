/* Scopes of API tokens: what a token may of what its account may. */
#include "api.h"

#include <stdio.h>
#include <string.h>

const char *const api_scope_names[] = {"read", "predict", "write", "admin", NULL};

/* Routes whose scope does not follow from their method and right; the first that fits counts.
 * method NULL: any. A path stands for all that begin with it. */
static const struct {
  const char *method, *path;
  int scopes;
} exceptions[] = {
    /* The account itself: a stolen token must not last longer than itself. */
    {"GET", "/api/v1/auth/me", API_SCOPE_READ},
    {NULL, "/api/v1/auth/", 0},
    {NULL, "/api/v1/tokens", 0},
    {NULL, "/api/v1/tickets", 0},
    {NULL, "/api/v1/users/{id}/tokens", 0},
    {"POST", "/api/v1/users/keys", 0},
    {NULL, "/api/v1/users/{id}/password", 0},
    /* Loading and unloading concern all who predict with the model. */
    {NULL, "/v2/repository/models/", API_SCOPE_WRITE},
    {"GET", "/v2", API_SCOPE_PREDICT | API_SCOPE_READ},
    {"GET", "/v1/", API_SCOPE_PREDICT | API_SCOPE_READ},
    {NULL, "/v2", API_SCOPE_PREDICT},
    {NULL, "/v1/", API_SCOPE_PREDICT},
    {NULL, "/api/v1/weights/{id}/predict", API_SCOPE_PREDICT},
};

int api_scopes_of(const api_route *r) {
  for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++)
    if ((!exceptions[i].method || strcmp(exceptions[i].method, r->method) == 0) &&
        strncmp(exceptions[i].path, r->path, strlen(exceptions[i].path)) == 0)
      return exceptions[i].scopes;
  if (r->right == API_ADMIN) return API_SCOPE_ADMIN;
  return strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0 ? API_SCOPE_READ
                                                                         : API_SCOPE_WRITE;
}

int api_scopes_read(const char *text, bool admin) {
  int scopes = 0;
  for (int i = 0; api_scope_names[i]; i++)
    if (strstr(text, api_scope_names[i])) scopes |= 1 << i; /* no name is part of another */
  if (!admin) scopes &= ~API_SCOPE_ADMIN;
  if (scopes & API_SCOPE_ADMIN) scopes |= API_SCOPE_WRITE;
  if (scopes & API_SCOPE_WRITE) scopes |= API_SCOPE_READ | API_SCOPE_PREDICT;
  return scopes;
}

json_t *api_scopes_json(int scopes) {
  json_t *list = json_array();
  for (int i = 0; api_scope_names[i]; i++)
    if (scopes & 1 << i) json_array_append_new(list, json_string(api_scope_names[i]));
  return list;
}

bool api_check_scope(api_call *call) {
  int enough = api_scopes_of(call->route);
  if (!call->user.token || call->user.scopes & enough) return true;
  if (!enough) {
    api_fail(call, 403, "no API token may do this; log in");
    return false;
  }
  const char *name = api_scope_names[0];
  for (int i = 0; api_scope_names[i]; i++)
    if (enough & 1 << i) name = api_scope_names[i];
  api_add_header(call, "www-authenticate", "Bearer error=\"insufficient_scope\", scope=\"%s\"",
                 name);
  api_fail(call, 403, "this needs an API token with the scope \"%s\"", name);
  return false;
}
