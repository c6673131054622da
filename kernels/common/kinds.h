/* The lists of what a step can contain. Each fact stands here once: enumerations, names and
 * tables derive from these lists by X-macros. Names are Keras's. */
#ifndef WML_COMMON_KINDS_H
#define WML_COMMON_KINDS_H

/* X(symbol, Keras name) - element by element unless WML_ACTIVATION_IS_ROW. */
#define WML_ACTIVATIONS(X)                                                                         \
  X(LINEAR, "linear")                                                                              \
  X(RELU, "relu")                                                                                  \
  X(RELU6, "relu6")                                                                                \
  X(LEAKY_RELU, "leaky_relu")                                                                      \
  X(ELU, "elu")                                                                                    \
  X(SELU, "selu")                                                                                  \
  X(CELU, "celu")                                                                                  \
  X(GELU, "gelu")                                                                                  \
  X(GELU_TANH, "gelu_tanh")                                                                        \
  X(SIGMOID, "sigmoid")                                                                            \
  X(TANH, "tanh")                                                                                  \
  X(EXPONENTIAL, "exponential")                                                                    \
  X(HARD_SIGMOID, "hard_sigmoid")                                                                  \
  X(HARD_SILU, "hard_silu")                                                                        \
  X(HARD_TANH, "hard_tanh")                                                                        \
  X(LOG_SIGMOID, "log_sigmoid")                                                                    \
  X(SOFTPLUS, "softplus")                                                                          \
  X(SOFTSIGN, "softsign")                                                                          \
  X(SILU, "silu")                                                                                  \
  X(MISH, "mish")                                                                                  \
  X(SQUAREPLUS, "squareplus")                                                                      \
  X(SOFT_SHRINK, "soft_shrink")                                                                    \
  X(SOFTMAX, "softmax")                                                                            \
  X(LOG_SOFTMAX, "log_softmax")                                                                    \
  X(SPARSEMAX, "sparsemax")                                                                        \
  X(GLU, "glu")

/* X(symbol, Keras name) */
#define WML_LOSSES(X)                                                                              \
  X(MEAN_SQUARED_ERROR, "mean_squared_error")                                                      \
  X(MEAN_ABSOLUTE_ERROR, "mean_absolute_error")                                                    \
  X(MEAN_ABSOLUTE_PERCENTAGE_ERROR, "mean_absolute_percentage_error")                              \
  X(MEAN_SQUARED_LOGARITHMIC_ERROR, "mean_squared_logarithmic_error")                              \
  X(BINARY_CROSSENTROPY, "binary_crossentropy")                                                    \
  X(CATEGORICAL_CROSSENTROPY, "categorical_crossentropy")                                          \
  X(SPARSE_CATEGORICAL_CROSSENTROPY, "sparse_categorical_crossentropy")                            \
  X(HINGE, "hinge")                                                                                \
  X(SQUARED_HINGE, "squared_hinge")                                                                \
  X(CATEGORICAL_HINGE, "categorical_hinge")                                                        \
  X(HUBER, "huber")                                                                                \
  X(LOG_COSH, "log_cosh")                                                                          \
  X(KL_DIVERGENCE, "kl_divergence")                                                                \
  X(POISSON, "poisson")                                                                            \
  X(COSINE_SIMILARITY, "cosine_similarity")

/* X(symbol, Keras name, number of state tensors shaped like the parameter) */
#define WML_OPTIMIZERS(X)                                                                          \
  X(SGD, "sgd", 1)                                                                                 \
  X(RMSPROP, "rmsprop", 3)                                                                         \
  X(ADAM, "adam", 3)                                                                               \
  X(ADAMW, "adamw", 3)                                                                             \
  X(ADAMAX, "adamax", 2)                                                                           \
  X(NADAM, "nadam", 2)                                                                             \
  X(ADAGRAD, "adagrad", 1)                                                                         \
  X(ADADELTA, "adadelta", 2)                                                                       \
  X(FTRL, "ftrl", 2)                                                                               \
  X(LION, "lion", 1)                                                                               \
  X(LAMB, "lamb", 2)

/* X(symbol, Keras name, true when more is better) */
#define WML_METRICS(X)                                                                             \
  X(BINARY_ACCURACY, "binary_accuracy", 1)                                                         \
  X(CATEGORICAL_ACCURACY, "categorical_accuracy", 1)                                               \
  X(SPARSE_CATEGORICAL_ACCURACY, "sparse_categorical_accuracy", 1)                                 \
  X(TOP_K_CATEGORICAL_ACCURACY, "top_k_categorical_accuracy", 1)                                   \
  X(PRECISION, "precision", 1)                                                                     \
  X(RECALL, "recall", 1)                                                                           \
  X(AUC, "auc", 1)                                                                                 \
  X(METRIC_MAE, "mean_absolute_error", 0)                                                          \
  X(METRIC_MSE, "mean_squared_error", 0)                                                           \
  X(ROOT_MEAN_SQUARED_ERROR, "root_mean_squared_error", 0)                                         \
  X(METRIC_COSINE_SIMILARITY, "cosine_similarity", 1)                                              \
  X(R2_SCORE, "r2_score", 1)                                                                       \
  X(METRIC_CROSSENTROPY, "crossentropy", 0)

#define WML_ENUM2(symbol, name) WML_##symbol,
#define WML_ENUM3(symbol, name, extra) WML_##symbol,

typedef enum wml_activation_kind {
  WML_ACTIVATIONS(WML_ENUM2) WML_N_ACTIVATIONS
} wml_activation_kind;
typedef enum wml_loss_kind { WML_LOSSES(WML_ENUM2) WML_N_LOSSES } wml_loss_kind;
typedef enum wml_optimizer_kind { WML_OPTIMIZERS(WML_ENUM3) WML_N_OPTIMIZERS } wml_optimizer_kind;
typedef enum wml_metric_kind { WML_METRICS(WML_ENUM3) WML_N_METRICS } wml_metric_kind;

/* Activations that need a whole row (the last axis) at once. */
#define WML_ACTIVATION_IS_ROW(kind) ((kind) >= WML_SOFTMAX)

/* Functions of kernels/common are compiled for the host and, by nvcc, for the device too. */
#if defined(WML_FN) /* vec.c insists on inlining, so that loops around the formulas vectorise */
#elif defined(__CUDACC__)
#define WML_FN static __host__ __device__ inline
#else
#define WML_FN static inline
#endif

#endif
