/* Augmentation of one picture: rotation, shear, zoom, shifts and a random crop in one bilinear
 * pull-warp about the true centre, flips, then brightness. Sampling distributions and fill
 * (nearest) are those of Keras's ImageDataGenerator; all is a function of (seed, epoch, sample), so
 * that any number of threads and any device gives the same pictures. */
#ifndef WML_COMMON_AUGMENT_H
#define WML_COMMON_AUGMENT_H

#include "philox.h"

#include <math.h>
#include <stdbool.h>

typedef struct wml_augment {
  float rotation; /* degrees: angles from -rotation to rotation, counter-clockwise as displayed */
  float shear;    /* degrees, too: 0.2 is next to nothing */
  float zoom;     /* factors from 1 - zoom to 1 + zoom, independent for columns and rows */
  float width_shift, height_shift; /* shares of width and height, in both directions */
  float crop; /* a window of 1 - crop to 1 of the sides, anywhere inside, takes the whole place */
  float brightness; /* factors from 1 - brightness to 1 + brightness; above 255 stays 255 */
  bool flip;        /* mirror every other picture, left to right */
  bool vertical_flip;
} wml_augment;

/* Place in the source of an output pixel (x, y), all from the centre:
 * x' = xx x + xy y + dx, y' = yx x + yy y + dy; flipped pictures take x from -x, y from -y. */
typedef struct wml_warp {
  float xx, xy, yx, yy, dx, dy;
  float gain; /* of the values */
  bool flip, vertical_flip, trivial;
} wml_warp;

WML_FN bool wml_augment_is_on(const wml_augment *a) {
  return a->rotation != 0.0f || a->shear != 0.0f || a->zoom != 0.0f || a->width_shift != 0.0f ||
         a->height_shift != 0.0f || a->crop != 0.0f || a->brightness != 0.0f || a->flip ||
         a->vertical_flip;
}

/* R(theta) S(shear) Z(zx, zy) on (column, row): R = [[c, -s], [s, c]], S = [[1, -sin], [0, cos]].
 */
WML_FN wml_warp wml_warp_of(float theta_degrees, float shear_degrees, float zx, float zy,
                            bool flip) {
  const float radians = 0.017453292519943295f;
  float c = cosf(theta_degrees * radians), s = sinf(theta_degrees * radians);
  float sin_shear = sinf(shear_degrees * radians), cos_shear = cosf(shear_degrees * radians);
  wml_warp w = {c * zx, (-c * sin_shear - s * cos_shear) * zy,
                s * zx, (-s * sin_shear + c * cos_shear) * zy,
                0.0f,   0.0f,
                1.0f,   flip,
                false,  false};
  w.trivial = theta_degrees == 0.0f && shear_degrees == 0.0f && zx == 1.0f && zy == 1.0f;
  return w;
}

/* Of a picture of width w and height h. */
WML_FN wml_warp wml_augment_sample(const wml_augment *a, uint64_t seed, uint32_t epoch,
                                   uint64_t sample, long h, long w) {
  wml_philox u = wml_philox_at(seed, wml_random_lane(WML_RANDOM_AUGMENTATION, 0), epoch, sample);
  wml_philox v = wml_philox_at(seed, wml_random_lane(WML_RANDOM_AUGMENTATION, 1), epoch, sample);
  float theta = (2.0f * wml_uniform(u.word[0]) - 1.0f) * a->rotation;
  float shear = (2.0f * wml_uniform(u.word[1]) - 1.0f) * a->shear;
  float zx = 1.0f + (2.0f * wml_uniform(u.word[2]) - 1.0f) * a->zoom;
  float zy = 1.0f + (2.0f * wml_uniform(u.word[3]) - 1.0f) * a->zoom;
  wml_warp p = wml_warp_of(theta, shear, zx, zy, a->flip && wml_uniform(v.word[0]) < 0.5f);
  p.vertical_flip = a->vertical_flip && wml_uniform(v.word[1]) < 0.5f;
  if (a->width_shift == 0.0f && a->height_shift == 0.0f && a->crop == 0.0f && a->brightness == 0.0f)
    return p;
  wml_philox r = wml_philox_at(seed, wml_random_lane(WML_RANDOM_AUGMENTATION, 2), epoch, sample);
  /* Keras: R T S Z, so the shift turns with the picture. */
  const float radians = 0.017453292519943295f;
  float c = cosf(theta * radians), s = sinf(theta * radians);
  float tx = (2.0f * wml_uniform(v.word[2]) - 1.0f) * a->width_shift * (float)w;
  float ty = (2.0f * wml_uniform(v.word[3]) - 1.0f) * a->height_shift * (float)h;
  /* The window, in output coordinates before the rest. */
  float side = 1.0f - wml_uniform(r.word[0]) * a->crop;
  float ox = (2.0f * wml_uniform(r.word[1]) - 1.0f) * 0.5f * (1.0f - side) * (float)w;
  float oy = (2.0f * wml_uniform(r.word[2]) - 1.0f) * 0.5f * (1.0f - side) * (float)h;
  p.dx = c * tx - s * ty + p.xx * ox + p.xy * oy;
  p.dy = s * tx + c * ty + p.yx * ox + p.yy * oy;
  p.xx *= side, p.xy *= side, p.yx *= side, p.yy *= side;
  p.gain = 1.0f + (2.0f * wml_uniform(r.word[3]) - 1.0f) * a->brightness;
  p.trivial = p.trivial && p.dx == 0.0f && p.dy == 0.0f && side == 1.0f;
  return p;
}

WML_FN float wml_warp_value(const wml_warp *warp, float value, float scale) {
  if (warp->gain == 1.0f) return value * scale;
  value *= warp->gain;
  return (value > 255.0f ? 255.0f : value) * scale;
}

/* One output pixel, all channels. in: [h, w, c] bytes; out: [c] = value * scale. */
WML_FN void wml_warp_pixel(const wml_warp *warp, const uint8_t *in, long h, long w, long c,
                           long row, long column, float scale, float *out) {
  float cx = 0.5f * (float)(w - 1), cy = 0.5f * (float)(h - 1);
  float x = (float)(warp->flip ? w - 1 - column : column) - cx;
  float y = (float)(warp->vertical_flip ? h - 1 - row : row) - cy;
  float sx = warp->xx * x + warp->xy * y + warp->dx + cx;
  float sy = warp->yx * x + warp->yy * y + warp->dy + cy;
  sx = sx < 0.0f ? 0.0f : (sx > (float)(w - 1) ? (float)(w - 1) : sx);
  sy = sy < 0.0f ? 0.0f : (sy > (float)(h - 1) ? (float)(h - 1) : sy);
  long x0 = (long)sx, y0 = (long)sy;
  long x1 = x0 + 1 < w ? x0 + 1 : x0, y1 = y0 + 1 < h ? y0 + 1 : y0;
  float fx = sx - (float)x0, fy = sy - (float)y0;
  const uint8_t *a = in + (y0 * w + x0) * c, *b = in + (y0 * w + x1) * c;
  const uint8_t *d = in + (y1 * w + x0) * c, *e = in + (y1 * w + x1) * c;
  for (long k = 0; k < c; k++) {
    float top = (float)a[k] + fx * ((float)b[k] - (float)a[k]);
    float bottom = (float)d[k] + fx * ((float)e[k] - (float)d[k]);
    out[k] = wml_warp_value(warp, top + fy * (bottom - top), scale);
  }
}

/* in: [h, w, c] bytes, out: [h, w, c] float32. A picture with nothing to do is copied exactly. */
WML_FN void wml_warp_image(const wml_warp *warp, const uint8_t *in, long h, long w, long c,
                           float scale, float *out) {
  for (long row = 0; row < h; row++)
    for (long column = 0; column < w; column++, out += c) {
      if (!warp->trivial) {
        wml_warp_pixel(warp, in, h, w, c, row, column, scale, out);
        continue;
      }
      long y = warp->vertical_flip ? h - 1 - row : row;
      const uint8_t *p = in + (y * w + (warp->flip ? w - 1 - column : column)) * c;
      for (long k = 0; k < c; k++) out[k] = wml_warp_value(warp, (float)p[k], scale);
    }
}

#endif
