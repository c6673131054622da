/* Conv2D: [h, w, c] -> [oh, ow, filters]. Cross-correlation, kernel [kh, kw, c/groups, filters],
 * then bias, then activation. valid: out = floor((n - ke) / s) + 1, ke = (k - 1) d + 1; same:
 * out = ceil(n / s). */
#include "model/fields.h"

#include <stdio.h>

#define AT(member) offsetof(wml_layer, member)

static const wml_field fields[] = {
    {.key = "filters",
     .kind = WML_FIELD_INT,
     .offset = AT(u.conv.filters),
     .low = 1,
     .high = 1024,
     .suggested = 32,
     .required = true,
     .about = "The number of filters, which is that of the output's channels."},
    {.key = "kernel_size",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.conv.kernel_size),
     .low = 1,
     .high = 64,
     .suggested = 3,
     .required = true,
     .about = "Height and width of the filters."},
    {.key = "strides",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.conv.strides),
     .low = 1,
     .high = 64,
     .otherwise = 1,
     .about = "How far the filters move between two outputs."},
    {.key = "padding",
     .kind = WML_FIELD_CHOICE,
     .offset = AT(u.conv.padding),
     .words = wml_padding_words,
     .about = "same: zeros around the picture keep its size; valid: the window stays inside."},
    {.key = "dilation_rate",
     .kind = WML_FIELD_PAIR,
     .offset = AT(u.conv.dilation_rate),
     .low = 1,
     .high = 64,
     .otherwise = 1,
     .about = "The distance of the pixels that a filter looks at."},
    {.key = "groups",
     .kind = WML_FIELD_INT,
     .offset = AT(u.conv.groups),
     .low = 1,
     .high = 1024,
     .otherwise = 1,
     .about = "Into how many groups the channels are divided, each with filters of its own."},
    WML_LINEAR_FIELDS,
    {.key = "data_format", .kind = WML_FIELD_IGNORED, .word = "channels_last"},
    WML_TRAINABLE_FIELD,
    WML_NAME_FIELD,
};

/* Greatest common divisor. */
static int64_t divisor(int64_t a, int64_t b) {
  return b ? divisor(b, a % b) : a;
}

static void check_groups(int64_t c, int64_t filters, int64_t groups, const wml_json_path *place,
                         wml_issues *issues) {
  char right[32];
  int before = issues->count;
  if (filters % groups)
    wml_issue(issues, place, "filters %d is not a multiple of groups %d", (int)filters,
              (int)groups);
  else if (c > 0 && c % groups)
    wml_issue(issues, place, "the %d input channels are not a multiple of groups %d", (int)c,
              (int)groups);
  if (issues->count == before) return;
  int64_t fits = divisor(filters, groups);
  if (c > 0) fits = divisor(c, fits);
  snprintf(right, sizeof right, "%lld", (long long)fits);
  wml_issue_cure(issues, "set groups to %s", right);
  wml_patch_set(issues, WML_OPTIONS_OF(place), "groups", right);
}

static webml_status shape(wml_arena *arena, wml_layer *l, const wml_json_path *place,
                          wml_issues *issues) {
  int before = issues->count;
  const int *k = l->u.conv.kernel_size, *s = l->u.conv.strides, *d = l->u.conv.dilation_rate;
  int64_t c = l->in.dim[2], filters = l->u.conv.filters, groups = l->u.conv.groups;
  if ((s[0] > 1 || s[1] > 1) && (d[0] > 1 || d[1] > 1)) {
    wml_issue(issues, place, "strides and dilation_rate cannot both be above 1");
    wml_issue_cure(issues, "set dilation_rate to 1");
    wml_patch_set(issues, WML_OPTIONS_OF(place), "dilation_rate", "1");
  }
  check_groups(c, filters, groups, place, issues);
  l->out = (wml_shape){3, {-1, -1, filters}};
  for (int i = 0; i < 2; i++)
    if (l->in.dim[i] > 0)
      l->out.dim[i] = wml_window_output(l->in.dim[i], k[i], s[i], d[i], l->u.conv.padding);
  bool known = l->in.dim[0] > 0 && l->in.dim[1] > 0;
  if (known && (l->out.dim[0] <= 0 || l->out.dim[1] <= 0)) {
    int kh = (k[0] - 1) * d[0] + 1, kw = (k[1] - 1) * d[1] + 1;
    wml_issue(issues, place,
              "kernel %dx%d exceeds the %dx%d input; use a smaller kernel or padding \"same\"", kh,
              kw, (int)l->in.dim[0], (int)l->in.dim[1]);
    wml_issue_cure(issues, "use padding \"same\"");
    wml_patch_set(issues, WML_OPTIONS_OF(place), "padding", "\"same\"");
  }
  if (c <= 0 || issues->count > before) return WEBML_OK;
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

const wml_layer_class wml_layer_conv2d = {
    .fields = fields,
    .n_fields = sizeof fields / sizeof *fields,
    .shape = shape,
    .takes = "an image [height, width, channels]",
    .gives = 3,
    .about = "Slides filters over a picture; each finds one pattern wherever it is."};
