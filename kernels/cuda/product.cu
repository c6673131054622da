/* Products of matrices: cuBLASLt, and a kernel that sums in double, a thread per element. */
#include "kernel.cuh"

#include "product.h"

/* Elements from one row, column and matrix to the next. */
typedef struct steps {
  int64_t row, column, matrix;
} steps;

static __global__ void multiply(cuda_product p, cuda_view a, cuda_view b, cuda_view c,
                                const float *bias, steps of_a, steps of_b) {
  CUDA_EACH(i, p.batch * p.m * p.n) {
    int64_t matrix = i / (p.m * p.n), row = i / p.n % p.m, column = i % p.n;
    int64_t from_a = matrix * of_a.matrix + row * of_a.row,
            from_b = matrix * of_b.matrix + column * of_b.column;
    double exact = 0.0;
    for (int64_t k = 0; k < p.k; k++)
      exact += (double)view_get(a, from_a + k * of_a.column) *
               (double)view_get(b, from_b + k * of_b.row);
    if (bias) exact += (double)bias[column];
    float sum = (float)exact;
    view_set(c, i, p.relu && !(sum > 0.0f || sum != sum) ? 0.0f : sum);
  }
}

/* Of a row-major [rows, columns] matrix, or one that is given as [columns, rows]. */
static steps steps_of(int64_t rows, int64_t columns, bool transposed) {
  return transposed ? steps{1, rows, rows * columns} : steps{columns, 1, rows * columns};
}

static void run_own(cuda_call *call, const cuda_node *node, const cuda_product *p, cuda_view a,
                    cuda_view b, int bias) {
  const wml_plan *plan = call->plan;
  CUDA_LAUNCH(multiply, cuda_blocks(p->batch * p->m * p->n, 1 << 20), CUDA_THREADS, call->stream,
              *p, a, b, cuda_view_of(plan, node->op.out[0]), cuda_f32(plan, bias),
              steps_of(p->m, p->k, p->a_transposed), steps_of(p->k, p->n, p->b_transposed));
}

static void run_blas(cuda_call *call, const cuda_node *node, const cuda_product *p, cuda_view a,
                     cuda_view b, int bias) {
  const wml_plan *plan = call->plan;
  const void *added = NULL;
  if (bias >= 0) added = p->c == CUDA_BF16_T ? cuda_weight(plan, bias).data : cuda_f32(plan, bias);
  call->result = cuda_blas_run(plan->device, (const cuda_blas_plan *)node->vendor, call->stream,
                               a.data, b.data, plan->tensors[node->op.out[0]].data, added,
                               cuda_view_of(plan, node->temp[0]).data);
}

void cuda_product_run(cuda_call *call, const cuda_node *node, const cuda_product *p, cuda_view a,
                      cuda_view b, int bias) {
  if (node->vendor)
    run_blas(call, node, p, a, b, bias);
  else
    run_own(call, node, p, a, b, bias);
}

static const cuda_tuning tuning = {cuda_blas_count, cuda_blas_select, cuda_blas_key};

wml_result cuda_product_plan_fast(wml_plan *plan, cuda_node *node, const cuda_product *p) {
  cuda_blas_plan *vendor = NULL;
  wml_result result = cuda_blas_plan_product(plan->device, p, &vendor, &node->why);
  if (result != WML_OK) return result;
  node->vendor = vendor;
  node->release = cuda_blas_release;
  node->tuning = &tuning;
  node->name = cuda_blas_name(vendor);
  return cuda_take_temporary(plan, node, 0, cuda_blas_workspace(vendor));
}
