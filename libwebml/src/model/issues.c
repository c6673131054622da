#include "model/issues.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST_ISSUES = 100, TEXT_BYTES = 512 };

/* ---- places ---- */

static void add_escaped(wml_text *t, const char *key) { /* RFC 6901: ~0 for ~, ~1 for / */
  while (*key) {
    size_t plain = strcspn(key, "~/");
    wml_text_add(t, key, plain);
    key += plain;
    if (*key) wml_text_string(t, *key++ == '~' ? "~0" : "~1");
  }
}

static void add_pointer(wml_text *t, const wml_json_path *place) {
  if (!place) return;
  add_pointer(t, place->in);
  wml_text_string(t, "/");
  if (place->key)
    add_escaped(t, place->key);
  else
    wml_text_format(t, "%d", place->index);
}

static const wml_json *find_in(const wml_json *root, const wml_json_path *place) {
  if (!place) return root;
  const wml_json *in = find_in(root, place->in);
  if (place->key) return wml_json_get(in, place->key);
  if (!in || in->kind != WML_JSON_ARRAY) return NULL;
  const wml_json *item = in->first;
  for (int i = 0; item && i < place->index; i++) item = item->next;
  return item;
}

const wml_json *wml_json_path_find(const wml_issues *issues, const wml_json_path *place) {
  return find_in(issues->root, place);
}

/* The layer of a translated description by its name, since the list is not that of the text. */
static bool add_layer(wml_text *t, const wml_issues *issues, const wml_json_path *place) {
  bool is_layer = issues->translation && !place->key && place->in && !place->in->in &&
                  place->in->key && strcmp(place->in->key, "layers") == 0;
  if (!is_layer) return false;
  const wml_json *layer = find_in(issues->translation, place);
  const char *name = wml_json_get_string(wml_json_get(layer, "layer"), "name", NULL);
  wml_text_format(t, "layer \"%.80s\"", name ? name : wml_json_get_string(layer, "name", ""));
  if (place->note) wml_text_format(t, " (%s)", place->note);
  return true;
}

static void add_shown(wml_text *t, const wml_issues *issues, const wml_json_path *place) {
  if (!place || add_layer(t, issues, place)) return;
  add_shown(t, issues, place->in);
  if (issues->translation && place->in && place->key && strcmp(place->key, "layer") == 0) return;
  if (place->key)
    wml_text_format(t, "%s%.60s", place->in ? "." : "", place->key);
  else
    wml_text_format(t, "[%d]", place->index);
  if (place->note) wml_text_format(t, " (%s)", place->note);
}

/* The line of the value, or of what it is missing from. */
static int line_of(const wml_issues *issues, const wml_json_path *place) {
  const wml_json *root = issues->translation ? issues->translation : issues->root;
  const wml_json *v = find_in(root, place);
  for (; !v && place; place = place->in) v = find_in(root, place->in);
  return v ? v->line : 0;
}

/* ---- entries ---- */

/* Moves a text into the arena. */
static const char *keep(wml_issues *issues, wml_text *t) {
  char *copy = t->failed ? NULL : wml_arena_copy(&issues->arena, t->data, t->length);
  wml_text_free(t);
  issues->failed |= !copy;
  return copy ? copy : "";
}

/* Ends a text that was cut off before the character that was cut. */
static void cut_to_whole_characters(char *text, size_t length) {
  size_t at = 0;
  while (at < length) {
    size_t n = wml_utf8_length(text + at, length - at);
    if (n == 0) break;
    at += n;
  }
  text[at] = '\0';
}

static const char *keep_format(wml_issues *issues, const char *format, va_list args) {
  char what[TEXT_BYTES];
  int n = vsnprintf(what, sizeof what, format, args);
  if (n >= TEXT_BYTES) cut_to_whole_characters(what, sizeof what - 1);
  char *copy = wml_arena_copy(&issues->arena, what, strlen(what));
  issues->failed |= !copy;
  return copy ? copy : "";
}

static const char *pointer_of(wml_issues *issues, const wml_json_path *place) {
  wml_text t = {0};
  wml_text_string(&t, issues->base ? issues->base : "");
  if (!issues->translation) add_pointer(&t, place);
  return keep(issues, &t);
}

static const char *shown_of(wml_issues *issues, const wml_json_path *place) {
  wml_text t = {0};
  wml_text_string(&t, "");
  add_shown(&t, issues, place);
  return keep(issues, &t);
}

/* The text has to name the place where no pointer can. */
static void say_place(wml_issues *issues, wml_issue_entry *e) {
  wml_text t = {0};
  wml_text_format(&t, "%s%s%s", e->shown, *e->shown ? ": " : "", e->text);
  e->text = keep(issues, &t);
  e->shown = "";
}

static void add_entry(wml_issues *issues, const wml_json_path *place, bool warning,
                      const char *format, va_list args) {
  int *count = warning ? &issues->warnings : &issues->count;
  issues->last = NULL;
  if ((*count)++ >= MOST_ISSUES) return;
  wml_issue_entry *e = wml_arena_alloc(&issues->arena, sizeof *e);
  if (!e) {
    issues->failed = true;
    return;
  }
  *e = (wml_issue_entry){.warning = warning,
                         .line = line_of(issues, place),
                         .pointer = pointer_of(issues, place),
                         .shown = shown_of(issues, place),
                         .text = keep_format(issues, format, args)};
  if (issues->translation) say_place(issues, e);
  wml_issue_entry **tail = &issues->first;
  while (*tail) tail = &(*tail)->next;
  *tail = issues->last = e;
}

void wml_issue(wml_issues *issues, const wml_json_path *place, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add_entry(issues, place, false, format, args);
  va_end(args);
}

void wml_issue_warning(wml_issues *issues, const wml_json_path *place, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add_entry(issues, place, true, format, args);
  va_end(args);
}

/* ---- cures ---- */

void wml_issue_cure(wml_issues *issues, const char *format, ...) {
  if (!issues->last) return;
  va_list args;
  va_start(args, format);
  issues->last->cure = keep_format(issues, format, args);
  va_end(args);
}

/* One more operation. from, value: or NULL. */
static void add_operation(wml_issues *issues, const char *op, const char *path, const char *from,
                          const char *value) {
  wml_issue_entry *e = issues->last;
  wml_text t = {0};
  if (!e || !issues->root) return;
  if (e->patch)
    wml_text_format(&t, "%.*s,", (int)strlen(e->patch) - 1, e->patch);
  else
    wml_text_string(&t, "[");
  wml_text_format(&t, "{\"op\":\"%s\"", op);
  if (from) {
    wml_json_key(&t, "from");
    wml_json_string(&t, from);
  }
  wml_json_key(&t, "path");
  wml_json_string(&t, path);
  if (value) wml_text_format(&t, ",\"value\":%s", value);
  wml_text_string(&t, "}]");
  e->patch = keep(issues, &t);
}

void wml_patch_replace(wml_issues *issues, const wml_json_path *place, const char *value) {
  add_operation(issues, "replace", pointer_of(issues, place), NULL, value);
}
void wml_patch_add(wml_issues *issues, const wml_json_path *place, const char *value) {
  add_operation(issues, "add", pointer_of(issues, place), NULL, value);
}
void wml_patch_remove(wml_issues *issues, const wml_json_path *place) {
  add_operation(issues, "remove", pointer_of(issues, place), NULL, NULL);
}
void wml_patch_move(wml_issues *issues, const wml_json_path *from, const wml_json_path *to) {
  add_operation(issues, "move", pointer_of(issues, to), pointer_of(issues, from), NULL);
}

void wml_patch_set(wml_issues *issues, const wml_json_path *place, const char *key,
                   const char *value) {
  const wml_json *object = wml_json_path_find(issues, place);
  bool is_object = object && object->kind == WML_JSON_OBJECT;
  if (is_object) {
    wml_patch_add(issues, &(wml_json_path){.in = place, .key = key}, value);
    return;
  }
  wml_text t = {0};
  wml_json_open(&t, '{');
  wml_json_key(&t, key);
  wml_json_raw(&t, value);
  wml_json_close(&t, '}');
  const char *made = keep(issues, &t);
  wml_patch_add(issues, place, made);
}

/* ---- results ---- */

const char *wml_issues_message(wml_issues *issues) {
  wml_text t = {0};
  for (const wml_issue_entry *e = issues->first; e; e = e->next)
    if (!e->warning)
      wml_text_format(&t, "%s%s%s%s", t.length ? "\n" : "", e->shown, *e->shown ? ": " : "",
                      e->text);
  wml_text_string(&t, "");
  const char *message = keep(issues, &t);
  return issues->failed ? NULL : message;
}

void wml_issues_write(wml_text *t, const wml_issues *issues, bool warnings) {
  wml_json_open(t, '[');
  for (const wml_issue_entry *e = issues->first; e; e = e->next) {
    if (e->warning != warnings) continue;
    wml_json_open(t, '{');
    wml_json_key(t, "path");
    wml_json_string(t, e->pointer);
    wml_json_key(t, "line");
    if (e->line)
      wml_json_int(t, e->line);
    else
      wml_json_null(t);
    wml_json_key(t, "text");
    wml_json_string(t, e->text);
    wml_json_key(t, "cure");
    if (e->cure) {
      wml_json_open(t, '{');
      wml_json_key(t, "text");
      wml_json_string(t, e->cure);
      wml_json_key(t, "patch");
      if (e->patch)
        wml_json_raw(t, e->patch);
      else
        wml_json_null(t);
      wml_json_close(t, '}');
    } else
      wml_json_null(t);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

void wml_issues_free(wml_issues *issues) {
  wml_arena_free(&issues->arena);
  *issues = (wml_issues){0};
}
