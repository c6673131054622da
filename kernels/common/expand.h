/* Rows of a table in compact form: a one-hot is kept as its index alone, and takes its full width
 * only while a batch is gathered. A thousand columns of zeros and a one cost four bytes. */
#ifndef WML_COMMON_EXPAND_H
#define WML_COMMON_EXPAND_H

#include "kinds.h"

#include <stdint.h>

/* cells: [n]; widths: [n], 1: the number itself; more: an index below it, or -1 for none. out: [sum
 * of widths]. */
WML_FN void wml_expand_row(const float *cells, const int32_t *widths, long n, float *out) {
  for (long i = 0; i < n; i++) {
    if (widths[i] == 1) {
      *out++ = cells[i];
      continue;
    }
    for (int32_t k = 0; k < widths[i]; k++) out[k] = 0.0f;
    if (cells[i] >= 0.0f && cells[i] < (float)widths[i]) out[(int32_t)cells[i]] = 1.0f;
    out += widths[i];
  }
}

#endif
