/* The interface as an OpenAPI 3.1 document, from the tables that requests are checked and answers
 * are written by. */
#include "api.h"

#include "examples.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ---- */

static json_t *schema_of(const api_field *f) {
  static const char *const types[] = {"string",  "string", "string",  "integer", "number",
                                      "boolean", "object", "integer", "array"};
  json_t *s = json_pack("{s:s, s:s}", "type", types[f->type], "description", f->about);
  if (f->type <= API_SECRET) {
    json_object_set_new(s, "minLength", json_integer((json_int_t)f->least));
    json_object_set_new(s, "maxLength", json_integer((json_int_t)f->most));
  } else if (f->type == API_INTEGER || f->type == API_NUMBER) {
    json_object_set_new(s, "minimum", json_real(f->least));
    json_object_set_new(s, "maximum", json_real(f->most));
  }
  if (f->type == API_SECRET) json_object_set_new(s, "format", json_string("password"));
  json_t *texts = f->type == API_TEXTS ? json_pack("{s:s}", "type", "string") : NULL;
  if (f->choices) {
    json_t *list = json_array();
    for (int i = 0; f->choices[i]; i++) json_array_append_new(list, json_string(f->choices[i]));
    json_object_set_new(texts ? texts : s, "enum", list);
  }
  if (texts) {
    json_object_set_new(s, "items", texts);
    json_object_set_new(s, "minItems", json_integer((json_int_t)f->least));
    json_object_set_new(s, "maxItems", json_integer((json_int_t)f->most));
    json_object_set_new(s, "uniqueItems", json_true());
  }
  return s;
}

static void add_path_parameters(const char *path, json_t *parameters) {
  for (const char *p = path; (p = strchr(p, '{')); p++) {
    size_t n = strcspn(p + 1, "}");
    bool is_text = strncmp(p + 1, "key", n) == 0 || strncmp(p + 1, "name", n) == 0;
    const char *type = is_text ? "string" : "integer";
    json_array_append_new(parameters, json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", p + 1, n, "in",
                                                "path", "required", 1, "schema", "type", type));
  }
}

/* Parameters of the query go to `parameters`; those of the body make its schema, NULL: none. */
static json_t *read_fields(const api_route *r, json_t *parameters) {
  json_t *members = json_object(), *required = json_array();
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
  bool some = json_object_size(members) > 0;
  json_t *schema = some ? json_pack("{s:s, s:O, s:O, s:b}", "type", "object", "properties", members,
                                    "required", required, "additionalProperties", 0)
                        : NULL;
  json_decref(members);
  json_decref(required);
  return schema;
}

/* ---- answers ---- */

/* example: NULL: there is none. */
static json_t *content(const char *type, json_t *schema, json_t *example) {
  return json_pack("{s:{s:o, s:o*}}", type, "schema", schema, "example", example);
}

static bool has_own_form(const api_route *r) {
  return strncmp(r->path, "/v2", 3) == 0 || strncmp(r->path, "/v1/", 4) == 0;
}

static json_t *responses_of(const api_route *r, json_t *schemas) {
  json_t *good = json_pack("{s:s}", "description", "done");
  if (r->answer)
    json_object_set_new(
        good, "content",
        content("application/json", shape_reference(r->answer, schemas), example_answer(r->id)));
  else if (r->content)
    json_object_set_new(good, "content",
                        content(r->content, json_pack("{s:s}", "type", "string"), NULL));
  json_t *bad =
      shape_reference(has_own_form(r) ? &api_protocol_error_shape : &api_problem_shape, schemas);
  return json_pack(
      "{s:o, s:{s:s, s:o}}", "2XX", good, "default", "description",
      "refused or failed; the sentence says why", "content",
      content(has_own_form(r) ? "application/json" : "application/problem+json", bad, NULL));
}

/* Any one of these will do. */
static json_t *security_of(const api_route *r) {
  json_t *ways = json_pack("[{s:[]}, {s:[]}]", "token", "cookie");
  if (r->right == API_OPTIONAL) json_array_insert_new(ways, 0, json_object());
  if (r->how & API_TICKET) json_array_append_new(ways, json_pack("{s:[]}", "ticket"));
  return ways;
}

static json_t *operation_of(const api_resource *resource, const api_route *r, json_t *schemas) {
  json_t *operation = json_pack("{s:s, s:s, s:[s], s:o}", "operationId", r->id, "summary", r->about,
                                "tags", resource->name, "responses", responses_of(r, schemas));
  json_t *parameters = json_array();
  add_path_parameters(r->path, parameters);
  if (r->how & API_IDEMPOTENT)
    json_array_append_new(parameters,
                          json_pack("{s:s, s:s, s:b, s:s, s:{s:s, s:i, s:i}}", "name",
                                    "Idempotency-Key", "in", "header", "required", 0, "description",
                                    "the same key with the same request within 24 hours gets the "
                                    "first answer again; another request gets 422, and 409 while "
                                    "the first one is under way",
                                    "schema", "type", "string", "minLength", 1, "maxLength", 257));
  json_t *body = read_fields(r, parameters);
  json_object_set_new(operation, "parameters", parameters);
  if (body) {
    bool required = json_array_size(json_object_get(body, "required")) > 0;
    json_object_set_new(operation, "requestBody",
                        json_pack("{s:b, s:o}", "required", required, "content",
                                  content("application/json", body, example_request(r->id))));
  }
  if (r->right != API_ANYONE) json_object_set_new(operation, "security", security_of(r));
  return operation;
}

static void lower(char *to, const char *from, size_t size) {
  size_t i = 0;
  for (; from[i] && i + 1 < size; i++) to[i] = (char)tolower((unsigned char)from[i]);
  to[i] = '\0';
}

/* What streams of /api/v1/events carry: the data of each kind. */
static json_t *events_of(json_t *schemas) {
  json_t *events = json_object();
  for (const api_event *e = api_event_kinds; e->kind; e++)
    json_object_set_new(events, e->kind,
                        json_pack("{s:s, s:o}", "description", e->about, "schema",
                                  shape_reference(e->data, schemas)));
  return events;
}

static json_t *security_schemes(void) {
  return json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s, s:s, s:s}}", "token",
                   "type", "http", "scheme", "bearer", "bearerFormat",
                   "JWT, or " API_TOKEN_PREFIX "...", "cookie", "type", "apiKey", "in", "cookie",
                   "name", API_COOKIE, "description", "over TLS, and for pages of this server",
                   "ticket", "type", "apiKey", "in", "query", "name", "ticket", "description",
                   "of POST /api/v1/tickets");
}

json_t *api_openapi(const api *a) {
  json_t *paths = json_object(), *tags = json_array(), *schemas = json_object();
  for (int i = 0; api_resources[i]; i++) {
    json_array_append_new(tags, json_pack("{s:s, s:s}", "name", api_resources[i]->name,
                                          "description", api_resources[i]->about));
    for (const api_route *r = api_resources[i]->routes; r->method; r++) {
      char method[16];
      json_t *path = json_object_get(paths, r->path);
      if (!path) json_object_set_new(paths, r->path, path = json_object());
      lower(method, r->method, sizeof method);
      json_object_set_new(path, method, operation_of(api_resources[i], r, schemas));
    }
  }
  json_t *events = events_of(schemas);
  return json_pack("{s:s, s:{s:s, s:s}, s:[{s:s}], s:o, s:o, s:o, s:{s:o, s:o}}", "openapi",
                   "3.1.0", "info", "title", "webml-server", "version", "1", "servers", "url",
                   a->address, "tags", tags, "paths", paths, "x-events", events, "components",
                   "schemas", schemas, "securitySchemes", security_schemes());
}
