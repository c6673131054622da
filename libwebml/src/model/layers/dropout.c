/* Dropout: in training an element is kept with probability 1 - rate and multiplied by 1/(1 - rate),
 * else 0; in prediction nothing happens. */
#include "model/fields.h"

static const wml_field fields[] = {
    {.key = "rate",
     .kind = WML_FIELD_FLOAT,
     .offset = offsetof(wml_layer, u.dropout.rate),
     .low = 0,
     .high = 1,
     .required = true},
    {.key = "seed", .kind = WML_FIELD_IGNORED},
    {.key = "noise_shape", .kind = WML_FIELD_IGNORED, .cure = "null"},
    {.key = "trainable", .kind = WML_FIELD_IGNORED},
    {.key = "name", .kind = WML_FIELD_NAME, .offset = offsetof(wml_layer, name)},
};

static webml_status shape(wml_arena *arena, wml_layer *l, const char *path, wml_issues *issues) {
  (void)arena;
  (void)path;
  (void)issues;
  l->out = l->in;
  l->flops = 0.0;
  return WEBML_OK;
}

const wml_layer_class wml_layer_dropout = {fields, sizeof fields / sizeof *fields, shape, NULL};
