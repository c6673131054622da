/* Weights with plans for several batch sizes. */
#ifndef WML_PREDICT_PREDICTOR_H
#define WML_PREDICT_PREDICTOR_H

#include "formats/weights.h"
#include "plan/unit.h"

#include <pthread.h>

enum { WML_MAX_BUCKETS = 5 };

/* Plans for one type of input, smallest batch first. */
typedef struct wml_buckets {
  int n;
  wml_unit units[WML_MAX_BUCKETS];
} wml_buckets;

struct webml_predictor {
  pthread_mutex_t mutex; /* one computation at a time; they share the activations' memory */
  webml_device *device;
  wml_weights weights;
  wml_store *store;
  int64_t max_batch, input_width, output_width;
  wml_precision precision; /* of what is not quantized */
  bool may_fall_back;      /* to float32 where the device cannot compute in `precision` */
  /* [layers], of the weights; NULL: float32 is asked for, or they are not quantized */
  const wml_layer_quantization *quantization;
  wml_buckets floats, bytes; /* bytes: images only; floats of images are made on first use */
  int64_t *rows;             /* [max_batch] */
  float *outputs;            /* [max_batch, output_width] */
  float *one_output;         /* the same room for one of several outputs; or NULL */
};

/* The outputs of a batch: [batch, output_width], where there are several one behind the other in
 * each row. */
webml_status wml_predictor_read(webml_predictor *p, const wml_unit *unit, float *rows);

/* report.c */
webml_status wml_evaluate(webml_predictor *p, const webml_dataset *dataset,
                          const webml_evaluate_options *options, wml_text *text);

#endif
