/* PReLU: [..] -> the same shape: x, below 0 times alpha, which is learned (He et al. 2015, "Delving
 * deep into rectifiers"). alpha has the shape of a sample, with 1 along shared_axes, which count
 * from 1 as in Keras. */
#include "formats/onnx.h"
#include "formats/tfjs.h"
#include "plan/emission.h"

typedef struct prelu_options {
  wml_layer_options layer;
  wml_initializer alpha;
  wml_regularizer regularizer;
  wml_constraint constraint;
  wml_ints shared_axes;
} prelu_options;

#define AT(member) offsetof(prelu_options, member)

static const wml_field fields[] = {
    WML_INITIALIZER_FIELD("alpha", prelu_options, alpha, "zeros",
                          "How the slopes are set before training."),
    WML_REGULARIZER_FIELD("alpha", prelu_options, regularizer,
                          "A penalty on large slopes that is added to the loss."),
    WML_CONSTRAINT_FIELD("alpha", prelu_options, constraint,
                         "What slopes keep to after each update."),
    {.key = "shared_axes",
     .kind = WML_FIELD_INTS,
     .offset = AT(shared_axes),
     .low = 1,
     .high = 3,
     .nullable = true,
     .about = "Axes along which the slope is the same: [1, 2] for one of each channel."},
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_shaping *s) {
  const prelu_options *o = s->options;
  const wml_shape *in = &s->in[0];
  wml_param alpha = {.rank = in->rank,
                     .initializer = o->alpha,
                     .regularizer = o->regularizer,
                     .constraint = o->constraint};
  s->out = *in;
  for (int i = 0; i < in->rank; i++) alpha.dim[i] = in->dim[i];
  for (int i = 0; i < o->shared_axes.n; i++) {
    int axis = o->shared_axes.items[i];
    if (axis > in->rank) {
      wml_issue(s->issues, s->place, "shared_axes has %d, but the input's axes are 1 to %d", axis,
                in->rank);
      return WEBML_OK;
    }
    alpha.dim[axis - 1] = 1;
  }
  if (!wml_shaping_is_known(s)) return WEBML_OK;
  s->flops = (double)wml_shape_elements(in);
  return wml_shaping_param(s, "alpha", alpha);
}

/* ---- a step ---- */

static int forward(wml_emission *e) {
  return wml_emit_binary(e, WML_BINARY_PRELU, e->in[0], e->param[0], "out/", &e->node->out);
}

static void backward(wml_emission *e, int dy) {
  int dalpha = wml_emit_param_gradient(e, 0),
      dx = wml_emit_wants(e, 0) ? wml_emit_like(e, "dx/", e->in[0]) : -1;
  if (dalpha < 0 && dx < 0) return;
  wml_op *op = wml_emit_op(e, WML_OP_BINARY_BWD);
  op->in[0] = dy;
  op->in[1] = e->in[0];
  op->in[2] = e->param[0];
  op->out[0] = dx;
  op->out[1] = dalpha;
  op->u.binary = WML_BINARY_PRELU;
  wml_emit_gradient(e, 0, dx);
}

/* ---- exports ---- */

static webml_status onnx(wml_onnx_call *c) {
  const wml_named_tensor *alpha = wml_onnx_param(c, "alpha");
  const char *x = wml_onnx_input(c, 0, false);
  const char *slope = wml_onnx_floats(c, alpha->name, alpha->rank, alpha->dim, alpha->data);
  return wml_onnx_result(c, wml_onnx_binary(c, "PRelu", x, slope), false);
}

static webml_status tfjs(wml_tfjs_call *c) {
  const prelu_options *o = c->options;
  if (o->shared_axes.n) wml_tfjs_ints(c, "shared_axes", o->shared_axes.n, o->shared_axes.items);
  return WEBML_OK;
}

const wml_layer_class wml_layer_prelu = {
    .name = "PReLU",
    .snake = "p_re_lu",
    .about = "Multiplies negative values by slopes that are learned.",
    .options_size = sizeof(prelu_options),
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .onnx = onnx,
    .tfjs = tfjs};
