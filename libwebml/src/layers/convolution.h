/* What the classes of convolutions have in common. */
#ifndef WML_LAYERS_CONVOLUTION_H
#define WML_LAYERS_CONVOLUTION_H

#include "layers/window.h"
#include "plan/emission.h"

/* How the filters slide. */
typedef struct wml_convolution {
  int kernel_size[2], strides[2], dilation_rate[2];
  wml_padding padding;
} wml_convolution;

/* `member`: a wml_convolution. */
#define WML_KERNEL_SIZE_FIELD(options, member)                                                     \
  {                                                                                                \
    .key = "kernel_size", .kind = WML_FIELD_PAIR, .offset = offsetof(options, member.kernel_size), \
    .low = 1, .high = 64, .suggested = 3, .required = true,                                        \
    .about = "Height and width of the filters."                                                    \
  }
#define WML_STRIDES_FIELD(options, member, text)                                                   \
  {                                                                                                \
    .key = "strides", .kind = WML_FIELD_PAIR, .offset = offsetof(options, member.strides),         \
    .low = 1, .high = 64, .otherwise = 1, .about = text                                            \
  }
#define WML_DILATION_RATE_FIELD(options, member)                                                   \
  {                                                                                                \
    .key = "dilation_rate", .kind = WML_FIELD_PAIR,                                                \
    .offset = offsetof(options, member.dilation_rate), .low = 1, .high = 64, .otherwise = 1,       \
    .about = "The distance of the pixels that a filter looks at."                                  \
  }
#define WML_FILTERS_FIELD(options, member)                                                         \
  {                                                                                                \
    .key = "filters", .kind = WML_FIELD_INT, .offset = offsetof(options, member), .low = 1,        \
    .high = 4096, .suggested = 32, .required = true,                                               \
    .about = "The number of filters, which is that of the output's channels."                      \
  }
#define WML_DEPTH_MULTIPLIER_FIELD(options, member)                                                \
  {                                                                                                \
    .key = "depth_multiplier", .kind = WML_FIELD_INT, .offset = offsetof(options, member),         \
    .low = 1, .high = 64, .otherwise = 1, .about = "How many filters each channel has for itself." \
  }

/* Sets height and width of the output; issues where strides and dilation are both above 1 and where
 * the filter is larger than the picture. */
void wml_convolution_shape(wml_shaping *shaping, const wml_convolution *convolution);
/* The bias of `filters` channels, where there is one. */
webml_status wml_convolution_bias(wml_shaping *shaping, const wml_linear_options *linear,
                                  int64_t filters);
/* Over a picture of that shape. */
wml_window wml_convolution_window(const wml_convolution *convolution, const wml_shape *in,
                                  int groups);

/* kernel and bias: indices of parameters; bias -1: none. Returns the result. */
int wml_emit_convolution(wml_emission *e, int x, int kernel, int bias, const wml_window *window,
                         const char *prefix, const wml_shape *shape);
/* Gradients of these parameters, where they are trained. */
void wml_emit_convolution_weights(wml_emission *e, int x, int dy, int kernel, int bias,
                                  const wml_window *window);
/* The gradient of x, of the shape given. */
int wml_emit_convolution_data(wml_emission *e, int dy, int kernel, const wml_window *window,
                              const char *prefix, const wml_shape *shape);

#endif
