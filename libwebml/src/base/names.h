/* Finding names in a list of many, in the time of a binary search. */
#ifndef WML_BASE_NAMES_H
#define WML_BASE_NAMES_H

#include "base/status.h"

typedef struct wml_name {
  const char *text;
  size_t length;
  int index; /* in the list that was given */
} wml_name;

/* An index over names that the caller keeps alive. */
typedef struct wml_names {
  int n;
  wml_name *sorted;
} wml_names;

/* WEBML_ERROR_MEMORY. Free with wml_names_free(). */
webml_status wml_names_create(const char *const *list, int n, wml_names *names);
/* Index of the first name in the list that has these bytes; -1 where there is none. */
int wml_names_find(const wml_names *names, const char *text, size_t length);
void wml_names_free(wml_names *names);

#endif
