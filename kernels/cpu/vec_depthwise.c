/* Depthwise convolutions, vectorised over channels. A block of neighbouring results stays in
 * registers while the operand's values pass by, each of which is read once for all results that
 * want it. Where a window reaches over the edge of the picture it reads zeros. Channels behind the
 * last whole vector are computed in a vector that overlaps the one before. Each sum goes over the
 * window in its order, whatever the block it is in. */
#include "lanes.h"

/* BLOCK: results that are computed together (common widths are multiples of 7), SMALL_BLOCK: where
 * they leave fewer; CHUNK: channels for which all rows are read before the
 * next: their part of the kernel stays in the first-level cache. SEGMENT: results of a row that one
 * vector of the kernel's gradient passes over before it is written back. */
enum { BLOCK = 7, SMALL_BLOCK = 4, CHUNK = 256, SEGMENT = 28, MOST_PLACES = 1024 };

static const float zeros[WIDTH + CHUNK];

/* What one result, or each of a run of results, reads along one axis: elements first + k * step of
 * the operand with elements kernel + k * kernel_step of the kernel, for k < n. */
typedef struct taps {
  int64_t first, step, n, kernel, kernel_step;
} taps;

static taps forward_taps(const vec_depthwise *d, int axis, int64_t at) {
  return (taps){at * d->stride[axis] - d->pad[axis], d->dilation[axis], axis ? d->kw : d->kh, 0, 1};
}

/* dx[i] is the sum over all k with o * stride - pad + k * dilation = i of dy[o] * kernel[k]: one of
 * `stride` kernel elements, from the last on, so that dy is read in its order. */
static taps backward_taps(const vec_depthwise *d, int axis, int64_t at) {
  int64_t size = axis ? d->kw : d->kh, stride = d->stride[axis], place = at + d->pad[axis];
  int64_t least = place % stride, n = size > least ? (size - least + stride - 1) / stride : 0;
  return (taps){(place - least) / stride - (n - 1) * d->dilation[axis], d->dilation[axis], n,
                least + (n - 1) * stride, -stride};
}

/* Leaves out the rows that do not exist. */
static taps within(taps t, int64_t size) {
  while (t.n > 0 && t.first < 0) t.first += t.step, t.kernel += t.kernel_step, t.n--;
  while (t.n > 0 && t.first + (t.n - 1) * t.step >= size) t.n--;
  return t;
}

/* A run of results in one row, `out_step` values apart, for channels [0, c) from a chunk's first
 * on. Result i reads columns i * advance + columns.first + .... */
typedef struct run {
  taps rows, columns;
  int64_t advance, count;
  const uint8_t *x; /* the operand's chunk */
  int64_t w, pixel; /* columns of the operand; bytes from one to the next */
  const float *kernel, *bias;
  int64_t kernel_row, kernel_column; /* floats from one tap to the next */
  uint8_t *y;
  int64_t out_step; /* bytes */
  int64_t c;
  bool narrow;
} run;

/* The chunk's vector for channels from c on: the last ends with the chunk, and may begin in the one
 * before. */
static inline int64_t vector_at(int64_t c, int64_t channels) {
  return c + WIDTH <= channels ? c : channels - WIDTH;
}

/* Where a block reads: `width` pixels of each row. Inside of the picture they lie side by side from
 * `corner` on; else `at` has each one's place. */
typedef struct places {
  const uint8_t *at[MOST_PLACES];
  int64_t width;
  bool inside;
  const uint8_t *corner;
  int64_t row, pixel; /* bytes from one to the next */
} places;

/* Pixels for columns from `first` on, `step` apart. */
static void find(const run *r, int64_t first, int64_t step, int64_t width, places *p) {
  p->width = width;
  p->inside = step == 1 && first >= 0 && first + width <= r->w;
  p->corner = r->x + (r->rows.first * r->w + first) * r->pixel;
  p->row = r->rows.step * r->w * r->pixel;
  p->pixel = step * r->pixel;
}

/* The same one by one. */
static void list(const run *r, int64_t first, int64_t step, places *p) {
  const uint8_t *nothing = (const uint8_t *)(zeros + WIDTH);
  int64_t begin = first < 0 ? (step - 1 - first) / step : 0,
          end = first < r->w ? (r->w - first + step - 1) / step : 0;
  if (begin > p->width) begin = p->width;
  if (end > p->width) end = p->width;
  for (int64_t h = 0; h < r->rows.n; h++) {
    const uint8_t **at = p->at + h * p->width, *row = p->corner + h * p->row;
    int64_t j = 0;
    for (; j < begin; j++) at[j] = nothing;
    for (; j < end; j++) at[j] = row + j * p->pixel;
    for (; j < p->width; j++) at[j] = nothing;
  }
}

/* The pixel that `next` is at, which goes on to the next one. */
WML_FN const uint8_t *take(const places *p, const uint8_t *const *at, const uint8_t **next,
                           const bool inside) {
  if (!inside) return *at;
  const uint8_t *pixel = *next;
  *next += p->pixel;
  return pixel;
}

/* ---- forward, and the gradient of the input ---- */

/* Vectors that a block takes at a time, and values of dy that wait for those of x: AVX-512 and NEON
 * have 32 registers. */
#if defined(__AVX512F__) || defined(__aarch64__)
enum { PAIR = 2, WEIGHTS_BLOCK = 7 };
#else
enum { PAIR = 1, WEIGHTS_BLOCK = 4 };
#endif

/* `vectors` times WIDTH channels from c on of n neighbouring results, from result i on. */
WML_FN void block_of(const run *r, const places *p, const int n, const int vectors, const int kw,
                     const int advance, int64_t i, int64_t c, const bool inside,
                     const bool narrow) {
  lanes_f sum[PAIR][BLOCK], w[PAIR][VEC_DEPTHWISE_SIZE];
#pragma GCC unroll 2
  for (int v = 0; v < vectors; v++)
#pragma GCC unroll 8
    for (int o = 0; o < n; o++)
      sum[v][o] = r->bias ? load_lanes(r->bias + c + v * WIDTH) : (lanes_f){0};
  const uint8_t *const *at = p->at;
  const float *kernel = r->kernel + c;
  const int width = (n - 1) * advance + kw;
  const uint8_t *row = p->corner;
  for (int64_t h = 0; h < r->rows.n; h++, at += p->width, row += p->row, kernel += r->kernel_row) {
    const float *tap = kernel;
    const uint8_t *next = row;
#pragma GCC unroll 16
    for (int k = 0; k < kw; k++, tap += r->kernel_column)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) w[v][k] = load_lanes(tap + v * WIDTH);
#pragma GCC unroll 32
    for (int j = 0; j < width; j++) {
      const uint8_t *pixel = take(p, at + j, &next, inside);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) {
        lanes_f x = load_values(pixel, c + v * WIDTH, narrow);
#pragma GCC unroll 8
        for (int o = 0; o < n; o++)
          if (j - o * advance >= 0 && j - o * advance < kw) sum[v][o] += w[v][j - o * advance] * x;
      }
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < vectors; v++)
#pragma GCC unroll 8
    for (int o = 0; o < n; o++)
      store_values(r->y + (i + o) * r->out_step, c + v * WIDTH, sum[v][o], narrow);
}

/* A block for all channels of the chunk. */
WML_FN void channels_of(const run *r, const places *p, const int n, const int kw, const int advance,
                        int64_t i, const bool inside, const bool narrow) {
  int64_t c = 0;
  const int vectors = n == BLOCK ? PAIR : 1;
  for (; c + vectors * WIDTH <= r->c; c += vectors * WIDTH)
    block_of(r, p, n, vectors, kw, advance, i, c, inside, narrow);
  for (; c < r->c; c += WIDTH)
    block_of(r, p, n, 1, kw, advance, i, vector_at(c, r->c), inside, narrow);
}

/* One result by any kernel. */
WML_FN void pixel_of(const run *r, const places *p, int64_t i, int64_t c, const bool narrow) {
  lanes_f sum = r->bias ? load_lanes(r->bias + c) : (lanes_f){0};
  for (int64_t h = 0; h < r->rows.n; h++)
    for (int64_t k = 0; k < r->columns.n; k++)
      sum += load_lanes(r->kernel + h * r->kernel_row + k * r->kernel_column + c) *
             load_values(p->at[h * p->width + k], c, narrow);
  store_values(r->y + i * r->out_step, c, sum, narrow);
}

/* The last block may overlap the one before. */
WML_FN void blocks_of(const run *r, const int kw, const int advance, const bool narrow) {
  places p;
  for (int64_t i = 0, rest = r->count; rest > 0;) {
    bool large = rest == BLOCK || rest >= BLOCK + SMALL_BLOCK;
    int n = large ? BLOCK : SMALL_BLOCK;
    if (n > rest) i = r->count - n;
    int64_t first = r->columns.first + i * advance;
    find(r, first, 1, (n - 1) * advance + kw, &p);
    if (!large || !p.inside) list(r, first, 1, &p);
    if (large && p.inside)
      channels_of(r, &p, BLOCK, kw, advance, i, true, narrow);
    else if (large)
      channels_of(r, &p, BLOCK, kw, advance, i, false, narrow);
    else
      channels_of(r, &p, SMALL_BLOCK, kw, advance, i, false, narrow);
    i += n;
    rest = r->count - i;
  }
}

WML_FN void pixels_of(const run *r, const bool narrow) {
  places p;
  for (int64_t i = 0; i < r->count; i++) {
    int64_t first = r->columns.first + i * r->advance;
    find(r, first, r->columns.step, r->columns.n, &p);
    list(r, first, r->columns.step, &p);
    for (int64_t c = 0; c < r->c; c += WIDTH) pixel_of(r, &p, i, vector_at(c, r->c), narrow);
  }
}

/* X(kernel width, advance) for those that have code of their own; strides of 2 leave one half of
 * the kernel or the other to each column of the input's gradient. */
#define BLOCKS(X) X(1, 1) X(2, 1) X(3, 1) X(5, 1) X(7, 1) X(3, 2) X(5, 2)

WML_FN void run_of(const run *r, const bool narrow) {
  bool own = r->columns.step == 1 && r->count >= SMALL_BLOCK;
#define CASE(kw, by)                                                                               \
  if (own && r->columns.n == kw && r->advance == by) {                                             \
    blocks_of(r, kw, by, narrow);                                                                  \
    return;                                                                                        \
  }
  BLOCKS(CASE)
#undef CASE
  pixels_of(r, narrow);
}

static void run_one(const run *r) {
  BY_TYPE(r->narrow, run, r);
}

typedef taps (*find_taps)(const vec_depthwise *d, int axis, int64_t at);

/* Every `period`-th result of a row reads the same part of the kernel. */
WML_FN void row_of(const vec_depthwise *d, find_taps taps_at, int64_t period, int64_t advance,
                   const void *x, const float *kernel, const float *bias, int64_t row, void *y) {
  const int64_t size = d->narrow ? 2 : 4, chunk = d->c < CHUNK ? d->c : CHUNK;
  run r = {.rows = within(taps_at(d, 0, row), d->h),
           .advance = advance,
           .w = d->w,
           .pixel = d->c * size,
           .out_step = period * d->c * size,
           .narrow = d->narrow};
  for (int64_t c = 0; c < d->c; c += chunk)
    for (int64_t phase = 0; phase < period && phase < d->ow; phase++) {
      r.columns = taps_at(d, 1, phase);
      r.count = (d->ow - phase + period - 1) / period;
      r.x = (const uint8_t *)x + c * size;
      r.y = (uint8_t *)y + (phase * d->c + c) * size;
      r.bias = bias ? bias + c : NULL;
      r.kernel = kernel + (r.rows.kernel * d->kw + r.columns.kernel) * d->c + c;
      r.kernel_row = r.rows.kernel_step * d->kw * d->c;
      r.kernel_column = r.columns.kernel_step * d->c;
      r.c = d->c - c < chunk ? d->c - c : chunk;
      run_one(&r);
    }
}

static void forward(const vec_depthwise *d, const void *x, const float *kernel, const float *bias,
                    int64_t row, void *y) {
  row_of(d, forward_taps, 1, d->stride[1], x, kernel, bias, row, y);
}

static void bwd_data(const vec_depthwise *d, const void *dy, const float *kernel, int64_t row,
                     void *dx) {
  row_of(d, backward_taps, d->stride[1], 1, dy, kernel, NULL, row, dx);
}

/* ---- the gradient of the kernel ---- */

/* A segment of a row of dy, for one chunk. */
typedef struct segment {
  places x;
  const uint8_t *dy;
  int64_t pixel; /* bytes from one value of dy to the next */
  int64_t count, rows;
  float *sum; /* of the first row of the kernel that is read, and the chunk */
  int64_t row,
      channel; /* floats from one row of the kernel to the next, from one tap to the next */
  int64_t c;
} segment;

/* All lanes but the first `skip`, which belong to the vector before. */
WML_FN void store_from(float *p, lanes_f v, int64_t skip) {
  if (skip == 0) {
    store_lanes(p, v);
    return;
  }
  float f[WIDTH];
  store_lanes(f, v);
  for (int64_t i = skip; i < WIDTH; i++) p[i] = f[i];
}

/* n results from i on. */
WML_FN void products_of(const segment *s, lanes_f sum[3][VEC_DEPTHWISE_SIZE], const int n,
                        const int rows, const int kw, const int advance, int64_t i, int64_t h,
                        int64_t c, const bool inside, const bool narrow) {
  lanes_f g[WEIGHTS_BLOCK];
#pragma GCC unroll 8
  for (int o = 0; o < n; o++) g[o] = load_values(s->dy + (i + o) * s->pixel, c, narrow);
#pragma GCC unroll 3
  for (int r = 0; r < rows; r++) {
    const uint8_t *const *at = s->x.at + (h + r) * s->x.width + i * advance;
    const uint8_t *next = s->x.corner + (h + r) * s->x.row + i * advance * s->x.pixel;
#pragma GCC unroll 32
    for (int j = 0; j < (n - 1) * advance + kw; j++) {
      lanes_f x = load_values(take(&s->x, at + j, &next, inside), c, narrow);
#pragma GCC unroll 8
      for (int o = 0; o < n; o++)
        if (j - o * advance >= 0 && j - o * advance < kw) sum[r][j - o * advance] += g[o] * x;
    }
  }
}

/* `rows` rows of the kernel from row h on, WIDTH channels from c on. */
WML_FN void weights_of(const segment *s, const int rows, const int kw, const int advance, int64_t h,
                       int64_t c, int64_t skip, const bool inside, const bool narrow) {
  lanes_f sum[3][VEC_DEPTHWISE_SIZE];
  float *to = s->sum + h * s->row + c;
#pragma GCC unroll 3
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
    for (int k = 0; k < kw; k++) sum[r][k] = load_lanes(to + r * s->row + k * s->channel);
  int64_t i = 0;
  for (; i + WEIGHTS_BLOCK <= s->count; i += WEIGHTS_BLOCK)
    products_of(s, sum, WEIGHTS_BLOCK, rows, kw, advance, i, h, c, inside, narrow);
  for (; i < s->count; i++) products_of(s, sum, 1, rows, kw, advance, i, h, c, inside, narrow);
#pragma GCC unroll 3
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
    for (int k = 0; k < kw; k++) store_from(to + r * s->row + k * s->channel, sum[r][k], skip);
}

WML_FN void segment_of(const segment *s, const int kw, const int advance, const bool inside,
                       const bool narrow) {
  for (int64_t v = 0; v < s->c; v += WIDTH) {
    int64_t c = vector_at(v, s->c), skip = v - c;
    if (kw == 3 && s->rows == 3) {
      weights_of(s, 3, kw, advance, 0, c, skip, inside, narrow);
      continue;
    }
    for (int64_t h = 0; h < s->rows; h++) weights_of(s, 1, kw, advance, h, c, skip, inside, narrow);
  }
}

/* Column k of any kernel: s->x has one pixel for each result. */
WML_FN void column_of(const segment *s, int64_t k, const bool narrow) {
  for (int64_t v = 0; v < s->c; v += WIDTH)
    for (int64_t h = 0; h < s->rows; h++) {
      int64_t c = vector_at(v, s->c);
      float *to = s->sum + h * s->row + k * s->channel + c;
      lanes_f sum = load_lanes(to);
      for (int64_t i = 0; i < s->count; i++)
        sum += load_values(s->dy + i * s->pixel, c, narrow) *
               load_values(s->x.at[h * s->x.width + i], c, narrow);
      store_from(to, sum, v - c);
    }
}

WML_FN void any_segment_of(const run *r, segment *s, int64_t from, const bool narrow) {
  int64_t first = r->columns.first + from * r->advance;
#define CASE(kw, by)                                                                               \
  if (r->columns.step == 1 && r->columns.n == kw && r->advance == by) {                            \
    find(r, first, 1, (s->count - 1) * by + kw, &s->x);                                            \
    if (s->x.inside) {                                                                             \
      segment_of(s, kw, by, true, narrow);                                                         \
      return;                                                                                      \
    }                                                                                              \
    list(r, first, 1, &s->x);                                                                      \
    segment_of(s, kw, by, false, narrow);                                                          \
    return;                                                                                        \
  }
  BLOCKS(CASE)
#undef CASE
  for (int64_t k = 0; k < r->columns.n; k++) {
    find(r, first + k * r->columns.step, r->advance, s->count, &s->x);
    list(r, first + k * r->columns.step, r->advance, &s->x);
    column_of(s, k, narrow);
  }
}

static void any_segment(const run *r, segment *s, int64_t first) {
  BY_TYPE(r->narrow, any_segment, r, s, first);
}

/* One row of dy, one chunk. */
static void weights_row(const vec_depthwise *d, const run *r, const uint8_t *dy, float *sum) {
  segment s = {.rows = r->rows.n,
               .sum = sum + r->rows.kernel * d->kw * d->c,
               .row = d->kw * d->c,
               .channel = d->c,
               .pixel = r->pixel,
               .c = r->c};
  for (int64_t first = 0; first < d->ow; first += SEGMENT) {
    s.count = d->ow - first < SEGMENT ? d->ow - first : SEGMENT;
    s.dy = dy + first * r->pixel;
    any_segment(r, &s, first);
  }
}

static void bwd_weights(const vec_depthwise *d, const void *x, const void *dy, int64_t row,
                        int64_t rows, float *sum) {
  const int64_t size = d->narrow ? 2 : 4, chunk = d->c < CHUNK ? d->c : CHUNK;
  run r = {.columns = forward_taps(d, 1, 0),
           .advance = d->stride[1],
           .w = d->w,
           .pixel = d->c * size,
           .narrow = d->narrow};
  for (int64_t c = 0; c < d->c; c += chunk)
    for (int64_t h = row; h < row + rows; h++) {
      r.rows = within(forward_taps(d, 0, h), d->h);
      r.x = (const uint8_t *)x + c * size;
      r.c = d->c - c < chunk ? d->c - c : chunk;
      weights_row(d, &r, (const uint8_t *)dy + (h * d->ow * d->c + c) * size, sum + c);
    }
}

/* ---- several results for each channel of the input ---- */

WML_FN void repeat_of(const void *x, void *y, int64_t n, int64_t times, const bool narrow) {
  for (int64_t i = 0; i < n; i++) {
    float v = get(x, i, narrow);
    for (int64_t j = 0; j < times; j++) set(y, i * times + j, v, narrow);
  }
}

static void repeat(const void *x, void *y, int64_t n, int64_t times, bool narrow) {
  BY_TYPE(narrow, repeat, x, y, n, times);
}

WML_FN void add_repeated_of(const void *y, void *x, int64_t n, int64_t times, const bool narrow) {
  for (int64_t i = 0; i < n; i++) {
    float sum = 0.0f;
    for (int64_t j = 0; j < times; j++) sum += get(y, i * times + j, narrow);
    set(x, i, sum, narrow);
  }
}

static void add_repeated(const void *y, void *x, int64_t n, int64_t times, bool narrow) {
  BY_TYPE(narrow, add_repeated, y, x, n, times);
}

const vec_depthwise_table VEC_PART(depthwise) = {.width = WIDTH,
                                                 .forward = forward,
                                                 .bwd_data = bwd_data,
                                                 .bwd_weights = bwd_weights,
                                                 .repeat = repeat,
                                                 .add_repeated = add_repeated};
