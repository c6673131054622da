/* Evaluation of a data set: loss, metrics, and the report. */
#include "data/tally.h"
#include "predict/predictor.h"

#include <math.h>
#include <string.h>
#include <time.h>

static const char *const part_names[] = {"training", "validation", "test"};

enum { MOST_CLASSES = 4096 }; /* of a confusion matrix */

typedef struct tally {
  wml_tally classes;                            /* of outputs that are classes */
  double *absolute, *square, *sum, *sum_square; /* per output, in its unit */
  double *hits;                                 /* per output that is a class or a yes or no */
  double *results;
  float *predictions; /* of one batch */
  float *target;      /* one row, expanded */
  const webml_dataset *dataset;
  int part;
  const webml_evaluate_options *options;
  int64_t done, samples;
  double told; /* when */
} tally;

static void count_row(const webml_predictor *p, const wml_samples *s, int64_t row, const float *y,
                      tally *a) {
  const wml_pipeline *pipeline = &p->weights.pipeline;
  if (a->classes.classes) {
    wml_tally_row(&a->classes, s, row, y, p->output_width);
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
    a->hits[i] += said == truth;
    a->absolute[i] += fabs(said - truth);
    a->square[i] += (said - truth) * (said - truth);
    a->sum[i] += truth;
    a->sum_square[i] += truth * truth;
    target += e->width;
    y += e->width;
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void tell(tally *a, int64_t more) {
  const webml_evaluate_options *o = a->options;
  double at = o->progress ? now() : 0.0;
  a->done += more;
  if (!o->progress || (a->done < a->samples && at - a->told < o->progress_seconds)) return;
  a->told = at;
  o->progress(a->done, a->samples, o->user);
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
    WML_TRY(wml_predictor_read(p, unit, a->predictions));
    for (int64_t r = 0; r < batch; r++)
      count_row(p, s, wml_sample_row(s, first + i * batch + r),
                a->predictions + r * p->output_width, a);
    tell(a, batch);
  }
  return WEBML_OK;
}

static double ratio(double a, double b) {
  return b > 0.0 ? a / b : 0.0;
}

static void write_classes(const webml_predictor *p, const tally *a, wml_text *t) {
  int n = a->classes.classes;
  const int64_t *confusion = a->classes.confusion;
  char name[WML_NUMBER_BYTES];
  wml_json_key(t, "confusion");
  wml_json_open(t, '[');
  for (int i = 0; i < n; i++) {
    wml_json_open(t, '[');
    for (int k = 0; k < n; k++) wml_json_int(t, confusion[(int64_t)i * n + k]);
    wml_json_close(t, ']');
  }
  wml_json_close(t, ']');
  wml_json_key(t, "per_class");
  wml_json_open(t, '[');
  for (int c = 0; c < n; c++) {
    double truth = 0.0, said = 0.0, hits = (double)confusion[(int64_t)c * n + c];
    for (int k = 0; k < n; k++)
      truth += (double)confusion[(int64_t)c * n + k], said += (double)confusion[(int64_t)k * n + c];
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
  for (int i = 0; i < a->classes.n; i++) {
    const webml_mistake *m = &a->classes.mistakes[i];
    wml_json_open(t, '{');
    wml_json_key(t, "picture"); /* for webml_dataset_picture() */
    wml_json_int(t, m->sample);
    wml_json_key(t, "file");
    wml_json_string(t, wml_picture_name(&a->dataset->pictures, m->sample, name, sizeof name));
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

static void write_errors(const tally *a, int i, double n, wml_text *t) {
  double total = a->sum_square[i] - a->sum[i] * a->sum[i] / n;
  wml_json_key(t, "mae");
  wml_json_number(t, a->absolute[i] / n);
  wml_json_key(t, "rmse");
  wml_json_number(t, sqrt(a->square[i] / n));
  wml_json_key(t, "r2");
  wml_json_number(t, total > 0.0 ? 1.0 - a->square[i] / total : 0.0);
}

static void write_outputs(const webml_predictor *p, const tally *a, double n, wml_text *t) {
  wml_json_key(t, "outputs");
  wml_json_open(t, '[');
  for (int i = 0; i < p->weights.pipeline.n_outputs; i++) {
    const wml_encoder *e = &p->weights.pipeline.outputs[i];
    wml_json_open(t, '{');
    wml_json_key(t, "name");
    wml_json_string(t, e->column);
    if (e->encoding == WML_ENCODE_ONE_HOT) {
      wml_json_key(t, "accuracy");
      wml_json_number(t, a->hits[i] / n);
    } else
      write_errors(a, i, n, t);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

static void write_report(const webml_predictor *p, const wml_step *step, const wml_samples *s,
                         const tally *a, wml_text *t) {
  double values[WEBML_MAX_METRICS];
  wml_json_open(t, '{');
  wml_json_key(t, "part");
  wml_json_string(t, part_names[a->part]);
  wml_json_key(t, "samples");
  wml_json_int(t, s->n);
  wml_json_key(t, "loss");
  wml_json_number(t, a->results[WML_RESULT_LOSS] / a->results[WML_RESULT_COUNT]);
  wml_json_key(t, "metrics");
  wml_json_open(t, '{');
  wml_step_metrics(step, a->results, values);
  for (int i = 0; i < step->n_metrics; i++) {
    wml_json_key(t, step->metrics[i].name);
    wml_json_number(t, values[i]);
  }
  wml_json_close(t, '}');
  if (a->classes.confusion)
    write_classes(p, a, t);
  else if (!a->classes.classes)
    write_outputs(p, a, (double)s->n, t);
  if (p->weights.pipeline.format == WML_FORMAT_IMAGES) write_mistakes(p, a, t);
  wml_json_close(t, '}');
}

static webml_status evaluate_samples(webml_predictor *p, const wml_samples *s, tally *a,
                                     wml_text *text) {
  int64_t batch = p->max_batch, rest = s->n % batch;
  wml_step_spec spec = {.model = p->weights.model,
                        .mode = WML_MODE_EVALUATE,
                        .precision = p->precision,
                        .quantization = p->quantization};
  wml_samples_feeds(s, p->weights.model, &p->weights.pipeline, spec.inputs, spec.targets);
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

/* The samples of one part: by itself the one for validation, or all where there is none. */
static webml_status load_part(const webml_predictor *p, const webml_dataset *dataset,
                              webml_part part, wml_loaded *data, const wml_samples **samples,
                              int *loaded) {
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
  *loaded = which;
  if ((*samples)->n) return WEBML_OK;
  wml_loaded_free(data);
  return wml_fail(WEBML_ERROR_DATA, "%s has no %s part", dataset->path, names[part]);
}

webml_status wml_evaluate(webml_predictor *p, const webml_dataset *dataset,
                          const webml_evaluate_options *options, wml_text *text) {
  wml_loaded data;
  const wml_samples *s = NULL;
  int classes = wml_pipeline_classes_of(&p->weights.pipeline);
  bool images = p->weights.pipeline.format == WML_FORMAT_IMAGES;
  tally a = {.classes = {.classes = classes, .most = images ? WML_MOST_MISTAKES : 0},
             .dataset = dataset,
             .options = options};
  WML_TRY(load_part(p, dataset, options->part, &data, &s, &a.part));
  size_t outputs = (size_t)p->weights.pipeline.n_outputs, n = (size_t)classes;
  double *sums = wml_calloc(5 * outputs + 1, sizeof *sums);
  bool counts = classes > 0 && classes <= MOST_CLASSES;
  if (counts) a.classes.confusion = wml_calloc(n * n, sizeof *a.classes.confusion);
  a.samples = s->n;
  a.predictions = wml_alloc((size_t)p->max_batch * (size_t)p->output_width * sizeof *a.predictions);
  a.target = wml_alloc((size_t)p->output_width * sizeof *a.target);
  webml_status status = sums && (a.classes.confusion || !counts) && a.predictions && a.target
                            ? WEBML_OK
                            : wml_no_memory(outputs * 40 + (counts ? n * n * 8 : 0), "the report");
  if (status == WEBML_OK) {
    a.absolute = sums, a.square = sums + outputs, a.sum = sums + 2 * outputs,
    a.sum_square = sums + 3 * outputs, a.hits = sums + 4 * outputs;
    status = evaluate_samples(p, s, &a, text);
  }
  wml_free(sums);
  wml_free(a.classes.confusion);
  wml_free(a.predictions);
  wml_free(a.target);
  wml_free(a.results);
  wml_loaded_free(&data);
  return status;
}
