/* Pictures: decoding PNG and JPEG by content, colour conversion and resizing as Pillow does. */
#ifndef WML_DATA_IMAGES_IMAGE_H
#define WML_DATA_IMAGES_IMAGE_H

#include "base/status.h"

/* Decoded pixels. The buffer is grown as needed and used again for the next picture. */
typedef struct wml_image {
  int width, height, channels; /* 1 or 3 */
  uint8_t *pixels;             /* [height, width, channels] */
  size_t capacity;
  void *jpeg;       /* jpeg.c's decoder, used again */
  const char *mode; /* of the file, as Pillow names it: "L", "RGB", "P", "CMYK", ... */
  int orientation;  /* by EXIF, 1 to 8; 1 where the file says nothing */
} wml_image;

enum { WML_IMAGE_MAX_SIDE = 32768, WML_IMAGE_MAX_PIXELS = 1 << 27, WML_IMAGE_MAX_FILE = 1 << 28 };
/* Pictures of more pixels than the first must not be larger, decoded, than their file times the
 * second: that is a picture of one colour, made to fill memory. */
enum { WML_IMAGE_RATIO_FROM = 1 << 24, WML_IMAGE_MAX_RATIO = 400 };

typedef struct wml_picture_options {
  webml_resize resize;
  bool exif_orientation; /* turn as EXIF says; else as stored, as Keras does */
} wml_picture_options;

/* What is wanted of the pixels, so that a decoder may do less. All 0: everything. */
typedef struct wml_wanted {
  int least_side; /* a half, a quarter or an eighth of the size will do while it is not smaller */
  int rows;       /* only rows that a nearest resize to so many looks at will be read */
} wml_wanted;

/* bytes: a PNG or JPEG file. `name` begins error messages. Alpha is dropped, 16 bits become 8. */
webml_status wml_image_decode(const uint8_t *bytes, size_t size, const char *name,
                              const wml_wanted *wanted, wml_image *image);
/* Where row (or column) i of m comes from among n, for all i, as Pillow counts. */
void wml_nearest_indices(int n, int m, int *index);
void wml_image_free(wml_image *image);
/* Refuses pictures above the limits, by what their headers say, before anything is allocated. size:
 * bytes of the file. */
webml_status wml_image_check_size(size_t width, size_t height, size_t channels, size_t size,
                                  const char *name);
/* Room for the pixels of width x height x channels, which are set. */
webml_status wml_image_reserve(wml_image *image, size_t width, size_t height, size_t channels,
                               const char *name);
/* out: [height, width, channels]; grey <-> RGB first, then resized as Pillow's NEAREST, BILINEAR or
 * BOX (area) filter does, to the bit. */
webml_status wml_image_fit(const wml_image *image, webml_resize resize, int height, int width,
                           int channels, uint8_t *out);
/* Turns the pixels upright. */
webml_status wml_image_turn(wml_image *image);
/* Decodes and fits one file that is in memory; image: room that is used again. */
webml_status wml_image_prepare(const uint8_t *bytes, size_t size, const char *name,
                               const wml_picture_options *options, int height, int width,
                               int channels, wml_image *image, uint8_t *out);
/* Reads, decodes and fits one file. options NULL: nearest, as stored. */
webml_status wml_image_load(const char *path, const wml_picture_options *options, int height,
                            int width, int channels, uint8_t *out);

/* png.c, jpeg.c */
void wml_jpeg_free(void *decoder);
webml_status wml_png_decode(const uint8_t *bytes, size_t size, const char *name, wml_image *image);
webml_status wml_jpeg_decode(const uint8_t *bytes, size_t size, const char *name,
                             const wml_wanted *wanted, wml_image *image);

#endif
