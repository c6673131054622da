/* Compiled once for each instruction set of the architecture, with VEC_TABLE naming the table and
 * the compiler's flags the instruction set. The loops are written so that the compiler's vectoriser
 * takes them: unit stride, no calls, selections instead of branches. */
#include "lanes.h"

#include "../common/dropout.h"

static void widen(const uint16_t *restrict x, float *restrict y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = wml_bf16_to_float(x[i]);
}

static void narrow(const float *restrict x, uint16_t *restrict y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = wml_bf16_from_float(x[i]);
}

WML_FN void from_u8_of(const uint8_t *restrict x, void *restrict y, int64_t n, float scale,
                       const bool narrow) {
  for (int64_t i = 0; i < n; i++) set(y, i, (float)x[i] * scale, narrow);
}

static void from_u8(const uint8_t *x, void *y, int64_t n, float scale, bool narrow) {
  BY_TYPE(narrow, from_u8, x, y, n, scale);
}

/* A constant number of channels lets the compiler unroll the innermost loop. */
static void warp(const wml_warp *p, const uint8_t *x, int64_t h, int64_t w, int64_t c, float scale,
                 float *y) {
  if (c == 3)
    wml_warp_image(p, x, h, w, 3, scale, y);
  else if (c == 1)
    wml_warp_image(p, x, h, w, 1, scale, y);
  else
    wml_warp_image(p, x, h, w, c, scale, y);
}

static bool plain_relu(const wml_activation *a) {
  return a->kind == WML_RELU && a->threshold == 0.0f && a->alpha == 0.0f && isinf(a->max_value);
}

/* Calls the formula with a constant kind, so that its switch is gone before the loop is compiled.
 */
#define WITH_CONSTANT_KIND(symbol, name, about)                                                    \
  case WML_##symbol:                                                                               \
    a.kind = WML_##symbol;                                                                         \
    IN_PLACE for (int64_t i = 0; i < n; i++) BODY;                                                 \
    return;

/* relu on the bits of bfloat16: 1 to 0x7F80 are the positive numbers and infinity. */
static void relu_bits(const uint16_t *x, uint16_t *y, int64_t n) {
  IN_PLACE
  for (int64_t i = 0; i < n; i++) {
    bool keeps = ((uint16_t)(x[i] - 1u) < 0x7FFFu) | (x[i] > 0xFF80u); /* NaN stays NaN */
    y[i] = keeps ? x[i] : 0;
  }
}

static void relu_bwd_bits(const uint16_t *dy, const uint16_t *y, uint16_t *dx, int64_t n) {
  IN_PLACE
  for (int64_t i = 0; i < n; i++) dx[i] = dy[i] & ((uint16_t)(y[i] - 1u) < 0x7F80u ? 0xFFFFu : 0u);
}

WML_FN void activation_of(const wml_activation *act, const void *x, void *y, int64_t n,
                          const bool narrow) {
  wml_activation a = *act;
  if (plain_relu(act) && narrow) {
    relu_bits(x, y, n);
    return;
  }
  if (plain_relu(act)) {
    const float *v = x;
    float *w = y;
    IN_PLACE
    for (int64_t i = 0; i < n; i++) w[i] = v[i] <= 0.0f ? 0.0f : v[i];
    return;
  }
  switch (act->kind) {
#define BODY set(y, i, wml_activation_forward(&a, get(x, i, narrow)), narrow)
    WML_ACTIVATIONS(WITH_CONSTANT_KIND)
#undef BODY
  default: return;
  }
}

static void activation(const wml_activation *act, const void *x, void *y, int64_t n, bool narrow) {
  BY_TYPE(narrow, activation, act, x, y, n);
}

WML_FN void activation_bwd_of(const wml_activation *act, const void *dy, const void *y,
                              const void *x, void *dx, int64_t n, const bool narrow) {
  wml_activation a = *act;
  if (plain_relu(act) && narrow) {
    relu_bwd_bits(dy, y, dx, n);
    return;
  }
  if (plain_relu(act)) {
    const float *g = dy, *v = y;
    float *d = dx;
    IN_PLACE
    for (int64_t i = 0; i < n; i++) d[i] = keep_if(v[i] > 0.0f, g[i]);
    return;
  }
  if (!x) x = y; /* not read then */
  switch (act->kind) {
#define BODY                                                                                       \
  set(dx, i,                                                                                       \
      get(dy, i, narrow) * wml_activation_derivative(&a, get(x, i, narrow), get(y, i, narrow)),    \
      narrow)
    WML_ACTIVATIONS(WITH_CONSTANT_KIND)
#undef BODY
  default: return;
  }
}

static void activation_bwd(const wml_activation *act, const void *dy, const void *y, const void *x,
                           void *dx, int64_t n, bool narrow) {
  BY_TYPE(narrow, activation_bwd, act, dy, y, x, dx, n);
}

enum { POOL_BLOCK = 64 };

WML_FN void pool_pixel(const vec_pool *p, const void *x, int64_t oh, int64_t ow, int64_t c0, int n,
                       float *restrict best, int32_t *restrict place, const bool narrow) {
  const wml_window *o = p->window;
  bool first = true;
  for (int kh = 0; kh < o->size[0]; kh++)
    for (int kw = 0; kw < o->size[1]; kw++) {
      int64_t h = oh * o->stride[0] - o->pad_before[0] + kh;
      int64_t w = ow * o->stride[1] - o->pad_before[1] + kw;
      if (h < 0 || h >= p->h || w < 0 || w >= p->w) continue;
      int64_t at = (h * p->w + w) * p->c + c0;
      int32_t k = kh * o->size[1] + kw;
      if (first)
        for (int j = 0; j < n; j++) best[j] = get(x, at + j, narrow), place[j] = k;
      else
        for (int j = 0; j < n; j++) {
          float v = get(x, at + j, narrow);
          bool wins = (v > best[j]) | (v != v);
          best[j] = wins ? v : best[j];
          place[j] = wins ? k : place[j];
        }
      first = false;
    }
}

WML_FN void pool_of(const vec_pool *p, const void *x, void *y, uint8_t *index, const bool narrow) {
  for (int64_t oh = 0; oh < p->oh; oh++)
    for (int64_t ow = 0; ow < p->ow; ow++)
      for (int64_t c0 = 0; c0 < p->c; c0 += POOL_BLOCK) {
        float best[POOL_BLOCK];
        int32_t place[POOL_BLOCK];
        int64_t at = (oh * p->ow + ow) * p->c + c0;
        if (p->c - c0 >= POOL_BLOCK) { /* constant trip counts for the common case */
          pool_pixel(p, x, oh, ow, c0, POOL_BLOCK, best, place, narrow);
          for (int j = 0; j < POOL_BLOCK; j++) set(y, at + j, best[j], narrow);
          if (index)
            for (int j = 0; j < POOL_BLOCK; j++) index[at + j] = (uint8_t)place[j];
        } else {
          int n = (int)(p->c - c0);
          pool_pixel(p, x, oh, ow, c0, n, best, place, narrow);
          for (int j = 0; j < n; j++) set(y, at + j, best[j], narrow);
          for (int j = 0; index && j < n; j++) index[at + j] = (uint8_t)place[j];
        }
      }
}

static void pool(const vec_pool *p, const void *x, void *y, uint8_t *index) {
  BY_TYPE(p->narrow, pool, p, x, y, index);
}

/* Signed values are compared with their upper bit turned over. */
static void pool_bytes(const vec_pool *p, const void *x, void *y, bool is_signed) {
  const wml_window *o = p->window;
  const uint8_t *from = x, turn = is_signed ? 0x80 : 0;
  /* A copy, since bytes may alias *p, and loops up to p->c are then not vectorised. */
  const int64_t channels = p->c;
  for (int64_t oh = 0; oh < p->oh; oh++)
    for (int64_t ow = 0; ow < p->ow; ow++) {
      uint8_t *restrict best = (uint8_t *)y + (oh * p->ow + ow) * channels;
      bool first = true;
      for (int kh = 0; kh < o->size[0]; kh++)
        for (int kw = 0; kw < o->size[1]; kw++) {
          int64_t h = oh * o->stride[0] - o->pad_before[0] + kh;
          int64_t w = ow * o->stride[1] - o->pad_before[1] + kw;
          if (h < 0 || h >= p->h || w < 0 || w >= p->w) continue;
          const uint8_t *restrict v = from + (h * p->w + w) * channels;
          if (first)
            for (int64_t c = 0; c < channels; c++) best[c] = v[c] ^ turn;
          else
            for (int64_t c = 0; c < channels; c++) {
              uint8_t t = v[c] ^ turn;
              best[c] = t > best[c] ? t : best[c];
            }
          first = false;
        }
      for (int64_t c = 0; turn && c < channels; c++) best[c] ^= turn;
    }
}

/* Adding and taking away 1.5 * 2^23 rounds to a whole number. */
static void quantize(const float *restrict x, void *restrict y, int64_t n, float inverse,
                     bool is_signed) {
  const float low = is_signed ? -128.0f : 0.0f, high = is_signed ? 127.0f : 255.0f;
  const float whole = 12582912.0f;
  uint8_t *restrict to = y;
  for (int64_t i = 0; i < n; i++) {
    float v = x[i] * inverse;
    v = v > low ? v : v == v ? low : 0.0f;
    v = v < high ? v : high;
    float rounded = v + whole;
    int32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    to[i] = (uint8_t)bits; /* the lowest bits of the sum are the number's own */
  }
}

/* Gradient of one window: element k of the window gets g where the index says k. */
WML_FN void pool_bwd_window(const vec_pool *p, int64_t oh, int64_t ow, const float *restrict g,
                            const uint8_t *restrict index, void *restrict dx, bool overlap,
                            const bool narrow) {
  const wml_window *o = p->window;
  for (int kh = 0; kh < o->size[0]; kh++)
    for (int kw = 0; kw < o->size[1]; kw++) {
      int64_t h = oh * o->stride[0] - o->pad_before[0] + kh;
      int64_t w = ow * o->stride[1] - o->pad_before[1] + kw;
      if (h < 0 || h >= p->h || w < 0 || w >= p->w) continue;
      int64_t at = (h * p->w + w) * p->c;
      uint8_t k = (uint8_t)(kh * o->size[1] + kw);
      if (overlap && !narrow)
        for (int64_t c = 0; c < p->c; c++) ((float *)dx)[at + c] += keep_if(index[c] == k, g[c]);
      else
        for (int64_t c = 0; c < p->c; c++) set(dx, at + c, keep_if(index[c] == k, g[c]), narrow);
    }
}

WML_FN void pool_bwd_of(const vec_pool *p, const void *dy, const uint8_t *index, const void *y,
                        void *dx, const bool narrow) {
  const wml_window *o = p->window;
  bool overlap = vec_pool_overlaps(o);
  bool covers = !overlap && o->stride[0] == o->size[0] && o->stride[1] == o->size[1] &&
                p->oh * o->size[0] >= p->h && p->ow * o->size[1] >= p->w;
  if (!covers) memset(dx, 0, (size_t)(p->h * p->w * p->c) * (narrow ? 2 : 4));
  float own[VEC_POOL_CHANNELS];
  for (int64_t i = 0; i < p->oh * p->ow; i++) {
    const float *g = own;
    if (narrow || y) {
      for (int64_t c = 0, at = i * p->c; c < p->c; c++)
        own[c] = !y || get(y, at + c, narrow) > 0.0f ? get(dy, at + c, narrow) : 0.0f;
    } else
      g = (const float *)dy + i * p->c;
    pool_bwd_window(p, i / p->ow, i % p->ow, g, index + i * p->c, dx, overlap, narrow);
  }
}

static void pool_bwd(const vec_pool *p, const void *dy, const uint8_t *index, const void *y,
                     void *dx) {
  BY_TYPE(p->narrow, pool_bwd, p, dy, index, y, dx);
}

/* ---- weights of a convolution behind relu and 2x2 pooling ---- */

WML_FN lanes_i widen_lanes(const uint8_t *p) {
  int32_t wide[WIDTH];
  lanes_i v;
  for (int i = 0; i < WIDTH; i++) wide[i] = p[i];
  memcpy(&v, wide, sizeof v);
  return v;
}

WML_FN lanes_f select_lanes(lanes_i mask, lanes_f v) {
  return (lanes_f)(mask & (lanes_i)v);
}

/* X(i) for the sums of a kernel row; those from n on are never used. Variables, not an array: they
 * must lie in registers. */
#define ROW_SUMS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)

/* As vec_pooled_takes() says. */
#define ROW_LENGTHS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(12) X(15)

/* Row kh of the kernel (n values) for WIDTH filters from f0 on, over one row of windows. */
WML_FN void pooled_row(const vec_pooled *p, const int n, int64_t ph, int64_t kh, int64_t f0,
                       const float *x, const void *dy, const uint8_t *index, const void *y,
                       float *sum, const bool narrow) {
  float *own = sum + kh * n * p->f + f0, *bias = sum + p->kh * n * p->f + f0;
  const float *x0 = x + (2 * ph + kh) * p->w * p->c, *x2 = x0 + p->w * p->c;
#define LOAD(i) lanes_f s##i = n > i ? load_lanes(own + i * p->f) : (lanes_f){0};
  ROW_SUMS(LOAD)
#undef LOAD
  lanes_f b = load_lanes(bias);
  for (int64_t pw = 0; pw < p->pw; pw++, x0 += 2 * p->c, x2 += 2 * p->c) {
    int64_t at = (ph * p->pw + pw) * p->f + f0;
    const float *x1 = x0 + p->c, *x3 = x2 + p->c;
    lanes_f g = load_values(dy, at, narrow);
    lanes_i place = widen_lanes(index + at);
    if (y) g = select_lanes(load_values(y, at, narrow) > 0.0f, g);
    lanes_f g0 = select_lanes(place == 0, g), g1 = select_lanes(place == 1, g),
            g2 = select_lanes(place == 2, g), g3 = select_lanes(place == 3, g);
    b += g;
#define ADD(i)                                                                                     \
  if (n > i) {                                                                                     \
    s##i += g0 * x0[i];                                                                            \
    s##i += g1 * x1[i];                                                                            \
    s##i += g2 * x2[i];                                                                            \
    s##i += g3 * x3[i];                                                                            \
  }
    ROW_SUMS(ADD)
#undef ADD
  }
#define STORE(i)                                                                                   \
  if (n > i) store_lanes(own + i * p->f, s##i);
  ROW_SUMS(STORE)
#undef STORE
  if (kh == 0) store_lanes(bias, b);
}

/* The same for one filter. */
WML_FN void pooled_filter(const vec_pooled *p, int64_t f, const float *x, const void *dy,
                          const uint8_t *index, const void *y, float *sum, const bool narrow) {
  int64_t n = p->kw * p->c;
  for (int64_t i = 0; i < p->ph * p->pw; i++) {
    int64_t at = i * p->f + f, h = 2 * (i / p->pw) + index[at] / 2,
            w = 2 * (i % p->pw) + index[at] % 2;
    float g = y && !(get(y, at, narrow) > 0.0f) ? 0.0f : get(dy, at, narrow);
    sum[p->kh * n * p->f + f] += g;
    for (int64_t k = 0; k < p->kh * n; k++)
      sum[k * p->f + f] += g * x[((h + k / n) * p->w + w) * p->c + k % n];
  }
}

/* A row of windows stays in the first-level cache for all rows of the kernel and all filters. */
WML_FN void pooled_weights_of(const vec_pooled *p, const float *x, const void *dy,
                              const uint8_t *index, const void *y, float *sum, const bool narrow) {
  int64_t whole = p->f / WIDTH * WIDTH;
  for (int64_t ph = 0; ph < p->ph; ph++)
    for (int64_t f0 = 0; f0 < whole; f0 += WIDTH)
      for (int64_t kh = 0; kh < p->kh; kh++) switch (p->kw * p->c) {
#define CASE(n)                                                                                    \
  case n: pooled_row(p, n, ph, kh, f0, x, dy, index, y, sum, narrow); break;
          ROW_LENGTHS(CASE)
#undef CASE
        default: break; /* vec_pooled_takes() has said so */
        }
  for (int64_t f = whole; f < p->f; f++) pooled_filter(p, f, x, dy, index, y, sum, narrow);
}

static void pooled_weights(const vec_pooled *p, const float *x, const void *dy,
                           const uint8_t *index, const void *y, float *sum) {
  BY_TYPE(p->narrow, pooled_weights, p, x, dy, index, y, sum);
}

/* Vectors of filters that are summed at a time: with those of four pixels they fill the registers,
 * of which AVX-512 and NEON have 32. */
#if defined(__AVX512F__) || defined(__aarch64__)
enum { FORWARD_VECTORS = 4 };
#else
enum { FORWARD_VECTORS = 2 };
#endif

/* One window of `n` times WIDTH filters from f0 on; x: its upper left corner. */
WML_FN void forward_window(const vec_pooled *p, const int n, int64_t f0, const float *x,
                           const float *kernel, const float *bias, bool relu, float *y,
                           uint8_t *index) {
  lanes_f s[4][FORWARD_VECTORS];
  for (int v = 0; v < n; v++) {
    lanes_f b = bias ? load_lanes(bias + f0 + v * WIDTH) : (lanes_f){0};
    for (int q = 0; q < 4; q++) s[q][v] = b;
  }
  int64_t row = p->w * p->c, length = p->kw * p->c;
  const float *w = kernel + f0;
  for (int64_t h = 0; h < p->kh; h++) {
    const float *at = x + h * row;
    for (int64_t i = 0; i < length; i++, w += p->f)
      for (int v = 0; v < n; v++) {
        lanes_f k = load_lanes(w + v * WIDTH);
        s[0][v] += k * at[i];
        s[1][v] += k * at[i + p->c];
        s[2][v] += k * at[i + row];
        s[3][v] += k * at[i + row + p->c];
      }
  }
  for (int v = 0; v < n; v++) {
    lanes_f best = s[0][v];
    lanes_i place = {0};
    for (int q = 1; q < 4; q++) {
      lanes_i wins = (s[q][v] > best) | (s[q][v] != s[q][v]);
      best = either_lanes(wins, s[q][v], best);
      place = (wins & q) | (~wins & place);
    }
    if (relu) best = either_lanes(best <= 0.0f, (lanes_f){0}, best);
    store_lanes(y + f0 + v * WIDTH, best);
    for (int j = 0; index && j < WIDTH; j++) index[f0 + v * WIDTH + j] = (uint8_t)place[j];
  }
}

static void pooled_forward(const vec_pooled *p, const float *x, const float *kernel,
                           const float *bias, bool relu, float *y, uint8_t *index) {
  for (int64_t h = 0; h < p->ph; h++)
    for (int64_t f0 = 0, n; f0 < p->f; f0 += n * WIDTH) {
      n = (p->f - f0) / WIDTH >= FORWARD_VECTORS ? FORWARD_VECTORS : 1;
      for (int64_t w = 0; w < p->pw; w++) {
        const float *corner = x + (2 * h * p->w + 2 * w) * p->c;
        int64_t at = (h * p->pw + w) * p->f;
        if (n == 1)
          forward_window(p, 1, f0, corner, kernel, bias, relu, y + at, index ? index + at : NULL);
        else
          forward_window(p, FORWARD_VECTORS, f0, corner, kernel, bias, relu, y + at,
                         index ? index + at : NULL);
      }
    }
}

/* ---- dense: rows and blocks of outputs stay in registers while the inputs pass by. Each sum goes
 * over the inputs in their order, whatever the block it is in. ---- */

/* `rows` rows of n * WIDTH outputs from o on. */
WML_FN void dense_block(const int rows, const int n, const float *restrict x,
                        const float *restrict kernel, const float *restrict bias, float *restrict y,
                        int64_t in, int64_t out, int64_t o) {
  lanes_f sum[4][FORWARD_VECTORS];
  for (int v = 0; v < n; v++) {
    lanes_f b = bias ? load_lanes(bias + o + v * WIDTH) : (lanes_f){0};
    for (int r = 0; r < rows; r++) sum[r][v] = b;
  }
  const float *k = kernel + o;
  for (int64_t i = 0; i < in; i++, k += out)
    for (int v = 0; v < n; v++) {
      lanes_f w = load_lanes(k + v * WIDTH);
      for (int r = 0; r < rows; r++) sum[r][v] += w * x[r * in + i];
    }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < n; v++) store_lanes(y + r * out + o + v * WIDTH, sum[r][v]);
}

enum { DENSE_NARROW_ROWS = 16 }; /* of layers with fewer outputs than a vector has */

/* The outputs behind the last whole vector, one at a time. */
WML_FN void dense_rest(const int rows, const float *restrict x, const float *restrict kernel,
                       const float *restrict bias, float *restrict y, int64_t in, int64_t out,
                       int64_t first) {
  for (int64_t o = first; o < out; o++) {
    float sum[DENSE_NARROW_ROWS];
    for (int r = 0; r < rows; r++) sum[r] = bias ? bias[o] : 0.0f;
    for (int64_t i = 0; i < in; i++)
      for (int r = 0; r < rows; r++) sum[r] += x[r * in + i] * kernel[i * out + o];
    for (int r = 0; r < rows; r++) y[r * out + o] = sum[r];
  }
}

WML_FN void dense_rows(const int rows, const float *x, const float *kernel, const float *bias,
                       float *y, int64_t in, int64_t out) {
  int64_t o = 0;
  for (; o + FORWARD_VECTORS * WIDTH <= out; o += FORWARD_VECTORS * WIDTH)
    dense_block(rows, FORWARD_VECTORS, x, kernel, bias, y, in, out, o);
  for (; o + WIDTH <= out; o += WIDTH) dense_block(rows, 1, x, kernel, bias, y, in, out, o);
  dense_rest(rows, x, kernel, bias, y, in, out, o);
}

static void dense(const float *x, const float *kernel, const float *bias, float *y, int64_t rows,
                  int64_t in, int64_t out) {
  int64_t r = 0;
  for (; out < WIDTH && r + DENSE_NARROW_ROWS <= rows; r += DENSE_NARROW_ROWS)
    dense_rest(DENSE_NARROW_ROWS, x + r * in, kernel, bias, y + r * out, in, out, 0);
  for (; r + 4 <= rows; r += 4) dense_rows(4, x + r * in, kernel, bias, y + r * out, in, out);
  for (; r < rows; r++) dense_rows(1, x + r * in, kernel, bias, y + r * out, in, out);
}

enum { NORM_BLOCK = 32, NORM_TILE = 64 };

/* Rows by tiles, so that a tile is read from memory once for all blocks of channels. Sums of a tile
 * are floats, added up in double. */
WML_FN void norm_sums_of(const vec_norm *n, const void *x, const float *mean, double *sum,
                         int64_t rows, const bool narrow) {
  for (int64_t r0 = 0; r0 < rows; r0 += NORM_TILE) {
    int64_t end = r0 + NORM_TILE < rows ? r0 + NORM_TILE : rows;
    for (int64_t c0 = 0; c0 < n->c; c0 += NORM_BLOCK) {
      int k = n->c - c0 < NORM_BLOCK ? (int)(n->c - c0) : NORM_BLOCK;
      float s[NORM_BLOCK] = {0}, m[NORM_BLOCK] = {0};
      for (int j = 0; mean && j < k; j++) m[j] = mean[c0 + j];
      for (int64_t r = r0, at = r0 * n->c + c0; r < end; r++, at += n->c) {
        if (mean)
          for (int j = 0; j < k; j++) {
            float d = get(x, at + j, narrow) - m[j];
            s[j] += d * d;
          }
        else
          for (int j = 0; j < k; j++) s[j] += get(x, at + j, narrow);
      }
      for (int j = 0; j < k; j++) sum[c0 + j] += (double)s[j];
    }
  }
}

static void norm_sums(const vec_norm *n, const void *x, const float *mean, double *sum,
                      int64_t rows) {
  BY_TYPE(n->narrow, norm_sums, n, x, mean, sum, rows);
}

static float norm_inverse(const vec_norm *n, int64_t c) {
  return 1.0f / sqrtf(n->var[c] + n->epsilon);
}

WML_FN void norm_of(const vec_norm *n, const void *x, void *y, int64_t rows, const bool narrow) {
  for (int64_t r0 = 0; r0 < rows; r0 += NORM_TILE) {
    int64_t end = r0 + NORM_TILE < rows ? r0 + NORM_TILE : rows;
    for (int64_t c0 = 0; c0 < n->c; c0 += NORM_BLOCK) {
      int m = n->c - c0 < NORM_BLOCK ? (int)(n->c - c0) : NORM_BLOCK;
      float a[NORM_BLOCK], mean[NORM_BLOCK], b[NORM_BLOCK];
      for (int j = 0; j < m; j++) {
        a[j] = norm_inverse(n, c0 + j) * (n->gamma ? n->gamma[c0 + j] : 1.0f);
        mean[j] = n->mean[c0 + j];
        b[j] = n->beta ? n->beta[c0 + j] : 0.0f;
      }
      for (int64_t r = r0, at = r0 * n->c + c0; r < end; r++, at += n->c)
        for (int j = 0; j < m; j++)
          set(y, at + j, (get(x, at + j, narrow) - mean[j]) * a[j] + b[j], narrow);
    }
  }
}

static void norm(const vec_norm *n, const void *x, void *y, int64_t rows) {
  BY_TYPE(n->narrow, norm, n, x, y, rows);
}

WML_FN void norm_bwd_sums_of(const vec_norm *n, const void *dy, const void *x, double *sum,
                             int64_t rows, const bool narrow) {
  for (int64_t r0 = 0; r0 < rows; r0 += NORM_TILE) {
    int64_t end = r0 + NORM_TILE < rows ? r0 + NORM_TILE : rows;
    for (int64_t c0 = 0; c0 < n->c; c0 += NORM_BLOCK) {
      int m = n->c - c0 < NORM_BLOCK ? (int)(n->c - c0) : NORM_BLOCK;
      float inverse[NORM_BLOCK], mean[NORM_BLOCK], s[NORM_BLOCK] = {0}, t[NORM_BLOCK] = {0};
      for (int j = 0; j < m; j++) inverse[j] = norm_inverse(n, c0 + j), mean[j] = n->mean[c0 + j];
      for (int64_t r = r0, at = r0 * n->c + c0; r < end; r++, at += n->c)
        for (int j = 0; j < m; j++) {
          float g = get(dy, at + j, narrow);
          s[j] += g;
          t[j] += g * ((get(x, at + j, narrow) - mean[j]) * inverse[j]);
        }
      for (int j = 0; j < m; j++) {
        sum[c0 + j] += (double)s[j];
        sum[n->c + c0 + j] += (double)t[j];
      }
    }
  }
}

static void norm_bwd_sums(const vec_norm *n, const void *dy, const void *x, double *sum,
                          int64_t rows) {
  BY_TYPE(n->narrow, norm_bwd_sums, n, dy, x, sum, rows);
}

WML_FN void norm_bwd_of(const vec_norm *n, const void *dy, const void *x, const float *sum,
                        void *dx, int64_t rows, const bool narrow) {
  for (int64_t r0 = 0; r0 < rows; r0 += NORM_TILE) {
    int64_t end = r0 + NORM_TILE < rows ? r0 + NORM_TILE : rows;
    for (int64_t c0 = 0; c0 < n->c; c0 += NORM_BLOCK) {
      int m = n->c - c0 < NORM_BLOCK ? (int)(n->c - c0) : NORM_BLOCK;
      float inverse[NORM_BLOCK], mean[NORM_BLOCK], gain[NORM_BLOCK], s[NORM_BLOCK], t[NORM_BLOCK];
      for (int j = 0; j < m; j++) {
        inverse[j] = norm_inverse(n, c0 + j);
        mean[j] = n->mean[c0 + j];
        gain[j] = inverse[j] * (n->gamma ? n->gamma[c0 + j] : 1.0f);
        s[j] = sum[c0 + j];
        t[j] = sum[n->c + c0 + j];
      }
      for (int64_t r = r0, at = r0 * n->c + c0; r < end; r++, at += n->c)
        for (int j = 0; j < m; j++) {
          float xhat = (get(x, at + j, narrow) - mean[j]) * inverse[j];
          set(dx, at + j, gain[j] * (get(dy, at + j, narrow) - s[j] - xhat * t[j]), narrow);
        }
    }
  }
}

static void norm_bwd(const vec_norm *n, const void *dy, const void *x, const float *sum, void *dx,
                     int64_t rows) {
  BY_TYPE(n->narrow, norm_bwd, n, dy, x, sum, dx, rows);
}

enum { DROPOUT_GROUP = 16 };

/* Sixteen generators at a time, as arrays: the rounds of wml_philox_at() for many counters. On an
 * AMD EPYC, KEEP_LOOP makes it 74 instead of 166 ns with AVX2, and 150 instead of 212 ns with the
 * baseline. */
static void dropout_group(uint64_t seed, uint32_t lane, uint32_t stream, uint64_t first,
                          uint32_t word[4][DROPOUT_GROUP]) {
  for (int j = 0; j < DROPOUT_GROUP; j++) {
    uint64_t index = first + (uint64_t)j;
    word[0][j] = (uint32_t)index;
    word[1][j] = (uint32_t)(index >> 32);
    word[2][j] = stream;
    word[3][j] = lane;
  }
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    KEEP_LOOP for (int j = 0; j < DROPOUT_GROUP; j++) {
      uint64_t p0 = (uint64_t)0xD2511F53u * word[0][j], p1 = (uint64_t)0xCD9E8D57u * word[2][j];
      uint32_t c1 = word[1][j], c3 = word[3][j];
      word[0][j] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
      word[1][j] = (uint32_t)p1;
      word[2][j] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
      word[3][j] = (uint32_t)p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

WML_FN void dropout_of(uint64_t seed, int64_t step, uint32_t stream, float rate, uint64_t first,
                       const void *x, void *y, int64_t n, const bool narrow) {
  enum { BLOCK = 4 * DROPOUT_GROUP };
  float scale = wml_dropout_scale(rate);
  uint32_t lane = wml_random_lane(WML_RANDOM_DROPOUT, stream);
  int64_t i = 0;
  for (; i + BLOCK <= n; i += BLOCK) {
    uint32_t word[4][DROPOUT_GROUP];
    dropout_group(seed, lane, (uint32_t)step, first + (uint64_t)i / 4, word);
    IN_PLACE for (int j = 0; j < DROPOUT_GROUP; j++) IN_PLACE for (int k = 0; k < 4; k++) {
      float value = get(x, i + 4 * j + k, narrow) * scale;
      set(y, i + 4 * j + k, wml_uniform(word[k][j]) >= rate ? value : 0.0f, narrow);
    }
  }
  float rest[BLOCK];
  for (int64_t j = i; j < n; j++) rest[j - i] = get(x, j, narrow);
  wml_dropout_apply(seed, step, stream, rate, first + (uint64_t)i / 4, rest, rest, n - i);
  for (int64_t j = i; j < n; j++) set(y, j, rest[j - i], narrow);
}

static void dropout(uint64_t seed, int64_t step, uint32_t stream, float rate, uint64_t first,
                    const void *x, void *y, int64_t n, bool narrow) {
  BY_TYPE(narrow, dropout, seed, step, stream, rate, first, x, y, n);
}

/* x * 0 is NaN exactly where x is not finite. */
static double squares(const float *g, int64_t n, bool *finite) {
  enum { LANES = 32 };
  float zero[LANES] = {0}, sum[LANES] = {0};
  double total = 0.0;
  int64_t i = 0;
  for (int64_t block = 0; i + LANES <= n; i += LANES, block++) {
    for (int j = 0; j < LANES; j++) {
      zero[j] += g[i + j] * 0.0f;
      sum[j] += g[i + j] * g[i + j];
    }
    if (block % 64 == 63)
      for (int j = 0; j < LANES; j++) total += (double)sum[j], sum[j] = 0.0f;
  }
  float check = 0.0f;
  for (int j = 0; j < LANES; j++) total += (double)sum[j], check += zero[j];
  for (; i < n; i++) total += (double)g[i] * (double)g[i], check += g[i] * 0.0f;
  if (check != 0.0f) *finite = false;
  return total;
}

static inline __attribute__((always_inline)) void
update_loop(const wml_optimizer *o, const vec_update *u, int64_t begin, int64_t end) {
  float *restrict w = u->w, *restrict s0 = u->s0, *restrict s1 = u->s1, *restrict s2 = u->s2;
  const float *restrict g = u->g;
  const wml_optimizer_step step = *u->step;
  const float factor = u->factor, limit = o->clipvalue > 0.0f ? o->clipvalue : INFINITY;
  for (int64_t i = begin; i < end; i++) {
    float v = g[i] * factor;
    v = v < -limit ? -limit : (v > limit ? limit : v);
    w[i] = wml_optimizer_element(o, &step, w[i], v, &s0[i], &s1[i], &s2[i]);
  }
}

#define UPDATE_CASE(symbol, name, slots, about)                                                    \
  case WML_##symbol:                                                                               \
    o.kind = WML_##symbol;                                                                         \
    update_loop(&o, u, begin, end);                                                                \
    return;

static void update(const vec_update *u, int64_t begin, int64_t end) {
  wml_optimizer o = *u->optimizer;
  bool plain_adam = o.kind == WML_ADAM && !o.amsgrad && o.weight_decay == 0.0f;
  if (plain_adam) { /* all options constant, for the common case */
    o.kind = WML_ADAM;
    o.amsgrad = false;
    o.weight_decay = 0.0f;
    update_loop(&o, u, begin, end);
    return;
  }
  switch (o.kind) {
    WML_OPTIMIZERS(UPDATE_CASE)
  default: return;
  }
}

static void lamb(const vec_update *u, int64_t begin, int64_t end) {
  const wml_optimizer o = *u->optimizer;
  const wml_optimizer_step step = *u->step;
  const float limit = o.clipvalue > 0.0f ? o.clipvalue : INFINITY;
  float *restrict w = u->w, *restrict g = u->g, *restrict s0 = u->s0, *restrict s1 = u->s1;
  for (int64_t i = begin; i < end; i++) {
    float v = g[i] * u->factor;
    v = v < -limit ? -limit : (v > limit ? limit : v);
    w[i] *= step.decay;
    g[i] = wml_optimizer_lamb(&o, &step, v, &s0[i], &s1[i]);
  }
}

static void pair_rows(const float *x, uint16_t *y, int64_t n, int64_t width) {
  for (int64_t r = 0; r < n; r += 2 * width) IN_PLACE for (int64_t i = 0; i < width; i++) {
      y[r + 2 * i] = wml_bf16_from_float(x[r + i]);
      y[r + 2 * i + 1] = wml_bf16_from_float(x[r + width + i]);
    }
}

enum { PARTS_BLOCK = 64 };

static void add_parts(const float *parts, int64_t n_parts, int64_t apart, float *sum, int64_t n) {
  int64_t i = 0;
  for (; i + PARTS_BLOCK <= n; i += PARTS_BLOCK) {
    float s[PARTS_BLOCK];
    memcpy(s, parts + i, sizeof s);
    for (int64_t p = 1; p < n_parts; p++)
      for (int j = 0; j < PARTS_BLOCK; j++) s[j] += parts[p * apart + i + j];
    memcpy(sum + i, s, sizeof s);
  }
  for (; i < n; i++) {
    float s = parts[i];
    for (int64_t p = 1; p < n_parts; p++) s += parts[p * apart + i];
    sum[i] = s;
  }
}

static void average(const wml_optimizer_step *step, const float *w, float *mean, int64_t n) {
  for (int64_t i = 0; i < n; i++) mean[i] = wml_optimizer_average(step, mean[i], w[i]);
}

extern const vec_depthwise_table VEC_PART(depthwise);
extern const vec_spatial_table VEC_PART(spatial);
extern const vec_norm_table VEC_PART(norms);
extern const vec_elements_table VEC_PART(elements);

const vec_table VEC_TABLE = {
    .name = VEC_STRING(VEC_TABLE),
    .from_u8 = from_u8,
    .widen = widen,
    .narrow = narrow,
    .warp = warp,
    .activation = activation,
    .activation_bwd = activation_bwd,
    .dense = dense,
    .pool = pool,
    .pool_bytes = pool_bytes,
    .quantize = quantize,
    .pool_bwd = pool_bwd,
    .pooled_forward = pooled_forward,
    .pooled_weights = pooled_weights,
    .norm_sums = norm_sums,
    .norm = norm,
    .norm_bwd_sums = norm_bwd_sums,
    .norm_bwd = norm_bwd,
    .dropout = dropout,
    .squares = squares,
    .update = update,
    .lamb = lamb,
    .pair_rows = pair_rows,
    .add_parts = add_parts,
    .average = average,
    .depthwise = &VEC_PART(depthwise),
    .spatial = &VEC_PART(spatial),
    .norms = &VEC_PART(norms),
    .elements = &VEC_PART(elements),
};
