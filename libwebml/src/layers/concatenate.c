/* Concatenate: its inputs one behind the other along an axis, which counts the batch as 0 as in
 * Keras: [.., a] and [.., b] -> [.., a + b] for axis -1. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

#include <stdio.h>

typedef struct concatenate_options {
  wml_layer_options layer;
  int axis;
} concatenate_options;

static const wml_field fields[] = {
    {.key = "axis",
     .kind = WML_FIELD_INT,
     .offset = offsetof(concatenate_options, axis),
     .low = -3,
     .high = 3,
     .otherwise = -1,
     .about = "The axis along which inputs follow one another: -1 for the last."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* The dimension of a sample that the axis is; may lie outside. */
static int dimension_of(const void *options, int rank) {
  int axis = ((const concatenate_options *)options)->axis;
  return axis < 0 ? rank + axis : axis - 1;
}

/* Adds the sizes along d; all others must be equal. */
static bool append(wml_shape *out, const wml_shape *in, int d) {
  if (in->rank != out->rank) return false;
  for (int i = 0; i < out->rank; i++) {
    int64_t *to = &out->dim[i], from = in->dim[i];
    if (i == d)
      *to = *to < 0 || from < 0 ? -1 : *to + from;
    else if (*to < 0)
      *to = from;
    else if (from >= 0 && *to != from)
      return false;
  }
  return true;
}

static webml_status shape(wml_shaping *s) {
  char first[WML_SHAPE_TEXT], other[WML_SHAPE_TEXT];
  int d = dimension_of(s->options, s->in[0].rank);
  s->out = s->in[0];
  if (d < 0 || d >= s->out.rank) {
    wml_issue(s->issues, s->place, "axis %d is none of its input's, which are 1 to %d, or -1",
              ((const concatenate_options *)s->options)->axis, s->out.rank);
    wml_issue_cure(s->issues, "set axis to -1");
    wml_patch_set(s->issues, WML_OPTIONS_OF(s->place), "axis", "-1");
    return WEBML_OK;
  }
  for (int i = 1; i < s->n_inputs; i++) {
    if (append(&s->out, &s->in[i], d)) continue;
    wml_issue(s->issues, s->place, "its inputs [%s] and [%s] may differ along axis %d only",
              wml_shape_text(&s->in[0], first), wml_shape_text(&s->in[i], other), d + 1);
    return WEBML_OK;
  }
  return WEBML_OK;
}

static void assume(const void *options, wml_shape *out) {
  int d = dimension_of(options, out->rank);
  if (d >= 0 && d < out->rank) out->dim[d] = -1;
}

/* ---- a step ---- */

/* One operation takes WML_MAX_OPERANDS inputs; the next begins with its result. */
static int forward(wml_emission *e) {
  int d = dimension_of(e->options, e->node->out.rank), y = e->in[0], next = 1;
  wml_shape so_far = *wml_emit_in_shape(e, 0);
  while (next < e->n_inputs) {
    int in[WML_MAX_OPERANDS] = {y}, n = 1;
    for (; n < WML_MAX_OPERANDS && next < e->n_inputs; n++, next++) {
      in[n] = e->in[next];
      so_far.dim[d] += wml_emit_in_shape(e, next)->dim[d];
    }
    char prefix[32];
    snprintf(prefix, sizeof prefix, "out%d/", next);
    wml_op *op = wml_emit_unary(e, WML_OP_CONCAT, y, prefix, &so_far);
    for (int i = 0; i < n; i++) op->in[i] = in[i];
    op->u.axis = d + 1;
    y = op->out[0];
  }
  return y;
}

static void backward(wml_emission *e, int dy) {
  int d = dimension_of(e->options, e->node->out.rank);
  int64_t begin = 0;
  for (int i = 0; i < e->n_inputs; i++) {
    const wml_shape *in = wml_emit_in_shape(e, i);
    if (wml_emit_wants(e, i)) {
      char prefix[32];
      snprintf(prefix, sizeof prefix, "dx%d/", i);
      wml_op *op = wml_emit_unary(e, WML_OP_CROP, dy, prefix, in);
      op->u.begin[d + 1] = begin;
      wml_emit_gradient(e, i, op->out[0]);
    }
    begin += in->dim[d];
  }
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  static const int in_nchw[] = {2, 3, 1};
  bool nchw = c->node->out.rank == 3 && c->in[0].nchw;
  int d = dimension_of(c->options, c->node->out.rank);
  const char **inputs = wml_alloc((size_t)(c->n_inputs + 1) * sizeof *inputs);
  if (!inputs) return wml_no_memory((size_t)c->n_inputs * sizeof *inputs, "inputs");
  for (int i = 0; i < c->n_inputs; i++) inputs[i] = wml_onnx_input(c, i, nchw);
  inputs[c->n_inputs] = NULL;
  wml_onnx_int(c, "axis", nchw ? in_nchw[d] : d + 1);
  const char *y = wml_onnx_node(c, "Concat", inputs);
  wml_free(inputs);
  return wml_onnx_result(c, y, nchw);
}

static webml_status tfjs(wml_tfjs_call *c) {
  wml_tfjs_int(c, "axis", dimension_of(c->options, c->node->out.rank) + 1);
  return WEBML_OK;
}

const wml_layer_class wml_layer_concatenate = {.name = "Concatenate",
                                               .snake = "concatenate",
                                               .about = "Puts its inputs one behind the other.",
                                               .least_inputs = 2,
                                               .most_inputs = -1,
                                               .options_size = sizeof(concatenate_options),
                                               .fields = fields,
                                               .n_fields = sizeof fields / sizeof *fields,
                                               .shape = shape,
                                               .assume = assume,
                                               .forward = forward,
                                               .backward = backward,
                                               .onnx = onnx,
                                               .tfjs = tfjs};
