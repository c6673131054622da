/* The weights file: a safetensors file whose metadata holds model, pipeline and training record. */
#ifndef WML_FORMATS_WEIGHTS_H
#define WML_FORMATS_WEIGHTS_H

#include "data/pipeline.h"
#include "formats/safetensors.h"
#include "model/model.h"

typedef struct wml_weights {
  wml_safetensors file;
  webml_model *model;
  wml_pipeline pipeline;
  wml_arena arena;                     /* of the parsed metadata */
  const wml_json *record, *checkpoint; /* or NULL */
  /* [layers]; NULL: all weights are float32. Quantized kernels are read back to float32. */
  wml_layer_quantization *quantization;
} wml_weights;

webml_status wml_weights_read(const char *path, wml_weights *weights);
void wml_weights_free(wml_weights *weights);
/* Whether a layer of this kind can be quantized. */
bool wml_layer_can_quantize(const wml_layer *layer);
/* True where the file begins like a safetensors file rather than like JSON. */
bool wml_weights_looks_like(const char *path);

#endif
