/* Augmentation of one picture: rotation, shear, zoom, shifts and a random crop in one bilinear
 * pull-warp about the true centre, channel shift, flips, then brightness. Sampling distributions
 * and fill modes are those of Keras's ImageDataGenerator; all is a function of (seed, epoch,
 * sample), so that any number of threads and any device gives the same pictures. */
#ifndef WML_COMMON_AUGMENT_H
#define WML_COMMON_AUGMENT_H

#include "philox.h"

#include <math.h>
#include <stdbool.h>

/* What is seen beyond the edge of a row abcd; SciPy's names. */
typedef enum wml_fill {
  WML_FILL_NEAREST,  /* aaa abcd ddd */
  WML_FILL_CONSTANT, /* kkk abcd kkk */
  WML_FILL_REFLECT,  /* cba abcd dcb */
  WML_FILL_WRAP      /* the picture again, its last row or column upon the first */
} wml_fill;

typedef struct wml_augment {
  float rotation; /* degrees: angles from -rotation to rotation, counter-clockwise as displayed */
  float shear;    /* degrees, too: 0.2 is next to nothing */
  float zoom;     /* factors from 1 - zoom to 1 + zoom, independent for columns and rows */
  float width_shift, height_shift; /* shares of width and height, in both directions */
  float crop; /* a window of 1 - crop to 1 of the sides, anywhere inside, takes the whole place */
  float brightness; /* factors from 1 - brightness to 1 + brightness; above 255 stays 255 */
  bool flip;        /* mirror every other picture, left to right */
  bool vertical_flip;
  float channel_shift; /* added to all channels, from -c to c; the picture's least and greatest
                          value stay what they are */
  wml_fill fill;
  float fill_value; /* of WML_FILL_CONSTANT */
} wml_augment;

/* Place in the source of an output pixel (x, y), all from the centre:
 * x' = xx x + xy y + dx, y' = yx x + yy y + dy; flipped pictures take x from -x, y from -y. */
typedef struct wml_warp {
  float xx, xy, yx, yy, dx, dy;
  float gain; /* of the values */
  bool flip, vertical_flip, trivial;
  float shift, lowest, highest; /* shift 0: the other two are not looked at */
  wml_fill fill;
  float fill_value;
} wml_warp;

WML_FN bool wml_augment_is_on(const wml_augment *a) {
  return a->rotation != 0.0f || a->shear != 0.0f || a->zoom != 0.0f || a->width_shift != 0.0f ||
         a->height_shift != 0.0f || a->crop != 0.0f || a->brightness != 0.0f || a->flip ||
         a->vertical_flip || a->channel_shift != 0.0f;
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
                false,  false,
                0.0f,   0.0f,
                0.0f,   WML_FILL_NEAREST,
                0.0f};
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
  p.fill = a->fill;
  p.fill_value = a->fill_value;
  if (a->channel_shift != 0.0f) {
    wml_philox q = wml_philox_at(seed, wml_random_lane(WML_RANDOM_AUGMENTATION, 3), epoch, sample);
    p.shift = (2.0f * wml_uniform(q.word[0]) - 1.0f) * a->channel_shift;
  }
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

/* What becomes of a value of the warped picture, 0 to 255. */
WML_FN float wml_warp_value(const wml_warp *warp, float value, float scale) {
  if (warp->shift != 0.0f) {
    value += warp->shift;
    value = value < warp->lowest ? warp->lowest : value > warp->highest ? warp->highest : value;
  }
  if (warp->gain == 1.0f) return value * scale;
  value *= warp->gain;
  return (value > 255.0f ? 255.0f : value) * scale;
}

/* A coordinate among n pixels that is off by rounding alone lies on the edge. */
WML_FN float wml_warp_on_edge(float s, long n) {
  const float rounding = 1e-3f, last = (float)(n - 1);
  if (s < 0.0f && s > -rounding) return 0.0f;
  return s > last && s < last + rounding ? last : s;
}

/* Index i of n pixels in a row that is continued by its mirror image, edges twice. */
WML_FN long wml_warp_reflect(long i, long n) {
  long m = i % (2 * n);
  if (m < 0) m += 2 * n;
  return m < n ? m : 2 * n - 1 - m;
}

/* SciPy's: periods of n - 1. */
WML_FN float wml_warp_wrap(float s, long n) {
  float last = (float)(n - 1);
  if (n == 1) return 0.0f;
  if (s < 0.0f) return s + last * (truncf(-s / last) + 1.0f);
  return s > last ? s - last * truncf(s / last) : s;
}

/* The four pixels around a place, and how far it is from the first. */
typedef struct wml_warp_place {
  long x0, x1, y0, y1;
  float fx, fy;
  bool outside; /* WML_FILL_CONSTANT */
} wml_warp_place;

WML_FN wml_warp_place wml_warp_beyond(const wml_warp *warp, float sx, float sy, long h, long w) {
  wml_warp_place p = {0, 0, 0, 0, 0.0f, 0.0f, false};
  sx = wml_warp_on_edge(sx, w);
  sy = wml_warp_on_edge(sy, h);
  if (warp->fill == WML_FILL_CONSTANT)
    p.outside = sx < 0.0f || sy < 0.0f || sx > (float)(w - 1) || sy > (float)(h - 1);
  if (p.outside) return p;
  if (warp->fill == WML_FILL_WRAP) {
    sx = wml_warp_wrap(sx, w);
    sy = wml_warp_wrap(sy, h);
  }
  float bx = floorf(sx), by = floorf(sy);
  p.fx = sx - bx;
  p.fy = sy - by;
  p.x0 = wml_warp_reflect((long)bx, w); /* inside nothing is reflected but n, where fx is 0 */
  p.x1 = wml_warp_reflect((long)bx + 1, w);
  p.y0 = wml_warp_reflect((long)by, h);
  p.y1 = wml_warp_reflect((long)by + 1, h);
  return p;
}

WML_FN wml_warp_place wml_warp_place_of(const wml_warp *warp, long h, long w, long row,
                                        long column) {
  float cx = 0.5f * (float)(w - 1), cy = 0.5f * (float)(h - 1);
  float x = (float)(warp->flip ? w - 1 - column : column) - cx;
  float y = (float)(warp->vertical_flip ? h - 1 - row : row) - cy;
  float sx = warp->xx * x + warp->xy * y + warp->dx + cx;
  float sy = warp->yx * x + warp->yy * y + warp->dy + cy;
  if (warp->fill != WML_FILL_NEAREST) return wml_warp_beyond(warp, sx, sy, h, w);
  sx = sx < 0.0f ? 0.0f : (sx > (float)(w - 1) ? (float)(w - 1) : sx);
  sy = sy < 0.0f ? 0.0f : (sy > (float)(h - 1) ? (float)(h - 1) : sy);
  long x0 = (long)sx, y0 = (long)sy;
  wml_warp_place p = {
      x0,   x0 + 1 < w ? x0 + 1 : x0, y0, y0 + 1 < h ? y0 + 1 : y0, sx - (float)x0, sy - (float)y0,
      false};
  return p;
}

/* Channel k of a place, 0 to 255. in: [h, w, c] bytes. */
WML_FN float wml_warp_at(const wml_warp *warp, const wml_warp_place *p, const uint8_t *in, long w,
                         long c, long k) {
  if (p->outside) return warp->fill_value;
  float a = (float)in[(p->y0 * w + p->x0) * c + k], b = (float)in[(p->y0 * w + p->x1) * c + k];
  float d = (float)in[(p->y1 * w + p->x0) * c + k], e = (float)in[(p->y1 * w + p->x1) * c + k];
  float top = a + p->fx * (b - a), bottom = d + p->fx * (e - d);
  return top + p->fy * (bottom - top);
}

/* One output pixel, all channels. in: [h, w, c] bytes; out: [c] = value * scale. */
WML_FN void wml_warp_pixel(const wml_warp *warp, const uint8_t *in, long h, long w, long c,
                           long row, long column, float scale, float *out) {
  if (warp->trivial) {
    long y = warp->vertical_flip ? h - 1 - row : row, x = warp->flip ? w - 1 - column : column;
    for (long k = 0; k < c; k++)
      out[k] = wml_warp_value(warp, (float)in[(y * w + x) * c + k], scale);
    return;
  }
  wml_warp_place p = wml_warp_place_of(warp, h, w, row, column);
  for (long k = 0; k < c; k++)
    out[k] = wml_warp_value(warp, wml_warp_at(warp, &p, in, w, c, k), scale);
}

/* in: [h, w, c] bytes, out: [h, w, c] float32. A picture with nothing to do is copied exactly. */
WML_FN void wml_warp_image(const wml_warp *given, const uint8_t *in, long h, long w, long c,
                           float scale, float *out) {
  wml_warp warp = *given;
  bool shifts = warp.shift != 0.0f;
  if (shifts) warp.shift = 0.0f, warp.gain = 1.0f; /* first the values, whose range is needed */
  for (long row = 0; row < h; row++)
    for (long column = 0; column < w; column++)
      wml_warp_pixel(&warp, in, h, w, c, row, column, shifts ? 1.0f : scale,
                     out + (row * w + column) * c);
  if (!shifts) return;
  warp = *given;
  warp.lowest = warp.highest = out[0];
  for (long i = 1; i < h * w * c; i++) {
    warp.lowest = out[i] < warp.lowest ? out[i] : warp.lowest;
    warp.highest = out[i] > warp.highest ? out[i] : warp.highest;
  }
  for (long i = 0; i < h * w * c; i++) out[i] = wml_warp_value(&warp, out[i], scale);
}

#endif
