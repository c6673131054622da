/* Flatten: [h, w, c] -> [h * w * c], row-major. */
#include "model/fields.h"

static const wml_field fields[] = {
    {.key = "data_format", .kind = WML_FIELD_IGNORED, .cure = "channels_last"},
    {.key = "trainable", .kind = WML_FIELD_IGNORED},
    {.key = "name", .kind = WML_FIELD_NAME, .offset = offsetof(wml_layer, name)},
};

static webml_status shape(wml_arena *arena, wml_layer *l, const char *path, wml_issues *issues) {
  (void)arena;
  (void)path;
  (void)issues;
  l->out = (wml_shape){1, {wml_shape_elements(&l->in)}};
  return WEBML_OK;
}

const wml_layer_class wml_layer_flatten = {fields, sizeof fields / sizeof *fields, shape, NULL};
