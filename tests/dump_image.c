/* dump-image FILE HEIGHT WIDTH CHANNELS [RESIZE EXIF | THETA SHEAR ZX ZY FLIP [DX DY FILL VALUE
 * SHIFT GAIN]]: the fitted pixels as bytes, or the warped picture as float32, on stdout, for
 * comparison with Pillow and SciPy. */
#include "data/images/image.h"
#include "support.h"

#include <stdlib.h>

int main(int argc, char **argv) {
  if (argc != 5 && argc != 7 && argc != 10 && argc != 16) return 2;
  bool warps = argc >= 10;
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
  if (warps) {
    float p[11] = {0};
    for (int i = 5; i < argc; i++) p[i - 5] = (float)atof(argv[i]);
    wml_warp warp = wml_warp_of(p[0], p[1], p[2], p[3], p[4] != 0.0f);
    if (argc == 16) {
      warp.dx = p[5], warp.dy = p[6], warp.fill = (wml_fill)p[7], warp.fill_value = p[8];
      warp.shift = p[9], warp.gain = p[10];
      warp.trivial = warp.trivial && warp.dx == 0.0f && warp.dy == 0.0f;
    }
    wml_warp_image(&warp, pixels, h, w, c, 1.0f, warped);
  }
  size_t size = warps ? sizeof *warped : 1;
  bool ok = fwrite(warps ? (void *)warped : (void *)pixels, size, n, stdout) == n;
  free(pixels);
  free(warped);
  return ok ? 0 : 1;
}
