/* Inference: y = gamma (conv(x) - mean) / sqrt(var + eps) + beta is a convolution with the kernel
 * scaled per filter and another bias. The plan keeps such weights of its own and makes them anew
 * when the store's have changed. */
#include "cpu.h"

#include <string.h>

/* A persistent tensor of the plan's own with the shape of `like`, or of a vector. */
static int add_weights(wml_plan *plan, const wml_tensor *shape) {
  int t = cpu_add_temporary(plan, 0, 0);
  cpu_entry *e = t < 0 ? NULL : cpu_entry_create(plan->device, shape);
  if (!e) return -1;
  e->next = plan->own_entries;
  plan->own_entries = e;
  plan->tensors[t].info = *shape;
  plan->tensors[t].info.role = WML_ROLE_STATE;
  plan->tensors[t].entry = e;
  return t;
}

static wml_result fold_into(wml_plan *plan, cpu_node *layer, const wml_op *norm) {
  cpu_fold *f = plan->device->host.alloc(sizeof *f, 64);
  if (!f) return WML_OUT_OF_MEMORY;
  *f = (cpu_fold){.next = plan->folds,
                  .kernel = layer->op.in[1],
                  .bias = layer->op.in[2],
                  .gamma = norm->in[1],
                  .beta = norm->in[2],
                  .mean = norm->in[3],
                  .variance = norm->in[4],
                  .epsilon = norm->u.batchnorm.epsilon};
  plan->folds = f;
  wml_tensor kernel = *cpu_info(plan, f->kernel), bias = *cpu_info(plan, f->mean);
  f->own_kernel = add_weights(plan, &kernel);
  f->own_bias = add_weights(plan, &bias);
  if (f->own_kernel < 0 || f->own_bias < 0) return WML_OUT_OF_MEMORY;
  layer->op.in[1] = f->own_kernel;
  layer->op.in[2] = f->own_bias;
  layer->op.out[0] = norm->out[0];
  return WML_OK;
}

wml_result cpu_fold_plan(wml_plan *plan) {
  int kept = 0;
  wml_result result = WML_OK;
  for (int k = 0; k < plan->n_nodes && result == WML_OK; k++) {
    cpu_node *node = &plan->nodes[k], *before = kept ? &plan->nodes[kept - 1] : NULL;
    bool folds = node->op.kind == WML_OP_BATCHNORM_INFER && before &&
                 (before->op.kind == WML_OP_CONV2D || before->op.kind == WML_OP_DENSE) &&
                 before->op.out[0] == node->op.in[0] && before->post.kind == WML_LINEAR &&
                 cpu_consumers(plan, node->op.in[0]) == 1 &&
                 !cpu_info(plan, before->op.in[1])->scales; /* whose kernel is quantized as it is */
    if (folds)
      result = fold_into(plan, before, &node->op);
    else
      plan->nodes[kept++] = *node;
  }
  if (result == WML_OK) plan->n_nodes = kept;
  return result;
}

/* [.., f] row-major, scaled per last index. */
static void scale_filters(float *kernel, int64_t n, int64_t filters, const float *factor) {
  for (int64_t i = 0; i < n; i++) kernel[i] *= factor[i % filters];
}

static wml_result refresh(wml_plan *plan, cpu_fold *f) {
  wml_device *device = plan->device;
  const cpu_entry *from = plan->tensors[f->kernel].entry, *to = plan->tensors[f->own_kernel].entry;
  int64_t filters = plan->tensors[f->own_bias].entry->elements;
  float *plain = device->host.alloc((size_t)(from->elements + filters) * sizeof *plain, 64);
  if (!plain) {
    device->host.error("out of memory for folded weights");
    return WML_OUT_OF_MEMORY;
  }
  float *factor = plain + from->elements, *bias_out = cpu_f32(plan, f->own_bias);
  const float *bias = cpu_f32(plan, f->bias), *gamma = cpu_f32(plan, f->gamma);
  const float *beta = cpu_f32(plan, f->beta), *mean = cpu_f32(plan, f->mean);
  const float *variance = cpu_f32(plan, f->variance);
  for (int64_t i = 0; i < filters; i++) {
    factor[i] = (gamma ? gamma[i] : 1.0f) / sqrtf(variance[i] + f->epsilon);
    bias_out[i] = ((bias ? bias[i] : 0.0f) - mean[i]) * factor[i] + (beta ? beta[i] : 0.0f);
  }
  wml_result result = cpu_reorder_now(device, &from->own, from->data, &from->plain, plain);
  if (result == WML_OK) {
    scale_filters(plain, from->elements, filters, factor);
    result = cpu_reorder_now(device, &to->plain, plain, &to->own, to->data);
  }
  device->host.release(plain);
  f->version = plan->store->version;
  return result;
}

wml_result cpu_fold_refresh(wml_plan *plan) {
  wml_result result = WML_OK;
  for (cpu_fold *f = plan->folds; f && result == WML_OK; f = f->next)
    if (f->version != plan->store->version) result = refresh(plan, f);
  return result;
}
