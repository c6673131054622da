#include "base/alloc.h"
#include "data/images/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static wml_image image; /* used again, as the packing threads do */
  uint8_t out[8 * 8 * 3];
  wml_picture_options options = {.resize = (webml_resize)(size % 3),
                                 .exif_orientation = size % 2 == 0};
  wml_image_prepare(data, size, "fuzz", &options, 8, 8, 3, &image, out);
  return 0;
}
