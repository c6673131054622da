#include "data/augmentation.h"

#include "base/options.h"
#include "data/dataset.h"

#include <string.h>

#define AUGMENT(member) #member, .offset = offsetof(webml_augmentation, member)

static const char *const fills[] = {"nearest", "constant", "reflect", "wrap", NULL};

static const wml_option augmentation_options[] = {
    {.name = AUGMENT(rotation_range),
     .command_line = "rotation-range",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 180,
     .about = "Degrees: angles from minus to plus this."},
    {.name = AUGMENT(shear_range),
     .command_line = "shear-range",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 89,
     .about = "Degrees, too: angles from minus to plus this."},
    {.name = AUGMENT(zoom_range),
     .command_line = "zoom-range",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 0.99,
     .about = "Factors from 1 - z to 1 + z, for each axis by itself."},
    {.name = AUGMENT(width_shift),
     .command_line = "width-shift",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 0.99,
     .about = "Share of the width, in both directions."},
    {.name = AUGMENT(height_shift),
     .command_line = "height-shift",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 0.99,
     .about = "Share of the height, in both directions."},
    {.name = AUGMENT(random_crop),
     .command_line = "random-crop",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 0.99,
     .about = "Windows of 1 - c to 1 of the sides, enlarged to the whole."},
    {.name = AUGMENT(brightness),
     .command_line = "brightness",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 1,
     .about = "Factors from 1 - b to 1 + b."},
    {.name = AUGMENT(horizontal_flip),
     .command_line = "horizontal-flip",
     .kind = WML_OPTION_FLAG,
     .about = "Mirrors every other picture."},
    {.name = AUGMENT(vertical_flip),
     .command_line = "vertical-flip",
     .kind = WML_OPTION_FLAG,
     .about = "Turns every other picture upside down."},
    {.name = AUGMENT(channel_shift),
     .command_line = "channel-shift",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 255,
     .about = "Added to all channels, from -c to c of 255."},
    {.name = AUGMENT(fill),
     .command_line = "fill-mode",
     .kind = WML_OPTION_CHOICE,
     .words = fills,
     .about = "What is seen beyond the edges of the picture."},
    {.name = AUGMENT(fill_value),
     .command_line = "fill-value",
     .kind = WML_OPTION_NUMBER,
     .low = 0,
     .high = 255,
     .about = "The value of the fill \"constant\"."},
};

const wml_option *wml_augmentation_option_list(int *n) {
  *n = sizeof augmentation_options / sizeof *augmentation_options;
  return augmentation_options;
}

webml_status wml_augmentation_check(const webml_augmentation *a) {
  webml_augmentation copy = *a;
  int n;
  const wml_option *list = wml_augmentation_option_list(&n);
  return wml_options_settle(list, n, &copy);
}

wml_augment wml_augmentation_of(const webml_augmentation *a) {
  return (wml_augment){.rotation = (float)a->rotation_range,
                       .shear = (float)a->shear_range,
                       .zoom = (float)a->zoom_range,
                       .width_shift = (float)a->width_shift,
                       .height_shift = (float)a->height_shift,
                       .crop = (float)a->random_crop,
                       .brightness = (float)a->brightness,
                       .flip = a->horizontal_flip,
                       .vertical_flip = a->vertical_flip,
                       .channel_shift = (float)a->channel_shift,
                       .fill = (wml_fill)a->fill,
                       .fill_value = (float)a->fill_value};
}

/* ---- one picture ---- */

static void warp_bytes(const wml_augment *a, uint64_t seed, int64_t epoch, int64_t picture, int h,
                       int w, int c, const uint8_t *in, float *values, uint8_t *out) {
  wml_warp warp = wml_augment_sample(a, seed, (uint32_t)epoch, (uint64_t)picture, h, w);
  size_t n = (size_t)h * (size_t)w * (size_t)c;
  wml_warp_image(&warp, in, h, w, c, 1.0f, values);
  for (size_t i = 0; i < n; i++) out[i] = (uint8_t)(values[i] + 0.5f);
}

static webml_status describe(const wml_pictures *p, int64_t picture, char **json) {
  static const char *const parts[] = {"training", "validation", "test"};
  char name[512];
  wml_text t = {0};
  wml_json_open(&t, '{');
  wml_json_key(&t, "file");
  wml_json_string(&t, wml_picture_name(p, picture, name, sizeof name));
  wml_json_key(&t, "class");
  wml_json_string(&t, p->classes[p->list[picture].label]);
  wml_json_key(&t, "part");
  wml_json_string(&t, parts[p->list[picture].part]);
  wml_json_close(&t, '}');
  return wml_text_take(&t, json);
}

webml_status webml_dataset_find(const webml_dataset *d, const char *class_name, int64_t index,
                                int64_t *picture) {
  if (!d || !class_name || !picture)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_dataset_find: dataset, class_name and picture must not be NULL");
  if (d->format != WML_FORMAT_IMAGES)
    return wml_fail(WEBML_ERROR_MISMATCH, "%s is a table: it holds no pictures", d->path);
  const wml_pictures *p = &d->pictures;
  int label = 0;
  int64_t seen = 0;
  while (label < p->n_classes && strcmp(p->classes[label], class_name) != 0) label++;
  if (label == p->n_classes)
    return wml_fail(WEBML_ERROR_ARGUMENT, "there is no class \"%.100s\"", class_name);
  for (int64_t i = 0; i < p->n && index >= 0; i++)
    if (p->list[i].label == label && seen++ == index) {
      *picture = i;
      return WEBML_OK;
    }
  return wml_fail(WEBML_ERROR_ARGUMENT,
                  "class \"%.100s\" has %lld pictures: there is no number %lld", class_name,
                  (long long)seen, (long long)index);
}

webml_status webml_dataset_picture(const webml_dataset *d, int64_t picture, int height, int width,
                                   int channels, const webml_augmentation *augmentation,
                                   uint64_t seed, int64_t epoch, uint8_t *pixels, char **json) {
  if (!d || !pixels)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_dataset_picture: dataset and pixels must not be NULL");
  if (d->format != WML_FORMAT_IMAGES)
    return wml_fail(WEBML_ERROR_MISMATCH, "%s is a table: it holds no pictures", d->path);
  if (picture < 0 || picture >= d->pictures.n)
    return wml_fail(WEBML_ERROR_ARGUMENT, "%s has %lld pictures: there is no number %lld", d->path,
                    (long long)d->pictures.n, (long long)picture);
  if (height < 1 || width < 1 || height > 4096 || width > 4096)
    return wml_fail(WEBML_ERROR_ARGUMENT, "a size of %dx%d is out of range", height, width);
  if (augmentation) WML_TRY(wml_augmentation_check(augmentation));
  wml_picture_reader r;
  WML_TRY(wml_reader_open(&d->pictures, &r));
  size_t n = (size_t)height * (size_t)width * 4;
  uint8_t *copy = augmentation ? wml_alloc(n) : NULL;
  float *values = augmentation ? wml_alloc(n * sizeof *values) : NULL;
  webml_status status =
      augmentation && (!copy || !values) ? wml_no_memory(n * 5, "a picture") : WEBML_OK;
  if (status == WEBML_OK)
    status = wml_reader_fit(&r, picture, &d->picture_options, height, width, channels,
                            augmentation ? copy : pixels);
  if (status == WEBML_OK && augmentation) {
    wml_augment a = wml_augmentation_of(augmentation);
    warp_bytes(&a, seed, epoch, picture, height, width, channels, copy, values, pixels);
  }
  wml_free(copy);
  wml_free(values);
  wml_reader_close(&r);
  return status == WEBML_OK && json ? describe(&d->pictures, picture, json) : status;
}
