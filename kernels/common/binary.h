/* Operations on two elements and their derivatives: one formula for every back end. */
#ifndef WML_COMMON_BINARY_H
#define WML_COMMON_BINARY_H

#include "kinds.h"

/* Equal elements: the derivative of MAXIMUM and MINIMUM is a's alone, as in TensorFlow's
 * _MaximumMinimumGrad. */
typedef enum wml_binary {
  WML_BINARY_ADD,
  WML_BINARY_SUBTRACT,
  WML_BINARY_MULTIPLY,
  WML_BINARY_MAXIMUM,
  WML_BINARY_MINIMUM,
  /* a where it is positive, else a * b; at a = 0 the derivative for a is b, as in PyTorch's
   * _prelu_kernel_backward. */
  WML_BINARY_PRELU
} wml_binary;

/* A NaN in either operand is the maximum and the minimum, as in NumPy. */
WML_FN float wml_binary_value(wml_binary kind, float a, float b) {
  switch (kind) {
  case WML_BINARY_SUBTRACT: return a - b;
  case WML_BINARY_MULTIPLY: return a * b;
  case WML_BINARY_MAXIMUM: return a >= b || a != a ? a : b;
  case WML_BINARY_MINIMUM: return a <= b || a != a ? a : b;
  case WML_BINARY_PRELU: return a > 0.0f ? a : a * b;
  default: return a + b;
  }
}

/* Derivative of the value for a. ADD and SUBTRACT read neither operand. */
WML_FN float wml_binary_derivative_a(wml_binary kind, float a, float b) {
  switch (kind) {
  case WML_BINARY_MULTIPLY: return b;
  case WML_BINARY_MAXIMUM: return a >= b ? 1.0f : 0.0f;
  case WML_BINARY_MINIMUM: return a <= b ? 1.0f : 0.0f;
  case WML_BINARY_PRELU: return a > 0.0f ? 1.0f : b;
  default: return 1.0f;
  }
}

/* Derivative of the value for b. */
WML_FN float wml_binary_derivative_b(wml_binary kind, float a, float b) {
  switch (kind) {
  case WML_BINARY_SUBTRACT: return -1.0f;
  case WML_BINARY_MULTIPLY: return a;
  case WML_BINARY_MAXIMUM: return a >= b ? 0.0f : 1.0f;
  case WML_BINARY_MINIMUM: return a <= b ? 0.0f : 1.0f;
  case WML_BINARY_PRELU: return a > 0.0f ? 0.0f : a;
  default: return 1.0f;
  }
}

#endif
