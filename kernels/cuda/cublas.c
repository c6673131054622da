/* cuBLASLt. Its matrices are column-major, ours row-major: c = a b is computed as c' = b' a', so
 * cuBLASLt's A is our b. Split sums go through a workspace, never through atomics. */
#include "vendor.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CANDIDATES = 8 };
static const size_t most_workspace = (size_t)32 << 20;

#define BLAS_FUNCTIONS(X)                                                                          \
  X(cublasLtCreate)                                                                                \
  X(cublasLtDestroy)                                                                               \
  X(cublasLtGetVersion)                                                                            \
  X(cublasLtGetStatusName)                                                                         \
  X(cublasLtMatmul)                                                                                \
  X(cublasLtMatmulAlgoGetHeuristic)                                                                \
  X(cublasLtMatmulDescCreate)                                                                      \
  X(cublasLtMatmulDescDestroy)                                                                     \
  X(cublasLtMatmulDescSetAttribute)                                                                \
  X(cublasLtMatmulPreferenceCreate)                                                                \
  X(cublasLtMatmulPreferenceDestroy)                                                               \
  X(cublasLtMatmulPreferenceSetAttribute)                                                          \
  X(cublasLtMatrixLayoutCreate)                                                                    \
  X(cublasLtMatrixLayoutDestroy)                                                                   \
  X(cublasLtMatrixLayoutSetAttribute)

struct cuda_blas {
#define DECLARE(name) __typeof__(name) *name;
  BLAS_FUNCTIONS(DECLARE)
#undef DECLARE
  cublasLtHandle_t handle;
  char version[32];
};

struct cuda_blas_plan {
  cuda_blas *blas;
  cublasLtMatmulDesc_t how;
  cublasLtMatrixLayout_t a, b, c; /* cuBLASLt's A and B: our b and a */
  int n, chosen;
  cublasLtMatmulHeuristicResult_t candidate[MAX_CANDIDATES];
  size_t workspace; /* of the largest candidate */
  bool bias;
  char name[MAX_CANDIDATES][32];
  char key[120];
};

/* ---- the library ---- */

static bool load(cuda_blas *blas, void *library) {
#define LOAD(function)                                                                             \
  {                                                                                                \
    void *symbol = dlsym(library, #function);                                                      \
    if (!symbol) return false;                                                                     \
    memcpy(&blas->function, &symbol, sizeof symbol);                                               \
  }
  BLAS_FUNCTIONS(LOAD)
#undef LOAD
  return true;
}

wml_result cuda_blas_open(wml_device *device, cuda_blas **out) {
  *out = NULL;
  if (device->planning) return WML_OK; /* it asks the driver for everything */
  void *library = cuda_find_library("libcublasLt.so.13");
  if (!library) return WML_OK;
  cuda_blas *blas = cuda_take(device, 1, sizeof *blas);
  if (!blas) return WML_OUT_OF_MEMORY;
  if (!load(blas, library)) {
    device->host.release(blas);
    return WML_OK;
  }
  size_t v = blas->cublasLtGetVersion();
  snprintf(blas->version, sizeof blas->version, "cuBLASLt %zu.%zu.%zu", v / 10000, v / 100 % 100,
           v % 100);
  cublasStatus_t s = blas->cublasLtCreate(&blas->handle);
  if (s != CUBLAS_STATUS_SUCCESS) {
    device->host.error("cublasLtCreate: %s", blas->cublasLtGetStatusName(s));
    device->host.release(blas);
    return WML_DEVICE_FAILED;
  }
  *out = blas;
  return WML_OK;
}

void cuda_blas_close(wml_device *device, cuda_blas *blas) {
  if (!blas) return;
  blas->cublasLtDestroy(blas->handle);
  device->host.release(blas);
}

const char *cuda_blas_version(const cuda_blas *blas) {
  return blas ? blas->version : "no cuBLASLt";
}

/* ---- planning ---- */

static cudaDataType_t type_of(cuda_type type) {
  return type == CUDA_BF16_T ? CUDA_R_16BF : CUDA_R_32F;
}

/* `batch` row-major [rows, columns] as cuBLASLt sees them. */
static cublasStatus_t layout(const cuda_blas *blas, cublasLtMatrixLayout_t *out, cuda_type type,
                             int64_t batch, int64_t rows, int64_t columns) {
  int32_t count = (int32_t)batch;
  int64_t stride = rows * columns;
  cublasStatus_t s = blas->cublasLtMatrixLayoutCreate(out, type_of(type), (uint64_t)columns,
                                                      (uint64_t)rows, columns);
  if (batch == 1) return s;
  if (s == CUBLAS_STATUS_SUCCESS)
    s = blas->cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                               sizeof count);
  if (s == CUBLAS_STATUS_SUCCESS)
    s = blas->cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                               &stride, sizeof stride);
  return s;
}

static cublasStatus_t describe(cuda_blas_plan *p, const cuda_product *v) {
  const cuda_blas *blas = p->blas;
  cublasComputeType_t compute =
      v->a == CUDA_BF16_T || v->strict ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32;
  cublasOperation_t a = v->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                    b = v->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = v->bias
                                    ? v->relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS
                                : v->relu ? CUBLASLT_EPILOGUE_RELU
                                          : CUBLASLT_EPILOGUE_DEFAULT;
  cudaDataType_t bias = type_of(v->c);
  cublasStatus_t s = blas->cublasLtMatmulDescCreate(&p->how, compute, CUDA_R_32F);
#define SET(attribute, value)                                                                      \
  if (s == CUBLAS_STATUS_SUCCESS)                                                                  \
  s = blas->cublasLtMatmulDescSetAttribute(p->how, attribute, &(value), sizeof(value))
  SET(CUBLASLT_MATMUL_DESC_TRANSA, a);
  SET(CUBLASLT_MATMUL_DESC_TRANSB, b);
  SET(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  if (v->bias) SET(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias);
#undef SET
  if (s == CUBLAS_STATUS_SUCCESS)
    s = layout(blas, &p->a, v->b, v->batch, v->b_transposed ? v->n : v->k,
               v->b_transposed ? v->k : v->n);
  if (s == CUBLAS_STATUS_SUCCESS)
    s = layout(blas, &p->b, v->a, v->batch, v->a_transposed ? v->k : v->m,
               v->a_transposed ? v->m : v->k);
  if (s == CUBLAS_STATUS_SUCCESS) s = layout(blas, &p->c, v->c, v->batch, v->m, v->n);
  return s;
}

static cublasStatus_t ask_heuristics(cuda_blas_plan *p, int most) {
  const cuda_blas *blas = p->blas;
  cublasLtMatmulPreference_t preference = NULL;
  const cublasLtMatmulPreferenceAttributes_t alignments[] = {
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
  uint32_t alignment = WML_PACKING_ALIGNMENT / 2; /* of weights in bfloat16; it assumes 256 */
  uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  cublasStatus_t s = blas->cublasLtMatmulPreferenceCreate(&preference);
  if (s == CUBLAS_STATUS_SUCCESS)
    s = blas->cublasLtMatmulPreferenceSetAttribute(preference,
                                                   CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                   &most_workspace, sizeof most_workspace);
  if (s == CUBLAS_STATUS_SUCCESS)
    s = blas->cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes);
  for (int i = 0; i < 4 && s == CUBLAS_STATUS_SUCCESS; i++)
    s = blas->cublasLtMatmulPreferenceSetAttribute(preference, alignments[i], &alignment,
                                                   sizeof alignment);
  if (s == CUBLAS_STATUS_SUCCESS)
    s = blas->cublasLtMatmulAlgoGetHeuristic(blas->handle, p->how, p->a, p->b, p->c, p->c,
                                             preference, most, p->candidate, &p->n);
  if (preference) blas->cublasLtMatmulPreferenceDestroy(preference);
  return s;
}

wml_result cuda_blas_plan_product(wml_device *device, const cuda_product *v, cuda_blas_plan **out,
                                  const char **why) {
  if (!device->blas) {
    *why = "cuBLASLt is not installed";
    return WML_UNSUPPORTED;
  }
  if (v->batch > INT32_MAX) {
    *why = "too many matrices";
    return WML_UNSUPPORTED;
  }
  if (v->a != v->b) {
    *why = "operands of two types";
    return WML_UNSUPPORTED;
  }
  cuda_blas_plan *p = cuda_take(device, 1, sizeof *p);
  if (!p) return WML_OUT_OF_MEMORY;
  p->blas = device->blas;
  p->bias = v->bias;
  int length =
      snprintf(p->key, sizeof p->key, "product %lld %lld %lld t%d%d types %d,%d b%d r%d t%d",
               (long long)v->m, (long long)v->n, (long long)v->k, v->a_transposed, v->b_transposed,
               (int)v->a, (int)v->c, v->bias, v->relu, v->strict);
  if (v->batch > 1)
    snprintf(p->key + length, sizeof p->key - (size_t)length, " x%lld", (long long)v->batch);
  cublasStatus_t s = describe(p, v);
  if (s == CUBLAS_STATUS_SUCCESS) s = ask_heuristics(p, v->deterministic ? 1 : MAX_CANDIDATES);
  if (s != CUBLAS_STATUS_SUCCESS || p->n == 0) {
    *why = "cuBLASLt has no algorithm for it";
    cuda_blas_release(device, p);
    return WML_UNSUPPORTED;
  }
  for (int i = 0; i < p->n; i++) {
    snprintf(p->name[i], sizeof p->name[i], "cublasLt:%d of %d", i + 1, p->n);
    if (p->candidate[i].workspaceSize > p->workspace) p->workspace = p->candidate[i].workspaceSize;
  }
  *out = p;
  return WML_OK;
}

void cuda_blas_release(wml_device *device, void *plan) {
  cuda_blas_plan *p = plan;
  if (!p) return;
  if (p->a) p->blas->cublasLtMatrixLayoutDestroy(p->a);
  if (p->b) p->blas->cublasLtMatrixLayoutDestroy(p->b);
  if (p->c) p->blas->cublasLtMatrixLayoutDestroy(p->c);
  if (p->how) p->blas->cublasLtMatmulDescDestroy(p->how);
  device->host.release(p);
}

/* ---- the plan ---- */

size_t cuda_blas_workspace(const cuda_blas_plan *p) {
  return p->workspace;
}

const char *cuda_blas_name(const cuda_blas_plan *p) {
  return p->name[p->chosen];
}

int cuda_blas_count(const void *plan) {
  return ((const cuda_blas_plan *)plan)->n;
}

const char *cuda_blas_select(void *plan, int candidate) {
  cuda_blas_plan *p = plan;
  p->chosen = candidate;
  return p->name[candidate];
}

const char *cuda_blas_key(const void *plan) {
  return ((const cuda_blas_plan *)plan)->key;
}

wml_result cuda_blas_run(wml_device *device, const cuda_blas_plan *p, cudaStream_t stream,
                         const void *a, const void *b, void *c, const void *bias, void *workspace) {
  const cuda_blas *blas = p->blas;
  const cublasLtMatmulHeuristicResult_t *algorithm = &p->candidate[p->chosen];
  const float one = 1.0f, zero = 0.0f;
  cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
  pthread_mutex_lock(&device->mutex);
  if (p->bias)
    s = blas->cublasLtMatmulDescSetAttribute(p->how, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                             sizeof bias);
  if (s == CUBLAS_STATUS_SUCCESS)
    s = blas->cublasLtMatmul(blas->handle, p->how, &one, b, p->a, a, p->b, &zero, c, p->c, c, p->c,
                             &algorithm->algo, workspace, algorithm->workspaceSize, stream);
  pthread_mutex_unlock(&device->mutex);
  if (s == CUBLAS_STATUS_SUCCESS) return WML_OK;
  device->host.error("cublasLtMatmul: %s", blas->cublasLtGetStatusName(s));
  return WML_DEVICE_FAILED;
}
