/* Dot: scalar products of two inputs along an axis of each, which counts the batch as 0 as in
 * Keras: the result has what is left of the first, then what is left of the second; [1] where
 * nothing is. [m, k] and [n, k] with axes 2 -> [m, n].
 *
 * normalize: each vector is divided by its length, at least 1e-7 (keras.ops.normalize), so that the
 * result is the cosine of the angle. Both inputs are seen as matrices whose rows are the vectors,
 * A [m, k] and B [n, k]; the result is A B^T, dA = dY B, dB = dY^T A. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <stdio.h>

#define LEAST_SQUARES 1e-14f

typedef struct dot_options {
  wml_layer_options layer;
  int axes[2];
  bool normalize;
} dot_options;

static const wml_field fields[] = {
    {.key = "axes",
     .kind = WML_FIELD_PAIR,
     .offset = offsetof(dot_options, axes),
     .low = -3,
     .high = 3,
     .suggested = -1,
     .required = true,
     .about = "The axis of both inputs, or one of each, along which products are added up."},
    {.key = "normalize",
     .kind = WML_FIELD_BOOL,
     .offset = offsetof(dot_options, normalize),
     .about = "Whether vectors are brought to length 1 before: the result is a cosine."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* ---- shapes ---- */

/* The dimension of a sample of input i that is reduced; may lie outside. */
static int dimension_of(const dot_options *o, int i, int rank) {
  return o->axes[i] < 0 ? rank + o->axes[i] : o->axes[i] - 1;
}

static webml_status shape(wml_shaping *s) {
  const dot_options *o = s->options;
  int64_t depth[2];
  s->out = (wml_shape){0};
  int rank = s->in[0].rank + s->in[1].rank - 2;
  if (rank > WML_MAX_RANK - 1) {
    wml_issue(s->issues, s->place, "its result would have %d dimensions; up to %d are supported",
              rank, WML_MAX_RANK - 1);
    return WEBML_OK;
  }
  for (int i = 0; i < 2; i++) {
    const wml_shape *in = &s->in[i];
    int d = dimension_of(o, i, in->rank);
    if (d < 0 || d >= in->rank) {
      wml_issue(s->issues, s->place, "axis %d is none of its input %d, whose axes are 1 to %d",
                o->axes[i], i, in->rank);
      return WEBML_OK;
    }
    depth[i] = in->dim[d];
    for (int k = 0; k < in->rank; k++)
      if (k != d) s->out.dim[s->out.rank++] = in->dim[k];
  }
  if (s->out.rank == 0) s->out = (wml_shape){1, {1}};
  if (depth[0] != depth[1] && depth[0] > 0 && depth[1] > 0)
    wml_issue(s->issues, s->place,
              "its inputs have %lld and %lld values along axes %d and %d; they "
              "must have as many",
              (long long)depth[0], (long long)depth[1], o->axes[0], o->axes[1]);
  int64_t n = wml_shape_elements(&s->out);
  if (n > 0 && depth[0] > 0) s->flops = 2.0 * (double)n * (double)depth[0];
  return WEBML_OK;
}

static void assume(const void *options, wml_shape *out) {
  (void)options;
  *out = (wml_shape){0};
}

/* An input as a matrix of vectors. */
typedef struct side {
  wml_shape moved, matrix; /* with the reduced dimension as the last; [vectors, values] */
  int axes[WML_MAX_RANK];  /* from the input to `moved`, the batch being 0 */
  bool moves;
} side;

static side side_of(const dot_options *o, int i, const wml_shape *in) {
  int d = dimension_of(o, i, in->rank), k = 0;
  side s = {.moved = *in, .moves = d != in->rank - 1};
  for (int j = 0; j < in->rank; j++)
    if (j != d) s.axes[++k] = j + 1;
  s.axes[in->rank] = d + 1;
  for (int j = 0; j < in->rank; j++) s.moved.dim[j] = in->dim[s.axes[j + 1] - 1];
  s.matrix = (wml_shape){2, {wml_shape_elements(in) / in->dim[d], in->dim[d]}};
  return s;
}

/* ---- a step ---- */

static int transpose(wml_emission *e, int x, const int *axes, const char *prefix,
                     const wml_shape *shape) {
  wml_op *op = wml_emit_unary(e, WML_OP_TRANSPOSE, x, prefix, shape);
  for (int i = 0; i <= shape->rank; i++) op->u.axes[i] = axes[i];
  return op->out[0];
}

static wml_norm unit_norm(void) {
  return (wml_norm){WML_NORM_UNIT, .positions = 1, .groups = 1, .epsilon = LEAST_SQUARES};
}

/* kept_of[i]: the matrix; kept[i], kept[2 + i]: its vectors at length 1, and their factors. */
static void keep_matrix(wml_emission *e, int i) {
  static const char *const names[][3] = {{"moved0/", "matrix0/", "unit0/"},
                                         {"moved1/", "matrix1/", "unit1/"}};
  const dot_options *o = e->options;
  side s = side_of(o, i, wml_emit_in_shape(e, i));
  int x = s.moves ? transpose(e, e->in[i], s.axes, names[i][0], &s.moved) : e->in[i];
  x = wml_emit_reshape(e, x, names[i][1], &s.matrix);
  e->kept_of[i] = e->kept[i] = x;
  if (!o->normalize) return;
  const int64_t dim[] = {e->batch, s.matrix.dim[0], 1};
  e->kept[2 + i] = wml_emit_tensor(e, i ? "factor1/" : "factor0/", 3, dim);
  wml_op *op = wml_emit_unary(e, WML_OP_NORM, x, names[i][2], &s.matrix);
  op->out[2] = e->kept[2 + i];
  op->u.norm = unit_norm();
  e->kept[i] = op->out[0];
}

static int multiply(wml_emission *e, int a, int b, bool transpose_a, bool transpose_b,
                    const char *prefix, const wml_shape *shape) {
  wml_op *op = wml_emit_unary(e, WML_OP_MATMUL, a, prefix, shape);
  op->in[1] = b;
  op->u.matmul.transpose_a = transpose_a;
  op->u.matmul.transpose_b = transpose_b;
  return op->out[0];
}

/* [vectors of the first, vectors of the second] */
static wml_shape products(const wml_emission *e) {
  return (wml_shape){
      2, {wml_emit_info(e, e->kept_of[0])->dim[1], wml_emit_info(e, e->kept_of[1])->dim[1]}};
}

static int forward(wml_emission *e) {
  keep_matrix(e, 0);
  keep_matrix(e, 1);
  wml_shape matrix = products(e);
  int y = multiply(e, e->kept[0], e->kept[1], false, true, "products/", &matrix);
  return wml_emit_reshape(e, y, "out/", &e->node->out);
}

/* From the gradient of a matrix to that of the input. */
static void hand_back(wml_emission *e, int i, int d) {
  const dot_options *o = e->options;
  const wml_shape *in = wml_emit_in_shape(e, i);
  side s = side_of(o, i, in);
  int back[WML_MAX_RANK] = {0};
  if (o->normalize) {
    wml_op *op = wml_emit_unary(e, WML_OP_NORM_BWD, d, i ? "dmatrix1/" : "dmatrix0/", &s.matrix);
    op->in[1] = e->kept_of[i];
    op->in[4] = e->kept[2 + i];
    op->u.norm = unit_norm();
    d = op->out[0];
  }
  for (int k = 1; k <= in->rank; k++) back[s.axes[k]] = k;
  d = wml_emit_reshape(e, d, i ? "dmoved1/" : "dmoved0/", &s.moved);
  wml_emit_gradient(e, i, s.moves ? transpose(e, d, back, i ? "dx1/" : "dx0/", in) : d);
}

static void backward(wml_emission *e, int dy) {
  wml_shape matrix = products(e);
  int d = wml_emit_reshape(e, dy, "dproducts/", &matrix);
  for (int i = 0; i < 2; i++) {
    if (!wml_emit_wants(e, i)) continue;
    wml_shape shape = side_of(e->options, i, wml_emit_in_shape(e, i)).matrix;
    hand_back(e, i,
              multiply(e, d, e->kept[1 - i], i == 1, false, i ? "dunit1/" : "dunit0/", &shape));
  }
}

/* ---- exports ---- */

static const char *onnx_matrix(wml_onnx_call *c, int i) {
  static const int turned[] = {0, 2, 1};
  const dot_options *o = c->options;
  side s = side_of(o, i, wml_onnx_shape(c, i));
  const char *x = wml_onnx_input(c, i, false);
  if (s.moves) {
    wml_onnx_ints(c, "perm", s.moved.rank + 1, s.axes);
    x = wml_onnx_unary(c, "Transpose", x);
  }
  x = wml_onnx_reshape(c, x, &s.matrix);
  if (o->normalize) {
    static const int last = -1;
    wml_onnx_ints(c, "axes", 1, &last);
    const char *squares = wml_onnx_unary(c, "ReduceSumSquare", x);
    squares = wml_onnx_binary(c, "Max", squares, wml_onnx_scalar(c, LEAST_SQUARES));
    x = wml_onnx_binary(c, "Div", x, wml_onnx_unary(c, "Sqrt", squares));
  }
  if (i == 0) return x;
  wml_onnx_ints(c, "perm", 3, turned);
  return wml_onnx_unary(c, "Transpose", x);
}

static webml_status onnx(wml_onnx_call *c) {
  const char *a = onnx_matrix(c, 0), *b = onnx_matrix(c, 1);
  const char *y = wml_onnx_binary(c, "MatMul", a, b);
  return wml_onnx_result(c, wml_onnx_reshape(c, y, &c->node->out), false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const dot_options *o = c->options;
  int axes[2]; /* counted from the front: it does not read others in a pair */
  for (int i = 0; i < 2; i++) {
    int rank = wml_tfjs_shape(c, i)->rank;
    if (rank > 2) return wml_tfjs_refuse(c, "Dot of inputs with three dimensions");
    axes[i] = dimension_of(o, i, rank) + 1;
  }
  wml_tfjs_pair(c, "axes", axes);
  wml_tfjs_flag(c, "normalize", o->normalize);
  return WEBML_OK;
}

const wml_layer_class wml_layer_dot = {
    .name = "Dot",
    .snake = "dot",
    .about = "Multiplies two inputs and adds up along an axis: how alike two vectors are.",
    .least_inputs = 2,
    .most_inputs = 2,
    .options_size = sizeof(dot_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .assume = assume,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
