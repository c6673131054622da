#include "base/options.h"

/* "batch_size" as people read it: "batch size". */
static void spell(const char *name, char *out, size_t size) {
  size_t n = 0;
  for (; name[n] && n + 1 < size; n++) out[n] = name[n] == '_' ? ' ' : name[n];
  out[n] = '\0';
}

static webml_status check_range(const wml_option *o, double value) {
  char name[64];
  if (value >= o->low && (o->below ? value < o->high : value <= o->high)) return WEBML_OK;
  spell(o->name, name, sizeof name);
  return wml_fail(WEBML_ERROR_ARGUMENT, "%s %g is out of range, must be %g to %s%g", name, value,
                  o->low, o->below ? "below " : "", o->high);
}

static webml_status check_choice(const wml_option *o, int value) {
  char name[64];
  int n = 0;
  while (o->words[n]) n++;
  if (value >= 0 && value < n) return WEBML_OK;
  spell(o->name, name, sizeof name);
  return wml_fail(WEBML_ERROR_ARGUMENT, "%s %d is out of range, must be 0 to %d", name, value,
                  n - 1);
}

static webml_status settle(const wml_option *o, void *at) {
  int64_t *integer = at;
  double *number = at;
  switch (o->kind) {
  case WML_OPTION_INTEGER:
    if (*integer == 0) *integer = (int64_t)o->otherwise;
    return check_range(o, (double)*integer);
  case WML_OPTION_NUMBER:
    if (*number == 0.0) *number = o->otherwise;
    return check_range(o, *number);
  case WML_OPTION_CHOICE: return check_choice(o, *(const int *)at);
  default: return WEBML_OK;
  }
}

webml_status wml_options_settle(const wml_option *list, int n, void *object) {
  for (int i = 0; i < n; i++) WML_TRY(settle(&list[i], (char *)object + list[i].offset));
  return WEBML_OK;
}
