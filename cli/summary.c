/* The commands about what is there: summary, export, devices. */
#include "cli.h"

#include <string.h>

/* ---- summary ---- */

static void format_shape(const json_t *shape, char *out, size_t size) {
  size_t i;
  json_t *d;
  int n = snprintf(out, size, "(");
  json_array_foreach(shape, i, d) {
    if (json_is_null(d))
      n += snprintf(out + n, size - (size_t)n, "%s?", i ? ", " : "");
    else
      n += snprintf(out + n, size - (size_t)n, "%s%lld", i ? ", " : "",
                    (long long)json_integer_value(d));
  }
  snprintf(out + n, size - (size_t)n, ")");
}

static void print_layers(const json_t *summary) {
  size_t i;
  json_t *l;
  char shape[64], name[128];
  format_shape(json_object_get(summary, "input_shape"), shape, sizeof shape);
  printf("model %s, input %s\n\n%-34s %-20s %12s %10s\n",
         json_string_value(json_object_get(summary, "name")), shape, "layer", "output",
         "parameters", "MFLOP");
  json_array_foreach(json_object_get(summary, "layers"), i, l) {
    const char *activation = json_string_value(json_object_get(l, "activation"));
    bool linear = strcmp(activation, "linear") == 0;
    snprintf(name, sizeof name, "%s (%s%s%s)", json_string_value(json_object_get(l, "name")),
             json_string_value(json_object_get(l, "type")), linear ? "" : ", ",
             linear ? "" : activation);
    format_shape(json_object_get(l, "output_shape"), shape, sizeof shape);
    cli_cell(name, 34);
    printf(" %-20s %12lld %10.3f\n", shape,
           (long long)json_integer_value(json_object_get(l, "parameters")),
           cli_real(l, "flops") / 1e6);
  }
  printf("\nparameters %lld (%lld trained), %.3f MFLOP per sample forward\n",
         (long long)json_integer_value(json_object_get(summary, "parameters")),
         (long long)json_integer_value(json_object_get(summary, "trainable")),
         cli_real(summary, "flops") / 1e6);
}

static void add_memory(json_t *summary, const webml_model *model, webml_device *device,
                       int64_t batch, bool training) {
  webml_memory m;
  if (webml_plan_memory(model, device, batch, training, &m) != WEBML_OK) return;
  json_object_set_new(summary, training ? "memory_training" : "memory_prediction",
                      json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "batch_size", (json_int_t)batch,
                                "weights", (json_int_t)m.weights, "state", (json_int_t)m.state,
                                "saved", (json_int_t)m.saved, "scratch", (json_int_t)m.scratch,
                                "total", (json_int_t)m.total));
}

static int run_summary(int argc, char **argv) {
  bool as_json = false;
  int64_t batch = 32;
  const char *device_name = "auto", *data = NULL;
  const cli_option options[] = {
      {"json", CLI_FLAG, &as_json, NULL, "print JSON"},
      {"batch-size", CLI_INTEGER, &batch, "N", "for the memory of a training (32)"},
      {"data", CLI_TEXT, &data, "PATH", "shape a dynamic model to this data set first"},
      {"device", CLI_TEXT, &device_name, "NAME", "whose memory: auto, cpu or cuda:N"}};
  int n = cli_parse(&cli_summary, options, 4, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  webml_model *model = NULL, *shaped = NULL;
  webml_dataset *dataset = NULL;
  webml_device *device = NULL;
  char *text = NULL;
  webml_status status = webml_model_load(argv[0], &model);
  if (status == WEBML_OK && data) status = webml_dataset_open(data, NULL, &dataset);
  if (status == WEBML_OK && data) status = webml_model_shape_to(model, dataset, &shaped, NULL);
  const webml_model *shown = shaped ? shaped : model;
  if (status == WEBML_OK) status = webml_model_summary(shown, &text);
  if (status == WEBML_OK) status = webml_device_open(device_name, 0, &device);
  if (status == WEBML_OK) {
    json_t *summary = cli_json(text);
    text = NULL;
    add_memory(summary, shown, device, batch, true);
    add_memory(summary, shown, device, 1, false);
    json_t *training = json_object_get(summary, "memory_training"),
           *prediction = json_object_get(summary, "memory_prediction");
    if (as_json)
      cli_dump(summary, 9);
    else {
      print_layers(summary);
      if (training)
        printf("memory: %.1f MB to train with batch %lld, %.1f MB to predict one (device %s)\n",
               cli_real(training, "total") / 1e6, (long long)batch,
               cli_real(prediction, "total") / 1e6, device_name);
      else
        printf("memory: known once the model is shaped to a data set (--data PATH)\n");
    }
    json_decref(summary);
  }
  webml_free(text);
  webml_device_destroy(device);
  webml_dataset_destroy(dataset);
  webml_model_destroy(shaped);
  webml_model_destroy(model);
  return status == WEBML_OK ? CLI_DONE : cli_fail_last();
}

const cli_command cli_summary = {"summary",
                                 "MODEL.json|WEIGHTS",
                                 "print the layers, shapes, parameters and memory of a model",
                                 1,
                                 1,
                                 run_summary};

/* ---- export ---- */

static int run_export(int argc, char **argv) {
  const char *format = NULL, *path = NULL;
  const cli_option options[] = {{"format", CLI_TEXT, &format, "F", "onnx or tfjs"},
                                {"out", CLI_TEXT, &path, "PATH", "where to write; also -o PATH"}};
  for (int i = 0; i < argc; i++)
    if (strcmp(argv[i], "-o") == 0) argv[i] = "--out";
  int n = cli_parse(&cli_export, options, 2, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (!format || !path) return cli_wrong_use("--format onnx|tfjs and -o PATH are needed");
  return webml_export(argv[0], format, path) == WEBML_OK ? CLI_DONE : cli_fail_last();
}

const cli_command cli_export = {
    "export",  "WEIGHTS --format F -o PATH", "write trained weights for other programs", 1, 1,
    run_export};

/* ---- devices ---- */

static void print_device(const json_t *d) {
  const json_t *threads = json_object_get(d, "threads");
  printf("%-8s %s, ", json_string_value(json_object_get(d, "name")),
         json_string_value(json_object_get(d, "description")));
  if (threads)
    printf("%lld threads, ", (long long)json_integer_value(threads));
  else
    printf("compute capability %s, ", json_string_value(json_object_get(d, "compute_capability")));
  printf("%s%s%.1f of %.1f GB available\n",
         json_is_true(json_object_get(d, "bfloat16")) ? "bfloat16, " : "",
         json_is_true(json_object_get(d, "int8")) ? "int8, " : "",
         cli_real(d, "memory_available") / 1e9, cli_real(d, "memory_total") / 1e9);
}

static int run_devices(int argc, char **argv) {
  bool as_json = false;
  const cli_option options[] = {{"json", CLI_FLAG, &as_json, NULL, "print JSON"}};
  int n = cli_parse(&cli_devices, options, 1, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  char *text = NULL;
  if (webml_devices(&text) != WEBML_OK) return cli_fail_last();
  json_t *all = cli_json(text), *d;
  size_t i;
  if (as_json)
    cli_dump(all, 9);
  else {
    json_array_foreach(json_object_get(all, "devices"), i, d) print_device(d);
    json_array_foreach(json_object_get(all, "unavailable"), i, d)
        printf("%-8s not available: %s\n", json_string_value(json_object_get(d, "kind")),
               json_string_value(json_object_get(d, "reason")));
  }
  json_decref(all);
  return CLI_DONE;
}

const cli_command cli_devices = {"devices", "", "list the devices of this machine",
                                 0,         0,  run_devices};
