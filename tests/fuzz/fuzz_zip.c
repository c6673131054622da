/* A zip file: its list, and every member read and decoded. */
#include "data/images/pictures.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *path = fuzz_file("zip", data, size);
  uint8_t out[8 * 8 * 3];
  wml_picture_options options = {0};
  wml_pictures p;
  wml_picture_reader r;
  if (wml_is_zip(path) && wml_pictures_open(path, NULL, NULL, &p) == WEBML_OK) {
    if (wml_reader_open(&p, &r) == WEBML_OK) {
      for (int64_t i = 0; i < p.n && i < 20; i++) wml_reader_fit(&r, i, &options, 8, 8, 3, out);
      wml_reader_close(&r);
    }
    wml_pictures_free(&p);
  }
  unlink(path);
  return 0;
}
