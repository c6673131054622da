/* The window of convolutions and poolings, for operations. */
#ifndef WML_LAYERS_WINDOW_H
#define WML_LAYERS_WINDOW_H

#include "model/layer.h"

/* in: the shape that the window slides over, [height, width, channels]. dilation NULL: 1. */
static inline wml_window wml_layer_window(const wml_shape *in, const int size[2],
                                          const int stride[2], const int *dilation, int groups,
                                          wml_padding padding) {
  wml_window w = {.groups = groups};
  for (int i = 0; i < 2; i++) {
    w.size[i] = size[i];
    w.stride[i] = stride[i];
    w.dilation[i] = dilation ? dilation[i] : 1;
    wml_window_pads(in->dim[i], size[i], stride[i], w.dilation[i], padding, &w.pad_before[i],
                    &w.pad_after[i]);
  }
  return w;
}

#endif
