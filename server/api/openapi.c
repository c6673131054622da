/* The interface as an OpenAPI document, from the tables of routes. */
#include "api.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

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
