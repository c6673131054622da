/* Dropout: in training an element is kept with probability 1 - rate and multiplied by 1/(1 - rate),
 * else 0; in prediction nothing happens. */
#include "model/fields.h"

static const wml_field fields[] = {
    {.key = "rate",
     .kind = WML_FIELD_FLOAT,
     .offset = offsetof(wml_layer, u.dropout.rate),
     .low = 0,
     .high = 1,
     .suggested = 0.5,
     .required = true,
     .about = "The share of values that is set to 0."},
    {.key = "seed", .kind = WML_FIELD_IGNORED},
    {.key = "noise_shape", .kind = WML_FIELD_IGNORED, .word = "null"},
    {.key = "trainable", .kind = WML_FIELD_IGNORED},
    WML_NAME_FIELD,
};

static webml_status shape(wml_arena *arena, wml_layer *l, const wml_json_path *place,
                          wml_issues *issues) {
  (void)arena;
  (void)place;
  (void)issues;
  l->out = l->in;
  l->flops = 0.0;
  return WEBML_OK;
}

const wml_layer_class wml_layer_dropout = {.fields = fields,
                                           .n_fields = sizeof fields / sizeof *fields,
                                           .shape = shape,
                                           .takes = NULL,
                                           .gives = 0,
                                           .about =
                                               "Sets some of the values to 0 at random while "
                                               "training, so that no unit is relied on alone."};
