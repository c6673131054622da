/* Exports for other programs. Each writer gets a whole weights file that has been checked. */
#ifndef WML_FORMATS_EXPORT_H
#define WML_FORMATS_EXPORT_H

#include "formats/weights.h"

/* onnx.c: one .onnx file, opset 13, images NHWC in and class scores out, batch open. */
webml_status wml_export_onnx(const wml_weights *weights, const char *path);
/* tfjs.c: a folder with model.json and model.weights.bin (layers-model). */
webml_status wml_export_tfjs(const wml_weights *weights, const char *path);

#endif
