/* webml model: ready-made networks. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static int list_networks(bool as_json) {
  char *text = NULL;
  size_t i, k;
  json_t *network, *option;
  if (webml_schema(&text) != WEBML_OK) return cli_fail_last();
  json_t *schema = cli_json(text), *networks = json_object_get(schema, "networks");
  if (as_json) cli_dump(networks, 9);
  json_array_foreach(as_json ? NULL : networks, i, network) {
    printf("%-16s %s\n%16s", json_string_value(json_object_get(network, "name")),
           json_string_value(json_object_get(network, "description")), "");
    json_array_foreach(json_object_get(network, "options"), k, option) {
      const json_t *usual = json_object_get(option, "default");
      printf(" %s", json_string_value(json_object_get(option, "command_line")));
      if (json_is_number(usual)) printf(" (%.8g)", json_number_value(usual));
    }
    putchar('\n');
  }
  json_decref(schema);
  return CLI_DONE;
}

static int write_text(const char *text, const char *path) {
  FILE *f = path ? fopen(path, "w") : stdout;
  bool ok = f && fputs(text, f) >= 0 && fputc('\n', f) != EOF;
  if (f && path && fclose(f) != 0) ok = false;
  return ok ? CLI_DONE : cli_fail("cannot write %s", path ? path : "the output");
}

static int run(int argc, char **argv) {
  webml_named_options o = {.struct_size = sizeof o};
  bool list = false, as_json = false;
  const char *path = NULL;
  const cli_option options[] = {
      {"list", CLI_FLAG, &list, NULL, "list the networks and their options"},
      {"json", CLI_FLAG, &as_json, NULL, "of the list: print JSON"},
      {"size", CLI_TEXT, &o.size, "HxWxC", "height, width, channels; of tables the features"},
      {"classes", CLI_INTEGER, &o.classes, "N", "outputs (what the data set has)"},
      {"alpha", CLI_NUMBER, &o.alpha, "A", "factor of the filters of every layer"},
      {"filters", CLI_INTEGER, &o.filters, "N", "of the first stage"},
      {"units", CLI_INTEGER, &o.units, "N", "of hidden Dense layers"},
      {"depth", CLI_INTEGER, &o.depth, "N", "stages or hidden layers"},
      {"out", CLI_TEXT, &path, "FILE", "where to write it; also -o FILE (printed)"}};
  for (int i = 0; i < argc; i++)
    if (strcmp(argv[i], "-o") == 0) argv[i] = "--out";
  int n = cli_parse(&cli_model, options, sizeof options / sizeof *options, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (list) return list_networks(as_json);
  if (n == 0) return cli_wrong_use("the NAME of a network is needed; webml model --list has them");
  char *text = NULL;
  if (webml_model_named(argv[0], &o, &text) != WEBML_OK) return cli_fail_last();
  int code = write_text(text, path);
  webml_free(text);
  return code;
}

const cli_command cli_model = {"model", "NAME", "print the description of a ready-made network",
                               0,       1,      run};
