/* A checked model: a graph of layers with shapes and parameters, losses, optimizer, metrics.
 * Immutable. */
#ifndef WML_MODEL_MODEL_H
#define WML_MODEL_MODEL_H

#include "base/alloc.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "kernels/backend.h"

#include <stdatomic.h>

/* ---- parts of layers ---- */

typedef enum wml_padding { WML_PADDING_VALID, WML_PADDING_SAME } wml_padding;

typedef enum wml_initializer_kind {
  WML_INIT_CONSTANT,         /* zeros, ones, constant */
  WML_INIT_UNIFORM,          /* random_uniform: a..b */
  WML_INIT_NORMAL,           /* random_normal: mean a, deviation b */
  WML_INIT_TRUNCATED_NORMAL, /* the same, redrawn outside two deviations */
  WML_INIT_VARIANCE_SCALING, /* glorot, he, lecun: scale a by fans */
  WML_INIT_ORTHOGONAL        /* gain a */
} wml_initializer_kind;

typedef struct wml_initializer {
  wml_initializer_kind kind;
  float a, b;
  enum { WML_FAN_IN, WML_FAN_OUT, WML_FAN_AVG } mode;
  enum { WML_DIST_UNIFORM, WML_DIST_TRUNCATED, WML_DIST_UNTRUNCATED } distribution;
  const char *name; /* as written */
} wml_initializer;

typedef struct wml_regularizer {
  float l1, l2;
} wml_regularizer;

/* Shape of one sample. An unknown dimension is -1. */
typedef struct wml_shape {
  int rank;
  int64_t dim[WML_MAX_RANK - 1];
} wml_shape;

enum {
  WML_MAX_PARAMS = 4,   /* of a layer */
  WML_MAX_NODES = 2048, /* of a model, its inputs among them */
  WML_MAX_ENDS = 16     /* inputs or outputs of a model */
};

/* A tensor that a layer owns. */
typedef struct wml_param {
  const char *name; /* "conv2d/kernel" */
  int rank;
  int64_t dim[4];
  /* As operations see it, where that is another shape of the same elements; rank 0: as it is. */
  int seen_rank;
  int64_t seen_dim[4];
  wml_initializer initializer;
  const float *values; /* what its elements begin with; NULL: the initializer says it */
  wml_regularizer regularizer;
  wml_constraint constraint;
  bool trainable; /* false: a moving statistic, or a frozen layer's */
  bool statistic; /* moving mean or variance */
} wml_param;

/* ---- layers and their uses ---- */

typedef struct wml_layer_class wml_layer_class; /* layer.h */

/* Options and parameters. A layer may be used several times: it is trained once. */
typedef struct wml_layer {
  const wml_layer_class *class; /* NULL: of a type that there is not */
  const char *name;
  void *options;                  /* as the class has them */
  int n_uses;                     /* further ones that were not given a name */
  bool trainable;                 /* whether training changes its parameters */
  float learning_rate_multiplier; /* of its parameters */
  int n_params;
  wml_param params[WML_MAX_PARAMS];
  /* In a description that is being checked: something is wrong, or sizes are. */
  bool has_issues, broken;
  const struct wml_json_path *place; /* in the description; good while that is being read */
} wml_layer;

/* One use of a layer, or an input of the model: a tensor, whichever way it comes about. Nodes stand
 * in an order in which they can be computed; the model's inputs are the first. */
typedef struct wml_node {
  const char *name; /* unique among nodes: the layer's, or that of a further use */
  int layer;        /* -1: an input of the model */
  int n_inputs;
  const int *inputs; /* nodes */
  bool is_wired;     /* the description names the inputs; else it reads the node before */
  bool is_use;       /* a further use of a layer */
  wml_shape out;     /* rank 0: not known */
  wml_dtype dtype;   /* F32; I32: whole numbers, such as indices */
  double flops;      /* of one sample's forward pass */
  const struct wml_json_path *place; /* in the description; good while that is being read */
} wml_node;

/* How a layer is quantized: what its kernel and input are whole multiples of. */
typedef struct wml_layer_quantization {
  const float *scales; /* [filters] of the kernel; NULL: the layer is not quantized */
  float input_scale;   /* its input lies in input_scale * [0, 255] */
  bool input_signed;   /* in input_scale * [-128, 127] instead */
} wml_layer_quantization;

/* How the rows of an input or a target lie in the arrays that a run is given. */
typedef struct wml_feed_spec {
  wml_dtype type;        /* inputs: U8 (bytes, scaled by 1/255), F32 or I32, as the model says;
                            targets: I32 (a class) or F32 */
  int64_t width;         /* of a target: values of a row, or of a pixel */
  const int32_t *widths; /* of rows in compact form (kernels/common/expand.h): [n_cells] widths
                            that outlive the plan */
  int n_cells;           /* 0: not compact */
  /* Where several inputs, or several targets, lie behind each other in rows of one array of
   * float32: rows of so many cells, of which this one has n_cells from `first` on. 0: it has an
   * array of its own. */
  int row_cells, first;
} wml_feed_spec;

/* ---- the model ---- */

typedef enum wml_format { WML_FORMAT_IMAGES, WML_FORMAT_CSV } wml_format;

typedef struct wml_metric_spec {
  const char *name; /* the key in the history: the string the user wrote */
  bool by_shape;    /* "accuracy", "crossentropy": the outputs decide which */
  wml_metric metric;
} wml_metric_spec;

typedef struct wml_index_list {
  int n; /* < 0: not given */
  const int *items;
} wml_index_list;

/* What a model reads: node i is input i. */
typedef struct wml_model_input {
  const char *name;
  wml_index_list columns; /* of a table */
} wml_model_input;

/* What a model gives, and what it is to learn there. */
typedef struct wml_model_output {
  const char *name;
  int node;
  wml_loss loss;
  bool loss_open;    /* chosen when the model is shaped to data */
  float loss_weight; /* of this loss in the sum */
  int n_metrics;
  wml_metric_spec metrics[WEBML_MAX_METRICS];
  wml_index_list columns; /* of a table */
} wml_model_output;

/* An item of the description's list of layers, for writing it as it was. */
typedef struct wml_layer_entry {
  int node;            /* that it makes; of a block the last */
  const char *block;   /* the name of the block that it is made of; NULL: a layer or a use */
  const char *options; /* of a block: JSON, */
  wml_node wires;      /* and what it reads */
} wml_layer_entry;

struct webml_model {
  atomic_int references;
  wml_arena arena;
  const webml_model *origin;  /* holds what this one was made of; or NULL */
  const char *name, *dataset; /* NULL: none */
  wml_format format;
  bool dynamic;
  int n_inputs, n_outputs, n_layers, n_nodes, n_entries;
  bool names_inputs, names_outputs; /* the description has "inputs", "outputs" */
  wml_layer_entry *entries;
  const char *blocks; /* JSON; or NULL */
  wml_model_input *inputs;
  wml_model_output *outputs;
  wml_layer *layers;
  wml_node *nodes;
  wml_optimizer optimizer;
  bool optimizer_open; /* null in the description: chosen when shaped */
  wml_index_list one_hot_columns;
};

/* The shape of the only input or output; of the first where there are several. */
wml_shape wml_model_input_shape(const webml_model *model);
wml_shape wml_model_output_shape(const webml_model *model);
/* Values of all inputs, or of all outputs, of one sample; -1 where a size is open. */
int64_t wml_model_input_elements(const webml_model *model);
int64_t wml_model_output_elements(const webml_model *model);
/* The layer of a node; NULL for an input of the model. */
static inline const wml_layer *wml_node_layer(const webml_model *m, int node) {
  return m->nodes[node].layer < 0 ? NULL : &m->layers[m->nodes[node].layer];
}
/* Shape of the node's i-th input. */
static inline const wml_shape *wml_node_in(const webml_model *m, const wml_node *node, int i) {
  return &m->nodes[node->inputs[i]].out;
}
/* The name of a layer's class; "?" where there is no such class. */
const char *wml_layer_class_name(const wml_layer *layer);
/* Whether the layer, which may be NULL, is of the class of that name. */
bool wml_layer_is(const wml_layer *layer, const char *class);
/* An option of the layer by its key, as its class's table of fields has it; NULL: the class has no
 * such option. */
void *wml_layer_option(const wml_layer *layer, const char *key);
/* The activation that a layer ends with: linear where it has none. */
wml_activation wml_layer_activation(const wml_layer *layer);
/* The node that computes what this one gives: itself, or, where layers like Flatten and Dropout
 * only hand on what they read, the node before them. */
int wml_node_source(const webml_model *model, int node);
/* Walks back from an output to the Dense that gives it, over layers of one input; -1: none. */
int wml_output_dense(const webml_model *model, int output);
webml_model *wml_model_retain(const webml_model *model);
int64_t wml_shape_elements(const wml_shape *shape); /* -1 when a dimension is unknown */
/* "64x64x3"; the buffer is returned. */
enum { WML_SHAPE_TEXT = 64 };
char *wml_shape_text(const wml_shape *shape, char text[WML_SHAPE_TEXT]);
/* A copy whose open parts may be filled in before wml_model_settle(): arrays of layers (with their
 * options), nodes, inputs and outputs are its own. */
webml_status wml_model_copy(const webml_model *model, webml_model **copy);
/* Computes shapes and parameters anew, with every check; not dynamic any more. */
webml_status wml_model_settle(webml_model *copy);
/* Builds a model from a parsed description. */
webml_status wml_model_build(const wml_json *root, webml_model **model);
/* The same as far as the description can be understood: where issues has errors, the model may have
 * broken layers, unknown shapes or no layer at all, and is good for being looked at only. Free the
 * issues before the JSON tree. */
struct wml_issues;
webml_status wml_model_read(const wml_json *root, struct wml_issues *issues, webml_model **model);
/* The members of a summary without the brackets around: layers with shapes and parameters. */
void wml_model_write_summary(wml_text *text, const webml_model *model);
void wml_model_write_json(wml_text *text, const webml_model *model);
const char *wml_loss_name(wml_loss_kind kind);
void wml_default_loss(wml_loss_kind kind, wml_loss *out);
const char *wml_optimizer_name(wml_optimizer_kind kind);
const char *wml_activation_name(wml_activation_kind kind);
const char *wml_metric_name(wml_metric_kind kind);
bool wml_metric_more_is_better(wml_metric_kind kind);

/* Window geometry, as Keras computes it. */
int64_t wml_window_output(int64_t n, int size, int stride, int dilation, wml_padding padding);
void wml_window_pads(int64_t n, int size, int stride, int dilation, wml_padding padding,
                     int *before, int *after);

#endif
