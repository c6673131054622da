/* Appending tensors and operations to a graph. */
#ifndef WML_PLAN_BUILDER_H
#define WML_PLAN_BUILDER_H

#include "plan/step.h"

/* The most that one layer adds, and what stands around the layers. */
enum { WML_LAYER_TENSORS = 32, WML_LAYER_OPS = 8, WML_OTHER_TENSORS = 64, WML_OTHER_OPS = 64 };

typedef struct wml_builder {
  const wml_step_spec *spec;
  wml_step *step;
  wml_tensor *tensors;
  wml_op *ops;
  wml_update_item *items;
  int max_tensors, max_ops;
  int n_tensors, n_ops, n_items, n_dropouts;
  bool failed; /* memory */
  /* Per layer, what the backward pass needs; tensor indices or -1. */
  struct wml_layer_tensors {
    int in, pre, out; /* before and after the activation */
    int param[WML_MAX_PARAMS];
    int index;          /* of a pooling */
    int mean, variance; /* of a normalisation: batch statistics */
    uint32_t stream;    /* of a dropout */
  } * layers;
} wml_builder;

int wml_build_tensor(wml_builder *b, wml_tensor tensor, const char *prefix, const char *name);
/* A value with the layer's shape behind the batch. */
int wml_build_value(wml_builder *b, const wml_layer *layer, const char *prefix,
                    const wml_shape *shape);
wml_op *wml_build_op(wml_builder *b, wml_op_kind kind, const char *layer);

/* layers.c: forward emission of a layer reading `x`; returns its output. Backward: gradient dy of
 * its output -> gradient of its input (-1 when `need_dx` is false). */
int wml_build_forward(wml_builder *b, const wml_layer *layer, struct wml_layer_tensors *t, int x);
int wml_build_backward(wml_builder *b, const wml_layer *layer, struct wml_layer_tensors *t, int dy,
                       bool skip_activation, bool need_dx);

#endif
