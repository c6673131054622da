#include "shape.h"

#include <stddef.h>
#include <string.h>

/* ---- writing ---- */

static json_t *apply_list(const answer_shape *of, json_t *list) {
  json_t *out = json_array(), *value;
  size_t i;
  json_array_foreach(list, i, value)
      json_array_append_new(out, shape_apply(of, json_incref(value)));
  return out;
}

/* A new reference. */
static json_t *member_value(const shape_member *m, json_t *value) {
  json_t *read = NULL;
  switch (m->type) {
  case SHAPE_BOOLEAN:
    return json_is_integer(value) ? json_boolean(json_integer_value(value)) : json_incref(value);
  case SHAPE_JSON:
    if (json_is_string(value))
      read = json_loadb(json_string_value(value), json_string_length(value), JSON_DECODE_ANY, NULL);
    return read ? read : json_incref(value);
  case SHAPE_OBJECT:
    return json_is_object(value) ? shape_apply(m->of, json_incref(value)) : json_incref(value);
  case SHAPE_LIST: return json_is_array(value) ? apply_list(m->of, value) : json_incref(value);
  default: return json_incref(value);
  }
}

static void apply_members(const answer_shape *s, const json_t *value, json_t *out) {
  if (s->base) apply_members(s->base, value, out);
  for (const shape_member *m = s->members; m->name; m++) {
    json_t *given = json_object_get(value, m->name);
    if (given)
      json_object_set_new(out, m->name, member_value(m, given));
    else if (!(m->how & SHAPE_OPTIONAL))
      json_object_set_new(out, m->name, json_null());
  }
}

json_t *shape_apply(const answer_shape *s, json_t *value) {
  json_t *out;
  if (!value || (!s->members && !s->list_of)) return value;
  if (s->list_of)
    out = apply_list(s->list_of, value);
  else
    apply_members(s, value, out = json_object());
  json_decref(value);
  return out;
}

/* ---- schemas ---- */

static json_t *list_of(json_t *items) {
  return json_pack("{s:s, s:o}", "type", "array", "items", items);
}

static json_t *type_schema(const shape_member *m, json_t *schemas) {
  switch (m->type) {
  case SHAPE_TEXT: return json_pack("{s:s}", "type", "string");
  case SHAPE_INTEGER: return json_pack("{s:s}", "type", "integer");
  case SHAPE_TIME: return json_pack("{s:s, s:s}", "type", "integer", "format", "unix-seconds");
  case SHAPE_BYTES: return json_pack("{s:s, s:s}", "type", "integer", "format", "bytes");
  case SHAPE_NUMBER: return json_pack("{s:s}", "type", "number");
  case SHAPE_BOOLEAN: return json_pack("{s:s}", "type", "boolean");
  case SHAPE_OBJECT: return shape_reference(m->of, schemas);
  case SHAPE_LIST: return list_of(shape_reference(m->of, schemas));
  case SHAPE_TEXTS: return list_of(json_pack("{s:s}", "type", "string"));
  case SHAPE_NUMBERS: return list_of(json_pack("{s:s}", "type", "number"));
  default: return json_object();
  }
}

static json_t *member_schema(const shape_member *m, json_t *schemas) {
  json_t *s = type_schema(m, schemas);
  if (m->choices) {
    json_t *list = json_array();
    for (int i = 0; m->choices[i]; i++) json_array_append_new(list, json_string(m->choices[i]));
    if (m->how & SHAPE_NULLABLE) json_array_append_new(list, json_null());
    json_object_set_new(s, "enum", list);
  }
  if (m->how & SHAPE_NULLABLE && m->type != SHAPE_JSON) {
    json_t *type = json_object_get(s, "type");
    if (type) {
      json_t *both = json_pack("[O, s]", type, "null");
      json_object_set_new(s, "type", both);
    } else
      s = json_pack("{s:[o, {s:s}]}", "anyOf", s, "type", "null");
  }
  if (m->about) json_object_set_new(s, "description", json_string(m->about));
  return s;
}

static void add_members(const answer_shape *s, json_t *schemas, json_t *members, json_t *required) {
  if (s->base) add_members(s->base, schemas, members, required);
  for (const shape_member *m = s->members; m->name; m++) {
    json_object_set_new(members, m->name, member_schema(m, schemas));
    if (!(m->how & SHAPE_OPTIONAL)) json_array_append_new(required, json_string(m->name));
  }
}

json_t *shape_schema(const answer_shape *s, json_t *schemas) {
  if (s->list_of) return list_of(shape_reference(s->list_of, schemas));
  if (!s->members) return json_pack("{s:s}", "type", "object");
  json_t *members = json_object(), *required = json_array();
  add_members(s, schemas, members, required);
  return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", members, "required",
                   required, "additionalProperties", 0);
}

json_t *shape_reference(const answer_shape *s, json_t *schemas) {
  char path[128] = "#/components/schemas/";
  strncat(path, s->name, sizeof path - strlen(path) - 1);
  if (!json_object_get(schemas, s->name)) {
    json_object_set_new(schemas, s->name, json_null()); /* shapes may refer to themselves */
    json_object_set_new(schemas, s->name, shape_schema(s, schemas));
  }
  return json_pack("{s:s}", "$ref", path);
}
