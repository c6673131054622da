/* Evaluation of a data set: loss, metrics, and the report. */
#include "data/dataset.h"
#include "predict/predictor.h"

#include <math.h>
#include <string.h>

enum { MISTAKES = 25 };

typedef struct mistake {
  int64_t picture;
  int truth, said;
  double probability; /* of what was said */
} mistake;

typedef struct tally {
  int classes;                                  /* 0: no confusion matrix */
  int64_t *confusion;                           /* [truth, said] */
  double *absolute, *square, *sum, *sum_square; /* per output, in its unit */
  double *results;
  float *predictions; /* of one batch */
  float *target;      /* one row, expanded */
  const webml_dataset *dataset;
  int n_mistakes;
  mistake mistakes[MISTAKES]; /* of pictures: the surest first */
} tally;

static int said_class(const float *y, int64_t width) {
  return width == 1 ? (y[0] > 0.5f ? 1 : 0) : (int)wml_argmax(y, (long)width);
}

static void note_mistake(tally *a, mistake m) {
  if (a->n_mistakes == MISTAKES && m.probability <= a->mistakes[MISTAKES - 1].probability) return;
  int at = a->n_mistakes < MISTAKES ? a->n_mistakes++ : MISTAKES - 1;
  for (; at > 0 && a->mistakes[at - 1].probability < m.probability; at--)
    a->mistakes[at] = a->mistakes[at - 1];
  a->mistakes[at] = m;
}

static void count_class(const webml_predictor *p, const wml_samples *s, int64_t row, const float *y,
                        tally *a) {
  int truth = s->target_type == WML_I32 ? ((const int32_t *)s->target)[row]
                                        : (int)((const float *)s->target)[row];
  int said = said_class(y, p->output_width);
  a->confusion[truth * a->classes + said]++;
  if (said == truth || p->weights.pipeline.format != WML_FORMAT_IMAGES) return;
  double probability = (double)(p->output_width == 1 ? (said ? y[0] : 1.0f - y[0]) : y[said]);
  note_mistake(a, (mistake){row, truth, said, probability});
}

static void count_row(const webml_predictor *p, const wml_samples *s, int64_t row, const float *y,
                      tally *a) {
  const wml_pipeline *pipeline = &p->weights.pipeline;
  if (a->classes) {
    count_class(p, s, row, y, a);
    return;
  }
  int64_t cells = s->target_cells ? s->target_cells : s->target_width;
  const float *target = (const float *)s->target + row * cells;
  if (s->target_cells) {
    wml_expand_row(target, s->target_widths, (long)cells, a->target);
    target = a->target;
  }
  for (int i = 0; i < pipeline->n_outputs; i++) {
    const wml_encoder *e = &pipeline->outputs[i];
    double truth = wml_decode_number(e, target), said = wml_decode_number(e, y);
    a->absolute[i] += fabs(said - truth);
    a->square[i] += (said - truth) * (said - truth);
    a->sum[i] += truth;
    a->sum_square[i] += truth * truth;
    target += e->width;
    y += e->width;
  }
}

static webml_status run_part(webml_predictor *p, wml_unit *unit, const wml_samples *s,
                             int64_t first, int64_t steps, tally *a) {
  int64_t batch = unit->step.graph.batch;
  wml_feed feeds[2];
  wml_unit_feeds(unit, s->input, s->target, s->stored, feeds);
  for (int64_t i = 0; i < steps; i++) {
    wml_run run = {.n_steps = 1,
                   .rows = s->rows ? s->rows + first + i * batch : NULL,
                   .first_row = first + i * batch,
                   .n_feeds = 2,
                   .feeds = feeds,
                   .results = a->results};
    WML_TRY(wml_from_result(p->device->backend->run(unit->plan, &run)));
    WML_TRY(
        wml_from_result(p->device->backend->read(unit->plan, unit->step.output, a->predictions)));
    for (int64_t r = 0; r < batch; r++)
      count_row(p, s, wml_sample_row(s, first + i * batch + r),
                a->predictions + r * p->output_width, a);
  }
  return WEBML_OK;
}

static double ratio(double a, double b) {
  return b > 0.0 ? a / b : 0.0;
}

static void write_classes(const webml_predictor *p, const tally *a, wml_text *t) {
  int n = a->classes;
  char name[WML_NUMBER_BYTES];
  wml_json_key(t, "confusion");
  wml_json_open(t, '[');
  for (int i = 0; i < n; i++) {
    wml_json_open(t, '[');
    for (int k = 0; k < n; k++) wml_json_int(t, a->confusion[i * n + k]);
    wml_json_close(t, ']');
  }
  wml_json_close(t, ']');
  wml_json_key(t, "per_class");
  wml_json_open(t, '[');
  for (int c = 0; c < n; c++) {
    double truth = 0.0, said = 0.0, hits = (double)a->confusion[c * n + c];
    for (int k = 0; k < n; k++)
      truth += (double)a->confusion[c * n + k], said += (double)a->confusion[k * n + c];
    double precision = ratio(hits, said), recall = ratio(hits, truth);
    wml_json_open(t, '{');
    wml_json_key(t, "class");
    wml_json_string(t, wml_pipeline_class_name(&p->weights.pipeline, c, name));
    wml_json_key(t, "samples");
    wml_json_int(t, (long long)truth);
    wml_json_key(t, "precision");
    wml_json_number(t, precision);
    wml_json_key(t, "recall");
    wml_json_number(t, recall);
    wml_json_key(t, "f1");
    wml_json_number(t, ratio(2.0 * precision * recall, precision + recall));
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

static void write_mistakes(const webml_predictor *p, const tally *a, wml_text *t) {
  char name[512], class[WML_NUMBER_BYTES];
  wml_json_key(t, "mistakes");
  wml_json_open(t, '[');
  for (int i = 0; i < a->n_mistakes; i++) {
    const mistake *m = &a->mistakes[i];
    wml_json_open(t, '{');
    wml_json_key(t, "picture"); /* for webml_dataset_picture() */
    wml_json_int(t, m->picture);
    wml_json_key(t, "file");
    wml_json_string(t, wml_picture_name(&a->dataset->pictures, m->picture, name, sizeof name));
    wml_json_key(t, "class");
    wml_json_string(t, wml_pipeline_class_name(&p->weights.pipeline, m->truth, class));
    wml_json_key(t, "said");
    wml_json_string(t, wml_pipeline_class_name(&p->weights.pipeline, m->said, class));
    wml_json_key(t, "probability");
    wml_json_number(t, m->probability);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

static void write_numbers(const webml_predictor *p, const tally *a, double n, wml_text *t) {
  wml_json_key(t, "outputs");
  wml_json_open(t, '[');
  for (int i = 0; i < p->weights.pipeline.n_outputs; i++) {
    double total = a->sum_square[i] - a->sum[i] * a->sum[i] / n;
    wml_json_open(t, '{');
    wml_json_key(t, "name");
    wml_json_string(t, p->weights.pipeline.outputs[i].column);
    wml_json_key(t, "mae");
    wml_json_number(t, a->absolute[i] / n);
    wml_json_key(t, "rmse");
    wml_json_number(t, sqrt(a->square[i] / n));
    wml_json_key(t, "r2");
    wml_json_number(t, total > 0.0 ? 1.0 - a->square[i] / total : 0.0);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

static void write_report(const webml_predictor *p, const wml_step *step, const wml_samples *s,
                         const tally *a, wml_text *t) {
  double values[WEBML_MAX_METRICS];
  wml_json_open(t, '{');
  wml_json_key(t, "samples");
  wml_json_int(t, s->n);
  wml_json_key(t, "loss");
  wml_json_number(t, a->results[WML_RESULT_LOSS] / a->results[WML_RESULT_COUNT]);
  wml_json_key(t, "metrics");
  wml_json_open(t, '{');
  wml_step_metrics(step, a->results, values);
  for (int i = 0; i < step->n_metrics; i++) {
    wml_json_key(t, p->weights.model->metrics[i].name);
    wml_json_number(t, values[i]);
  }
  wml_json_close(t, '}');
  if (a->classes)
    write_classes(p, a, t);
  else
    write_numbers(p, a, (double)s->n, t);
  if (p->weights.pipeline.format == WML_FORMAT_IMAGES) write_mistakes(p, a, t);
  wml_json_close(t, '}');
}

static webml_status evaluate_samples(webml_predictor *p, const wml_samples *s, tally *a,
                                     wml_text *text) {
  int64_t batch = p->max_batch, rest = s->n % batch;
  wml_step_spec spec = {.model = p->weights.model,
                        .mode = WML_MODE_EVALUATE,
                        .input = s->input_type,
                        .target = s->target_type,
                        .target_width = s->target_width,
                        .input_widths = s->input_widths,
                        .target_widths = s->target_widths,
                        .n_input_cells = s->input_cells,
                        .n_target_cells = s->target_cells,
                        .precision = p->precision,
                        .quantization = p->quantization};
  wml_unit units[2] = {{0}, {0}};
  webml_status status = WEBML_OK;
  for (int i = 0; i < 2 && status == WEBML_OK; i++) {
    spec.batch = i == 0 ? batch : rest;
    if ((i == 0 && s->n < batch) || spec.batch == 0) continue;
    status = wml_unit_create(p->device, p->store, &spec, &units[i]);
    if (status == WEBML_OK) status = wml_unit_prepare(&units[i]);
  }
  const wml_step *step = &units[units[0].plan ? 0 : 1].step;
  if (status == WEBML_OK &&
      !(a->results = wml_calloc((size_t)step->graph.n_results, sizeof *a->results)))
    status = wml_no_memory(1, "results");
  if (status == WEBML_OK && units[0].plan) status = run_part(p, &units[0], s, 0, s->n / batch, a);
  if (status == WEBML_OK && units[1].plan)
    status = run_part(p, &units[1], s, s->n / batch * batch, 1, a);
  if (status == WEBML_OK) write_report(p, step, s, a, text);
  wml_unit_destroy(&units[0]);
  wml_unit_destroy(&units[1]);
  return status;
}

/* One label, or one binary column, is reported by classes; anything else as numbers. */
static int classes_of(const wml_pipeline *p) {
  if (p->format == WML_FORMAT_IMAGES) return p->n_classes;
  if (p->n_outputs != 1 || wml_encoder_is_number(&p->outputs[0])) return 0;
  return wml_pipeline_label_count(p);
}

/* The samples of one part: by itself the one for validation, or all where there is none. */
static webml_status load_part(const webml_predictor *p, const webml_dataset *dataset,
                              webml_part part, wml_loaded *data, const wml_samples **samples) {
  static const char *const names[] = {"validation", "training", "validation", "test"};
  static const int parts[] = {WML_PART_VALIDATION, WML_PART_TRAINING, WML_PART_VALIDATION,
                              WML_PART_TEST};
  if (part > WEBML_PART_TEST)
    return wml_fail(WEBML_ERROR_ARGUMENT, "part %d is none of webml_part", (int)part);
  int which = parts[part];
  WML_TRY(wml_dataset_load(dataset, p->weights.model, &p->weights.pipeline, 1u << which, data));
  if (part == WEBML_PART_AUTO && data->parts[which].n == 0) {
    wml_loaded_free(data);
    which = WML_PART_TRAINING;
    WML_TRY(wml_dataset_load(dataset, p->weights.model, &p->weights.pipeline, 1u << which, data));
  }
  *samples = &data->parts[which];
  if ((*samples)->n) return WEBML_OK;
  wml_loaded_free(data);
  return wml_fail(WEBML_ERROR_DATA, "%s has no %s part", dataset->path, names[part]);
}

webml_status wml_evaluate(webml_predictor *p, const webml_dataset *dataset, webml_part part,
                          wml_text *text) {
  wml_loaded data;
  const wml_samples *s = NULL;
  WML_TRY(load_part(p, dataset, part, &data, &s));
  size_t outputs = (size_t)p->weights.pipeline.n_outputs;
  tally a = {.classes = classes_of(&p->weights.pipeline), .dataset = dataset};
  double *sums = wml_calloc(4 * outputs + 1, sizeof *sums);
  a.confusion = wml_calloc((size_t)a.classes * (size_t)a.classes + 1, sizeof *a.confusion);
  a.predictions = wml_alloc((size_t)p->max_batch * (size_t)p->output_width * sizeof *a.predictions);
  a.target = wml_alloc((size_t)p->output_width * sizeof *a.target);
  webml_status status = sums && a.confusion && a.predictions && a.target
                            ? WEBML_OK
                            : wml_no_memory(outputs * 32, "the report");
  if (status == WEBML_OK) {
    a.absolute = sums, a.square = sums + outputs, a.sum = sums + 2 * outputs,
    a.sum_square = sums + 3 * outputs;
    status = evaluate_samples(p, s, &a, text);
  }
  wml_free(sums);
  wml_free(a.confusion);
  wml_free(a.predictions);
  wml_free(a.target);
  wml_free(a.results);
  wml_loaded_free(&data);
  return status;
}
