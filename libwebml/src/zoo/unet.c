/* U-Net: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
 * Segmentation", 2015, with padding "same" and normalization, as most implementations have it: the
 * picture is halved `depth` times while its channels are doubled, then goes back up, and each level
 * also reads what the same level had on the way down. One answer for each pixel. */
#include "zoo/zoo.h"

#include <stdio.h>

/* clang-format off */

static const char *const convolutions[] = {
    JSON({"filters": 64}),
    JSON({"type": "Conv2D", "layer": {"name": "conv1", "filters": "$filters", "kernel_size": 3,
          "padding": "same", "use_bias": false, "kernel_initializer": "he_normal"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn1"}}),
    JSON({"type": "Activation", "layer": {"activation": "relu"}}),
    JSON({"type": "Conv2D", "layer": {"name": "conv2", "filters": "$filters", "kernel_size": 3,
          "padding": "same", "use_bias": false, "kernel_initializer": "he_normal"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn2"}}),
    JSON({"type": "Activation", "layer": {"activation": "relu"}}),
    NULL};

/* Reads the level below and the same level on the way down. */
static const char *const up[] = {
    JSON({"filters": 64}),
    JSON({"type": "Conv2DTranspose", "layer": {"name": "up", "filters": "$filters",
          "kernel_size": 2, "strides": 2}, "inputs": "input"}),
    JSON({"type": "Concatenate", "inputs": ["input_1", "up"]}),
    JSON({"type": "convolutions", "layer": {"name": "convolutions", "filters": "$filters"}}),
    NULL};

void wml_zoo_unet(wml_text *t, const wml_zoo_plan *plan) {
  int depth = (int)plan->options.depth;
  long long filters = plan->options.filters,
            classes = plan->options.classes ? plan->options.classes : 1;
  wml_zoo_block(t, "convolutions", convolutions);
  wml_zoo_block(t, "up", up);
  wml_zoo_layers(t);
  for (int i = 0; i < depth; i++) {
    wml_zoo_add(t, JSON({"type": "convolutions", "layer": {"name": "down%d", "filters": %lld}}),
                i + 1, filters << i);
    wml_zoo_add(t, JSON({"type": "MaxPooling2D"}));
  }
  wml_zoo_add(t, JSON({"type": "convolutions", "layer": {"name": "bottom", "filters": %lld}}),
              filters << depth);
  for (int i = depth - 1; i >= 0; i--) {
    const char *below = i + 1 < depth ? "up" : "bottom";
    char number[16] = "";
    if (i + 1 < depth) snprintf(number, sizeof number, "%d", i + 2);
    wml_zoo_add(t, JSON({"type": "up", "inputs": ["%s%s", "down%d"], "layer": {"name": "up%d",
                         "filters": %lld}}),
                below, number, i + 1, i + 1, filters << i);
  }
  wml_zoo_add(t, JSON({"type": "Conv2D", "layer": {"name": "classes", "filters": %lld,
                       "kernel_size": 1, "activation": "%s"}}),
              classes, classes > 1 ? "softmax" : "sigmoid");
}
