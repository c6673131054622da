#include "base/alloc.h"
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char path[64];
  int64_t dims[3];
  uint8_t *bytes = NULL;
  if (!*path) snprintf(path, sizeof path, "/tmp/webml-fuzz-%ld.idx", (long)getpid());
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0) abort();
  if (wml_idx_read(path, size % 2 ? 3 : 1, dims, &bytes) == WEBML_OK) wml_free(bytes);
  unlink(path);
  return 0;
}
