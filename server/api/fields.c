/* Checking a call's fields against their declarations. */
#include "api.h"

#include "store/names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the query: name=value&... ---- */

static int hex(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* In place; false: a broken %xx, or a NUL. */
static bool decode(char *text) {
  char *to = text;
  for (char *p = text; *p; p++) {
    if (*p == '%') {
      int high = hex(p[1]), low = high < 0 ? -1 : hex(p[2]);
      if (low < 0 || high * 16 + low == 0) return false;
      *to++ = (char)(high * 16 + low);
      p += 2;
    } else
      *to++ = *p == '+' ? ' ' : *p;
  }
  *to = '\0';
  return true;
}

static const api_field *find_field(const api_route *route, const char *name, bool in_query) {
  for (const api_field *f = route->fields; f && f->name; f++)
    if (f->in_query == in_query && strcmp(f->name, name) == 0) return f;
  return NULL;
}

static json_t *value_of(const api_field *f, const char *text) {
  char *end;
  switch (f->type) {
  case API_INTEGER:
  case API_ID: {
    long long n = strtoll(text, &end, 10);
    return *text && !*end ? json_integer(n) : json_string(text);
  }
  case API_NUMBER: {
    double x = strtod(text, &end);
    return *text && !*end && isfinite(x) ? json_real(x) : json_string(text);
  }
  case API_BOOLEAN:
    return strcmp(text, "true") == 0 || strcmp(text, "1") == 0    ? json_true()
           : strcmp(text, "false") == 0 || strcmp(text, "0") == 0 ? json_false()
                                                                  : json_string(text);
  default: return json_string(text);
  }
}

static bool is_utf8(const char *text) {
  json_t *value = json_string(text); /* checks it */
  json_decref(value);
  return value != NULL;
}

/* Clients of the inference protocols send parameters that other servers have. */
static bool ignores_unknown(const api_call *call) {
  const char *path = http_path(call->request);
  return strncmp(path, "/v2", 3) == 0 || strncmp(path, "/v1/", 4) == 0;
}

/* It was looked at before. */
static bool is_ticket(const api_call *call, const char *name) {
  return call->route->how & API_TICKET && strcmp(name, "ticket") == 0;
}

static bool read_query(api_call *call) {
  char *copy = strdup(http_query(call->request)), *rest = copy, *part;
  bool ok = copy != NULL;
  while (ok && (part = strsep(&rest, "&"))) {
    char *value = strchr(part, '=');
    if (!*part) continue;
    if (value) *value++ = '\0';
    ok = decode(part) && (!value || decode(value)) && is_utf8(part) && (!value || is_utf8(value));
    if (!ok) {
      api_fail(call, 400, "the query is not UTF-8, or has a broken %%-sequence");
      break;
    }
    const api_field *f = find_field(call->route, part, true);
    if (!f && (ignores_unknown(call) || is_ticket(call, part))) continue;
    ok = f != NULL;
    if (!ok)
      api_fail(call, 400, "the query has no parameter \"%.100s\" here", part);
    else
      json_object_set_new(call->input, f->name, value_of(f, value ? value : ""));
  }
  if (!copy) api_fail(call, 503, "out of memory");
  free(copy);
  return ok;
}

/* ---- the body ---- */

size_t api_count_values(const char *json, size_t size) {
  size_t n = 1;
  for (size_t i = 0; i < size; i++) {
    if (json[i] == '"') { /* what is in a text counts nothing */
      for (i++; i < size && json[i] != '"'; i++) i += json[i] == '\\';
    } else
      n += json[i] == ',' || json[i] == ':' || json[i] == '[' || json[i] == '{';
  }
  return n;
}

static bool read_body(api_call *call) {
  enum { MOST_VALUES = 20000 };
  size_t size;
  const char *body = http_body(call->request, &size);
  json_error_t error;
  if (!size || (call->route->how & API_RAW)) return true;
  if (api_count_values(body, size) > MOST_VALUES) {
    api_fail(call, 413, "the body has more than %d values", MOST_VALUES);
    return false;
  }
  json_t *json = json_loadb(body, size, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_object(json)) {
    if (json)
      api_fail(call, 400, "the body must be a JSON object");
    else
      api_fail(
          call, 400, "the body is not JSON: line %d: %.*s", error.line,
          (int)(strstr(error.text, " near ") ? strstr(error.text, " near ") - error.text : 160),
          error.text); /* what stands there may be a password, and this goes to the log */
    json_decref(json);
    return false;
  }
  const char *name;
  json_t *value;
  json_object_foreach(json, name, value) {
    if (!find_field(call->route, name, false)) {
      api_fail(call, 400, "the body has no member \"%.100s\" here", name);
      json_decref(json);
      return false;
    }
    json_object_set(call->input, name, value);
  }
  json_decref(json);
  return true;
}

static bool check_text(api_call *call, const api_field *f, const char *text) {
  size_t n = strlen(text);
  if ((double)n < f->least || (double)n > f->most) {
    api_fail_field(call, f, "%s must have %.0f to %.0f bytes, it has %zu", f->name, f->least,
                   f->most, n);
    return false;
  }
  const char *problem = f->type == API_NAME ? name_problem(text) : NULL;
  if (problem) {
    api_fail_field(call, f, "%s %s", f->name, problem);
    return false;
  }
  for (int i = 0; f->choices; i++) {
    if (!f->choices[i]) {
      api_fail_field(call, f, "%s cannot be \"%.60s\"; see /openapi.json for its values", f->name,
                     text);
      return false;
    }
    if (strcmp(f->choices[i], text) == 0) break;
  }
  return true;
}

/* A list of different texts, each of them one of the choices. */
static bool check_texts(api_call *call, const api_field *f, const json_t *list) {
  double n = (double)json_array_size(list);
  bool right = json_is_array(list) && n >= f->least && n <= f->most;
  for (size_t i = 0; right && i < json_array_size(list); i++) {
    const char *text = json_string_value(json_array_get(list, i));
    right = text != NULL;
    for (size_t k = 0; right && k < i; k++)
      right = strcmp(json_string_value(json_array_get(list, k)), text) != 0;
    for (int c = 0; right && f->choices; c++) {
      right = f->choices[c] != NULL;
      if (right && strcmp(f->choices[c], text) == 0) break;
    }
  }
  if (!right)
    api_fail_field(call, f, "%s must be a list of %.0f to %.0f different texts: %s", f->name,
                   f->least, f->most, f->about);
  return right;
}

static bool check_value(api_call *call, const api_field *f, const json_t *v) {
  static const char *const words[] = {"a text",         "a text",         "a text",
                                      "a whole number", "a number",       "true or false",
                                      "an object",      "a whole number", "a list of texts"};
  bool right;
  switch (f->type) {
  case API_INTEGER:
  case API_ID: right = json_is_integer(v); break;
  case API_NUMBER: right = json_is_number(v); break;
  case API_BOOLEAN: right = json_is_boolean(v); break;
  case API_OBJECT: right = json_is_object(v); break;
  case API_TEXTS: return check_texts(call, f, v);
  default: right = json_is_string(v);
  }
  if (!right) {
    api_fail_field(call, f, "%s must be %s", f->name, words[f->type]);
    return false;
  }
  if (json_is_string(v)) return check_text(call, f, json_string_value(v));
  if (!json_is_number(v) || f->type == API_ID) return true;
  double x = json_number_value(v);
  if (x >= f->least && x <= f->most) return true;
  api_fail_field(call, f, "%s must be %g to %g, it is %g", f->name, f->least, f->most, x);
  return false;
}

bool api_check_fields(api_call *call) {
  if (call->input) return true; /* has been checked */
  bool takes_nothing = !call->route->fields && (call->route->how & API_RAW);
  if (takes_nothing && !*http_query(call->request)) return true;
  call->input = json_object();
  if (!call->input) {
    api_fail(call, 503, "out of memory");
    return false;
  }
  if (!read_query(call) || !read_body(call)) return false;
  for (const api_field *f = call->route->fields; f && f->name; f++) {
    const json_t *v = json_object_get(call->input, f->name);
    if (!v && f->required) {
      api_fail_field(call, f, "%s is missing: %s", f->name, f->about);
      return false;
    }
    if (v && !check_value(call, f, v)) return false;
  }
  return true;
}
