#include "formats/export.h"

#include <string.h>

static const struct {
  const char *name;
  webml_status (*write)(const wml_weights *weights, const char *path);
} formats[] = {{"onnx", wml_export_onnx}, {"tfjs", wml_export_tfjs}};

webml_status webml_export(const char *weights_path, const char *format, const char *path) {
  if (!weights_path || !format || !path)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_export: weights, format and path must not be NULL");
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    if (strcmp(format, formats[i].name) != 0) continue;
    wml_weights w;
    WML_TRY(wml_weights_read(weights_path, &w));
    webml_status status = formats[i].write(&w, path);
    wml_weights_free(&w);
    return status;
  }
  return wml_fail(WEBML_ERROR_ARGUMENT, "unknown export format \"%s\"; use onnx or tfjs", format);
}
