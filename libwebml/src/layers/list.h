/* X(the last part of the class's symbol): in the order in which they are shown. */
#define WML_LAYERS(X)                                                                              \
  X(conv2d)                                                                                        \
  X(depthwise_conv2d)                                                                              \
  X(separable_conv2d)                                                                              \
  X(conv2d_transpose)                                                                              \
  X(max_pooling2d)                                                                                 \
  X(average_pooling2d)                                                                             \
  X(global_average_pooling2d)                                                                      \
  X(global_max_pooling2d)                                                                          \
  X(flatten)                                                                                       \
  X(zero_padding2d)                                                                                \
  X(cropping2d)                                                                                    \
  X(up_sampling2d)                                                                                 \
  X(resizing)                                                                                      \
  X(rescaling)                                                                                     \
  X(normalization)                                                                                 \
  X(random_flip)                                                                                   \
  X(random_rotation)                                                                               \
  X(random_translation)                                                                            \
  X(random_zoom)                                                                                   \
  X(dropout)                                                                                       \
  X(batch_normalization)                                                                           \
  X(layer_normalization)                                                                           \
  X(group_normalization)                                                                           \
  X(rms_normalization)                                                                             \
  X(unit_normalization)                                                                            \
  X(dense)
