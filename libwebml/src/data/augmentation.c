#include "data/augmentation.h"

#include "data/dataset.h"

#include <string.h>

webml_status wml_augmentation_check(const webml_augmentation *a) {
  const struct {
    const char *name;
    double value, most;
  } ranges[] = {{"rotation range", a->rotation_range, 180}, {"shear range", a->shear_range, 89},
                {"zoom range", a->zoom_range, 0.99},        {"width shift", a->width_shift, 0.99},
                {"height shift", a->height_shift, 0.99},    {"random crop", a->random_crop, 0.99},
                {"brightness", a->brightness, 1.0}};
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
    if (!(ranges[i].value >= 0.0 && ranges[i].value <= ranges[i].most))
      return wml_fail(WEBML_ERROR_ARGUMENT, "%s %g is out of range, must be 0 to %g",
                      ranges[i].name, ranges[i].value, ranges[i].most);
  return WEBML_OK;
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
                       .vertical_flip = a->vertical_flip};
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
