/* cuDNN and cuBLASLt, opened when a device is: what the rest of the back end sees of them. Plans
 * are made for one shape; running one enqueues it on a stream. */
#ifndef WML_CUDA_VENDOR_H
#define WML_CUDA_VENDOR_H

#include "cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A device without a GPU for which graphs are planned: `description` is cuDNN's JSON of a card. */
wml_result cuda_open_planning(const wml_host *host, const char *description, wml_device **device);

/* Where the system looks for libraries, then where CUDA is usually installed; NULL: nowhere. */
void *cuda_find_library(const char *name);

/* *dnn NULL and WML_OK where the library is not installed. description: NULL, or as above. */
wml_result cuda_dnn_open(wml_device *device, const char *description, cuda_dnn **dnn);
void cuda_dnn_close(wml_device *device, cuda_dnn *dnn);
const char *cuda_dnn_version(const cuda_dnn *dnn); /* "cuDNN 9.19.0", "no cuDNN" */

typedef enum cuda_conv_pass { CUDA_CONV_FORWARD, CUDA_CONV_DATA, CUDA_CONV_WEIGHTS } cuda_conv_pass;

typedef struct cuda_conv {
  cuda_conv_pass pass;
  wml_window window;
  int64_t x[4], y[4]; /* NHWC */
  int64_t kernel[4];  /* [kh, kw, c / groups, f] */
  cuda_type type;     /* of x, y, the kernel and the bias */
  bool bias, relu;    /* of the forward pass */
  bool strict;        /* no TF32 */
  bool deterministic;
} cuda_conv;

typedef struct cuda_dnn_plan cuda_dnn_plan;

/* The plans that the heuristics name, best first, and this device can finalise; the first is
 * selected. WML_UNSUPPORTED: *why. */
wml_result cuda_dnn_plan_conv(wml_device *device, const cuda_conv *conv, cuda_dnn_plan **plan,
                              const char **why);
size_t cuda_dnn_workspace(const cuda_dnn_plan *plan);
const char *cuda_dnn_name(const cuda_dnn_plan *plan);
/* How many configurations the heuristics named. */
int cuda_dnn_named(const cuda_dnn_plan *plan);
/* For cuda_tuning. */
int cuda_dnn_count(const void *plan);
const char *cuda_dnn_select(void *plan, int candidate);
const char *cuda_dnn_key(const void *plan);
void cuda_dnn_release(wml_device *device, void *plan);
/* In the order of the pass: forward x, kernel -> y; data y, kernel -> x; weights x, y -> kernel. */
wml_result cuda_dnn_run(wml_device *device, const cuda_dnn_plan *plan, cudaStream_t stream, void *x,
                        void *kernel, void *y, void *bias, void *workspace);

wml_result cuda_blas_open(wml_device *device, cuda_blas **blas);
void cuda_blas_close(wml_device *device, cuda_blas *blas);
const char *cuda_blas_version(const cuda_blas *blas);

/* c[m, n] = a[m, k] b[k, n], all row-major; a or b may be given transposed: a as [k, m]. Of each
 * there are `batch`, one behind the other. */
typedef struct cuda_product {
  int64_t batch, m, n, k;
  bool a_transposed, b_transposed;
  cuda_type a, b, c;
  bool bias; /* [n], of the type of c, is added to each row */
  bool relu;
  bool strict, deterministic;
} cuda_product;

typedef struct cuda_blas_plan cuda_blas_plan;

wml_result cuda_blas_plan_product(wml_device *device, const cuda_product *product,
                                  cuda_blas_plan **plan, const char **why);
size_t cuda_blas_workspace(const cuda_blas_plan *plan);
const char *cuda_blas_name(const cuda_blas_plan *plan);
int cuda_blas_count(const void *plan);
const char *cuda_blas_select(void *plan, int candidate);
const char *cuda_blas_key(const void *plan);
void cuda_blas_release(wml_device *device, void *plan);
wml_result cuda_blas_run(wml_device *device, const cuda_blas_plan *plan, cudaStream_t stream,
                         const void *a, const void *b, void *c, const void *bias, void *workspace);

#ifdef __cplusplus
}
#endif

#endif
