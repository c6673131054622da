#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void complain(const char *format, va_list args) {
  fflush(stdout);
  fputs("webml: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
}

int cli_fail(const char *format, ...) {
  va_list args;
  va_start(args, format);
  complain(format, args);
  va_end(args);
  return CLI_FAILED;
}

int cli_wrong_use(const char *format, ...) {
  va_list args;
  va_start(args, format);
  complain(format, args);
  va_end(args);
  return CLI_WRONG_USE;
}

int cli_fail_last(void) {
  const char *at = webml_last_error();
  do {
    int n = (int)strcspn(at, "\n");
    cli_fail("%.*s", n, at);
    at += n + (at[n] == '\n');
  } while (*at);
  return CLI_FAILED;
}

static void print_help(const cli_command *c, const cli_option *options, int n) {
  printf("Usage: webml %s %s [options]\n\n%s\n\nOptions:\n", c->name, c->arguments, c->summary);
  for (int i = 0; i < n; i++) {
    char left[64];
    const char *dashes = strlen(options[i].name) == 1 ? "-" : "--";
    snprintf(left, sizeof left, "%s%s%s%s", dashes, options[i].name, options[i].shown ? " " : "",
             options[i].shown ? options[i].shown : "");
    printf("  %-26s %s\n", left, options[i].help);
  }
  printf("  %-26s %s\n", "--help", "show this help");
}

static const cli_option *find(const cli_option *options, int n, const char *name, size_t length) {
  for (int i = 0; i < n; i++)
    if (strlen(options[i].name) == length && strncmp(options[i].name, name, length) == 0)
      return &options[i];
  return NULL;
}

static bool set_fill(const cli_option *o, const char *text) {
  static const char *const words[] = {"nearest", "constant", "reflect", "wrap"}; /* as the enum */
  for (int i = 0; i < 4; i++)
    if (strcmp(words[i], text) == 0) {
      *(webml_fill *)o->value = (webml_fill)i;
      return true;
    }
  cli_wrong_use("--%s takes nearest, constant, reflect or wrap, not \"%s\"", o->name, text);
  return false;
}

static bool set(const cli_option *o, const char *text) {
  char *end = NULL;
  errno = 0;
  switch (o->kind) {
  case CLI_FLAG: *(bool *)o->value = true; return true;
  case CLI_TEXT: *(const char **)o->value = text; return true;
  case CLI_FILL: return set_fill(o, text);
  case CLI_INTEGER: *(int64_t *)o->value = strtoll(text, &end, 10); break;
  case CLI_NUMBER: *(double *)o->value = strtod(text, &end); break;
  }
  if (*text && end && *end == '\0' && errno == 0) return true;
  cli_wrong_use("--%s takes %s, not \"%s\"", o->name,
                o->kind == CLI_INTEGER ? "a whole number" : "a number", text);
  return false;
}

int cli_parse(const cli_command *c, const cli_option *options, int n, int argc, char **argv) {
  int positional = 0;
  bool only_positional = false;
  for (int i = 0; i < argc; i++) {
    const char *a = argv[i];
    if (only_positional || a[0] != '-' || a[1] == '\0') {
      argv[positional++] = argv[i];
      continue;
    }
    if (strcmp(a, "--") == 0) {
      only_positional = true;
      continue;
    }
    if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
      print_help(c, options, n);
      return -2;
    }
    size_t length = strcspn(a, "=");
    const cli_option *o = a[1] == '-'   ? find(options, n, a + 2, length - 2)
                          : length == 2 ? find(options, n, a + 1, 1)
                                        : NULL;
    if (!o) {
      cli_wrong_use("%s: unknown option %s; see webml %s --help", c->name, a, c->name);
      return -1;
    }
    const char *value = a[length] == '=' ? a + length + 1 : NULL;
    if (o->kind == CLI_FLAG && value) {
      cli_wrong_use("--%s takes no value", o->name);
      return -1;
    }
    if (o->kind != CLI_FLAG && !value) {
      if (i + 1 >= argc) {
        cli_wrong_use("--%s needs a value (%s)", o->name, o->shown);
        return -1;
      }
      value = argv[++i];
    }
    if (!set(o, value)) return -1;
  }
  if (positional < c->least || positional > c->most) {
    cli_wrong_use("usage: webml %s %s [options]", c->name, c->arguments);
    return -1;
  }
  return positional;
}

int cli_inference_precision(const char *word, webml_inference_precision *precision) {
  static const char *const names[] = {"auto", "float32", "bfloat16", "int8"};
  for (int i = 0; i < 4; i++)
    if (strcmp(word, names[i]) == 0) {
      *precision = (webml_inference_precision)i;
      return CLI_DONE;
    }
  return cli_wrong_use("--precision takes auto, float32, bfloat16 or int8, not \"%s\"", word);
}

int cli_precision(const char *word, webml_precision *precision) {
  static const char *const words[] = {[WEBML_FLOAT32] = "float32",
                                      [WEBML_FLOAT32_STRICT] = "float32_strict",
                                      [WEBML_MIXED_BFLOAT16] = "mixed_bfloat16"};
  *precision = WEBML_FLOAT32;
  for (int i = 0; word && i <= WEBML_MIXED_BFLOAT16; i++)
    if (strcmp(word, words[i]) == 0) {
      *precision = (webml_precision)i;
      return CLI_DONE;
    }
  if (!word) return CLI_DONE;
  return cli_wrong_use("--precision takes float32, float32_strict or mixed_bfloat16, not \"%s\"",
                       word);
}

json_t *cli_json(char *text) {
  json_t *json = json_loads(text, 0, NULL);
  webml_free(text);
  return json;
}

double cli_real(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

void cli_dump(const json_t *json, int digits) {
  json_dumpf(json, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(digits));
  putchar('\n');
}
