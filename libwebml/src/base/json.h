/* Reading JSON into a tree that knows where each value stood.
 *
 * Own code, since errors must name line and path and since documents come as the MongoDB shell
 * prints them: trailing commas and wrapped values such as ObjectId("...") and ISODate("...") are
 * read as the value inside. Everything else is RFC 8259: duplicate keys, bad escapes, lone
 * surrogates and text that is not UTF-8 are errors; nesting is limited to 64. */
#ifndef WML_BASE_JSON_H
#define WML_BASE_JSON_H

#include "base/alloc.h"
#include "base/status.h"
#include "base/text.h"

typedef enum wml_json_kind {
  WML_JSON_NULL,
  WML_JSON_BOOL,
  WML_JSON_NUMBER,
  WML_JSON_STRING,
  WML_JSON_ARRAY,
  WML_JSON_OBJECT
} wml_json_kind;

typedef struct wml_json wml_json;
struct wml_json {
  wml_json_kind kind;
  int line;           /* 1-based */
  const char *key;    /* inside an object */
  const char *string; /* NUL-terminated (a \u0000 inside is an error) */
  double number;
  bool boolean;
  int count;       /* of items */
  wml_json *first; /* item of an array or object */
  wml_json *next;
};

/* *root lives in the arena. `name` (a file name or "the description") begins error messages. */
webml_status wml_json_parse(wml_arena *arena, const char *text, size_t length, const char *name,
                            const wml_json **root);
/* The same; *line: how far it came, which is where an error is. */
webml_status wml_json_parse_at(wml_arena *arena, const char *text, size_t length, const char *name,
                               const wml_json **root, int *line);
/* Member of an object; NULL when absent or when object is not one. */
const wml_json *wml_json_get(const wml_json *object, const char *key);
const char *wml_json_kind_name(wml_json_kind kind);
/* Convenience for documents the library wrote itself: a default where absent or of another kind. */
double wml_json_get_number(const wml_json *object, const char *key, double otherwise);
const char *wml_json_get_string(const wml_json *object, const char *key, const char *otherwise);
bool wml_json_get_bool(const wml_json *object, const char *key, bool otherwise);
/* Writes a value of the tree. */
void wml_json_write(wml_text *text, const wml_json *value);

#endif
