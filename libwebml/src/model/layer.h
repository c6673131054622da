/* What a layer class is: everything that the library knows of a kind of layer. Each class is one
 * file in layers/, and one line in layers/list.h. */
#ifndef WML_MODEL_LAYER_H
#define WML_MODEL_LAYER_H

#include "model/fields.h"
#include "model/model.h"

/* ---- options ---- */

/* The options of every class begin with it. */
typedef struct wml_layer_options {
  const char *name;
  bool trainable;
  float learning_rate_multiplier;
} wml_layer_options;

/* The options of layers with a kernel, a bias and an activation. */
typedef struct wml_linear_options {
  wml_activation activation;
  bool use_bias;
  wml_initializer kernel_initializer, bias_initializer;
  wml_regularizer kernel_regularizer, bias_regularizer;
  wml_constraint kernel_constraint, bias_constraint;
} wml_linear_options;

#define WML_ACTIVATION_FIELD(options, member)                                                      \
  {                                                                                                \
    .key = "activation", .kind = WML_FIELD_ACTIVATION, .offset = offsetof(options, member),        \
    .nullable = true, .about = "The function that is applied to the layer's outputs."              \
  }
#define WML_USE_BIAS_FIELD(options, member)                                                        \
  {                                                                                                \
    .key = "use_bias", .kind = WML_FIELD_BOOL, .offset = offsetof(options, member),                \
    .otherwise = 1, .about = "Whether a learned constant is added to each output."                 \
  }
#define WML_INITIALIZER_FIELD(role, options, member, name, text)                                   \
  {                                                                                                \
    .key = role "_initializer", .kind = WML_FIELD_INITIALIZER,                                     \
    .offset = offsetof(options, member), .word = name, .about = text                               \
  }
#define WML_REGULARIZER_FIELD(role, options, member, text)                                         \
  {                                                                                                \
    .key = role "_regularizer", .kind = WML_FIELD_REGULARIZER,                                     \
    .offset = offsetof(options, member), .nullable = true, .about = text                           \
  }
#define WML_CONSTRAINT_FIELD(role, options, member, text)                                          \
  {                                                                                                \
    .key = role "_constraint", .kind = WML_FIELD_CONSTRAINT, .offset = offsetof(options, member),  \
    .nullable = true, .about = text                                                                \
  }
/* `member`: a wml_linear_options. */
#define WML_LINEAR_FIELDS(options, member)                                                         \
  WML_ACTIVATION_FIELD(options, member.activation), WML_USE_BIAS_FIELD(options, member.use_bias),  \
      WML_INITIALIZER_FIELD("kernel", options, member.kernel_initializer, "glorot_uniform",        \
                            "How the weights are set before training."),                           \
      WML_INITIALIZER_FIELD("bias", options, member.bias_initializer, "zeros",                     \
                            "How the biases are set before training."),                            \
      WML_REGULARIZER_FIELD("kernel", options, member.kernel_regularizer,                          \
                            "A penalty on large weights that is added to the loss."),              \
      WML_REGULARIZER_FIELD("bias", options, member.bias_regularizer,                              \
                            "A penalty on large biases that is added to the loss."),               \
      WML_CONSTRAINT_FIELD("kernel", options, member.kernel_constraint,                            \
                           "What the weights must keep to after each update."),                    \
      WML_CONSTRAINT_FIELD("bias", options, member.bias_constraint,                                \
                           "What the biases must keep to after each update.")
#define WML_PADDING_FIELD(options, member)                                                         \
  {                                                                                                \
    .key = "padding", .kind = WML_FIELD_CHOICE, .offset = offsetof(options, member),               \
    .words = wml_padding_words,                                                                    \
    .about = "same: zeros around the picture keep its size; valid: the window stays inside."       \
  }
#define WML_CHANNELS_LAST_FIELD                                                                    \
  { .key = "data_format", .kind = WML_FIELD_IGNORED, .word = "channels_last" }
/* Of layers with weights. */
#define WML_TRAINABLE_FIELD                                                                        \
  {.key = "trainable",                                                                             \
   .kind = WML_FIELD_BOOL,                                                                         \
   .offset = offsetof(wml_layer_options, trainable),                                               \
   .otherwise = 1,                                                                                 \
   .about = "Whether training changes the layer's weights."},                                      \
  {                                                                                                \
    .key = "learning_rate_multiplier", .kind = WML_FIELD_FLOAT,                                    \
    .offset = offsetof(wml_layer_options, learning_rate_multiplier), .low = 1e-9, .high = 1000,    \
    .otherwise = 1, .about = "How many times the learning rate the layer's weights take."          \
  }
/* Of layers without weights. */
#define WML_NOT_TRAINABLE_FIELD                                                                    \
  { .key = "trainable", .kind = WML_FIELD_IGNORED }
#define WML_NAME_FIELD                                                                             \
  {                                                                                                \
    .key = "name", .kind = WML_FIELD_NAME, .offset = offsetof(wml_layer_options, name),            \
    .about = "The layer's name, unique in the model; made from its type where none is given."      \
  }

/* ---- the class ---- */

/* One use of a layer while shapes are computed. */
typedef struct wml_shaping {
  const webml_model *model;
  int node;
  wml_layer *layer;
  const void *options;
  int n_inputs;
  const wml_shape *in; /* none of rank 0 */
  wml_dtype dtype;     /* of the inputs */
  wml_shape out;       /* to be set; begins as what is known of it whatever the input is */
  wml_dtype out_dtype; /* F32 unless it is set */
  double flops;        /* to be set, of one sample's forward pass; begins as 0 */
  const wml_json_path *place;
  wml_issues *issues;
  wml_arena *arena;
  int n_params; /* declared so far */
} wml_shaping;

/* Adds a parameter named "<layer>/<role>". Of a layer that is used again it must have the same
 * shape, else there is an issue. */
webml_status wml_shaping_param(wml_shaping *s, const char *role, wml_param param);
/* Refuses inputs that are not known to the last dimension; true where they are. */
bool wml_shaping_is_known(const wml_shaping *s);

struct wml_emission;  /* plan/emission.h */
struct wml_onnx_call; /* formats/onnx.h */
struct wml_tfjs_call; /* formats/tfjs.h */

struct wml_layer_class {
  const char *name;              /* "Conv2D": Keras's */
  const char *snake;             /* "conv2d": of names that are made */
  const char *about;             /* what it does, in one sentence */
  const char *takes;             /* "an image [height, width, channels]"; NULL: any shape */
  int rank;                      /* of the inputs that it takes; 0: any from 1 on */
  int gives;                     /* rank of its result; 0: that of its first input */
  int least_inputs, most_inputs; /* 0: one; most -1: any number */
  bool takes_indices;            /* inputs are whole numbers */
  bool takes_any_type;           /* they may be, and so is its result then */
  bool hands_on; /* in prediction it computes nothing: views, and what only training does */
  size_t options_size;
  const wml_field *fields;
  int n_fields;
  const void *member; /* its row in the table of its file, where several classes share one; NULL */
  /* Sets out, flops and parameters from in and options; issues under `place`. */
  webml_status (*shape)(wml_shaping *shaping);
  /* What is known of the result from the options alone: sets dimensions of out. NULL: nothing but
   * `gives`. */
  void (*assume)(const void *options, wml_shape *out);
  /* The activation that it ends with, where that is no option named "activation". */
  wml_activation (*activation)(const void *options);
  /* Whether the kernel, its first parameter, can be quantized; NULL: it cannot. */
  bool (*quantizes)(const void *options);
  /* Values that lie in a range stay in it: a quantized value may pass through. */
  bool keeps_range;
  /* Emits the operations and returns the result's tensor. */
  int (*forward)(struct wml_emission *emission);
  /* dy: the gradient of the result. Hands on gradients of inputs and parameters that are wanted. */
  void (*backward)(struct wml_emission *emission, int dy);
  /* The augmentation of training that the layer stands for. NULL: none. */
  void (*augment)(const void *options, webml_augmentation *augmentation);
  /* Exports; NULL: the format cannot express the class. */
  webml_status (*onnx)(struct wml_onnx_call *call);
  webml_status (*tfjs)(struct wml_tfjs_call *call);
  const char *tfjs_kernel; /* TensorFlow.js's name of the first parameter; NULL: ours */
};

/* All classes, in the order of layers/list.h. */
extern const wml_layer_class *const wml_layer_classes[];
extern const int wml_n_layer_classes;
/* NULL: there is none of that name. */
const wml_layer_class *wml_layer_class_named(const char *name);

#endif
