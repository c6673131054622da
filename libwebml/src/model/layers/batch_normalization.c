/* BatchNormalization over the last axis: y = gamma (x - mean) / sqrt(variance + epsilon) + beta.
 * Training uses the batch's mean and biased variance, prediction the moving ones. */
#include "model/fields.h"

#define AT(member) offsetof(wml_layer, member)

static const wml_field fields[] = {
    {.key = "momentum",
     .kind = WML_FIELD_FLOAT,
     .offset = AT(u.norm.momentum),
     .low = 0,
     .high = 1,
     .otherwise = 0.99,
     .about = "How slowly the moving mean and variance forget."},
    {.key = "epsilon",
     .kind = WML_FIELD_FLOAT,
     .offset = AT(u.norm.epsilon),
     .low = 1e-12,
     .high = 1,
     .otherwise = 1e-3,
     .about = "A small number that is added to the variance."},
    {.key = "axis",
     .kind = WML_FIELD_INT,
     .offset = AT(u.norm.axis),
     .low = -1,
     .high = 3,
     .otherwise = -1,
     .about = "The axis of the channels: the last."},
    {.key = "center",
     .kind = WML_FIELD_BOOL,
     .offset = AT(u.norm.center),
     .otherwise = 1,
     .about = "Whether a learned shift is added."},
    {.key = "scale",
     .kind = WML_FIELD_BOOL,
     .offset = AT(u.norm.scale),
     .otherwise = 1,
     .about = "Whether a learned factor is multiplied."},
    {.key = "beta_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(u.norm.beta),
     .word = "zeros",
     .about = "How the shifts are set before training."},
    {.key = "gamma_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(u.norm.gamma),
     .word = "ones",
     .about = "How the factors are set before training."},
    {.key = "moving_mean_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(u.norm.mean),
     .word = "zeros",
     .about = "What the moving mean begins with."},
    {.key = "moving_variance_initializer",
     .kind = WML_FIELD_INITIALIZER,
     .offset = AT(u.norm.variance),
     .word = "ones",
     .about = "What the moving variance begins with."},
    {.key = "beta_regularizer",
     .kind = WML_FIELD_REGULARIZER,
     .offset = AT(u.norm.beta_regularizer),
     .nullable = true,
     .about = "A penalty on large shifts that is added to the loss."},
    {.key = "gamma_regularizer",
     .kind = WML_FIELD_REGULARIZER,
     .offset = AT(u.norm.gamma_regularizer),
     .nullable = true,
     .about = "A penalty on large factors that is added to the loss."},
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

static webml_status shape(wml_arena *arena, wml_layer *l, const wml_json_path *place,
                          wml_issues *issues) {
  int before = issues->count;
  int64_t c = l->in.dim[l->in.rank - 1];
  l->out = l->in;
  if (l->u.norm.axis != -1 && l->u.norm.axis != l->in.rank) {
    wml_issue(issues, place, "axis %d is not the last axis; only -1 or %d is supported",
              l->u.norm.axis, l->in.rank);
    wml_issue_cure(issues, "set axis to -1");
    wml_patch_set(issues, WML_OPTIONS_OF(place), "axis", "-1");
  }
  if (c <= 0 || issues->count > before) return WEBML_OK;
  int64_t n = wml_shape_elements(&l->in);
  if (n > 0) l->flops = 2.0 * (double)n;
  if (l->u.norm.scale)
    WML_TRY(wml_layer_param(arena, l, "gamma",
                            (wml_param){.rank = 1,
                                        .dim = {c},
                                        .initializer = l->u.norm.gamma,
                                        .regularizer = l->u.norm.gamma_regularizer}));
  if (l->u.norm.center)
    WML_TRY(wml_layer_param(arena, l, "beta",
                            (wml_param){.rank = 1,
                                        .dim = {c},
                                        .initializer = l->u.norm.beta,
                                        .regularizer = l->u.norm.beta_regularizer}));
  WML_TRY(wml_layer_param(
      arena, l, "moving_mean",
      (wml_param){.rank = 1, .dim = {c}, .initializer = l->u.norm.mean, .statistic = true}));
  return wml_layer_param(
      arena, l, "moving_variance",
      (wml_param){.rank = 1, .dim = {c}, .initializer = l->u.norm.variance, .statistic = true});
}

const wml_layer_class wml_layer_batch_normalization = {
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .takes = NULL,
    .gives = 0,
    .about =
        "Brings each channel to mean 0 and deviation 1, so that training is faster and steadier."};
