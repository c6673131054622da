/* Networks for tables. residual_mlp is the ResNet of Gorishniy, Rubachev, Khrulkov and Babenko,
 * "Revisiting Deep Learning Models for Tabular Data", 2021: `depth` blocks of `units` that are
 * added to what they read, each twice as wide inside. The last Dense has no activation: it is
 * chosen when the data tell whether a number or a class is wanted. */
#include "zoo/zoo.h"

/* clang-format off */

static const char *const hidden[] = {
    JSON({"units": 64}),
    JSON({"type": "Dense", "layer": {"name": "dense", "units": "$units", "activation": "relu",
          "kernel_initializer": "he_normal"}}),
    JSON({"type": "Dropout", "layer": {"rate": 0.1}}),
    NULL};

static const char *const residual[] = {
    JSON({"units": 128, "inside": 256}),
    JSON({"type": "BatchNormalization", "layer": {"name": "bn"}}),
    JSON({"type": "Dense", "layer": {"name": "dense1", "units": "$inside", "activation": "relu",
          "kernel_initializer": "he_normal"}}),
    JSON({"type": "Dropout", "layer": {"rate": 0.1}}),
    JSON({"type": "Dense", "layer": {"name": "dense2", "units": "$units"}}),
    JSON({"type": "Add", "inputs": ["input", "dense2"]}),
    NULL};

void wml_zoo_mlp(wml_text *t, const wml_zoo_plan *plan) {
  wml_zoo_block(t, "hidden", hidden);
  wml_zoo_layers(t);
  for (int i = 0; i < plan->options.depth; i++)
    wml_zoo_add(t, JSON({"type": "hidden", "layer": {"name": "hidden%d", "units": %lld}}), i + 1,
                (long long)plan->options.units);
  wml_zoo_classify(t, plan, "outputs", NULL);
}

void wml_zoo_residual_mlp(wml_text *t, const wml_zoo_plan *plan) {
  long long units = plan->options.units;
  wml_zoo_block(t, "residual", residual);
  wml_zoo_layers(t);
  wml_zoo_add(t, JSON({"type": "Dense", "layer": {"name": "first", "units": %lld}}), units);
  for (int i = 0; i < plan->options.depth; i++)
    wml_zoo_add(t, JSON({"type": "residual", "layer": {"name": "residual%d", "units": %lld,
                         "inside": %lld}}),
                i + 1, units, 2 * units);
  wml_zoo_add(t, JSON({"type": "BatchNormalization", "layer": {"name": "bn"}}));
  wml_zoo_add(t, JSON({"type": "Activation", "layer": {"activation": "relu"}}));
  wml_zoo_classify(t, plan, "outputs", NULL);
}
