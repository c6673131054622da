/* libwebml-cuda-emulated.so: everything comes from the static library of the same parts. */
#include "cuda_runtime_api.h"

extern int wml_emulated_module;
int wml_emulated_module = WML_CUDA_EMULATED;
