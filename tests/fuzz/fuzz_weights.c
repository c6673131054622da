/* A whole weights file: tensors, model, pipeline and record, and what must agree between them. */
#include "formats/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char path[64];
  wml_weights weights;
  if (!*path) snprintf(path, sizeof path, "/tmp/webml-fuzz-%ld.safetensors", (long)getpid());
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0) abort();
  if (wml_weights_read(path, &weights) == WEBML_OK) wml_weights_free(&weights);
  unlink(path);
  return 0;
}
