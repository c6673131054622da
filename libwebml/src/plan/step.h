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
  wml_dtype input;  /* WML_U8: bytes, scaled by 1/255; WML_F32 */
  wml_dtype target; /* WML_I32: class per sample; WML_F32: [target_width] per sample */
  int64_t target_width;
  /* Rows in compact form (kernels/common/expand.h): [n] widths that outlive the plan; n 0: none. */
  const int32_t *input_widths, *target_widths;
  int n_input_cells, n_target_cells;
  wml_augment augment; /* training on bytes: all zero for none */
  bool sample_weight;
  wml_precision precision;
  bool deterministic;
  const wml_layer_quantization
      *quantization;         /* [layers of the model], outlives the plan; or NULL */
  bool layer_inputs;         /* predictions: what the layers read are outputs of the graph, too */
  const float *class_weight; /* [n_classes] or NULL; outlives the plan */
  int n_classes;
} wml_step_spec;

typedef struct wml_step {
  wml_arena arena;
  wml_graph graph;
  int input, target, weight; /* feeds; target and weight -1 when absent */
  int *layer_input;          /* [layers] what each layer reads */
  int output;                /* the prediction: an output of the graph unless training */
  int n_metrics;
  wml_metric metrics[WEBML_MAX_METRICS]; /* as decided by shapes */
  int metric_result[WEBML_MAX_METRICS];  /* where each metric's state begins in the results */
} wml_step;

webml_status wml_step_build(const wml_step_spec *spec, wml_step *step);
void wml_step_free(wml_step *step);
/* Values of the metrics from accumulated results. */
void wml_step_metrics(const wml_step *step, const double *results, double *values);
const char *wml_precision_name(wml_precision precision);
/* WML_FLOAT32 for NULL and names that there are not. */
wml_precision wml_precision_named(const char *name);
/* True where Keras computes this loss from the values before the last activation. */
bool wml_loss_uses_logits(const webml_model *model);

#endif
