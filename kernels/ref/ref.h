/* The reference back end: plain C, one thread, one buffer per tensor. It is the oracle that the
 * other back ends are compared with: clarity before speed, sums in double. */
#ifndef WML_REF_H
#define WML_REF_H

#include "../backend.h"
#include "../common/dropout.h"
#include "../common/rows.h"

/* What an operation sees while a step runs. */
typedef struct ref_step {
  const wml_graph *graph;
  void **data;        /* one buffer per tensor, row-major */
  const wml_run *run; /* feeds, seed, results */
  int64_t index;      /* of this step within the run */
  double loss;        /* of this batch so far */
  bool finite;        /* cleared by UPDATE */
} ref_step;

static inline float *ref_f32(const ref_step *s, int tensor) {
  return tensor < 0 ? NULL : (float *)s->data[tensor];
}

/* What a CONV2D or DENSE reads: where it is quantized, rounded to its steps, behind the value. */
const float *ref_input(const ref_step *step, const wml_op *op);

static inline const int64_t *ref_dim(const ref_step *s, int tensor) {
  return s->graph->tensors[tensor].dim;
}

static inline int64_t ref_elements(const ref_step *s, int tensor) {
  return wml_elements(&s->graph->tensors[tensor]);
}

/* Zeros, one for each element of the tensor, behind its floats: what is summed in double. They
 * become its floats by ref_store_sums(). */
double *ref_sums(const ref_step *step, int tensor);
void ref_store_sums(const ref_step *step, int tensor);

typedef void (*ref_function)(ref_step *step, const wml_op *op);

void ref_gather(ref_step *step, const wml_op *op);
void ref_conv2d(ref_step *step, const wml_op *op);
void ref_conv2d_bwd_data(ref_step *step, const wml_op *op);
void ref_conv2d_bwd_weights(ref_step *step, const wml_op *op);
void ref_dense(ref_step *step, const wml_op *op);
void ref_dense_bwd_data(ref_step *step, const wml_op *op);
void ref_dense_bwd_weights(ref_step *step, const wml_op *op);
void ref_maxpool(ref_step *step, const wml_op *op);
void ref_maxpool_bwd(ref_step *step, const wml_op *op);
void ref_activation(ref_step *step, const wml_op *op);
void ref_activation_bwd(ref_step *step, const wml_op *op);
void ref_batchnorm_train(ref_step *step, const wml_op *op);
void ref_batchnorm_infer(ref_step *step, const wml_op *op);
void ref_batchnorm_bwd(ref_step *step, const wml_op *op);
void ref_batchnorm_bwd_infer(ref_step *step, const wml_op *op);
void ref_dropout(ref_step *step, const wml_op *op);
void ref_noise(ref_step *step, const wml_op *op);
void ref_reshape(ref_step *step, const wml_op *op);
void ref_transpose(ref_step *step, const wml_op *op);
void ref_concat(ref_step *step, const wml_op *op);
void ref_crop(ref_step *step, const wml_op *op);
void ref_pad(ref_step *step, const wml_op *op);
void ref_affine(ref_step *step, const wml_op *op);
void ref_binary(ref_step *step, const wml_op *op);
void ref_binary_bwd(ref_step *step, const wml_op *op);
void ref_reduce(ref_step *step, const wml_op *op);
void ref_reduce_bwd(ref_step *step, const wml_op *op);
void ref_matmul(ref_step *step, const wml_op *op);
void ref_avgpool(ref_step *step, const wml_op *op);
void ref_avgpool_bwd(ref_step *step, const wml_op *op);
void ref_resize(ref_step *step, const wml_op *op);
void ref_resize_bwd(ref_step *step, const wml_op *op);
void ref_norm(ref_step *step, const wml_op *op);
void ref_norm_bwd(ref_step *step, const wml_op *op);
void ref_embedding(ref_step *step, const wml_op *op);
void ref_embedding_bwd(ref_step *step, const wml_op *op);
void ref_penalty(ref_step *step, const wml_op *op);
void ref_loss(ref_step *step, const wml_op *op);
void ref_metric(ref_step *step, const wml_op *op);
void ref_update(ref_step *step, const wml_op *op);
/* l1*sum|w| + l2*sum(w^2) over the graph's items. */
double ref_regularisers(const ref_step *step);

#endif
