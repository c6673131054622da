/* What a model is shaped to, whether a data set is open or only its properties are known. */
#ifndef WML_DATA_SHAPE_H
#define WML_DATA_SHAPE_H

#include "base/json.h"
#include "model/model.h"

/* What one input or output of the model gets from the columns of a table. */
typedef struct wml_end_shape {
  int columns, width;
  int places;      /* of its column with the most values, where they are read by their index */
  bool is_classes; /* one class out of several */
  bool is_binary;  /* each column is a class, or yes or no */
} wml_end_shape;

typedef struct wml_data_shape {
  const char *path; /* how messages name the data set */
  wml_format format;
  int n_classes;                 /* pictures */
  const char *first_class;       /* or NULL: not known */
  int input_width, output_width; /* tables, after encoding */
  bool is_classes;               /* tables: the output is one class out of several */
  bool is_binary;                /* tables: every output is a class, or yes or no */
  wml_end_shape inputs[WML_MAX_ENDS], outputs[WML_MAX_ENDS]; /* tables, as the model's */
  int64_t training, validation;                              /* samples; -1: not known */
} wml_data_shape;

/* From properties.json. Of tables the columns are those that the model names, or the usual ones; a
 * one-hot has all values of the file. WEBML_ERROR_PARSE, _DATA, _MEMORY. */
webml_status wml_data_shape_read(const wml_json *properties, const webml_model *model,
                                 wml_data_shape *shape);
/* A new model with the open parts filled in. *chosen (may be NULL): one sentence per choice.
 * WEBML_ERROR_MODEL, _DATA, _MISMATCH. */
webml_status wml_model_shape(const webml_model *model, const wml_data_shape *shape,
                             webml_model **shaped, char **chosen);
/* The units of the Dense that gives an output; NULL: none does. */
int *wml_output_units(const webml_model *model, int output);
/* Values that the network has to give. */
int wml_data_outputs(const webml_model *model, const wml_data_shape *shape);

#endif
