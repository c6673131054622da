/* Embedding: rows of a table by their indices. An index outside reads zeros and teaches nothing. */
#include "ref.h"

void ref_embedding(ref_step *s, const wml_op *op) {
  const int64_t *table = ref_dim(s, op->in[1]);
  const int32_t *index = s->data[op->in[0]];
  const float *rows = ref_f32(s, op->in[1]);
  float *y = ref_f32(s, op->out[0]);
  for (int64_t i = 0; i < ref_elements(s, op->in[0]); i++)
    for (int64_t j = 0; j < table[1]; j++)
      y[i * table[1] + j] =
          index[i] >= 0 && index[i] < table[0] ? rows[index[i] * table[1] + j] : 0.0f;
}

void ref_embedding_bwd(ref_step *s, const wml_op *op) {
  const int64_t *table = ref_dim(s, op->out[0]);
  const int32_t *index = s->data[op->in[0]];
  const float *dy = ref_f32(s, op->in[1]);
  double *sum = ref_sums(s, op->out[0]);
  for (int64_t i = 0; i < ref_elements(s, op->in[0]); i++)
    for (int64_t j = 0; index[i] >= 0 && index[i] < table[0] && j < table[1]; j++)
      sum[index[i] * table[1] + j] += (double)dy[i * table[1] + j];
  ref_store_sums(s, op->out[0]);
}
