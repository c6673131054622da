/* The clients of trusted proxies. */
#include "loop.h"

#include <ctype.h>
#include <string.h>

bool http_same_name(const char *a, size_t n, const char *b) {
  for (size_t i = 0; i < n; i++)
    if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i])) return false;
  return b[n] == '\0';
}

int http_values_of(const http_request *r, const char *name, http_text values[HTTP_MOST_VALUES]) {
  int n = 0;
  if (!r->detached) {
    for (size_t i = 0; i < r->req->headers.size; i++) {
      const h2o_header_t *h = &r->req->headers.entries[i];
      if (http_same_name(h->name->base, h->name->len, name))
        values[n++ % HTTP_MOST_VALUES] = (http_text){h->value.base, h->value.len};
    }
  } else
    for (const char *p = r->copies, *value; *p; p = value + strlen(value) + 1) {
      value = p + strlen(p) + 1;
      if (http_same_name(p, strlen(p), name))
        values[n++ % HTTP_MOST_VALUES] = (http_text){value, strlen(value)};
    }
  return n;
}

/* Whose request it is, when a proxy has passed it on. False: the proxy has said two things: one of
 * them is the client's own. */
bool http_find_client(http_request *r) {
  http_text values[HTTP_MOST_VALUES];
  char first[48], second[48];
  const http_networks *proxies = &r->loop->server->proxies;
  int n = http_values_of(r, "x-forwarded-for", values);
  if (n > HTTP_MOST_VALUES) return false;
  bool has_first = http_forwarded_client(proxies, values, n, false, first);
  n = http_values_of(r, "forwarded", values);
  if (n > HTTP_MOST_VALUES) return false;
  bool has_second = http_forwarded_client(proxies, values, n, true, second);
  if (has_first && has_second && strcmp(first, second) != 0) return false;
  if (has_first || has_second) memcpy(r->peer, has_first ? first : second, sizeof r->peer);
  return true;
}

/* NULL, or why not. */
const char *http_check_client(http_request *r, int *status) {
  *status = 400;
  if (!http_find_client(r)) return "Forwarded and X-Forwarded-For name different clients";
  if (strcmp(r->peer, r->connection->address) == 0) return NULL; /* its own request */
  *status = 429;
  r->client = http_client_enter(r->loop->server, r->peer);
  return r->client ? NULL : "too many requests at a time";
}
