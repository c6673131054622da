/* webml predict */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void print_image_answer(const json_t *answer) {
  size_t i;
  json_t *c;
  printf("%s: ", json_string_value(json_object_get(answer, "input")));
  json_array_foreach(json_object_get(answer, "top"), i, c)
      printf("%s%s %.1f %%", i ? ", " : "", json_string_value(json_object_get(c, "class")),
             100.0 * cli_real(c, "probability"));
  putchar('\n');
}

static void print_row_answer(const json_t *answer) {
  const char *key, *name;
  json_t *value, *p;
  json_object_foreach(json_object_get(answer, "outputs"), key, value) {
    if (json_is_string(value))
      printf("%s: %s", key, json_string_value(value));
    else
      printf("%s: %.6g", key, json_number_value(value));
    json_t *all = json_object_get(json_object_get(answer, "probabilities"), key);
    const char *before = " (";
    json_object_foreach(all, name, p) {
      printf("%s%s %.1f %%", before, name, 100.0 * json_number_value(p));
      before = ", ";
    }
    printf("%s\n", all ? ")" : "");
  }
}

/* "a=1,b=x" as a JSON object; a value that is a number is one. NULL when it has not that form. */
static char *row_of_pairs(const char *text) {
  json_t *row = json_object();
  char *copy = strdup(text), *rest = copy;
  for (char *pair; row && copy && (pair = strsep(&rest, ",")) != NULL;) {
    char *equals = strchr(pair, '='), *end = NULL;
    if (!equals) {
      json_decref(row);
      row = NULL;
      break;
    }
    *equals = '\0';
    double number = strtod(equals + 1, &end);
    bool numeric = equals[1] && *end == '\0';
    json_object_set_new(row, pair, numeric ? json_real(number) : json_string(equals + 1));
  }
  char *json = row ? json_dumps(row, 0) : NULL;
  json_decref(row);
  free(copy);
  return json;
}

/* An input is an image file, a row {"column": value}, or column=value,column=value. */
static webml_status predict_one(webml_predictor *p, const char *input, char **answer) {
  const char *at = input + strspn(input, " \n\t");
  if (*at == '{') return webml_predictor_row(p, input, answer);
  char *row = strchr(input, '=') ? row_of_pairs(input) : NULL;
  if (!row) return webml_predictor_image(p, input, answer);
  webml_status status = webml_predictor_row(p, row, answer);
  free(row);
  return status;
}

static int run_predict(int argc, char **argv) {
  const char *device_name = "auto", *precision = "auto";
  int64_t threads = 0;
  bool as_json = false;
  const cli_option options[] = {
      {"json", CLI_FLAG, &as_json, NULL, "one JSON object per input and line"},
      {"precision", CLI_TEXT, &precision, "P", "auto, float32, bfloat16 or int8 (auto)"},
      {"device", CLI_TEXT, &device_name, "NAME", "auto, cpu or cuda:N"},
      {"threads", CLI_INTEGER, &threads, "N", "CPU threads (all cores)"},
  };
  int n = cli_parse(&cli_predict, options, sizeof options / sizeof *options, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  webml_predictor_options o = {.struct_size = sizeof o, .max_batch = 1};
  if (cli_inference_precision(precision, &o.precision) != CLI_DONE) return CLI_WRONG_USE;
  webml_device *device = NULL;
  webml_predictor *predictor = NULL;
  int code = CLI_DONE;
  if (webml_device_open(device_name, (int)threads, &device) != WEBML_OK ||
      webml_predictor_create(argv[0], device, &o, &predictor) != WEBML_OK)
    code = cli_fail_last();
  for (int i = 1; i < n && predictor; i++) {
    char *text = NULL;
    if (predict_one(predictor, argv[i], &text) != WEBML_OK) {
      code = cli_fail_last();
      continue;
    }
    if (as_json) {
      puts(text);
      webml_free(text);
      continue;
    }
    json_t *answer = cli_json(text);
    if (json_object_get(answer, "top"))
      print_image_answer(answer);
    else
      print_row_answer(answer);
    json_decref(answer);
  }
  webml_predictor_destroy(predictor);
  webml_device_destroy(device);
  return code;
}

const cli_command cli_predict = {
    "predict", "WEIGHTS INPUT...", "predict images, or rows given as column=value,column=value", 2,
    1 << 20,   run_predict};
