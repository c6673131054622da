/* The commands about what is there: evaluate, predict, inspect, summary, export, devices. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void dump(const json_t *json) {
  json_dumpf(json, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
  putchar('\n');
}

/* ---- evaluate ---- */

static int run_evaluate(int argc, char **argv) {
  const char *data = NULL, *device_name = "auto";
  int64_t threads = 0, batch = 0;
  bool as_json = false, training = false;
  webml_dataset_options data_options = {.struct_size = sizeof data_options};
  const cli_option options[] = {
      {"data", CLI_TEXT, &data, "PATH", "the data set (needed)"},
      {"json", CLI_FLAG, &as_json, NULL, "print JSON"},
      {"training-part", CLI_FLAG, &training, NULL,
       "evaluate the training part, not the validation part"},
      {"validation-split", CLI_NUMBER, &data_options.validation_split, "V",
       "share that was kept for validation"},
      {"skip-broken", CLI_FLAG, &data_options.skip_broken, NULL,
       "leave out images that cannot be read"},
      {"batch-size", CLI_INTEGER, &batch, "N", "rows computed at once (64)"},
      {"device", CLI_TEXT, &device_name, "NAME", "auto, cpu or cuda:N"},
      {"threads", CLI_INTEGER, &threads, "N", "CPU threads (all cores)"},
  };
  int n = cli_parse(&cli_evaluate, options, sizeof options / sizeof *options, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (!data) return cli_wrong_use("--data PATH is needed");
  webml_device *device = NULL;
  webml_predictor *predictor = NULL;
  webml_dataset *dataset = NULL;
  char *text = NULL;
  webml_status status = webml_device_open(device_name, (int)threads, &device);
  if (status == WEBML_OK) status = webml_predictor_load(argv[0], device, batch, &predictor);
  if (status == WEBML_OK) status = webml_dataset_open(data, &data_options, &dataset);
  if (status == WEBML_OK) status = webml_predictor_evaluate(predictor, dataset, !training, &text);
  if (status == WEBML_OK) {
    json_t *evaluation = cli_json(text);
    if (as_json)
      dump(evaluation);
    else
      cli_print_evaluation(evaluation);
    json_decref(evaluation);
  }
  webml_dataset_destroy(dataset);
  webml_predictor_destroy(predictor);
  webml_device_destroy(device);
  return status == WEBML_OK ? CLI_DONE : cli_fail_last();
}

const cli_command cli_evaluate = {
    "evaluate", "WEIGHTS --data PATH", "measure trained weights on a data set", 1, 1, run_evaluate};

/* ---- predict ---- */

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
  const char *device_name = "auto";
  int64_t threads = 0;
  bool as_json = false;
  const cli_option options[] = {
      {"json", CLI_FLAG, &as_json, NULL, "one JSON object per input and line"},
      {"device", CLI_TEXT, &device_name, "NAME", "auto, cpu or cuda:N"},
      {"threads", CLI_INTEGER, &threads, "N", "CPU threads (all cores)"},
  };
  int n = cli_parse(&cli_predict, options, sizeof options / sizeof *options, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  webml_device *device = NULL;
  webml_predictor *predictor = NULL;
  int code = CLI_DONE;
  if (webml_device_open(device_name, (int)threads, &device) != WEBML_OK ||
      webml_predictor_load(argv[0], device, 1, &predictor) != WEBML_OK)
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

/* ---- inspect ---- */

static void print_table(const json_t *p) {
  size_t i;
  json_t *f;
  printf("table: %lld rows, %zu columns\n\n%-5s %-28s %-7s %10s %9s\n",
         (long long)json_integer_value(json_object_get(p, "rows")),
         json_array_size(json_object_get(p, "features")), "index", "column", "type", "distinct",
         "missing");
  json_array_foreach(json_object_get(p, "features"), i, f) {
    printf("%-5zu ", i);
    cli_cell(json_string_value(json_object_get(f, "feature")), 28);
    printf(" %-7s %10lld %9lld%s\n", json_string_value(json_object_get(f, "dataType")),
           (long long)json_integer_value(json_object_get(f, "uniqueValues")),
           (long long)json_integer_value(json_object_get(f, "missing")),
           json_is_true(json_object_get(f, "blocked")) ? "  too many labels to encode" : "");
  }
}

static void print_images(const json_t *p) {
  size_t i;
  json_t *name, *training = json_object_get(p, "training_per_class"),
                *validation = json_object_get(p, "validation_per_class");
  json_int_t most = 1;
  json_array_foreach(training, i, name) if (json_integer_value(name) > most) most =
      json_integer_value(name);
  printf("images: %lld for training, %lld for validation, %zu classes\n\n%-28s %9s %10s\n",
         (long long)json_integer_value(json_object_get(p, "training")),
         (long long)json_integer_value(json_object_get(p, "validation")),
         json_array_size(json_object_get(p, "classes")), "class", "training", "validation");
  json_array_foreach(json_object_get(p, "classes"), i, name) {
    json_int_t count = json_integer_value(json_array_get(training, i));
    cli_cell(json_string_value(name), 28);
    printf(" %9lld %10lld  ", (long long)count,
           (long long)json_integer_value(json_array_get(validation, i)));
    for (json_int_t k = 0; k < count * 25 / most; k++) putchar('#');
    putchar('\n');
  }
}

static int run_inspect(int argc, char **argv) {
  bool as_json = false;
  webml_dataset_options data_options = {.struct_size = sizeof data_options};
  const cli_option options[] = {{"json", CLI_FLAG, &as_json, NULL, "print properties.json"}};
  int n = cli_parse(&cli_inspect, options, 1, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  webml_dataset *dataset = NULL;
  char *text = NULL;
  webml_status status = webml_dataset_open(argv[0], &data_options, &dataset);
  if (status == WEBML_OK) status = webml_dataset_properties(dataset, &text);
  webml_dataset_destroy(dataset);
  if (status != WEBML_OK) return cli_fail_last();
  json_t *properties = cli_json(text);
  if (as_json)
    dump(properties);
  else if (strcmp(json_string_value(json_object_get(properties, "format")), "csvdata") == 0)
    print_table(properties);
  else
    print_images(properties);
  json_decref(properties);
  return CLI_DONE;
}

const cli_command cli_inspect = {"inspect", "PATH", "show what a data set holds",
                                 1,         1,      run_inspect};

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
      dump(summary);
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
    dump(all);
  else {
    json_array_foreach(json_object_get(all, "devices"), i, d)
        printf("%-8s %s, %lld threads, %.1f of %.1f GB available\n",
               json_string_value(json_object_get(d, "name")),
               json_string_value(json_object_get(d, "description")),
               (long long)json_integer_value(json_object_get(d, "threads")),
               cli_real(d, "memory_available") / 1e9, cli_real(d, "memory_total") / 1e9);
    json_array_foreach(json_object_get(all, "unavailable"), i, d)
        printf("%-8s not available: %s\n", json_string_value(json_object_get(d, "kind")),
               json_string_value(json_object_get(d, "reason")));
  }
  json_decref(all);
  return CLI_DONE;
}

const cli_command cli_devices = {"devices", "", "list the devices of this machine",
                                 0,         0,  run_devices};
