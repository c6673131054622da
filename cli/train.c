#include "data.h"
#include "report.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct train_call {
  webml_train_options options;
  cli_data data;
  const char *device, *precision, *progress, *schedule, *class_weights, *report;
  int64_t threads, seed, folds;
} train_call;

static webml_trainer *volatile running;
static volatile sig_atomic_t stop_wanted; /* SIGUSR1, also before there is a trainer */

static void on_interrupt(int signal_number) {
  (void)signal_number;
  webml_trainer_cancel(running);
}

static void on_stop(int signal_number) {
  (void)signal_number;
  stop_wanted = 1;
  webml_trainer_stop(running);
}

/* A program that starts this one with SIGUSR1 blocked can send it at any time: it waits until
 * here. */
static void await_stop(void) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGUSR1);
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_stop, .sa_flags = SA_RESTART}, NULL);
  sigprocmask(SIG_UNBLOCK, &stop, NULL);
}

/* From here on signals steer the training. */
static void listen(webml_trainer *trainer) {
  running = trainer;
  struct sigaction action = {.sa_handler = on_interrupt};
  action.sa_flags = (int)SA_RESETHAND; /* a second ^C ends at once */
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  if (stop_wanted) webml_trainer_stop(trainer);
}

static void listen_no_more(void) {
  running = NULL;
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
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
  if (cli_progress_named(c->progress, &progress->mode) != CLI_DONE) return CLI_WRONG_USE;
  if (cli_precision(c->precision, &c->options.precision) != CLI_DONE) return CLI_WRONG_USE;
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
  if (!c->data.path)
    return cli_wrong_use(
        "--data PATH is needed: a CSV file, or a folder or zip file of images, or IDX files");
  if (c->folds && (c->folds < 2 || c->folds > 1000))
    return cli_wrong_use("--folds takes 2 to 1000");
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

/* One training, and what it gave. */
typedef struct outcome {
  json_t *record, *evaluation; /* NULL where there is none */
} outcome;

static void free_outcome(outcome *o) {
  json_decref(o->record);
  json_decref(o->evaluation);
  *o = (outcome){NULL, NULL};
}

static bool for_people(const cli_progress *progress) {
  return progress->mode == CLI_PROGRESS_BAR || progress->mode == CLI_PROGRESS_PLAIN;
}

/* A training that was interrupted: it goes on another time. */
static int pause_training(const webml_trainer *trainer, const train_call *c,
                          const cli_progress *progress) {
  char *text = NULL;
  if (progress->mode != CLI_PROGRESS_JSON) {
    cli_fail_last();
    cli_fail("run the same command with --resume to go on");
    return CLI_PAUSED;
  }
  json_t *record =
             webml_trainer_record(trainer, &text) == WEBML_OK ? cli_json(text) : json_object(),
         *members =
             json_pack("{s:O, s:O, s:O, s:s}", "epochs_done", json_object_get(record, "epochs"),
                       "steps_done", json_object_get(record, "steps"), "seconds",
                       json_object_get(record, "seconds"), "weights", c->options.weights_path);
  json_decref(record);
  cli_event("paused", members);
  return CLI_PAUSED;
}

static void tell_end(const train_call *c, const json_t *record, const cli_progress *progress) {
  const json_t *kept = json_object_get(record, "kept_epoch");
  bool stopped = json_is_true(json_object_get(record, "stopped"));
  if (stopped && progress->mode == CLI_PROGRESS_JSON)
    cli_event("stopped", json_pack("{s:O, s:O, s:O}", "kept_epoch", kept, "epochs_done",
                                   json_object_get(record, "epochs"), "steps_done",
                                   json_object_get(record, "steps")));
  if (!for_people(progress)) return;
  if (stopped && json_is_integer(kept))
    printf("stopped; the weights of epoch %lld are kept\n", (long long)json_integer_value(kept));
  else if (stopped)
    puts("stopped; the weights of this moment are kept");
  printf("trained %.1f s, best epoch %lld by %s; weights: %s\n", cli_real(record, "seconds"),
         (long long)cli_real(record, "best_epoch"),
         json_string_value(json_object_get(record, "monitor")), c->options.weights_path);
}

static int finish(webml_trainer *trainer, webml_status status, const train_call *c,
                  cli_progress *progress, outcome *out) {
  if (progress->line_open) putchar('\n');
  progress->line_open = false;
  fflush(stdout);
  if (status == WEBML_ERROR_CANCELLED) return pause_training(trainer, c, progress);
  if (status != WEBML_OK) return cli_fail_last();
  char *text = NULL;
  out->record = webml_trainer_record(trainer, &text) == WEBML_OK ? cli_json(text) : NULL;
  tell_end(c, out->record, progress);
  return CLI_DONE;
}

/* Measures the weights that were written on one held part. */
static json_t *measure(const train_call *c, const webml_dataset *dataset, webml_device *device,
                       webml_part part) {
  webml_predictor *predictor = NULL;
  char *text = NULL;
  webml_status status =
      webml_predictor_load(c->options.weights_path, device, c->options.batch_size, &predictor);
  if (status == WEBML_OK) status = webml_predictor_evaluate(predictor, dataset, part, &text);
  webml_predictor_destroy(predictor);
  if (status == WEBML_OK) return cli_json(text);
  cli_fail_last();
  return NULL;
}

static int report_part(const train_call *c, const webml_dataset *dataset, webml_device *device,
                       const char *name, webml_part part, const char *folder,
                       cli_progress *progress, json_t **evaluation) {
  *evaluation = measure(c, dataset, device, part);
  if (!*evaluation) return CLI_FAILED;
  if (progress->mode == CLI_PROGRESS_JSON)
    cli_event("evaluation", json_pack("{s:s, s:O}", "part", name, "evaluation", *evaluation));
  else if (progress->mode != CLI_PROGRESS_NONE) {
    printf("\n%s: ", name);
    cli_print_evaluation(*evaluation);
  }
  return folder ? cli_report_evaluation(folder, *evaluation, dataset) : CLI_DONE;
}

/* Validation and test part, on the terminal and in the report's folder. */
static int report(const train_call *c, const webml_dataset *dataset, webml_device *device,
                  cli_progress *progress, outcome *out) {
  int code = CLI_DONE;
  json_t *test = NULL;
  if (c->report) code = cli_report_history(c->report, out->record);
  if (code == CLI_DONE && json_integer_value(json_object_get(out->record, "validation_samples")))
    code = report_part(c, dataset, device, "validation", WEBML_PART_VALIDATION, c->report, progress,
                       &out->evaluation);
  if (code == CLI_DONE && c->data.options.test_split > 0.0) {
    char *folder = c->report ? cli_path(c->report, "test") : NULL;
    code = report_part(c, dataset, device, "test", WEBML_PART_TEST, folder, progress, &test);
    free(folder);
  }
  json_decref(test);
  return code;
}

/* The last line: how it ended, whose weights are in the file, and the whole record. */
static void tell_done(const train_call *c, const json_t *record) {
  bool stopped = json_is_true(json_object_get(record, "stopped"));
  cli_event("done", json_pack("{s:s, s:O, s:s, s:O}", "outcome", stopped ? "stopped" : "finished",
                              "kept_epoch", json_object_get(record, "kept_epoch"), "weights",
                              c->options.weights_path, "record", record));
}

static int train(const train_call *c, const char *model_path, cli_progress *progress,
                 outcome *out) {
  webml_model *described = NULL, *model = NULL;
  webml_dataset *dataset = NULL;
  webml_device *device = NULL;
  webml_trainer *trainer = NULL;
  char *chosen = NULL;
  int code = CLI_FAILED;
  webml_status status = webml_model_load(model_path, &described);
  /* The device first: what it cannot do is known before the data have been read. */
  if (status == WEBML_OK)
    status = webml_device_open(c->device ? c->device : "auto", (int)c->threads, &device);
  if (status == WEBML_OK) status = webml_device_check(device, c->options.precision);
  if (status == WEBML_OK) status = webml_dataset_open(c->data.path, &c->data.options, &dataset);
  if (status == WEBML_OK) status = webml_model_shape_to(described, dataset, &model, &chosen);
  if (status == WEBML_OK) say_lines(chosen, progress);
  if (status == WEBML_OK)
    status = webml_trainer_create(model, dataset, device, &c->options, &trainer);
  if (status == WEBML_OK) {
    listen(trainer);
    status = webml_trainer_run(trainer);
    code = finish(trainer, status, c, progress, out);
    listen_no_more();
  } else
    cli_fail_last();
  webml_trainer_destroy(trainer);
  if (code == CLI_DONE) code = report(c, dataset, device, progress, out);
  if (code == CLI_DONE && progress->mode == CLI_PROGRESS_JSON) tell_done(c, out->record);
  webml_device_destroy(device);
  webml_model_destroy(model);
  webml_model_destroy(described);
  webml_dataset_destroy(dataset);
  webml_free(chosen);
  return code;
}

/* ---- cross-validation ---- */

/* Figures of the folds: mean and sample deviation of the loss and every metric. */
static void print_folds(const json_t *evaluations, const cli_progress *progress) {
  size_t n = json_array_size(evaluations), i;
  json_t *e, *figures = json_object(), *value;
  const char *key;
  json_array_foreach(evaluations, i, e) {
    json_t *metrics = json_copy(json_object_get(e, "metrics"));
    json_object_set(metrics, "loss", json_object_get(e, "loss"));
    json_object_foreach(metrics, key, value) {
      if (!json_object_get(figures, key)) json_object_set_new(figures, key, json_array());
      json_array_append(json_object_get(figures, key), value);
    }
    json_decref(metrics);
  }
  if (progress->mode == CLI_PROGRESS_JSON)
    cli_event("folds", json_pack("{s:s, s:O}", "of", "validation", "figures", figures));
  else if (progress->mode != CLI_PROGRESS_NONE) {
    printf("\n%zu folds\n", n);
    json_object_foreach(figures, key, value) {
      double sum = 0.0, square = 0.0;
      for (i = 0; i < n; i++) sum += json_number_value(json_array_get(value, i));
      for (i = 0; i < n; i++) {
        double d = json_number_value(json_array_get(value, i)) - sum / (double)n;
        square += d * d;
      }
      printf("%-24s mean %.4f  deviation %.4f\n", key, sum / (double)n,
             n > 1 ? sqrt(square / (double)(n - 1)) : 0.0);
    }
  }
  json_decref(figures);
}

/* model.safetensors -> model.fold1.safetensors */
static char *fold_path(const char *path, int64_t fold) {
  const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
  size_t n = dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path);
  char *out = malloc(strlen(path) + 32);
  if (out) sprintf(out, "%.*s.fold%lld%s", (int)n, path, (long long)fold + 1, path + n);
  return out;
}

static int train_folds(const train_call *c, const char *model_path, cli_progress *progress) {
  json_t *evaluations = json_array();
  int code = CLI_DONE;
  for (int64_t k = 0; k < c->folds && code == CLI_DONE && !stop_wanted; k++) {
    train_call fold = *c;
    outcome out = {NULL, NULL};
    char name[32], *weights = fold_path(c->options.weights_path, k), *folder = NULL;
    snprintf(name, sizeof name, "fold%lld", (long long)k + 1);
    if (c->report && (code = cli_make_folder(c->report)) == CLI_DONE)
      folder = cli_path(c->report, name);
    fold.data.options.folds = (int)c->folds;
    fold.data.options.fold = (int)k;
    fold.options.weights_path = weights;
    fold.report = folder;
    if (for_people(progress))
      printf("%sfold %lld of %lld\n", k ? "\n" : "", (long long)k + 1, (long long)c->folds);
    if (code == CLI_DONE) code = weights ? train(&fold, model_path, progress, &out) : CLI_FAILED;
    if (out.evaluation) json_array_append(evaluations, out.evaluation);
    free_outcome(&out);
    free(weights);
    free(folder);
  }
  if (code == CLI_DONE) print_folds(evaluations, progress);
  json_decref(evaluations);
  return code;
}

static int run(int argc, char **argv) {
  train_call c = {.options = {.struct_size = sizeof c.options},
                  .data = {.options = {.struct_size = sizeof c.data.options}}};
  webml_train_options *o = &c.options;
  cli_progress progress = {0};
  const cli_option own[] = {
      {"data", CLI_TEXT, &c.data.path, "PATH", "CSV file, folder or zip of images, or IDX files"},
      {"epochs", CLI_INTEGER, &o->epochs, "N", "times over the data (10)"},
      {"batch-size", CLI_INTEGER, &o->batch_size, "N", "samples per step (32)"},
      {"device", CLI_TEXT, &c.device, "NAME", "auto, cpu or cuda:N (auto)"},
      {"threads", CLI_INTEGER, &c.threads, "N", "CPU threads (all cores)"},
      {"precision", CLI_TEXT, &c.precision, "P",
       "float32, float32_strict or mixed_bfloat16 (float32)"},
      {"deterministic", CLI_FLAG, &c.options.deterministic, NULL,
       "on a GPU: the same bits each time"},
      {"seed", CLI_INTEGER, &c.seed, "S", "of weights, order and dropout (0)"},
      {"out", CLI_TEXT, &o->weights_path, "FILE", "weights file to write (MODEL.safetensors)"},
      {"resume", CLI_FLAG, &o->resume, NULL, "go on from FILE.checkpoint"},
      {"weights", CLI_TEXT, &o->initial_weights, "FILE", "start from these weights"},
      {"all-weights", CLI_FLAG, &o->all_weights, NULL, "refuse them where a layer does not fit"},
      {"new-head", CLI_FLAG, &o->new_head, NULL, "the layers that give the outputs start anew"},
      {"freeze", CLI_TEXT, &o->freeze, "NAMES", "layers that keep their weights: 'block_*,conv1'"},
      {"progress", CLI_TEXT, &c.progress, "HOW", "auto, plain, json or none"},
      {"progress-detail", CLI_FLAG, &o->progress_detail, NULL,
       "json: confusion and mistakes of each epoch"},
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
      {"report", CLI_TEXT, &c.report, "DIR", "write curves, confusion and mistakes there"},
      {"folds", CLI_INTEGER, &c.folds, "K", "cross-validation: K trainings, each part once held"},
  };
  cli_option augmented[sizeof own / sizeof *own + CLI_AUGMENTATION_OPTIONS],
      options[sizeof augmented / sizeof *augmented + CLI_DATA_OPTIONS];
  size_t count =
      cli_augmentation_options(&o->augmentation, own, sizeof own / sizeof *own, augmented);
  count = cli_data_options(&c.data, augmented, count, options);
  int n = cli_parse(&cli_train, options, (int)count, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&c.data) != CLI_DONE) return CLI_WRONG_USE;
  int code = check_words(&c, &progress);
  if (code != CLI_DONE) return code;
  char *output = o->weights_path ? NULL : default_output(argv[0]);
  if (output) o->weights_path = output;
  await_stop();
  o->progress = cli_show_progress;
  o->message = cli_show_message;
  o->user = &progress;
  outcome out = {NULL, NULL};
  code = c.folds ? train_folds(&c, argv[0], &progress) : train(&c, argv[0], &progress, &out);
  free_outcome(&out);
  free(output);
  return code;
}

const cli_command cli_train = {
    "train", "MODEL.json --data PATH", "train a network on a data set", 1, 1, run};
