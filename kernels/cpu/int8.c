/* Inference in int8, where the processor multiplies bytes (VNNI): the graph says by which scales
 * its values and kernels are quantized. A convolution or dense layer reads bytes and writes bytes
 * or float32; what lies between two of them stays bytes where nothing else reads it. */
#include "cpu.h"

#include <string.h>

bool cpu_can_int8(void) {
  return cpu_has_isa(dnnl_cpu_isa_avx512_core_vnni);
}

/* ---- which operations and values ---- */

static bool multiplies(const cpu_node *node) {
  return node->op.kind == WML_OP_CONV2D || node->op.kind == WML_OP_DENSE;
}

/* Operations that pass bytes on as they are. */
static bool passes_bytes(const cpu_node *node) {
  return node->op.kind == WML_OP_RESHAPE ||
         (node->op.kind == WML_OP_MAXPOOL && node->op.out[1] < 0);
}

/* The bytes of a picture are its values times 255. */
static bool gathers_bytes(const wml_plan *plan, const cpu_node *node, const cpu_tensor *value) {
  const wml_gather *g = &node->op.u.gather;
  return node->op.kind == WML_OP_GATHER && cpu_info(plan, node->op.in[0])->dtype == WML_U8 &&
         !wml_augment_is_on(&g->augment) && !value->info.is_signed &&
         fabsf(value->info.scale - g->scale) <= 1e-6f * g->scale;
}

static void settle_operations(wml_plan *plan) {
  for (int k = 0; k < plan->n_nodes; k++) {
    cpu_node *n = &plan->nodes[k];
    n->in_int8 = multiplies(n) && cpu_info(plan, n->op.in[0])->scale > 0.0f &&
                 cpu_info(plan, n->op.in[1])->scales != NULL &&
                 (n->op.kind == WML_OP_DENSE || n->op.u.window.groups == 1);
  }
}

/* A value without a scale of its own has that of the pooled or reshaped one that is made of it. */
static void hand_scales_back(wml_plan *plan) {
  for (int k = plan->n_nodes - 1; k >= 0; k--) {
    const cpu_node *n = &plan->nodes[k];
    if (!passes_bytes(n)) continue;
    wml_tensor *in = &plan->tensors[n->op.in[0]].info;
    const wml_tensor *out = cpu_info(plan, n->op.out[0]);
    if (in->scale > 0.0f || !(out->scale > 0.0f)) continue;
    in->scale = out->scale;
    in->is_signed = out->is_signed;
  }
}

static bool reads_bytes(const wml_plan *plan, const cpu_node *n, int value) {
  if (n->in_int8) return n->op.in[0] == value;
  const cpu_tensor *out = n->op.out[0] < 0 ? NULL : &plan->tensors[n->op.out[0]];
  return passes_bytes(n) && out->is_bytes && out->info.scale == cpu_info(plan, value)->scale;
}

static bool writes_bytes(const wml_plan *plan, const cpu_node *n, const cpu_tensor *value) {
  if (n->in_int8) return true;
  return gathers_bytes(plan, n, value) || (passes_bytes(n) && plan->tensors[n->op.in[0]].is_bytes &&
                                           cpu_info(plan, n->op.in[0])->scale == value->info.scale);
}

static bool can_be_bytes(const wml_plan *plan, int value) {
  bool made = false;
  for (int k = 0; k < plan->n_nodes; k++) {
    const cpu_node *n = &plan->nodes[k];
    for (int i = 0; i < WML_MAX_OPERANDS; i++)
      if (n->op.in[i] == value && !reads_bytes(plan, n, value)) return false;
    if (n->op.out[0] == value) made = writes_bytes(plan, n, &plan->tensors[value]);
  }
  return made;
}

/* All that have a scale may be bytes; those that cannot are struck out until none is left. */
static void settle_values(wml_plan *plan) {
  for (int i = 0; i < plan->n_tensors; i++) {
    cpu_tensor *t = &plan->tensors[i];
    t->is_bytes = t->info.role == WML_ROLE_VALUE && t->info.scale > 0.0f && !t->pinned;
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < plan->n_tensors; i++)
      if (plan->tensors[i].is_bytes && !can_be_bytes(plan, i)) {
        plan->tensors[i].is_bytes = false;
        changed = true;
      }
  }
  for (int i = 0; i < plan->n_tensors; i++)
    if (plan->tensors[i].is_bytes) plan->tensors[i].bytes = (size_t)wml_elements(cpu_info(plan, i));
}

/* A quantized copy of a value that stays float32. */
static wml_result quantize_input(wml_plan *plan, int at) {
  int value = plan->nodes[at].op.in[0];
  int64_t n = wml_elements(cpu_info(plan, value));
  int bytes = cpu_add_temporary(plan, (size_t)n, -1);
  if (bytes < 0) return WML_OUT_OF_MEMORY;
  plan->tensors[bytes].info = *cpu_info(plan, value);
  plan->tensors[bytes].info.name = "";
  plan->tensors[bytes].is_bytes = true;
  wml_result result = cpu_insert_conversion(plan, at, value, bytes);
  if (result == WML_OK) plan->nodes[at + 1].op.in[0] = bytes;
  return result;
}

wml_result cpu_settle_int8(wml_plan *plan) {
  if (plan->graph.precision != WML_FLOAT32) return WML_OK;
  settle_operations(plan);
  hand_scales_back(plan);
  settle_values(plan);
  wml_result result = WML_OK;
  for (int k = 0; k < plan->n_nodes && result == WML_OK; k++)
    if (plan->nodes[k].in_int8 && !plan->tensors[plan->nodes[k].op.in[0]].is_bytes)
      result = quantize_input(plan, k++);
  return result;
}

/* ---- what oneDNN is told ---- */

/* The sum of products of bytes, times this, is the result: in float32 or, where the result is bytes
 * and no activation comes between, in its steps. */
static float output_scale(const wml_plan *plan, const cpu_node *node, int64_t filter) {
  const cpu_tensor *y = &plan->tensors[node->op.out[0]];
  float scale =
      cpu_info(plan, node->op.in[0])->scale * cpu_info(plan, node->op.in[1])->scales[filter];
  return y->is_bytes && node->post.kind == WML_LINEAR ? scale / y->info.scale : scale;
}

static float *scales_of(const wml_plan *plan, int64_t n) {
  return wml_take(&plan->device->host, (size_t)n, sizeof(float));
}

wml_result cpu_int8_attributes(wml_plan *plan, const cpu_node *node, int64_t first, int64_t filters,
                               dnnl_primitive_attr_t *attr) {
  const cpu_tensor *y = &plan->tensors[node->op.out[0]];
  float *scales = scales_of(plan, filters);
  if (!scales) return WML_OUT_OF_MEMORY;
  for (int64_t i = 0; i < filters; i++) scales[i] = output_scale(plan, node, first + i);
  wml_result result = cpu_attributes(plan, NULL, attr);
  if (result == WML_OK) {
    dnnl_status_t s = dnnl_primitive_attr_set_output_scales(*attr, filters, 1 << 1, scales);
    if (s == dnnl_success && node->post.kind != WML_LINEAR)
      s = cpu_join_activation(*attr, &node->post, y->is_bytes ? 1.0f / y->info.scale : 1.0f);
    result = cpu_check(plan->device, s, "primitive_attr");
  }
  plan->device->host.release(scales);
  return result;
}

/* Copies of the float32 weights: whole multiples of the scales, so that nothing is lost. */
int cpu_int8_weights(wml_plan *plan, const cpu_node *node, const dnnl_memory_desc_t *md) {
  const wml_tensor *kernel = cpu_info(plan, node->op.in[1]);
  int64_t n = kernel->dim[kernel->rank - 1];
  float *inverse = scales_of(plan, n);
  if (!inverse) return -1;
  for (int64_t i = 0; i < n; i++) inverse[i] = 1.0f / kernel->scales[i];
  int copy = cpu_copy_weight(plan, node->op.in[1], &plan->tensors[node->op.in[1]].entry->own, md,
                             inverse, n);
  plan->device->host.release(inverse);
  return copy;
}

/* oneDNN adds the bias before it scales. */
int cpu_int8_bias(wml_plan *plan, const cpu_node *node) {
  const wml_tensor *kernel = cpu_info(plan, node->op.in[1]);
  int64_t n = kernel->dim[kernel->rank - 1];
  float *inverse = scales_of(plan, n);
  if (!inverse) return -1;
  for (int64_t i = 0; i < n; i++)
    inverse[i] = 1.0f / (cpu_info(plan, node->op.in[0])->scale * kernel->scales[i]);
  const dnnl_memory_desc_t *md = &plan->tensors[node->op.in[2]].entry->own;
  int copy = cpu_copy_weight(plan, node->op.in[2], md, md, inverse, n);
  plan->device->host.release(inverse);
  return copy;
}

/* ---- float32 to bytes ---- */

typedef struct quantize_job {
  const vec_table *vec;
  const float *x;
  uint8_t *y;
  float inverse;
  bool is_signed;
} quantize_job;

static void quantize_range(void *arg, int64_t begin, int64_t end) {
  const quantize_job *j = arg;
  j->vec->quantize(j->x + begin, j->y + begin, end - begin, j->inverse, j->is_signed);
}

static void run_quantize(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_tensor *y = cpu_info(plan, node->op.out[0]);
  quantize_job job = {plan->device->vec, cpu_f32(plan, node->op.in[0]),
                      plan->tensors[node->op.out[0]].data, 1.0f / y->scale, y->is_signed};
  cpu_parallel(wml_elements(y), 16384, quantize_range, &job);
}

wml_result cpu_plan_quantize(wml_plan *plan, cpu_node *node) {
  if (!plan->tensors[node->op.out[0]].is_bytes) return WML_UNSUPPORTED;
  node->name = "own:quantize";
  node->run = run_quantize;
  return WML_OK;
}
