/* Pictures: decoding PNG and JPEG by content, colour conversion and resizing as Pillow does. */
#ifndef WML_DATA_IMAGE_H
#define WML_DATA_IMAGE_H

#include "base/status.h"

typedef struct wml_image {
  int width, height, channels; /* 1 or 3 */
  uint8_t *pixels;             /* [height, width, channels]; wml_free() */
} wml_image;

enum { WML_IMAGE_MAX_SIDE = 32768, WML_IMAGE_MAX_PIXELS = 1 << 27, WML_IMAGE_MAX_FILE = 1 << 28 };

/* bytes: a PNG or JPEG file. `name` begins error messages. Alpha is dropped, 16 bits become 8. */
webml_status wml_image_decode(const uint8_t *bytes, size_t size, const char *name,
                              wml_image *image);
/* out: [height, width, channels], nearest neighbour by Pillow's accumulated rule; grey <-> RGB. */
webml_status wml_image_fit(const wml_image *image, int height, int width, int channels,
                           uint8_t *out);
/* Reads, decodes and fits one file. */
webml_status wml_image_load(const char *path, int height, int width, int channels, uint8_t *out);

/* png.c, jpeg.c */
webml_status wml_png_decode(const uint8_t *bytes, size_t size, const char *name, wml_image *image);
webml_status wml_jpeg_decode(const uint8_t *bytes, size_t size, const char *name, wml_image *image);

#endif
