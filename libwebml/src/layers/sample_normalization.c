/* LayerNormalization, GroupNormalization, RMSNormalization and UnitNormalization: of the input's
 * shape; each sample is normalised by itself, formulas in kernels/common/norm.h.
 * - LayerNormalization over the last axis, or over all axes of the sample;
 * - GroupNormalization over all places and the channels of a group;
 * - RMSNormalization (Zhang and Sennrich 2019) over the last axis, without a mean;
 * - UnitNormalization divides by the length of the last axis.
 * One file, since the four are one operation with other groups. Names and defaults: Keras 3's. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <stdio.h>

typedef struct norm_options {
  wml_layer_options layer;
  wml_ints axes; /* LayerNormalization */
  int axis;      /* of the others */
  int groups;
  float epsilon;
  bool center, scale, rms_scaling;
  wml_initializer beta, gamma;
  wml_regularizer beta_regularizer, gamma_regularizer;
} norm_options;

/* What tells the classes from one another. */
typedef struct norming {
  wml_norm_kind kind;
  bool by_groups, by_axes;
  const char *always; /* the factor's name where there always is one */
  float epsilon;      /* where no option says it */
} norming;

static const norming of_layer = {.kind = WML_NORM_MEAN_VARIANCE, .by_axes = true},
                     of_group = {.kind = WML_NORM_MEAN_VARIANCE, .by_groups = true},
                     of_rms = {.kind = WML_NORM_ROOT_MEAN_SQUARE, .always = "scale"},
                     of_unit = {.kind = WML_NORM_UNIT, .epsilon = 1e-12f};

/* ---- options ---- */

#define AT(member) offsetof(norm_options, member)
#define AXIS_FIELD                                                                                 \
  {                                                                                                \
    .key = "axis", .kind = WML_FIELD_INT, .offset = AT(axis), .low = -1, .high = 3,                \
    .otherwise = -1, .about = "The axis of the features: the last."                                \
  }
#define EPSILON_FIELD(value)                                                                       \
  {                                                                                                \
    .key = "epsilon", .kind = WML_FIELD_FLOAT, .offset = AT(epsilon), .low = 1e-12, .high = 1,     \
    .otherwise = value, .about = "A small number that is added to the variance."                   \
  }
#define CENTER_AND_SCALE_FIELDS                                                                    \
  {.key = "center",                                                                                \
   .kind = WML_FIELD_BOOL,                                                                         \
   .offset = AT(center),                                                                           \
   .otherwise = 1,                                                                                 \
   .about = "Whether a learned shift is added."},                                                  \
      {.key = "scale",                                                                             \
       .kind = WML_FIELD_BOOL,                                                                     \
       .offset = AT(scale),                                                                        \
       .otherwise = 1,                                                                             \
       .about = "Whether a learned factor is multiplied."},                                        \
      WML_INITIALIZER_FIELD("beta", norm_options, beta, "zeros",                                   \
                            "How the shifts are set before training."),                            \
      WML_INITIALIZER_FIELD("gamma", norm_options, gamma, "ones",                                  \
                            "How the factors are set before training."),                           \
      WML_REGULARIZER_FIELD("beta", norm_options, beta_regularizer,                                \
                            "A penalty on large shifts that is added to the loss."),               \
      WML_REGULARIZER_FIELD("gamma", norm_options, gamma_regularizer,                              \
                            "A penalty on large factors that is added to the loss."),              \
      {.key = "beta_constraint", .kind = WML_FIELD_IGNORED, .word = "null"}, {                     \
    .key = "gamma_constraint", .kind = WML_FIELD_IGNORED, .word = "null"                           \
  }

static const wml_field layer_fields[] = {
    {.key = "axis",
     .kind = WML_FIELD_INTS,
     .offset = AT(axes),
     .low = -3,
     .high = 3,
     .about = "The axes that are normalised together: -1, the last, or all of the sample."},
    EPSILON_FIELD(1e-3),
    CENTER_AND_SCALE_FIELDS,
    {.key = "rms_scaling",
     .kind = WML_FIELD_BOOL,
     .offset = AT(rms_scaling),
     .about = "Not supported: RMSNormalization scales without a mean."},
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field group_fields[] = {
    {.key = "groups",
     .kind = WML_FIELD_INT,
     .offset = AT(groups),
     .low = -1,
     .high = 4096,
     .otherwise = 32,
     .about = "Into how many groups the channels are divided; -1: each by itself."},
    AXIS_FIELD,
    EPSILON_FIELD(1e-3),
    CENTER_AND_SCALE_FIELDS,
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field rms_fields[] = {
    AXIS_FIELD,
    EPSILON_FIELD(1e-6),
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static const wml_field unit_fields[] = {
    AXIS_FIELD,
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* Indices of the parameters, -1 where the layer has none. */
static int gamma_index(const wml_layer *l) {
  const norming *n = l->class->member;
  return n->always || ((const norm_options *)l->options)->scale ? 0 : -1;
}
static int beta_index(const wml_layer *l) {
  return ((const norm_options *)l->options)->center ? gamma_index(l) + 1 : -1;
}

/* ---- how the operation sees the input ---- */

typedef struct view {
  bool flat; /* the axes of the sample are one */
  int64_t positions, groups, last;
} view;

static view view_of(const wml_layer *l, const wml_shape *in) {
  const norm_options *o = l->options;
  const norming *n = l->class->member;
  int64_t all = wml_shape_elements(in), c = in->dim[in->rank - 1];
  if (n->by_groups) return (view){false, all / c, o->groups < 0 ? c : o->groups, c};
  if (o->axes.n > 1 && in->rank > 1) return (view){true, 1, 1, all};
  return (view){false, 1, 1, c};
}

/* ---- shapes ---- */

static void refuse_axis(const wml_shaping *s, const char *what) {
  wml_issue(s->issues, s->place, "%s", what);
  wml_issue_cure(s->issues, "set axis to -1");
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "axis", "-1");
}

/* Axes are counted from 1, behind the batch, or from -1 backwards. */
static void check_axes(const wml_shaping *s, const norm_options *o, const norming *n) {
  int rank = s->in[0].rank;
  unsigned seen = 0;
  if (!n->by_axes) {
    if (o->axis != -1 && o->axis != rank) refuse_axis(s, "only the last axis, -1, is supported");
    return;
  }
  for (int i = 0; i < o->axes.n; i++) {
    int axis = o->axes.items[i] < 0 ? rank + 1 + o->axes.items[i] : o->axes.items[i];
    if (axis >= 1 && axis <= rank) seen |= 1u << axis;
  }
  bool last = o->axes.n == 0 || (o->axes.n == 1 && seen == 1u << rank),
       all = o->axes.n == rank && seen == (2u << rank) - 2u;
  if (!last && !all)
    refuse_axis(s, "only the last axis, -1, or all axes of the sample are supported");
}

/* Greatest common divisor. */
static int64_t divisor(int64_t a, int64_t b) {
  return b ? divisor(b, a % b) : a;
}

static void check_groups(const wml_shaping *s, const norm_options *o, int64_t c) {
  char right[32];
  if (o->groups < 0 || (o->groups > 0 && c % o->groups == 0)) return;
  wml_issue(s->issues, s->place, "the %lld channels are not a multiple of groups %d", (long long)c,
            o->groups);
  snprintf(right, sizeof right, "%lld", (long long)divisor(c, o->groups));
  wml_issue_cure(s->issues, "set groups to %s", right);
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "groups", right);
}

static void check_scaling(const wml_shaping *s, const norm_options *o) {
  if (!o->rms_scaling) return;
  wml_issue(s->issues, s->place,
            "rms_scaling is not supported: use RMSNormalization, which scales "
            "without a mean");
  wml_issue_cure(s->issues, "set rms_scaling to false");
  wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "rms_scaling", "false");
}

/* gamma or beta: one for each feature that is normalised together. */
static webml_status add_param(wml_shaping *s, const char *role, const view *v,
                              wml_initializer initializer, wml_regularizer regularizer) {
  wml_param p = {
      .rank = 1, .dim = {v->last}, .initializer = initializer, .regularizer = regularizer};
  if (v->flat) {
    p.rank = s->in[0].rank;
    for (int i = 0; i < p.rank; i++) p.dim[i] = s->in[0].dim[i];
    p.seen_rank = 1;
    p.seen_dim[0] = v->last;
  }
  return wml_shaping_param(s, role, p);
}

static webml_status shape(wml_shaping *s) {
  const norm_options *o = s->options;
  const norming *n = s->layer->class->member;
  const wml_shape *in = &s->in[0];
  int before = s->issues->count;
  int64_t c = in->dim[in->rank - 1], all = wml_shape_elements(in);
  s->out = *in;
  check_axes(s, o, n);
  check_scaling(s, o);
  if (n->by_groups && c > 0) check_groups(s, o, c);
  if (s->issues->count > before || (all < 0 && (o->axes.n > 1 || c <= 0))) return WEBML_OK;
  if (all > 0) s->flops = 8.0 * (double)all;
  view v = view_of(s->layer, in);
  wml_initializer ones = o->gamma;
  if (n->always) wml_initializer_by_name("ones", &ones);
  if (gamma_index(s->layer) >= 0)
    WML_TRY(add_param(s, n->always ? n->always : "gamma", &v, ones, o->gamma_regularizer));
  if (beta_index(s->layer) < 0) return WEBML_OK;
  return add_param(s, "beta", &v, o->beta, o->beta_regularizer);
}

/* ---- a step ---- */

static int param_of(const wml_emission *e, int k) {
  return k < 0 ? -1 : e->param[k];
}

static wml_norm norm_of(const wml_emission *e, const view *v) {
  const norm_options *o = e->options;
  const norming *n = e->layer->class->member;
  return (wml_norm){.kind = n->kind,
                    .positions = v->positions,
                    .groups = v->groups,
                    .epsilon = o->epsilon > 0.0f ? o->epsilon : n->epsilon};
}

/* The input, as one row where its axes are one. */
static int seen(wml_emission *e, int x, const char *prefix, const view *v) {
  return v->flat ? wml_emit_reshape(e, x, prefix, &(wml_shape){1, {v->last}}) : x;
}

/* A value for each group of statistics. */
static int statistic(wml_emission *e, const char *prefix, const view *v) {
  int64_t rows = wml_shape_elements(&e->node->out) / v->last / v->positions,
          n = e->batch * rows * v->groups;
  return wml_emit_tensor(e, prefix, 1, &n);
}

/* kept: the input as it was seen, means, factors. */
static int forward(wml_emission *e) {
  view v = view_of(e->layer, wml_emit_in_shape(e, 0));
  wml_norm norm = norm_of(e, &v);
  int x = e->kept[0] = seen(e, e->in[0], "row/", &v), y = wml_emit_like(e, "normal/", x);
  if (e->trains) {
    if (norm.kind == WML_NORM_MEAN_VARIANCE) e->kept[1] = statistic(e, "mean/", &v);
    e->kept[2] = statistic(e, "factor/", &v);
  }
  wml_op *op = wml_emit_op(e, WML_OP_NORM);
  op->in[0] = x;
  op->in[1] = param_of(e, gamma_index(e->layer));
  op->in[2] = param_of(e, beta_index(e->layer));
  op->out[0] = y;
  op->out[1] = e->kept[1];
  op->out[2] = e->kept[2];
  op->u.norm = norm;
  return v.flat ? wml_emit_reshape(e, y, "out/", &e->node->out) : y;
}

static void backward(wml_emission *e, int dy) {
  view v = view_of(e->layer, wml_emit_in_shape(e, 0));
  int gamma = gamma_index(e->layer), dgamma = wml_emit_param_gradient(e, gamma),
      dbeta = wml_emit_param_gradient(e, beta_index(e->layer));
  dy = seen(e, dy, "drow/", &v);
  int dx = wml_emit_wants(e, 0) ? wml_emit_like(e, "dx/", e->kept[0]) : -1;
  if (dx < 0 && dgamma < 0 && dbeta < 0) return;
  wml_op *op = wml_emit_op(e, WML_OP_NORM_BWD);
  op->in[0] = dy;
  op->in[1] = e->kept[0];
  op->in[2] = param_of(e, gamma);
  op->in[3] = e->kept[1];
  op->in[4] = e->kept[2];
  op->out[0] = dx;
  op->out[1] = dgamma;
  op->out[2] = dbeta;
  op->u.norm = norm_of(e, &v);
  if (dx >= 0 && v.flat) dx = wml_emit_reshape(e, dx, "dimage/", wml_emit_in_shape(e, 0));
  if (dx >= 0) wml_emit_gradient(e, 0, dx);
}

/* ---- exports: ONNX 13 has none of them, so they are written out ---- */

static const char *reduced(wml_onnx_call *c, const char *type, const char *x) {
  static const int axes[] = {1, 3};
  wml_onnx_ints(c, "axes", 2, axes);
  return wml_onnx_unary(c, type, x);
}

/* x: [n, positions, groups, width] */
static const char *normal(wml_onnx_call *c, const char *x, wml_norm_kind kind, float epsilon) {
  const char *e = wml_onnx_scalar(c, epsilon), *squares;
  if (kind == WML_NORM_MEAN_VARIANCE) x = wml_onnx_binary(c, "Sub", x, reduced(c, "ReduceMean", x));
  if (kind == WML_NORM_UNIT)
    squares = wml_onnx_binary(c, "Max", reduced(c, "ReduceSumSquare", x), e);
  else
    squares =
        wml_onnx_binary(c, "Add", reduced(c, "ReduceMean", wml_onnx_binary(c, "Mul", x, x)), e);
  return wml_onnx_binary(c, "Div", x, wml_onnx_unary(c, "Sqrt", squares));
}

static const char *with_param(wml_onnx_call *c, const char *type, const char *x, const char *role) {
  const wml_named_tensor *t = wml_onnx_param(c, role);
  return t ? wml_onnx_binary(c, type, x, wml_onnx_floats(c, t->name, t->rank, t->dim, t->data)) : x;
}

static webml_status onnx(wml_onnx_call *c) {
  const norm_options *o = c->options;
  const norming *n = c->layer->class->member;
  const wml_shape *in = wml_onnx_shape(c, 0);
  view v = view_of(c->layer, in);
  const int64_t groups[] = {-1, v.positions, v.groups, v.last / v.groups};
  int64_t back[WML_MAX_RANK] = {-1};
  for (int i = 0; i < in->rank; i++) back[i + 1] = in->dim[i];
  const char *x = wml_onnx_input(c, 0, false);
  x = wml_onnx_binary(c, "Reshape", x, wml_onnx_int64s(c, "groups", 4, groups));
  x = normal(c, x, n->kind, o->epsilon > 0.0f ? o->epsilon : n->epsilon);
  x = wml_onnx_binary(c, "Reshape", x, wml_onnx_int64s(c, "shape", in->rank + 1, back));
  x = with_param(c, "Mul", x, n->always ? n->always : "gamma");
  return wml_onnx_result(c, with_param(c, "Add", x, "beta"), false);
}

static webml_status tfjs_layer(wml_tfjs_call *c) {
  const norm_options *o = c->options;
  wml_json_key(c->text, "axis");
  wml_json_open(c->text, '[');
  for (int i = o->axes.n > 1 ? 1 : c->in->rank; i <= c->in->rank; i++) wml_json_int(c->text, i);
  wml_json_close(c->text, ']');
  wml_tfjs_number(c, "epsilon", (double)o->epsilon);
  wml_tfjs_flag(c, "center", o->center);
  wml_tfjs_flag(c, "scale", o->scale);
  return WEBML_OK;
}

#define NORMALIZATION(class_name, snake_name, row, list, text, to_tfjs)                            \
  {                                                                                                \
    .name = class_name, .snake = snake_name, .about = text, .member = row,                         \
    .options_size = sizeof(norm_options), .fields = list, .n_fields = sizeof list / sizeof *list,  \
    .shape = shape, .forward = forward, .backward = backward, .onnx = onnx, .tfjs = to_tfjs        \
  }

const wml_layer_class wml_layer_layer_normalization =
    NORMALIZATION("LayerNormalization", "layer_normalization", &of_layer, layer_fields,
                  "Brings the features of each sample to mean 0 and deviation 1.", tfjs_layer);
const wml_layer_class wml_layer_group_normalization =
    NORMALIZATION("GroupNormalization", "group_normalization", &of_group, group_fields,
                  "Brings groups of channels of each sample to mean 0 and deviation 1.", NULL);
const wml_layer_class wml_layer_rms_normalization =
    NORMALIZATION("RMSNormalization", "rms_normalization", &of_rms, rms_fields,
                  "Divides the features of each sample by the root of their mean square.", NULL);
const wml_layer_class wml_layer_unit_normalization =
    NORMALIZATION("UnitNormalization", "unit_normalization", &of_unit, unit_fields,
                  "Brings the features of each sample to length 1.", NULL);
