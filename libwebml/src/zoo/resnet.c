/* ResNet: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015.
 *
 * resnet18 and resnet34 are torchvision's: two 3x3 convolutions a block, a border of zeros on all
 * sides where the stride is 2, names such as layer2.0.conv1, moving statistics that keep 0.9.
 * resnet50 is Keras's: 1x1, 3x3, 1x1, biases before the normalization, epsilon 1.001e-5, names such
 * as conv2_block1.1_conv. cnn has the blocks of the first, for small pictures: no pooling at the
 * beginning, and twice the filters in each of `depth` stages. */
#include "zoo/zoo.h"

/* clang-format off */

/* down: the picture is halved, and a convolution of 1x1 makes the shortcut fit. */
static const char *const basic[] = {
    JSON({"filters": 64, "down": false}),
    JSON({"if": "$down", "then": {"type": "ZeroPadding2D", "layer": {"padding": 1}}}),
    JSON({"type": "Conv2D", "layer": {"name": "conv1", "filters": "$filters", "kernel_size": 3,
          "strides": {"if": "$down", "then": 2, "else": 1},
          "padding": {"if": "$down", "then": "valid", "else": "same"},
          "use_bias": false, "kernel_initializer": "he_normal"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn1", "momentum": 0.9,
          "epsilon": 1e-5}}),
    JSON({"type": "Activation", "layer": {"activation": "relu"}}),
    JSON({"type": "Conv2D", "layer": {"name": "conv2", "filters": "$filters", "kernel_size": 3,
          "padding": "same", "use_bias": false, "kernel_initializer": "he_normal"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn2", "momentum": 0.9,
          "epsilon": 1e-5}}),
    JSON({"if": "$down", "then": [
          {"type": "Conv2D", "inputs": "input", "layer": {"name": "downsample.0",
           "filters": "$filters", "kernel_size": 1, "strides": 2, "use_bias": false,
           "kernel_initializer": "he_normal"}},
          {"type": "BatchNormalization", "layer": {"name": "downsample.1", "momentum": 0.9,
           "epsilon": 1e-5}}]}),
    JSON({"type": "Add", "inputs": [{"if": "$down", "then": "downsample.1", "else": "input"},
          "bn2"]}),
    JSON({"type": "Activation", "layer": {"activation": "relu"}}),
    NULL};

/* out: four times the filters. project: a convolution of 1x1 makes the shortcut fit. */
static const char *const bottleneck[] = {
    JSON({"filters": 64, "out": 256, "strides": 1, "project": false}),
    JSON({"if": "$project", "then": [
          {"type": "Conv2D", "layer": {"name": "0_conv", "filters": "$out", "kernel_size": 1,
           "strides": "$strides"}},
          {"type": "BatchNormalization", "layer": {"name": "0_bn", "epsilon": 1.001e-5}}]}),
    JSON({"type": "Conv2D", "inputs": "input", "layer": {"name": "1_conv", "filters": "$filters",
          "kernel_size": 1, "strides": "$strides"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "1_bn", "epsilon": 1.001e-5}}),
    JSON({"type": "Activation", "layer": {"name": "1_relu", "activation": "relu"}}),
    JSON({"type": "Conv2D", "layer": {"name": "2_conv", "filters": "$filters", "kernel_size": 3,
          "padding": "same"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "2_bn", "epsilon": 1.001e-5}}),
    JSON({"type": "Activation", "layer": {"name": "2_relu", "activation": "relu"}}),
    JSON({"type": "Conv2D", "layer": {"name": "3_conv", "filters": "$out", "kernel_size": 1}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "3_bn", "epsilon": 1.001e-5}}),
    JSON({"type": "Add", "inputs": [{"if": "$project", "then": "0_bn", "else": "input"}, "3_bn"],
          "layer": {"name": "add"}}),
    JSON({"type": "Activation", "layer": {"name": "out", "activation": "relu"}}),
    NULL};

static const char *const torch_stem[] = {
    JSON({"type": "ZeroPadding2D", "layer": {"padding": 3}}),
    JSON({"type": "Conv2D", "layer": {"name": "conv1", "filters": 64, "kernel_size": 7,
          "strides": 2, "use_bias": false, "kernel_initializer": "he_normal"}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn1", "momentum": 0.9,
          "epsilon": 1e-5}}),
    JSON({"type": "Activation", "layer": {"activation": "relu"}}),
    JSON({"type": "ZeroPadding2D", "layer": {"padding": 1}}),
    JSON({"type": "MaxPooling2D", "layer": {"name": "maxpool", "pool_size": 3, "strides": 2}}),
    NULL};

static const char *const keras_stem[] = {
    JSON({"type": "ZeroPadding2D", "layer": {"name": "conv1_pad", "padding": 3}}),
    JSON({"type": "Conv2D", "layer": {"name": "conv1_conv", "filters": 64, "kernel_size": 7,
          "strides": 2}}),
    JSON({"type": "BatchNormalization", "layer": {"name": "conv1_bn", "epsilon": 1.001e-5}}),
    JSON({"type": "Activation", "layer": {"name": "conv1_relu", "activation": "relu"}}),
    JSON({"type": "ZeroPadding2D", "layer": {"name": "pool1_pad", "padding": 1}}),
    JSON({"type": "MaxPooling2D", "layer": {"name": "pool1_pool", "pool_size": 3, "strides": 2}}),
    NULL};

static void add_basic(wml_text *t, int stage, int block, int64_t filters) {
  wml_zoo_add(t, JSON({"type": "basic", "layer": {"name": "layer%d.%d", "filters": %lld,
                       "down": %s}}),
              stage + 1, block, (long long)filters, stage > 0 && block == 0 ? "true" : "false");
}

static void add_bottleneck(wml_text *t, int stage, int block) {
  const char *shortcut = block ? "" : stage ? ", \"strides\": 2, \"project\": true"
                                            : ", \"project\": true";
  int filters = 64 << stage;
  wml_zoo_add(t, JSON({"type": "bottleneck", "layer": {"name": "conv%d_block%d", "filters": %d,
                       "out": %d%s}}),
              stage + 2, block + 1, filters, 4 * filters, shortcut);
}

static void torch(wml_text *t, const wml_zoo_plan *plan, const int blocks[4]) {
  wml_zoo_block(t, "basic", basic);
  wml_zoo_layers(t);
  wml_zoo_add_all(t, torch_stem);
  for (int s = 0; s < 4; s++)
    for (int b = 0; b < blocks[s]; b++) add_basic(t, s, b, 64 << s);
  wml_zoo_add(t, JSON({"type": "GlobalAveragePooling2D", "layer": {"name": "avgpool"}}));
  wml_zoo_classify(t, plan, "fc", NULL);
}

void wml_zoo_resnet18(wml_text *t, const wml_zoo_plan *plan) {
  torch(t, plan, (const int[]){2, 2, 2, 2});
}

void wml_zoo_resnet34(wml_text *t, const wml_zoo_plan *plan) {
  torch(t, plan, (const int[]){3, 4, 6, 3});
}

void wml_zoo_resnet50(wml_text *t, const wml_zoo_plan *plan) {
  static const int blocks[] = {3, 4, 6, 3};
  wml_zoo_block(t, "bottleneck", bottleneck);
  wml_zoo_layers(t);
  wml_zoo_add_all(t, keras_stem);
  for (int s = 0; s < 4; s++)
    for (int b = 0; b < blocks[s]; b++) add_bottleneck(t, s, b);
  wml_zoo_add(t, JSON({"type": "GlobalAveragePooling2D", "layer": {"name": "avg_pool"}}));
  wml_zoo_classify(t, plan, "predictions", NULL);
}

void wml_zoo_cnn(wml_text *t, const wml_zoo_plan *plan) {
  int64_t filters = plan->options.filters;
  wml_zoo_block(t, "basic", basic);
  wml_zoo_layers(t);
  wml_zoo_add(t, JSON({"type": "Conv2D", "layer": {"name": "conv1", "filters": %lld,
                       "kernel_size": 3, "padding": "same", "use_bias": false,
                       "kernel_initializer": "he_normal"}}),
              (long long)filters);
  wml_zoo_add(t, JSON({"type": "BatchNormalization", "layer": {"name": "bn1", "momentum": 0.9,
                       "epsilon": 1e-5}}));
  wml_zoo_add(t, JSON({"type": "Activation", "layer": {"activation": "relu"}}));
  for (int s = 0; s < plan->options.depth; s++) add_basic(t, s, 0, filters << s);
  wml_zoo_add(t, JSON({"type": "GlobalAveragePooling2D"}));
  wml_zoo_add(t, JSON({"type": "Dropout", "layer": {"rate": 0.2}}));
  wml_zoo_classify(t, plan, "classes", NULL);
}
