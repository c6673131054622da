/* MobileNetV2: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, as
 * Keras has it, with its names (Conv1, expanded_conv.depthwise, block_1.expand). Pixels come as 0
 * to 1 and are brought to -1 to 1 at the beginning, as its weights want them. Keras's borders of
 * zeros before a stride of 2 are what padding "same" does. */
#include "zoo/zoo.h"

#include <stdio.h>

/* clang-format off */

/* filters: of the widened picture; out: of the result. add: the input is added to it. */
static const char *const inverted[] = {
    JSON({"filters": 96, "out": 16, "strides": 1, "expand": true, "add": false}),
    JSON({"if": "$expand", "then": [
          {"type": "Conv2D", "layer": {"name": "expand", "filters": "$filters", "kernel_size": 1,
           "padding": "same", "use_bias": false}},
          {"type": "BatchNormalization", "layer": {"name": "expand_BN", "momentum": 0.999}},
          {"type": "ReLU", "layer": {"name": "expand_relu", "max_value": 6}}]}),
    JSON({"type": "DepthwiseConv2D", "layer": {"name": "depthwise", "kernel_size": 3,
          "strides": "$strides", "padding": "same", "use_bias": false}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "depthwise_BN", "momentum": 0.999}}),
    JSON({"type": "ReLU", "layer": {"name": "depthwise_relu", "max_value": 6}}),
    JSON({"type": "Conv2D", "layer": {"name": "project", "filters": "$out", "kernel_size": 1,
          "padding": "same", "use_bias": false}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "project_BN", "momentum": 0.999}}),
    JSON({"if": "$add", "then": {"type": "Add", "inputs": ["input", "project_BN"],
          "layer": {"name": "add"}}}),
    NULL};

/* The nearest multiple of 8 that is not below nine tenths of it. */
static int by_eight(double filters) {
  int n = (int)(filters + 4) / 8 * 8;
  if (n < 8) n = 8;
  return n < 0.9 * filters ? n + 8 : n;
}

static void add_stem(wml_text *t, int filters) {
  wml_zoo_add(t, JSON({"type": "Rescaling", "layer": {"scale": 2, "offset": -1}}));
  wml_zoo_add(t, JSON({"type": "Conv2D", "layer": {"name": "Conv1", "filters": %d,
                       "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": false}}),
              filters);
  wml_zoo_add(t, JSON({"type": "BatchNormalization", "layer": {"name": "bn_Conv1",
                       "momentum": 0.999}}));
  wml_zoo_add(t, JSON({"type": "ReLU", "layer": {"name": "Conv1_relu", "max_value": 6}}));
}

static void add_top(wml_text *t, int filters) {
  wml_zoo_add(t, JSON({"type": "Conv2D", "layer": {"name": "Conv_1", "filters": %d,
                       "kernel_size": 1, "use_bias": false}}),
              filters);
  wml_zoo_add(t, JSON({"type": "BatchNormalization", "layer": {"name": "Conv_1_bn",
                       "momentum": 0.999}}));
  wml_zoo_add(t, JSON({"type": "ReLU", "layer": {"name": "out_relu", "max_value": 6}}));
  wml_zoo_add(t, JSON({"type": "GlobalAveragePooling2D"}));
}

/* The index-th block reads so many channels; returns those that it gives. */
static int add_inverted(wml_text *t, int index, int channels, int out, int strides) {
  char name[32] = "expanded_conv";
  if (index) snprintf(name, sizeof name, "block_%d", index);
  wml_zoo_add(t, JSON({"type": "inverted", "layer": {"name": "%s", "filters": %d, "out": %d,
                       "strides": %d, "expand": %s, "add": %s}}),
              name, index ? 6 * channels : channels, out, strides, index ? "true" : "false",
              strides == 1 && channels == out ? "true" : "false");
  return out;
}

void wml_zoo_mobilenet_v2(wml_text *t, const wml_zoo_plan *plan) {
  static const struct {
    int filters, strides, n;
  } stages[] = {{16, 1, 1}, {24, 2, 2},  {32, 2, 3}, {64, 2, 4},
                {96, 1, 3}, {160, 2, 3}, {320, 1, 1}};
  double alpha = plan->options.alpha;
  int index = 0, channels = by_eight(32 * alpha);
  wml_zoo_block(t, "inverted", inverted);
  wml_zoo_layers(t);
  add_stem(t, channels);
  for (size_t s = 0; s < sizeof stages / sizeof *stages; s++)
    for (int b = 0; b < stages[s].n; b++)
      channels = add_inverted(t, index++, channels, by_eight((int)(stages[s].filters * alpha)),
                              b ? 1 : stages[s].strides);
  add_top(t, alpha > 1 ? by_eight(1280 * alpha) : 1280);
  wml_zoo_classify(t, plan, "predictions", NULL);
}
