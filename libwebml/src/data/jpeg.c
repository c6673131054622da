#include "base/alloc.h"
#include "data/image.h"

#include <stdio.h>

#include <jpeglib.h>
#include <setjmp.h>

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

/* Adobe's CMYK is stored inverted; Pillow's formula: r = 255 - clip(c + k). */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t pixels, bool inverted) {
  for (size_t i = 0; i < pixels; i++, cmyk += 4, rgb += 3)
    for (int j = 0; j < 3; j++) {
      int ink = inverted ? 255 - cmyk[j] : cmyk[j], black = inverted ? 255 - cmyk[3] : cmyk[3];
      rgb[j] = (uint8_t)(ink + black > 255 ? 0 : 255 - ink - black);
    }
}

static webml_status decode(struct jpeg_decompress_struct *info, jpeg_failure *f,
                           const uint8_t *bytes, size_t size, const char *name, wml_image *image,
                           uint8_t *volatile *pixels, uint8_t *volatile *line) {
  if (setjmp(f->jump))
    return wml_fail(WEBML_ERROR_PARSE, "%s: not a sound JPEG file: %s", name, f->message);
  struct jpeg_progress_mgr progress = {.progress_monitor = on_progress};
  jpeg_mem_src(info, bytes, (unsigned long)size);
  jpeg_read_header(info, TRUE);
  info->progress = &progress;
  size_t width = info->image_width, height = info->image_height;
  if (width > WML_IMAGE_MAX_SIDE || height > WML_IMAGE_MAX_SIDE ||
      width * height > WML_IMAGE_MAX_PIXELS)
    return wml_fail(WEBML_ERROR_PARSE, "%s: %zux%zu pixels are more than the limit", name, width,
                    height);
  bool cmyk = info->num_components == 4, grey = info->jpeg_color_space == JCS_GRAYSCALE;
  info->out_color_space = cmyk ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(info);
  size_t channels = grey ? 1 : 3;
  *pixels = wml_alloc(width * height * channels);
  *line = wml_alloc(width * 4);
  if (!*pixels || !*line) return wml_no_memory(width * height * channels, name);
  while (info->output_scanline < height) {
    uint8_t *row = *pixels + (size_t)info->output_scanline * width * channels;
    JSAMPROW target = cmyk ? *line : row;
    jpeg_read_scanlines(info, &target, 1);
    if (cmyk) cmyk_to_rgb(*line, row, width, info->saw_Adobe_marker);
  }
  jpeg_finish_decompress(info);
  *image = (wml_image){(int)width, (int)height, (int)channels, *pixels};
  return WEBML_OK;
}

webml_status wml_jpeg_decode(const uint8_t *bytes, size_t size, const char *name,
                             wml_image *image) {
  struct jpeg_decompress_struct info;
  jpeg_failure failure = {.message = ""};
  info.err = jpeg_std_error(&failure.manager);
  failure.manager.error_exit = on_error;
  failure.manager.emit_message = on_message;
  if (setjmp(failure.jump)) return wml_fail(WEBML_ERROR_MEMORY, "%s: %s", name, failure.message);
  jpeg_create_decompress(&info);
  info.mem->max_memory_to_use = 1L << 29;
  uint8_t *volatile pixels = NULL, *volatile line = NULL;
  webml_status status = decode(&info, &failure, bytes, size, name, image, &pixels, &line);
  jpeg_destroy_decompress(&info);
  wml_free(line);
  if (status != WEBML_OK) {
    wml_free(pixels);
    *image = (wml_image){0};
  }
  return status;
}
