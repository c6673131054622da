#include "base/alloc.h"
#include "data/images/pictures.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int64_t dims[3];
  uint8_t *bytes = NULL;
  const char *path = fuzz_file("idx", data, size);
  if (wml_idx_read(path, size % 2 ? 3 : 1, dims, &bytes) == WEBML_OK) wml_free(bytes);
  unlink(path);
  return 0;
}
