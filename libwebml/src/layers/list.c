/* Every class of layers, by layers/list.h. */
#include "layers/list.h"
#include "model/layer.h"

#define DECLARE(symbol) extern const wml_layer_class wml_layer_##symbol;
WML_LAYERS(DECLARE)

#define ADDRESS(symbol) &wml_layer_##symbol,
const wml_layer_class *const wml_layer_classes[] = {WML_LAYERS(ADDRESS)};
const int wml_n_layer_classes = (int)(sizeof wml_layer_classes / sizeof *wml_layer_classes);
