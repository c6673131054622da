/* Add, Subtract, Multiply, Average, Maximum and Minimum: any number of inputs (Subtract: two), one
 * after the other, [..] -> the shape that they broadcast to. One file with a table, because they
 * are one operation of two operands, and what is hard about them (broadcasting, which gradient is
 * whose) is the same for all.
 *
 * Broadcasting is Keras's: shapes of samples are aligned at their last dimensions, and one of two
 * dimensions may be 1 or absent. Where two elements are equal, the gradient of Maximum and Minimum
 * is the earlier input's, as in TensorFlow. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <stdio.h>
#include <string.h>

typedef struct merge_kind {
  const char *name;
  wml_binary binary;
  bool is_mean;     /* divided by the number of inputs in the end */
  const char *onnx; /* the operator */
} merge_kind;

static const merge_kind kinds[] = {{"Add", WML_BINARY_ADD, false, "Add"},
                                   {"Subtract", WML_BINARY_SUBTRACT, false, "Sub"},
                                   {"Multiply", WML_BINARY_MULTIPLY, false, "Mul"},
                                   {"Average", WML_BINARY_ADD, true, "Add"},
                                   {"Maximum", WML_BINARY_MAXIMUM, false, "Max"},
                                   {"Minimum", WML_BINARY_MINIMUM, false, "Min"}};

static const merge_kind *kind_of(const wml_layer *layer) {
  const merge_kind *k = kinds;
  while (strcmp(k->name, layer->class->name) != 0) k++;
  return k;
}

static const wml_field fields[] = {
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* ---- shapes ---- */

/* With dimensions of 1 in front, so that it has the rank. */
static wml_shape widened(const wml_shape *shape, int rank) {
  wml_shape wide = {rank, {1, 1, 1}};
  for (int i = 0; i < shape->rank; i++) wide.dim[rank - shape->rank + i] = shape->dim[i];
  return wide;
}

/* Joins a shape of the same rank; false where they do not fit. Unknown dimensions fit. */
static bool broadcast(wml_shape *a, const wml_shape *b) {
  for (int i = 0; i < a->rank; i++) {
    int64_t *to = &a->dim[i], from = b->dim[i];
    if (*to == from || from == 1) continue;
    if (*to > 1 && from > 1) return false;
    if (*to == 1 || from > 1) *to = from;
  }
  return true;
}

static int rank_of(const wml_shape *in, int n) {
  int rank = 0;
  for (int i = 0; i < n; i++) rank = in[i].rank > rank ? in[i].rank : rank;
  return rank;
}

static webml_status shape(wml_shaping *s) {
  char first[WML_SHAPE_TEXT], other[WML_SHAPE_TEXT];
  int rank = rank_of(s->in, s->n_inputs);
  s->out = widened(&s->in[0], rank);
  for (int i = 1; i < s->n_inputs; i++) {
    wml_shape next = widened(&s->in[i], rank);
    if (broadcast(&s->out, &next)) continue;
    wml_issue(s->issues, s->place,
              "its inputs [%s] and [%s] do not fit: sizes are equal, or one is 1",
              wml_shape_text(&s->out, first), wml_shape_text(&s->in[i], other));
    return WEBML_OK;
  }
  int64_t n = wml_shape_elements(&s->out);
  int operations = s->n_inputs - 1 + kind_of(s->layer)->is_mean;
  if (n > 0) s->flops = (double)n * operations;
  return WEBML_OK;
}

/* ---- a step ---- */

/* Input i in the rank of the result. */
static int wide_input(wml_emission *e, int i, const char *name) {
  const wml_shape *in = wml_emit_in_shape(e, i);
  char prefix[32];
  if (in->rank == e->node->out.rank) return e->in[i];
  wml_shape wide = widened(in, e->node->out.rank);
  snprintf(prefix, sizeof prefix, "%s%d/", name, i);
  return wml_emit_reshape(e, e->in[i], prefix, &wide);
}

static int scaled(wml_emission *e, int x, const char *prefix) {
  wml_op *op = wml_emit_unary(e, WML_OP_AFFINE, x, prefix, &e->node->out);
  op->u.affine.scale = 1.0f / (float)e->n_inputs;
  op->u.affine.offset = 0.0f;
  return op->out[0];
}

/* kept_of[i]: the result so far, with input i. */
static int forward(wml_emission *e) {
  const merge_kind *kind = kind_of(e->layer);
  wml_shape so_far = widened(wml_emit_in_shape(e, 0), e->node->out.rank);
  int y = e->kept_of[0] = wide_input(e, 0, "wide");
  for (int i = 1; i < e->n_inputs; i++) {
    char prefix[32];
    int b = wide_input(e, i, "wide");
    wml_shape next = widened(wml_emit_in_shape(e, i), e->node->out.rank);
    broadcast(&so_far, &next);
    snprintf(prefix, sizeof prefix, "out%d/", i);
    y = e->kept_of[i] = wml_emit_binary(e, kind->binary, y, b, prefix, &so_far);
  }
  return kind->is_mean ? scaled(e, y, "out/") : y;
}

static bool same_shape(const wml_emission *e, int a, int b) {
  const wml_tensor *x = wml_emit_info(e, a), *y = wml_emit_info(e, b);
  return memcmp(x->dim, y->dim, (size_t)x->rank * sizeof *x->dim) == 0;
}

static void give(wml_emission *e, int i, int d) {
  char prefix[32];
  const wml_shape *in = wml_emit_in_shape(e, i);
  snprintf(prefix, sizeof prefix, "dx%d/", i);
  if (wml_emit_wants(e, i))
    wml_emit_gradient(e, i, in->rank == e->node->out.rank ? d : wml_emit_reshape(e, d, prefix, in));
}

/* From the gradient d of the result with input i: gives that input its own and returns that of the
 * result before. A summand of the same shape has the gradient of the sum. */
static int step_back(wml_emission *e, wml_binary binary, int i, int d, bool below) {
  char prefix[32];
  bool here = wml_emit_wants(e, i), adds = binary == WML_BINARY_ADD;
  int a = e->kept_of[i - 1], b = wide_input(e, i, "again"), da = -1, db = -1;
  bool copies_a = (adds || binary == WML_BINARY_SUBTRACT) && same_shape(e, a, d),
       copies_b = adds && same_shape(e, b, d);
  snprintf(prefix, sizeof prefix, "da%d/", i);
  if (below && !copies_a) da = wml_emit_like(e, prefix, a);
  snprintf(prefix, sizeof prefix, "db%d/", i);
  if (here && !copies_b) db = wml_emit_like(e, prefix, b);
  if (da >= 0 || db >= 0) {
    bool reads = !adds && binary != WML_BINARY_SUBTRACT;
    wml_op *op = wml_emit_op(e, WML_OP_BINARY_BWD);
    op->in[0] = d;
    op->in[1] = reads ? a : -1;
    op->in[2] = reads ? b : -1;
    op->out[0] = da;
    op->out[1] = db;
    op->u.binary = binary;
  }
  if (here) give(e, i, copies_b ? d : db);
  return copies_a ? d : da;
}

static void backward(wml_emission *e, int dy) {
  const merge_kind *kind = kind_of(e->layer);
  int d = kind->is_mean ? scaled(e, dy, "dmean/") : dy, lowest = 0;
  while (!wml_emit_wants(e, lowest)) lowest++;
  for (int i = e->n_inputs - 1; i > 0 && i >= lowest; i--)
    d = step_back(e, kind->binary, i, d, lowest < i);
  if (lowest == 0) give(e, 0, d);
}

/* ---- exports ---- */

/* Where all are pictures, they stay in the layout that one of them has. */
static bool as_nchw(const wml_onnx_call *c) {
  bool pictures = true, any = false;
  for (int i = 0; i < c->n_inputs; i++) {
    pictures &= wml_onnx_shape(c, i)->rank == 3;
    any |= c->in[i].nchw;
  }
  return pictures && any;
}

static webml_status onnx(wml_onnx_call *c) {
  const merge_kind *kind = kind_of(c->layer);
  bool nchw = as_nchw(c);
  const char *y = NULL;
  for (int i = 0; i < c->n_inputs; i++) {
    const wml_shape *in = wml_onnx_shape(c, i);
    const char *x = wml_onnx_input(c, i, nchw);
    wml_shape wide = widened(in, c->node->out.rank);
    if (in->rank < wide.rank) x = wml_onnx_reshape(c, x, &wide);
    y = y ? wml_onnx_binary(c, kind->onnx, y, x) : x;
  }
  if (kind->is_mean)
    y = wml_onnx_binary(c, "Mul", y, wml_onnx_scalar(c, 1.0f / (float)c->n_inputs));
  return wml_onnx_result(c, y, nchw);
}

/* ---- classes ---- */

#define MERGE(symbol, class_name, most, does, tfjs_function)                                       \
  const wml_layer_class wml_layer_##symbol = {.name = class_name,                                  \
                                              .snake = #symbol,                                    \
                                              .about = does,                                       \
                                              .least_inputs = 2,                                   \
                                              .most_inputs = most,                                 \
                                              .options_size = sizeof(wml_layer_options),           \
                                              .fields = fields,                                    \
                                              .n_fields = sizeof fields / sizeof *fields,          \
                                              .shape = shape,                                      \
                                              .forward = forward,                                  \
                                              .backward = backward,                                \
                                              .onnx = onnx,                                        \
                                              .tfjs = tfjs_function};

MERGE(add, "Add", -1, "Adds its inputs, as at the end of a residual block.", wml_tfjs_nothing)
MERGE(subtract, "Subtract", 2, "Subtracts its second input from the first.", NULL)
MERGE(multiply, "Multiply", -1, "Multiplies its inputs, value by value.", wml_tfjs_nothing)
MERGE(average, "Average", -1, "Takes the mean of its inputs, value by value.", wml_tfjs_nothing)
MERGE(maximum, "Maximum", -1, "Takes the greatest of its inputs, value by value.", wml_tfjs_nothing)
MERGE(minimum, "Minimum", -1, "Takes the least of its inputs, value by value.", wml_tfjs_nothing)
