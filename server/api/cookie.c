/* Log-ins of browsers by a cookie, over TLS only. Cookies are not kept apart by port (RFC 6265,
 * 8.5), and a browser sends them along whichever page asks: what a cookie opens is for pages of
 * this very origin. */
#include "api.h"

#include <stdio.h>
#include <string.h>

/* Browsers keep a cookie for 400 days at most; when the log-in ends is the server's to say. */
#define COOKIE_OPTIONS "; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age="
enum { COOKIE_SECONDS = 400 * 86400 };

static bool is_safe(const char *method) {
  return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

/* Browsers say over TLS which page has asked (Fetch Metadata); old ones send Origin with everything
 * that may change something. "none": a person has typed the address. */
bool api_is_same_origin(const http_request *r) {
  char own[512];
  bool reads = is_safe(http_method(r));
  const char *text = http_header(r, "sec-fetch-site");
  if (text) return strcmp(text, "same-origin") == 0 || (reads && strcmp(text, "none") == 0);
  text = http_header(r, "host");
  int n = snprintf(own, sizeof own, "https://%s", text ? text : "");
  if (n < 0 || n >= (int)sizeof own) return false;
  text = http_header(r, "origin");
  return text ? strcmp(text, own) == 0 : reads;
}

static bool is_secret(const char *text) {
  return strlen(text) == SECRET_TEXT - 1;
}

bool api_cookie_of(const http_request *r, char secret[SECRET_TEXT]) {
  return http_is_secure(r) && http_cookie(r, API_COOKIE, secret, SECRET_TEXT) && is_secret(secret);
}

bool api_has_cookie(const char *field) {
  char secret[SECRET_TEXT];
  return http_cookie_in(field, strlen(field), API_COOKIE, secret, sizeof secret) &&
         is_secret(secret);
}

bool api_wants_cookie(api_call *call, bool *wants) {
  *wants = api_boolean(call, "cookie", false);
  if (!*wants) return true;
  if (!http_is_secure(call->request))
    api_fail(call, 400, "log-ins by cookie need TLS; over plain http take the token");
  else if (!api_is_same_origin(call->request))
    api_fail(call, 403, "a page of another origin may not log in by cookie");
  else
    return true;
  return false;
}

void api_set_cookie(api_call *call, const char *secret) {
  api_add_header(call, "set-cookie", API_COOKIE "=%s" COOKIE_OPTIONS "%d", secret, COOKIE_SECONDS);
}

void api_clear_cookie(api_call *call) {
  if (call->user.cookie) api_add_header(call, "set-cookie", API_COOKIE "=" COOKIE_OPTIONS "0");
}
