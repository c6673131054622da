/* The plans of a training, and the memory that they and all else of it take. */
#include "data/augmentation.h"
#include "plan/estimate.h"
#include "train/trainer.h"

/* A GPU's context with the code of cuDNN and cuBLASLt. An estimate: the driver says it of a process
 * that runs. */
static const size_t gpu_context = (size_t)600 << 20;
/* The graphs of the steps, the plans' own lists, names and texts. */
static const size_t bookkeeping = (size_t)1 << 20;

/* ---- plans ---- */

/* Before there is a data set: rows of values, each input and output behind the one before. */
static void assume_feeds(wml_step_spec *spec, const wml_samples *s) {
  const webml_model *m = spec->model;
  int64_t at = 0;
  wml_step_rows(spec, s->input_type);
  for (int i = 0; i < m->n_outputs; i++) {
    int64_t n = wml_shape_elements(&m->nodes[m->outputs[i].node].out);
    spec->targets[i] = (wml_feed_spec){.type = s->target_type, .width = n};
    if (m->n_outputs > 1) spec->targets[i].n_cells = (int)n, spec->targets[i].first = (int)at;
    at += n;
  }
  for (int i = 0; i < m->n_outputs && m->n_outputs > 1; i++) spec->targets[i].row_cells = (int)at;
}

static webml_status create_unit(webml_trainer *t, int which, int part, wml_mode mode,
                                int64_t batch) {
  const wml_samples *s = &t->data.parts[part];
  if (batch < 1) return WEBML_OK;
  wml_step_spec spec = {.model = t->model,
                        .mode = mode,
                        .batch = batch,
                        .precision = (wml_precision)t->options.precision,
                        .deterministic = t->options.deterministic,
                        .class_weight = mode == WML_MODE_TRAIN ? t->class_weight : NULL};
  if (!t->data.pipeline.n_inputs && t->model->format == WML_FORMAT_CSV)
    assume_feeds(&spec, s);
  else
    wml_samples_feeds(s, t->model, &t->data.pipeline, spec.inputs, spec.targets);
  spec.augment = wml_augmentation_of(&t->options.augmentation);
  spec.n_classes = wml_pipeline_label_count(&t->data.pipeline);
  if (!t->device) return wml_step_build(&spec, &t->units[which].step);
  return wml_unit_create(t->device, t->store, &spec, &t->units[which]);
}

webml_status wml_trainer_plan(webml_trainer *t) {
  int64_t batch = t->options.batch_size, n = t->data.parts[WML_PART_TRAINING].n,
          v = t->data.parts[WML_PART_VALIDATION].n;
  if (t->device)
    WML_TRY(wml_from_result(t->device->backend->store_create(t->device->handle, &t->store)));
  /* The first plan lays out the store; a data set smaller than a batch is one partial batch. */
  bool full = n >= batch;
  WML_TRY(create_unit(t, WML_UNIT_TRAIN, WML_PART_TRAINING, WML_MODE_TRAIN, full ? batch : n));
  WML_TRY(
      create_unit(t, WML_UNIT_TRAIN_REST, WML_PART_TRAINING, WML_MODE_TRAIN, full ? n % batch : 0));
  WML_TRY(create_unit(t, WML_UNIT_EVALUATE, WML_PART_VALIDATION, WML_MODE_EVALUATE,
                      v >= batch ? batch : 0));
  return create_unit(t, WML_UNIT_EVALUATE_REST, WML_PART_VALIDATION, WML_MODE_EVALUATE, v % batch);
}

static bool has_unit(const webml_trainer *t, int which) {
  return t->units[which].step.graph.n_ops > 0;
}

/* ---- memory ---- */

static webml_status add_plans(const webml_trainer *t, webml_memory *plans) {
  for (int i = 0; i < WML_N_UNITS; i++) {
    if (!has_unit(t, i)) continue;
    if (t->device)
      wml_unit_memory(&t->units[i], i != WML_UNIT_TRAIN, plans);
    else
      WML_TRY(wml_estimate_memory(&t->units[i].step.graph, i != WML_UNIT_TRAIN, plans));
  }
  return WEBML_OK;
}

/* The arrays whose copies a device keeps already, in the order in which a training meets them. */
typedef struct kept_arrays {
  int n;
  const void *base[2 * WML_N_UNITS];
} kept_arrays;

static bool is_kept(const kept_arrays *k, const void *base) {
  for (int i = 0; i < k->n; i++)
    if (k->base[i] == base) return true;
  return false;
}

/* Rows on the device, when so many bytes are free after the plans are prepared. */
static size_t rows_memory(const webml_trainer *t, size_t available) {
  const wml_backend *backend = t->device->backend;
  kept_arrays kept = {0};
  size_t sum = 0;
  for (int i = 0; i < WML_N_UNITS && backend->feed_memory; i++) {
    const wml_unit *unit = &t->units[i];
    const wml_samples *s =
        &t->data.parts[i < WML_UNIT_EVALUATE ? WML_PART_TRAINING : WML_PART_VALIDATION];
    wml_feed feeds[2];
    if (!unit->plan) continue;
    wml_unit_feeds(unit, s->input, s->target, s->stored, feeds);
    for (int f = 0; f < 2; f++) {
      bool keeps;
      if (is_kept(&kept, feeds[f].base)) continue;
      size_t bytes = backend->feed_memory(unit->plan, &feeds[f],
                                          available > sum ? available - sum : 0, &keeps);
      if (keeps) kept.base[kept.n++] = feeds[f].base;
      sum += bytes;
    }
  }
  return sum;
}

/* Where no device was asked: what a GPU with little room would send rows through. */
static size_t rows_estimate(const webml_trainer *t) {
  const size_t most = (size_t)64 << 20;
  size_t sum = 0;
  for (int part = 0; part <= WML_PART_VALIDATION; part++) {
    const wml_samples *s = &t->data.parts[part];
    int64_t cells = s->input_cells ? s->input_cells : s->input_width;
    size_t row = (size_t)cells * wml_dtype_size(s->input_type) +
                 (size_t)s->target_width * wml_dtype_size(s->target_type);
    sum += (size_t)s->n * row;
  }
  return sum < most ? sum : most;
}

/* Copies of the weights (the best ones, a checkpoint's), the order of rows. */
static size_t host_memory(const webml_trainer *t) {
  size_t rows = (size_t)t->data.parts[WML_PART_TRAINING].n, batch = (size_t)t->options.batch_size;
  size_t bytes = wml_snapshot_bytes(t, WML_SNAPSHOT_WEIGHTS) + bookkeeping;
  if (t->options.checkpoint_path) bytes += wml_snapshot_bytes(t, WML_SNAPSHOT_ALL);
  return bytes + rows * sizeof *t->order + (rows / batch + 1) * sizeof *t->rates +
         rows / WML_SHUFFLE_PIECE * sizeof *t->pieces;
}

webml_status wml_trainer_need(const webml_trainer *t, webml_training_memory *need) {
  bool gpu = !t->device || !wml_device_shares_memory(t->device);
  *need = (webml_training_memory){.context = gpu ? gpu_context : 0, .estimated = !t->device};
  WML_TRY(add_plans(t, &need->plans));
  need->host = host_memory(t) + t->data.memory;
  if (!t->device) need->rows = rows_estimate(t);
  if (t->device && gpu) {
    size_t available = wml_device_available(t->device), plans = need->plans.total;
    need->rows = rows_memory(t, available > plans ? available - plans : 0);
  }
  need->total = need->plans.total + need->rows + need->context + (gpu ? 0 : need->host);
  return WEBML_OK;
}

webml_status wml_trainer_prepare(webml_trainer *t) {
  webml_memory plans = {0};
  WML_TRY(add_plans(t, &plans));
  WML_TRY(wml_check_memory(t->device, &plans, host_memory(t)));
  for (int i = 0; i < WML_N_UNITS; i++)
    if (t->units[i].plan) WML_TRY(wml_unit_prepare(&t->units[i]));
  return WEBML_OK;
}

/* ---- before a training ---- */

webml_status wml_trainer_assume(webml_trainer *t, const webml_train_options *options,
                                int64_t training, int64_t validation) {
  const webml_model *m = t->model;
  int64_t in = wml_model_input_elements(m), width = wml_model_output_elements(m);
  bool open = m->dynamic || in < 0 || width < 0;
  for (int i = 0; i < m->n_outputs; i++) open |= m->nodes[m->outputs[i].node].out.rank != 1;
  if (open)
    return wml_fail(WEBML_ERROR_MODEL, "the model has open sizes; shape it to a data set first");
  WML_TRY(wml_trainer_options(t, options));
  if (t->device) WML_TRY(webml_device_check(t->device, t->options.precision));
  bool images = m->format == WML_FORMAT_IMAGES, classes = images && width > 1;
  wml_samples like = {.input_type = images ? WML_U8 : WML_F32,
                      .input_width = in,
                      .target_type = classes ? WML_I32 : WML_F32,
                      .target_width = classes ? 1 : width};
  like.n = training;
  t->data.parts[WML_PART_TRAINING] = like;
  like.n = validation;
  t->data.parts[WML_PART_VALIDATION] = like;
  return WEBML_OK;
}

/* Full batches, and as many to validate with. */
static webml_status assume_batches(webml_trainer *t, const webml_train_options *options) {
  WML_TRY(wml_trainer_options(t, options));
  return wml_trainer_assume(t, options, t->options.batch_size, t->options.batch_size);
}

webml_status webml_trainer_memory(const webml_model *model, const webml_dataset *dataset,
                                  webml_device *device, const webml_train_options *options,
                                  webml_training_memory *memory) {
  if (!model || !memory)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_trainer_memory: model and memory must not be NULL");
  webml_trainer *t = NULL;
  WML_TRY(wml_trainer_new(model, device, &t));
  webml_status status =
      dataset ? wml_trainer_settle(t, dataset, options, false) : assume_batches(t, options);
  if (status == WEBML_OK) status = wml_trainer_plan(t);
  if (status == WEBML_OK) status = wml_trainer_need(t, memory);
  webml_trainer_destroy(t);
  return status;
}
