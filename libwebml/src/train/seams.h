/* Seams of a description that parse and yet do not fit: layers and outputs, loss and activation,
 * the model and its data. */
#ifndef WML_TRAIN_SEAMS_H
#define WML_TRAIN_SEAMS_H

#include "data/shape.h"
#include "model/issues.h"

/* data NULL: the data set is not known. */
void wml_check_seams(const webml_model *model, const wml_data_shape *data, wml_issues *issues);

#endif
