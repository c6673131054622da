/* X(the last part of the class's symbol): in the order in which they are shown. */
#define WML_LAYERS(X)                                                                              \
  X(conv2d)                                                                                        \
  X(max_pooling2d)                                                                                 \
  X(flatten)                                                                                       \
  X(dropout)                                                                                       \
  X(batch_normalization)                                                                           \
  X(dense)
