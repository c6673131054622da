#include "data/images/image.h"

#include "base/alloc.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

webml_status wml_image_check_size(size_t width, size_t height, size_t channels, size_t size,
                                  const char *name) {
  if (width > WML_IMAGE_MAX_SIDE || height > WML_IMAGE_MAX_SIDE ||
      width * height > WML_IMAGE_MAX_PIXELS)
    return wml_fail(WEBML_ERROR_PARSE, "%s: %zux%zu pixels are more than the limit of %d", name,
                    width, height, WML_IMAGE_MAX_PIXELS);
  if (width * height > WML_IMAGE_RATIO_FROM &&
      width * height * channels / WML_IMAGE_MAX_RATIO > size)
    return wml_fail(WEBML_ERROR_PARSE,
                    "%s: %zux%zu pixels are more than %d times the size of the file", name, width,
                    height, WML_IMAGE_MAX_RATIO);
  return WEBML_OK;
}

webml_status wml_image_reserve(wml_image *image, size_t width, size_t height, size_t channels,
                               const char *name) {
  WML_TRY(wml_image_check_size(width, height, channels, SIZE_MAX, name));
  size_t bytes = width * height * channels;
  if (bytes > image->capacity || !image->pixels) {
    wml_free(image->pixels);
    image->capacity = 0;
    if (!(image->pixels = wml_alloc(bytes + 4))) return wml_no_memory(bytes, name);
    image->capacity = bytes;
  }
  image->width = (int)width, image->height = (int)height, image->channels = (int)channels;
  return WEBML_OK;
}

void wml_image_free(wml_image *image) {
  wml_free(image->pixels);
  wml_jpeg_free(image->jpeg);
  *image = (wml_image){0};
}

webml_status wml_image_decode(const uint8_t *bytes, size_t size, const char *name,
                              const wml_wanted *wanted, wml_image *image) {
  static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  image->orientation = 1;
  if (size >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
    return wml_png_decode(bytes, size, name, image);
  if (size >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF)
    return wml_jpeg_decode(bytes, size, name, wanted, image);
  return wml_fail(WEBML_ERROR_PARSE, "%s: neither a PNG nor a JPEG file%s", name,
                  size == 0 ? " (it is empty)" : "");
}

/* ---- turning ---- */

webml_status wml_image_turn(wml_image *image) {
  int o = image->orientation, w = image->width, h = image->height, c = image->channels;
  if (o < 2 || o > 8) return WEBML_OK;
  wml_image turned = {0};
  bool swap = o >= 5; /* rows become columns */
  WML_TRY(wml_image_reserve(&turned, (size_t)(swap ? h : w), (size_t)(swap ? w : h), (size_t)c,
                            "turning a picture"));
  for (int y = 0; y < turned.height; y++)
    for (int x = 0; x < turned.width; x++) {
      int sx = swap ? y : x, sy = swap ? x : y;
      if (o == 2 || o == 3 || o == 7 || o == 8) sx = w - 1 - sx;
      if (o == 3 || o == 4 || o == 6 || o == 7) sy = h - 1 - sy;
      memcpy(turned.pixels + ((size_t)y * (size_t)turned.width + (size_t)x) * (size_t)c,
             image->pixels + ((size_t)sy * (size_t)w + (size_t)sx) * (size_t)c, (size_t)c);
    }
  turned.mode = image->mode;
  turned.orientation = 1;
  turned.jpeg = image->jpeg;
  image->jpeg = NULL;
  wml_image_free(image);
  *image = turned;
  return WEBML_OK;
}

/* ---- colours ---- */

/* ITU-R 601-2 luma in 16-bit fixed point, as Pillow rounds it. */
static uint8_t grey_of(const uint8_t *p) {
  return (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
}

static void put_pixel(const uint8_t *from, int have, uint8_t *to, int want) {
  if (want == 1)
    *to = have == 1 ? *from : grey_of(from);
  else {
    to[0] = from[0];
    to[1] = from[have == 1 ? 0 : 1];
    to[2] = from[have == 1 ? 0 : 2];
    if (want == 4) to[3] = 255;
  }
}

/* ---- resizing ---- */

/* Pillow's rule: x starts at half a step and n/m is added for each pixel, in double. */
void wml_nearest_indices(int n, int m, int *index) {
  double step = (double)n / (double)m, x = step * 0.5;
  for (int i = 0; i < m; i++, x += step) {
    int at = (int)x;
    index[i] = at < n ? at : n - 1;
  }
}

/* Three bytes at a time as four: the fourth is written over by the next pixel. (Four bytes lie
 * behind the pixels of every wml_image.) */
static void pick_colours(const uint8_t *row, const int *index, int width, uint8_t *out) {
  for (int x = 0; x + 1 < width; x++, out += 3) memcpy(out, row + index[x] * 3, 4);
  memcpy(out, row + index[width - 1] * 3, 3);
}

static void fit_nearest(const wml_image *image, const int *index, int height, int width,
                        int channels, uint8_t *out) {
  int have = image->channels;
  size_t bytes = (size_t)width * (size_t)channels;
  for (int y = 0; y < height; y++, out += bytes) {
    const uint8_t *row =
        image->pixels + (size_t)index[width + y] * (size_t)image->width * (size_t)have;
    if (y > 0 && index[width + y] == index[width + y - 1])
      memcpy(out, out - bytes, bytes); /* enlarged: the same row again */
    else if (have == 3 && channels == 3)
      pick_colours(row, index, width, out);
    else
      for (int x = 0; x < width; x++)
        put_pixel(row + index[x] * have, have, out + x * channels, channels);
  }
}

/* One dimension of a filtered resize: output i is a weighted mean of `count[i]` inputs from
 * `first[i]`. Weights in fixed point of 22 bits, as Pillow's, so that the bits agree. */
typedef struct filter {
  int taps, *first, *count;
  int32_t *weight; /* [m, taps] */
} filter;

enum { WEIGHT_BITS = 22 };

static double weight_at(webml_resize kind, double x) {
  if (kind == WEBML_RESIZE_AREA) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
  return fabs(x) < 1.0 ? 1.0 - fabs(x) : 0.0;
}

static webml_status make_filter(webml_resize kind, int n, int m, filter *f) {
  double scale = (double)n / m, stretch = scale < 1.0 ? 1.0 : scale;
  double support = (kind == WEBML_RESIZE_AREA ? 0.5 : 1.0) * stretch;
  f->taps = (int)ceil(support) * 2 + 1;
  size_t weights = (size_t)m * (size_t)f->taps;
  f->first = wml_alloc((size_t)m * sizeof *f->first);
  f->count = wml_alloc((size_t)m * sizeof *f->count);
  f->weight = wml_alloc(weights * sizeof *f->weight);
  double *w = wml_alloc((size_t)f->taps * sizeof *w);
  if (!f->first || !f->count || !f->weight || !w) {
    wml_free(w);
    return wml_no_memory(weights * sizeof *f->weight, "resizing");
  }
  for (int i = 0; i < m; i++) {
    double centre = (i + 0.5) * scale, sum = 0.0;
    int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
    low = low < 0 ? 0 : low;
    high = high > n ? n : high;
    for (int k = low; k < high; k++)
      sum += w[k - low] = weight_at(kind, (k - centre + 0.5) / stretch);
    for (int k = 0; k < high - low; k++) {
      double share = sum != 0.0 ? w[k] / sum : w[k];
      f->weight[(size_t)i * (size_t)f->taps + (size_t)k] =
          (int32_t)(share * (1 << WEIGHT_BITS) + 0.5);
    }
    f->first[i] = low;
    f->count[i] = high - low;
  }
  wml_free(w);
  return WEBML_OK;
}

static void free_filter(filter *f) {
  wml_free(f->first);
  wml_free(f->count);
  wml_free(f->weight);
}

static uint8_t clip(int64_t sum) {
  int64_t v = sum >> WEIGHT_BITS;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* in: pixels at distance `step`; out: m pixels at distance `out_step`; channels side by side. */
static void filter_line(const filter *f, int m, const uint8_t *in, size_t step, int channels,
                        uint8_t *out, size_t out_step) {
  for (int i = 0; i < m; i++, out += out_step) {
    const int32_t *w = f->weight + (size_t)i * (size_t)f->taps;
    const uint8_t *from = in + (size_t)f->first[i] * step;
    for (int c = 0; c < channels; c++) {
      int64_t sum = 1 << (WEIGHT_BITS - 1);
      for (int k = 0; k < f->count[i]; k++)
        sum += (int64_t)from[(size_t)k * step + (size_t)c] * w[k];
      out[c] = clip(sum);
    }
  }
}

/* in: [h, w, channels] of the channels that are wanted. Rows first, then columns, each rounded. */
static webml_status resample(const uint8_t *in, int h, int w, int channels, webml_resize kind,
                             int height, int width, uint8_t *out) {
  filter across = {0}, down = {0};
  size_t c = (size_t)channels;
  uint8_t *middle = wml_alloc((size_t)h * (size_t)width * c);
  webml_status status =
      middle ? WEBML_OK : wml_no_memory((size_t)h * (size_t)width * c, "resizing");
  if (status == WEBML_OK) status = make_filter(kind, w, width, &across);
  if (status == WEBML_OK) status = make_filter(kind, h, height, &down);
  if (status == WEBML_OK) {
    for (int y = 0; y < h; y++)
      filter_line(&across, width, in + (size_t)y * (size_t)w * c, c, channels,
                  middle + (size_t)y * (size_t)width * c, c);
    for (int x = 0; x < width; x++)
      filter_line(&down, height, middle + (size_t)x * c, (size_t)width * c, channels,
                  out + (size_t)x * c, (size_t)width * c);
  }
  free_filter(&across);
  free_filter(&down);
  wml_free(middle);
  return status;
}

webml_status wml_image_fit(const wml_image *image, webml_resize resize, int height, int width,
                           int channels, uint8_t *out) {
  if (channels != 1 && channels != 3 && channels != 4)
    return wml_fail(WEBML_ERROR_DATA, "pictures have 1, 3 or 4 channels, the model wants %d",
                    channels);
  size_t n = (size_t)image->width * (size_t)image->height, indices = (size_t)(width + height);
  if (resize == WEBML_RESIZE_NEAREST || (image->width == width && image->height == height)) {
    int few[2048], *index = indices <= 2048 ? few : wml_alloc(indices * sizeof *index);
    if (!index) return wml_no_memory(indices * sizeof *index, "resizing");
    wml_nearest_indices(image->width, width, index);
    wml_nearest_indices(image->height, height, index + width);
    fit_nearest(image, index, height, width, channels, out);
    if (index != few) wml_free(index);
    return WEBML_OK;
  }
  uint8_t *converted = NULL;
  if (channels != image->channels) {
    converted = wml_alloc(n * (size_t)channels);
    if (!converted) return wml_no_memory(n * (size_t)channels, "resizing");
    for (size_t i = 0; i < n; i++)
      put_pixel(image->pixels + i * (size_t)image->channels, image->channels,
                converted + i * (size_t)channels, channels);
  }
  webml_status status = resample(converted ? converted : image->pixels, image->height, image->width,
                                 channels, resize, height, width, out);
  wml_free(converted);
  return status;
}

/* ---- all of it ---- */

webml_status wml_image_prepare(const uint8_t *bytes, size_t size, const char *name,
                               const wml_picture_options *options, int height, int width,
                               int channels, wml_image *image, uint8_t *out) {
  /* A filter over many pixels hardly sees a smaller decoding; the box filter, whose weights are 0
   * or 1, needs more of them. Nearest looks at some rows only, unless turning makes columns of
   * them. */
  webml_resize resize = options ? options->resize : WEBML_RESIZE_NEAREST;
  int times = resize == WEBML_RESIZE_AREA ? 8 : resize == WEBML_RESIZE_BILINEAR ? 4 : 0;
  bool turns = options && options->exif_orientation;
  wml_wanted wanted = {.least_side = times * (width > height ? width : height),
                       .rows = times || turns ? 0 : height};
  WML_TRY(wml_image_decode(bytes, size, name, &wanted, image));
  if (options && options->exif_orientation) WML_TRY(wml_image_turn(image));
  return wml_image_fit(image, resize, height, width, channels, out);
}

webml_status wml_image_load(const char *path, const wml_picture_options *options, int height,
                            int width, int channels, uint8_t *out) {
  char *bytes = NULL;
  size_t size = 0;
  wml_image image = {0};
  WML_TRY(wml_file_read(path, WML_IMAGE_MAX_FILE, &bytes, &size));
  webml_status status = wml_image_prepare((const uint8_t *)bytes, size, path, options, height,
                                          width, channels, &image, out);
  wml_free(bytes);
  wml_image_free(&image);
  return status;
}
