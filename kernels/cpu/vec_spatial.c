/* Rows of pictures whose values are means or mixtures of others: average pooling and resizing, with
 * their gradients. Gradients gather, so that each value is written once, by one thread. */
#include "lanes.h"

enum { SPATIAL_BLOCK = 64 };

/* ---- average pooling ---- */

/* Elements [begin, end) of `size` that window `at` covers along an axis. */
static void covered(const wml_window *o, int axis, int64_t at, int64_t size, int64_t *begin,
                    int64_t *end) {
  *begin = at * o->stride[axis] - o->pad_before[axis];
  *end = *begin + o->size[axis] < size ? *begin + o->size[axis] : size;
  if (*begin < 0) *begin = 0;
}

/* Windows [begin, end) of `count` that cover element `at`. */
static void covering(const wml_window *o, int axis, int64_t at, int64_t count, int64_t *begin,
                     int64_t *end) {
  int64_t place = at + o->pad_before[axis], first = place - o->size[axis] + o->stride[axis];
  *begin = first < 0 ? 0 : first / o->stride[axis];
  *end = place / o->stride[axis] + 1 < count ? place / o->stride[axis] + 1 : count;
}

/* sum = or += factor * x; n is at most a block. */
WML_FN void add_scaled(float *restrict sum, const void *x, int64_t at, int n, float factor,
                       const bool narrow) {
  for (int i = 0; i < n; i++) sum[i] += get(x, at + i, narrow) * factor;
}

WML_FN void average_of(const vec_pool *p, const void *x, int64_t row, void *y, const bool narrow) {
  int64_t h0, h1, w0, w1;
  covered(p->window, 0, row, p->h, &h0, &h1);
  for (int64_t ow = 0; ow < p->ow; ow++) {
    covered(p->window, 1, ow, p->w, &w0, &w1);
    float share = 1.0f / (float)((h1 - h0) * (w1 - w0));
    for (int64_t c0 = 0; c0 < p->c; c0 += SPATIAL_BLOCK) {
      int n = p->c - c0 < SPATIAL_BLOCK ? (int)(p->c - c0) : SPATIAL_BLOCK;
      float sum[SPATIAL_BLOCK] = {0};
      for (int64_t h = h0; h < h1; h++)
        for (int64_t w = w0; w < w1; w++)
          if (n == SPATIAL_BLOCK) /* a constant trip count for the common case */
            add_scaled(sum, x, (h * p->w + w) * p->c + c0, SPATIAL_BLOCK, 1.0f, narrow);
          else
            add_scaled(sum, x, (h * p->w + w) * p->c + c0, n, 1.0f, narrow);
      for (int i = 0; i < n; i++) set(y, ow * p->c + c0 + i, sum[i] * share, narrow);
    }
  }
}

static void average(const vec_pool *p, const void *x, int64_t row, void *y) {
  BY_TYPE(p->narrow, average, p, x, row, y);
}

static float share_of(const vec_pool *p, int64_t oh, int64_t ow) {
  int64_t h0, h1, w0, w1;
  covered(p->window, 0, oh, p->h, &h0, &h1);
  covered(p->window, 1, ow, p->w, &w0, &w1);
  return 1.0f / (float)((h1 - h0) * (w1 - w0));
}

WML_FN void average_bwd_of(const vec_pool *p, const void *dy, int64_t row, void *dx,
                           const bool narrow) {
  int64_t h0, h1, w0, w1;
  covering(p->window, 0, row, p->oh, &h0, &h1);
  for (int64_t w = 0; w < p->w; w++) {
    covering(p->window, 1, w, p->ow, &w0, &w1);
    for (int64_t c0 = 0; c0 < p->c; c0 += SPATIAL_BLOCK) {
      int n = p->c - c0 < SPATIAL_BLOCK ? (int)(p->c - c0) : SPATIAL_BLOCK;
      float sum[SPATIAL_BLOCK] = {0};
      for (int64_t oh = h0; oh < h1; oh++)
        for (int64_t ow = w0; ow < w1; ow++)
          if (n == SPATIAL_BLOCK)
            add_scaled(sum, dy, (oh * p->ow + ow) * p->c + c0, SPATIAL_BLOCK, share_of(p, oh, ow),
                       narrow);
          else
            add_scaled(sum, dy, (oh * p->ow + ow) * p->c + c0, n, share_of(p, oh, ow), narrow);
      for (int i = 0; i < n; i++) set(dx, w * p->c + c0 + i, sum[i], narrow);
    }
  }
}

static void average_bwd(const vec_pool *p, const void *dy, int64_t row, void *dx) {
  BY_TYPE(p->narrow, average_bwd, p, dy, row, dx);
}

/* ---- resizing ---- */

WML_FN void resize_of(const vec_resize *r, const void *x, const wml_resize_tap *row, void *y,
                      const bool narrow) {
  const int64_t c = r->c, above = row->low * r->w * c, below = row->high * r->w * c;
  for (int64_t ow = 0; ow < r->ow; ow++) {
    const wml_resize_tap *t = &r->columns[ow];
    const float right = t->weight, left = 1.0f - right, down = row->weight, up = 1.0f - down;
    const int64_t low = t->low * c, high = t->high * c, at = ow * c;
    if (right == 0.0f && down == 0.0f) {
      const int64_t size = narrow ? 2 : 4;
      memcpy((uint8_t *)y + at * size, (const uint8_t *)x + (above + low) * size,
             (size_t)(c * size));
      continue;
    }
    IN_PLACE for (int64_t i = 0; i < c; i++) {
      float top = left * get(x, above + low + i, narrow) + right * get(x, above + high + i, narrow);
      float bottom =
          left * get(x, below + low + i, narrow) + right * get(x, below + high + i, narrow);
      set(y, at + i, up * top + down * bottom, narrow);
    }
  }
}

static void resize(const vec_resize *r, const void *x, const wml_resize_tap *row, void *y) {
  BY_TYPE(r->narrow, resize, r, x, row, y);
}

WML_FN void add_row_of(float *restrict sum, const void *x, int64_t n, float factor,
                       const bool narrow) {
  for (int64_t i = 0; i < n; i++) sum[i] += get(x, i, narrow) * factor;
}

static void add_row(float *sum, const void *x, int64_t n, float factor, bool narrow) {
  BY_TYPE(narrow, add_row, sum, x, n, factor);
}

WML_FN void resize_columns_bwd_of(const vec_resize *r, const float *dy, void *dx,
                                  const bool narrow) {
  for (int64_t w = 0; w < r->w; w++)
    for (int64_t c0 = 0; c0 < r->c; c0 += SPATIAL_BLOCK) {
      int n = r->c - c0 < SPATIAL_BLOCK ? (int)(r->c - c0) : SPATIAL_BLOCK;
      float sum[SPATIAL_BLOCK] = {0};
      for (int64_t ow = r->readers[w].begin; ow < r->readers[w].end; ow++)
        add_scaled(sum, dy, ow * r->c + c0, n, wml_resize_weight(&r->columns[ow], w), false);
      for (int i = 0; i < n; i++) set(dx, w * r->c + c0 + i, sum[i], narrow);
    }
}

static void resize_columns_bwd(const vec_resize *r, const float *dy, void *dx) {
  BY_TYPE(r->narrow, resize_columns_bwd, r, dy, dx);
}

const vec_spatial_table VEC_PART(spatial) = {.average = average,
                                             .average_bwd = average_bwd,
                                             .resize = resize,
                                             .add_row = add_row,
                                             .resize_columns_bwd = resize_columns_bwd};
