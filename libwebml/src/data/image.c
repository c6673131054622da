#include "data/image.h"

#include "base/alloc.h"
#include "base/file.h"

#include <string.h>

webml_status wml_image_decode(const uint8_t *bytes, size_t size, const char *name,
                              wml_image *image) {
  static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  *image = (wml_image){0};
  if (size >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
    return wml_png_decode(bytes, size, name, image);
  if (size >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF)
    return wml_jpeg_decode(bytes, size, name, image);
  return wml_fail(WEBML_ERROR_PARSE, "%s: neither a PNG nor a JPEG file%s", name,
                  size == 0 ? " (it is empty)" : "");
}

/* Pillow's rule: x starts at half a step and n/m is added for each pixel, in double. */
static void nearest_indices(int n, int m, int *index) {
  double step = (double)n / (double)m, x = step * 0.5;
  for (int i = 0; i < m; i++, x += step) {
    int at = (int)x;
    index[i] = at < n ? at : n - 1;
  }
}

/* ITU-R 601-2 luma in 16-bit fixed point, as Pillow rounds it. */
static uint8_t grey_of(const uint8_t *p) {
  return (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
}

static void put_pixel(const uint8_t *from, int have, uint8_t *to, int want) {
  if (have == want)
    memcpy(to, from, (size_t)want);
  else if (want == 1)
    *to = grey_of(from);
  else {
    to[0] = from[0];
    to[1] = from[have == 1 ? 0 : 1];
    to[2] = from[have == 1 ? 0 : 2];
    if (want == 4) to[3] = 255;
  }
}

webml_status wml_image_fit(const wml_image *image, int height, int width, int channels,
                           uint8_t *out) {
  if (channels != 1 && channels != 3 && channels != 4)
    return wml_fail(WEBML_ERROR_DATA, "pictures have 1, 3 or 4 channels, the model wants %d",
                    channels);
  int *index = wml_alloc((size_t)(width + height) * sizeof *index);
  if (!index) return wml_no_memory((size_t)(width + height) * sizeof *index, "resizing");
  nearest_indices(image->width, width, index);
  nearest_indices(image->height, height, index + width);
  for (int y = 0; y < height; y++) {
    const uint8_t *row =
        image->pixels + (size_t)index[width + y] * (size_t)image->width * (size_t)image->channels;
    for (int x = 0; x < width; x++, out += channels)
      put_pixel(row + index[x] * image->channels, image->channels, out, channels);
  }
  wml_free(index);
  return WEBML_OK;
}

webml_status wml_image_load(const char *path, int height, int width, int channels, uint8_t *out) {
  char *bytes = NULL;
  size_t size = 0;
  WML_TRY(wml_file_read(path, WML_IMAGE_MAX_FILE, &bytes, &size));
  wml_image image;
  webml_status status = wml_image_decode((const uint8_t *)bytes, size, path, &image);
  wml_free(bytes);
  if (status == WEBML_OK) status = wml_image_fit(&image, height, width, channels, out);
  wml_free(image.pixels);
  return status;
}
