/* From the data set's terms to the network's and back: class names for images; for tables one
 * encoder per column. Fitted on training rows only; travels inside the weights file. */
#ifndef WML_DATA_PIPELINE_H
#define WML_DATA_PIPELINE_H

#include "base/json.h"
#include "data/table.h"
#include "model/model.h"

typedef enum wml_encoding {
  WML_ENCODE_ONE_HOT,  /* values sorted; labels or numbers */
  WML_ENCODE_STANDARD, /* (x - mean) / scale; population deviation; constant: scale 1 */
  WML_ENCODE_AS_IS     /* binary outputs: 0 or 1 */
} wml_encoding;

typedef struct wml_encoder {
  const char *column;
  wml_column_type type;
  wml_encoding encoding;
  int width;           /* values it becomes */
  const char **labels; /* [width] of a one-hot label */
  double *numbers;     /* [width] of a one-hot number */
  double mean, scale;
} wml_encoder;

typedef struct wml_pipeline {
  wml_arena arena;
  wml_format format;
  int n_classes; /* images */
  const char **classes;
  int n_inputs, n_outputs; /* tables */
  wml_encoder *inputs, *outputs;
  int input_width, output_width;
} wml_pipeline;

/* Columns of a table by index. */
typedef struct wml_selection {
  int n_inputs, n_outputs;
  int *inputs, *outputs; /* [n] */
  bool *one_hot;         /* [columns] */
} wml_selection;

webml_status wml_pipeline_fit(const wml_table *table, const wml_selection *selection, int64_t rows,
                              wml_pipeline *p);
webml_status wml_pipeline_classes(const char *const *classes, int n, wml_pipeline *p);
void wml_pipeline_free(wml_pipeline *p);
void wml_pipeline_write(wml_text *text, const wml_pipeline *p);
webml_status wml_pipeline_read(const wml_json *json, wml_pipeline *p);

/* One cell: out [encoder->width]. WEBML_ERROR_DATA for a value the encoder does not know. */
webml_status wml_encode_label(const wml_encoder *e, const char *text, float *out);
webml_status wml_encode_number(const wml_encoder *e, double value, float *out);
webml_status wml_encode_cell(const wml_encoder *e, const wml_column *column, int64_t row,
                             float *out);
/* Value of an output: index of the class of a one-hot, or the number in its unit. */
double wml_decode_number(const wml_encoder *e, const float *values);
/* True where the outputs are one class out of several: trained with class indices. */
bool wml_pipeline_is_classes(const wml_pipeline *p);
/* Values that a label can have: the classes, or 0 and 1 of a single output. */
int wml_pipeline_label_count(const wml_pipeline *p);
/* Name of class i of such a pipeline. */
const char *wml_pipeline_class_name(const wml_pipeline *p, int i, char buffer[WML_NUMBER_BYTES]);

#endif
