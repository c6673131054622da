/* What is wrong with a description: all of it, each with its place and, where one is known, a cure.
 */
#ifndef WML_MODEL_ISSUES_H
#define WML_MODEL_ISSUES_H

#include "base/json.h"

/* Where a value stands, from the value up to the root; lives on the stack. */
typedef struct wml_json_path {
  const struct wml_json_path *in; /* NULL: the description itself */
  const char *key;                /* member of an object; NULL: of a list */
  int index;                      /* item of a list */
  const char *note;               /* for people, e.g. "Conv2D"; or NULL */
} wml_json_path;

/* The place of the options of a layer. */
#define WML_OPTIONS_OF(layer) (&(const wml_json_path){.in = (layer), .key = "layer"})

typedef struct wml_issue_entry {
  struct wml_issue_entry *next;
  bool warning;        /* a training takes it, but it is likely not what was meant */
  int line;            /* of the description's text; 0: unknown */
  const char *pointer; /* RFC 6901: "/layers/3/layer/units" */
  const char *shown;   /* for people: "layers[3].layer.units" */
  const char *text;
  const char *cure;  /* what to do, as a sentence's part; or NULL */
  const char *patch; /* RFC 6902, a JSON array of operations that does it; or NULL */
} wml_issue_entry;

typedef struct wml_issues {
  wml_arena arena;
  const wml_json *root; /* the description; NULL: lines are not known, and there are no patches */
  /* In place of root: what the description, in another form, was turned into. Lines are those of
   * its text, but places are not, and there are no patches. */
  const wml_json *translation;
  const char *base;    /* of pointers: "/model" inside a stored document; NULL: "" */
  int count, warnings; /* errors are all counted, the first hundred kept */
  int geometry;        /* of them those of options that a layer's shape depends on */
  wml_issue_entry *first, *last;
  bool failed; /* memory was short */
} wml_issues;

void wml_issue(wml_issues *issues, const wml_json_path *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void wml_issue_warning(wml_issues *issues, const wml_json_path *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Cures of the issue that came last. Each may be followed by patches. */
void wml_issue_cure(wml_issues *issues, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sets the member `key` of the object at `place`, which is made where there is none. */
void wml_patch_set(wml_issues *issues, const wml_json_path *place, const char *key,
                   const char *value);
/* {"op":"replace"}, {"op":"add"} (into a list: before that item), {"op":"remove"}, {"op":"move"} */
void wml_patch_replace(wml_issues *issues, const wml_json_path *place, const char *value);
void wml_patch_add(wml_issues *issues, const wml_json_path *place, const char *value);
void wml_patch_remove(wml_issues *issues, const wml_json_path *place);
void wml_patch_move(wml_issues *issues, const wml_json_path *from, const wml_json_path *to);

/* The value at a place; NULL where there is none, or where there are no patches. */
const wml_json *wml_json_path_find(const wml_issues *issues, const wml_json_path *place);
/* "path: text", a line each, of all errors; NULL where memory is short. Lives as long as the
 * issues. */
const char *wml_issues_message(wml_issues *issues);
/* [{"path","line","text","cure":{"text","patch"}}] of the errors or of the warnings. */
void wml_issues_write(wml_text *text, const wml_issues *issues, bool warnings);
void wml_issues_free(wml_issues *issues);

#endif
