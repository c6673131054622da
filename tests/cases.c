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
