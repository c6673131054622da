/* Convolutions of a few channels of bytes, by VNNI: oneDNN pads the channels of each pixel to four
 * and more, here the bytes of a kernel's row are taken together. Compiled for AVX512_VNNI (vnni.c),
 * called where cpu_can_int8(). */
#ifndef WML_CPU_VNNI_H
#define WML_CPU_VNNI_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vnni_conv {
  int64_t row;               /* bytes of a row of the picture, padding included */
  int64_t c, f;              /* channels; filters, a multiple of 16 */
  int64_t kh, words;         /* rows of the kernel; groups of four bytes that a row of it takes */
  int64_t oh, ow;            /* of the result */
  bool pooled;               /* the largest of each 2x2 */
  bool relu, is_signed;      /* of the result */
  const int8_t *weights;     /* vnni_pack() */
  const float *scale, *bias; /* [f]: result = sum * scale + bias, in whole steps; scale > 0 */
} vnni_conv;

/* kernel: [kh, kw * c, f]; packed: kh * words * f * 4 bytes. */
void vnni_pack(const int8_t *kernel, int64_t kh, int64_t kw_c, int64_t f, int8_t *packed);
/* x: rows of the picture, readable for 3 bytes past the last; y: [oh, ow, f] bytes. */
void vnni_conv_run(const vnni_conv *v, const uint8_t *x, uint8_t *y);

#endif
