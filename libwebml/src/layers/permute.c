/* Permute: exchanges dimensions: the i-th of the result is the input's dims[i], counted from 1, the
 * batch staying the first. [h, w, c] with dims [2, 1, 3] -> [w, h, c]. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct permute_options {
  wml_layer_options layer;
  wml_ints dims;
} permute_options;

static const wml_field fields[] = {
    {.key = "dims",
     .kind = WML_FIELD_INTS,
     .offset = offsetof(permute_options, dims),
     .low = 1,
     .high = 3,
     .required = true,
     .word = "[2, 1, 3]",
     .about = "The input's dimensions, from 1, in their new order."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  const wml_ints *dims = &((const permute_options *)s->options)->dims;
  const wml_shape *in = &s->in[0];
  int seen = 0;
  for (int i = 0; i < dims->n; i++) seen |= 1 << dims->items[i];
  if (dims->n != in->rank || seen != (1 << (in->rank + 1)) - 2) {
    wml_issue(s->issues, s->place, "dims must name each of the %d dimensions of its input once",
              in->rank);
    return WEBML_OK;
  }
  s->out.rank = in->rank;
  for (int i = 0; i < in->rank; i++) s->out.dim[i] = in->dim[dims->items[i] - 1];
  return WEBML_OK;
}

static void assume(const void *options, wml_shape *out) {
  const wml_ints *dims = &((const permute_options *)options)->dims;
  *out = (wml_shape){dims->n < WML_MAX_RANK ? dims->n : 0, {-1, -1, -1}};
}

/* ---- a step ---- */

static int forward(wml_emission *e) {
  const wml_ints *dims = &((const permute_options *)e->options)->dims;
  wml_op *op = wml_emit_unary(e, WML_OP_TRANSPOSE, e->in[0], "out/", &e->node->out);
  op->u.axes[0] = 0;
  for (int i = 0; i < dims->n; i++) op->u.axes[i + 1] = dims->items[i];
  return op->out[0];
}

static void backward(wml_emission *e, int dy) {
  const wml_ints *dims = &((const permute_options *)e->options)->dims;
  if (!wml_emit_wants(e, 0)) return;
  wml_op *op = wml_emit_unary(e, WML_OP_TRANSPOSE, dy, "dx/", wml_emit_in_shape(e, 0));
  op->u.axes[0] = 0;
  for (int i = 0; i < dims->n; i++) op->u.axes[dims->items[i]] = i + 1;
  wml_emit_gradient(e, 0, op->out[0]);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const wml_ints *dims = &((const permute_options *)c->options)->dims;
  const char *x = wml_onnx_input(c, 0, false);
  int perm[WML_MAX_RANK] = {0};
  for (int i = 0; i < dims->n; i++) perm[i + 1] = dims->items[i];
  wml_onnx_ints(c, "perm", dims->n + 1, perm);
  return wml_onnx_result(c, wml_onnx_unary(c, "Transpose", x), false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const wml_ints *dims = &((const permute_options *)c->options)->dims;
  wml_tfjs_ints(c, "dims", dims->n, dims->items);
  return WEBML_OK;
}

const wml_layer_class wml_layer_permute = {.name = "Permute",
                                           .snake = "permute",
                                           .about = "Exchanges dimensions.",
                                           .keeps_range = true,
                                           .options_size = sizeof(permute_options),
                                           .fields = fields,
                                           .n_fields = sizeof fields / sizeof *fields,
                                           .shape = shape,
                                           .assume = assume,
                                           .forward = forward,
                                           .backward = backward,
                                           .onnx = onnx,
                                           .tfjs = tfjs};
