/* webml check: everything that is wrong with a description, and what it will take. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_DEVICES = 8 };

typedef struct check_call {
  webml_train_options training;
  webml_check_options options;
  cli_data data;
  const char *devices, *precision, *properties;
  bool as_json, estimate, no_time;
  size_t n_devices;
  webml_check_device list[MOST_DEVICES];
  webml_speed speeds[MOST_DEVICES];
  char names[MOST_DEVICES][96];
} check_call;

/* A whole file, or the standard input for "-"; NULL where it cannot be read. free(). */
static char *read_all(const char *path, size_t *length) {
  FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
  char *text = NULL;
  size_t capacity = 0, n = 0, got = 1;
  while (f && got) {
    char *grown = realloc(text, capacity = capacity * 2 + 4096);
    if (!grown) break;
    text = grown;
    while (n + 1 < capacity && (got = fread(text + n, 1, capacity - n - 1, f)) > 0) n += got;
  }
  bool ok = f && !ferror(f) && text && !got;
  if (f && f != stdin) fclose(f);
  if (ok) text[n] = '\0';
  *length = n;
  if (ok) return text;
  free(text);
  return NULL;
}

/* A device that cannot be opened is estimated where it is a GPU, and its name is kept. */
static webml_status open_device(check_call *c, const char *name, size_t length) {
  webml_check_device *d = &c->list[c->n_devices];
  char *kept = c->names[c->n_devices];
  snprintf(kept, sizeof c->names[0], "%.*s", (int)(length < 95 ? length : 95), name);
  d->name = kept;
  bool gpu = strncmp(kept, "cuda", 4) == 0 || strncmp(kept, "GPU-", 4) == 0;
  c->n_devices++;
  if (gpu && c->estimate) return WEBML_OK;
  webml_status status = webml_device_open(kept, 0, &d->device);
  if (status != WEBML_OK) return gpu ? WEBML_OK : status;
  d->name = webml_device_name(d->device);
  webml_speed *speed = &c->speeds[c->n_devices - 1];
  if (c->no_time ||
      webml_device_speed(d->device, c->training.precision, speed) == WEBML_ERROR_UNSUPPORTED)
    return WEBML_OK; /* the check says that the device lacks the precision */
  d->speed = speed;
  return WEBML_OK;
}

static webml_status open_devices(check_call *c) {
  webml_status status = WEBML_OK;
  for (const char *at = c->devices; at && *at && status == WEBML_OK;) {
    size_t n = strcspn(at, ",");
    if (c->n_devices < MOST_DEVICES) status = open_device(c, at, n);
    at += n + (at[n] == ',');
  }
  c->options.devices = c->list;
  c->options.n_devices = c->n_devices;
  return status;
}

/* ---- for people ---- */

static void print_issues(const json_t *list, const char *kind) {
  size_t i;
  json_t *e;
  json_array_foreach(list, i, e) {
    const char *path = json_string_value(json_object_get(e, "path")),
               *cure = json_string_value(json_object_get(json_object_get(e, "cure"), "text"));
    const json_t *line = json_object_get(e, "line");
    printf("%s", kind);
    if (json_is_integer(line)) printf(", line %lld", (long long)json_integer_value(line));
    printf("%s%s: %s\n", *path ? ", " : "", path, json_string_value(json_object_get(e, "text")));
    if (cure) printf("  %s\n", cure);
  }
}

static void print_device(const json_t *d) {
  const json_t *training = json_object_get(d, "training"),
               *seconds = json_object_get(d, "seconds_per_epoch");
  const char *reason = json_string_value(json_object_get(d, "reason"));
  printf("%-8s", json_string_value(json_object_get(d, "device")));
  if (json_is_object(training))
    printf(" %s%.1f MB to train",
           json_is_true(json_object_get(training, "estimated")) ? "about " : "",
           cli_real(training, "total") / 1e6);
  if (json_is_array(seconds))
    printf(", %.3g to %.3g s an epoch", json_number_value(json_array_get(seconds, 0)),
           json_number_value(json_array_get(seconds, 1)));
  if (reason) printf("\n  %s", reason);
  putchar('\n');
}

static void print_check(const json_t *r) {
  size_t i;
  json_t *item;
  print_issues(json_object_get(r, "errors"), "error");
  print_issues(json_object_get(r, "warnings"), "warning");
  json_array_foreach(json_object_get(r, "chosen"), i, item)
      printf("chosen: %s\n", json_string_value(item));
  if (!json_is_true(json_object_get(r, "valid"))) return;
  printf("nothing is wrong; %lld parameters, %.3f MFLOP per sample forward\n",
         (long long)json_integer_value(json_object_get(r, "parameters")),
         cli_real(r, "flops") / 1e6);
  json_array_foreach(json_object_get(r, "devices"), i, item) print_device(item);
}

/* ---- the command ---- */

/* The properties of the data set, from a file or from the data; *text: webml_free() or free(). */
static webml_status find_properties(const check_call *c, char **of_data, char **of_file) {
  size_t length;
  webml_dataset *dataset = NULL;
  if (c->properties && !(*of_file = read_all(c->properties, &length))) return WEBML_ERROR_IO;
  if (c->properties || !c->data.path) return WEBML_OK;
  webml_status status = webml_dataset_open(c->data.path, &c->data.options, &dataset);
  if (status == WEBML_OK) status = webml_dataset_properties(dataset, of_data);
  webml_dataset_destroy(dataset);
  return status;
}

static int check(check_call *c, const char *path) {
  size_t length = 0;
  char *text = read_all(path, &length), *answer = NULL, *of_data = NULL, *of_file = NULL;
  if (!text) return cli_fail("cannot read %s", path);
  int code = CLI_FAILED;
  webml_status status = find_properties(c, &of_data, &of_file);
  c->options.properties = of_file ? of_file : of_data;
  if (status == WEBML_OK) status = open_devices(c);
  if (status == WEBML_OK) status = webml_model_check(text, length, &c->options, &answer);
  if (status == WEBML_OK) {
    json_t *r = cli_json(answer);
    code = json_is_true(json_object_get(r, "valid")) ? CLI_DONE : CLI_FAILED;
    if (c->as_json)
      cli_dump(r, 9);
    else
      print_check(r);
    json_decref(r);
  } else if (c->properties && !of_file)
    cli_fail("cannot read %s", c->properties);
  else
    cli_fail_last();
  for (size_t i = 0; i < c->n_devices; i++) webml_device_destroy(c->list[i].device);
  webml_free(of_data);
  free(of_file);
  free(text);
  return code;
}

static int run_check(int argc, char **argv) {
  check_call c = {.training = {.struct_size = sizeof c.training},
                  .options = {.struct_size = sizeof c.options},
                  .data = {.options = {.struct_size = sizeof c.data.options}}};
  const cli_option own[] = {
      {"json", CLI_FLAG, &c.as_json, NULL, "print JSON"},
      {"properties", CLI_TEXT, &c.properties, "FILE",
       "of the data set, as webml inspect --json\n                             prints them"},
      {"device", CLI_TEXT, &c.devices, "NAMES",
       "memory and time: auto, cpu or cuda:N, with commas"},
      {"estimate", CLI_FLAG, &c.estimate, NULL, "do not open GPUs: estimate what they need"},
      {"no-time", CLI_FLAG, &c.no_time, NULL, "do not measure the devices' speed"},
      {"samples", CLI_INTEGER, &c.options.samples, "N", "of an epoch (those of the data set)"},
      {"validation-samples", CLI_INTEGER, &c.options.validation_samples, "N", "the same (0)"},
      {"batch-size", CLI_INTEGER, &c.training.batch_size, "N", "of the training (32)"},
      {"precision", CLI_TEXT, &c.precision, "P",
       "float32, float32_strict or mixed_bfloat16 (float32)"},
      {"data", CLI_TEXT, &c.data.path, "PATH", "the data set"}};
  cli_option options[sizeof own / sizeof *own + CLI_DATA_OPTIONS];
  size_t count = cli_data_options(&c.data, own, sizeof own / sizeof *own, options);
  int n = cli_parse(&cli_check, options, (int)count, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&c.data) != CLI_DONE) return CLI_WRONG_USE;
  if (cli_precision(c.precision, &c.training.precision) != CLI_DONE) return CLI_WRONG_USE;
  if (c.properties && c.data.path)
    return cli_wrong_use("--properties and --data exclude each other");
  c.options.training = &c.training;
  return check(&c, argv[0]);
}

const cli_command cli_check = {
    "check", "MODEL.json|-", "tell all that is wrong with a model, and what it takes", 1,
    1,       run_check};
