/* BatchNormalization over the last axis: y = gamma (x - mean) / sqrt(variance + epsilon) + beta.
 * Training uses the batch's mean and biased variance, prediction the moving ones. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct norm_options {
  wml_layer_options layer;
  float momentum, epsilon;
  bool center, scale;
  int axis;
  wml_initializer beta, gamma, mean, variance;
  wml_regularizer beta_regularizer, gamma_regularizer;
  wml_constraint beta_constraint, gamma_constraint;
} norm_options;

#define AT(member) offsetof(norm_options, member)

static const wml_field fields[] = {
    {.key = "momentum",
     .kind = WML_FIELD_FLOAT,
     .offset = AT(momentum),
     .low = 0,
     .high = 1,
     .otherwise = 0.99,
     .about = "How slowly the moving mean and variance forget."},
    {.key = "epsilon",
     .kind = WML_FIELD_FLOAT,
     .offset = AT(epsilon),
     .low = 1e-12,
     .high = 1,
     .otherwise = 1e-3,
     .about = "A small number that is added to the variance."},
    {.key = "axis",
     .kind = WML_FIELD_INT,
     .offset = AT(axis),
     .low = -1,
     .high = 3,
     .otherwise = -1,
     .about = "The axis of the channels: the last."},
    {.key = "center",
     .kind = WML_FIELD_BOOL,
     .offset = AT(center),
     .otherwise = 1,
     .about = "Whether a learned shift is added."},
    {.key = "scale",
     .kind = WML_FIELD_BOOL,
     .offset = AT(scale),
     .otherwise = 1,
     .about = "Whether a learned factor is multiplied."},
    {.key = "beta_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(beta),
     .word = "zeros",
     .about = "How the shifts are set before training."},
    {.key = "gamma_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(gamma),
     .word = "ones",
     .about = "How the factors are set before training."},
    {.key = "moving_mean_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(mean),
     .word = "zeros",
     .about = "What the moving mean begins with."},
    {.key = "moving_variance_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(variance),
     .word = "ones",
     .about = "What the moving variance begins with."},
    {.key = "beta_regularizer",
     .kind = WML_FIELD_REGULARIZER,
     .offset = AT(beta_regularizer),
     .nullable = true,
     .about = "A penalty on large shifts that is added to the loss."},
    {.key = "gamma_regularizer",
     .kind = WML_FIELD_REGULARIZER,
     .offset = AT(gamma_regularizer),
     .nullable = true,
     .about = "A penalty on large factors that is added to the loss."},
    WML_CONSTRAINT_FIELD("beta", norm_options, beta_constraint,
                         "What the shifts must keep to after each update."),
    WML_CONSTRAINT_FIELD("gamma", norm_options, gamma_constraint,
                         "What the factors must keep to after each update."),
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* Indices of the parameters, -1 where the layer has none. */
static int gamma_index(const norm_options *o) {
  return o->scale ? 0 : -1;
}
static int beta_index(const norm_options *o) {
  return o->center ? (o->scale ? 1 : 0) : -1;
}
static int mean_index(const norm_options *o) {
  return (o->scale ? 1 : 0) + (o->center ? 1 : 0);
}

static webml_status add_params(wml_shaping *s, const norm_options *o, int64_t c) {
  if (o->scale)
    WML_TRY(wml_shaping_param(s, "gamma",
                              (wml_param){.rank = 1,
                                          .dim = {c},
                                          .initializer = o->gamma,
                                          .regularizer = o->gamma_regularizer,
                                          .constraint = o->gamma_constraint}));
  if (o->center)
    WML_TRY(wml_shaping_param(s, "beta",
                              (wml_param){.rank = 1,
                                          .dim = {c},
                                          .initializer = o->beta,
                                          .regularizer = o->beta_regularizer,
                                          .constraint = o->beta_constraint}));
  WML_TRY(wml_shaping_param(
      s, "moving_mean",
      (wml_param){.rank = 1, .dim = {c}, .initializer = o->mean, .statistic = true}));
  return wml_shaping_param(
      s, "moving_variance",
      (wml_param){.rank = 1, .dim = {c}, .initializer = o->variance, .statistic = true});
}

static webml_status shape(wml_shaping *s) {
  const norm_options *o = s->options;
  const wml_shape *in = &s->in[0];
  int before = s->issues->count;
  int64_t c = in->dim[in->rank - 1];
  s->out = *in;
  if (o->axis != -1 && o->axis != in->rank) {
    wml_issue(s->issues, s->place, "axis %d is not the last axis; only -1 or %d is supported",
              o->axis, in->rank);
    wml_issue_cure(s->issues, "set axis to -1");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "axis", "-1");
  }
  if (c <= 0 || s->issues->count > before) return WEBML_OK;
  int64_t n = wml_shape_elements(in);
  if (n > 0) s->flops = 2.0 * (double)n;
  return add_params(s, o, c);
}

/* ---- a step ---- */

static int param_of(const wml_emission *e, int k) {
  return k < 0 ? -1 : e->param[k];
}

/* Operands 1 to 4 of all its operations. kept: mean and variance of the batch. */
static void set_operands(const wml_emission *e, wml_op *op) {
  const norm_options *o = e->options;
  int mean = mean_index(o);
  op->in[1] = param_of(e, gamma_index(o));
  op->in[2] = param_of(e, beta_index(o));
  op->in[3] = e->param[mean];
  op->in[4] = e->param[mean + 1];
  op->u.batchnorm.momentum = o->momentum;
  op->u.batchnorm.epsilon = o->epsilon;
}

static int forward(wml_emission *e) {
  bool batch_statistics = e->trains && e->layer->trainable; /* frozen: as in prediction */
  int y = wml_emit_value(e, "out/", &e->node->out);
  if (batch_statistics) {
    const wml_shape *in = wml_emit_in_shape(e, 0);
    e->kept[0] = wml_emit_tensor(e, "mean/", 1, &in->dim[in->rank - 1]);
    e->kept[1] = wml_emit_tensor(e, "variance/", 1, &in->dim[in->rank - 1]);
  }
  wml_op *op = wml_emit_op(e, batch_statistics ? WML_OP_BATCHNORM_TRAIN : WML_OP_BATCHNORM_INFER);
  set_operands(e, op);
  op->in[0] = e->in[0];
  op->out[0] = y;
  op->out[1] = e->kept[0];
  op->out[2] = e->kept[1];
  return y;
}

static void backward(wml_emission *e, int dy) {
  const norm_options *o = e->options;
  bool batch_statistics = e->kept[0] >= 0;
  int dgamma = wml_emit_param_gradient(e, gamma_index(o)),
      dbeta = wml_emit_param_gradient(e, beta_index(o)),
      dx = wml_emit_wants(e, 0) ? wml_emit_value(e, "dx/", wml_emit_in_shape(e, 0)) : -1;
  if (dx < 0 && dgamma < 0 && dbeta < 0) return;
  wml_op *op = wml_emit_op(e, batch_statistics ? WML_OP_BATCHNORM_BWD : WML_OP_BATCHNORM_BWD_INFER);
  set_operands(e, op);
  op->in[0] = dy;
  op->in[2] = op->in[1];
  op->in[1] = e->in[0];
  if (batch_statistics) {
    op->in[3] = e->kept[0];
    op->in[4] = e->kept[1];
  }
  op->out[0] = dx;
  op->out[1] = dgamma;
  op->out[2] = dbeta;
  wml_emit_gradient(e, 0, dx);
}

/* ---- exports ---- */

/* A vector that the layer does not have is ones or zeros. */
static webml_status vector(wml_onnx_call *c, const char *role, float otherwise, const char **name) {
  const wml_named_tensor *t = wml_onnx_param(c, role);
  const wml_shape *in = wml_onnx_shape(c, 0);
  int64_t n = in->dim[in->rank - 1];
  float *values = wml_alloc((size_t)n * sizeof *values);
  if (!values) return wml_no_memory((size_t)n * sizeof *values, role);
  for (int64_t i = 0; i < n; i++) values[i] = t ? t->data[i] : otherwise;
  *name = wml_onnx_floats(c, role, 1, &n, values);
  wml_free(values);
  return WEBML_OK;
}

static webml_status onnx(wml_onnx_call *c) {
  const char *gamma, *beta, *mean, *variance, *x;
  WML_TRY(vector(c, "gamma", 1.0f, &gamma));
  WML_TRY(vector(c, "beta", 0.0f, &beta));
  WML_TRY(vector(c, "moving_mean", 0.0f, &mean));
  WML_TRY(vector(c, "moving_variance", 1.0f, &variance));
  x = wml_onnx_input(c, 0, true);
  wml_onnx_float(c, "epsilon", ((const norm_options *)c->options)->epsilon);
  x = wml_onnx_node(c, "BatchNormalization",
                    (const char *[]){x, gamma, beta, mean, variance, NULL});
  return wml_onnx_result(c, x, true);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const norm_options *o = c->options;
  wml_tfjs_int(c, "axis", -1);
  wml_tfjs_number(c, "momentum", (double)o->momentum);
  wml_tfjs_number(c, "epsilon", (double)o->epsilon);
  wml_tfjs_flag(c, "center", o->center);
  wml_tfjs_flag(c, "scale", o->scale);
  return WEBML_OK;
}

const wml_layer_class wml_layer_batch_normalization = {
    .name = "BatchNormalization",
    .snake = "batch_normalization",
    .about =
        "Brings each channel to mean 0 and deviation 1, so that training is faster and steadier.",
    .options_size = sizeof(norm_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
