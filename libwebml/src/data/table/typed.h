/* A block of rows as typed columns, each in the narrowest form that keeps its numbers exactly.
 *
 * Layout: [columns] uint32: (offset of the cells / 8) << 3 | form; then the cells. The greatest
 * integer of a form (for signed ones the least) and NaN stand for a missing cell. */
#ifndef WML_DATA_TABLE_TYPED_H
#define WML_DATA_TABLE_TYPED_H

#include "base/status.h"

typedef struct wml_typed {
  uint8_t *bytes;
  size_t size, capacity;
} wml_typed;

webml_status wml_typed_begin(wml_typed *t, int columns);
/* whole: all numbers are integers (NaN apart). */
webml_status wml_typed_numbers(wml_typed *t, int column, const double *numbers, size_t rows,
                               bool whole);
void wml_typed_free(wml_typed *t);
/* False where the block is not what it should be. */
bool wml_typed_read(const uint8_t *bytes, size_t size, int columns, int column, size_t rows,
                    double *out);

#endif
