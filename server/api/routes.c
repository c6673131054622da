/* All resources, and which route a path is. */
#include "api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Those of which thousands are asked a second come first. */
const api_resource *const api_resources[] = {
    &api_inference, &api_tensorflow, &api_auth,    &api_users,       &api_datasets, &api_uploads,
    &api_models,    &api_sessions,   &api_weights, &api_predict,     &api_devices,  &api_history,
    &api_events,    &api_settings,   &api_backups, &api_state,       &api_check,    &api_system,
    &api_tokens,    &api_account,    &api_tickets, &api_evaluations, NULL};

static const char key_letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/* True when the path fits the pattern; ids get its numbers, key its key. */
static bool fits(const char *pattern, const char *path, int64_t ids[API_MAX_IDS], char key[65],
                 char name[101]) {
  int n = 0;
  while (*pattern) {
    if (*pattern != '{') {
      if (*pattern++ != *path++) return false;
      continue;
    }
    char *end;
    errno = 0;
    bool is_key = strncmp(pattern, "{key}", 5) == 0;
    if (is_key || strncmp(pattern, "{name}", 6) == 0) {
      size_t length = is_key ? strspn(path, key_letters) : strcspn(path, "/");
      char *to = is_key ? key : name;
      if (!length || length > (is_key ? 64 : 100)) return false;
      memcpy(to, path, length);
      to[length] = '\0';
      path += length;
      pattern += is_key ? 5 : 6;
      continue;
    }
    if (*path < '0' || *path > '9' || n == API_MAX_IDS) return false;
    ids[n++] = strtoll(path, &end, 10);
    if (errno) return false;
    path = end;
    pattern = strchr(pattern, '}') + 1;
  }
  return *path == '\0';
}

static const api_route *find(const char *method, const char *path, api_call *call) {
  for (int i = 0; api_resources[i]; i++)
    for (const api_route *r = api_resources[i]->routes; r->method; r++)
      if ((!method || strcmp(r->method, method) == 0) &&
          fits(r->path, path, call->ids, call->key, call->name))
        return r;
  return NULL;
}

/* What can be got can be asked for its head. */
const api_route *api_find_route(const char *method, const char *path, api_call *call) {
  const api_route *own = find(method, path, call);
  return !own && method && strcmp(method, "HEAD") == 0 ? find("GET", path, call) : own;
}

void api_allowed_methods(const char *path, char *out, size_t size) {
  int64_t ids[API_MAX_IDS];
  char key[65], name[101];
  size_t at = 0;
  out[0] = '\0';
  for (int i = 0; api_resources[i]; i++)
    for (const api_route *r = api_resources[i]->routes; r->method; r++)
      if (fits(r->path, path, ids, key, name) && !strstr(out, r->method) && at + 24 < size)
        at += (size_t)snprintf(out + at, size - at, "%s%s%s", at ? ", " : "", r->method,
                               strcmp(r->method, "GET") == 0 ? ", HEAD" : "");
}
