#include "cases.h"

#include "support.h"

#include <stdlib.h>
#include <string.h>

#define NET(size, layers, rest) "{'size':" size ",'layers':[" layers "]," rest "}"
#define LAYER(type, options) "{'type':'" type "','layer':{" options "}}"
#define CONV(options) LAYER("Conv2D", options)
#define POOL(options) LAYER("MaxPooling2D", options)
#define DENSE(options) LAYER("Dense", options)
#define NORM(options) LAYER("BatchNormalization", options)
#define FLAT LAYER("Flatten", "")
/* Up to twelve layers, with commas between. */
#define LIST1(a) a
#define LIST2(a, ...) a "," LIST1(__VA_ARGS__)
#define LIST3(a, ...) a "," LIST2(__VA_ARGS__)
#define LIST4(a, ...) a "," LIST3(__VA_ARGS__)
#define LIST5(a, ...) a "," LIST4(__VA_ARGS__)
#define LIST6(a, ...) a "," LIST5(__VA_ARGS__)
#define LIST7(a, ...) a "," LIST6(__VA_ARGS__)
#define LIST8(a, ...) a "," LIST7(__VA_ARGS__)
#define LIST9(a, ...) a "," LIST8(__VA_ARGS__)
#define LIST10(a, ...) a "," LIST9(__VA_ARGS__)
#define LIST11(a, ...) a "," LIST10(__VA_ARGS__)
#define LIST12(a, ...) a "," LIST11(__VA_ARGS__)
#define LIST_OF(a, b, c, d, e, f, g, h, i, j, k, l, list, ...) list
#define LAYERS(...)                                                                                \
  LIST_OF(__VA_ARGS__, LIST12, LIST11, LIST10, LIST9, LIST8, LIST7, LIST6, LIST5, LIST4, LIST3,    \
          LIST2, LIST1, 0)                                                                         \
  (__VA_ARGS__)
/* Layers that name what they read, and a graph with its inputs and outputs. */
#define WIRED(type, options, inputs) "{'type':'" type "','layer':{" options "},'inputs':" inputs "}"
#define NAMED(type, name, options, inputs) WIRED(type, "'name':'" name "'," options, inputs)
#define USE(name, inputs) "{'use':'" name "','inputs':" inputs "}"
#define GRAPH(inputs, layers, outputs, rest)                                                       \
  "{'inputs':{" inputs "},'layers':[" layers "],'outputs':{" outputs "}," rest "}"
#define RESHAPE(shape) LAYER("Reshape", "'target_shape':" shape)
#define MSE "'optimizer':'sgd','loss':'mse'"
#define CCE "'optimizer':'adam','loss':'categorical_crossentropy','metrics':['accuracy']"
#define CONV_CASE(name, size, options)                                                             \
  { "conv " name, 3, NET(size, CONV(options) "," FLAT "," DENSE("'units':3"), MSE), true }
/* relu and pooling join the convolution. */
#define POOLED_CASE(name, batch, size, filters, kernel, padding)                                   \
  {                                                                                                \
    "pooled first convolution " name, batch,                                                       \
        NET(size,                                                                                  \
            CONV("'filters':" filters ",'kernel_size':" kernel ",'padding':'" padding              \
                 "','activation':'relu'") "," POOL("") "," FLAT "," DENSE("'units':2"),            \
            MSE),                                                                                  \
        false                                                                                      \
  }
/* The activation as JSON, behind a dense layer and behind a convolution. */
#define ACTIVATION_CASE(name, activation, smooth)                                                  \
  {"activation " name, 5,                                                                          \
   NET("[6]", DENSE("'units':8,'activation':" activation) "," DENSE("'units':4"), MSE), smooth},   \
  {                                                                                                \
    "conv activation " name, 2,                                                                    \
        NET("[5,5,3]",                                                                             \
            CONV("'filters':8,'kernel_size':3,'activation':" activation) "," FLAT                  \
                                                                         "," DENSE("'units':2"),   \
            MSE),                                                                                  \
        smooth                                                                                     \
  }
#define ACT_CASE(activation, smooth) ACTIVATION_CASE(activation, "'" activation "'", smooth)
#define LOSS_CASE(loss, activation, smooth)                                                        \
  {                                                                                                \
    "loss " loss " " activation, 7,                                                                \
        NET("[5]",                                                                                 \
            DENSE("'units':6,'activation':'tanh'") "," DENSE("'units':4,'activation':'" activation \
                                                             "'"),                                 \
            "'optimizer':'sgd','loss':" loss),                                                     \
        smooth                                                                                     \
  }
#define OPT_CASE(optimizer)                                                                        \
  {                                                                                                \
    "optimizer " optimizer, 6,                                                                     \
        NET("[5]",                                                                                 \
            DENSE("'units':7,'activation':'tanh'") "," DENSE("'units':3,'activation':'softmax'"),  \
            "'optimizer':" optimizer ",'loss':'categorical_crossentropy'"),                        \
        false                                                                                      \
  }
/* Layers for pictures, with trained weights below them and above. */
#define PICTURE_CASE(name, batch, size, layers)                                                    \
  {                                                                                                \
    name, batch,                                                                                   \
        NET(size, CONV("'filters':4,'kernel_size':1") "," layers "," FLAT "," DENSE("'units':2"),  \
            MSE),                                                                                  \
        true                                                                                       \
  }
/* The same for rows of numbers. */
#define ROW_CASE(name, batch, layers)                                                              \
  { name, batch, NET("[5]", DENSE("'units':6") "," layers "," DENSE("'units':3"), MSE), true }

/* An activation as a layer: behind a dense layer, and last behind a convolution. */
#define ACTIVATION_LAYER_CASE(name, type, options, smooth)                                         \
  {"layer " name, 4,                                                                               \
   NET("[6]", LAYERS(DENSE("'units':8"), LAYER(type, options), DENSE("'units':4")), MSE), smooth}, \
  {                                                                                                \
    "layer " name " of a picture", 3,                                                              \
        NET("[4,3,2]", LAYERS(CONV("'filters':4,'kernel_size':2"), LAYER(type, options)), MSE),    \
        smooth                                                                                     \
  }
#define NOISE_CASE(type, options)                                                                  \
  {                                                                                                \
    type, 5,                                                                                       \
        NET("[9]", LAYERS(DENSE("'units':11"), LAYER(type, options), DENSE("'units':3")), MSE),    \
        true                                                                                       \
  }
/* Inputs that are trained: of one shape, of a lower rank, and with a dimension of 1. */
#define MERGE_CASE(type, batch, smooth)                                                            \
  {                                                                                                \
    type, batch,                                                                                   \
        NET("[4,3,2]",                                                                             \
            LAYERS(NAMED("Conv2D", "a", "'filters':5,'kernel_size':2", "'input'"),                 \
                   NAMED("Conv2D", "b", "'filters':5,'kernel_size':2", "'input'"),                 \
                   WIRED("Flatten", "", "'input'"), DENSE("'units':5,'name':'c'"),                 \
                   NAMED("Conv2D", "d", "'filters':1,'kernel_size':2", "'input'"),                 \
                   WIRED(type, "", "['c','a','b','d']"), FLAT, DENSE("'units':2")),                \
            MSE),                                                                                  \
        smooth                                                                                     \
  }
#define CONCATENATE_CASE(name, options, conv)                                                      \
  {                                                                                                \
    "Concatenate " name, 2,                                                                        \
        NET("[4,4,3]",                                                                             \
            LAYERS(NAMED("Conv2D", "a", "'filters':3,'kernel_size':2", "'input'"),                 \
                   NAMED("Conv2D", "b", conv, "'input'"),                                          \
                   WIRED("Concatenate", options, "['a','b','a']"), FLAT, DENSE("'units':2")),      \
            MSE),                                                                                  \
        true                                                                                       \
  }
/* Two inputs of these shapes, whose last dimensions become those numbers. */
#define DOT_CASE(name, batch, a, a_units, b, b_units, options)                                     \
  {                                                                                                \
    "Dot of " name, batch,                                                                         \
        GRAPH("'x':" a ",'y':" b,                                                                  \
              LAYERS(NAMED("Dense", "a", "'activation':'tanh','units':" a_units, "'x'"),           \
                     NAMED("Dense", "b", "'activation':'tanh','units':" b_units, "'y'"),           \
                     WIRED("Dot", options, "['a','b']"), FLAT, DENSE("'units':2")),                \
              "'z':'dense'", MSE),                                                                 \
        true                                                                                       \
  }
/* Every constraint, along every axis, with a moving average that takes weights before it. */
#define CONSTRAINED_LAYERS                                                                         \
  DENSE("'units':7,'kernel_constraint':{'name':'max_norm','max_value':0.4},"                       \
        "'bias_constraint':'non_neg'")                                                             \
  "," NORM(                                                                                        \
      "'gamma_constraint':'UnitNorm','beta_constraint':{'name':'min_max_norm',"                    \
      "'min_value':0.3,'max_value':0.5}") "," DENSE("'units':8,'kernel_constraint':{'name':'min_"  \
                                                    "max_norm','min_value':0.9,'rate':0.7,"        \
                                                    "'axis':1}") "," DENSE("'units':3,'"           \
                                                                           "activation':'softmax'" \
                                                                           ","                     \
                                                                           "'kernel_constraint':{" \
                                                                           "'name':'unit_norm','"  \
                                                                           "axis':[0,1]}")
#define CONSTRAINED_RATES "'optimizer':{'name':'sgd','use_ema':true},'loss':'mse'"
/* A convolution of 16 channels, whose kernel a back end may lay out as it likes. Not for finite
 * differences: each step moves the weights. */
#define CONSTRAINED_CONV(constraint, axes, filters, groups)                                        \
  {                                                                                                \
    "constrained conv " constraint " " axes ", " filters " filters in " groups, 3,                 \
        NET("[7,6,3]",                                                                             \
            CONV("'filters':16,'kernel_size':2,'kernel_constraint':'max_norm'") "," CONV(          \
                "'filters':" filters ",'kernel_size':3,'groups':" groups                           \
                ",'kernel_constraint':{'name':'" constraint "','axis':" axes                       \
                "}") "," FLAT "," DENSE("'units':3"),                                              \
            "'optimizer':'sgd','loss':'mse'"),                                                     \
        false                                                                                      \
  }

const op_case op_cases[] = {
    CONV_CASE("3x3 valid", "[9,8,3]", "'filters':5,'kernel_size':3"),
    CONV_CASE("3x3 same", "[9,8,3]", "'filters':8,'kernel_size':3,'padding':'same'"),
    CONV_CASE("2x2 same: pads bottom and right only", "[7,6,4]",
              "'filters':8,'kernel_size':2,'padding':'same'"),
    CONV_CASE("4x4 same stride 2", "[9,10,3]",
              "'filters':6,'kernel_size':4,'padding':'same','strides':2"),
    CONV_CASE("3x3 same stride 2 on even size", "[8,8,8]",
              "'filters':8,'kernel_size':3,'padding':'same','strides':2"),
    CONV_CASE("stride 3 over size 2", "[11,7,1]", "'filters':3,'kernel_size':2,'strides':3"),
    CONV_CASE("asymmetric", "[9,12,2]",
              "'filters':4,'kernel_size':[1,5],'strides':[2,1],'padding':'same'"),
    CONV_CASE("dilation 2 same", "[9,9,3]",
              "'filters':4,'kernel_size':3,'dilation_rate':2,'padding':'same'"),
    CONV_CASE("dilation [1,3] valid", "[6,11,2]",
              "'filters':4,'kernel_size':[2,3],'dilation_rate':[1,3]"),
    CONV_CASE("groups 2", "[6,6,4]", "'filters':6,'kernel_size':3,'groups':2,'padding':'same'"),
    CONV_CASE("groups 4 of 16", "[6,6,16]", "'filters':16,'kernel_size':3,'groups':4"),
    CONV_CASE("depthwise, multiplier 2", "[7,7,3]", "'filters':6,'kernel_size':3,'groups':3"),
    CONV_CASE("1x1", "[5,5,16]", "'filters':8,'kernel_size':1"),
    CONV_CASE("kernel as large as the input", "[5,5,3]", "'filters':4,'kernel_size':5"),
    CONV_CASE("no bias", "[6,6,3]", "'filters':8,'kernel_size':3,'use_bias':false"),
    CONV_CASE("one pixel", "[1,1,3]", "'filters':4,'kernel_size':3,'padding':'same'"),
    {"conv chain with pooling", 4,
     NET("[12,12,3]",
         CONV("'filters':16,'kernel_size':3,'activation':'relu'") "," POOL("") "," CONV(
             "'filters':8,'kernel_size':2,'activation':'relu'") "," FLAT "," DENSE("'units':10,'"
                                                                                   "activation':"
                                                                                   "'softmax'"),
         CCE),
     false},
    POOLED_CASE("2x2, grey, many filters", 2, "[9,23,1]", "70", "2", "valid"),
    POOLED_CASE("2x2, coloured", 3, "[8,38,3]", "5", "2", "same"),
    POOLED_CASE("3x3, grey", 2, "[37,10,1]", "33", "3", "same"),
    POOLED_CASE("3x3, coloured, wide", 1, "[6,70,3]", "64", "3", "valid"),
    POOLED_CASE("5x5, grey, odd", 5, "[13,41,1]", "9", "5", "same"),
    {"pooled without relu", 19,
     NET("[8,9,2]",
         CONV("'filters':21,'kernel_size':3,'padding':'same'") "," POOL("") "," FLAT
                                                                            "," DENSE("'units':2"),
         MSE),
     false},
    {"grey input, pooled", 3,
     NET("[10,10,1]",
         CONV("'filters':8,'kernel_size':3,'activation':'relu'") "," POOL("") "," FLAT "," DENSE(
             "'units':4,'activation':'softmax'"),
         CCE),
     false},
    {"pool same, odd", 3,
     NET("[7,5,3]",
         CONV("'filters':4,'kernel_size':1") "," POOL("'padding':'same'") "," FLAT
                                                                          "," DENSE("'units':2"),
         MSE),
     false},
    {"pool overlapping", 2,
     NET("[9,9,2]",
         CONV("'filters':5,'kernel_size':1,'activation':'relu'") "," POOL(
             "'pool_size':3,'strides':2") "," FLAT "," DENSE("'units':2"),
         MSE),
     false},
    {"pool with gaps", 2,
     NET("[9,8,2]",
         CONV("'filters':4,'kernel_size':1,'activation':'relu'") "," POOL(
             "'pool_size':2,'strides':3") "," FLAT "," DENSE("'units':2"),
         MSE),
     false},
    {"pool 3x2 same stride [2,1]", 2,
     NET("[8,7,2]",
         CONV("'filters':70,'kernel_size':1") "," POOL(
             "'pool_size':[3,2],'strides':[2,1],'padding':'same'") "," FLAT "," DENSE("'units':2"),
         MSE),
     false},
    {"pool first", 2, NET("[8,8,3]", POOL("") "," FLAT "," DENSE("'units':2"), MSE), true},
    {"dense on images", 2,
     NET("[3,4,5]", DENSE("'units':6,'activation':'tanh'") "," FLAT "," DENSE("'units':2"), MSE),
     true},
    /* Among so many gradients, some are so small that rounding decides their value. Adam with its
     * usual epsilon of 1e-7 would turn that rounding into whole steps. */
    {"dense large", 16,
     NET("[700]",
         DENSE("'units':130,'activation':'relu'") "," DENSE("'units':10,'activation':'softmax'"),
         "'optimizer':{'name':'adam','epsilon':1e-5},'loss':'categorical_crossentropy',"
         "'metrics':['accuracy']"),
     false},
    {"dense no bias", 4,
     NET("[9]", DENSE("'units':6,'use_bias':false") "," DENSE("'units':2"), MSE), true},
    {"mlp", 1,
     NET("[13]",
         DENSE("'units':64,'activation':'relu'") "," DENSE(
             "'units':64,'activation':'relu'") "," DENSE("'units':2,'activation':'"
                                                         "softmax'"),
         CCE),
     false},
    {"norm after dense", 9, NET("[6]", DENSE("'units':7") "," NORM("") "," DENSE("'units':3"), MSE),
     true},
    {"norm after conv", 4,
     NET("[6,6,3]",
         CONV("'filters':40,'kernel_size':3") "," NORM(
             "'momentum':0.8,'epsilon':0.01") "," FLAT "," DENSE("'units':3"),
         MSE),
     true},
    {"conv, norm, relu as conv with relu", 4,
     NET("[6,6,3]",
         CONV("'filters':8,'kernel_size':3,'use_bias':false") "," NORM("") "," CONV(
             "'filters':4,'kernel_size':1,'activation':'relu'") "," FLAT "," DENSE("'units':3"),
         MSE),
     false},
    {"norm without gamma", 5, NET("[4]", NORM("'scale':false") "," DENSE("'units':3"), MSE), true},
    {"norm without beta", 5,
     NET("[4]", DENSE("'units':5") "," NORM("'center':false") "," DENSE("'units':3"), MSE), true},
    {"norm bare", 5,
     NET("[4]", DENSE("'units':5") "," NORM("'center':false,'scale':false") "," DENSE("'units':3"),
         MSE),
     true},
    {"norm frozen", 5,
     NET("[4]", DENSE("'units':5") "," NORM("'trainable':false") "," DENSE("'units':3"), MSE),
     true},
    {"norm, then conv after relu", 3,
     NET("[6,6,3]",
         CONV("'filters':8,'kernel_size':3,'activation':'relu'") "," NORM("") "," CONV(
             "'filters':4,'kernel_size':1") "," FLAT "," DENSE("'units':3"),
         MSE),
     false},
    {"frozen first layer", 4,
     NET("[6]",
         DENSE("'units':5,'activation':'tanh','trainable':false") "," DENSE(
             "'units':4,'activation':'tanh'") "," DENSE("'units':3"),
         MSE),
     true},
    {"dropout", 6,
     NET("[40]", DENSE("'units':33") "," LAYER("Dropout", "'rate':0.4") "," DENSE("'units':3"),
         MSE),
     true},
    {"dropout on images", 3,
     NET("[6,6,3]",
         CONV("'filters':8,'kernel_size':3,'activation':'relu'") "," LAYER(
             "Dropout", "'rate':0.25") "," FLAT
                                       "," LAYER("Dropout", "'rate':0.5") "," DENSE("'units':3"),
         MSE),
     false},
    {"dropout of everything", 3,
     NET("[6]", DENSE("'units':5") "," LAYER("Dropout", "'rate':1") "," DENSE("'units':3"), MSE),
     false},
    {"regularizers", 4,
     NET("[6]",
         DENSE("'units':5,'activation':'tanh','kernel_regularizer':{'l1':0.01,'l2':0.02},'"
               "bias_"
               "regularizer':'l2'") "," DENSE("'units':3"),
         MSE),
     false},
    {"weights and rows for several warps", 300,
     NET("[40]",
         DENSE("'units':20,'activation':'sigmoid','kernel_regularizer':{'l1':0.01,'l2':0."
               "02}") "," DENSE("'units':3,'activation':'softmax'"),
         "'optimizer':'sgd','loss':'categorical_crossentropy','metrics':['accuracy','"
         "precision',"
         "'recall','mean_absolute_error']"),
     true},
    {"regularized conv", 2,
     NET("[6,6,3]",
         CONV("'filters':5,'kernel_size':3,'kernel_regularizer':'l2'") "," FLAT
                                                                       "," DENSE("'units':3"),
         MSE),
     true},
    {"image output", 2,
     NET("[6,6,3]", CONV("'filters':4,'kernel_size':3,'padding':'same','activation':'softmax'"),
         "'optimizer':'sgd','loss':'categorical_crossentropy'"),
     true},
    ACT_CASE("relu", false),
    ACT_CASE("relu6", false),
    ACT_CASE("leaky_relu", false),
    ACT_CASE("elu", true),
    ACT_CASE("selu", false),
    ACT_CASE("celu", true),
    ACT_CASE("gelu", true),
    ACT_CASE("gelu_tanh", true),
    ACT_CASE("sigmoid", true),
    ACT_CASE("tanh", true),
    ACT_CASE("exponential", true),
    ACT_CASE("hard_sigmoid", false),
    ACT_CASE("hard_silu", false),
    ACT_CASE("hard_tanh", false),
    ACT_CASE("log_sigmoid", true),
    ACT_CASE("softplus", true),
    ACT_CASE("softsign", true),
    ACT_CASE("silu", true),
    ACT_CASE("mish", true),
    ACT_CASE("squareplus", true),
    ACT_CASE("soft_shrink", false),
    ACT_CASE("softmax", true),
    ACT_CASE("log_softmax", true),
    ACT_CASE("sparsemax", false),
    ACT_CASE("glu", true),
    ACTIVATION_CASE("relu with bounds",
                    "{'name':'relu','negative_slope':0.1,'max_value':0.5,'threshold':0.2}", false),
    ACTIVATION_CASE("relu, falling to the left", "{'name':'relu','negative_slope':-0.3}", true),
    ACTIVATION_CASE("relu, bounded below zero",
                    "{'name':'relu','negative_slope':0.4,'max_value':-0.1}", true),
    ACTIVATION_CASE("leaky_relu, falling to the left", "{'name':'leaky_relu','alpha':-0.3}", true),
    ACTIVATION_CASE("elu, alpha below zero", "{'name':'elu','alpha':-0.7}", true),
    ACTIVATION_CASE("elu, alpha zero", "{'name':'elu','alpha':0}", true),
    ACTIVATION_CASE("elu, alpha 2.5", "{'name':'elu','alpha':2.5}", true),
    ACTIVATION_CASE("celu, alpha below zero", "{'name':'celu','alpha':-3}", true),
    LOSS_CASE("'mean_squared_error'", "linear", true),
    LOSS_CASE("'mean_absolute_error'", "linear", false),
    LOSS_CASE("'mean_absolute_percentage_error'", "linear", false),
    LOSS_CASE("'mean_squared_logarithmic_error'", "sigmoid", true),
    LOSS_CASE("'binary_crossentropy'", "sigmoid", true),
    LOSS_CASE("'binary_crossentropy'", "softmax", true),
    LOSS_CASE("'binary_crossentropy'", "hard_sigmoid", false),
    LOSS_CASE("{'name':'binary_crossentropy','label_smoothing':0.1}", "sigmoid", true),
    LOSS_CASE("{'name':'binary_crossentropy','from_logits':true}", "linear", true),
    LOSS_CASE("'categorical_crossentropy'", "softmax", true),
    LOSS_CASE("'categorical_crossentropy'", "sigmoid", true),
    LOSS_CASE("'categorical_crossentropy'", "softplus", true),
    LOSS_CASE("{'name':'categorical_crossentropy','label_smoothing':0.2}", "softmax", true),
    LOSS_CASE("{'name':'categorical_crossentropy','label_smoothing':0.2}", "softplus", true),
    LOSS_CASE("'sparse_categorical_crossentropy'", "softmax", true),
    LOSS_CASE("'sparse_categorical_crossentropy'", "hard_sigmoid", false),
    LOSS_CASE("'hinge'", "linear", false),
    LOSS_CASE("'squared_hinge'", "linear", false),
    LOSS_CASE("'categorical_hinge'", "linear", false),
    LOSS_CASE("'huber'", "linear", true),
    LOSS_CASE("{'name':'huber','delta':0.3}", "linear", false),
    LOSS_CASE("'log_cosh'", "linear", true),
    LOSS_CASE("'kl_divergence'", "softmax", true),
    LOSS_CASE("'poisson'", "softplus", true),
    LOSS_CASE("'cosine_similarity'", "linear", true),
    LOSS_CASE("{'name':'sparse_categorical_crossentropy','label_smoothing':0.2}", "softmax", true),
    LOSS_CASE("{'name':'sparse_categorical_crossentropy','label_smoothing':0.2}", "softplus", true),
    LOSS_CASE("'binary_focal_crossentropy'", "sigmoid", true),
    LOSS_CASE("'binary_focal_crossentropy'", "softmax", true),
    LOSS_CASE("{'name':'binary_focal_crossentropy','apply_class_balancing':true,'alpha':0.3,"
              "'gamma':0.7,'label_smoothing':0.1}",
              "sigmoid", true),
    LOSS_CASE("{'name':'binary_focal_crossentropy','from_logits':true,'gamma':0}", "linear", true),
    LOSS_CASE("'categorical_focal_crossentropy'", "softmax", true),
    LOSS_CASE("'categorical_focal_crossentropy'", "softplus", true),
    LOSS_CASE("{'name':'categorical_focal_crossentropy','alpha':1.5,'gamma':0.6,"
              "'label_smoothing':0.2}",
              "softmax", true),
    LOSS_CASE("{'name':'categorical_focal_crossentropy','gamma':3,'label_smoothing':0.2,"
              "'from_logits':true}",
              "linear", true),
    LOSS_CASE("'categorical_generalized_cross_entropy'", "softmax", true),
    LOSS_CASE("{'name':'categorical_generalized_cross_entropy','q':0.8}", "sigmoid", true),
    LOSS_CASE("'dice'", "sigmoid", true),
    LOSS_CASE("{'name':'tversky','alpha':0.3,'beta':0.8}", "softmax", true),
    {"loss of a batch of pictures", 5,
     NET("[9,8,3]", CONV("'filters':2,'kernel_size':3,'activation':'sigmoid'"),
         "'optimizer':'sgd','loss':'tversky'"),
     true},
    OPT_CASE("'sgd'"),
    OPT_CASE("{'name':'sgd','momentum':0.9}"),
    OPT_CASE("{'name':'sgd','momentum':0.9,'nesterov':true}"),
    OPT_CASE("'rmsprop'"),
    OPT_CASE("{'name':'rmsprop','momentum':0.5,'centered':true}"),
    OPT_CASE("'adam'"),
    OPT_CASE("{'name':'adam','amsgrad':true,'weight_decay':0.1}"),
    OPT_CASE("'adamw'"),
    OPT_CASE("'adamax'"),
    OPT_CASE("'nadam'"),
    OPT_CASE("'adagrad'"),
    OPT_CASE("'adadelta'"),
    OPT_CASE("'ftrl'"),
    OPT_CASE("{'name':'ftrl','l1_regularization_strength':0.01,'l2_regularization_strength'"
             ":0.02,'"
             "beta':0.1,'l2_shrinkage_regularization_strength':0.03}"),
    OPT_CASE("'lamb'"),
    OPT_CASE("{'name':'lamb','weight_decay':0.1,'clipvalue':0.01,'use_ema':true}"),
    OPT_CASE("{'name':'adam','amsgrad':true,'use_ema':true,'ema_momentum':0.9}"),
    OPT_CASE("'lion'"),
    OPT_CASE("{'name':'sgd','clipnorm':0.01}"),
    OPT_CASE("{'name':'adam','clipvalue':0.001}"),
    OPT_CASE("{'name':'sgd','global_clipnorm':0.02}"),
    PICTURE_CASE("depthwise 3x3 same", 3, "[7,6,3]",
                 LAYER("DepthwiseConv2D", "'kernel_size':3,'padding':'same'")),
    PICTURE_CASE("depthwise, multiplier 3, stride 2", 2, "[8,7,2]",
                 LAYER("DepthwiseConv2D", "'kernel_size':[3,2],'depth_multiplier':3,'strides':2")),
    PICTURE_CASE("depthwise, dilation 2, no bias, tanh", 1, "[7,7,3]",
                 LAYER("DepthwiseConv2D", "'kernel_size':3,'dilation_rate':2,'use_bias':false,"
                                          "'activation':'tanh'")),
    PICTURE_CASE("depthwise, regularized, glu", 4, "[5,5,2]",
                 LAYER("DepthwiseConv2D", "'kernel_size':2,'depthwise_regularizer':'l2',"
                                          "'bias_regularizer':'l2','activation':'glu'")),
    {"depthwise first", 5,
     NET("[6,6,3]",
         LAYER("DepthwiseConv2D", "'kernel_size':3,'depth_multiplier':2") "," FLAT
                                                                          "," DENSE("'units':2"),
         MSE),
     true},
    PICTURE_CASE("depthwise of the whole picture", 2, "[4,5,2]",
                 LAYER("DepthwiseConv2D", "'kernel_size':[4,5]")),
    PICTURE_CASE("separable 3x3 same, multiplier 2", 3, "[6,7,2]",
                 LAYER("SeparableConv2D", "'filters':5,'kernel_size':3,'padding':'same',"
                                          "'depth_multiplier':2,'activation':'tanh'")),
    PICTURE_CASE("separable, stride 2, no bias", 2, "[7,6,2]",
                 LAYER("SeparableConv2D", "'filters':3,'kernel_size':2,'strides':2,"
                                          "'use_bias':false,'pointwise_regularizer':'l2'")),
    {"separable first", 4,
     NET("[6,6,3]",
         LAYER("SeparableConv2D",
               "'filters':4,'kernel_size':3,'dilation_rate':2") "," FLAT "," DENSE("'units':2"),
         MSE),
     true},
    PICTURE_CASE("transposed 3x3, stride 2, same", 3, "[4,5,2]",
                 LAYER("Conv2DTranspose", "'filters':3,'kernel_size':3,'strides':2,"
                                          "'padding':'same','activation':'tanh'")),
    PICTURE_CASE("transposed 5x2, strides [2,3], valid", 2, "[3,4,2]",
                 LAYER("Conv2DTranspose", "'filters':5,'kernel_size':[5,2],'strides':[2,3]")),
    PICTURE_CASE("transposed, output_padding", 1, "[3,3,2]",
                 LAYER("Conv2DTranspose", "'filters':2,'kernel_size':[3,4],'strides':2,"
                                          "'padding':'same','output_padding':1,'use_bias':false")),
    PICTURE_CASE("transposed, valid, output_padding [1,0]", 4, "[3,4,2]",
                 LAYER("Conv2DTranspose", "'filters':3,'kernel_size':2,'strides':2,"
                                          "'output_padding':[1,0],'kernel_regularizer':'l2',"
                                          "'bias_regularizer':'l2'")),
    PICTURE_CASE("transposed, stride 1, glu", 2, "[4,4,2]",
                 LAYER("Conv2DTranspose", "'filters':6,'kernel_size':3,'activation':'glu'")),
    {"transposed first", 5,
     NET("[3,4,3]",
         LAYER("Conv2DTranspose", "'filters':2,'kernel_size':2,'strides':2") "," FLAT
                                                                             "," DENSE("'units':2"),
         MSE),
     true},
    ROW_CASE("average pool of a sequence", 3,
             LAYER("Reshape", "'target_shape':[3,2]") "," LAYER(
                 "AveragePooling1D", "'pool_size':2,'strides':1") "," FLAT),
    ROW_CASE("average pool of a sequence, same", 2,
             LAYER("Reshape", "'target_shape':[3,2]") "," LAYER("AveragePooling1D",
                                                                "'padding':'same'") "," FLAT),
    PICTURE_CASE("average pool", 3, "[6,9,2]", LAYER("AveragePooling2D", "")),
    PICTURE_CASE("average pool same, odd, overlapping", 2, "[7,6,2]",
                 LAYER("AveragePooling2D", "'pool_size':3,'strides':2,'padding':'same'")),
    PICTURE_CASE("average pool 3x2, strides [1,3]", 5, "[5,8,1]",
                 LAYER("AveragePooling2D", "'pool_size':[3,2],'strides':[1,3]")),
    PICTURE_CASE("global average", 4, "[5,3,2]", LAYER("GlobalAveragePooling2D", "")),
    PICTURE_CASE("global average, keepdims", 1, "[5,3,2]",
                 LAYER("GlobalAveragePooling2D", "'keepdims':true")),
    PICTURE_CASE("global max", 2, "[4,3,2]", LAYER("GlobalMaxPooling2D", "")),
    PICTURE_CASE("global max, keepdims", 3, "[4,3,2]",
                 LAYER("GlobalMaxPooling2D", "'keepdims':true")),
    PICTURE_CASE("zero padding", 2, "[3,4,2]", LAYER("ZeroPadding2D", "'padding':[[1,0],[2,3]]")),
    PICTURE_CASE("zero padding by 1", 5, "[2,2,2]", LAYER("ZeroPadding2D", "")),
    PICTURE_CASE("cropping", 3, "[6,7,2]", LAYER("Cropping2D", "'cropping':[[2,1],[0,3]]")),
    PICTURE_CASE("cropping by [1,2]", 1, "[5,6,2]", LAYER("Cropping2D", "'cropping':[1,2]")),
    PICTURE_CASE("upsampling", 2, "[3,4,2]", LAYER("UpSampling2D", "")),
    PICTURE_CASE("upsampling, bilinear, [2,3]", 3, "[4,3,2]",
                 LAYER("UpSampling2D", "'size':[2,3],'interpolation':'bilinear'")),
    PICTURE_CASE("resizing", 4, "[5,7,2]", LAYER("Resizing", "'height':8,'width':3")),
    PICTURE_CASE("resizing, nearest", 1, "[5,7,2]",
                 LAYER("Resizing", "'height':3,'width':9,'interpolation':'nearest'")),
    PICTURE_CASE("rescaling", 2, "[3,3,2]", LAYER("Rescaling", "'scale':-2.5,'offset':0.5")),
    ROW_CASE("normalization", 3,
             LAYER("Normalization", "'mean':[1,2,3,4,5,6],'variance':[0,1,4,0.5,2,9]")),
    PICTURE_CASE("normalization by one number", 4, "[3,3,2]",
                 LAYER("Normalization", "'mean':0.5,'variance':4")),
    ROW_CASE("layer norm", 4, LAYER("LayerNormalization", "")),
    ROW_CASE("layer norm, bare", 2, LAYER("LayerNormalization", "'center':false,'scale':false")),
    PICTURE_CASE("layer norm of pixels, regularized", 3, "[3,4,2]",
                 LAYER("LayerNormalization", "'epsilon':0.1,'gamma_regularizer':'l2',"
                                             "'beta_regularizer':'l2'")),
    PICTURE_CASE("layer norm of all axes", 5, "[3,2,2]",
                 LAYER("LayerNormalization", "'axis':[1,2,3]")),
    PICTURE_CASE("layer norm of all axes without gamma", 1, "[3,2,2]",
                 LAYER("LayerNormalization", "'axis':[-1,-2,-3],'scale':false")),
    PICTURE_CASE("layer norm, frozen", 2, "[3,2,2]",
                 LAYER("LayerNormalization", "'trainable':false")),
    PICTURE_CASE("group norm", 3, "[3,4,2]", LAYER("GroupNormalization", "'groups':2")),
    PICTURE_CASE("group norm, one group, no beta", 1, "[3,4,2]",
                 LAYER("GroupNormalization", "'groups':1,'center':false")),
    PICTURE_CASE("instance norm", 4, "[4,3,2]", LAYER("GroupNormalization", "'groups':-1")),
    ROW_CASE("group norm of rows", 5, LAYER("GroupNormalization", "'groups':3,'epsilon':0.01")),
    ROW_CASE("rms norm", 2, LAYER("RMSNormalization", "")),
    PICTURE_CASE("rms norm of pixels", 5, "[2,3,2]", LAYER("RMSNormalization", "'epsilon':0.1")),
    ROW_CASE("unit norm", 3, LAYER("UnitNormalization", "")),
    PICTURE_CASE("unit norm of pixels", 1, "[2,3,2]", LAYER("UnitNormalization", "")),
    {"augmentation hands on", 3,
     NET("[4,5,3]",
         LAYER("RandomFlip", "") "," LAYER("RandomRotation", "'factor':0.1") "," CONV(
             "'filters':3,'kernel_size':2") "," FLAT "," DENSE("'units':2"),
         MSE),
     true},
    OPT_CASE("{'name':'adam','gradient_accumulation_steps':5,'use_ema':true}"),
    OPT_CASE("{'name':'adam','gradient_accumulation_steps':2,'use_ema':true}"),
    OPT_CASE("{'name':'adam','gradient_accumulation_steps':5,'amsgrad':true,'use_ema':true,"
             "'global_clipnorm':0.01}"),
    OPT_CASE("{'name':'sgd','gradient_accumulation_steps':5,'clipnorm':0.001}"),
    OPT_CASE("{'name':'lamb','gradient_accumulation_steps':5,'weight_decay':0.1}"),
    OPT_CASE("{'name':'lamb','gradient_accumulation_steps':3,'use_ema':true}"),
    {"learning rates of layers", 6,
     NET("[5]",
         DENSE("'units':7,'activation':'tanh','learning_rate_multiplier':3") "," NORM(
             "'learning_rate_multiplier':0.25") "," DENSE("'units':3,'activation':'softmax'"),
         "'optimizer':{'name':'adamw','weight_decay':0.2,'use_ema':true},"
         "'loss':'categorical_crossentropy'"),
     false},
    {"learning rates of layers, lamb", 6,
     NET("[5]",
         DENSE("'units':7,'activation':'tanh','learning_rate_multiplier':3") "," DENSE(
             "'units':3,'activation':'softmax'"),
         "'optimizer':'lamb','loss':'categorical_crossentropy'"),
     false},
    {"constraints", 6, NET("[5]", CONSTRAINED_LAYERS, CONSTRAINED_RATES), false},
    CONSTRAINED_CONV("unit_norm", "[0,1,2]", "16", "1"),
    CONSTRAINED_CONV("max_norm", "[3]", "24", "1"),
    CONSTRAINED_CONV("max_norm", "0", "5", "1"),
    CONSTRAINED_CONV("unit_norm", "[0,3]", "16", "4"),
    CONSTRAINED_CONV("unit_norm", "[2,1]", "16", "16"),
    CONSTRAINED_CONV("unit_norm", "[1,3]", "32", "2"),
    {"metrics", 9,
     NET("[5]", DENSE("'units':4,'activation':'softmax'"),
         "'optimizer':'sgd','loss':'categorical_crossentropy','metrics':['accuracy','"
         "precision','"
         "recall','auc','mae','mse','rmse','r2_score','cosine_similarity','crossentropy',{'"
         "name':'"
         "top_k_categorical_accuracy','k':2},'categorical_accuracy','binary_accuracy']"),
     true},
    ACTIVATION_LAYER_CASE("Activation", "Activation", "'activation':'tanh'", true),
    ACTIVATION_LAYER_CASE("Activation glu", "Activation", "'activation':'glu'", true),
    ACTIVATION_LAYER_CASE("Activation linear", "Activation", "'activation':null", true),
    ACTIVATION_LAYER_CASE("ReLU", "ReLU", "", false),
    ACTIVATION_LAYER_CASE("ReLU with options", "ReLU",
                          "'max_value':0.6,'negative_slope':0.2,'threshold':0.1", false),
    ACTIVATION_LAYER_CASE("LeakyReLU", "LeakyReLU", "", false),
    ACTIVATION_LAYER_CASE("ELU", "ELU", "'alpha':1.5", false),
    ACTIVATION_LAYER_CASE("Softmax", "Softmax", "", true),
    ACTIVATION_LAYER_CASE("PReLU", "PReLU", "'alpha_regularizer':'l2','alpha_constraint':'non_neg'",
                          false),
    {"layer PReLU of each channel", 3,
     NET("[4,3,2]",
         LAYERS(CONV("'filters':5,'kernel_size':2"), LAYER("PReLU", "'shared_axes':[1,2]"), FLAT,
                DENSE("'units':3")),
         MSE),
     false},
    {"layer PReLU first, frozen", 2,
     NET("[4]",
         LAYERS(LAYER("PReLU", "'trainable':false"), DENSE("'units':3"),
                LAYER("PReLU", "'shared_axes':1"), DENSE("'units':2")),
         MSE),
     false},
    /* Losses that read what the activation reads. */
    {"loss of a Softmax layer", 5,
     NET("[6]",
         LAYERS(DENSE("'units':7,'activation':'tanh'"), DENSE("'units':4"), LAYER("Softmax", "")),
         CCE),
     true},
    {"loss of an Activation sigmoid", 4,
     NET("[6]", LAYERS(DENSE("'units':4"), LAYER("Activation", "'activation':'sigmoid'")),
         "'optimizer':'sgd','loss':'binary_crossentropy'"),
     true},
    {"Reshape, Permute", 3,
     NET("[4,3,2]",
         LAYERS(CONV("'filters':6,'kernel_size':2"), RESHAPE("[4,-1]"),
                DENSE("'units':3,'activation':'tanh'"), LAYER("Permute", "'dims':[2,1]"),
                DENSE("'units':2"), RESHAPE("-1"), DENSE("'units':2")),
         MSE),
     true},
    {"Permute of three", 2,
     NET("[4,3,5]",
         LAYERS(CONV("'filters':2,'kernel_size':1"), LAYER("Permute", "'dims':[3,1,2]"),
                DENSE("'units':3,'activation':'tanh'"), FLAT, DENSE("'units':2")),
         MSE),
     true},
    {"RepeatVector", 4,
     NET("[5]",
         LAYERS(DENSE("'units':3"), LAYER("RepeatVector", "'n':4"), LAYER("PReLU", ""), FLAT,
                DENSE("'units':2")),
         MSE),
     false},
    {"Embedding", 5,
     NET("[4]",
         LAYERS(LAYER("Embedding",
                      "'input_dim':7,'output_dim':3,'embeddings_regularizer':'l2',"
                      "'embeddings_constraint':{'name':'max_norm','max_value':0.5,'axis':1}"),
                DENSE("'units':4,'activation':'tanh'"), FLAT, DENSE("'units':2")),
         MSE),
     true},
    {"Embedding behind a Reshape, of indices that lie outside", 3,
     GRAPH("'ids':{'size':[6],'dtype':'int32'}",
           LAYERS(RESHAPE("[2,3]"), LAYER("Embedding", "'input_dim':4,'output_dim':5"), FLAT,
                  DENSE("'units':2")),
           "'y':'dense'", MSE),
     true},
    NOISE_CASE("GaussianNoise", "'stddev':0.3"),
    NOISE_CASE("GaussianDropout", "'rate':0.3"),
    NOISE_CASE("AlphaDropout", "'rate':0.3"),
    {"SpatialDropout2D", 3,
     NET("[5,4,3]",
         LAYERS(CONV("'filters':8,'kernel_size':2"), LAYER("SpatialDropout2D", "'rate':0.4"), FLAT,
                DENSE("'units':3")),
         MSE),
     true},
    {"ActivityRegularization", 5,
     NET("[6]",
         LAYERS(DENSE("'units':4,'activation':'tanh'"), LAYER("ActivityRegularization", "'l2':0.7"),
                DENSE("'units':3,'activation':'sigmoid'"),
                LAYER("ActivityRegularization", "'l1':0.3")),
         MSE),
     true},
    MERGE_CASE("Add", 3, true),
    MERGE_CASE("Multiply", 2, true),
    MERGE_CASE("Average", 5, true),
    MERGE_CASE("Maximum", 4, false),
    MERGE_CASE("Minimum", 1, false),
    {"Subtract", 4,
     NET("[6]",
         LAYERS(NAMED("Dense", "a", "'units':4", "'input'"),
                NAMED("Dense", "b", "'units':4", "'input'"), WIRED("Subtract", "", "['a','b']"),
                DENSE("'units':2")),
         MSE),
     true},
    {"Subtract, broadcasting both ways", 2,
     NET("[3,4,2]",
         LAYERS(NAMED("Conv2D", "a", "'filters':1,'kernel_size':1", "'input'"),
                NAMED("Conv2D", "b", "'filters':5,'kernel_size':[3,1]", "'input'"),
                WIRED("Subtract", "", "['a','b']"), FLAT, DENSE("'units':2")),
         MSE),
     true},
    {"frozen and trained inputs, one of them twice", 3,
     NET("[6]",
         LAYERS(NAMED("Dense", "a", "'units':4,'trainable':false", "'input'"),
                NAMED("Dense", "b", "'units':4,'activation':'tanh'", "'input'"),
                NAMED("Add", "sum", "", "['a','b','b']"), WIRED("Multiply", "", "['a','sum']"),
                DENSE("'units':2")),
         MSE),
     true},
    CONCATENATE_CASE("channels", "", "'filters':2,'kernel_size':2"),
    CONCATENATE_CASE("columns", "'axis':2", "'filters':3,'kernel_size':[2,1]"),
    CONCATENATE_CASE("rows", "'axis':-3", "'filters':3,'kernel_size':[1,2]"),
    {"Concatenate of fourteen", 3,
     NET("[6]",
         LAYERS(NAMED("Dense", "a", "'units':2,'activation':'tanh'", "'input'"),
                NAMED("Dense", "b", "'units':3", "'input'"),
                WIRED("Concatenate", "",
                      "['a','b','a','input','b','a','b','b','a','b','input','a','b','a']"),
                DENSE("'units':2")),
         MSE),
     true},
    DOT_CASE("matrices", 3, "[2,5]", "3", "[4,6]", "3", "'axes':2"),
    DOT_CASE("matrices along other axes", 2, "[3,2]", "4", "[4,2]", "3", "'axes':[1,-1]"),
    DOT_CASE("vectors, normalized", 5, "[6]", "5", "[7]", "5", "'axes':1,'normalize':true"),
    DOT_CASE("matrices, normalized", 4, "[4,3]", "3", "[4,2]", "5",
             "'axes':[-2,1],'normalize':true"),
    DOT_CASE("pictures with vectors", 1, "[2,4,3]", "2", "[3]", "2", "'axes':[1,1]"),
    {"residual network", 3,
     NET("[6,5,3]",
         LAYERS(CONV("'filters':4,'kernel_size':3,'padding':'same','use_bias':false"), NORM(""),
                LAYER("ReLU", "'name':'stem'"),
                CONV("'filters':4,'kernel_size':3,'padding':'same','use_bias':false"),
                NORM("'name':'inner'"), WIRED("Add", "", "['stem','inner']"), LAYER("ReLU", ""),
                FLAT, DENSE("'units':3,'activation':'softmax'")),
         CCE),
     false},
    {"two inputs, three outputs", 4,
     GRAPH("'picture':[5,4,2],'row':[3]",
           LAYERS(
               NAMED("Conv2D", "c", "'filters':3,'kernel_size':2,'activation':'tanh'", "'picture'"),
               FLAT, NAMED("Dense", "d", "'units':4,'activation':'tanh'", "'row'"),
               NAMED("Concatenate", "both", "", "['flatten','d']"),
               NAMED("Dense", "class", "'units':3,'activation':'softmax'", "'both'"),
               NAMED("Dense", "number", "'units':2", "'both'")),
           "'a':{'layer':'class','loss':'categorical_crossentropy','metrics':['accuracy']},"
           "'b':{'layer':'number','loss':'mse','loss_weight':0.4,'metrics':['mae']},"
           "'c':{'layer':'d','loss':'log_cosh','loss_weight':0.1}",
           "'optimizer':'sgd'"),
     true},
    {"three losses of one softmax", 4,
     GRAPH(
         "'x':[5]",
         LAYERS(DENSE("'units':6,'activation':'tanh'"), DENSE("'units':3,'activation':'softmax'")),
         "'a':{'layer':'dense_1','loss':'categorical_crossentropy'},"
         "'b':{'layer':'dense_1','loss':'mse','loss_weight':2},"
         "'c':{'layer':'dense_1','loss':'categorical_crossentropy','loss_weight':0.3}",
         "'optimizer':'sgd'"),
     true},
    {"shared layers", 3,
     GRAPH("'a':[5],'b':[5]",
           LAYERS(NAMED("Dense", "first", "'units':4,'activation':'tanh','kernel_regularizer':'l2'",
                        "'a'"),
                  USE("first", "'b'"), NAMED("Subtract", "s", "", "['first','first_1']"),
                  DENSE("'units':4,'name':'square'"), USE("square", "'square'"),
                  DENSE("'units':2")),
           "'y':'dense'", MSE),
     true},
    {"a block, twice", 2,
     "{'size':[6],'blocks':{'wide':{'options':{'n':6,'f':'tanh'},'layers':["
     "{'type':'Dense','layer':{'units':'$n','activation':'$f','name':'d'}},"
     "{'type':'Add','inputs':['d','input']}]}},'layers':[{'type':'wide'},"
     "{'type':'wide','layer':{'f':'sigmoid'}}," DENSE("'units':2") "]," MSE "}",
     true},
};
const int n_op_cases = sizeof op_cases / sizeof *op_cases;

webml_model *op_case_model(const op_case *c) {
  char *json = test_alloc(strlen(c->model) + 1);
  for (size_t i = 0; c->model[i]; i++) json[i] = c->model[i] == '\'' ? '"' : c->model[i];
  webml_model *model = NULL;
  if (webml_model_parse(json, strlen(json), &model) != WEBML_OK) {
    fprintf(stderr, "case %s: %s\n", c->name, webml_last_error());
    exit(1);
  }
  free(json);
  return model;
}

void op_case_ends(const webml_model *model, wml_step_spec *spec) {
  for (int i = 0; i < model->n_inputs; i++) spec->inputs[i].type = model->nodes[i].dtype;
  for (int i = 0; i < model->n_outputs; i++) {
    const wml_shape *out = &model->nodes[model->outputs[i].node].out;
    bool sparse = wml_loss_is_sparse(model->outputs[i].loss.kind);
    spec->targets[i] =
        (wml_feed_spec){.type = WML_F32, .width = sparse ? 1 : out->dim[out->rank - 1]};
  }
}
