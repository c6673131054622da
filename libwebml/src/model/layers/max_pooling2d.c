/* MaxPooling2D: [h, w, c] -> [oh, ow, c]. Padding never wins; the first maximum in row-major order
 * takes the gradient. */
#include "model/fields.h"

#define AT(member) offsetof(wml_layer, member)

static const wml_field fields[] = {
    {.key = "pool_size",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.pool.pool_size),
     .low = 1,
     .high = 16,
     .otherwise = 2,
     .about = "Height and width of the window."},
    {.key = "strides",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.pool.strides),
     .low = 1,
     .high = 64,
     .nullable = true,
     .about = "How far the window moves between two outputs; null: by its own size."},
    {.key = "padding",
     .kind = WML_FIELD_CHOICE,
     .offset = AT(u.pool.padding),
     .words = wml_padding_words,
     .about = "same: zeros around the picture keep its size; valid: the window stays inside."},
    {.key = "data_format", .kind = WML_FIELD_IGNORED, .word = "channels_last"},
    {.key = "trainable", .kind = WML_FIELD_IGNORED},
    WML_NAME_FIELD,
};

static webml_status shape(wml_arena *arena, wml_layer *l, const wml_json_path *place,
                          wml_issues *issues) {
  (void)arena;
  const int *k = l->u.pool.pool_size;
  l->out = l->in;
  for (int i = 0; i < 2; i++) {
    int stride = wml_pool_stride(l, i);
    if (l->in.dim[i] > 0)
      l->out.dim[i] = wml_window_output(l->in.dim[i], k[i], stride, 1, l->u.pool.padding);
  }
  bool known = l->in.dim[0] > 0 && l->in.dim[1] > 0;
  if (known && (l->out.dim[0] <= 0 || l->out.dim[1] <= 0)) {
    wml_issue(issues, place,
              "pool %dx%d exceeds the %dx%d input; use a smaller pool_size or padding \"same\"",
              k[0], k[1], (int)l->in.dim[0], (int)l->in.dim[1]);
    wml_issue_cure(issues, "use padding \"same\"");
    wml_patch_set(issues, WML_OPTIONS_OF(place), "padding", "\"same\"");
  } else if (known && l->in.dim[2] > 0)
    l->flops = (double)(l->out.dim[0] * l->out.dim[1] * l->in.dim[2]) * k[0] * k[1];
  return WEBML_OK;
}

const wml_layer_class wml_layer_max_pooling2d = {
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .takes = "an image [height, width, channels]",
    .gives = 3,
    .about = "Keeps the greatest value of each window and makes the picture smaller."};
