/* dump-image FILE HEIGHT WIDTH CHANNELS: the fitted pixels on stdout, for comparison with Pillow.
 */
#include "data/image.h"
#include "support.h"

#include <stdlib.h>

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int h = atoi(argv[2]), w = atoi(argv[3]), c = atoi(argv[4]);
  uint8_t *pixels = test_alloc((size_t)(h * w * c));
  if (wml_image_load(argv[1], h, w, c, pixels) != WEBML_OK) {
    fprintf(stderr, "%s\n", webml_last_error());
    return 1;
  }
  size_t n = fwrite(pixels, 1, (size_t)(h * w * c), stdout);
  free(pixels);
  return n == (size_t)(h * w * c) ? 0 : 1;
}
