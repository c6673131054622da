/* EfficientNet-B0: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
 * Networks", 2019, as Keras has it, with its names (stem_conv, block1a.dwconv, top_conv). Pixels
 * come as 0 to 1, where Keras divides by 255 itself; those of three channels are then normalized by
 * ImageNet's means and variances. Keras's borders of zeros before a stride of 2 are what padding
 * "same" does. Its dropout of whole branches while training ("drop") is left out. */
#include "zoo/zoo.h"

/* clang-format off */

#define CONV_INITIALIZER                                                                          \
  "{\"name\": \"variance_scaling\", \"scale\": 2, \"mode\": \"fan_out\", "                        \
  "\"distribution\": \"truncated_normal\"}"

/* filters: of the widened picture; squeezed: a quarter of the input's channels. */
static const char *const inverted[] = {
    JSON({"filters": 96, "squeezed": 4, "out": 16, "kernel_size": 3, "strides": 1, "expand": true,
          "add": false, "initializer":) CONV_INITIALIZER "}",
    JSON({"if": "$expand", "then": [
          {"type": "Conv2D", "layer": {"name": "expand_conv", "filters": "$filters",
           "kernel_size": 1, "padding": "same", "use_bias": false,
           "kernel_initializer": "$initializer"}},
          {"type": "BatchNormalization", "layer": {"name": "expand_bn"}},
          {"type": "Activation", "layer": {"name": "expand_activation", "activation": "silu"}}]}),
    JSON({"type": "DepthwiseConv2D", "layer": {"name": "dwconv", "kernel_size": "$kernel_size",
          "strides": "$strides", "padding": "same", "use_bias": false,
          "depthwise_initializer": "$initializer"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn"}}),
    JSON({"type": "Activation", "layer": {"name": "activation", "activation": "silu"}}),
    JSON({"type": "GlobalAveragePooling2D", "layer": {"name": "se_squeeze"}}),
    JSON({"type": "Reshape", "layer": {"name": "se_reshape", "target_shape": [1, 1, "$filters"]}}),
    JSON({"type": "Conv2D", "layer": {"name": "se_reduce", "filters": "$squeezed",
          "kernel_size": 1, "padding": "same", "activation": "silu",
          "kernel_initializer": "$initializer"}}),
    JSON({"type": "Conv2D", "layer": {"name": "se_expand", "filters": "$filters",
          "kernel_size": 1, "padding": "same", "activation": "sigmoid",
          "kernel_initializer": "$initializer"}}),
    JSON({"type": "Multiply", "inputs": ["activation", "se_expand"],
          "layer": {"name": "se_excite"}}),
    JSON({"type": "Conv2D", "layer": {"name": "project_conv", "filters": "$out", "kernel_size": 1,
          "padding": "same", "use_bias": false, "kernel_initializer": "$initializer"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "project_bn"}}),
    JSON({"if": "$add", "then": {"type": "Add", "inputs": ["project_bn", "input"],
          "layer": {"name": "add"}}}),
    NULL};

static void add_stem(wml_text *t, const wml_zoo_plan *plan) {
  if (plan->size[2] == 3)
    wml_zoo_add(t, JSON({"type": "Normalization", "layer": {"name": "normalization",
                         "mean": [0.485, 0.456, 0.406],
                         "variance": [0.052441, 0.050176, 0.050625]}}));
  wml_zoo_add(t, JSON({"type": "Conv2D", "layer": {"name": "stem_conv", "filters": 32,
                       "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": false,
                       "kernel_initializer": %s}}),
              CONV_INITIALIZER);
  wml_zoo_add(t, JSON({"type": "BatchNormalization", "layer": {"name": "stem_bn"}}));
  wml_zoo_add(t, JSON({"type": "Activation", "layer": {"name": "stem_activation",
                       "activation": "silu"}}));
}

static void add_top(wml_text *t, const wml_zoo_plan *plan) {
  wml_zoo_add(t, JSON({"type": "Conv2D", "layer": {"name": "top_conv", "filters": 1280,
                       "kernel_size": 1, "padding": "same", "use_bias": false,
                       "kernel_initializer": %s}}),
              CONV_INITIALIZER);
  wml_zoo_add(t, JSON({"type": "BatchNormalization", "layer": {"name": "top_bn"}}));
  wml_zoo_add(t, JSON({"type": "Activation", "layer": {"name": "top_activation",
                       "activation": "silu"}}));
  wml_zoo_add(t, JSON({"type": "GlobalAveragePooling2D", "layer": {"name": "avg_pool"}}));
  wml_zoo_add(t, JSON({"type": "Dropout", "layer": {"name": "top_dropout", "rate": 0.2}}));
  wml_zoo_classify(t, plan, "predictions",
                   JSON({"name": "variance_scaling", "scale": 0.3333333333333333,
                         "mode": "fan_out", "distribution": "uniform"}));
}

typedef struct stage {
  int kernel_size, n, out, widening, strides;
} stage;

static void add_inverted(wml_text *t, int index, int block, const stage *s, int channels) {
  int strides = block ? 1 : s->strides;
  wml_zoo_add(t, JSON({"type": "inverted", "layer": {"name": "block%d%c", "filters": %d,
                       "squeezed": %d, "out": %d, "kernel_size": %d, "strides": %d, "expand": %s,
                       "add": %s}}),
              index, 'a' + block, channels * s->widening, channels / 4, s->out, s->kernel_size,
              strides, s->widening > 1 ? "true" : "false",
              strides == 1 && channels == s->out ? "true" : "false");
}

void wml_zoo_efficientnet_b0(wml_text *t, const wml_zoo_plan *plan) {
  static const stage stages[] = {{3, 1, 16, 1, 1}, {3, 2, 24, 6, 2},  {5, 2, 40, 6, 2},
                                 {3, 3, 80, 6, 2}, {5, 3, 112, 6, 1}, {5, 4, 192, 6, 2},
                                 {3, 1, 320, 6, 1}};
  int channels = 32;
  wml_zoo_block(t, "inverted", inverted);
  wml_zoo_layers(t);
  add_stem(t, plan);
  for (int i = 0; i < (int)(sizeof stages / sizeof *stages); i++)
    for (int b = 0; b < stages[i].n; b++) {
      add_inverted(t, i + 1, b, &stages[i], channels);
      channels = stages[i].out;
    }
  add_top(t, plan);
}
