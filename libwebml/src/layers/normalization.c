/* Normalization over the last axis by given statistics: y = (x - mean) / max(sqrt(variance), 1e-7).
 * mean and variance are numbers, or lists with one for each feature. They lie in the weights file
 * as statistics that training leaves as they are, so that a network and what it was fed with stay
 * together; the variance is bounded there. */
#include "formats/onnx.h"
#include "plan/emission.h"

#include <math.h>

typedef struct normalization_options {
  wml_layer_options layer;
  int axis;
  wml_numbers mean, variance;
} normalization_options;

#define AT(member) offsetof(normalization_options, member)

static const wml_field fields[] = {
    {.key = "axis",
     .kind = WML_FIELD_INT,
     .offset = AT(axis),
     .low = -1,
     .high = 3,
     .otherwise = -1,
     .about = "The axis of the features: the last."},
    {.key = "mean",
     .kind = WML_FIELD_NUMBERS,
     .offset = AT(mean),
     .low = -1e30,
     .high = 1e30,
     .nullable = true,
     .about = "What is subtracted: one number, or one for each feature."},
    {.key = "variance",
     .kind = WML_FIELD_NUMBERS,
     .offset = AT(variance),
     .low = 0,
     .high = 1e30,
     .nullable = true,
     .about = "The square of what is divided by: one number, or one for each feature."},
    {.key = "invert", .kind = WML_FIELD_IGNORED, .word = "false"},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

enum { MEAN, VARIANCE };

static void check_axis(const wml_shaping *s, int axis, int rank) {
  if (axis == -1 || axis == rank) return;
  wml_issue(s->issues, s->place, "axis %d is not the last axis; only -1 or %d is supported", axis,
            rank);
  wml_issue_cure(s->issues, "set axis to -1");
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "axis", "-1");
}

static void check_numbers(const wml_shaping *s, const char *key, const wml_numbers *numbers,
                          int64_t c) {
  if (numbers->n > 1 && c > 0 && numbers->n != c)
    wml_issue(s->issues, s->place, "%s has %d numbers for %lld features", key, numbers->n,
              (long long)c);
}

static webml_status add_statistic(wml_shaping *s, const char *role, const wml_numbers *numbers,
                                  float least, int64_t c) {
  float *values = wml_arena_alloc(s->arena, (size_t)c * sizeof *values);
  if (!values) return wml_no_memory((size_t)c * sizeof *values, role);
  for (int64_t i = 0; i < c; i++) values[i] = fmaxf(numbers->items[numbers->n > 1 ? i : 0], least);
  return wml_shaping_param(s, role,
                           (wml_param){.rank = 1, .dim = {c}, .values = values, .statistic = true});
}

static webml_status shape(wml_shaping *s) {
  const normalization_options *o = s->options;
  const wml_shape *in = &s->in[0];
  int before = s->issues->count;
  int64_t c = in->dim[in->rank - 1], n = wml_shape_elements(in);
  s->out = *in;
  check_axis(s, o->axis, in->rank);
  if (!o->mean.n || !o->variance.n) {
    wml_issue(s->issues, s->place,
              "needs mean and variance: statistics are not taken from the training data");
    wml_issue_cure(s->issues, "set mean and variance to those of the data, numbers or lists of one "
                              "for each feature, or use BatchNormalization");
  }
  check_numbers(s, "mean", &o->mean, c);
  check_numbers(s, "variance", &o->variance, c);
  if (c <= 0 || s->issues->count > before) return WEBML_OK;
  if (n > 0) s->flops = 2.0 * (double)n;
  WML_TRY(add_statistic(s, "mean", &o->mean, -INFINITY, c));
  return add_statistic(s, "variance", &o->variance, 1e-14f, c);
}

/* ---- a step ---- */

static wml_op *normalize(wml_emission *e, wml_op_kind kind, int x, const char *prefix) {
  wml_op *op = wml_emit_unary(e, kind, x, prefix, &e->node->out);
  op->in[3] = e->param[MEAN];
  op->in[4] = e->param[VARIANCE];
  return op;
}

static int forward(wml_emission *e) {
  return normalize(e, WML_OP_BATCHNORM_INFER, e->in[0], "out/")->out[0];
}

static void backward(wml_emission *e, int dy) {
  if (!wml_emit_wants(e, 0)) return;
  wml_op *op = normalize(e, WML_OP_BATCHNORM_BWD_INFER, dy, "dx/");
  op->in[1] = e->in[0];
  wml_emit_gradient(e, 0, op->out[0]);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const wml_named_tensor *mean = wml_onnx_param(c, "mean"),
                         *variance = wml_onnx_param(c, "variance");
  int64_t n = mean->dim[0];
  float *deviation = wml_alloc((size_t)n * sizeof *deviation);
  if (!deviation) return wml_no_memory((size_t)n * sizeof *deviation, "an export");
  for (int64_t i = 0; i < n; i++) deviation[i] = sqrtf(variance->data[i]);
  const char *x = wml_onnx_input(c, 0, false);
  x = wml_onnx_binary(c, "Sub", x, wml_onnx_floats(c, mean->name, 1, &n, mean->data));
  x = wml_onnx_binary(c, "Div", x, wml_onnx_floats(c, "deviation", 1, &n, deviation));
  wml_free(deviation);
  return wml_onnx_result(c, x, false);
}

const wml_layer_class wml_layer_normalization = {
    .name = "Normalization",
    .snake = "normalization",
    .about = "Brings features to mean 0 and deviation 1 by numbers that are given.",
    .options_size = sizeof(normalization_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx};
