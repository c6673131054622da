/* Products on the tensor cores: one warp adds a[16, STEP] b[STEP, 8] to c[16, 8] in float32. Which
 * element a lane holds is said by the PTX manual (mma.m16n8k16 and mma.m16n8k8), here in one way
 * for both types: with g = lane / 4 and t = lane % 4, a: register i has row g + 8 (i % 2), columns
 * at(t, i / 2) and, of 16 bits, the next; b: register i has rows at(t, i) and, of 16 bits, the
 * next, column g; c: register i has row g + 8 (i / 2), column 2 t + i % 2. Capability 8.0 or more;
 * below, nothing here may be launched. */
#ifndef WML_CUDA_TENSOR_CUH
#define WML_CUDA_TENSOR_CUH

#include "kernel.cuh"

/* T: uint16_t for bfloat16, float for TF32. */
template <typename T> struct tensor;

template <> struct tensor<uint16_t> {
  static constexpr int STEP = 16, EACH = 2; /* EACH: elements in a register */
  static __device__ inline uint32_t pack(const uint16_t *x) { return x[0] | (uint32_t)x[1] << 16; }
  static __device__ inline uint16_t from(float x) { return wml_bf16_from_float(x); }
  /* All bits of the elements whose number (0 to 3, 16 bits for each) is n. */
  static __device__ inline uint32_t where(uint32_t numbers, uint32_t n) {
    uint32_t x = numbers ^ n * 0x10001u;
    return (((x | x >> 1) & 0x10001u) ^ 0x10001u) * 0xFFFFu;
  }
};

template <> struct tensor<float> {
  static constexpr int STEP = 8, EACH = 1;
  /* Ten bits behind the point, to nearest, ties away from zero. The emulation does not round, so
   * that it can be compared closely. */
  static __device__ inline uint32_t pack(const float *x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x[0]));
    return bits;
#else
    return wml_bits_of_float(x[0]);
#endif
  }
  static __device__ inline float from(float x) {
    return x;
  }
  static __device__ inline uint32_t where(uint32_t number, uint32_t n) {
    return number == n ? 0xFFFFFFFFu : 0u;
  }
};

template <typename T> static __device__ inline int tensor_at(int t, int half) {
  return half * (tensor<T>::STEP / 2) + t * tensor<T>::EACH;
}

#if defined(__CUDACC__)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define TENSOR_ADD(instruction, c, a, b)                                                           \
  asm volatile("mma.sync.aligned." instruction                                                     \
               " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                            \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                    \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#else
#define TENSOR_ADD(instruction, c, a, b)                                                           \
  (void)c, (void)a, (void)b;                                                                       \
  __trap()
#endif
static __device__ inline void tensor_add(uint16_t, float *c, const uint32_t *a, const uint32_t *b) {
  TENSOR_ADD("m16n8k16.row.col.f32.bf16.bf16.f32", c, a, b);
}

static __device__ inline void tensor_add(float, float *c, const uint32_t *a, const uint32_t *b) {
  TENSOR_ADD("m16n8k8.row.col.f32.tf32.tf32.f32", c, a, b);
}
#else
static inline float tensor_element(uint16_t, uint32_t bits, int i) {
  return wml_bf16_to_float((uint16_t)(bits >> 16 * i));
}

static inline float tensor_element(float, uint32_t bits, int) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

template <typename T>
static inline void tensor_add(T type, float *c, const uint32_t *a, const uint32_t *b) {
  struct {
    uint32_t a[4], b[2];
  } mine, all[32];
  for (int i = 0; i < 4; i++) mine.a[i] = a[i];
  for (int i = 0; i < 2; i++) mine.b[i] = b[i];
  const char(*given)[EMULATED_LANE_BYTES] = emulated_share(&mine, sizeof mine);
  for (int lane = 0; lane < 32; lane++) memcpy(&all[lane], given[lane], sizeof mine);
  int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
  for (int i = 0; i < 4; i++) {
    int row = g + 8 * (i / 2), column = 2 * t + i % 2;
    for (int other = 0; other < 4; other++) /* lanes of this row of a and this column of b */
      for (int half = 0; half < 2; half++)
        for (int e = 0; e < tensor<T>::EACH; e++)
          c[i] += tensor_element(type, all[row % 8 * 4 + other].a[row / 8 + 2 * half], e) *
                  tensor_element(type, all[column * 4 + other].b[half], e);
  }
}
#endif

#endif
