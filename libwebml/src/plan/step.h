/* model + batch + mode -> the graph of a step, for a back end to compile. */
#ifndef WML_PLAN_STEP_H
#define WML_PLAN_STEP_H

#include "model/model.h"

typedef enum wml_mode {
  WML_MODE_TRAIN,    /* forward, loss, metrics, gradients, update */
  WML_MODE_EVALUATE, /* forward as in prediction, loss, metrics */
  WML_MODE_PREDICT
} wml_mode;

typedef struct wml_step_spec {
  const webml_model *model;
  wml_mode mode;
  int64_t batch;
  wml_feed_spec inputs[WML_MAX_ENDS], targets[WML_MAX_ENDS]; /* as the model's inputs, outputs */
  wml_augment augment; /* training on bytes: all zero for none */
  bool sample_weight;
  wml_precision precision;
  bool deterministic;
  const wml_layer_quantization
      *quantization;         /* [layers of the model], outlives the plan; or NULL */
  bool node_inputs;          /* predictions: what the nodes read are outputs of the graph, too */
  const float *class_weight; /* [n_classes] or NULL; outlives the plan */
  int n_classes;
} wml_step_spec;

/* A metric of an output, as decided by shapes; or, where there are several outputs, the loss of
 * one. */
typedef struct wml_step_metric {
  bool is_loss;
  wml_metric metric;
  const char *name; /* as the history has it: of several outputs "<output>_<name>" */
  int output;       /* of the model */
  int result;       /* where its state begins in the results */
} wml_step_metric;

typedef struct wml_step {
  wml_arena arena;
  wml_graph graph;
  int inputs[WML_MAX_ENDS];  /* feeds */
  int targets[WML_MAX_ENDS]; /* -1 in predictions */
  int weight;                /* -1 when absent */
  int outputs[WML_MAX_ENDS]; /* predictions: outputs of the graph unless it trains */
  int n_outputs;
  int *node_input; /* [nodes] what each reads first; -1 for inputs of the model */
  int n_metrics;   /* of several outputs the losses come first */
  wml_step_metric *metrics;
} wml_step;

/* The inputs of predictions: rows of `type`, in which the inputs of the model lie behind each other
 * where there are several. */
void wml_step_rows(wml_step_spec *spec, wml_dtype type);
webml_status wml_step_build(const wml_step_spec *spec, wml_step *step);
void wml_step_free(wml_step *step);
/* Values of the metrics from accumulated results. */
void wml_step_metrics(const wml_step *step, const double *results, double *values);
const char *wml_precision_name(wml_precision precision);
/* WML_FLOAT32 for NULL and names that there are not. */
wml_precision wml_precision_named(const char *name);
/* True where the loss of that output is computed from the values before its activation: where Keras
 * does, and where that is more accurate. */
bool wml_loss_uses_logits(const webml_model *model, int output);

#endif
