/* The lists of what a step can contain. Each fact stands here once: enumerations, names and
 * tables derive from these lists by X-macros. Names are Keras's. */
#ifndef WML_COMMON_KINDS_H
#define WML_COMMON_KINDS_H

/* X(symbol, Keras name, what it is) - element by element unless WML_ACTIVATION_IS_ROW. */
#define WML_ACTIVATIONS(X)                                                                         \
  X(LINEAR, "linear", "The inputs as they are.")                                                   \
  X(RELU, "relu", "0 below 0, the input above; the usual choice inside a network.")                \
  X(RELU6, "relu6", "relu with 6 as the greatest output.")                                         \
  X(LEAKY_RELU, "leaky_relu", "relu with a small slope below 0, so that no unit dies.")            \
  X(ELU, "elu", "The input above 0, an exponential that levels off below.")                        \
  X(SELU, "selu", "elu with constants that keep mean and variance through many layers.")           \
  X(CELU, "celu", "elu with a continuous slope for every alpha.")                                  \
  X(GELU, "gelu", "The input times the normal distribution's function of it.")                     \
  X(GELU_TANH, "gelu_tanh", "gelu, approximated by tanh.")                                         \
  X(SIGMOID, "sigmoid", "From 0 to 1; for the last layer where each output is a yes or no.")       \
  X(TANH, "tanh", "From -1 to 1.")                                                                 \
  X(EXPONENTIAL, "exponential", "e to the power of the input.")                                    \
  X(HARD_SIGMOID, "hard_sigmoid", "sigmoid in three straight lines.")                              \
  X(HARD_SILU, "hard_silu", "silu with a hard sigmoid.")                                           \
  X(HARD_TANH, "hard_tanh", "tanh in three straight lines.")                                       \
  X(LOG_SIGMOID, "log_sigmoid", "The logarithm of sigmoid.")                                       \
  X(SOFTPLUS, "softplus", "A smooth relu.")                                                        \
  X(SOFTSIGN, "softsign", "From -1 to 1, slower than tanh.")                                       \
  X(SILU, "silu", "The input times its sigmoid.")                                                  \
  X(MISH, "mish", "The input times tanh of its softplus.")                                         \
  X(SQUAREPLUS, "squareplus", "A smooth relu without exponentials.")                               \
  X(SOFT_SHRINK, "soft_shrink", "Moves inputs towards 0, to 0 where they are small.")              \
  X(SOFTMAX, "softmax",                                                                            \
    "Probabilities that sum to 1; for the last layer where one class is right.")                   \
  X(LOG_SOFTMAX, "log_softmax", "The logarithm of softmax.")                                       \
  X(SPARSEMAX, "sparsemax", "Probabilities of which many are exactly 0.")                          \
  X(GLU, "glu", "One half of the features times the sigmoid of the other.")

/* X(symbol, Keras name, what it is) - of each row by itself unless WML_LOSS_IS_OF_BATCH. */
#define WML_LOSSES(X)                                                                              \
  X(MEAN_SQUARED_ERROR, "mean_squared_error", "The mean of the squared differences; for numbers.") \
  X(MEAN_ABSOLUTE_ERROR, "mean_absolute_error",                                                    \
    "The mean of the absolute differences; for numbers with outliers.")                            \
  X(MEAN_ABSOLUTE_PERCENTAGE_ERROR, "mean_absolute_percentage_error",                              \
    "The mean of the absolute differences in percent of the truth.")                               \
  X(MEAN_SQUARED_LOGARITHMIC_ERROR, "mean_squared_logarithmic_error",                              \
    "The mean of the squared differences of logarithms; for numbers of very different size.")      \
  X(BINARY_CROSSENTROPY, "binary_crossentropy",                                                    \
    "For outputs that are each a yes or no, after sigmoid.")                                       \
  X(CATEGORICAL_CROSSENTROPY, "categorical_crossentropy",                                          \
    "For one class out of several, after softmax.")                                                \
  X(SPARSE_CATEGORICAL_CROSSENTROPY, "sparse_categorical_crossentropy",                            \
    "The same for one label as the output.")                                                       \
  X(HINGE, "hinge", "For targets of -1 and 1: a margin of 1 is wanted.")                           \
  X(SQUARED_HINGE, "squared_hinge", "hinge, squared.")                                             \
  X(CATEGORICAL_HINGE, "categorical_hinge",                                                        \
    "A margin between the right class and the best of the others.")                                \
  X(HUBER, "huber", "Squared for small differences, absolute for large ones.")                     \
  X(LOG_COSH, "log_cosh", "The logarithm of the hyperbolic cosine of the differences.")            \
  X(KL_DIVERGENCE, "kl_divergence", "How far one distribution is from another.")                   \
  X(POISSON, "poisson", "For counts.")                                                             \
  X(COSINE_SIMILARITY, "cosine_similarity", "The angle between prediction and truth: -1 is best.") \
  X(BINARY_FOCAL_CROSSENTROPY, "binary_focal_crossentropy",                                        \
    "binary_crossentropy that counts less what is already right; for rare answers.")               \
  X(CATEGORICAL_FOCAL_CROSSENTROPY, "categorical_focal_crossentropy",                              \
    "categorical_crossentropy that counts less what is already right; for rare classes.")          \
  X(CATEGORICAL_GENERALIZED_CROSS_ENTROPY, "categorical_generalized_cross_entropy",                \
    "Between cross-entropy and absolute error; for labels of which some are wrong.")               \
  X(DICE, "dice", "How little prediction and truth overlap in the whole batch; for masks.")        \
  X(TVERSKY, "tversky", "dice with a weight of its own for each kind of mistake.")

/* X(symbol, Keras name, number of state tensors shaped like the parameter, what it is) */
#define WML_OPTIMIZERS(X)                                                                          \
  X(SGD, "sgd", 1, "Stochastic gradient descent, with momentum where it is wanted.")               \
  X(RMSPROP, "rmsprop", 3, "Steps divided by a moving mean of the gradients' size.")               \
  X(ADAM, "adam", 3, "Moving means of gradients and of their squares; the usual choice.")          \
  X(ADAMW, "adamw", 3, "adam with weight decay apart from the gradients.")                         \
  X(ADAMAX, "adamax", 2, "adam with the greatest gradient in place of the mean square.")           \
  X(NADAM, "nadam", 2, "adam with Nesterov momentum.")                                             \
  X(ADAGRAD, "adagrad", 1, "Steps divided by all gradients so far.")                               \
  X(ADADELTA, "adadelta", 2, "Steps of a size of their own, without a rate to choose.")            \
  X(FTRL, "ftrl", 2, "Follow the regularized leader; for sparse inputs.")                          \
  X(LION, "lion", 1, "The sign of a moving mean; half the memory of adam.")                        \
  X(LAMB, "lamb", 2, "adam with a step for each layer; for large batches.")

/* X(symbol, Keras name, what it is) - the norms are along axes of the weights. */
#define WML_CONSTRAINTS(X)                                                                         \
  X(MAX_NORM, "max_norm", "Norms above max_value are scaled down to it.")                          \
  X(NON_NEG, "non_neg", "What is below 0 becomes 0.")                                              \
  X(UNIT_NORM, "unit_norm", "All norms become 1.")                                                 \
  X(MIN_MAX_NORM, "min_max_norm", "Norms are brought between min_value and max_value.")

/* X(symbol, Keras name, true when more is better, what it is) */
#define WML_METRICS(X)                                                                             \
  X(BINARY_ACCURACY, "binary_accuracy", 1, "The share of outputs on the right side of 0.5.")       \
  X(CATEGORICAL_ACCURACY, "categorical_accuracy", 1,                                               \
    "The share of samples whose most likely class is right.")                                      \
  X(SPARSE_CATEGORICAL_ACCURACY, "sparse_categorical_accuracy", 1,                                 \
    "The same for one label as the output.")                                                       \
  X(TOP_K_CATEGORICAL_ACCURACY, "top_k_categorical_accuracy", 1,                                   \
    "The share of samples whose class is among the k most likely.")                                \
  X(PRECISION, "precision", 1, "The share of positive answers that are right.")                    \
  X(RECALL, "recall", 1, "The share of positive samples that are found.")                          \
  X(AUC, "auc", 1, "The area under the ROC curve.")                                                \
  X(METRIC_MAE, "mean_absolute_error", 0, "The mean of the absolute differences.")                 \
  X(METRIC_MSE, "mean_squared_error", 0, "The mean of the squared differences.")                   \
  X(ROOT_MEAN_SQUARED_ERROR, "root_mean_squared_error", 0,                                         \
    "The root of the mean of the squared differences.")                                            \
  X(METRIC_COSINE_SIMILARITY, "cosine_similarity", 1,                                              \
    "The cosine of the angle between prediction and truth.")                                       \
  X(R2_SCORE, "r2_score", 1, "The share of the variance that is explained.")                       \
  X(METRIC_CROSSENTROPY, "crossentropy", 0, "The cross-entropy, without regularizers.")

#define WML_ENUM2(symbol, name, about) WML_##symbol,
#define WML_ENUM3(symbol, name, extra, about) WML_##symbol,

typedef enum wml_activation_kind {
  WML_ACTIVATIONS(WML_ENUM2) WML_N_ACTIVATIONS
} wml_activation_kind;
typedef enum wml_loss_kind { WML_LOSSES(WML_ENUM2) WML_N_LOSSES } wml_loss_kind;
typedef enum wml_optimizer_kind { WML_OPTIMIZERS(WML_ENUM3) WML_N_OPTIMIZERS } wml_optimizer_kind;
/* 0 is no constraint, so that what is not set has none. */
typedef enum wml_constraint_kind {
  WML_NO_CONSTRAINT,
  WML_CONSTRAINTS(WML_ENUM2) WML_CONSTRAINTS_END
} wml_constraint_kind;
typedef enum wml_metric_kind { WML_METRICS(WML_ENUM3) WML_N_METRICS } wml_metric_kind;

/* Activations that need a whole row (the last axis) at once. */
#define WML_ACTIVATION_IS_ROW(kind) ((kind) >= WML_SOFTMAX)

/* Losses with one value for the whole batch. */
#define WML_LOSS_IS_OF_BATCH(kind) ((kind) >= WML_DICE)

/* Functions of kernels/common are compiled for the host and, by nvcc, for the device too. */
#if defined(WML_FN) /* vec.c insists on inlining, so that loops around the formulas vectorise */
#elif defined(__CUDACC__)
#define WML_FN static __host__ __device__ inline
#else
#define WML_FN static inline
#endif

#endif
