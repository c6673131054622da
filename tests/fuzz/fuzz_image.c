#include "base/alloc.h"
#include "data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  wml_image image;
  uint8_t out[8 * 8 * 3];
  if (wml_image_decode(data, size, "fuzz", &image) == WEBML_OK) {
    wml_image_fit(&image, 8, 8, 3, out);
    wml_free(image.pixels);
  }
  return 0;
}
