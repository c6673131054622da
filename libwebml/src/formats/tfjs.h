/* Writing a TensorFlow.js layer: what a layer's file has to say of its options. */
#ifndef WML_FORMATS_TFJS_H
#define WML_FORMATS_TFJS_H

#include "model/layer.h"

typedef struct wml_tfjs_call {
  wml_text *text; /* inside "config", behind name and trainable */
  const wml_layer *layer;
  const void *options;
  const webml_model *model;
  const wml_node *node;   /* its first use */
  const wml_shape *in;    /* of its first input */
  const char *class_name; /* where TensorFlow.js calls it something else than Keras; NULL */
} wml_tfjs_call;

/* Shape of input i. */
const wml_shape *wml_tfjs_shape(const wml_tfjs_call *call, int i);

void wml_tfjs_int(wml_tfjs_call *call, const char *key, int64_t value);
void wml_tfjs_number(wml_tfjs_call *call, const char *key, double value);
void wml_tfjs_flag(wml_tfjs_call *call, const char *key, bool value);
void wml_tfjs_word(wml_tfjs_call *call, const char *key, const char *value);
void wml_tfjs_ints(wml_tfjs_call *call, const char *key, int n, const int *values);
void wml_tfjs_pair(wml_tfjs_call *call, const char *key, const int value[2]);
void wml_tfjs_padding(wml_tfjs_call *call, wml_padding padding);
/* "activation". WEBML_ERROR_UNSUPPORTED where TensorFlow.js has none like it. */
webml_status wml_tfjs_activation(wml_tfjs_call *call, const wml_activation *activation);
/* "layer "x": TensorFlow.js has no ..." */
webml_status wml_tfjs_refuse(const wml_tfjs_call *call, const char *what);
/* For layers whose options need no more than name and trainable. */
webml_status wml_tfjs_nothing(wml_tfjs_call *call);

#endif
