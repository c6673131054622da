#include "base/alloc.h"
#include "data/images/image.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

typedef struct png_source {
  const uint8_t *bytes;
  size_t left, size;
  char message[160];
  bool out_of_memory; /* not the file's fault: must not count as a broken image */
} png_source;

static void read_bytes(png_structp png, png_bytep out, size_t n) {
  png_source *s = png_get_io_ptr(png);
  if (n > s->left) png_error(png, "the file is cut off");
  memcpy(out, s->bytes, n);
  s->bytes += n;
  s->left -= n;
}

static void on_error(png_structp png, png_const_charp message) {
  png_source *s = png_get_error_ptr(png);
  snprintf(s->message, sizeof s->message, "%s", message);
  png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
  (void)png;
  (void)message;
}

static png_voidp take(png_structp png, png_alloc_size_t n) {
  png_source *s = png_get_mem_ptr(png);
  void *p = wml_alloc(n);
  if (!p) s->out_of_memory = true;
  return p;
}

static void give(png_structp png, png_voidp p) {
  (void)png;
  wml_free(p);
}

static const char *mode_of(int type, int depth) {
  switch (type) {
  case PNG_COLOR_TYPE_GRAY: return depth == 1 ? "1" : depth == 16 ? "I;16" : "L";
  case PNG_COLOR_TYPE_GRAY_ALPHA: return "LA";
  case PNG_COLOR_TYPE_PALETTE: return "P";
  case PNG_COLOR_TYPE_RGB_ALPHA: return "RGBA";
  default: return "RGB";
  }
}

/* Everything that may jump. rows is volatile: it is freed after a jump. */
static webml_status decode(png_structp png, png_infop info, png_source *source, const char *name,
                           wml_image *image, png_bytep *volatile *rows) {
  if (setjmp(png_jmpbuf(png))) {
    if (source->out_of_memory) return wml_no_memory(1 << 16, name);
    return wml_fail(WEBML_ERROR_PARSE, "%s: not a sound PNG file: %s", name, source->message);
  }
  png_set_read_fn(png, source, read_bytes);
  png_set_user_limits(png, WML_IMAGE_MAX_SIDE, WML_IMAGE_MAX_SIDE);
  png_set_chunk_malloc_max(png, 1 << 23);
  png_read_info(png, info);
  int type = png_get_color_type(png, info);
  size_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
  bool grey = type == PNG_COLOR_TYPE_GRAY || type == PNG_COLOR_TYPE_GRAY_ALPHA;
  size_t channels = grey ? 1 : 3;
  image->mode = mode_of(type, png_get_bit_depth(png, info));
  WML_TRY(wml_image_check_size(width, height, channels, source->size, name));
  WML_TRY(wml_image_reserve(image, width, height, channels, name));
  png_set_expand(png); /* palettes to RGB, 1, 2 and 4 bits to 8 */
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  size_t row_bytes = png_get_rowbytes(png, info);
  if (row_bytes != width * channels)
    return wml_fail(WEBML_ERROR_PARSE, "%s: unexpected PNG layout", name);
  *rows = wml_alloc(height * sizeof(png_bytep));
  if (!*rows) return wml_no_memory(height * sizeof(png_bytep), name);
  for (size_t y = 0; y < height; y++) (*rows)[y] = image->pixels + y * row_bytes;
  png_read_image(png, *rows);
  return WEBML_OK;
}

webml_status wml_png_decode(const uint8_t *bytes, size_t size, const char *name, wml_image *image) {
  png_source source = {.bytes = bytes, .left = size, .size = size};
  png_structp png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &source, on_error, on_warning,
                                             &source, take, give);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  png_bytep *volatile rows = NULL;
  webml_status status =
      info ? decode(png, info, &source, name, image, &rows) : wml_no_memory(1024, name);
  png_destroy_read_struct(&png, &info, NULL);
  wml_free(rows);
  return status;
}
