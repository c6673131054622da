/* webml evaluate */
#include "data.h"
#include "report.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct evaluate_call {
  webml_predictor_options options;
  cli_data data;
  const char *device, *precision, *part_name, *report, *progress_name;
  int64_t threads;
  bool as_json;
  webml_part part;
  cli_progress progress;
  double began;
} evaluate_call;

static bool part_of(const char *word, webml_part *part) {
  static const char *const names[] = {"auto", "training", "validation", "test"};
  for (int i = 0; i < 4; i++)
    if (!word || strcmp(word, names[i]) == 0) {
      *part = (webml_part)i;
      return true;
    }
  return false;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void show(int64_t done, int64_t samples, void *user) {
  evaluate_call *c = user;
  if (c->began == 0.0) c->began = now();
  double seconds = now() - c->began, rate = seconds > 0.0 ? (double)done / seconds : 0.0;
  double left = rate > 0.0 ? (double)(samples - done) / rate : 0.0;
  if (c->progress.mode == CLI_PROGRESS_JSON)
    cli_event("progress", json_pack("{s:I, s:I, s:f, s:f, s:f}", "done", (json_int_t)done,
                                    "samples", (json_int_t)samples, "seconds", seconds,
                                    "seconds_left", left, "samples_per_second", rate));
  else if (c->progress.mode == CLI_PROGRESS_BAR) {
    printf("\r%lld of %lld samples, %.0f/s\033[K", (long long)done, (long long)samples, rate);
    if (done >= samples) fputs("\r\033[K", stdout);
    fflush(stdout);
  }
}

static int print(const evaluate_call *c, json_t *evaluation, const webml_dataset *dataset) {
  const char *part = json_string_value(json_object_get(evaluation, "part"));
  if (c->progress.mode == CLI_PROGRESS_JSON)
    cli_event("evaluation", json_pack("{s:s, s:O}", "part", part, "evaluation", evaluation));
  else if (c->as_json)
    cli_dump(evaluation, 9);
  else
    cli_print_evaluation(evaluation);
  return c->report ? cli_report_evaluation(c->report, evaluation, dataset) : CLI_DONE;
}

static int evaluate(evaluate_call *c, const char *weights) {
  webml_device *device = NULL;
  webml_predictor *predictor = NULL;
  webml_dataset *dataset = NULL;
  char *text = NULL;
  int code = CLI_FAILED;
  webml_evaluate_options o = {
      .struct_size = sizeof o, .part = c->part, .progress = show, .user = c};
  webml_status status = webml_device_open(c->device, (int)c->threads, &device);
  if (status == WEBML_OK) status = webml_predictor_create(weights, device, &c->options, &predictor);
  if (status == WEBML_OK) status = webml_dataset_open(c->data.path, &c->data.options, &dataset);
  if (status == WEBML_OK) status = webml_evaluate(predictor, dataset, &o, &text);
  if (status == WEBML_OK) {
    json_t *evaluation = cli_json(text);
    code = print(c, evaluation, dataset);
    json_decref(evaluation);
  } else
    cli_fail_last();
  webml_dataset_destroy(dataset);
  webml_predictor_destroy(predictor);
  webml_device_destroy(device);
  return code;
}

static int run_evaluate(int argc, char **argv) {
  evaluate_call c = {.options = {.struct_size = sizeof c.options},
                     .data = {.options = {.struct_size = sizeof c.data.options}},
                     .device = "auto",
                     .precision = "auto"};
  const cli_option own[] = {
      {"data", CLI_TEXT, &c.data.path, "PATH", "the data set (needed)"},
      {"part", CLI_TEXT, &c.part_name, "PART", "training, validation or test (validation or all)"},
      {"json", CLI_FLAG, &c.as_json, NULL, "print JSON"},
      {"progress", CLI_TEXT, &c.progress_name, "HOW", "auto, plain, json or none"},
      {"report", CLI_TEXT, &c.report, "DIR", "write confusion and mistakes there"},
      {"batch-size", CLI_INTEGER, &c.options.max_batch, "N", "rows computed at once (64)"},
      {"precision", CLI_TEXT, &c.precision, "P", "auto, float32, bfloat16 or int8 (auto)"},
      {"device", CLI_TEXT, &c.device, "NAME", "auto, cpu or cuda:N"},
      {"threads", CLI_INTEGER, &c.threads, "N", "CPU threads (all cores)"},
  };
  cli_option options[sizeof own / sizeof *own + CLI_DATA_OPTIONS];
  size_t count = cli_data_options(&c.data, own, sizeof own / sizeof *own, options);
  int n = cli_parse(&cli_evaluate, options, (int)count, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&c.data) != CLI_DONE) return CLI_WRONG_USE;
  if (!c.data.path) return cli_wrong_use("--data PATH is needed");
  if (!part_of(c.part_name, &c.part))
    return cli_wrong_use("--part takes training, validation or test, not \"%s\"", c.part_name);
  if (cli_inference_precision(c.precision, &c.options.precision) != CLI_DONE) return CLI_WRONG_USE;
  if (cli_progress_named(c.progress_name, &c.progress.mode) != CLI_DONE) return CLI_WRONG_USE;
  return evaluate(&c, argv[0]);
}

const cli_command cli_evaluate = {
    "evaluate", "WEIGHTS --data PATH", "measure trained weights on a data set", 1, 1, run_evaluate};
