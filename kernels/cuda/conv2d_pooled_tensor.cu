/* The pooled first convolution on the tensor cores, from bfloat16 or TF32, sums in float32.
 *
 * Forward: rows of a product are 16 windows of the pooling at one of their four places, columns are
 * filters, what is summed over is the patch of kh kw c values. The four places come one after
 * another, so a lane has all of a window's results and keeps the best. Backward: rows are
 * filters, columns the patch and a one (whose sum is the bias's gradient), and what is summed over
 * are windows, at each place with the gradients that went there.
 *
 * Patches are taken element by element from a tile of the picture in shared memory: 16 loads for as
 * many products, which is what bounds these kernels, not the products. */
#include "conv2d_pooled.cuh"
#include "tensor.cuh"

static constexpr int WARPS = CUDA_THREADS / 32, WINDOWS = 16, TILE_BYTES = 16384;

/* One way to cut the work: rows of pooled values that a block takes at a time. */
template <typename T, int KH, int KW, int C> struct cut {
  static constexpr int K = KH * KW * C;
  /* Filters of a block: as many as registers hold, for two blocks on a multiprocessor. */
  static constexpr int FORWARD = sizeof(T) == 2 ? 64 : 32, BACKWARD = 32;
  static constexpr int TILE = TILE_BYTES / (int)sizeof(T);
  static __host__ __device__ inline int width(const pooled &p) {
    return (2 * (int)p.pw + KW - 1) * C;
  }
  /* As many rows as give each warp one piece of `step` windows and the tile has room for. */
  static __host__ __device__ inline int rows(const pooled &p, int step) {
    int pieces = ((int)p.pw + step - 1) / step, wanted = (WARPS + pieces - 1) / pieces,
        room = (TILE / width(p) - (KH - 1)) / 2;
    int rows = wanted < room ? wanted : room;
    return rows < (int)p.ph ? rows : (int)p.ph;
  }
  static __host__ __device__ inline int pieces_of_picture(const pooled &p, int step) {
    int r = rows(p, step);
    return ((int)p.ph + r - 1) / r;
  }
  /* Where value k of a patch lies behind the patch's first. */
  static __device__ inline int offset(int k, int width) {
    return k / (KW * C) * width + k % (KW * C);
  }
};

/* The input rows of pooled rows [row, row + rows) of picture n, with zeros around: a warp a row. */
template <typename T, int KH, int KW, int C>
static __device__ void load_tile(const pooled &p, int64_t n, int row, int rows, T *tile) {
  int width = cut<T, KH, KW, C>::width(p), first = 2 * row - (int)p.pad_h;
  int left = (int)p.pad_w * C, right = left + (int)p.w * C;
  for (int i = (int)threadIdx.x / 32; i < 2 * rows + KH - 1; i += WARPS) {
    int h = first + i;
    bool inside = h >= 0 && h < (int)p.h;
    const T *from = (const T *)p.x.data + (n * p.h + h) * p.w * C - left;
    for (int k = (int)threadIdx.x % 32; k < width; k += 32)
      tile[i * width + k] = inside && k >= left && k < right ? from[k] : (T)0;
  }
}

/* ---- forward ---- */

template <typename T, int KH, int KW, int C>
static __global__ void __launch_bounds__(CUDA_THREADS, 2) forward(pooled p) {
  typedef cut<T, KH, KW, C> cuts;
  typedef tensor<T> core;
  constexpr int TILES = cuts::FORWARD / 8, STEPS = (cuts::K + core::STEP - 1) / core::STEP;
  __shared__ T tile[cuts::TILE];
  const int width = cuts::width(p), rows = cuts::rows(p, WINDOWS),
            strips = ((int)p.pw + WINDOWS - 1) / WINDOWS;
  const int groups = ((int)p.f + cuts::FORWARD - 1) / cuts::FORWARD,
            pieces = cuts::pieces_of_picture(p, WINDOWS);
  const int f0 = (int)blockIdx.x % groups * cuts::FORWARD,
            row = (int)blockIdx.x / groups % pieces * rows;
  const int64_t n = blockIdx.x / groups / pieces;
  const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint32_t weight[TILES][STEPS][2];
  int at_k[STEPS][2][core::EACH];
  CUDA_FOR(s, STEPS)
    CUDA_FOR(half, 2)
      CUDA_FOR(e, core::EACH) {
        int k = s * core::STEP + tensor_at<T>(t, half) + e;
        at_k[s][half][e] = k < cuts::K ? cuts::offset(k, width) : 0;
      }
  CUDA_FOR(j, TILES)
    CUDA_FOR(s, STEPS)
      CUDA_FOR(half, 2) {
        T w[core::EACH];
        int f = f0 + j * 8 + g, k = s * core::STEP + tensor_at<T>(t, half);
        CUDA_FOR(e, core::EACH)
          w[e] = f < (int)p.f && k + e < cuts::K
                     ? ((const T *)p.kernel.data)[(int64_t)f * cuts::K + k + e]
                     : (T)0;
        weight[j][s][half] = core::pack(w);
      }
  int here = (int)p.ph - row < rows ? (int)p.ph - row : rows;
  load_tile<T, KH, KW, C>(p, n, row, here, tile);
  __syncthreads();
  for (int piece = (int)threadIdx.x / 32; piece < here * strips; piece += WARPS) {
    int r = piece / strips, at = piece % strips * WINDOWS + g;
    const T *corner[2];
    float top[TILES][4];
    uint32_t best[(TILES * 4 + 15) / 16] = {}; /* places, two bits each */
    CUDA_FOR(i, 2) {                           /* windows beyond the row look at the last one */
      int w = at + 8 * i < (int)p.pw ? at + 8 * i : (int)p.pw - 1;
      corner[i] = tile + 2 * r * width + 2 * w * C;
    }
    CUDA_FOR(place, 4) {
      int shift = place / 2 * width + place % 2 * C;
      uint32_t a[STEPS][4];
      CUDA_FOR(s, STEPS)
        CUDA_FOR(i, 4) {
          T x[core::EACH];
          int k = s * core::STEP + tensor_at<T>(t, i / 2);
          CUDA_FOR(e, core::EACH)
            x[e] = (s + 1) * core::STEP <= cuts::K || k + e < cuts::K
                       ? corner[i % 2][shift + at_k[s][i / 2][e]]
                       : (T)0;
          a[s][i] = core::pack(x);
        }
      CUDA_FOR(j, TILES) {
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (f0 + j * 8 < (int)p.f)
          CUDA_FOR(s, STEPS) tensor_add((T)0, sum, a[s], weight[j][s]);
        CUDA_FOR(i, 4) /* the first of equals; what is no number wins */
          if (place == 0 || sum[i] > top[j][i] || sum[i] != sum[i]) {
            top[j][i] = sum[i];
            uint32_t shift_of = (uint32_t)(j % 4 * 4 + i) * 2;
            best[j / 4] = (best[j / 4] & ~(3u << shift_of)) | (uint32_t)place << shift_of;
          }
      }
    }
    CUDA_FOR(j, TILES)
      CUDA_FOR(half, 2) {
        int f = f0 + j * 8 + 2 * t, w = at + 8 * half;
        int64_t out = ((n * p.ph + row + r) * p.pw + w) * p.f + f;
        uint32_t winners = best[j / 4] >> (j % 4 * 4 + 2 * half) * 2;
        float y[2];
        if (w >= (int)p.pw || f >= (int)p.f) continue;
        CUDA_FOR(k, 2) {
          y[k] = top[j][2 * half + k] + (p.bias && f + k < (int)p.f ? p.bias[f + k] : 0.0f);
          if (!(y[k] > 0.0f) && y[k] == y[k]) y[k] = 0.0f;
        }
        if (p.f % 2 == 0) {
          view_set2(p.y, out, y[0], y[1]);
          if (p.index)
            *(uint16_t *)(p.index + out) = (uint16_t)((winners & 3u) | (winners >> 2 & 3u) << 8);
          continue;
        }
        for (int k = 0; k < 2 && f + k < (int)p.f; k++) {
          view_set(p.y, out + k, y[k]);
          if (p.index) p.index[out + k] = (uint8_t)(winners >> 2 * k & 3u);
        }
      }
  }
}

/* ---- backward ---- */

template <typename T, int KH, int KW, int C>
static __global__ void __launch_bounds__(CUDA_THREADS, 2) backward(pooled p, int64_t blocks) {
  typedef cut<T, KH, KW, C> cuts;
  typedef tensor<T> core;
  constexpr int BANDS = cuts::BACKWARD / 16;   /* 16 rows of the result */
  constexpr int TILES = (cuts::K + 1 + 7) / 8; /* 8 columns */
  constexpr int OF_BAND = TILES * 4 * 32;      /* floats that a warp has of a band */
  constexpr int SHARED = WARPS * OF_BAND > TILE_BYTES / 4 ? WARPS * OF_BAND : TILE_BYTES / 4;
  __shared__ float shared[SHARED];
  T *tile = (T *)shared;
  const int width = cuts::width(p), rows = cuts::rows(p, core::STEP),
            strips = ((int)p.pw + core::STEP - 1) / core::STEP,
            pieces = cuts::pieces_of_picture(p, core::STEP);
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int f0 = (int)(blockIdx.x / blocks) * cuts::BACKWARD;
  const int64_t block = blockIdx.x % blocks;
  float sum[BANDS][TILES][4];
  int at_k[TILES];
  CUDA_FOR(j, TILES) {
    int k = j * 8 + g;
    at_k[j] = k < cuts::K ? cuts::offset(k, width) : 0;
    CUDA_FOR(b, BANDS)
      CUDA_FOR(i, 4) sum[b][j][i] = 0.0f;
  }
  for (int64_t item = block; item < p.n * pieces; item += blocks) {
    int64_t n = item / pieces;
    int row = (int)(item % pieces) * rows, here = (int)p.ph - row < rows ? (int)p.ph - row : rows;
    __syncthreads();
    load_tile<T, KH, KW, C>(p, n, row, here, tile);
    __syncthreads();
    for (int piece = warp; piece < here * strips; piece += WARPS) {
      int r = piece / strips, first = piece % strips * core::STEP;
      int64_t line = (n * p.ph + row + r) * p.pw;
      uint32_t gradient[BANDS][4], places[BANDS][4]; /* what goes where */
      CUDA_FOR(b, BANDS)
        CUDA_FOR(i, 4) {
          int f = f0 + b * 16 + g + 8 * (i % 2);
          T d[core::EACH];
          places[b][i] = 0;
          CUDA_FOR(e, core::EACH) {
            int w = first + tensor_at<T>(t, i / 2) + e;
            int64_t out = (line + w) * p.f + f;
            bool there = f < (int)p.f && w < (int)p.pw && view_get(p.values, out) > 0.0f;
            d[e] = there ? ((const T *)p.y.data)[out] : (T)0;
            if (there) places[b][i] |= (uint32_t)p.index[out] << 16 * e;
          }
          gradient[b][i] = core::pack(d);
        }
      CUDA_FOR(place, 4) {
        uint32_t patch[TILES][2]; /* of STEP windows */
        CUDA_FOR(j, TILES)
          CUDA_FOR(half, 2) {
            T x[core::EACH];
            CUDA_FOR(e, core::EACH) {
              int w = first + tensor_at<T>(t, half) + e;
              if (w >= (int)p.pw) w = (int)p.pw - 1; /* its gradient is zero */
              x[e] = tile[(2 * r + place / 2) * width + (2 * w + place % 2) * C + at_k[j]];
              if (j * 8 + 7 >= cuts::K && j * 8 + g >= cuts::K)
                x[e] = core::from(j * 8 + g == cuts::K ? 1.0f : 0.0f);
            }
            patch[j][half] = core::pack(x);
          }
        CUDA_FOR(b, BANDS) {
          uint32_t a[4];
          CUDA_FOR(i, 4) a[i] = gradient[b][i] & core::where(places[b][i], (uint32_t)place);
          CUDA_FOR(j, TILES) tensor_add((T)0, sum[b][j], a, patch[j]);
        }
      }
    }
  }
  CUDA_FOR(b, BANDS) { /* the warps of the block, in their order */
    __syncthreads();
    CUDA_FOR(j, TILES)
      CUDA_FOR(i, 4) shared[warp * OF_BAND + (j * 4 + i) * 32 + lane] = sum[b][j][i];
    __syncthreads();
    for (int at = (int)threadIdx.x; at < OF_BAND; at += CUDA_THREADS) {
      int j = at / 128, i = at / 32 % 4, l = at % 32, f = f0 + b * 16 + l / 4 + 8 * (i / 2),
          k = j * 8 + 2 * (l % 4) + i % 2;
      float total = 0.0f;
      for (int w = 0; w < WARPS; w++) total += shared[w * OF_BAND + at];
      if (f < (int)p.f && k <= cuts::K) p.partial[(block * p.f + f) * (cuts::K + 1) + k] = total;
    }
  }
}

/* ---- the shapes that there are kernels for ---- */

template <typename T, int KH, int KW, int C>
static void launch_forward(cudaStream_t stream, const pooled &p) {
  typedef cut<T, KH, KW, C> cuts;
  auto kernel = forward<T, KH, KW, C>;
  int64_t groups = (p.f + cuts::FORWARD - 1) / cuts::FORWARD;
  CUDA_LAUNCH_TOGETHER(kernel, p.n * cuts::pieces_of_picture(p, WINDOWS) * groups, CUDA_THREADS,
                       stream, p);
}

template <typename T, int KH, int KW, int C>
static void launch_backward(cudaStream_t stream, const pooled &p, int64_t blocks) {
  typedef cut<T, KH, KW, C> cuts;
  auto kernel = backward<T, KH, KW, C>;
  int64_t groups = (p.f + cuts::BACKWARD - 1) / cuts::BACKWARD;
  CUDA_LAUNCH_TOGETHER(kernel, blocks * groups, CUDA_THREADS, stream, p, blocks);
}

template <typename T, int KH, int KW, int C> static int64_t items(const pooled &p) {
  return p.n * cut<T, KH, KW, C>::pieces_of_picture(p, tensor<T>::STEP);
}

template <typename T> static const pooled_tensor *find(const int64_t *kernel) {
#define SHAPE(kh, kw, c)                                                                           \
  { kh, kw, c, launch_forward<T, kh, kw, c>, launch_backward<T, kh, kw, c>, items<T, kh, kw, c> }
  static const pooled_tensor shapes[] = {SHAPE(2, 2, 1), SHAPE(2, 2, 3), SHAPE(3, 3, 1),
                                         SHAPE(3, 3, 3), SHAPE(5, 5, 1)};
#undef SHAPE
  for (const pooled_tensor &s : shapes)
    if (kernel[0] == s.kh && kernel[1] == s.kw && kernel[2] == s.c) return &s;
  return NULL;
}

const pooled_tensor *pooled_tensor_find(const int64_t *kernel, cuda_type type) {
  return type == CUDA_BF16_T ? find<uint16_t>(kernel) : find<float>(kernel);
}
