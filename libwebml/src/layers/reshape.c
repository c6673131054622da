/* Reshape: [..] -> target_shape, the same values in the same order, row-major. One dimension may be
 * -1: as many as are left. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct reshape_options {
  wml_layer_options layer;
  wml_ints target;
} reshape_options;

static const wml_field fields[] = {
    {.key = "target_shape",
     .kind = WML_FIELD_INTS,
     .offset = offsetof(reshape_options, target),
     .low = -1,
     .high = 1 << 28,
     .required = true,
     .word = "[-1]",
     .about = "The new dimensions, without the batch; one may be -1: as many as are left."},
    WML_NOT_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* The target's dimensions: their product without the open one, and where that is; -1. */
static int64_t product_of(const wml_ints *target, int *open) {
  int64_t product = 1;
  *open = -1;
  for (int i = 0; i < target->n; i++) {
    if (target->items[i] == -1)
      *open = i;
    else
      product *= target->items[i];
    if (product > (int64_t)1 << 31) return product;
  }
  return product;
}

/* What is wrong with the target whatever the input is. */
static bool target_is_fine(wml_shaping *s, const wml_ints *target) {
  int opened = 0, zeros = 0;
  for (int i = 0; i < target->n; i++) {
    opened += target->items[i] == -1;
    zeros += target->items[i] == 0;
  }
  if (target->n >= WML_MAX_RANK)
    wml_issue(s->issues, s->place, "target_shape has %d dimensions; up to %d are supported",
              target->n, WML_MAX_RANK - 1);
  else if (zeros)
    wml_issue(s->issues, s->place, "target_shape has a dimension of 0");
  else if (opened > 1)
    wml_issue(s->issues, s->place, "target_shape has -1 more than once");
  else
    return true;
  return false;
}

static webml_status shape(wml_shaping *s) {
  const wml_ints *target = &((const reshape_options *)s->options)->target;
  char text[WML_SHAPE_TEXT], in[WML_SHAPE_TEXT];
  int open;
  s->out_dtype = s->dtype;
  if (!target_is_fine(s, target)) return WEBML_OK;
  int64_t n = wml_shape_elements(&s->in[0]), product = product_of(target, &open);
  s->out.rank = target->n;
  for (int i = 0; i < target->n; i++) s->out.dim[i] = target->items[i];
  if (n < 0 || (open < 0 ? product == n : n % product == 0)) {
    if (open >= 0 && n >= 0) s->out.dim[open] = n / product;
    return WEBML_OK;
  }
  wml_issue(s->issues, s->place, "cannot make [%s] of the %lld values of [%s]",
            wml_shape_text(&s->out, text), (long long)n, wml_shape_text(&s->in[0], in));
  wml_issue_cure(s->issues,
                 "set one dimension of target_shape to -1, or all so that they multiply "
                 "to %lld",
                 (long long)n);
  return WEBML_OK;
}

static void assume(const void *options, wml_shape *out) {
  const wml_ints *target = &((const reshape_options *)options)->target;
  *out = (wml_shape){0};
  if (target->n >= WML_MAX_RANK) return;
  out->rank = target->n;
  for (int i = 0; i < target->n; i++) out->dim[i] = target->items[i] > 0 ? target->items[i] : -1;
}

static int forward(wml_emission *e) {
  return wml_emit_reshape(e, e->in[0], "out/", &e->node->out);
}

static void backward(wml_emission *e, int dy) {
  if (wml_emit_wants(e, 0))
    wml_emit_gradient(e, 0, wml_emit_reshape(e, dy, "dx/", wml_emit_in_shape(e, 0)));
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const char *x = wml_onnx_input(c, 0, false);
  return wml_onnx_result(c, wml_onnx_reshape(c, x, &c->node->out), false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  int dim[WML_MAX_RANK];
  for (int i = 0; i < c->node->out.rank; i++) dim[i] = (int)c->node->out.dim[i];
  wml_tfjs_ints(c, "target_shape", c->node->out.rank, dim);
  return WEBML_OK;
}

const wml_layer_class wml_layer_reshape = {.name = "Reshape",
                                           .snake = "reshape",
                                           .about = "Gives the same values another shape.",
                                           .takes_any_type = true,
                                           .hands_on = true,
                                           .keeps_range = true,
                                           .options_size = sizeof(reshape_options),
                                           .fields = fields,
                                           .n_fields = sizeof fields / sizeof *fields,
                                           .shape = shape,
                                           .assume = assume,
                                           .forward = forward,
                                           .backward = backward,
                                           .onnx = onnx,
                                           .tfjs = tfjs};
