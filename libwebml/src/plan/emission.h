/* One use of a layer while the graph of a step is built: what a layer's file has to say of its
 * forward and backward operations. */
#ifndef WML_PLAN_EMISSION_H
#define WML_PLAN_EMISSION_H

#include "model/layer.h"

struct wml_builder; /* builder.h */

enum { WML_MAX_KEPT = 4 };

typedef struct wml_emission {
  struct wml_builder *builder;
  const wml_layer *layer;
  const void *options;
  const wml_node *node;
  bool trains;   /* a step of training: else there is no backward pass */
  bool has_loss; /* of training or of evaluation */
  int64_t batch;
  int n_inputs;
  int *in;                   /* tensors that it reads */
  int pre, out;              /* before the activation that it ends with, -1; its result */
  int param[WML_MAX_PARAMS]; /* tensors */
  int param_gradient[WML_MAX_PARAMS];
  int kept[WML_MAX_KEPT]; /* what forward() keeps for backward(); -1 */
  int *kept_of;           /* the same, one for each input */
  uint32_t stream;        /* of what is random, from wml_emit_stream() */
  int logit_gradient;     /* of `pre`, from a loss that reads it; -1 */
} wml_emission;

/* ---- tensors: index, 0 with builder->failed where memory is short ---- */

/* A value [batch, shape...]; prefix: "out/", "dx/", ... */
int wml_emit_value(wml_emission *e, const char *prefix, const wml_shape *shape);
/* A value of the same shape and type as the tensor. */
int wml_emit_like(wml_emission *e, const char *prefix, int tensor);
/* A value of any shape, also without the batch. */
int wml_emit_tensor(wml_emission *e, const char *prefix, int rank, const int64_t *dim);
void wml_emit_set_dtype(wml_emission *e, int tensor, wml_dtype dtype);
const wml_tensor *wml_emit_info(const wml_emission *e, int tensor);
/* Shape of the i-th input. */
const wml_shape *wml_emit_in_shape(const wml_emission *e, int i);

/* ---- operations: valid until the next one is made; operands and results are -1 ---- */

wml_op *wml_emit_op(wml_emission *e, wml_op_kind kind);
/* One operand, one result of the given shape. */
wml_op *wml_emit_unary(wml_emission *e, wml_op_kind kind, int x, const char *prefix,
                       const wml_shape *shape);
/* The same elements under another shape. */
int wml_emit_reshape(wml_emission *e, int x, const char *prefix, const wml_shape *shape);
/* a op b, of the shape given. */
int wml_emit_binary(wml_emission *e, wml_binary kind, int a, int b, const char *prefix,
                    const wml_shape *shape);
/* Numbers what is random in the model; also sets e->stream. */
uint32_t wml_emit_stream(wml_emission *e);

/* The activation that the layer ends with: x itself where it is linear. Sets e->pre. */
int wml_emit_activation(wml_emission *e, int x, const wml_activation *activation);
/* From the gradient of the result (-1: only the loss asks) to that of what the activation reads.
 * The first thing in backward() of layers with such an activation. */
int wml_emit_activation_backward(wml_emission *e, int dy, const wml_activation *activation);

/* ---- gradients ---- */

/* Whether anything below input i is trained. */
bool wml_emit_wants(const wml_emission *e, int i);
/* Hands on a gradient of input i; several are added up. */
void wml_emit_gradient(wml_emission *e, int i, int tensor);
/* The tensor for the gradient of parameter k, to be written by one operation; -1: not trained. */
int wml_emit_param_gradient(wml_emission *e, int k);

#endif
