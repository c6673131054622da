/* From the data set's terms to the network's and back: class names for images; for tables one
 * encoder per column. Fitted on training rows only; travels inside the weights file. */
#ifndef WML_DATA_PIPELINE_H
#define WML_DATA_PIPELINE_H

#include "base/json.h"
#include "data/images/image.h"
#include "data/table/table.h"
#include "model/model.h"

typedef enum wml_encoding {
  WML_ENCODE_ONE_HOT,  /* values sorted; labels or numbers */
  WML_ENCODE_STANDARD, /* (x - mean) / scale; population deviation; constant: scale 1 */
  WML_ENCODE_AS_IS,    /* the number itself: binary outputs, and where no scaling is wanted */
  WML_ENCODE_MIN_MAX   /* (x - least) / (greatest - least), as `mean` and `scale`; constant: scale 1
                        */
} wml_encoding;

/* What becomes of a missing cell. */
typedef enum wml_missing {
  WML_MISSING_REFUSE,
  WML_MISSING_FILL,    /* `fill` takes its place */
  WML_MISSING_CATEGORY /* a place of its own, the last: one more of a one-hot; behind a number,
                          which is 0 then, a second one that is 1 */
} wml_missing;

typedef struct wml_encoder {
  const char *column;
  wml_column_type type;
  wml_encoding encoding;
  wml_missing missing;
  int width;           /* values it becomes */
  int places;          /* of a one-hot: its values, and one for missing ones where they have one */
  bool as_index;       /* the place itself is the one value: for an Embedding */
  const char **labels; /* [wml_encoder_values()] of a one-hot label */
  double *numbers;     /* [wml_encoder_values()] of a one-hot number, rising */
  double mean, scale;
  double fill; /* the number, or the index of the label */
} wml_encoder;

typedef struct wml_pipeline {
  wml_arena arena;
  wml_format format;
  int n_classes; /* images */
  const char **classes;
  wml_picture_options picture; /* how they are fitted */
  int n_inputs, n_outputs;     /* tables */
  wml_encoder *inputs, *outputs;
  int input_width, output_width;
} wml_pipeline;

webml_status wml_pipeline_classes(const char *const *classes, int n,
                                  const wml_picture_options *picture, wml_pipeline *p);
/* Whether each input and output of the model takes what its columns give by the pipeline: whoever
 * feeds a model relies on it. WEBML_ERROR_MISMATCH. */
webml_status wml_pipeline_check(const wml_pipeline *p, const webml_model *model);
void wml_pipeline_free(wml_pipeline *p);
void wml_pipeline_write(wml_text *text, const wml_pipeline *p);
webml_status wml_pipeline_read(const wml_json *json, wml_pipeline *p);
webml_status wml_pipeline_copy(const wml_pipeline *from, wml_pipeline *to);

/* Values of a one-hot encoder that are not its place for missing cells. */
int wml_encoder_values(const wml_encoder *e);
bool wml_encoder_is_binary(const wml_encoder *e); /* one output, 0 or 1 */
bool wml_encoder_is_number(const wml_encoder *e); /* one output in a unit */

/* A cell in compact form: `cells` values, where a one-hot is its index alone. 1, or 2 for a number
 * with a place for missing ones. */
int wml_encoder_cells(const wml_encoder *e);
/* Index of a number among those of a one-hot; -1. */
int wml_encoder_find_number(const wml_encoder *e, double value);
int wml_encoder_find_label(const wml_encoder *e, const char *text);
/* A number that is not missing and not one-hot. */
double wml_encoder_scale(const wml_encoder *e, double value);

/* One cell: out [encoder->width]. WEBML_ERROR_DATA for a value the encoder does not know. */
webml_status wml_encode_label(const wml_encoder *e, const char *text, float *out);
webml_status wml_encode_number(const wml_encoder *e, double value, float *out);
webml_status wml_encode_missing(const wml_encoder *e, float *out);
/* Value of an output: index of the class of a one-hot, or the number in its unit. */
double wml_decode_number(const wml_encoder *e, const float *values);
/* True where the outputs are one class out of several: trained with class indices. */
bool wml_pipeline_is_classes(const wml_pipeline *p);
/* Values that a label can have: the classes, or 0 and 1 of a single output. */
int wml_pipeline_label_count(const wml_pipeline *p);
/* Name of class i of such a pipeline. */
const char *wml_pipeline_class_name(const wml_pipeline *p, int i, char buffer[WML_NUMBER_BYTES]);
/* Name of value i of a one-hot or binary encoder. */
const char *wml_encoder_value_name(const wml_encoder *e, int i, char buffer[WML_NUMBER_BYTES]);

#endif
