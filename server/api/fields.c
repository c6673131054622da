/* Checking a call's fields against their declarations, and the OpenAPI document from the same. */
#include "datasets.h"

#include <ctype.h>
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

static bool read_query(api_call *call) {
  char *copy = strdup(http_query(call->request)), *rest = copy, *part;
  bool ok = copy != NULL;
  while (ok && (part = strsep(&rest, "&"))) {
    char *value = strchr(part, '=');
    if (!*part) continue;
    if (value) *value++ = '\0';
    const api_field *f =
        decode(part) && (!value || decode(value)) ? find_field(call->route, part, true) : NULL;
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

static bool read_body(api_call *call) {
  size_t size;
  const char *body = http_body(call->request, &size);
  json_error_t error;
  if (!size || (call->route->how & API_RAW)) return true;
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

bool api_is_name(const char *text) {
  size_t n = strlen(text);
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)text[i];
    if (!(c >= 0x80 || isalnum(c) || strchr(" ._-", c))) return false;
  }
  return n && !strchr(" .", text[0]) && !strchr(" .", text[n - 1]);
}

static bool check_text(api_call *call, const api_field *f, const char *text) {
  size_t n = strlen(text);
  if ((double)n < f->least || (double)n > f->most) {
    api_fail(call, 400, "%s must have %.0f to %.0f bytes, it has %zu", f->name, f->least, f->most,
             n);
    return false;
  }
  if (f->type == API_NAME && !api_is_name(text)) {
    api_fail(call, 400,
             "%s may have letters, digits, blanks, \".\", \"_\" and \"-\", and begins and ends "
             "with neither blank nor dot",
             f->name);
    return false;
  }
  for (int i = 0; f->choices; i++) {
    if (!f->choices[i]) {
      api_fail(call, 400, "%s cannot be \"%.60s\"; see /openapi.json for its values", f->name,
               text);
      return false;
    }
    if (strcmp(f->choices[i], text) == 0) break;
  }
  return true;
}

static bool check_value(api_call *call, const api_field *f, const json_t *v) {
  static const char *const words[] = {"a text",   "a text",        "a text",    "a whole number",
                                      "a number", "true or false", "an object", "a whole number"};
  bool right;
  switch (f->type) {
  case API_INTEGER:
  case API_ID: right = json_is_integer(v); break;
  case API_NUMBER: right = json_is_number(v); break;
  case API_BOOLEAN: right = json_is_boolean(v); break;
  case API_OBJECT: right = json_is_object(v); break;
  default: right = json_is_string(v);
  }
  if (!right) {
    api_fail(call, 400, "%s must be %s", f->name, words[f->type]);
    return false;
  }
  if (json_is_string(v)) return check_text(call, f, json_string_value(v));
  if (!json_is_number(v) || f->type == API_ID) return true;
  double x = json_number_value(v);
  if (x >= f->least && x <= f->most) return true;
  api_fail(call, 400, "%s must be %g to %g, it is %g", f->name, f->least, f->most, x);
  return false;
}

bool api_check_fields(api_call *call) {
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
      api_fail(call, 400, "%s is missing: %s", f->name, f->about);
      return false;
    }
    if (v && !check_value(call, f, v)) return false;
  }
  return true;
}

/* ---- OpenAPI 3.1 ---- */

static json_t *schema_of(const api_field *f) {
  static const char *const types[] = {"string", "string",  "string", "integer",
                                      "number", "boolean", "object", "integer"};
  json_t *s = json_pack("{s:s, s:s}", "type", types[f->type], "description", f->about);
  if (f->type <= API_SECRET) {
    json_object_set_new(s, "minLength", json_integer((json_int_t)f->least));
    json_object_set_new(s, "maxLength", json_integer((json_int_t)f->most));
  } else if (f->type == API_INTEGER || f->type == API_NUMBER) {
    json_object_set_new(s, "minimum", json_real(f->least));
    json_object_set_new(s, "maximum", json_real(f->most));
  }
  if (f->type == API_SECRET) json_object_set_new(s, "format", json_string("password"));
  if (f->choices) {
    json_t *list = json_array();
    for (int i = 0; f->choices[i]; i++) json_array_append_new(list, json_string(f->choices[i]));
    json_object_set_new(s, "enum", list);
  }
  return s;
}

static void add_path_parameters(const char *path, json_t *parameters) {
  for (const char *p = path; (p = strchr(p, '{')); p++) {
    size_t n = strcspn(p + 1, "}");
    const char *type = strncmp(p + 1, "id", n) == 0 ? "integer" : "string";
    json_array_append_new(parameters, json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", p + 1, n, "in",
                                                "path", "required", 1, "schema", "type", type));
  }
}

static json_t *operation_of(const api_resource *resource, const api_route *r) {
  json_t *operation = json_pack("{s:s, s:[s], s:{s:{s:s}, s:{s:s}}}", "summary", r->about, "tags",
                                resource->name, "responses", "2XX", "description", "done", "4XX",
                                "description", "refused: {\"error\": why}");
  json_t *parameters = json_array(), *members = json_object(), *required = json_array();
  add_path_parameters(r->path, parameters);
  for (const api_field *f = r->fields; f && f->name; f++) {
    if (f->in_query) {
      json_array_append_new(parameters,
                            json_pack("{s:s, s:s, s:b, s:o}", "name", f->name, "in", "query",
                                      "required", f->required, "schema", schema_of(f)));
      continue;
    }
    json_object_set_new(members, f->name, schema_of(f));
    if (f->required) json_array_append_new(required, json_string(f->name));
  }
  json_object_set_new(operation, "parameters", parameters);
  if (json_object_size(members))
    json_object_set_new(operation, "requestBody",
                        json_pack("{s:b, s:{s:{s:{s:s, s:O, s:O, s:b}}}}", "required", 1, "content",
                                  "application/json", "schema", "type", "object", "properties",
                                  members, "required", required, "additionalProperties", 0));
  if (r->right != API_ANYONE && r->right != API_OPTIONAL)
    json_object_set_new(operation, "security", json_pack("[{s:[]}]", "token"));
  json_decref(members);
  json_decref(required);
  return operation;
}

static void lower(char *to, const char *from, size_t size) {
  size_t i = 0;
  for (; from[i] && i + 1 < size; i++) to[i] = (char)tolower((unsigned char)from[i]);
  to[i] = '\0';
}

json_t *api_openapi(const api *a) {
  json_t *paths = json_object(), *tags = json_array();
  for (int i = 0; api_resources[i]; i++) {
    json_array_append_new(tags, json_pack("{s:s, s:s}", "name", api_resources[i]->name,
                                          "description", api_resources[i]->about));
    for (const api_route *r = api_resources[i]->routes; r->method; r++) {
      char method[16];
      json_t *path = json_object_get(paths, r->path);
      if (!path) json_object_set_new(paths, r->path, path = json_object());
      lower(method, r->method, sizeof method);
      json_object_set_new(path, method, operation_of(api_resources[i], r));
    }
  }
  return json_pack("{s:s, s:{s:s, s:s}, s:[{s:s}], s:o, s:o, s:{s:{s:{s:s, s:s, s:s}}}}", "openapi",
                   "3.1.0", "info", "title", "webml-server", "version", "1", "servers", "url",
                   a->address, "tags", tags, "paths", paths, "components", "securitySchemes",
                   "token", "type", "http", "scheme", "bearer", "bearerFormat", "JWT");
}
