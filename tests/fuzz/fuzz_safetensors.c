#include "base/alloc.h"
#include "formats/safetensors.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  wml_safetensors file;
  char *bytes = wml_alloc(size + 1);
  if (!bytes) return 0;
  memcpy(bytes, data, size);
  if (wml_safetensors_parse(bytes, size, "fuzz", &file) == WEBML_OK) {
    static volatile float sum; /* every element that is promised can be read */
    for (int i = 0; i < file.n; i++)
      for (int64_t k = 0; k < wml_named_elements(&file.tensors[i]); k++)
        sum += file.tensors[i].bytes ? (float)file.tensors[i].bytes[k] : file.tensors[i].data[k];
    wml_safetensors_free(&file);
  }
  return 0;
}
