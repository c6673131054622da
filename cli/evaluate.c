/* webml evaluate */
#include "data.h"
#include "report.h"

#include <string.h>

static bool part_of(const char *word, webml_part *part) {
  static const char *const names[] = {"auto", "training", "validation", "test"};
  for (int i = 0; i < 4; i++)
    if (!word || strcmp(word, names[i]) == 0) {
      *part = (webml_part)i;
      return true;
    }
  return false;
}

static int run_evaluate(int argc, char **argv) {
  const char *device_name = "auto", *precision = "auto", *part_name = NULL, *report = NULL;
  int64_t threads = 0, batch = 0;
  bool as_json = false;
  cli_data d = {.options = {.struct_size = sizeof d.options}};
  const cli_option own[] = {
      {"data", CLI_TEXT, &d.path, "PATH", "the data set (needed)"},
      {"part", CLI_TEXT, &part_name, "PART", "training, validation or test (validation or all)"},
      {"json", CLI_FLAG, &as_json, NULL, "print JSON"},
      {"report", CLI_TEXT, &report, "DIR", "write confusion and mistakes there"},
      {"batch-size", CLI_INTEGER, &batch, "N", "rows computed at once (64)"},
      {"precision", CLI_TEXT, &precision, "P", "auto, float32, bfloat16 or int8 (auto)"},
      {"device", CLI_TEXT, &device_name, "NAME", "auto, cpu or cuda:N"},
      {"threads", CLI_INTEGER, &threads, "N", "CPU threads (all cores)"},
  };
  cli_option options[sizeof own / sizeof *own + CLI_DATA_OPTIONS];
  size_t count = cli_data_options(&d, own, sizeof own / sizeof *own, options);
  int n = cli_parse(&cli_evaluate, options, (int)count, argc, argv);
  webml_part part;
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&d) != CLI_DONE) return CLI_WRONG_USE;
  if (!d.path) return cli_wrong_use("--data PATH is needed");
  if (!part_of(part_name, &part))
    return cli_wrong_use("--part takes training, validation or test, not \"%s\"", part_name);
  webml_predictor_options o = {.struct_size = sizeof o, .max_batch = batch};
  if (cli_inference_precision(precision, &o.precision) != CLI_DONE) return CLI_WRONG_USE;
  webml_device *device = NULL;
  webml_predictor *predictor = NULL;
  webml_dataset *dataset = NULL;
  char *text = NULL;
  int code = CLI_DONE;
  webml_status status = webml_device_open(device_name, (int)threads, &device);
  if (status == WEBML_OK) status = webml_predictor_create(argv[0], device, &o, &predictor);
  if (status == WEBML_OK) status = webml_dataset_open(d.path, &d.options, &dataset);
  if (status == WEBML_OK) status = webml_predictor_evaluate(predictor, dataset, part, &text);
  if (status == WEBML_OK) {
    json_t *evaluation = cli_json(text);
    if (as_json)
      cli_dump(evaluation, 9);
    else
      cli_print_evaluation(evaluation);
    if (report) code = cli_report_evaluation(report, evaluation, dataset);
    json_decref(evaluation);
  } else
    code = cli_fail_last();
  webml_dataset_destroy(dataset);
  webml_predictor_destroy(predictor);
  webml_device_destroy(device);
  return code;
}

const cli_command cli_evaluate = {
    "evaluate", "WEIGHTS --data PATH", "measure trained weights on a data set", 1, 1, run_evaluate};
