/* Checkpoints: a weights file with the optimizer's state, the best weights and the progress beside
 * the weights. A snapshot is copied between steps; a thread of its own writes it. */
#include "base/file.h"
#include "train/trainer.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- what a checkpoint says ---- */

enum { FINGERPRINT_BYTES = 17 };

static void fingerprint_text(const webml_trainer *t, char text[FINGERPRINT_BYTES]) {
  snprintf(text, FINGERPRINT_BYTES, "%016llx", (unsigned long long)t->data.fingerprint);
}

/* The implementations of the training plan, in order: other ones may give other bits. */
static void write_plans(const webml_trainer *t, wml_text *x) {
  const char *name;
  wml_json_open(x, '[');
  for (int i = 0;
       (name = t->device->backend->implementation(t->units[WML_UNIT_TRAIN].plan, i)) != NULL; i++)
    wml_json_string(x, name);
  wml_json_close(x, ']');
}

/* What decides rates, stopping and weights of samples: other settings are allowed, but said. */
static void write_schedule(const webml_trainer *t, wml_text *x) {
  const webml_train_options *o = &t->options;
  const double values[] = {(double)o->schedule,
                           o->warmup_epochs,
                           o->step_epochs,
                           o->step_factor,
                           o->final_rate,
                           (double)o->early_stopping_patience,
                           o->min_delta,
                           (double)o->plateau_patience,
                           o->plateau_factor,
                           o->plateau_min_rate,
                           (double)o->balance_classes,
                           (double)o->n_class_weights};
  wml_json_open(x, '[');
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) wml_json_number(x, values[i]);
  for (size_t i = 0; i < o->n_class_weights; i++) wml_json_number(x, (double)t->class_weight[i]);
  wml_json_string(x, t->series_name[t->monitor]);
  wml_json_close(x, ']');
}

static void write_augmentation(const webml_trainer *t, wml_text *x) {
  const webml_augmentation *a = &t->options.augmentation;
  const double numbers[] = {a->rotation_range, a->shear_range, a->zoom_range, a->width_shift,
                            a->height_shift,   a->random_crop, a->brightness, a->channel_shift,
                            (double)a->fill,   a->fill_value};
  wml_json_open(x, '[');
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) wml_json_number(x, numbers[i]);
  wml_json_bool(x, a->horizontal_flip);
  wml_json_bool(x, a->vertical_flip);
  wml_json_close(x, ']');
}

static void write_settings(const webml_trainer *t, wml_text *x) {
  const webml_train_options *o = &t->options;
  wml_json_key(x, "identity");
  wml_json_string(x, webml_device_identity(t->device));
  wml_json_key(x, "version");
  wml_json_string(x, webml_version());
  wml_json_key(x, "plans");
  write_plans(t, x);
  wml_json_key(x, "schedule");
  write_schedule(t, x);
  char fingerprint[FINGERPRINT_BYTES];
  fingerprint_text(t, fingerprint);
  wml_json_key(x, "data");
  wml_json_string(x, fingerprint);
  wml_json_key(x, "epochs");
  wml_json_int(x, o->epochs);
  wml_json_key(x, "batch_size");
  wml_json_int(x, o->batch_size);
  wml_json_key(x, "seed");
  wml_json_int(x, (long long)o->seed);
  wml_json_key(x, "precision");
  wml_json_int(x, o->precision);
  wml_json_key(x, "deterministic");
  wml_json_bool(x, o->deterministic);
  wml_json_key(x, "shuffle");
  wml_json_bool(x, !o->no_shuffle);
  wml_json_key(x, "augmentation");
  write_augmentation(t, x);
  wml_json_key(x, "learning_rate");
  wml_json_number(x, o->learning_rate);
  wml_json_key(x, "freeze");
  wml_json_string(x, o->freeze ? o->freeze : "");
}

static void write_state(const webml_trainer *t, wml_text *x) {
  const wml_progress_state *s = &t->state;
  wml_json_open(x, '{');
  write_settings(t, x);
  wml_json_key(x, "epoch");
  wml_json_int(x, s->epoch);
  wml_json_key(x, "epoch_step");
  wml_json_int(x, s->epoch_step);
  wml_json_key(x, "step");
  wml_json_int(x, s->step);
  wml_json_key(x, "best");
  wml_json_number(x, s->best);
  wml_json_key(x, "best_epoch");
  wml_json_int(x, s->best_epoch);
  wml_json_key(x, "stopping_wait");
  wml_json_int(x, s->stopping_wait);
  wml_json_key(x, "plateau_wait");
  wml_json_int(x, s->plateau_wait);
  wml_json_key(x, "plateau_best");
  wml_json_number(x, s->plateau_best);
  wml_json_key(x, "rate_factor");
  wml_json_number(x, s->rate_factor);
  wml_json_key(x, "seconds");
  wml_json_number(x, s->seconds);
  wml_json_key(x, "finished");
  wml_json_bool(x, s->finished);
  wml_json_key(x, "stopped");
  wml_json_bool(x, s->stopped);
  wml_json_key(x, "results");
  wml_json_open(x, '[');
  for (int i = 0; i < t->units[WML_UNIT_TRAIN].step.graph.n_results; i++)
    wml_json_number(x, t->results[i]);
  wml_json_close(x, ']');
  wml_json_key(x, "history");
  wml_series_write(t, x);
  wml_json_close(x, '}');
}

/* ---- the writer ---- */

static webml_status write_file(webml_trainer *t) {
  wml_writer *w = &t->writer;
  wml_named_string strings[] = {{"format", "webml checkpoint"},
                                {"model", t->model_json},
                                {"pipeline", t->pipeline_json},
                                {"checkpoint", w->state.data}};
  return wml_safetensors_write(t->options.checkpoint_path, w->snapshot.tensors, w->snapshot.n,
                               strings, 4);
}

static void *writer_main(void *arg) {
  webml_trainer *t = arg;
  wml_writer *w = &t->writer;
  pthread_mutex_lock(&w->mutex);
  for (;;) {
    while (!w->busy && !w->stop) pthread_cond_wait(&w->changed, &w->mutex);
    if (!w->busy) break;
    pthread_mutex_unlock(&w->mutex);
    webml_status status = write_file(t);
    pthread_mutex_lock(&w->mutex);
    w->status = status;
    if (status != WEBML_OK) snprintf(w->message, sizeof w->message, "%s", webml_last_error());
    w->busy = false;
    pthread_cond_broadcast(&w->changed);
  }
  pthread_mutex_unlock(&w->mutex);
  return NULL;
}

webml_status wml_writer_start(webml_trainer *t) {
  wml_writer *w = &t->writer;
  if (!t->options.checkpoint_path) return WEBML_OK;
  WML_TRY(wml_snapshot_create(t, WML_SNAPSHOT_ALL, &w->snapshot));
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->changed, NULL);
  sigset_t all, before; /* signals are for the program's own threads */
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int error = pthread_create(&w->thread, NULL, writer_main, t);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error)
    return wml_fail(WEBML_ERROR_MEMORY, "cannot start the thread that writes checkpoints: %s",
                    strerror(error));
  w->started = true;
  return WEBML_OK;
}

void wml_writer_stop(webml_trainer *t) {
  wml_writer *w = &t->writer;
  if (w->started) {
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
  }
  wml_snapshot_free(&w->snapshot);
  wml_text_free(&w->state);
}

webml_status wml_checkpoint(webml_trainer *t, bool wait) {
  wml_writer *w = &t->writer;
  if (!w->started) return WEBML_OK;
  pthread_mutex_lock(&w->mutex);
  while (wait && w->busy) pthread_cond_wait(&w->changed, &w->mutex);
  bool free_now = !w->busy;
  webml_status status = w->status;
  w->status = WEBML_OK;
  pthread_mutex_unlock(&w->mutex);
  if (status != WEBML_OK)
    return wml_fail(status, "the checkpoint could not be written: %s", w->message);
  if (!free_now) return WEBML_OK;
  WML_TRY(wml_snapshot_take(t, &w->snapshot));
  w->state.length = 0;
  write_state(t, &w->state);
  if (w->state.failed) return wml_no_memory(w->state.length, "the checkpoint");
  pthread_mutex_lock(&w->mutex);
  w->busy = true;
  pthread_cond_broadcast(&w->changed);
  while (wait && w->busy) pthread_cond_wait(&w->changed, &w->mutex);
  status = wait ? w->status : WEBML_OK;
  pthread_mutex_unlock(&w->mutex);
  return status == WEBML_OK
             ? status
             : wml_fail(status, "the checkpoint could not be written: %s", w->message);
}

/* ---- resuming ---- */

static webml_status mismatch(const webml_trainer *t, const char *what) {
  return wml_fail(WEBML_ERROR_MISMATCH,
                  "cannot resume from %s: %s; train without resuming or restore what it was",
                  t->options.checkpoint_path, what);
}

/* Whether the checkpoint holds what `write` writes now. */
static webml_status same_text(const webml_trainer *t, const wml_json *then,
                              void (*write)(const webml_trainer *t, wml_text *x), bool *same) {
  wml_text now = {0}, before = {0};
  write(t, &now);
  if (then) wml_json_write(&before, then);
  bool failed = now.failed || before.failed;
  *same = !failed && before.data && strcmp(now.data, before.data) == 0;
  wml_text_free(&now);
  wml_text_free(&before);
  return failed ? wml_no_memory(1024, "the checkpoint") : WEBML_OK;
}

/* What may change the last bits is said; it does not keep a training from going on. */
static webml_status say_differences(const webml_trainer *t, const wml_json *c) {
  const char *identity = wml_json_get_string(c, "identity", "");
  const char *version = wml_json_get_string(c, "version", "");
  bool same = false;
  if (strcmp(identity, webml_device_identity(t->device)) != 0)
    wml_trainer_say(t,
                    "resuming on \"%s\", but the checkpoint is from \"%s\": the last bits of the "
                    "results may differ",
                    webml_device_identity(t->device), identity);
  if (strcmp(version, webml_version()) != 0)
    wml_trainer_say(t,
                    "resuming with version %s, but the checkpoint is from %s: the last bits of the "
                    "results may differ",
                    webml_version(), version);
  WML_TRY(same_text(t, wml_json_get(c, "plans"), write_plans, &same));
  if (!same)
    wml_trainer_say(t, "other implementations are chosen than for the checkpoint: the last bits of "
                       "the results may differ");
  WML_TRY(same_text(t, wml_json_get(c, "schedule"), write_schedule, &same));
  if (!same)
    wml_trainer_say(t, "the schedule, stopping rules, monitor or class weights are other ones than "
                       "before: training goes on with the new ones");
  return WEBML_OK;
}

/* The order of keys is ours, so equal models have equal texts. */
static webml_status check_same(webml_trainer *t, const wml_weights *w) {
  const wml_json *c = w->checkpoint;
  char fingerprint[FINGERPRINT_BYTES];
  if (!c) return mismatch(t, "it is a weights file, not a checkpoint");
  const char *model = wml_json_get_string(w->file.metadata, "model", "");
  if (strcmp(model, t->model_json) != 0) return mismatch(t, "its model is another one");
  fingerprint_text(t, fingerprint);
  if (strcmp(wml_json_get_string(c, "data", ""), fingerprint) != 0)
    return mismatch(t, "the data has changed since it was written");
  if (wml_json_get_number(c, "batch_size", 0) != (double)t->options.batch_size)
    return mismatch(t, "its batch size is another one");
  if (wml_json_get_number(c, "seed", -1) != (double)(long long)t->options.seed)
    return mismatch(t, "its seed is another one");
  if (wml_json_get_number(c, "precision", 0) != (double)t->options.precision)
    return mismatch(t, "its precision is another one");
  if (wml_json_get_bool(c, "deterministic", false) != t->options.deterministic)
    return mismatch(t, "it was deterministic, or this one is");
  if (wml_json_get_bool(c, "shuffle", true) == t->options.no_shuffle)
    return mismatch(t, "it shuffles otherwise");
  if (wml_json_get_number(c, "learning_rate", 0) != t->options.learning_rate)
    return mismatch(t, "its learning rate is another one");
  if (strcmp(wml_json_get_string(c, "freeze", ""), t->options.freeze ? t->options.freeze : "") != 0)
    return mismatch(t, "other layers are frozen");
  bool same = true;
  WML_TRY(same_text(t, wml_json_get(c, "augmentation"), write_augmentation, &same));
  return same ? say_differences(t, c) : mismatch(t, "its augmentation is another one");
}

static webml_status read_numbers(const webml_trainer *t, const wml_json *list, int64_t n,
                                 double *out) {
  int64_t i = 0;
  if (!list || list->kind != WML_JSON_ARRAY || list->count != n)
    return mismatch(t, "it is damaged");
  for (const wml_json *v = list->first; v; v = v->next)
    out[i++] = v->kind == WML_JSON_NUMBER ? v->number : NAN;
  return WEBML_OK;
}

static webml_status read_state(webml_trainer *t, const wml_json *c) {
  wml_progress_state *s = &t->state;
  s->epoch = (int64_t)wml_json_get_number(c, "epoch", -1);
  s->epoch_step = (int64_t)wml_json_get_number(c, "epoch_step", -1);
  s->step = (int64_t)wml_json_get_number(c, "step", -1);
  s->best = wml_json_get_number(c, "best", NAN);
  s->best_epoch = (int64_t)wml_json_get_number(c, "best_epoch", -1);
  s->stopping_wait = (int64_t)wml_json_get_number(c, "stopping_wait", 0);
  s->plateau_wait = (int64_t)wml_json_get_number(c, "plateau_wait", 0);
  s->plateau_best = wml_json_get_number(c, "plateau_best", NAN);
  s->rate_factor = wml_json_get_number(c, "rate_factor", 1.0);
  s->seconds = wml_json_get_number(c, "seconds", 0.0);
  s->finished = wml_json_get_bool(c, "finished", false);
  s->stopped = wml_json_get_bool(c, "stopped", false);
  int64_t epochs = (int64_t)wml_json_get_number(c, "epochs", 0);
  if (s->epoch < 0 || s->epoch_step < 0 || s->step < 0 ||
      s->epoch_step >= wml_steps_per_epoch(t) + 1)
    return mismatch(t, "it is damaged");
  if (s->epoch > t->options.epochs)
    return mismatch(t, "it has seen more epochs than were asked for");
  if (epochs != t->options.epochs) {
    wml_trainer_say(t, "the checkpoint was for %lld epochs, now %lld are asked for",
                    (long long)epochs, (long long)t->options.epochs);
    if (epochs < t->options.epochs) s->finished = s->stopped = false;
  }
  WML_TRY(read_numbers(t, wml_json_get(c, "results"), t->units[WML_UNIT_TRAIN].step.graph.n_results,
                       t->results));
  const wml_json *history = wml_json_get(c, "history");
  for (int i = 0; i < t->n_series; i++)
    WML_TRY(read_numbers(t, wml_json_get(history, t->series_name[i]), s->epoch, t->series[i]));
  return WEBML_OK;
}

static webml_status restore_tensors(webml_trainer *t, const wml_weights *w) {
  int best = 0;
  for (int i = 0; i < t->writer.snapshot.n; i++) {
    const wml_named_tensor *want = &t->writer.snapshot.tensors[i],
                           *have = wml_safetensors_find(&w->file, want->name);
    if (!have || !have->data || wml_named_elements(have) != wml_named_elements(want))
      return mismatch(t, "it lacks tensors of this optimizer");
    if (strncmp(want->name, "best/", 5) == 0)
      memcpy((float *)(uintptr_t)t->best.tensors[best++].data, have->data,
             (size_t)wml_named_elements(want) * sizeof(float));
    else
      WML_TRY(wml_from_result(t->device->backend->put(t->store, want->name, have->data)));
  }
  return WEBML_OK;
}

webml_status wml_resume(webml_trainer *t) {
  wml_weights w;
  if (!t->options.checkpoint_path || !wml_file_exists(t->options.checkpoint_path)) {
    wml_trainer_say(t, "there is no checkpoint to resume from: starting anew");
    return WEBML_OK;
  }
  WML_TRY(wml_weights_read(t->options.checkpoint_path, &w));
  webml_status status = check_same(t, &w);
  if (status == WEBML_OK) status = read_state(t, w.checkpoint);
  if (status == WEBML_OK) status = restore_tensors(t, &w);
  wml_weights_free(&w);
  if (status == WEBML_OK)
    wml_trainer_say(t, "resumed at epoch %lld, step %lld", (long long)t->state.epoch + 1,
                    (long long)t->state.epoch_step);
  return status;
}
