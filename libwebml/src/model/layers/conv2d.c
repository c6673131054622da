/* Conv2D: [h, w, c] -> [oh, ow, filters]. Cross-correlation, kernel [kh, kw, c/groups, filters],
 * then bias, then activation. valid: out = floor((n - ke) / s) + 1, ke = (k - 1) d + 1; same:
 * out = ceil(n / s). */
#include "model/fields.h"

#define AT(member) offsetof(wml_layer, member)

static const wml_field fields[] = {
    {.key = "filters",
     .kind = WML_FIELD_INT,
     .offset = AT(u.conv.filters),
     .low = 1,
     .high = 1024,
     .required = true},
    {.key = "kernel_size",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.conv.kernel_size),
     .low = 1,
     .high = 64,
     .required = true},
    {.key = "strides",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.conv.strides),
     .low = 1,
     .high = 64,
     .otherwise = 1},
    {.key = "padding", .kind = WML_FIELD_PADDING, .offset = AT(u.conv.padding)},
    {.key = "dilation_rate",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.conv.dilation_rate),
     .low = 1,
     .high = 64,
     .otherwise = 1},
    {.key = "groups",
     .kind = WML_FIELD_INT,
     .offset = AT(u.conv.groups),
     .low = 1,
     .high = 1024,
     .otherwise = 1},
    WML_LINEAR_FIELDS,
    {.key = "data_format", .kind = WML_FIELD_IGNORED, .cure = "channels_last"},
    {.key = "trainable", .kind = WML_FIELD_BOOL, .offset = AT(trainable), .otherwise = 1},
    {.key = "name", .kind = WML_FIELD_NAME, .offset = AT(name)},
};

static webml_status shape(wml_arena *arena, wml_layer *l, const char *path, wml_issues *issues) {
  const int *k = l->u.conv.kernel_size, *s = l->u.conv.strides, *d = l->u.conv.dilation_rate;
  int64_t c = l->in.dim[2], filters = l->u.conv.filters, groups = l->u.conv.groups;
  if ((s[0] > 1 || s[1] > 1) && (d[0] > 1 || d[1] > 1))
    wml_issue(issues, path, "strides and dilation_rate cannot both be above 1");
  if (filters % groups)
    wml_issue(issues, path, "filters %d is not a multiple of groups %d", (int)filters, (int)groups);
  if (c > 0 && c % groups)
    wml_issue(issues, path, "the %d input channels are not a multiple of groups %d", (int)c,
              (int)groups);
  l->out = (wml_shape){3, {-1, -1, filters}};
  for (int i = 0; i < 2; i++)
    if (l->in.dim[i] > 0)
      l->out.dim[i] = wml_window_output(l->in.dim[i], k[i], s[i], d[i], l->u.conv.padding);
  bool known = l->in.dim[0] > 0 && l->in.dim[1] > 0;
  if (known && (l->out.dim[0] <= 0 || l->out.dim[1] <= 0)) {
    int kh = (k[0] - 1) * d[0] + 1, kw = (k[1] - 1) * d[1] + 1;
    wml_issue(issues, path,
              "kernel %dx%d exceeds the %dx%d input; use a smaller kernel or padding \"same\"", kh,
              kw, (int)l->in.dim[0], (int)l->in.dim[1]);
  }
  if (c <= 0 || issues->count) return WEBML_OK;
  if (known)
    l->flops = (double)(l->out.dim[0] * l->out.dim[1] * filters) *
               (double)(2 * k[0] * k[1] * c / groups + l->use_bias);
  WML_TRY(wml_layer_param(arena, l, "kernel",
                          (wml_param){.rank = 4,
                                      .dim = {k[0], k[1], c / groups, filters},
                                      .initializer = l->kernel_initializer,
                                      .regularizer = l->kernel_regularizer}));
  if (!l->use_bias) return WEBML_OK;
  return wml_layer_param(arena, l, "bias",
                         (wml_param){.rank = 1,
                                     .dim = {filters},
                                     .initializer = l->bias_initializer,
                                     .regularizer = l->bias_regularizer});
}

const wml_layer_class wml_layer_conv2d = {fields, sizeof fields / sizeof *fields, shape,
                                          "an image [height, width, channels]"};
