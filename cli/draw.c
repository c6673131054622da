#include "draw.h"

#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double ink[3] = {0.13, 0.13, 0.15}, faint[3] = {0.85, 0.85, 0.87},
                    blue[3] = {0.12, 0.38, 0.70}, orange[3] = {0.85, 0.45, 0.10},
                    red[3] = {0.75, 0.10, 0.10};

static void colour(cairo_t *c, const double rgb[3]) {
  cairo_set_source_rgb(c, rgb[0], rgb[1], rgb[2]);
}

static cairo_t *begin(int width, int height) {
  cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
  cairo_t *c = cairo_create(surface);
  cairo_surface_destroy(surface); /* the context holds it */
  cairo_set_source_rgb(c, 1, 1, 1);
  cairo_paint(c);
  cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  colour(c, ink);
  return c;
}

static int finish(cairo_t *c, const char *path) {
  cairo_status_t status = cairo_status(c);
  if (status == CAIRO_STATUS_SUCCESS)
    status = cairo_surface_write_to_png(cairo_get_target(c), path);
  cairo_destroy(c);
  if (status == CAIRO_STATUS_SUCCESS) return CLI_DONE;
  return cli_fail("cannot write %s: %s", path, cairo_status_to_string(status));
}

int cli_draw_picture(const char *path, const uint8_t *pixels, int side) {
  cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, side, side);
  unsigned char *to = cairo_image_surface_get_data(s);
  if (!to) {
    cairo_surface_destroy(s);
    return cli_fail("out of memory");
  }
  for (int y = 0; y < side; y++, to += cairo_image_surface_get_stride(s))
    for (int x = 0; x < side; x++, pixels += 3) {
      uint32_t pixel = (uint32_t)pixels[0] << 16 | (uint32_t)pixels[1] << 8 | pixels[2];
      memcpy(to + 4 * x, &pixel, sizeof pixel);
    }
  cairo_surface_mark_dirty(s);
  cairo_status_t status = cairo_surface_write_to_png(s, path);
  cairo_surface_destroy(s);
  if (status == CAIRO_STATUS_SUCCESS) return CLI_DONE;
  return cli_fail("cannot write %s: %s", path, cairo_status_to_string(status));
}

static double width_of(cairo_t *c, const char *text) {
  cairo_text_extents_t e;
  cairo_text_extents(c, text, &e);
  return e.x_advance;
}

/* Text that fits `room` pixels, cut with an ellipsis. align: 0 left of x, 0.5 around, 1
 * right-bound. */
static void put_text(cairo_t *c, double x, double y, double align, double room, const char *text) {
  char cut[256];
  size_t n = strlen(text);
  if (n > sizeof cut - 4) n = sizeof cut - 4;
  memcpy(cut, text, n);
  cut[n] = '\0';
  while (n > 0 && width_of(c, cut) > room) {
    for (n--; n > 0 && ((unsigned char)cut[n] & 0xC0) == 0x80; n--) {
    }
    memcpy(cut + n, "\xE2\x80\xA6", 4);
  }
  cairo_move_to(c, x - align * width_of(c, cut), y);
  cairo_show_text(c, cut);
}

/* ---- contact sheets ---- */

static void put_pixels(cairo_t *c, const cli_tile *tile, int side, double x, double y, int shown) {
  cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, side, side);
  unsigned char *to = cairo_image_surface_get_data(s);
  int stride = cairo_image_surface_get_stride(s);
  for (int r = 0; to && r < side; r++)
    for (int k = 0; k < side; k++) {
      const uint8_t *p = tile->pixels + 3 * (r * side + k);
      uint32_t value = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
      memcpy(to + r * stride + 4 * k, &value, 4);
    }
  cairo_surface_mark_dirty(s);
  cairo_save(c);
  cairo_translate(c, x, y);
  cairo_scale(c, (double)shown / side, (double)shown / side);
  cairo_set_source_surface(c, s, 0, 0);
  cairo_pattern_set_filter(cairo_get_source(c), CAIRO_FILTER_NEAREST);
  cairo_paint(c);
  cairo_restore(c);
  cairo_surface_destroy(s);
}

int cli_draw_sheet(const char *path, const char *title, const cli_tile *tiles, int n, int side,
                   int shown, int columns) {
  int lines = 0, gap = 12, top = 40;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 2; k++)
      if (tiles[i].caption[k] && k + 1 > lines) lines = k + 1;
  if (columns > n) columns = n;
  int wide = shown + gap, high = shown + gap + 14 * lines, rows = (n + columns - 1) / columns;
  int width = columns * wide + gap;
  cairo_t *c = begin(width < 360 ? 360 : width, top + rows * high + gap);
  cairo_set_font_size(c, 14);
  put_text(c, gap, 25, 0, width < 360 ? 336 : width - 2 * gap, title);
  cairo_set_font_size(c, 11);
  for (int i = 0; i < n; i++) {
    double x = gap + i % columns * wide, y = top + i / columns * high;
    colour(c, faint);
    cairo_rectangle(c, x - 0.5, y - 0.5, shown + 1, shown + 1);
    cairo_set_line_width(c, 1);
    cairo_stroke(c);
    if (tiles[i].pixels) put_pixels(c, &tiles[i], side, x, y, shown);
    colour(c, tiles[i].pixels ? ink : red);
    if (!tiles[i].pixels)
      put_text(c, x + shown / 2.0, y + shown / 2.0, 0.5, shown, "cannot be read");
    for (int k = 0; k < 2; k++) {
      if (!tiles[i].caption[k]) continue;
      colour(c, k == 0 && tiles[i].alarm ? red : ink);
      put_text(c, x, y + shown + 13 + 14 * k, 0, shown, tiles[i].caption[k]);
    }
  }
  return finish(c, path);
}

/* ---- the confusion matrix ---- */

static const char *class_at(const json_t *classes, int i) {
  const char *name =
      json_string_value(json_object_get(json_array_get(classes, (size_t)i), "class"));
  return name ? name : "";
}

int cli_draw_confusion(const char *path, const json_t *evaluation) {
  const json_t *confusion = json_object_get(evaluation, "confusion"),
               *classes = json_object_get(evaluation, "per_class");
  int n = (int)json_array_size(confusion);
  int cell = n <= 12 ? 44 : n <= 30 ? 26 : n <= 60 ? 14 : n <= 200 ? 6 : 2;
  double font = cell >= 14 ? 11 : 0, longest = 0;
  cairo_t *c = begin(1, 1); /* to measure with */
  cairo_set_font_size(c, 11);
  for (int i = 0; i < n && font > 0; i++) {
    const char *name = class_at(classes, i);
    if (width_of(c, name) > longest) longest = width_of(c, name);
  }
  cairo_destroy(c);
  int left = 24 + (int)fmin(longest, 150), top = 54 + (int)fmin(longest, 150),
      width = left + n * cell + 20;
  c = begin(width < 440 ? 440 : width, top + n * cell + 20);
  cairo_set_font_size(c, 13);
  put_text(c, 12, 22, 0, width < 440 ? 416 : width - 24,
           "confusion: rows are the truth, columns what was said");
  cairo_set_font_size(c, font);
  for (int i = 0; i < n && font > 0; i++) {
    const char *name = class_at(classes, i);
    put_text(c, left - 8, top + (i + 0.5) * cell + 4, 1, left - 16, name);
    cairo_save(c);
    cairo_translate(c, left + (i + 0.5) * cell + 4, top - 8);
    cairo_rotate(c, -1.5707963267948966);
    put_text(c, 0, 0, 0, top - 42, name);
    cairo_restore(c);
  }
  for (int i = 0; i < n; i++) {
    const json_t *row = json_array_get(confusion, (size_t)i);
    double total = 0;
    for (int k = 0; k < n; k++) total += json_number_value(json_array_get(row, (size_t)k));
    for (int k = 0; k < n; k++) {
      double count = json_number_value(json_array_get(row, (size_t)k));
      double share = total > 0 ? count / total : 0, shade = count > 0 ? 0.12 + 0.88 * share : 0;
      const double *rgb = i == k ? blue : orange;
      cairo_set_source_rgb(c, 1 - shade * (1 - rgb[0]), 1 - shade * (1 - rgb[1]),
                           1 - shade * (1 - rgb[2]));
      cairo_rectangle(c, left + k * cell, top + i * cell, cell, cell);
      cairo_fill(c);
      if (cell < 26 || count == 0) continue;
      char text[32];
      if (count < 10000)
        snprintf(text, sizeof text, "%.0f", count);
      else
        snprintf(text, sizeof text, "%.0fk", count / 1000);
      cairo_set_font_size(c, cell >= 44 ? 12 : 9);
      if (shade > 0.55)
        cairo_set_source_rgb(c, 1, 1, 1);
      else
        colour(c, ink);
      put_text(c, left + (k + 0.5) * cell, top + (i + 0.5) * cell + 4, 0.5, cell - 2, text);
    }
  }
  colour(c, faint);
  cairo_set_line_width(c, 1);
  cairo_rectangle(c, left - 0.5, top - 0.5, n * cell + 1, n * cell + 1);
  cairo_stroke(c);
  return finish(c, path);
}

/* ---- learning curves ---- */

typedef struct plot {
  double x, y, width, height, low, high;
  size_t n;
} plot;

static double to_y(const plot *p, double value) {
  return p->y + p->height * (1 - (value - p->low) / (p->high - p->low));
}

static double to_x(const plot *p, size_t i) {
  return p->x + (p->n > 1 ? p->width * (double)i / (double)(p->n - 1) : p->width / 2);
}

/* A step of 1, 2 or 5 times a power of ten that gives about four lines. */
static double step_of(double span) {
  double raw = span / 4, power = pow(10, floor(log10(raw))), share = raw / power;
  return power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
}

static void include_series(const json_t *series, plot *p) {
  for (size_t i = 0; i < json_array_size(series); i++) {
    double v = json_number_value(json_array_get(series, i));
    if (json_is_null(json_array_get(series, i)) || !isfinite(v)) continue;
    if (!(v >= p->low)) p->low = v;
    if (!(v <= p->high)) p->high = v;
  }
  if (json_array_size(series) > p->n) p->n = json_array_size(series);
}

static void draw_series(cairo_t *c, const plot *p, const json_t *series, const double rgb[3]) {
  bool open = false;
  colour(c, rgb);
  cairo_set_line_width(c, 1.8);
  for (size_t i = 0; i < json_array_size(series); i++) {
    const json_t *v = json_array_get(series, i);
    if (!json_is_number(v)) continue;
    double x = to_x(p, i), y = to_y(p, json_number_value(v));
    if (open)
      cairo_line_to(c, x, y);
    else
      cairo_move_to(c, x, y);
    open = true;
  }
  cairo_stroke(c);
  for (size_t i = 0; p->n <= 40 && i < json_array_size(series); i++) {
    const json_t *v = json_array_get(series, i);
    if (!json_is_number(v)) continue;
    cairo_arc(c, to_x(p, i), to_y(p, json_number_value(v)), 2.5, 0, 6.2831853);
    cairo_fill(c);
  }
}

static void draw_axes(cairo_t *c, const plot *p, const char *title) {
  char text[48];
  cairo_set_font_size(c, 13);
  colour(c, ink);
  put_text(c, p->x, p->y - 12, 0, p->width, title);
  cairo_set_font_size(c, 10);
  double step = step_of(p->high - p->low);
  for (double v = ceil(p->low / step) * step; v <= p->high + step * 1e-9; v += step) {
    double y = floor(to_y(p, v)) + 0.5;
    colour(c, faint);
    cairo_set_line_width(c, 1);
    cairo_move_to(c, p->x, y);
    cairo_line_to(c, p->x + p->width, y);
    cairo_stroke(c);
    colour(c, ink);
    snprintf(text, sizeof text, "%.4g", fabs(v) < step * 1e-6 ? 0 : v);
    put_text(c, p->x - 6, y + 3, 1, p->x, text);
  }
  size_t every = p->n > 10 ? (p->n + 9) / 10 : 1;
  for (size_t i = 0; i < p->n; i += every) {
    snprintf(text, sizeof text, "%zu", i + 1);
    put_text(c, to_x(p, i), p->y + p->height + 15, 0.5, 60, text);
  }
  put_text(c, p->x + p->width, p->y + p->height + 30, 1, 100, "epoch");
}

static void draw_one(cairo_t *c, const json_t *history, const char *name, double y) {
  char other[160];
  snprintf(other, sizeof other, "val_%s", name);
  const json_t *training = json_object_get(history, name),
               *validation = json_object_get(history, other);
  plot p = {.x = 70, .y = y + 40, .width = 560, .height = 190, .low = NAN, .high = NAN};
  include_series(training, &p);
  include_series(validation, &p);
  if (isnan(p.low)) p.low = 0, p.high = 1;
  double least = p.low != 0 ? 0.1 * fabs(p.low) : 1; /* a constant is a line in the middle */
  if (p.high - p.low < 1e-9 * fabs(p.low)) p.low -= least, p.high += least;
  if (p.high == p.low) p.low -= least, p.high += least;
  double margin = 0.05 * (p.high - p.low);
  p.low -= margin, p.high += margin;
  draw_axes(c, &p, name);
  draw_series(c, &p, training, blue);
  if (validation) draw_series(c, &p, validation, orange);
  cairo_set_font_size(c, 11);
  colour(c, blue);
  if (validation) put_text(c, p.x + p.width - 90, p.y - 12, 1, 100, "training");
  colour(c, orange);
  if (validation) put_text(c, p.x + p.width, p.y - 12, 1, 100, "validation");
}

int cli_draw_curves(const char *path, const json_t *record) {
  json_t *history = json_object_get(record, "history"), *series;
  const char *name;
  int n = 0;
  json_object_foreach(history, name, series) n +=
      strncmp(name, "val_", 4) != 0 && strcmp(name, "seconds") != 0;
  cairo_t *c = begin(660, 280 * n + 20);
  int at = 0;
  json_object_foreach(history, name, series) {
    if (strncmp(name, "val_", 4) == 0 || strcmp(name, "seconds") == 0) continue;
    draw_one(c, history, name, 280.0 * at++);
  }
  return finish(c, path);
}
