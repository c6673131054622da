/* Keras's and TensorFlow.js's own documents of models, read as if they were descriptions. */
#ifndef WML_MODEL_KERAS_H
#define WML_MODEL_KERAS_H

#include "model/issues.h"

/* Whether it is the configuration of a Keras model, alone or inside {"modelTopology"}, {"config"}
 * and the like. */
bool wml_keras_is(const wml_json *root);
/* The same model as a tree in the form of a description. Its values have the lines of the document;
 * it lives as long as the issues. NULL: with issues, the network cannot be understood, or memory is
 * short (issues->failed). */
const wml_json *wml_keras_translate(const wml_json *root, wml_issues *issues);

#endif
