/* VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
 * Recognition", 2014. vgg16 is Keras's, with its names (block1.conv1, fc1, predictions). vgg_small
 * is the same idea for small pictures and few classes: `depth` blocks, twice the filters in each,
 * normalization, and one small Dense before the classes. */
#include "zoo/zoo.h"

/* clang-format off */

static const char *const plain[] = {
    JSON({"filters": 64, "third": true}),
    JSON({"type": "Conv2D", "layer": {"name": "conv1", "filters": "$filters", "kernel_size": 3,
          "padding": "same", "activation": "relu"}}),
    JSON({"type": "Conv2D", "layer": {"name": "conv2", "filters": "$filters", "kernel_size": 3,
          "padding": "same", "activation": "relu"}}),
    JSON({"if": "$third", "then": {"type": "Conv2D", "layer": {"name": "conv3",
          "filters": "$filters", "kernel_size": 3, "padding": "same", "activation": "relu"}}}),
    JSON({"type": "MaxPooling2D", "layer": {"name": "pool"}}),
    NULL};

static const char *const normalized[] = {
    JSON({"filters": 32}),
    JSON({"type": "Conv2D", "layer": {"name": "conv1", "filters": "$filters", "kernel_size": 3,
          "padding": "same", "use_bias": false, "kernel_initializer": "he_normal"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn1"}}),
    JSON({"type": "Activation", "layer": {"activation": "relu"}}),
    JSON({"type": "Conv2D", "layer": {"name": "conv2", "filters": "$filters", "kernel_size": 3,
          "padding": "same", "use_bias": false, "kernel_initializer": "he_normal"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn2"}}),
    JSON({"type": "Activation", "layer": {"activation": "relu"}}),
    JSON({"type": "MaxPooling2D", "layer": {"name": "pool"}}),
    JSON({"type": "Dropout", "layer": {"rate": 0.2}}),
    NULL};

void wml_zoo_vgg16(wml_text *t, const wml_zoo_plan *plan) {
  static const int filters[] = {64, 128, 256, 512, 512};
  wml_zoo_block(t, "vgg", plain);
  wml_zoo_layers(t);
  for (int b = 0; b < 5; b++)
    wml_zoo_add(t, JSON({"type": "vgg", "layer": {"name": "block%d", "filters": %d, "third": %s}}),
                b + 1, filters[b], b < 2 ? "false" : "true");
  wml_zoo_add(t, JSON({"type": "Flatten", "layer": {"name": "flatten"}}));
  wml_zoo_add(t, JSON({"type": "Dense", "layer": {"name": "fc1", "units": 4096,
                       "activation": "relu"}}));
  wml_zoo_add(t, JSON({"type": "Dense", "layer": {"name": "fc2", "units": 4096,
                       "activation": "relu"}}));
  wml_zoo_classify(t, plan, "predictions", NULL);
}

void wml_zoo_vgg_small(wml_text *t, const wml_zoo_plan *plan) {
  wml_zoo_block(t, "vgg", normalized);
  wml_zoo_layers(t);
  for (int b = 0; b < plan->options.depth; b++)
    wml_zoo_add(t, JSON({"type": "vgg", "layer": {"name": "block%d", "filters": %lld}}), b + 1,
                (long long)plan->options.filters << b);
  wml_zoo_add(t, JSON({"type": "Flatten"}));
  wml_zoo_add(t, JSON({"type": "Dense", "layer": {"name": "fc1", "units": %lld,
                       "activation": "relu", "kernel_initializer": "he_normal"}}),
              (long long)plan->options.units);
  wml_zoo_add(t, JSON({"type": "Dropout", "layer": {"rate": 0.5}}));
  wml_zoo_classify(t, plan, "classes", NULL);
}
