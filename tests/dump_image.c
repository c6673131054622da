/* dump-image FILE HEIGHT WIDTH CHANNELS [RESIZE EXIF | THETA SHEAR ZX ZY FLIP]: the fitted pixels
 * as bytes, or the warped picture as float32, on stdout, for comparison with Pillow and SciPy. */
#include "data/images/image.h"
#include "support.h"

#include <stdlib.h>

int main(int argc, char **argv) {
  if (argc != 5 && argc != 7 && argc != 10) return 2;
  int h = atoi(argv[2]), w = atoi(argv[3]), c = atoi(argv[4]);
  size_t n = (size_t)(h * w * c);
  uint8_t *pixels = test_alloc(n);
  float *warped = test_alloc(n * sizeof *warped);
  wml_picture_options options = {0};
  if (argc == 7) options = (wml_picture_options){(webml_resize)atoi(argv[5]), atoi(argv[6]) != 0};
  if (wml_image_load(argv[1], &options, h, w, c, pixels) != WEBML_OK) {
    fprintf(stderr, "%s\n", webml_last_error());
    return 1;
  }
  if (argc == 10) {
    float p[4];
    for (int i = 0; i < 4; i++) p[i] = (float)atof(argv[5 + i]);
    wml_warp warp = wml_warp_of(p[0], p[1], p[2], p[3], atoi(argv[9]) != 0);
    wml_warp_image(&warp, pixels, h, w, c, 1.0f, warped);
  }
  size_t size = argc == 10 ? sizeof *warped : 1;
  bool ok = fwrite(argc == 10 ? (void *)warped : (void *)pixels, size, n, stdout) == n;
  free(pixels);
  free(warped);
  return ok ? 0 : 1;
}
