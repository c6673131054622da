/* webml schema: what a description and a training may say. */
#include "cli.h"

#include <string.h>

enum { NAME_WIDTH = 28, MOST_COLUMNS = 79 };

/* Prints words from column `at` on, broken before the last column. */
static void print_wrapped(const char *text, int at) {
  int column = at;
  while (*text) {
    int n = (int)strcspn(text, " ");
    if (column + 1 + n > MOST_COLUMNS) {
      printf("\n%*s", at, "");
      column = at;
    }
    printf("%s%.*s", column > at ? " " : "", n, text);
    column += n + (column > at);
    text += n;
    while (*text == ' ') text++;
  }
  putchar('\n');
}

/* "1 to 1024 (32)": range or choices, and the default. */
static void describe(const json_t *o, char *out, size_t size) {
  size_t i, n = 0;
  json_t *word;
  const json_t *low = json_object_get(o, "minimum"), *high = json_object_get(o, "maximum"),
               *below = json_object_get(o, "exclusiveMaximum"),
               *usual = json_object_get(o, "default");
  const char *type = json_string_value(json_object_get(o, "type"));
  *out = '\0';
  if (json_is_number(low) && json_is_number(high))
    n += (size_t)snprintf(out, size, "%.8g to %.8g", json_number_value(low),
                          json_number_value(high));
  else if (json_is_number(low) && json_is_number(below))
    n += (size_t)snprintf(out, size, "%.8g to below %.8g", json_number_value(low),
                          json_number_value(below));
  else if (!json_object_get(o, "choices"))
    n += (size_t)snprintf(out, size, "%s", type);
  json_array_foreach(json_object_get(o, "choices"), i, word) n +=
      (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", json_string_value(word));
  if (json_is_true(json_object_get(o, "required")))
    snprintf(out + n, size - n, " (needed)");
  else if (json_is_number(usual))
    snprintf(out + n, size - n, " (%.8g)", json_number_value(usual));
  else if (json_is_boolean(usual))
    snprintf(out + n, size - n, " (%s)", json_is_true(usual) ? "true" : "false");
  else if (json_is_string(usual))
    snprintf(out + n, size - n, " (%s)", json_string_value(usual));
}

static void print_options(const json_t *list) {
  size_t i;
  json_t *o;
  json_array_foreach(list, i, o) {
    char text[512];
    printf("    %-*s", NAME_WIDTH - 4, json_string_value(json_object_get(o, "name")));
    describe(o, text, sizeof text);
    putchar(' ');
    print_wrapped(text, NAME_WIDTH + 1);
    printf("      ");
    print_wrapped(json_string_value(json_object_get(o, "description")), 6);
  }
}

static void print_kinds(const json_t *list) {
  size_t i;
  json_t *kind;
  json_array_foreach(list, i, kind) {
    const char *name = json_string_value(json_object_get(kind, "name"));
    printf("  %-*s", NAME_WIDTH - 2, name);
    if (strlen(name) > NAME_WIDTH - 2) printf("\n%*s", NAME_WIDTH, "");
    putchar(' ');
    print_wrapped(json_string_value(json_object_get(kind, "description")), NAME_WIDTH + 1);
    print_options(json_object_get(kind, "options"));
  }
}

static void print_schema(const json_t *schema) {
  const char *key;
  json_t *list;
  json_object_foreach((json_t *)(uintptr_t)schema, key, list) {
    if (!json_is_array(list)) continue;
    bool options = !json_object_get(json_array_get(list, 0), "options");
    printf("%s\n", key);
    if (options)
      print_options(list);
    else
      print_kinds(list);
    putchar('\n');
  }
}

static int run_schema(int argc, char **argv) {
  bool as_json = false;
  const cli_option options[] = {{"json", CLI_FLAG, &as_json, NULL, "print JSON"}};
  int n = cli_parse(&cli_schema, options, 1, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  char *text = NULL;
  if (webml_schema(&text) != WEBML_OK) return cli_fail_last();
  json_t *schema = cli_json(text);
  if (as_json)
    cli_dump(schema, 9);
  else
    print_schema(schema);
  json_decref(schema);
  return CLI_DONE;
}

const cli_command cli_schema = {"schema", "", "list layers, options and their ranges",
                                0,        0,  run_schema};
