/* The command that fills in what a description leaves open. */
#include "data.h"

#include <string.h>

static int write_model(const char *text, const char *path) {
  FILE *f = fopen(path, "w");
  bool ok = f && fputs(text, f) >= 0 && fputc('\n', f) != EOF;
  if (f && fclose(f) != 0) ok = false;
  return ok ? CLI_DONE : cli_fail("cannot write %s", path);
}

/* What was chosen, a sentence an element. */
static json_t *sentences_of(const char *chosen) {
  json_t *list = json_array();
  for (const char *p = chosen; p && *p;) {
    size_t n = strcspn(p, "\n");
    if (n) json_array_append_new(list, json_stringn(p, n));
    p += n + (p[n] == '\n');
  }
  return list;
}

static int run_shape(int argc, char **argv) {
  cli_data data = {0};
  const char *path = NULL;
  bool as_json = false;
  const cli_option own[] = {
      {"data", CLI_TEXT, &data.path, "PATH", "CSV file, folder or zip of images, or IDX files"},
      {"out", CLI_TEXT, &path, "FILE", "where to write the shaped model; also -o FILE"},
      {"json", CLI_FLAG, &as_json, NULL, "print model and choices as JSON"}};
  cli_option options[3 + CLI_DATA_OPTIONS];
  size_t n_options = cli_data_options(&data, own, 3, options);
  for (int i = 0; i < argc; i++)
    if (strcmp(argv[i], "-o") == 0) argv[i] = "--out";
  int n = cli_parse(&cli_shape, options, (int)n_options, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&data) != CLI_DONE) return CLI_WRONG_USE;
  if (!data.path || (!path && !as_json))
    return cli_wrong_use("--data PATH is needed, and -o FILE or --json");
  webml_model *model = NULL, *shaped = NULL;
  webml_dataset *dataset = NULL;
  char *chosen = NULL, *text = NULL;
  webml_status status = webml_model_load(argv[0], &model);
  if (status == WEBML_OK) status = webml_dataset_open(data.path, &data.options, &dataset);
  if (status == WEBML_OK) status = webml_model_shape_to(model, dataset, &shaped, &chosen);
  if (status == WEBML_OK) status = webml_model_to_json(shaped, &text);
  int code = status == WEBML_OK ? CLI_DONE : cli_fail_last();
  if (code == CLI_DONE && path) code = write_model(text, path);
  if (code == CLI_DONE && as_json) {
    json_t *all =
        json_pack("{s:o, s:o}", "model", json_loads(text, 0, NULL), "chosen", sentences_of(chosen));
    cli_dump(all, 9);
    json_decref(all);
  } else if (code == CLI_DONE)
    printf("%s%s%s\n", chosen ? chosen : "", chosen && *chosen ? "\n" : "", path);
  webml_free(chosen);
  webml_free(text);
  webml_dataset_destroy(dataset);
  webml_model_destroy(shaped);
  webml_model_destroy(model);
  return code;
}

const cli_command cli_shape = {
    "shape",  "MODEL.json --data PATH -o FILE", "fit a model's open sizes to a data set", 1, 1,
    run_shape};
