/* Writing an ONNX graph: what a layer's file has to say of one use of the layer. */
#ifndef WML_FORMATS_ONNX_H
#define WML_FORMATS_ONNX_H

#include "formats/weights.h"
#include "model/layer.h"

typedef struct wml_onnx wml_onnx; /* the graph */

/* A value of the graph. Pictures are in ONNX's layout or in ours. */
typedef struct wml_onnx_value {
  const char *name;
  bool nchw; /* of three dimensions behind the batch: channels come first */
} wml_onnx_value;

typedef struct wml_onnx_call {
  wml_onnx *graph;
  const wml_weights *weights;
  const wml_layer *layer;
  const void *options;
  const wml_node *node;
  int n_inputs;
  wml_onnx_value *in;
  wml_onnx_value out; /* to be set */
} wml_onnx_call;

/* Shape of input i. */
const wml_shape *wml_onnx_shape(const wml_onnx_call *call, int i);
/* The name of input i, brought into the layout. */
const char *wml_onnx_input(wml_onnx_call *call, int i, bool nchw);
/* The layer's parameter of that role; NULL: it has none. */
const wml_named_tensor *wml_onnx_param(const wml_onnx_call *call, const char *role);

/* Attributes of the node that is made next. */
void wml_onnx_int(wml_onnx_call *call, const char *name, int64_t value);
void wml_onnx_float(wml_onnx_call *call, const char *name, float value);
void wml_onnx_string(wml_onnx_call *call, const char *name, const char *value);
void wml_onnx_ints(wml_onnx_call *call, const char *name, int n, const int *values);
/* kernel_shape, strides, pads and, unless it is NULL, dilations: of a window that slides over input
 * 0, or over a picture of that shape. */
void wml_onnx_window_over(wml_onnx_call *call, const wml_shape *shape, const int *size,
                          const int *stride, const int *dilation, wml_padding padding);
void wml_onnx_window(wml_onnx_call *call, const int *size, const int *stride, const int *dilation,
                     wml_padding padding);

/* Nodes: the name of the result. Inputs end with NULL. */
const char *wml_onnx_node(wml_onnx_call *call, const char *type, const char *const *inputs);
const char *wml_onnx_unary(wml_onnx_call *call, const char *type, const char *x);
const char *wml_onnx_binary(wml_onnx_call *call, const char *type, const char *x, const char *y);
/* Constants. */
const char *wml_onnx_floats(wml_onnx_call *call, const char *base, int rank, const int64_t *dim,
                            const float *data);
const char *wml_onnx_scalar(wml_onnx_call *call, float value);
const char *wml_onnx_int64s(wml_onnx_call *call, const char *base, int n, const int64_t *data);

/* The same values [batch, shape...]. */
const char *wml_onnx_reshape(wml_onnx_call *call, const char *x, const wml_shape *shape);

/* The kernel, quantized where it is: of a convolution turned from HWIO to OIHW. Quantized inputs
 * are rounded by wml_onnx_quantized_input(), which is the input itself where they are not. */
webml_status wml_onnx_kernel(wml_onnx_call *call, bool is_convolution, const char **name);
/* A parameter of these dimensions, turned in the same manner; never quantized. */
webml_status wml_onnx_turned(wml_onnx_call *call, const char *role, const int64_t hwio[4],
                             const char **name);
const char *wml_onnx_quantized_input(wml_onnx_call *call, int i, bool nchw);

/* Sets the result: x through the activation. WEBML_ERROR_UNSUPPORTED where ONNX has none like it.
 */
webml_status wml_onnx_finish(wml_onnx_call *call, const char *x, bool nchw,
                             const wml_activation *activation);
/* The same without an activation. */
webml_status wml_onnx_result(wml_onnx_call *call, const char *x, bool nchw);
/* "layer "x": ONNX 13 cannot express ..." */
webml_status wml_onnx_refuse(const wml_onnx_call *call, const char *what);

#endif
