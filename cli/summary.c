/* The commands about what is there: summary, export, devices. */
#include "data.h"

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

enum { MOST_TARGETS = 8 };

/* A device whose memory is asked for. */
typedef struct target {
  char name[96];
  webml_device *device; /* NULL: estimated */
  char reason[512];     /* why it is */
} target;

typedef struct summary_call {
  webml_train_options options;
  cli_data data;
  const char *devices, *precision;
  bool as_json, estimate;
  int n_targets;
  target targets[MOST_TARGETS];
} summary_call;

static bool is_gpu(const char *name) {
  return strncmp(name, "cuda", 4) == 0 || strncmp(name, "GPU-", 4) == 0;
}

/* A GPU that cannot be opened (it is full, its driver does not work, it is another machine's) has
 * an estimate. */
static webml_status open_target(const summary_call *c, target *t) {
  if (is_gpu(t->name) && c->estimate) {
    snprintf(t->reason, sizeof t->reason, "the device was not opened (--estimate)");
    return WEBML_OK;
  }
  webml_status status = webml_device_open(t->name, 0, &t->device);
  if (status == WEBML_OK) {
    snprintf(t->name, sizeof t->name, "%s", webml_device_name(t->device));
    return webml_device_check(t->device, c->options.precision);
  }
  if (!is_gpu(t->name)) return status;
  snprintf(t->reason, sizeof t->reason, "%.500s", webml_last_error());
  return WEBML_OK;
}

/* Before the data are read: a device that cannot compute in the precision is refused at once. */
static webml_status open_targets(summary_call *c) {
  webml_status status = WEBML_OK;
  for (const char *at = c->devices; *at && status == WEBML_OK && c->n_targets < MOST_TARGETS;) {
    target *t = &c->targets[c->n_targets++];
    size_t n = strcspn(at, ",");
    snprintf(t->name, sizeof t->name, "%.*s", (int)(n < 95 ? n : 95), at);
    at += n + (at[n] == ',');
    status = open_target(c, t);
  }
  return status;
}

static json_t *plans_json(const webml_memory *m) {
  return json_pack("{s:I, s:I, s:I, s:I}", "weights", (json_int_t)m->weights, "state",
                   (json_int_t)m->state, "saved", (json_int_t)m->saved, "scratch",
                   (json_int_t)m->scratch);
}

static json_t *training_json(const webml_training_memory *m, const char *reason) {
  json_t *json = plans_json(&m->plans),
         *more = json_pack("{s:I, s:I, s:I, s:I, s:b, s:s*}", "rows", (json_int_t)m->rows,
                           "context", (json_int_t)m->context, "host", (json_int_t)m->host, "total",
                           (json_int_t)m->total, "estimated", m->estimated, "reason", reason);
  json_object_update(json, more);
  json_decref(more);
  return json;
}

/* A prediction of one row; nothing where the device was not opened. */
static webml_status add_prediction(json_t *entry, const summary_call *c, const webml_model *model,
                                   webml_device *device) {
  webml_memory m;
  if (!device) return WEBML_OK;
  webml_status status = webml_predictor_memory(model, device, 1, c->options.precision, &m);
  if (status != WEBML_OK) return status;
  json_t *json = plans_json(&m);
  json_object_set_new(json, "total", json_integer((json_int_t)m.total));
  json_object_set_new(entry, "prediction", json);
  return WEBML_OK;
}

static webml_status add_memory(json_t *list, const summary_call *c, const webml_model *model,
                               const webml_dataset *dataset, target *t) {
  webml_training_memory m;
  webml_status status = webml_trainer_memory(model, dataset, t->device, &c->options, &m);
  if (is_gpu(t->name) && (status == WEBML_ERROR_DEVICE || status == WEBML_ERROR_MEMORY)) {
    snprintf(t->reason, sizeof t->reason, "%.500s", webml_last_error());
    webml_device_destroy(t->device);
    t->device = NULL;
    status = webml_trainer_memory(model, dataset, NULL, &c->options, &m);
  }
  if (status != WEBML_OK) return status;
  json_t *entry = json_pack("{s:s}", "device", t->name);
  json_object_set_new(entry, "training", training_json(&m, t->reason[0] ? t->reason : NULL));
  status = add_prediction(entry, c, model, t->device);
  json_array_append_new(list, entry);
  return status;
}

static void print_memory(const json_t *entry, const summary_call *c) {
  const json_t *training = json_object_get(entry, "training"),
               *prediction = json_object_get(entry, "prediction");
  const char *reason = json_string_value(json_object_get(training, "reason"));
  double context = cli_real(training, "context");
  printf("memory: %s%.1f MB to train with batch %lld in %s", reason ? "about " : "",
         cli_real(training, "total") / 1e6, (long long)c->options.batch_size,
         c->precision ? c->precision : "float32");
  if (context > 0) printf(" (%.0f MB of it for the driver and its libraries)", context / 1e6);
  if (prediction) printf(", %.1f MB to predict one", cli_real(prediction, "total") / 1e6);
  printf(" (device %s)\n", json_string_value(json_object_get(entry, "device")));
  if (reason) printf("        estimated from the types of the elements: %s\n", reason);
}

static void print_summary(const json_t *summary, const summary_call *c) {
  size_t i;
  json_t *entry, *memory = json_object_get(summary, "memory");
  print_layers(summary);
  json_array_foreach(memory, i, entry) print_memory(entry, c);
  if (!memory) printf("memory: known once the model is shaped to a data set (--data PATH)\n");
}

/* What the devices need, where the model's sizes are known. */
static webml_status add_memories(json_t *summary, summary_call *c, const webml_model *model,
                                 const webml_dataset *dataset) {
  json_t *list = json_array();
  webml_status status = webml_model_is_dynamic(model) ? WEBML_ERROR_MODEL : WEBML_OK;
  for (int i = 0; i < c->n_targets && status == WEBML_OK; i++)
    status = add_memory(list, c, model, dataset, &c->targets[i]);
  if (status == WEBML_OK)
    json_object_set_new(summary, "memory", list);
  else
    json_decref(list);
  return status == WEBML_ERROR_MODEL && !dataset ? WEBML_OK : status;
}

static int summarize(summary_call *c, const char *path) {
  webml_model *model = NULL, *shaped = NULL;
  webml_dataset *dataset = NULL;
  json_t *summary = NULL;
  char *text = NULL;
  webml_status status = webml_model_load(path, &model);
  if (status == WEBML_OK) status = open_targets(c);
  if (status == WEBML_OK && c->data.path)
    status = webml_dataset_open(c->data.path, &c->data.options, &dataset);
  if (status == WEBML_OK && dataset) status = webml_model_shape_to(model, dataset, &shaped, NULL);
  const webml_model *shown = shaped ? shaped : model;
  if (status == WEBML_OK) status = webml_model_summary(shown, &text);
  if (status == WEBML_OK) {
    summary = cli_json(text);
    status = add_memories(summary, c, shown, dataset);
  }
  if (status != WEBML_OK)
    cli_fail_last();
  else if (c->as_json)
    cli_dump(summary, 9);
  else
    print_summary(summary, c);
  json_decref(summary);
  for (int i = 0; i < c->n_targets; i++) webml_device_destroy(c->targets[i].device);
  webml_dataset_destroy(dataset);
  webml_model_destroy(shaped);
  webml_model_destroy(model);
  return status == WEBML_OK ? CLI_DONE : CLI_FAILED;
}

static int run_summary(int argc, char **argv) {
  summary_call c = {.options = {.struct_size = sizeof c.options, .batch_size = 32},
                    .data = {.options = {.struct_size = sizeof c.data.options}},
                    .devices = "auto"};
  const cli_option own[] = {
      {"json", CLI_FLAG, &c.as_json, NULL, "print JSON"},
      {"batch-size", CLI_INTEGER, &c.options.batch_size, "N", "of the training (32)"},
      {"precision", CLI_TEXT, &c.precision, "P",
       "float32, float32_strict or mixed_bfloat16 (float32)"},
      {"deterministic", CLI_FLAG, &c.options.deterministic, NULL, "as for webml train"},
      {"device", CLI_TEXT, &c.devices, "NAMES", "whose memory: auto, cpu or cuda:N, with commas"},
      {"estimate", CLI_FLAG, &c.estimate, NULL, "do not open GPUs: estimate what they need"},
      {"data", CLI_TEXT, &c.data.path, "PATH", "the data set; shapes a dynamic model to it"}};
  cli_option options[sizeof own / sizeof *own + CLI_DATA_OPTIONS];
  size_t count = cli_data_options(&c.data, own, sizeof own / sizeof *own, options);
  int n = cli_parse(&cli_summary, options, (int)count, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&c.data) != CLI_DONE) return CLI_WRONG_USE;
  if (cli_precision(c.precision, &c.options.precision) != CLI_DONE) return CLI_WRONG_USE;
  c.options.weights_path = argv[0]; /* with a checkpoint, as `webml train` makes one */
  return summarize(&c, argv[0]);
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

/* Opens the device and measures; what went wrong is said in place of the figures. */
static void add_speed(json_t *d, webml_precision precision) {
  webml_device *device = NULL;
  webml_speed s;
  webml_status status =
      webml_device_open(json_string_value(json_object_get(d, "name")), 0, &device);
  if (status == WEBML_OK) status = webml_device_speed(device, precision, &s);
  if (status == WEBML_OK)
    json_object_set_new(d, "speed",
                        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "convolution", s.convolution,
                                  "first_convolution", s.first_convolution, "dense", s.dense,
                                  "weights", s.weights, "bytes", s.bytes, "operation",
                                  s.operation));
  else
    json_object_set_new(d, "speed_reason", json_string(webml_last_error()));
  webml_device_destroy(device);
}

static void print_speed(const json_t *d) {
  const json_t *s = json_object_get(d, "speed");
  const char *reason = json_string_value(json_object_get(d, "speed_reason"));
  if (reason) printf("  not measured: %s\n", reason);
  if (!s) return;
  printf("  convolutions %.0f, of pictures %.0f, dense %.0f GFLOP/s;\n"
         "  weights %.0f, other values %.0f GB/s; %.2g us before an operation\n",
         cli_real(s, "convolution") / 1e9, cli_real(s, "first_convolution") / 1e9,
         cli_real(s, "dense") / 1e9, cli_real(s, "weights") / 1e9, cli_real(s, "bytes") / 1e9,
         cli_real(s, "operation") * 1e6);
}

static int run_devices(int argc, char **argv) {
  bool as_json = false, speed = false;
  const char *word = NULL;
  webml_precision precision;
  const cli_option options[] = {
      {"json", CLI_FLAG, &as_json, NULL, "print JSON"},
      {"speed", CLI_FLAG, &speed, NULL, "measure how fast each trains: about a second"},
      {"precision", CLI_TEXT, &word, "P",
       "of --speed: float32, float32_strict or\n                             mixed_bfloat16 "
       "(float32)"}};
  int n = cli_parse(&cli_devices, options, 3, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_precision(word, &precision) != CLI_DONE) return CLI_WRONG_USE;
  char *text = NULL;
  if (webml_devices(&text) != WEBML_OK) return cli_fail_last();
  json_t *all = cli_json(text), *d;
  size_t i;
  json_array_foreach(json_object_get(all, "devices"), i, d) {
    if (speed) add_speed(d, precision);
    if (as_json) continue;
    print_device(d);
    print_speed(d);
  }
  if (as_json)
    cli_dump(all, 9);
  else
    json_array_foreach(json_object_get(all, "unavailable"), i, d)
        printf("%-8s not available: %s\n", json_string_value(json_object_get(d, "kind")),
               json_string_value(json_object_get(d, "reason")));
  json_decref(all);
  return CLI_DONE;
}

const cli_command cli_devices = {"devices", "", "list the devices of this machine",
                                 0,         0,  run_devices};
