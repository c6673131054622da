/* Creating a trainer: options, data, initial weights. */
#include "train/trainer.h"

#include "base/options.h"
#include "data/augmentation.h"
#include "model/layer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void wml_trainer_say(const webml_trainer *t, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (t->options.message) t->options.message(text, t->options.user);
}

int64_t wml_steps_per_epoch(const webml_trainer *t) {
  int64_t n = t->data.parts[WML_PART_TRAINING].n, batch = t->options.batch_size;
  return (n + batch - 1) / batch;
}

/* ---- options ---- */

static webml_status copy_text(webml_trainer *t, const char **text, const char *suffix) {
  if (!*text) return WEBML_OK;
  size_t n = strlen(*text) + strlen(suffix) + 1;
  char *copy = wml_arena_alloc(&t->arena, n);
  if (!copy) return wml_no_memory(n, "an option");
  snprintf(copy, n, "%s%s", *text, suffix);
  *text = copy;
  return WEBML_OK;
}

/* Layers such as RandomFlip say what the augmentation is. */
static webml_status take_augmentation(const webml_model *m, webml_augmentation *given) {
  webml_augmentation of_layers = {0};
  const char *name = NULL;
  for (int i = 0; i < m->n_layers; i++) {
    if (!m->layers[i].class->augment) continue;
    name = m->layers[i].name;
    m->layers[i].class->augment(m->layers[i].options, &of_layers);
  }
  if (!name) return WEBML_OK;
  wml_augment augment = wml_augmentation_of(given);
  if (wml_augment_is_on(&augment))
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "the model has layers of augmentation, such as \"%.80s\", and the training has "
                    "options of it, too: remove the ones or the others",
                    name);
  *given = of_layers;
  return WEBML_OK;
}

webml_status wml_trainer_options(webml_trainer *t, const webml_train_options *given) {
  webml_train_options *o = &t->options;
  if (given && given->struct_size > sizeof *o)
    return wml_fail(WEBML_ERROR_ARGUMENT, "struct_size %zu is not that of webml_train_options",
                    given->struct_size);
  if (given) memcpy(o, given, given->struct_size);
  if (o->learning_rate == 0.0) o->learning_rate = (double)t->model->optimizer.learning_rate;
  int n;
  const wml_option *list = wml_train_option_list(&n);
  WML_TRY(wml_options_settle(list, n, o));
  WML_TRY(take_augmentation(t->model, &o->augmentation));
  WML_TRY(wml_augmentation_check(&o->augmentation));
  if (o->warmup_epochs > (double)o->epochs)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "warmup epochs %g are more than the %lld epochs of the training",
                    o->warmup_epochs, (long long)o->epochs);
  if (o->new_head && !o->initial_weights)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "a new head is for a training that begins with earlier weights; name their "
                    "file, or leave it out");
  WML_TRY(copy_text(t, &o->monitor, ""));
  WML_TRY(copy_text(t, &o->initial_weights, ""));
  WML_TRY(copy_text(t, &o->freeze, ""));
  WML_TRY(wml_freeze(t));
  if (!o->checkpoint_path && o->weights_path) {
    o->checkpoint_path = o->weights_path;
    WML_TRY(copy_text(t, &o->checkpoint_path, ".checkpoint"));
  } else
    WML_TRY(copy_text(t, &o->checkpoint_path, ""));
  return copy_text(t, &o->weights_path, "");
}

/* ---- fit between model and data ---- */

static webml_status check_ranks(const webml_model *m) {
  char text[WML_SHAPE_TEXT];
  for (int i = 0; i < m->n_outputs; i++) {
    const wml_shape *out = &m->nodes[m->outputs[i].node].out;
    if (out->rank != 1)
      return wml_fail(WEBML_ERROR_MODEL, "the model's output is %s; end it with Flatten and Dense",
                      wml_shape_text(out, text));
  }
  return WEBML_OK;
}

static webml_status check_fit(const webml_trainer *t) {
  const webml_model *m = t->model;
  const wml_samples *s = &t->data.parts[WML_PART_TRAINING];
  const wml_pipeline *p = &t->data.pipeline;
  int64_t n = wml_model_output_elements(m), in = wml_model_input_elements(m),
          classes = p->format == WML_FORMAT_IMAGES ? p->n_classes : p->output_width;
  int64_t want = s->target_type == WML_I32 ? classes : s->target_width;
  WML_TRY(check_ranks(m));
  if (m->n_inputs > 1 || m->n_outputs > 1) WML_TRY(wml_pipeline_check(p, m));
  for (int i = 0; i < m->n_outputs && m->n_outputs > 1; i++)
    if (wml_loss_is_sparse(m->outputs[i].loss.kind)) /* one of several is fed as a one-hot */
      return wml_fail(WEBML_ERROR_MODEL,
                      "output \"%s\": %s is for models with one output; use "
                      "categorical_crossentropy, which is the same for a label",
                      m->outputs[i].name, wml_loss_name(m->outputs[i].loss.kind));
  if (n != want)
    return wml_fail(
        WEBML_ERROR_MODEL,
        "the model has %lld outputs, the data set %lld; shape the model to the data set",
        (long long)n, (long long)want);
  if (in != s->input_width)
    return wml_fail(WEBML_ERROR_MODEL, "the model takes %lld values, the data set gives %lld",
                    (long long)in, (long long)s->input_width);
  if (m->n_outputs == 1 && wml_loss_is_sparse(m->outputs[0].loss.kind) && s->target_type != WML_I32)
    return wml_fail(WEBML_ERROR_MODEL,
                    "loss %s needs one label as the output; use binary_crossentropy or "
                    "mean_squared_error",
                    wml_loss_name(m->outputs[0].loss.kind));
  return WEBML_OK;
}

static webml_status check_augmentation(const webml_trainer *t) {
  wml_augment augment = wml_augmentation_of(&t->options.augmentation);
  if (wml_augment_is_on(&augment) && t->model->format != WML_FORMAT_IMAGES)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "augmentation (rotation, shear, zoom, shifts, ...) is for images");
  return WEBML_OK;
}

static webml_status set_class_weights(webml_trainer *t, bool rows) {
  const wml_samples *s = &t->data.parts[WML_PART_TRAINING];
  size_t classes = (size_t)wml_pipeline_label_count(&t->data.pipeline);
  if (!t->options.balance_classes && !t->options.n_class_weights) return WEBML_OK;
  if (t->options.n_class_weights && t->options.n_class_weights != classes)
    return wml_fail(WEBML_ERROR_ARGUMENT, "%zu class weights for %zu classes",
                    t->options.n_class_weights, classes);
  if (s->target_type != WML_I32 && s->target_width != 1)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "class weights need one label or binary column as the output");
  t->class_weight = wml_calloc(classes, sizeof *t->class_weight);
  double *count = wml_calloc(classes, sizeof *count);
  if (!t->class_weight || !count) {
    wml_free(count);
    return wml_no_memory(classes * 12, "class weights");
  }
  for (int64_t i = 0; rows && i < s->n; i++) {
    int64_t row = wml_sample_row(s, i);
    double label = s->target_type == WML_I32 ? (double)((const int32_t *)s->target)[row]
                                             : (double)((const float *)s->target)[row];
    if (label >= 0 && label < (double)classes) count[(size_t)label] += 1.0;
  }
  for (size_t c = 0; c < classes; c++) {
    double balanced = count[c] > 0.0 ? (double)s->n / ((double)classes * count[c]) : 0.0;
    t->class_weight[c] =
        (float)(t->options.n_class_weights ? t->options.class_weights[c] : balanced);
  }
  wml_free(count);
  return WEBML_OK;
}

/* ---- weights ---- */

/* Fills the snapshot of best weights with initial values and puts them into the store. */
static webml_status set_initial_weights(webml_trainer *t) {
  const wml_backend *backend = t->device->backend;
  const wml_graph *g = &t->units[WML_UNIT_TRAIN].step.graph;
  int at = 0;
  for (int i = 0; i < t->model->n_layers; i++)
    for (int k = 0; k < t->model->layers[i].n_params; k++, at++) {
      const wml_param *p = &t->model->layers[i].params[k];
      WML_TRY(
          wml_initialize(p, t->options.seed, (uint32_t)at, wml_snapshot_data(&t->best, p->name)));
    }
  if (t->options.initial_weights) WML_TRY(wml_start_from(t, &t->best));
  for (int i = 0; i < t->best.n; i++)
    WML_TRY(
        wml_from_result(backend->put(t->store, t->best.tensors[i].name, t->best.tensors[i].data)));
  for (int i = 0; i < g->update.n_items; i++) {
    float initial = wml_optimizer_initial(&g->update.optimizer, 0);
    int slot = g->update.items[i].slot[0];
    if (slot < 0 || initial == 0.0f) continue;
    int64_t n = wml_elements(&g->tensors[slot]);
    float *values = wml_alloc((size_t)n * sizeof *values);
    if (!values) return wml_no_memory((size_t)n * sizeof *values, "the optimizer's state");
    for (int64_t j = 0; j < n; j++) values[j] = initial;
    webml_status status = wml_from_result(backend->put(t->store, g->tensors[slot].name, values));
    wml_free(values);
    WML_TRY(status);
  }
  return WEBML_OK;
}

/* ---- history ---- */

/* prefix: "val_" or ""; output: the name of one of several, or NULL. */
static webml_status add_series(webml_trainer *t, const char *prefix, const char *output,
                               const char *name) {
  size_t n = strlen(prefix) + (output ? strlen(output) + 1 : 0) + strlen(name) + 1;
  char *text = wml_arena_alloc(&t->arena, n);
  double *values = wml_arena_alloc(&t->arena, (size_t)t->options.epochs * sizeof *values);
  if (!text || !values)
    return wml_no_memory((size_t)t->options.epochs * sizeof *values, "the history");
  snprintf(text, n, "%s%s%s%s", prefix, output ? output : "", output ? "_" : "", name);
  t->series_name[t->n_series] = text;
  t->series[t->n_series++] = values;
  return WEBML_OK;
}

/* Keras's names: "loss", "val_loss"; of several outputs "<output>_loss" and "<output>_<metric>". */
static webml_status add_part(webml_trainer *t, const char *prefix) {
  const webml_model *m = t->model;
  bool many = m->n_outputs > 1;
  WML_TRY(add_series(t, prefix, NULL, "loss"));
  for (int o = 0; o < m->n_outputs && many; o++)
    WML_TRY(add_series(t, prefix, m->outputs[o].name, "loss"));
  for (int o = 0; o < m->n_outputs; o++)
    for (int i = 0; i < m->outputs[o].n_metrics; i++)
      WML_TRY(
          add_series(t, prefix, many ? m->outputs[o].name : NULL, m->outputs[o].metrics[i].name));
  return WEBML_OK;
}

/* Whether more of a series, named without "val_", is better. */
static bool more_is_better(const webml_model *m, const char *base) {
  for (int o = 0; o < m->n_outputs; o++)
    for (int i = 0; i < m->outputs[o].n_metrics; i++) {
      const wml_metric_spec *metric = &m->outputs[o].metrics[i];
      size_t n = strlen(m->outputs[o].name);
      const char *name = base;
      if (m->n_outputs > 1 && strncmp(base, m->outputs[o].name, n) == 0 && base[n] == '_')
        name = base + n + 1;
      if (strcmp(name, metric->name) == 0)
        return metric->by_shape || wml_metric_more_is_better(metric->metric.kind);
    }
  return false;
}

static int find_series(const webml_trainer *t, const char *name) {
  for (int i = 0; i < t->n_series; i++)
    if (strcmp(t->series_name[i], name) == 0) return i;
  return -1;
}

static webml_status set_series(webml_trainer *t) {
  bool validates = t->data.parts[WML_PART_VALIDATION].n > 0;
  WML_TRY(add_part(t, ""));
  if (validates) WML_TRY(add_part(t, "val_"));
  WML_TRY(add_series(t, "", NULL, "learning_rate"));
  WML_TRY(add_series(t, "", NULL, "seconds"));
  const char *name = t->options.monitor ? t->options.monitor : validates ? "val_loss" : "loss";
  t->monitor = find_series(t, name);
  if (t->monitor < 0) {
    const char *meant = wml_suggest(name, t->series_name, (size_t)t->n_series - 2);
    return wml_fail(
        WEBML_ERROR_ARGUMENT, "there is nothing named \"%s\" to monitor%s%s%s%s", name,
        meant ? ", did you mean \"" : "", meant ? meant : "", meant ? "\"?" : "",
        strncmp(name, "val_", 4) == 0 && !validates ? "; the data set has no validation part" : "");
  }
  t->monitor_max = more_is_better(t->model, strncmp(name, "val_", 4) == 0 ? name + 4 : name);
  return WEBML_OK;
}

static webml_status keep_texts(webml_trainer *t) {
  wml_text text = {0};
  WML_TRY(webml_model_to_json(t->given, &t->model_json));
  wml_pipeline_write(&text, &t->data.pipeline);
  return wml_text_take(&text, &t->pipeline_json);
}

/* ---- the object ---- */

webml_status wml_trainer_settle(webml_trainer *t, const webml_dataset *dataset,
                                const webml_train_options *options, bool rows) {
  bool open = t->model->dynamic || t->model->optimizer_open;
  for (int i = 0; i < t->model->n_outputs; i++) open |= t->model->outputs[i].loss_open;
  if (open)
    return wml_fail(
        WEBML_ERROR_MODEL,
        "the model is still open; shape it to the data set first (webml_model_shape_to)");
  WML_TRY(wml_trainer_options(t, options));
  if (t->device) WML_TRY(webml_device_check(t->device, t->options.precision));
  WML_TRY(wml_dataset_load(dataset, t->model, NULL,
                           1u << WML_PART_TRAINING | 1u << WML_PART_VALIDATION |
                               (rows ? 0 : WML_WITHOUT_ROWS),
                           &t->data));
  WML_TRY(check_augmentation(t));
  WML_TRY(check_fit(t));
  return set_class_weights(t, rows);
}

static void say_about_data(const webml_trainer *t) {
  if (t->data.skipped)
    wml_trainer_say(t, "%lld broken images were left out", (long long)t->data.skipped);
  if (t->data.duplicates)
    wml_trainer_say(
        t,
        "%lld pictures of the validation part are in the training part, too: its figures "
        "will look better than they are",
        (long long)t->data.duplicates);
  if (t->data.unknown)
    wml_trainer_say(t, "%lld cells of the validation part hold values that training never sees",
                    (long long)t->data.unknown);
}

static webml_status create(webml_trainer *t, const webml_dataset *dataset,
                           const webml_train_options *options) {
  WML_TRY(wml_trainer_settle(t, dataset, options, true));
  say_about_data(t);
  WML_TRY(set_series(t));
  WML_TRY(wml_detail_create(t));
  WML_TRY(keep_texts(t));
  WML_TRY(wml_trainer_plan(t));
  WML_TRY(wml_trainer_prepare(t));
  int64_t n = t->data.parts[WML_PART_TRAINING].n, steps = wml_steps_per_epoch(t);
  size_t results = (size_t)t->units[WML_UNIT_TRAIN].step.graph.n_results;
  t->order = wml_alloc((size_t)n * sizeof *t->order);
  t->rates = wml_alloc((size_t)steps * sizeof *t->rates);
  t->results = wml_calloc(results, sizeof *t->results);
  t->validation_results = wml_calloc(results, sizeof *t->validation_results);
  if (!t->order || !t->rates || !t->results || !t->validation_results)
    return wml_no_memory((size_t)n * sizeof *t->order, "the trainer");
  const wml_samples *training = &t->data.parts[WML_PART_TRAINING];
  int64_t cells = training->input_cells ? training->input_cells : training->input_width;
  if (n > WML_SHUFFLE_WINDOW && !t->options.no_shuffle &&
      n * cells * (int64_t)wml_dtype_size(training->input_type) >= WML_SHUFFLE_BYTES) {
    t->pieces = wml_alloc((size_t)(n / WML_SHUFFLE_PIECE + 1) * sizeof *t->pieces);
    if (!t->pieces) return wml_no_memory((size_t)n / WML_SHUFFLE_PIECE * 8, "the trainer");
  }
  t->order_epoch = -1;
  t->state =
      (wml_progress_state){.best = NAN, .best_epoch = -1, .plateau_best = NAN, .rate_factor = 1.0};
  WML_TRY(wml_snapshot_create(t, WML_SNAPSHOT_WEIGHTS, &t->best));
  WML_TRY(set_initial_weights(t));
  WML_TRY(wml_writer_start(t));
  return t->options.resume ? wml_resume(t) : WEBML_OK;
}

webml_status wml_trainer_new(const webml_model *model, webml_device *device, webml_trainer **out) {
  webml_trainer *t = wml_calloc(1, sizeof *t);
  if (!t) return wml_no_memory(sizeof *t, "a trainer");
  t->given = wml_model_retain(model);
  t->model = wml_model_retain(model);
  t->device = device;
  wml_loaded_clear(&t->data);
  *out = t;
  return WEBML_OK;
}

webml_status webml_trainer_create(const webml_model *model, const webml_dataset *dataset,
                                  webml_device *device, const webml_train_options *options,
                                  webml_trainer **out) {
  if (!model || !dataset || !device || !out)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_trainer_create: model, dataset, device and trainer must not be NULL");
  webml_trainer *t = NULL;
  WML_TRY(wml_trainer_new(model, device, &t));
  webml_status status = create(t, dataset, options);
  if (status == WEBML_OK)
    *out = t;
  else
    webml_trainer_destroy(t);
  return status;
}

void webml_trainer_cancel(webml_trainer *t) {
  if (t) atomic_store(&t->cancelled, 1);
}

void webml_trainer_stop(webml_trainer *t) {
  if (t) atomic_store(&t->stopping, 1);
}

void webml_trainer_destroy(webml_trainer *t) {
  if (!t) return;
  wml_writer_stop(t);
  for (int i = 0; i < WML_N_UNITS; i++) wml_unit_destroy(&t->units[i]);
  if (t->store) t->device->backend->store_destroy(t->store);
  wml_snapshot_free(&t->best);
  wml_detail_free(t);
  wml_loaded_free(&t->data);
  wml_free(t->class_weight);
  wml_free(t->order);
  wml_free(t->pieces);
  wml_free(t->rates);
  wml_free(t->results);
  wml_free(t->validation_results);
  wml_free(t->model_json);
  wml_free(t->pipeline_json);
  webml_model_destroy(t->model);
  webml_model_destroy(t->given);
  wml_arena_free(&t->arena);
  wml_free(t);
}
