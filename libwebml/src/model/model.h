/* A checked model: layers with their shapes and parameters, loss, optimizer, metrics. Immutable. */
#ifndef WML_MODEL_MODEL_H
#define WML_MODEL_MODEL_H

#include "base/alloc.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"

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
  int64_t dim[3];
} wml_shape;

/* X(symbol, Keras name, snake name for automatic names) */
#define WML_LAYERS(X)                                                                              \
  X(CONV2D, "Conv2D", conv2d)                                                                      \
  X(MAX_POOLING2D, "MaxPooling2D", max_pooling2d)                                                  \
  X(FLATTEN, "Flatten", flatten)                                                                   \
  X(DROPOUT, "Dropout", dropout)                                                                   \
  X(BATCH_NORMALIZATION, "BatchNormalization", batch_normalization)                                \
  X(DENSE, "Dense", dense)

#define WML_LAYER_ENUM(symbol, name, snake) WML_LAYER_##symbol,
typedef enum wml_layer_type { WML_LAYERS(WML_LAYER_ENUM) WML_N_LAYERS } wml_layer_type;

enum { WML_MAX_PARAMS = 4, WML_MAX_LAYERS = 512 };

/* A tensor that a layer owns. */
typedef struct wml_param {
  const char *name; /* "conv2d/kernel" */
  int rank;
  int64_t dim[4];
  wml_initializer initializer;
  wml_regularizer regularizer;
  bool trainable; /* false: a moving statistic, or a frozen layer's */
  bool statistic; /* moving mean or variance */
} wml_param;

typedef struct wml_layer wml_layer;
struct wml_layer {
  wml_layer_type type;
  const char *name;
  int input; /* index of the layer it reads, -1: the model's input */
  wml_shape in, out;
  int n_params;
  wml_param params[WML_MAX_PARAMS];
  double flops; /* of one sample's forward pass */
  /* In a description that is being checked: something, sizes or the type are wrong. */
  bool has_issues, broken, unknown;
  bool trainable;
  bool use_bias;
  wml_activation activation;
  wml_initializer kernel_initializer, bias_initializer;
  wml_regularizer kernel_regularizer, bias_regularizer;
  union {
    struct {
      int filters, kernel_size[2], strides[2], dilation_rate[2], groups;
      wml_padding padding;
    } conv;
    struct {
      int pool_size[2], strides[2]; /* strides 0: the pool size */
      wml_padding padding;
    } pool;
    struct {
      int units; /* 0: open */
    } dense;
    struct {
      float rate;
    } dropout;
    struct {
      float momentum, epsilon;
      bool center, scale;
      int axis;
      wml_initializer beta, gamma, mean, variance;
      wml_regularizer beta_regularizer, gamma_regularizer;
    } norm;
  } u;
};

/* How a layer is quantized: what its kernel and input are whole multiples of. */
typedef struct wml_layer_quantization {
  const float *scales; /* [filters] of the kernel; NULL: the layer is not quantized */
  float input_scale;   /* its input lies in input_scale * [0, 255] */
  bool input_signed;   /* in input_scale * [-128, 127] instead */
} wml_layer_quantization;

/* ---- the model ---- */

typedef enum wml_format { WML_FORMAT_IMAGES, WML_FORMAT_CSV } wml_format;

typedef struct wml_metric_spec {
  const char *name; /* the key in the history: the string the user wrote */
  bool by_shape;    /* "accuracy", "crossentropy": the outputs decide which */
  wml_metric metric;
} wml_metric_spec;

typedef struct wml_index_list {
  int n;
  const int *items;
} wml_index_list;

struct webml_model {
  atomic_int references;
  wml_arena arena;
  const char *name, *dataset; /* NULL: none */
  wml_format format;
  bool dynamic;
  wml_shape input;
  int n_layers;
  wml_layer *layers;
  wml_optimizer optimizer;
  bool optimizer_open, loss_open; /* null in the description: chosen when shaped */
  wml_loss loss;
  int n_metrics;
  wml_metric_spec metrics[WEBML_MAX_METRICS];
  wml_index_list input_columns, output_columns, one_hot_columns; /* n < 0: not given */
};

/* Shape of the last layer's output. */
wml_shape wml_model_output(const webml_model *model);
webml_model *wml_model_retain(const webml_model *model);
int64_t wml_shape_elements(const wml_shape *shape); /* -1 when a dimension is unknown */
/* "64x64x3"; the buffer is returned. */
enum { WML_SHAPE_TEXT = 64 };
char *wml_shape_text(const wml_shape *shape, char text[WML_SHAPE_TEXT]);
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
const char *wml_layer_type_name(wml_layer_type type);
const char *wml_loss_name(wml_loss_kind kind);
const char *wml_optimizer_name(wml_optimizer_kind kind);
const char *wml_activation_name(wml_activation_kind kind);
const char *wml_metric_name(wml_metric_kind kind);
bool wml_metric_more_is_better(wml_metric_kind kind);

/* Stride of a pooling along an axis: the pool size where none is given. */
int wml_pool_stride(const wml_layer *layer, int axis);
/* Window geometry, as Keras computes it. */
int64_t wml_window_output(int64_t n, int size, int stride, int dilation, wml_padding padding);
void wml_window_pads(int64_t n, int size, int stride, int dilation, wml_padding padding,
                     int *before, int *after);

#endif
