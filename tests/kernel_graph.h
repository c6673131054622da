/* Small graphs of operations, built by hand and run on one back end. */
#ifndef WML_TEST_KERNEL_GRAPH_H
#define WML_TEST_KERNEL_GRAPH_H

#include "kernel_cases.h"

enum { GRAPH_TENSORS = 64, GRAPH_OPS = 32, GRAPH_OBSERVED = 12, GRAPH_RESULTS = 4 };

typedef struct kernel_graph {
  wml_tensor tensor[GRAPH_TENSORS];
  char name[GRAPH_TENSORS][24];
  wml_op op[GRAPH_OPS];
  int n_tensors, n_ops;
  float *data[GRAPH_TENSORS]; /* of feeds (int32 where they are) and parameters; else NULL */
  int64_t batch;
  wml_precision precision;
  bool has_results;
  bool copies; /* what is observed is a copy, so that the result itself may be bfloat16 */
  int observed[GRAPH_OBSERVED], n_observed; /* values and gradients that are compared */
} kernel_graph;

/* A tensor with a name of its own; a 0 ends the shape. `like`: of a gradient, else -1. */
int graph_tensor(kernel_graph *g, wml_role role, wml_dtype dtype, const int64_t *dim, int like);
/* The gradient of a parameter, or of a value. */
int graph_gradient(kernel_graph *g, int of);
/* Appends an operation with these attributes and operands (-1: absent). */
wml_op *graph_op(kernel_graph *g, wml_op op, int a, int b, int c);
/* A feed with data (taken over), and its rows. */
int graph_feed(kernel_graph *g, wml_dtype dtype, const int64_t *dim, float *data);
int graph_param(kernel_graph *g, const int64_t *dim, float *data);
void graph_observe(kernel_graph *g, int tensor);
void graph_free(kernel_graph *g);

/* Operation, operands and the way back. */
typedef struct case_graph {
  kernel_graph graph;
  int operand[KERNEL_OPERANDS], n_operands, feed[KERNEL_OPERANDS];
  int gradient[KERNEL_OPERANDS]; /* -1: none */
  int result, dy, dy_feed;
} case_graph;

typedef struct case_variant {
  wml_precision precision;
  bool backward, copies;
} case_variant;

void case_graph_build(case_graph *g, const kernel_case *c, case_variant variant);

/* A graph on a back end. */
typedef struct kernel_rig {
  const wml_backend *backend;
  const kernel_graph *graph;
  wml_device *device;
  wml_store *store;
  wml_plan *plan;
  double results[GRAPH_RESULTS];
} kernel_rig;

wml_result rig_open(kernel_rig *r, const wml_backend *backend, int threads, const kernel_graph *g);
/* A further plan of another rig's store: rig_leave() before that one is closed. */
wml_result rig_join(kernel_rig *r, const kernel_rig *owner, const kernel_graph *g);
void rig_leave(kernel_rig *r);
void rig_put(kernel_rig *r); /* parameters, from the graph's data */
wml_result rig_run(kernel_rig *r);
/* The observed array `k`: the caller frees it. */
float *rig_read(kernel_rig *r, int k);
void rig_close(kernel_rig *r);

#endif
