/* Options of public structs as tables: from one table ranges are checked, defaults filled in and
 * webml_schema() written. */
#ifndef WML_BASE_OPTIONS_H
#define WML_BASE_OPTIONS_H

#include "base/status.h"

#include <stddef.h>

typedef enum wml_option_kind {
  WML_OPTION_INTEGER, /* int64_t */
  WML_OPTION_SEED,    /* uint64_t */
  WML_OPTION_NUMBER,  /* double */
  WML_OPTION_FLAG,    /* bool */
  WML_OPTION_CHOICE,  /* an enum, from 0 in the order of `words` */
  WML_OPTION_TEXT     /* const char * */
} wml_option_kind;

typedef struct wml_option {
  const char *name;         /* the member */
  const char *command_line; /* without the dashes; NULL: there is none */
  wml_option_kind kind;
  size_t offset;
  double low, high;         /* of integers and numbers, after the default is filled in */
  bool below;               /* high itself is out of range */
  double otherwise;         /* what 0 stands for */
  const char *open;         /* in place of a default: "of the description"; or NULL */
  const char *const *words; /* CHOICE: up to a NULL */
  const char *about;
} wml_option;

/* Fills in defaults and checks ranges. WEBML_ERROR_ARGUMENT. */
webml_status wml_options_settle(const wml_option *list, int n, void *object);

#endif
