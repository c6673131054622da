/* The emulation has no cuDNN and no cuBLASLt: own kernels do everything. */
#include "../vendor.h"

static const char none[] = "not in the emulation";

wml_result cuda_dnn_open(wml_device *device, const char *description, cuda_dnn **dnn) {
  (void)device, (void)description;
  *dnn = NULL;
  return WML_OK;
}

void cuda_dnn_close(wml_device *device, cuda_dnn *dnn) {
  (void)device, (void)dnn;
}

const char *cuda_dnn_version(const cuda_dnn *dnn) {
  (void)dnn;
  return "no cuDNN";
}

wml_result cuda_dnn_plan_conv(wml_device *device, const cuda_conv *conv, cuda_dnn_plan **plan,
                              const char **why) {
  (void)device, (void)conv, (void)plan;
  *why = none;
  return WML_UNSUPPORTED;
}

size_t cuda_dnn_workspace(const cuda_dnn_plan *plan) {
  (void)plan;
  return 0;
}

const char *cuda_dnn_name(const cuda_dnn_plan *plan) {
  (void)plan;
  return none;
}

int cuda_dnn_named(const cuda_dnn_plan *plan) {
  (void)plan;
  return 0;
}

int cuda_dnn_count(const void *plan) {
  (void)plan;
  return 0;
}

const char *cuda_dnn_select(void *plan, int candidate) {
  (void)plan, (void)candidate;
  return none;
}

const char *cuda_dnn_key(const void *plan) {
  (void)plan;
  return none;
}

void cuda_dnn_release(wml_device *device, void *plan) {
  (void)device, (void)plan;
}

wml_result cuda_dnn_run(wml_device *device, const cuda_dnn_plan *plan, cudaStream_t stream, void *x,
                        void *kernel, void *y, void *bias, void *workspace) {
  (void)device, (void)plan, (void)stream, (void)x, (void)kernel, (void)y, (void)bias;
  (void)workspace;
  return WML_UNSUPPORTED;
}

wml_result cuda_blas_open(wml_device *device, cuda_blas **blas) {
  (void)device;
  *blas = NULL;
  return WML_OK;
}

void cuda_blas_close(wml_device *device, cuda_blas *blas) {
  (void)device, (void)blas;
}

const char *cuda_blas_version(const cuda_blas *blas) {
  (void)blas;
  return "no cuBLASLt";
}

wml_result cuda_blas_plan_product(wml_device *device, const cuda_product *product,
                                  cuda_blas_plan **plan, const char **why) {
  (void)device, (void)product, (void)plan;
  *why = none;
  return WML_UNSUPPORTED;
}

size_t cuda_blas_workspace(const cuda_blas_plan *plan) {
  (void)plan;
  return 0;
}

const char *cuda_blas_name(const cuda_blas_plan *plan) {
  (void)plan;
  return none;
}

int cuda_blas_count(const void *plan) {
  (void)plan;
  return 0;
}

const char *cuda_blas_select(void *plan, int candidate) {
  (void)plan, (void)candidate;
  return none;
}

const char *cuda_blas_key(const void *plan) {
  (void)plan;
  return none;
}

void cuda_blas_release(wml_device *device, void *plan) {
  (void)device, (void)plan;
}

wml_result cuda_blas_run(wml_device *device, const cuda_blas_plan *plan, cudaStream_t stream,
                         const void *a, const void *b, void *c, const void *bias, void *workspace) {
  (void)device, (void)plan, (void)stream, (void)a, (void)b, (void)c, (void)bias, (void)workspace;
  return WML_UNSUPPORTED;
}
