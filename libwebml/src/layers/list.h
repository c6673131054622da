/* X(the last part of the class's symbol): in the order in which they are shown. */
#define WML_LAYERS(X)                                                                              \
  X(conv2d)                                                                                        \
  X(max_pooling2d)                                                                                 \
  X(flatten)                                                                                       \
  X(dropout)                                                                                       \
  X(batch_normalization)                                                                           \
  X(dense)                                                                                         \
  X(activation_layer)                                                                              \
  X(relu)                                                                                          \
  X(leaky_relu)                                                                                    \
  X(prelu)                                                                                         \
  X(elu)                                                                                           \
  X(softmax)                                                                                       \
  X(reshape)                                                                                       \
  X(permute)                                                                                       \
  X(repeat_vector)                                                                                 \
  X(embedding)                                                                                     \
  X(add)                                                                                           \
  X(subtract)                                                                                      \
  X(multiply)                                                                                      \
  X(average)                                                                                       \
  X(maximum)                                                                                       \
  X(minimum)                                                                                       \
  X(concatenate)                                                                                   \
  X(dot)                                                                                           \
  X(spatial_dropout2d)                                                                             \
  X(gaussian_noise)                                                                                \
  X(gaussian_dropout)                                                                              \
  X(alpha_dropout)                                                                                 \
  X(activity_regularization)
