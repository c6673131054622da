/* webml quantize */
#include "data.h"

#include <string.h>

static bool calibration_of(const char *word, webml_calibration *calibration) {
  static const char *const names[] = {"percentile", "minmax", "mse"};
  for (int i = 0; i < 3; i++)
    if (strcmp(word, names[i]) == 0) {
      *calibration = (webml_calibration)i;
      return true;
    }
  return false;
}

static void print_layers(const json_t *layers) {
  size_t i;
  json_t *l;
  printf("%-26s %-10s %12s %12s\n", "layer", "computed", "input scale", "alone");
  json_array_foreach(layers, i, l) {
    bool quantized = json_is_true(json_object_get(l, "quantized"));
    const json_t *error = json_object_get(l, "error");
    cli_cell(json_string_value(json_object_get(l, "name")), 26);
    printf(" %-10s ", quantized ? "int8" : "float32");
    if (quantized)
      printf("%12.6g ", cli_real(l, "input_scale"));
    else
      printf("%12s ", "");
    if (json_is_number(error))
      printf("%10.3f %%\n", 100 * json_number_value(error));
    else
      printf("%12s\n", "");
  }
}

/* Of two evaluations, every figure that both have. */
static void print_figures(const json_t *before, const json_t *after) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)before, key, value) {
    const json_t *other = json_object_get(after, key);
    if (json_is_real(value) && json_is_number(other))
      printf("%-26s %12.6g %12.6g\n", key, json_real_value(value), json_number_value(other));
  }
}

static void print_report(const json_t *report, const char *out) {
  const char *measured = json_string_value(json_object_get(report, "measured_in"));
  print_layers(json_object_get(report, "layers"));
  const json_t *before = json_object_get(report, "before"),
               *after = json_object_get(report, "after");
  printf("\n%-26s %12s %12s\n", "", "before", "after");
  print_figures(before, after);
  print_figures(json_object_get(before, "metrics"), json_object_get(after, "metrics"));
  printf("%-26s %9.2f MB %9.2f MB\n\n", "file", cli_real(report, "bytes_before") / 1e6,
         cli_real(report, "bytes_after") / 1e6);
  if (strcmp(measured, "int8") != 0)
    printf(
        "This processor does not multiply bytes (it has no VNNI): it computes quantized weights\n"
        "in float32, no faster than others, and so the figures after are measured.\n");
  printf("wrote %s\n", out);
}

static int run_quantize(int argc, char **argv) {
  const char *device_name = "cpu", *out = NULL, *calibration = "percentile";
  webml_quantize_options o = {.struct_size = sizeof o};
  int64_t threads = 0;
  bool as_json = false;
  cli_data d = {.options = {.struct_size = sizeof d.options}};
  const cli_option own[] = {
      {"data", CLI_TEXT, &d.path, "PATH", "the data set it was trained on (needed)"},
      {"o", CLI_TEXT, &out, "FILE", "weights file to write (needed)"},
      {"calibration", CLI_TEXT, &calibration, "HOW",
       "of ranges: percentile, minmax, mse (percentile)"},
      {"percentile", CLI_NUMBER, &o.percentile, "P", "share of values in the range (99.99)"},
      {"samples", CLI_INTEGER, &o.samples, "N", "of the training part that calibrate (1024)"},
      {"max-drop", CLI_NUMBER, &o.max_drop, "D",
       "accuracy points, or % of a loss, to lose (0.3, 3)"},
      {"keep", CLI_TEXT, &o.keep, "LAYERS", "layers that stay in float32, with commas"},
      {"json", CLI_FLAG, &as_json, NULL, "print JSON"},
      {"device", CLI_TEXT, &device_name, "NAME", "auto, cpu or cuda:N (cpu)"},
      {"threads", CLI_INTEGER, &threads, "N", "CPU threads (all cores)"},
  };
  cli_option options[sizeof own / sizeof *own + CLI_DATA_OPTIONS];
  size_t count = cli_data_options(&d, own, sizeof own / sizeof *own, options);
  int n = cli_parse(&cli_quantize, options, (int)count, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&d) != CLI_DONE) return CLI_WRONG_USE;
  if (!d.path || !out) return cli_wrong_use("--data PATH and -o FILE are needed");
  if (!calibration_of(calibration, &o.calibration))
    return cli_wrong_use("--calibration takes percentile, minmax or mse, not \"%s\"", calibration);
  webml_device *device = NULL;
  webml_dataset *dataset = NULL;
  char *text = NULL;
  int code = CLI_DONE;
  if (webml_device_open(device_name, (int)threads, &device) != WEBML_OK ||
      webml_dataset_open(d.path, &d.options, &dataset) != WEBML_OK ||
      webml_quantize(argv[0], dataset, device, &o, out, &text) != WEBML_OK)
    code = cli_fail_last();
  if (code == CLI_DONE) {
    json_t *report = cli_json(text);
    if (as_json)
      cli_dump(report, 9);
    else
      print_report(report, out);
    json_decref(report);
  }
  webml_dataset_destroy(dataset);
  webml_device_destroy(device);
  return code;
}

const cli_command cli_quantize = {"quantize",
                                  "WEIGHTS --data PATH -o FILE",
                                  "make weights that predict in int8, at a quarter of the size",
                                  1,
                                  1,
                                  run_quantize};
