#include "base/alloc.h"
#include "data/images/image.h"

#include <stdio.h>

#include <jpeglib.h>
#include <setjmp.h>
#include <string.h>

enum { MOST_WANTED_ROWS = 1024 };

typedef struct jpeg_failure {
  struct jpeg_error_mgr manager;
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
} jpeg_failure;

static void on_error(j_common_ptr info) {
  jpeg_failure *f = (jpeg_failure *)(void *)info->err;
  info->err->format_message(info, f->message);
  longjmp(f->jump, 1);
}

/* A cut or corrupt stream is a warning to libjpeg, which would go on with grey. */
static void on_message(j_common_ptr info, int level) {
  if (level < 0) on_error(info);
}

/* Bounds the time on hostile progressive files: each scan may cost a whole pass. */
static void on_progress(j_common_ptr info) {
  if (info->is_decompressor && ((j_decompress_ptr)info)->input_scan_number > 500) {
    jpeg_failure *f = (jpeg_failure *)(void *)info->err;
    snprintf(f->message, sizeof f->message, "more than 500 scans");
    longjmp(f->jump, 1);
  }
}

/* Adobe's CMYK is stored inverted, and Pillow takes all files for Adobe's. Its formula: white times
 * what each ink lets through, w - c w / 255 with w = 255 - k, rounded. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; i++, cmyk += 4, rgb += 3)
    for (int j = 0; j < 3; j++) {
      int ink = 255 - cmyk[j], white = cmyk[3], product = ink * white + 128;
      rgb[j] = (uint8_t)(white - (((product >> 8) + product) >> 8));
    }
}

static unsigned read_number(const uint8_t *p, int bytes, bool little) {
  unsigned v = 0;
  for (int i = 0; i < bytes; i++) v |= (unsigned)p[i] << 8 * (little ? i : bytes - 1 - i);
  return v;
}

/* The orientation tag (0x0112) of the first directory of an EXIF block, 1 where there is none. */
static int exif_orientation(const uint8_t *p, size_t n) {
  if (n < 14 || memcmp(p, "Exif\0\0", 6) != 0) return 1;
  p += 6, n -= 6;
  bool little = p[0] == 'I';
  size_t at = read_number(p + 4, 4, little);
  if (at > n - 2) return 1;
  unsigned entries = read_number(p + at, 2, little);
  at += 2;
  for (unsigned i = 0; i < entries && at + 12 <= n; i++, at += 12)
    if (read_number(p + at, 2, little) == 0x0112) {
      unsigned value = read_number(p + at + 8, 2, little);
      return value >= 1 && value <= 8 ? (int)value : 1;
    }
  return 1;
}

static int orientation_of(const struct jpeg_decompress_struct *info) {
  for (jpeg_saved_marker_ptr m = info->marker_list; m; m = m->next)
    if (m->marker == JPEG_APP0 + 1) {
      int found = exif_orientation(m->data, m->data_length);
      if (found != 1) return found;
    }
  return 1;
}

/* The smallest of the quick sizes that is large enough. */
static unsigned denominator_of(const struct jpeg_decompress_struct *info, int least_side) {
  unsigned d = 8, side = (unsigned)least_side;
  if (least_side <= 0) return 1;
  while (d > 1 && (info->image_width / d < side || info->image_height / d < side)) d /= 2;
  return d;
}

/* All rows, eight at a time. */
static void read_rows(struct jpeg_decompress_struct *info, wml_image *image) {
  size_t stride = (size_t)image->width * (size_t)image->channels, height = (size_t)image->height;
  while (info->output_scanline < height) {
    JSAMPROW rows[8];
    size_t first = info->output_scanline, n = height - first < 8 ? height - first : 8;
    for (size_t i = 0; i < n; i++) rows[i] = image->pixels + (first + i) * stride;
    jpeg_read_scanlines(info, rows, (JDIMENSION)n);
  }
}

/* The rows a nearest resize looks at; the others are passed over. The stream is read to its end all
 * the same, so that what is broken below is found. */
static void read_some_rows(struct jpeg_decompress_struct *info, wml_image *image, int wanted) {
  size_t stride = (size_t)image->width * (size_t)image->channels;
  int index[MOST_WANTED_ROWS];
  wml_nearest_indices(image->height, wanted, index);
  for (int i = 0; i < wanted; i++) {
    unsigned row = (unsigned)index[i];
    if (row < info->output_scanline) continue; /* the same again */
    if (row > info->output_scanline) jpeg_skip_scanlines(info, row - info->output_scanline);
    JSAMPROW to = image->pixels + (size_t)row * stride;
    jpeg_read_scanlines(info, &to, 1);
  }
  if (info->output_scanline < info->output_height)
    jpeg_skip_scanlines(info, info->output_height - info->output_scanline);
}

static void read_cmyk(struct jpeg_decompress_struct *info, wml_image *image, uint8_t *line) {
  while (info->output_scanline < info->output_height) {
    uint8_t *out = image->pixels + (size_t)info->output_scanline * (size_t)image->width * 3;
    jpeg_read_scanlines(info, &line, 1);
    cmyk_to_rgb(line, out, (size_t)image->width);
  }
}

static webml_status decode(struct jpeg_decompress_struct *info, jpeg_failure *f,
                           const uint8_t *bytes, size_t size, const char *name,
                           const wml_wanted *wanted, wml_image *image, uint8_t *volatile *line) {
  if (setjmp(f->jump))
    return wml_fail(WEBML_ERROR_PARSE, "%s: not a sound JPEG file: %s", name, f->message);
  struct jpeg_progress_mgr progress = {.progress_monitor = on_progress};
  jpeg_mem_src(info, bytes, (unsigned long)size);
  jpeg_save_markers(info, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(info, TRUE);
  info->progress = info->progressive_mode ? &progress : NULL;
  WML_TRY(wml_image_check_size(info->image_width, info->image_height,
                               info->num_components == 1 ? 1 : 3, size, name));
  bool cmyk = info->num_components == 4, grey = info->jpeg_color_space == JCS_GRAYSCALE;
  info->out_color_space = cmyk ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
  info->scale_num = 1;
  info->scale_denom = denominator_of(info, wanted->least_side);
  image->mode = cmyk ? "CMYK" : grey ? "L" : "RGB";
  image->orientation = orientation_of(info);
  jpeg_start_decompress(info);
  size_t width = info->output_width, height = info->output_height, channels = grey ? 1 : 3;
  WML_TRY(wml_image_reserve(image, width, height, channels, name));
  if (cmyk && !(*line = wml_alloc(width * 4))) return wml_no_memory(width * 4, name);
  bool some = wanted->rows > 0 && wanted->rows <= MOST_WANTED_ROWS &&
              (size_t)wanted->rows < height && !info->progressive_mode;
  if (cmyk)
    read_cmyk(info, image, *line);
  else if (some)
    read_some_rows(info, image, wanted->rows);
  else
    read_rows(info, image);
  jpeg_finish_decompress(info);
  return WEBML_OK;
}

typedef struct decoder {
  struct jpeg_decompress_struct info;
  jpeg_failure failure;
} decoder;

static webml_status make_decoder(const char *name, decoder **out) {
  decoder *d = wml_calloc(1, sizeof *d);
  if (!d) return wml_no_memory(sizeof *d, name);
  d->info.err = jpeg_std_error(&d->failure.manager);
  d->failure.manager.error_exit = on_error;
  d->failure.manager.emit_message = on_message;
  if (setjmp(d->failure.jump)) {
    webml_status status = wml_fail(WEBML_ERROR_MEMORY, "%s: %s", name, d->failure.message);
    wml_free(d);
    return status;
  }
  jpeg_create_decompress(&d->info);
  d->info.mem->max_memory_to_use = 1L << 29;
  *out = d;
  return WEBML_OK;
}

void wml_jpeg_free(void *given) {
  decoder *d = given;
  if (!d) return;
  jpeg_destroy_decompress(&d->info);
  wml_free(d);
}

webml_status wml_jpeg_decode(const uint8_t *bytes, size_t size, const char *name,
                             const wml_wanted *wanted, wml_image *image) {
  decoder *d = image->jpeg;
  uint8_t *volatile line = NULL;
  if (!d) WML_TRY(make_decoder(name, &d));
  image->jpeg = d;
  webml_status status = decode(&d->info, &d->failure, bytes, size, name, wanted, image, &line);
  jpeg_abort_decompress(&d->info); /* frees what this picture took; nothing after a whole one */
  wml_free(line);
  return status;
}
