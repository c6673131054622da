#include "model/fields.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 256 };

void wml_issue(wml_issues *issues, const char *path, const char *format, ...) {
  char what[512];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  if (issues->count++ < 100)
    wml_text_format(&issues->text, "%s%s: %s", issues->count > 1 ? "\n" : "", path, what);
}

bool wml_number_of(const wml_json *json, double *value) {
  if (json->kind == WML_JSON_NUMBER)
    *value = json->number;
  else if (json->kind != WML_JSON_STRING ||
           !wml_parse_number(json->string, strlen(json->string), value))
    return false;
  return true;
}

static void *at(void *object, const wml_field *f) {
  return (char *)object + f->offset;
}

static void set_default(const wml_field *f, void *object) {
  switch (f->kind) {
  case WML_FIELD_INT: *(int *)at(object, f) = (int)f->otherwise; return;
  case WML_FIELD_PADDING: *(wml_padding *)at(object, f) = WML_PADDING_VALID; return;
  case WML_FIELD_FLOAT: *(float *)at(object, f) = (float)f->otherwise; return;
  case WML_FIELD_BOOL: *(bool *)at(object, f) = f->otherwise != 0.0; return;
  case WML_FIELD_PAIR:
    ((int *)at(object, f))[0] = ((int *)at(object, f))[1] = (int)f->otherwise;
    return;
  case WML_FIELD_INITIALIZER: wml_initializer_by_name(f->cure, at(object, f)); return;
  default: return;
  }
}

static bool read_int(const wml_field *f, const wml_json *json, const char *path, int *out,
                     wml_issues *issues) {
  double value;
  if (!wml_number_of(json, &value) || value != floor(value))
    wml_issue(issues, path, "must be a whole number, not %s", wml_json_kind_name(json->kind));
  else if (value < f->low || value > f->high)
    wml_issue(issues, path, "%.0f is out of range, must be %.0f to %.0f", value, f->low, f->high);
  else {
    *out = (int)value;
    return true;
  }
  return false;
}

static void read_float(const wml_field *f, const wml_json *json, const char *path, float *out,
                       wml_issues *issues) {
  double value;
  if (!wml_number_of(json, &value))
    wml_issue(issues, path, "must be a number, not %s", wml_json_kind_name(json->kind));
  else if (!(value >= f->low && value <= f->high))
    wml_issue(issues, path, "%g is out of range, must be %g to %g", value, f->low, f->high);
  else
    *out = (float)value;
}

static void read_pair(const wml_field *f, const wml_json *json, const char *path, int *out,
                      wml_issues *issues) {
  if (json->kind != WML_JSON_ARRAY) {
    if (read_int(f, json, path, &out[0], issues)) out[1] = out[0];
  } else if (json->count != 2)
    wml_issue(issues, path, "must be one number or [height, width], not %d numbers", json->count);
  else {
    read_int(f, json->first, path, &out[0], issues);
    read_int(f, json->first->next, path, &out[1], issues);
  }
}

static void read_padding(const wml_json *json, const char *path, wml_padding *out,
                         wml_issues *issues) {
  if (json->kind == WML_JSON_STRING && strcmp(json->string, "same") == 0)
    *out = WML_PADDING_SAME;
  else if (json->kind == WML_JSON_STRING && strcmp(json->string, "valid") == 0)
    *out = WML_PADDING_VALID;
  else
    wml_issue(issues, path, "must be \"valid\" or \"same\"");
}

static void read_ignored(const wml_field *f, const wml_json *json, const char *path,
                         wml_issues *issues) {
  bool fine = json->kind == WML_JSON_NULL || !f->cure ||
              (json->kind == WML_JSON_STRING && strcmp(json->string, f->cure) == 0);
  if (!fine) wml_issue(issues, path, "only \"%s\" is supported", f->cure);
}

static webml_status read_field(wml_arena *arena, const wml_field *f, const wml_json *json,
                               const char *path, void *object, wml_issues *issues) {
  if (json->kind == WML_JSON_NULL && f->kind != WML_FIELD_ACTIVATION &&
      f->kind != WML_FIELD_IGNORED) {
    if (!f->nullable) wml_issue(issues, path, "must not be null");
    return WEBML_OK;
  }
  switch (f->kind) {
  case WML_FIELD_INT: read_int(f, json, path, at(object, f), issues); return WEBML_OK;
  case WML_FIELD_FLOAT: read_float(f, json, path, at(object, f), issues); return WEBML_OK;
  case WML_FIELD_PAIR: read_pair(f, json, path, at(object, f), issues); return WEBML_OK;
  case WML_FIELD_PADDING: read_padding(json, path, at(object, f), issues); return WEBML_OK;
  case WML_FIELD_IGNORED: read_ignored(f, json, path, issues); return WEBML_OK;
  case WML_FIELD_ACTIVATION: return wml_read_activation(json, path, at(object, f), issues);
  case WML_FIELD_INITIALIZER: return wml_read_initializer(arena, json, path, at(object, f), issues);
  case WML_FIELD_REGULARIZER: return wml_read_regularizer(json, path, at(object, f), issues);
  case WML_FIELD_BOOL:
    if (json->kind != WML_JSON_BOOL)
      wml_issue(issues, path, "must be true or false");
    else
      *(bool *)at(object, f) = json->boolean;
    return WEBML_OK;
  case WML_FIELD_NAME:
    if (json->kind != WML_JSON_STRING || !*json->string || strlen(json->string) > 128 ||
        strchr(json->string, '/'))
      wml_issue(issues, path, "must be a name of 1 to 128 characters without \"/\"");
    else {
      const char *copy = wml_arena_copy(arena, json->string, strlen(json->string));
      if (!copy) return wml_no_memory(strlen(json->string), "a name");
      *(const char **)at(object, f) = copy;
    }
    return WEBML_OK;
  }
  return WEBML_OK;
}

static const wml_field *find(const wml_field *fields, int n, const char *key) {
  for (int i = 0; i < n; i++)
    if (strcmp(fields[i].key, key) == 0) return &fields[i];
  return NULL;
}

static void unknown_key(const wml_field *fields, int n, const char *key, const char *path,
                        wml_issues *issues) {
  const char *names[64];
  size_t count = 0;
  for (int i = 0; i < n && count < 64; i++) names[count++] = fields[i].key;
  const char *meant = wml_suggest(key, names, count);
  if (meant)
    wml_issue(issues, path, "unknown key, did you mean \"%s\"?", meant);
  else {
    wml_text list = {0};
    for (size_t i = 0; i < count; i++) wml_text_format(&list, "%s%s", i ? ", " : "", names[i]);
    wml_issue(issues, path, "unknown key; known here: %s", count && list.data ? list.data : "none");
    wml_text_free(&list);
  }
}

webml_status wml_fields_read(wml_arena *arena, const wml_field *fields, int n, const wml_json *json,
                             const char *path, const char *skip, void *object, wml_issues *issues) {
  for (int i = 0; i < n; i++) {
    set_default(&fields[i], object);
    if (fields[i].required && !wml_json_get(json, fields[i].key))
      wml_issue(issues, path, "\"%s\" is required", fields[i].key);
  }
  for (const wml_json *m = json ? json->first : NULL; m; m = m->next) {
    if (skip && strcmp(m->key, skip) == 0) continue;
    char place[PATH_BYTES];
    snprintf(place, sizeof place, "%s.%.60s", path, m->key);
    const wml_field *f = find(fields, n, m->key);
    if (!f)
      unknown_key(fields, n, m->key, place, issues);
    else
      WML_TRY(read_field(arena, f, m, place, object, issues));
  }
  return WEBML_OK;
}

static bool is_default(const wml_field *f, const void *p) {
  switch (f->kind) {
  case WML_FIELD_INT: return *(const int *)p == (int)f->otherwise;
  case WML_FIELD_FLOAT: return *(const float *)p == (float)f->otherwise;
  case WML_FIELD_BOOL: return *(const bool *)p == (f->otherwise != 0.0);
  case WML_FIELD_PAIR:
    return ((const int *)p)[0] == (int)f->otherwise && ((const int *)p)[1] == (int)f->otherwise;
  case WML_FIELD_PADDING: return false;
  case WML_FIELD_ACTIVATION: return ((const wml_activation *)p)->kind == WML_LINEAR;
  case WML_FIELD_INITIALIZER:
    return ((const wml_initializer *)p)->name &&
           strcmp(((const wml_initializer *)p)->name, f->cure) == 0;
  case WML_FIELD_REGULARIZER:
    return ((const wml_regularizer *)p)->l1 == 0.0f && ((const wml_regularizer *)p)->l2 == 0.0f;
  case WML_FIELD_NAME: return *(const char *const *)p == NULL;
  default: return true;
  }
}

void wml_fields_write(wml_text *t, const wml_field *fields, int n, const void *object) {
  for (int i = 0; i < n; i++) {
    const wml_field *f = &fields[i];
    const void *p = (const char *)object + f->offset;
    if (f->kind == WML_FIELD_IGNORED || (is_default(f, p) && !f->required)) continue;
    wml_json_key(t, f->key);
    const int *pair = p;
    switch (f->kind) {
    case WML_FIELD_INT:
      if (f->nullable && *pair == 0)
        wml_json_null(t);
      else
        wml_json_int(t, *pair);
      break;
    case WML_FIELD_FLOAT: wml_text_format(t, "%.9g", (double)*(const float *)p); break;
    case WML_FIELD_BOOL: wml_json_bool(t, *(const bool *)p); break;
    case WML_FIELD_PADDING:
      wml_json_string(t, *(const wml_padding *)p == WML_PADDING_SAME ? "same" : "valid");
      break;
    case WML_FIELD_ACTIVATION: wml_write_activation(t, p); break;
    case WML_FIELD_INITIALIZER: wml_write_initializer(t, p); break;
    case WML_FIELD_REGULARIZER: wml_write_regularizer(t, p); break;
    case WML_FIELD_NAME: wml_json_string(t, *(const char *const *)p); break;
    case WML_FIELD_PAIR:
      wml_json_open(t, '[');
      wml_json_int(t, pair[0]);
      wml_json_int(t, pair[1]);
      wml_json_close(t, ']');
      break;
    default: break;
    }
  }
}
