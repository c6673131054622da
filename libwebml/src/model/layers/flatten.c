/* Flatten: [h, w, c] -> [h * w * c], row-major. */
#include "model/fields.h"

static const wml_field fields[] = {
    {.key = "data_format", .kind = WML_FIELD_IGNORED, .word = "channels_last"},
    {.key = "trainable", .kind = WML_FIELD_IGNORED},
    WML_NAME_FIELD,
};

static webml_status shape(wml_arena *arena, wml_layer *l, const wml_json_path *place,
                          wml_issues *issues) {
  (void)arena;
  (void)place;
  (void)issues;
  l->out = (wml_shape){1, {wml_shape_elements(&l->in)}};
  return WEBML_OK;
}

const wml_layer_class wml_layer_flatten = {
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .takes = NULL,
    .gives = 1,
    .about = "Makes one row of numbers of a picture; dense layers read rows."};
