#include "model/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

static void set_span(float span[2], float x) {
  span[0] = -x;
  span[1] = x;
}

static void set_default(const wml_field *f, void *object) {
  switch (f->kind) {
  case WML_FIELD_INT:
  case WML_FIELD_CHOICE: *(int *)at(object, f) = (int)f->otherwise; return;
  case WML_FIELD_AXES: *(int *)at(object, f) = 1 << (int)f->otherwise; return;
  case WML_FIELD_FLOAT: *(float *)at(object, f) = (float)f->otherwise; return;
  case WML_FIELD_BOOL: *(bool *)at(object, f) = f->otherwise != 0.0; return;
  case WML_FIELD_PAIR:
    ((int *)at(object, f))[0] = ((int *)at(object, f))[1] = (int)f->otherwise;
    return;
  case WML_FIELD_INTS: *(wml_ints *)at(object, f) = (wml_ints){0}; return;
  case WML_FIELD_NUMBERS: *(wml_numbers *)at(object, f) = (wml_numbers){0}; return;
  case WML_FIELD_BOX:
    for (int i = 0; i < 4; i++) ((int *)at(object, f))[i] = (int)f->otherwise;
    return;
  case WML_FIELD_SPAN: set_span(at(object, f), (float)f->otherwise); return;
  case WML_FIELD_INITIALIZER: wml_initializer_by_name(f->word, at(object, f)); return;
  default: return;
  }
}

int wml_fields_of_kind(const wml_kind_field *table, int n, int kind, const void *object,
                       wml_field *out) {
  int count = 0;
  for (int i = 0; i < n; i++) {
    if (!(table[i].known & 1u << kind)) continue;
    wml_field *f = &out[count++];
    *f = table[i].field;
    const char *p = (const char *)object + f->offset;
    switch (f->kind) {
    case WML_FIELD_BOOL: f->otherwise = (double)*(const bool *)p; break;
    case WML_FIELD_FLOAT: f->otherwise = (double)*(const float *)p; break;
    case WML_FIELD_INT:
    case WML_FIELD_CHOICE: f->otherwise = (double)*(const int *)p; break;
    default: break;
    }
  }
  return count;
}

/* ---- reading ---- */

/* What the value should be: the nearest bound, or the default. */
static void cure_number(wml_issues *issues, const wml_json_path *place, const wml_field *f,
                        const wml_json *json) {
  char text[WML_NUMBER_BYTES];
  double value, right = f->required ? f->suggested : f->otherwise;
  if (wml_number_of(json, &value)) {
    if (f->kind != WML_FIELD_FLOAT) value = round(value);
    right = value < f->low ? f->low : value > f->high ? f->high : value;
  } else if (!(right >= f->low && right <= f->high))
    return;
  wml_format_number(right, text);
  wml_issue_cure(issues, "set it to %s", text);
  wml_patch_replace(issues, place, text);
}

static void read_int(const wml_field *f, const wml_json *json, const wml_json_path *place, int *out,
                     wml_issues *issues) {
  double value;
  if (!wml_number_of(json, &value) || value != floor(value))
    wml_issue(issues, place, "must be a whole number, not %s", wml_json_kind_name(json->kind));
  else if (value < f->low || value > f->high)
    wml_issue(issues, place, "%.0f is out of range, must be %.0f to %.0f", value, f->low, f->high);
  else {
    *out = (int)value;
    return;
  }
  cure_number(issues, place, f, json);
}

static void read_float(const wml_field *f, const wml_json *json, const wml_json_path *place,
                       float *out, wml_issues *issues) {
  double value;
  if (!wml_number_of(json, &value))
    wml_issue(issues, place, "must be a number, not %s", wml_json_kind_name(json->kind));
  else if (!(value >= f->low && value <= f->high))
    wml_issue(issues, place, "%g is out of range, must be %.8g to %.8g", value, f->low, f->high);
  else {
    *out = (float)value;
    return;
  }
  cure_number(issues, place, f, json);
}

static void read_pair(const wml_field *f, const wml_json *json, const wml_json_path *place,
                      int *out, wml_issues *issues) {
  if (json->kind != WML_JSON_ARRAY) {
    read_int(f, json, place, &out[0], issues);
    out[1] = out[0];
  } else if (json->count != 2)
    wml_issue(issues, place, "must be one number or [height, width], not %d numbers", json->count);
  else
    for (int i = 0; i < 2; i++)
      read_int(f, i ? json->first->next : json->first, &(wml_json_path){.in = place, .index = i},
               &out[i], issues);
}

static void read_ints(const wml_field *f, const wml_json *json, const wml_json_path *place,
                      wml_ints *out, wml_issues *issues) {
  int i = 0;
  if (json->kind != WML_JSON_ARRAY) {
    out->n = 1;
    read_int(f, json, place, &out->items[0], issues);
  } else if (json->count < 1 || json->count > WML_MAX_RANK)
    wml_issue(issues, place, "must be a list of 1 to %d whole numbers, not %d", WML_MAX_RANK,
              json->count);
  else
    for (const wml_json *v = json->first; v; v = v->next, i++, out->n = i)
      read_int(f, v, &(wml_json_path){.in = place, .index = i}, &out->items[i], issues);
}

/* A side of a box: n or [before, after]. */
static void read_side(const wml_field *f, const wml_json *json, const wml_json_path *place,
                      int out[2], wml_issues *issues) {
  if (json->kind == WML_JSON_ARRAY && json->count == 2)
    read_pair(f, json, place, out, issues);
  else {
    read_int(f, json, place, &out[0], issues);
    out[1] = out[0];
  }
}

static void read_box(const wml_field *f, const wml_json *json, const wml_json_path *place, int *out,
                     wml_issues *issues) {
  if (json->kind != WML_JSON_ARRAY) {
    read_int(f, json, place, &out[0], issues);
    out[1] = out[2] = out[3] = out[0];
  } else if (json->count != 2)
    wml_issue(issues, place,
              "must be one number, [height, width] or [[top, bottom], [left, right]]");
  else
    for (int i = 0; i < 2; i++)
      read_side(f, i ? json->first->next : json->first, &(wml_json_path){.in = place, .index = i},
                &out[2 * i], issues);
}

static void read_span(const wml_field *f, const wml_json *json, const wml_json_path *place,
                      float *out, wml_issues *issues) {
  float x = 0.0f;
  int before = issues->count;
  if (json->kind != WML_JSON_ARRAY) {
    read_float(f, json, place, &x, issues);
    if (issues->count == before) set_span(out, x < 0.0f ? -x : x);
  } else if (json->count != 2)
    wml_issue(issues, place, "must be one number or [least, greatest]");
  else
    for (int i = 0; i < 2; i++)
      read_float(f, i ? json->first->next : json->first, &(wml_json_path){.in = place, .index = i},
                 &out[i], issues);
  if (issues->count == before && out[0] > out[1])
    wml_issue(issues, place, "the greatest, %g, is below the least, %g", (double)out[1],
              (double)out[0]);
}

static webml_status read_numbers(wml_arena *arena, const wml_field *f, const wml_json *json,
                                 const wml_json_path *place, wml_numbers *out, wml_issues *issues) {
  bool list = json->kind == WML_JSON_ARRAY;
  int n = list ? json->count : 1, i = 0;
  float *items = wml_arena_alloc(arena, ((size_t)n + 1) * sizeof *items);
  if (!items) return wml_no_memory((size_t)n * sizeof *items, "numbers");
  for (const wml_json *v = list ? json->first : json; v; v = list ? v->next : NULL, i++) {
    wml_json_path item = {.in = place, .index = i};
    items[i] = 0.0f;
    read_float(f, v, list ? &item : place, &items[i], issues);
  }
  *out = (wml_numbers){n, items};
  return WEBML_OK;
}

static void read_axes(const wml_field *f, const wml_json *json, const wml_json_path *place,
                      int *out, wml_issues *issues) {
  bool list = json->kind == WML_JSON_ARRAY;
  int bits = 0, i = 0, before = issues->count;
  for (const wml_json *m = list ? json->first : json; m; m = list ? m->next : NULL, i++) {
    int axis = 0;
    read_int(f, m, list ? &(wml_json_path){.in = place, .index = i} : place, &axis, issues);
    bits |= 1 << axis;
  }
  if (issues->count > before) return;
  if (bits) {
    *out = bits;
    return;
  }
  wml_issue(issues, place, "must be an axis such as 0, or a list of some");
  wml_issue_cure(issues, "set it to 0");
  wml_patch_replace(issues, place, "0");
}

static void read_choice(const wml_field *f, const wml_json *json, const wml_json_path *place,
                        int *out, wml_issues *issues) {
  char list[160] = "";
  size_t used = 0, n = 0;
  for (; f->words[n]; n++) {
    if (json->kind == WML_JSON_STRING && strcmp(json->string, f->words[n]) == 0) {
      *out = (int)n;
      return;
    }
    used += (size_t)snprintf(list + used, sizeof list - used, "%s\"%s\"",
                             n == 0            ? ""
                             : f->words[n + 1] ? ", "
                                               : " or ",
                             f->words[n]);
  }
  const char *meant = json->kind == WML_JSON_STRING ? wml_suggest(json->string, f->words, n) : NULL;
  char value[80];
  wml_issue(issues, place, "must be %s", list);
  snprintf(value, sizeof value, "\"%.70s\"", meant ? meant : f->words[(int)f->otherwise]);
  wml_issue_cure(issues, "set it to %s", value);
  wml_patch_replace(issues, place, value);
}

static void read_bool(const wml_field *f, const wml_json *json, const wml_json_path *place,
                      bool *out, wml_issues *issues) {
  if (json->kind == WML_JSON_BOOL) {
    *out = json->boolean;
    return;
  }
  const char *value = f->otherwise != 0.0 ? "true" : "false";
  wml_issue(issues, place, "must be true or false");
  wml_issue_cure(issues, "set it to %s", value);
  wml_patch_replace(issues, place, value);
}

static void read_ignored(const wml_field *f, const wml_json *json, const wml_json_path *place,
                         wml_issues *issues) {
  const char *said = json->kind == WML_JSON_BOOL     ? (json->boolean ? "true" : "false")
                     : json->kind == WML_JSON_STRING ? json->string
                                                     : NULL;
  if (json->kind == WML_JSON_NULL || !f->word || (said && strcmp(said, f->word) == 0)) return;
  const char *quote = json->kind == WML_JSON_BOOL ? "" : "\"";
  wml_issue(issues, place, "only %s%s%s is supported", quote, f->word, quote);
  if (issues->translation) return; /* it stands for what other programs compute */
  wml_issue_cure(issues, "remove it");
  wml_patch_remove(issues, place);
}

static webml_status read_name(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                              const char **out, wml_issues *issues) {
  if (json->kind != WML_JSON_STRING || !*json->string || strlen(json->string) > 128 ||
      strchr(json->string, '/')) {
    wml_issue(issues, place, "must be a name of 1 to 128 characters without \"/\"");
    wml_issue_cure(issues, "remove it: the layer is named by its type");
    wml_patch_remove(issues, place);
    return WEBML_OK;
  }
  *out = wml_arena_copy(arena, json->string, strlen(json->string));
  return *out ? WEBML_OK : wml_no_memory(strlen(json->string), "a name");
}

static webml_status read_field(wml_arena *arena, const wml_field *f, const wml_json *json,
                               const wml_json_path *place, void *object, wml_issues *issues) {
  if (json->kind == WML_JSON_NULL && f->kind != WML_FIELD_IGNORED) {
    if (f->nullable) return WEBML_OK;
    wml_issue(issues, place, "must not be null");
    wml_issue_cure(issues, "remove it: there is a default");
    if (!f->required) wml_patch_remove(issues, place);
    return WEBML_OK;
  }
  void *to = at(object, f);
  switch (f->kind) {
  case WML_FIELD_INT: read_int(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_FLOAT: read_float(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_PAIR: read_pair(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_INTS: read_ints(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_BOX: read_box(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_SPAN: read_span(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_NUMBERS: return read_numbers(arena, f, json, place, to, issues);
  case WML_FIELD_CHOICE: read_choice(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_BOOL: read_bool(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_IGNORED: read_ignored(f, json, place, issues); return WEBML_OK;
  case WML_FIELD_ACTIVATION: return wml_read_activation(arena, json, place, to, issues);
  case WML_FIELD_INITIALIZER: return wml_read_initializer(arena, json, place, to, issues);
  case WML_FIELD_REGULARIZER: return wml_read_regularizer(arena, json, place, to, issues);
  case WML_FIELD_CONSTRAINT: return wml_read_constraint(arena, json, place, to, issues);
  case WML_FIELD_AXES: read_axes(f, json, place, to, issues); return WEBML_OK;
  case WML_FIELD_NAME: return read_name(arena, json, place, to, issues);
  }
  return WEBML_OK;
}

/* Whether the shape of a layer depends on it. */
static bool is_geometry(const wml_field *f) {
  return f->kind == WML_FIELD_INT || f->kind == WML_FIELD_PAIR || f->kind == WML_FIELD_INTS ||
         f->kind == WML_FIELD_BOX || f->kind == WML_FIELD_CHOICE;
}

static const wml_field *find(const wml_field *fields, int n, const char *key) {
  for (int i = 0; i < n; i++)
    if (strcmp(fields[i].key, key) == 0 ||
        (fields[i].other_key && strcmp(fields[i].other_key, key) == 0))
      return &fields[i];
  return NULL;
}

/* place: of the key. */
static void unknown_key(const wml_field *fields, int n, const wml_json *json,
                        const wml_json_path *place, wml_issues *issues) {
  const char *names[64] = {NULL};
  size_t count = 0;
  if (issues->translation) { /* the key is right where the description comes from */
    wml_issue(issues, place, "is not supported, other than by its default");
    return;
  }
  for (int i = 0; i < n && count < 64; i++) names[count++] = fields[i].key;
  const char *meant = wml_suggest(place->key, names, count);
  if (meant) {
    wml_issue(issues, place, "unknown key, did you mean \"%s\"?", meant);
    if (!wml_json_get(json, meant)) {
      wml_issue_cure(issues, "rename it to \"%s\"", meant);
      wml_patch_move(issues, place, &(wml_json_path){.in = place->in, .key = meant});
      return;
    }
  } else {
    wml_text list = {0};
    for (size_t i = 0; i < count; i++) wml_text_format(&list, "%s%s", i ? ", " : "", names[i]);
    wml_issue(issues, place, "unknown key; known here: %s",
              count && list.data ? list.data : "none");
    wml_text_free(&list);
  }
  wml_issue_cure(issues, "remove it");
  wml_patch_remove(issues, place);
}

static void missing_key(const wml_field *f, const wml_json_path *place, wml_issues *issues) {
  char text[WML_NUMBER_BYTES];
  wml_issue(issues, place, "\"%s\" is required", f->key);
  wml_format_number(f->suggested, text);
  const char *value = f->word ? f->word : text;
  wml_issue_cure(issues, "set \"%s\", for example to %s", f->key, value);
  wml_patch_set(issues, place, f->key, value);
}

webml_status wml_fields_read(wml_arena *arena, const wml_field *fields, int n, const wml_json *json,
                             const wml_json_path *place, const char *skip, void *object,
                             wml_issues *issues) {
  for (int i = 0; i < n; i++) {
    set_default(&fields[i], object);
    if (!fields[i].required || wml_json_get(json, fields[i].key)) continue;
    missing_key(&fields[i], place, issues);
    issues->geometry += is_geometry(&fields[i]);
  }
  for (const wml_json *m = json ? json->first : NULL; m; m = m->next) {
    if (skip && strcmp(m->key, skip) == 0) continue;
    wml_json_path here = {.in = place, .key = m->key};
    const wml_field *f = find(fields, n, m->key);
    int before = issues->count;
    if (!f)
      unknown_key(fields, n, json, &here, issues);
    else
      WML_TRY(read_field(arena, f, m, &here, object, issues));
    issues->geometry += f && issues->count > before && is_geometry(f);
  }
  return WEBML_OK;
}

/* ---- names ---- */

const char *wml_name_of(const wml_json *json, const wml_json **options) {
  *options = NULL;
  if (json->kind == WML_JSON_STRING) return json->string;
  if (json->kind != WML_JSON_OBJECT) return NULL;
  const char *name = wml_json_get_string(json, "name", NULL);
  if (name)
    *options = json;
  else if ((name = wml_json_get_string(json, "class_name", NULL)) != NULL)
    *options = wml_json_get(json, "config");
  return name;
}

void wml_unknown_name(wml_issues *issues, const wml_json_path *place, const wml_json *json,
                      const char *what, const char *name, const char *const *names, int n) {
  const char *meant = wml_suggest(name, names, (size_t)n);
  if (!meant) {
    wml_text list = {0};
    for (int i = 0; i < n; i++) wml_text_format(&list, "%s%s", i ? ", " : "", names[i]);
    wml_issue(issues, place, "%s \"%.80s\"; known: %s", what, name, list.data ? list.data : "");
    wml_text_free(&list);
    return;
  }
  char value[80];
  wml_json_path inside = {.in = place, .key = wml_json_get(json, "name") ? "name" : "class_name"};
  wml_issue(issues, place, "%s \"%.80s\", did you mean \"%s\"?", what, name, meant);
  snprintf(value, sizeof value, "\"%.70s\"", meant);
  wml_issue_cure(issues, "set it to %s", value);
  wml_patch_replace(issues, json->kind == WML_JSON_OBJECT ? &inside : place, value);
}

/* ---- writing ---- */

static bool is_default(const wml_field *f, const void *p) {
  switch (f->kind) {
  case WML_FIELD_INT: return *(const int *)p == (int)f->otherwise;
  case WML_FIELD_FLOAT: return *(const float *)p == (float)f->otherwise;
  case WML_FIELD_BOOL: return *(const bool *)p == (f->otherwise != 0.0);
  case WML_FIELD_PAIR:
    return ((const int *)p)[0] == (int)f->otherwise && ((const int *)p)[1] == (int)f->otherwise;
  case WML_FIELD_INTS: return ((const wml_ints *)p)->n == 0;
  case WML_FIELD_NUMBERS: return ((const wml_numbers *)p)->n == 0;
  case WML_FIELD_SPAN:
    return ((const float *)p)[0] == (float)-f->otherwise &&
           ((const float *)p)[1] == (float)f->otherwise;
  case WML_FIELD_BOX:
    for (int i = 0; i < 4; i++)
      if (((const int *)p)[i] != (int)f->otherwise) return false;
    return true;
  case WML_FIELD_CHOICE: return false; /* always said */
  case WML_FIELD_ACTIVATION: return ((const wml_activation *)p)->kind == WML_LINEAR;
  case WML_FIELD_INITIALIZER: return wml_initializer_is(p, f->word);
  case WML_FIELD_REGULARIZER:
    return ((const wml_regularizer *)p)->l1 == 0.0f && ((const wml_regularizer *)p)->l2 == 0.0f;
  case WML_FIELD_CONSTRAINT: return ((const wml_constraint *)p)->kind == WML_NO_CONSTRAINT;
  case WML_FIELD_AXES: return *(const int *)p == 1 << (int)f->otherwise;
  case WML_FIELD_NAME: return *(const char *const *)p == NULL;
  default: return true;
  }
}

static bool is_written(const wml_field *f, const void *object) {
  const void *p = (const char *)object + f->offset;
  return f->kind != WML_FIELD_IGNORED && (f->required || !is_default(f, p));
}

bool wml_fields_differ(const wml_field *fields, int n, const void *object) {
  for (int i = 0; i < n; i++)
    if (is_written(&fields[i], object)) return true;
  return false;
}

static void write_ints(wml_text *t, int n, const int *values) {
  wml_json_open(t, '[');
  for (int i = 0; i < n; i++) wml_json_int(t, values[i]);
  wml_json_close(t, ']');
}

static void write_span(wml_text *t, const float *span) {
  bool symmetric = span[0] == -span[1];
  if (!symmetric) wml_text_format(t, "[%.9g,", (double)span[0]);
  wml_text_format(t, symmetric ? "%.9g" : "%.9g]", (double)span[1]);
}

static void write_numbers(wml_text *t, const wml_numbers *numbers) {
  if (numbers->n > 1) wml_text_format(t, "[");
  for (int i = 0; i < numbers->n; i++)
    wml_text_format(t, "%s%.9g", i ? "," : "", (double)numbers->items[i]);
  if (numbers->n > 1) wml_text_format(t, "]");
}

static void write_box(wml_text *t, const int *box) {
  wml_json_open(t, '[');
  write_ints(t, 2, box);
  write_ints(t, 2, box + 2);
  wml_json_close(t, ']');
}

void wml_fields_write(wml_text *t, const wml_field *fields, int n, const void *object) {
  for (int i = 0; i < n; i++) {
    const wml_field *f = &fields[i];
    const void *p = (const char *)object + f->offset;
    if (!is_written(f, object)) continue;
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
    case WML_FIELD_CHOICE: wml_json_string(t, f->words[*pair]); break;
    case WML_FIELD_ACTIVATION: wml_write_activation(t, p); break;
    case WML_FIELD_INITIALIZER: wml_write_initializer(t, p); break;
    case WML_FIELD_REGULARIZER: wml_write_regularizer(t, p); break;
    case WML_FIELD_CONSTRAINT: wml_write_constraint(t, p); break;
    case WML_FIELD_AXES:
      wml_json_open(t, '[');
      for (int axis = 0; axis < 31; axis++)
        if (*pair >> axis & 1) wml_json_int(t, axis);
      wml_json_close(t, ']');
      break;
    case WML_FIELD_NAME: wml_json_string(t, *(const char *const *)p); break;
    case WML_FIELD_PAIR: write_ints(t, 2, pair); break;
    case WML_FIELD_BOX: write_box(t, pair); break;
    case WML_FIELD_SPAN: write_span(t, p); break;
    case WML_FIELD_NUMBERS: write_numbers(t, p); break;
    case WML_FIELD_INTS:
      write_ints(t, ((const wml_ints *)p)->n, ((const wml_ints *)p)->items);
      break;
    default: break;
    }
  }
}
