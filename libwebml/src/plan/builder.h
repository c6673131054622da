/* Appending tensors and operations to a graph. */
#ifndef WML_PLAN_BUILDER_H
#define WML_PLAN_BUILDER_H

#include "plan/emission.h"
#include "plan/step.h"

typedef struct wml_builder {
  const wml_step_spec *spec;
  wml_step *step;
  wml_tensor *tensors;
  wml_op *ops;
  wml_update_item *items;
  int tensor_capacity, op_capacity;
  int n_tensors, n_ops, n_items, n_streams;
  bool failed;             /* memory: the graph is thrown away */
  wml_op lost;             /* what is written then */
  wml_emission *emissions; /* [nodes] */
  int *value;              /* [nodes] tensors of their results */
  int *gradient;           /* [nodes] of those, as far as they are known; -1 */
  bool *wanted;            /* [nodes] whether something at or below them is trained */
  int *params;             /* [layers, WML_MAX_PARAMS] tensors */
} wml_builder;

int wml_build_tensor(wml_builder *b, wml_tensor tensor, const char *prefix, const char *name);
wml_op *wml_build_op(wml_builder *b, wml_op_kind kind, const char *layer);
/* The sum of two gradients, as a tensor like the second; where either is -1 it is the other. Its
 * name is "<prefix>@<index>/<of>": what it is the gradient of, and what tells it from others of
 * that. */
int wml_build_sum(wml_builder *b, int first, int second, const char *prefix, int index,
                  const char *of);
/* Joins a gradient to what is known of a node's. */
void wml_build_gradient(wml_builder *b, int node, int tensor);

#endif
