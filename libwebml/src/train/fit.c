/* The training loop: epochs of runs of steps, validation, callbacks, checkpoints. */
#include "kernels/common/philox.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct fit_clock {
  double epoch_started, last_progress, last_checkpoint, step_seconds;
  double epoch_train_seconds;
  int64_t steps_before; /* steps of this epoch that an earlier start did */
} fit_clock;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Fisher and Yates; keyed by seed and epoch, so that any epoch's order can be made anew. stream:
 * one per list. */
static void shuffle_list(const webml_trainer *t, uint32_t stream, int64_t *list, int64_t n) {
  uint32_t lane = wml_random_lane(WML_RANDOM_PERMUTATION, stream);
  for (int64_t i = n - 1; i > 0; i--) {
    wml_philox r = wml_philox_at(t->options.seed, lane, (uint32_t)t->state.epoch, (uint64_t)i);
    uint64_t word = (uint64_t)r.word[0] << 32 | r.word[1];
    int64_t j = (int64_t)(((__extension__(unsigned __int128) word) * (uint64_t)(i + 1)) >> 64);
    int64_t kept = list[i];
    list[i] = list[j];
    list[j] = kept;
  }
}

/* Rows that may lie on a disk are read piece by piece: pieces of neighbours in random order, then
 * the rows of some hundred pieces among each other. Rows of one batch come from all of those. */
static void shuffle_pieces(webml_trainer *t, const wml_samples *s) {
  int64_t pieces = (s->n + WML_SHUFFLE_PIECE - 1) / WML_SHUFFLE_PIECE, at = 0;
  for (int64_t i = 0; i < pieces; i++) t->pieces[i] = i;
  shuffle_list(t, 1, t->pieces, pieces);
  for (int64_t i = 0; i < pieces; i++) {
    int64_t first = t->pieces[i] * WML_SHUFFLE_PIECE, end = first + WML_SHUFFLE_PIECE;
    for (int64_t row = first; row < end && row < s->n; row++)
      t->order[at++] = wml_sample_row(s, row);
  }
  for (int64_t first = 0, k = 2; first < s->n; first += WML_SHUFFLE_WINDOW, k++) {
    int64_t n = s->n - first < WML_SHUFFLE_WINDOW ? s->n - first : WML_SHUFFLE_WINDOW;
    shuffle_list(t, (uint32_t)k, t->order + first, n);
  }
}

static void shuffle(webml_trainer *t) {
  const wml_samples *s = &t->data.parts[WML_PART_TRAINING];
  if (t->order_epoch == t->state.epoch) return;
  if (t->pieces)
    shuffle_pieces(t, s);
  else {
    for (int64_t i = 0; i < s->n; i++) t->order[i] = wml_sample_row(s, i);
    if (!t->options.no_shuffle) shuffle_list(t, 0, t->order, s->n);
  }
  t->order_epoch = t->state.epoch;
}

static double rate_at(const webml_trainer *t, int64_t step) {
  return wml_learning_rate(&t->options, t->options.learning_rate, t->state.rate_factor, step,
                           wml_steps_per_epoch(t));
}

/* Runs the next steps of the epoch: up to `count` full batches, or the partial one. */
static webml_status run_steps(webml_trainer *t, int64_t count) {
  const wml_samples *s = &t->data.parts[WML_PART_TRAINING];
  int64_t batch = t->units[WML_UNIT_TRAIN].step.graph.batch, full = s->n / batch,
          left = full - t->state.epoch_step;
  wml_unit *unit = &t->units[left > 0 ? WML_UNIT_TRAIN : WML_UNIT_TRAIN_REST];
  int64_t n = left > 0 ? (count < left ? count : left) : 1;
  for (int64_t i = 0; i < n; i++) t->rates[i] = (float)rate_at(t, t->state.step + i);
  wml_feed feeds[2];
  wml_unit_feeds(unit, s->input, s->target, s->stored, feeds);
  wml_run run = {.n_steps = n,
                 .step = t->state.step,
                 .seed = t->options.seed,
                 .epoch = (uint32_t)t->state.epoch,
                 .rows = t->order + t->state.epoch_step * batch,
                 .n_feeds = 2,
                 .feeds = feeds,
                 .learning_rate = t->rates,
                 .results = t->results};
  WML_TRY(wml_from_result(t->device->backend->run(unit->plan, &run)));
  if (run.not_finite >= 0)
    return wml_fail(WEBML_ERROR_NOT_FINITE,
                    "the loss or a gradient was not finite in step %lld (epoch %lld); try a lower "
                    "learning rate or clipnorm, and look for extreme values in the data",
                    (long long)run.not_finite, (long long)t->state.epoch + 1);
  t->state.step += n;
  t->state.epoch_step += n;
  return WEBML_OK;
}

static webml_status run_rows(webml_trainer *t, int which, int64_t first, int64_t steps) {
  const wml_samples *s = &t->data.parts[WML_PART_VALIDATION];
  wml_unit *unit = &t->units[which];
  if (!unit->plan || steps < 1) return WEBML_OK;
  wml_feed feeds[2];
  wml_unit_feeds(unit, s->input, s->target, s->stored, feeds);
  bool detail = wml_detail_wanted(t); /* what was said is read after each step */
  int64_t each = detail ? 1 : steps, batch = unit->step.graph.batch;
  for (int64_t i = 0; i < steps; i += each, first += each * batch) {
    wml_run run = {.n_steps = each,
                   .rows = s->rows ? s->rows + first : NULL,
                   .first_row = first,
                   .n_feeds = 2,
                   .feeds = feeds,
                   .results = t->validation_results};
    WML_TRY(wml_from_result(t->device->backend->run(unit->plan, &run)));
    if (detail) WML_TRY(wml_detail_count(t, unit, first));
  }
  return WEBML_OK;
}

static webml_status validate(webml_trainer *t) {
  int64_t n = t->data.parts[WML_PART_VALIDATION].n, batch = t->options.batch_size;
  int results = t->units[WML_UNIT_TRAIN].step.graph.n_results;
  for (int i = 0; i < results; i++) t->validation_results[i] = 0.0;
  if (wml_detail_wanted(t)) wml_detail_begin(t);
  WML_TRY(run_rows(t, WML_UNIT_EVALUATE, 0, n / batch));
  return run_rows(t, WML_UNIT_EVALUATE_REST, n / batch * batch, n % batch ? 1 : 0);
}

static double mean_loss(const double *results) {
  return results[WML_RESULT_LOSS] / results[WML_RESULT_COUNT];
}

/* ---- progress ---- */

static void fill_progress(const webml_trainer *t, const fit_clock *c, bool ended, bool improved,
                          webml_progress *p) {
  const wml_step *step = &t->units[WML_UNIT_TRAIN].step;
  bool validated = ended && t->data.parts[WML_PART_VALIDATION].n > 0;
  double at = now();
  *p = (webml_progress){.epoch = t->state.epoch + 1,
                        .epochs = t->options.epochs,
                        .step = t->state.epoch_step,
                        .steps = wml_steps_per_epoch(t),
                        .epoch_ended = ended,
                        .improved = improved,
                        .loss = mean_loss(t->results),
                        .validation_loss = validated ? mean_loss(t->validation_results) : NAN,
                        .n_metrics = step->n_metrics,
                        .learning_rate = rate_at(t, t->state.step > 0 ? t->state.step - 1 : 0),
                        .seconds = at - c->epoch_started};
  wml_step_metrics(step, t->results, p->metrics);
  if (validated) wml_step_metrics(step, t->validation_results, p->validation_metrics);
  for (int i = 0; i < p->n_metrics; i++) {
    p->metric_names[i] = step->metrics[i].name;
    if (!validated) p->validation_metrics[i] = NAN;
  }
  if (validated && wml_detail_wanted(t)) {
    p->n_classes = t->tally.classes;
    p->class_names = t->class_names;
    p->confusion = t->tally.confusion;
    p->n_mistakes = t->tally.n;
    p->mistakes = t->tally.mistakes;
  }
  int64_t here = t->state.epoch_step - c->steps_before;
  double samples = (double)here * (double)t->units[WML_UNIT_TRAIN].step.graph.batch;
  p->samples_per_second = c->epoch_train_seconds > 0.0 ? samples / c->epoch_train_seconds : 0.0;
  double done = (double)here,
         epoch_time = done > 0.0 ? (at - c->epoch_started) / done * (double)p->steps : 0.0;
  double epochs_left =
      (double)(p->epochs - p->epoch) + (ended ? 0.0 : 1.0 - (double)p->step / (double)p->steps);
  p->seconds_left = epoch_time * epochs_left;
}

static void report(const webml_trainer *t, fit_clock *c, bool ended, bool improved) {
  double at = now();
  if (!t->options.progress || (!ended && at - c->last_progress < t->options.progress_seconds))
    return;
  webml_progress p;
  fill_progress(t, c, ended, improved, &p);
  c->last_progress = at;
  t->options.progress(&p, t->options.user);
}

/* ---- the end of an epoch ---- */

static bool better(const webml_trainer *t, double value, double than, double margin) {
  if (isnan(value)) return false;
  if (isnan(than)) return true;
  return t->monitor_max ? value - margin > than : value + margin < than;
}

static void record_epoch(webml_trainer *t, const fit_clock *c) {
  const wml_step *step = &t->units[WML_UNIT_TRAIN].step;
  double values[WEBML_MAX_METRICS];
  int64_t e = t->state.epoch;
  int at = 0;
  for (int pass = 0; pass < (t->data.parts[WML_PART_VALIDATION].n ? 2 : 1); pass++) {
    const double *results = pass ? t->validation_results : t->results;
    t->series[at++][e] = mean_loss(results);
    wml_step_metrics(step, results, values);
    for (int i = 0; i < step->n_metrics; i++) t->series[at++][e] = values[i];
  }
  t->series[at++][e] = rate_at(t, t->state.step - 1);
  t->series[at][e] = now() - c->epoch_started;
}

/* Early stopping and saving the best share one rule; the plateau has Keras's own margin. Returns
 * whether the epoch was the best so far. */
static webml_status judge_epoch(webml_trainer *t, bool *improved) {
  wml_progress_state *s = &t->state;
  double value = t->series[t->monitor][s->epoch];
  *improved = better(t, value, s->best, t->options.min_delta);
  if (*improved) {
    s->best = value;
    s->best_epoch = s->epoch;
    s->stopping_wait = 0;
    WML_TRY(wml_snapshot_take(t, &t->best));
  } else
    s->stopping_wait++;
  if (t->options.early_stopping_patience > 0 &&
      s->stopping_wait >= t->options.early_stopping_patience) {
    s->finished = true;
    wml_trainer_say(t, "stopped early: %s has not improved on %g for %lld epochs",
                    t->series_name[t->monitor], s->best, (long long)s->stopping_wait);
  }
  if (t->options.plateau_patience == 0) return WEBML_OK;
  if (better(t, value, s->plateau_best, 1e-4)) {
    s->plateau_best = value;
    s->plateau_wait = 0;
  } else if (++s->plateau_wait >= t->options.plateau_patience) {
    double before = s->rate_factor, least = t->options.plateau_min_rate / t->options.learning_rate;
    s->rate_factor = fmax(before * t->options.plateau_factor, fmin(least, before));
    s->plateau_wait = 0;
    if (s->rate_factor < before)
      wml_trainer_say(t, "learning rate reduced to %g", t->options.learning_rate * s->rate_factor);
  }
  return WEBML_OK;
}

static webml_status end_epoch(webml_trainer *t, fit_clock *c) {
  bool improved = false;
  WML_TRY(validate(t));
  record_epoch(t, c);
  WML_TRY(judge_epoch(t, &improved));
  report(t, c, true, improved);
  t->state.epoch++;
  t->state.epoch_step = 0;
  for (int i = 0; i < t->units[WML_UNIT_TRAIN].step.graph.n_results; i++) t->results[i] = 0.0;
  if (t->state.epoch >= t->options.epochs) t->state.finished = true;
  c->last_checkpoint = now();
  return wml_checkpoint(t, false);
}

/* So many steps that a run takes about a twentieth of a second: the progress stays live, a
 * cancellation quick, and the calls cost nothing. */
static int64_t steps_of_run(const fit_clock *c) {
  if (c->step_seconds <= 0.0) return 1;
  double n = 0.05 / c->step_seconds;
  return n < 1.0 ? 1 : n > 512.0 ? 512 : (int64_t)n;
}

static webml_status run_epoch(webml_trainer *t, fit_clock *c) {
  int64_t steps = wml_steps_per_epoch(t);
  c->epoch_started = c->last_progress = now();
  c->epoch_train_seconds = 0.0;
  c->steps_before = t->state.epoch_step;
  shuffle(t);
  while (t->state.epoch_step < steps) {
    double start = now();
    int64_t before = t->state.epoch_step;
    WML_TRY(run_steps(t, steps_of_run(c)));
    double took = now() - start;
    c->step_seconds = took / (double)(t->state.epoch_step - before);
    c->epoch_train_seconds += took;
    t->state.seconds += took;
    report(t, c, false, false);
    if (t->cancelled) return wml_fail(WEBML_ERROR_CANCELLED, "cancelled");
    if (t->stopping) {
      t->state.finished = t->state.stopped = true;
      return WEBML_OK;
    }
    if (t->options.checkpoint_seconds > 0.0 &&
        now() - c->last_checkpoint >= t->options.checkpoint_seconds) {
      WML_TRY(wml_checkpoint(t, false));
      c->last_checkpoint = now();
    }
  }
  return end_epoch(t, c);
}

/* ---- the weights file ---- */

/* Keras: training with use_ema ends with the moving averages as the weights. */
static webml_status take_averages(webml_trainer *t) {
  const wml_graph *g = &t->units[WML_UNIT_TRAIN].step.graph;
  int slot = wml_optimizer_own_slots(&g->update.optimizer);
  WML_TRY(wml_snapshot_take(t, &t->best));
  for (int i = 0; i < g->update.n_items; i++) {
    const wml_update_item *item = &g->update.items[i];
    float *to = wml_snapshot_data(&t->best, g->tensors[item->param].name);
    WML_TRY(
        wml_from_result(t->device->backend->get(t->store, g->tensors[item->slot[slot]].name, to)));
  }
  return WEBML_OK;
}

static webml_status write_weights(webml_trainer *t) {
  if (!t->options.weights_path) return WEBML_OK;
  if (t->model->optimizer.use_ema)
    WML_TRY(take_averages(t));
  else if (!wml_keeps_best(t))
    WML_TRY(wml_snapshot_take(t, &t->best));
  wml_text record = {0};
  webml_status status = wml_record_write(t, &record);
  if (status == WEBML_OK) {
    wml_named_string strings[] = {{"format", "webml weights"},
                                  {"version", webml_version()},
                                  {"model", t->model_json},
                                  {"pipeline", t->pipeline_json},
                                  {"record", record.data}};
    status = wml_safetensors_write(t->options.weights_path, t->best.tensors, t->best.n, strings, 5);
  }
  wml_text_free(&record);
  return status;
}

/* A training that broke off keeps the best weights it had; what broke it off stays the error. */
static webml_status save_best(webml_trainer *t, webml_status status) {
  char message[1024];
  snprintf(message, sizeof message, "%s", webml_last_error());
  if (t->state.best_epoch >= 0 && !t->options.keep_last && write_weights(t) == WEBML_OK &&
      t->options.weights_path)
    return wml_fail(status, "%s; the best weights, of epoch %lld, are in %s", message,
                    (long long)t->state.best_epoch + 1, t->options.weights_path);
  return wml_fail(status, "%s", message);
}

webml_status webml_trainer_run(webml_trainer *t) {
  if (!t) return wml_fail(WEBML_ERROR_ARGUMENT, "webml_trainer_run: trainer must not be NULL");
  fit_clock c = {.last_checkpoint = now()};
  webml_status status = WEBML_OK;
  while (status == WEBML_OK && !t->state.finished) {
    status = run_epoch(t, &c);
    if (status == WEBML_OK && t->cancelled && !t->state.finished)
      status = wml_fail(WEBML_ERROR_CANCELLED, "cancelled");
  }
  if (status == WEBML_ERROR_CANCELLED) {
    WML_TRY(wml_checkpoint(t, true));
    return wml_fail(WEBML_ERROR_CANCELLED, "cancelled in epoch %lld after step %lld%s%s",
                    (long long)t->state.epoch + 1, (long long)t->state.step,
                    t->options.checkpoint_path ? "; resume from " : "",
                    t->options.checkpoint_path ? t->options.checkpoint_path : "");
  }
  if (status == WEBML_ERROR_NOT_FINITE) return save_best(t, status);
  WML_TRY(status);
  WML_TRY(write_weights(t));
  return wml_checkpoint(t, true);
}
