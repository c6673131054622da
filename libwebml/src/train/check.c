/* A description as it is typed: everything that is wrong with it, and what it will take. */
#include "train/forecast.h"
#include "train/seams.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

typedef struct check {
  webml_check_options options;
  wml_arena arena; /* of the JSON trees */
  wml_issues issues;
  webml_model *model, *shaped; /* shaped: the model, or NULL where it is not complete */
  wml_data_shape data;
  bool has_data;
  char *chosen;
  int64_t training, validation; /* samples of an epoch; -1: not known */
} check;

/* ---- reading ---- */

static webml_status read_properties(check *c) {
  const wml_json *root = NULL;
  const char *text = c->options.properties;
  if (!text) return WEBML_OK;
  WML_TRY(wml_json_parse(&c->arena, text, strlen(text), "the properties", &root));
  webml_status status = wml_data_shape_read(root, c->model, &c->data);
  c->has_data = status == WEBML_OK;
  if (status != WEBML_ERROR_DATA) return status;
  wml_issue(&c->issues, NULL, "%s", webml_last_error()); /* of the columns that the model names */
  wml_clear_error();
  return WEBML_OK;
}

static void count_samples(check *c) {
  const webml_check_options *o = &c->options;
  bool given = o->samples > 0;
  c->training = given ? o->samples : c->has_data ? c->data.training : -1;
  c->validation = given || o->validation_samples > 0      ? o->validation_samples
                  : c->has_data && c->data.validation > 0 ? c->data.validation
                                                          : 0;
}

static webml_status read_description(check *c, const char *json, size_t length) {
  const wml_json *root = NULL;
  int line = 0;
  webml_status status = wml_json_parse_at(&c->arena, json, length, "the description", &root, &line);
  if (status == WEBML_ERROR_PARSE) {
    wml_issue(&c->issues, NULL, "%s", webml_last_error());
    if (c->issues.last) c->issues.last->line = line;
    wml_clear_error();
    return WEBML_OK;
  }
  WML_TRY(status);
  WML_TRY(wml_model_read(root, &c->issues, &c->model));
  WML_TRY(read_properties(c));
  wml_check_seams(c->model, c->has_data ? &c->data : NULL, &c->issues);
  return c->issues.failed ? wml_no_memory(1 << 12, "error messages") : WEBML_OK;
}

/* The model with all sizes; NULL where some are open. */
static webml_status shape(check *c) {
  if (c->issues.count || !c->model) return WEBML_OK;
  if (!c->has_data) {
    wml_shape in = wml_model_input_shape(c->model), out = wml_model_output_shape(c->model);
    bool complete =
        !c->model->dynamic && wml_shape_elements(&in) > 0 && wml_shape_elements(&out) > 0;
    if (complete) c->shaped = wml_model_retain(c->model);
    return WEBML_OK;
  }
  webml_status status = wml_model_shape(c->model, &c->data, &c->shaped, &c->chosen);
  if (status != WEBML_ERROR_MODEL && status != WEBML_ERROR_DATA && status != WEBML_ERROR_MISMATCH)
    return status;
  wml_issue(&c->issues, NULL, "%s", webml_last_error());
  wml_clear_error();
  return WEBML_OK;
}

/* ---- devices ---- */

static void write_size(wml_text *t, const char *key, size_t bytes) {
  wml_json_key(t, key);
  wml_json_int(t, (long long)bytes);
}

static void write_plans(wml_text *t, const webml_memory *m) {
  write_size(t, "weights", m->weights);
  write_size(t, "state", m->state);
  write_size(t, "saved", m->saved);
  write_size(t, "scratch", m->scratch);
}

static void write_training(wml_text *t, const webml_training_memory *m) {
  wml_json_key(t, "training");
  wml_json_open(t, '{');
  write_plans(t, &m->plans);
  write_size(t, "rows", m->rows);
  write_size(t, "context", m->context);
  write_size(t, "host", m->host);
  write_size(t, "total", m->total);
  wml_json_key(t, "estimated");
  wml_json_bool(t, m->estimated);
  wml_json_close(t, '}');
}

static void write_prediction(wml_text *t, const webml_memory *m) {
  wml_json_key(t, "prediction");
  if (!m->total) {
    wml_json_null(t);
    return;
  }
  wml_json_open(t, '{');
  write_plans(t, m);
  write_size(t, "total", m->total);
  wml_json_close(t, '}');
}

/* Whether it fits, and why not. reason: another one, or NULL. */
static void write_room(wml_text *t, size_t total, size_t available, const char *reason) {
  char text[160] = "";
  bool known = total && available;
  wml_json_key(t, "available");
  if (available)
    wml_json_int(t, (long long)available);
  else
    wml_json_null(t);
  wml_json_key(t, "fits");
  if (known || reason)
    wml_json_bool(t, !reason && total <= available);
  else
    wml_json_null(t);
  if (!reason && known && total > available)
    snprintf(text, sizeof text,
             "a training needs %.2f GB, but %.2f GB are free; use a smaller batch or model",
             (double)total / 1e9, (double)available / 1e9);
  wml_json_key(t, "reason");
  if (reason || *text)
    wml_json_string(t, reason ? reason : text);
  else
    wml_json_null(t);
}

/* Seconds of the steps of one kind in an epoch. */
static double seconds_of(const webml_trainer *t, int which, int64_t steps,
                         const webml_speed *speed) {
  wml_work work;
  const wml_graph *g = &t->units[which].step.graph;
  if (steps < 1 || g->n_ops == 0) return 0.0;
  wml_work_of(g, &work);
  return (double)steps * wml_forecast(&work, speed);
}

static void write_seconds(wml_text *t, const check *c, const webml_trainer *trainer,
                          const webml_speed *speed) {
  wml_json_key(t, "seconds_per_epoch");
  if (!trainer || !speed || c->training < 1) {
    wml_json_null(t);
    return;
  }
  int64_t batch = trainer->options.batch_size, n = c->training, v = c->validation;
  bool small = n < batch; /* one partial batch */
  double seconds = seconds_of(trainer, WML_UNIT_TRAIN, small ? 1 : n / batch, speed) +
                   seconds_of(trainer, WML_UNIT_TRAIN_REST, small ? 0 : n % batch > 0, speed) +
                   seconds_of(trainer, WML_UNIT_EVALUATE, v / batch, speed) +
                   seconds_of(trainer, WML_UNIT_EVALUATE_REST, v % batch > 0, speed);
  wml_json_open(t, '[');
  wml_json_number(t, seconds * wml_forecast_low);
  wml_json_number(t, seconds * wml_forecast_high);
  wml_json_close(t, ']');
}

/* Plans for the device; *trainer stays NULL where the device cannot do what is asked (the error
 * says why). */
static webml_status plan(const check *c, webml_device *device, webml_trainer **trainer) {
  int64_t batch =
      c->options.training && c->options.training->batch_size ? c->options.training->batch_size : 32;
  int64_t n = c->training > 0 ? c->training : batch, v = c->training > 0 ? c->validation : batch;
  webml_trainer *t = NULL;
  WML_TRY(wml_trainer_new(c->shaped, device, &t));
  webml_status status = wml_trainer_assume(t, c->options.training, n, v);
  if (status == WEBML_OK) status = wml_trainer_plan(t);
  if (status == WEBML_OK)
    *trainer = t;
  else
    webml_trainer_destroy(t);
  return status;
}

static webml_status write_device(wml_text *t, const check *c, const webml_check_device *d) {
  webml_trainer *trainer = NULL;
  webml_training_memory need = {0};
  webml_memory one = {0};
  char reason[512] = "";
  size_t available = d->available;
  if (!available && d->device) available = wml_device_available(d->device);
  if (available == SIZE_MAX) available = 0;
  webml_status status = c->shaped ? plan(c, d->device, &trainer) : WEBML_OK;
  if (status == WEBML_OK && trainer) status = wml_trainer_need(trainer, &need);
  if (status == WEBML_OK && trainer && d->device)
    status = webml_predictor_memory(c->shaped, d->device, 1, trainer->options.precision, &one);
  if (status == WEBML_ERROR_UNSUPPORTED || status == WEBML_ERROR_DEVICE) {
    snprintf(reason, sizeof reason, "%.500s", webml_last_error());
    wml_clear_error();
    status = WEBML_OK;
  }
  wml_json_open(t, '{');
  wml_json_key(t, "device");
  wml_json_string(t, d->name ? d->name : d->device ? d->device->name : "cuda");
  if (need.total)
    write_training(t, &need);
  else
    wml_json_key(t, "training"), wml_json_null(t);
  write_prediction(t, &one);
  write_room(t, need.total, available, *reason ? reason : NULL);
  write_seconds(t, c, *reason ? NULL : trainer, d->speed);
  wml_json_close(t, '}');
  webml_trainer_destroy(trainer);
  return status;
}

/* ---- the answer ---- */

static void write_lines(wml_text *t, const char *key, const char *lines) {
  wml_json_key(t, key);
  wml_json_open(t, '[');
  for (const char *at = lines; at && *at;) {
    size_t n = strcspn(at, "\n");
    wml_json_string_n(t, at, n);
    at += n + (at[n] == '\n');
  }
  wml_json_close(t, ']');
}

static void write_count(wml_text *t, const char *key, int64_t n) {
  wml_json_key(t, key);
  if (n < 0)
    wml_json_null(t);
  else
    wml_json_int(t, n);
}

static webml_status write_answer(const check *c, wml_text *t) {
  webml_status status = WEBML_OK;
  wml_json_open(t, '{');
  wml_json_key(t, "valid");
  wml_json_bool(t, c->issues.count == 0);
  wml_json_key(t, "errors");
  wml_issues_write(t, &c->issues, false);
  wml_json_key(t, "warnings");
  wml_issues_write(t, &c->issues, true);
  if (c->model) wml_model_write_summary(t, c->shaped ? c->shaped : c->model);
  write_lines(t, "chosen", c->chosen);
  write_count(t, "samples", c->training);
  write_count(t, "validation_samples", c->training < 0 ? -1 : c->validation);
  wml_json_key(t, "devices");
  wml_json_open(t, '[');
  for (size_t i = 0; i < c->options.n_devices && status == WEBML_OK; i++)
    status = write_device(t, c, &c->options.devices[i]);
  wml_json_close(t, ']');
  wml_json_close(t, '}');
  return status;
}

/* A batch of 1 and the like are refused before anything is looked at. */
static webml_status copy_options(const webml_check_options *given, webml_check_options *o) {
  *o = (webml_check_options){.struct_size = sizeof *o};
  if (given && given->struct_size > sizeof *o)
    return wml_fail(WEBML_ERROR_ARGUMENT, "struct_size %zu is not that of webml_check_options",
                    given->struct_size);
  if (given) memcpy(o, given, given->struct_size);
  if (o->n_devices && !o->devices)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_check: devices must not be NULL");
  if (o->samples < 0 || o->validation_samples < 0)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_check: samples must not be negative");
  return WEBML_OK;
}

webml_status webml_model_check(const char *json, size_t length, const webml_check_options *options,
                               char **result) {
  if (!json || !result)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_check: json and result must not be NULL");
  check c = {.has_data = false};
  wml_text t = {0};
  WML_TRY(copy_options(options, &c.options));
  webml_status status = read_description(&c, json, length);
  if (status == WEBML_OK) status = shape(&c);
  count_samples(&c);
  if (status == WEBML_OK) status = write_answer(&c, &t);
  wml_issues_free(&c.issues);
  webml_model_destroy(c.shaped);
  webml_model_destroy(c.model);
  wml_free(c.chosen);
  wml_arena_free(&c.arena);
  if (status == WEBML_OK) return wml_text_take(&t, result);
  wml_text_free(&t);
  return status;
}
