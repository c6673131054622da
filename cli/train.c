#include "cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct train_call {
  webml_train_options options;
  webml_dataset_options data_options;
  const char *data, *device, *precision, *progress, *schedule, *class_weights;
  int64_t threads, seed;
} train_call;

static webml_trainer *volatile running;

static void on_interrupt(int signal_number) {
  (void)signal_number;
  webml_trainer_cancel(running);
}

static cli_progress_mode mode_of(const char *word, bool *ok) {
  *ok = true;
  if (!word || strcmp(word, "auto") == 0)
    return isatty(STDOUT_FILENO) ? CLI_PROGRESS_BAR : CLI_PROGRESS_PLAIN;
  if (strcmp(word, "plain") == 0) return CLI_PROGRESS_PLAIN;
  if (strcmp(word, "json") == 0) return CLI_PROGRESS_JSON;
  if (strcmp(word, "none") == 0) return CLI_PROGRESS_NONE;
  *ok = false;
  return CLI_PROGRESS_NONE;
}

/* model.json -> model.safetensors in the current folder. */
static char *default_output(const char *model) {
  const char *slash = strrchr(model, '/'), *base = slash ? slash + 1 : model,
             *dot = strrchr(base, '.');
  size_t n = dot && dot != base ? (size_t)(dot - base) : strlen(base);
  char *path = malloc(n + sizeof ".safetensors");
  if (!path) return NULL;
  memcpy(path, base, n);
  memcpy(path + n, ".safetensors", sizeof ".safetensors");
  return path;
}

static int check_words(train_call *c, cli_progress *progress) {
  bool ok;
  progress->mode = mode_of(c->progress, &ok);
  if (!ok)
    return cli_wrong_use("--progress takes auto, plain, json or none, not \"%s\"", c->progress);
  if (c->precision && strcmp(c->precision, "float32") != 0)
    return cli_fail("precision \"%s\" is not supported on this device; use float32", c->precision);
  if (c->class_weights && strcmp(c->class_weights, "balanced") != 0)
    return cli_wrong_use("--class-weights takes balanced");
  c->options.balance_classes = c->class_weights != NULL;
  if (!c->schedule || strcmp(c->schedule, "constant") == 0)
    c->options.schedule = WEBML_SCHEDULE_CONSTANT;
  else if (strcmp(c->schedule, "step") == 0)
    c->options.schedule = WEBML_SCHEDULE_STEP;
  else if (strcmp(c->schedule, "cosine") == 0)
    c->options.schedule = WEBML_SCHEDULE_COSINE;
  else
    return cli_wrong_use("--schedule takes constant, step or cosine, not \"%s\"", c->schedule);
  if (!c->data)
    return cli_wrong_use("--data PATH is needed: a CSV file, or a folder of images or IDX files");
  if (c->seed < 0) return cli_wrong_use("--seed must not be negative");
  c->options.seed = (uint64_t)c->seed;
  return CLI_DONE;
}

static void say_lines(char *text, cli_progress *progress) {
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char sentence[512];
    snprintf(sentence, sizeof sentence, "chosen: %s", line);
    cli_show_message(sentence, progress);
  }
}

static int finish(webml_trainer *trainer, webml_status status, const train_call *c,
                  cli_progress *progress) {
  if (progress->line_open) putchar('\n');
  progress->line_open = false;
  fflush(stdout);
  if (status != WEBML_OK) {
    int code = cli_fail_last();
    if (status == WEBML_ERROR_CANCELLED) cli_fail("run the same command with --resume to go on");
    return code;
  }
  char *text = NULL;
  json_t *record = webml_trainer_record(trainer, &text) == WEBML_OK ? cli_json(text) : NULL;
  if (progress->mode == CLI_PROGRESS_JSON) {
    json_t *done = json_pack("{s:s, s:s}", "event", "done", "weights", c->options.weights_path);
    json_object_set(done, "record", record);
    json_dumpf(done, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(done);
  } else if (progress->mode != CLI_PROGRESS_NONE)
    printf("trained %.1f s, best epoch %lld by %s; weights: %s\n", cli_real(record, "seconds"),
           (long long)cli_real(record, "best_epoch"),
           json_string_value(json_object_get(record, "monitor")), c->options.weights_path);
  json_decref(record);
  return CLI_DONE;
}

static int train(const train_call *c, const char *model_path, cli_progress *progress) {
  webml_model *described = NULL, *model = NULL;
  webml_dataset *dataset = NULL;
  webml_device *device = NULL;
  webml_trainer *trainer = NULL;
  char *chosen = NULL;
  int code = CLI_FAILED;
  webml_status status = webml_model_load(model_path, &described);
  if (status == WEBML_OK) status = webml_dataset_open(c->data, &c->data_options, &dataset);
  if (status == WEBML_OK) status = webml_model_shape_to(described, dataset, &model, &chosen);
  if (status == WEBML_OK) say_lines(chosen, progress);
  if (status == WEBML_OK)
    status = webml_device_open(c->device ? c->device : "auto", (int)c->threads, &device);
  if (status == WEBML_OK)
    status = webml_trainer_create(model, dataset, device, &c->options, &trainer);
  if (status == WEBML_OK) {
    running = trainer;
    struct sigaction action = {.sa_handler = on_interrupt};
    action.sa_flags = (int)SA_RESETHAND; /* a second ^C ends at once */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    status = webml_trainer_run(trainer);
    code = finish(trainer, status, c, progress);
    running = NULL;
  } else
    cli_fail_last();
  webml_trainer_destroy(trainer);
  webml_device_destroy(device);
  webml_model_destroy(model);
  webml_model_destroy(described);
  webml_dataset_destroy(dataset);
  webml_free(chosen);
  return code;
}

static int run(int argc, char **argv) {
  train_call c = {.options = {.struct_size = sizeof c.options},
                  .data_options = {.struct_size = sizeof c.data_options}};
  webml_train_options *o = &c.options;
  cli_progress progress = {0};
  const cli_option options[] = {
      {"data", CLI_TEXT, &c.data, "PATH", "CSV file, or folder of images or IDX files (needed)"},
      {"epochs", CLI_INTEGER, &o->epochs, "N", "times over the data (10)"},
      {"batch-size", CLI_INTEGER, &o->batch_size, "N", "samples per step (32)"},
      {"device", CLI_TEXT, &c.device, "NAME", "auto, cpu or cuda:N (auto)"},
      {"threads", CLI_INTEGER, &c.threads, "N", "CPU threads (all cores)"},
      {"precision", CLI_TEXT, &c.precision, "P", "float32"},
      {"seed", CLI_INTEGER, &c.seed, "S", "of weights, order and dropout (0)"},
      {"out", CLI_TEXT, &o->weights_path, "FILE", "weights file to write (MODEL.safetensors)"},
      {"resume", CLI_FLAG, &o->resume, NULL, "go on from FILE.checkpoint"},
      {"weights", CLI_TEXT, &o->initial_weights, "FILE", "start from these weights"},
      {"progress", CLI_TEXT, &c.progress, "HOW", "auto, plain, json or none"},
      {"inputs", CLI_TEXT, &c.data_options.inputs, "COLS",
       "input columns, by name or index, with commas"},
      {"outputs", CLI_TEXT, &c.data_options.outputs, "COLS", "output columns (the last)"},
      {"one-hot", CLI_TEXT, &c.data_options.one_hot, "COLS",
       "numeric columns to one-hot encode too"},
      {"validation-split", CLI_NUMBER, &c.data_options.validation_split, "V",
       "share kept for validation, 0 to 1"},
      {"skip-broken", CLI_FLAG, &c.data_options.skip_broken, NULL,
       "leave out images that cannot be read"},
      {"rotation-range", CLI_NUMBER, &o->rotation_range, "D", "images: rotate by up to D degrees"},
      {"shear-range", CLI_NUMBER, &o->shear_range, "D",
       "images: shear by up to D degrees (not 0.2!)"},
      {"zoom-range", CLI_NUMBER, &o->zoom_range, "Z", "images: zoom by 1-Z to 1+Z"},
      {"horizontal-flip", CLI_FLAG, &o->horizontal_flip, NULL, "images: mirror every other one"},
      {"learning-rate", CLI_NUMBER, &o->learning_rate, "R", "instead of the description's"},
      {"schedule", CLI_TEXT, &c.schedule, "S", "constant, step or cosine"},
      {"warmup-epochs", CLI_NUMBER, &o->warmup_epochs, "E",
       "epochs over which the rate rises from 0"},
      {"step-epochs", CLI_NUMBER, &o->step_epochs, "E", "step schedule: epochs between steps (10)"},
      {"step-factor", CLI_NUMBER, &o->step_factor, "F", "step schedule: factor of a step (0.1)"},
      {"final-rate", CLI_NUMBER, &o->final_rate, "R", "cosine schedule: rate at the end (0)"},
      {"monitor", CLI_TEXT, &o->monitor, "NAME", "what decides which epoch is best (val_loss)"},
      {"early-stopping", CLI_INTEGER, &o->early_stopping_patience, "N",
       "stop after N epochs without improvement"},
      {"min-delta", CLI_NUMBER, &o->min_delta, "D", "least change that is an improvement"},
      {"reduce-on-plateau", CLI_INTEGER, &o->plateau_patience, "N",
       "lower the rate after N such epochs"},
      {"plateau-factor", CLI_NUMBER, &o->plateau_factor, "F", "by this factor (0.1)"},
      {"class-weights", CLI_TEXT, &c.class_weights, "balanced", "rare classes count more"},
      {"keep-last", CLI_FLAG, &o->keep_last, NULL, "write the last weights, not the best"},
      {"no-shuffle", CLI_FLAG, &o->no_shuffle, NULL, "keep the order of the data"},
      {"checkpoint-seconds", CLI_NUMBER, &o->checkpoint_seconds, "S",
       "also within an epoch, so often (60)"},
  };
  int n = cli_parse(&cli_train, options, sizeof options / sizeof *options, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  int code = check_words(&c, &progress);
  if (code != CLI_DONE) return code;
  char *output = o->weights_path ? NULL : default_output(argv[0]);
  if (output) o->weights_path = output;
  o->progress = cli_show_progress;
  o->message = cli_show_message;
  o->user = &progress;
  code = train(&c, argv[0], &progress);
  free(output);
  return code;
}

const cli_command cli_train = {
    "train", "MODEL.json --data PATH", "train a network on a data set", 1, 1, run};
