/* Mixed precision: which processors, operations that have no code for bfloat16, weights. */
#include "cpu.h"

#include <string.h>

bool cpu_can_narrow(void) {
  return cpu_has_isa(dnnl_cpu_isa_avx512_core_bf16);
}

bool cpu_has_narrow(const wml_plan *plan, const cpu_node *node) {
  bool found = cpu_is_narrow(plan, node->pooled);
  for (int i = 0; i < WML_MAX_OPERANDS; i++) found |= cpu_is_narrow(plan, node->op.in[i]);
  for (int i = 0; i < 3; i++) found |= cpu_is_narrow(plan, node->op.out[i]);
  return found;
}

/* ---- conversions of values: linear activations between two types ---- */

typedef struct convert_job {
  const vec_table *vec;
  const void *x;
  void *y;
  bool narrow; /* else widens */
} convert_job;

static void convert_range(void *arg, int64_t begin, int64_t end) {
  const convert_job *j = arg;
  if (j->narrow)
    j->vec->narrow((const float *)j->x + begin, (uint16_t *)j->y + begin, end - begin);
  else
    j->vec->widen((const uint16_t *)j->x + begin, (float *)j->y + begin, end - begin);
}

static void run_convert(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  convert_job job = {.vec = plan->device->vec,
                     .x = plan->tensors[op->in[0]].data,
                     .y = plan->tensors[op->out[0]].data,
                     .narrow = cpu_is_narrow(plan, op->out[0])};
  cpu_parallel(wml_elements(cpu_info(plan, op->in[0])), 16384, convert_range, &job);
}

wml_result cpu_plan_convert(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  if (op->u.activation.kind != WML_LINEAR || cpu_same_type(plan, op->in[0], op->out[0]))
    return WML_UNSUPPORTED;
  node->name = "own:convert";
  node->run = run_convert;
  return WML_OK;
}

wml_result cpu_insert_conversion(wml_plan *plan, int at, int from, int to) {
  wml_result result = cpu_insert_node(plan, at);
  if (result != WML_OK) return result;
  cpu_node *node = &plan->nodes[at];
  *node = (cpu_node){.op = {.kind = WML_OP_ACTIVATION}, .pooled = -1, .temp = {-1, -1}};
  for (int i = 0; i < WML_MAX_OPERANDS; i++) node->op.in[i] = -1;
  for (int i = 0; i < 3; i++) node->op.out[i] = -1;
  node->op.in[0] = from;
  node->op.out[0] = to;
  node->op.u.activation.kind = WML_LINEAR;
  node->post.kind = WML_LINEAR;
  return WML_OK;
}

/* *operand of node *at, which moves up. */
static wml_result widen_operand(wml_plan *plan, int *at, int tensor, int *wide) {
  *wide = cpu_add_like(plan, tensor, cpu_info(plan, tensor)->dim[0], false);
  if (*wide < 0) return WML_OUT_OF_MEMORY;
  return cpu_insert_conversion(plan, (*at)++, tensor, *wide);
}

wml_result cpu_widen_node(wml_plan *plan, int at) {
  wml_result result = WML_OK;
  int wide;
  for (int i = 0; i < WML_MAX_OPERANDS && result == WML_OK; i++) {
    int tensor = plan->nodes[at].op.in[i];
    if (!cpu_is_narrow(plan, tensor)) continue;
    result = widen_operand(plan, &at, tensor, &wide);
    if (result == WML_OK) plan->nodes[at].op.in[i] = wide;
  }
  if (result == WML_OK && cpu_is_narrow(plan, plan->nodes[at].pooled)) {
    result = widen_operand(plan, &at, plan->nodes[at].pooled, &wide);
    if (result == WML_OK) plan->nodes[at].pooled = wide;
  }
  for (int i = 0; i < 3 && result == WML_OK; i++) {
    int tensor = plan->nodes[at].op.out[i];
    if (!cpu_is_narrow(plan, tensor)) continue;
    wide = cpu_add_like(plan, tensor, cpu_info(plan, tensor)->dim[0], false);
    result = wide < 0 ? WML_OUT_OF_MEMORY : cpu_insert_conversion(plan, at + 1, wide, tensor);
    if (result == WML_OK) plan->nodes[at].op.out[i] = wide;
  }
  return result;
}

/* ---- weights ---- */

static dnnl_status_t describe_copy(const wml_device *device, const dnnl_memory_desc_t *from,
                                   const dnnl_memory_desc_t *md, const float *scales,
                                   int64_t n_scales, dnnl_primitive_desc_t *pd) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_status_t s = dnnl_primitive_attr_create(&attr);
  if (s == dnnl_success && scales) /* one for each output, the first dimension */
    s = dnnl_primitive_attr_set_output_scales(attr, n_scales, 1, scales);
  if (s == dnnl_success)
    s = dnnl_reorder_primitive_desc_create(pd, from, device->engine, md, device->engine, attr);
  dnnl_primitive_attr_destroy(attr);
  return s;
}

typedef struct copy_spec {
  const cpu_entry *source;
  const dnnl_memory_desc_t *from, *md;
  const float *scales;
  int64_t n_scales;
} copy_spec;

static cpu_entry *make_copy(wml_plan *plan, const wml_tensor *shape, const copy_spec *spec) {
  wml_device *device = plan->device;
  wml_tensor named = *shape;
  named.name = "copy";
  cpu_entry *e = cpu_entry_create(device, &named);
  if (!e) return NULL;
  e->plain = *spec->from;
  e->own = *spec->md;
  e->fixed = true;
  e->source = spec->source;
  e->maker = plan;
  dnnl_primitive_desc_t pd = NULL;
  dnnl_status_t s = describe_copy(device, spec->from, spec->md, spec->scales, spec->n_scales, &pd);
  if (s == dnnl_success) s = dnnl_primitive_create(&e->reorder, pd);
  if (s == dnnl_success)
    s = dnnl_memory_create(&e->from, spec->from, device->engine, DNNL_MEMORY_NONE);
  if (s == dnnl_success) s = dnnl_memory_create(&e->to, spec->md, device->engine, DNNL_MEMORY_NONE);
  dnnl_primitive_desc_destroy(pd);
  if (cpu_check(device, s, "copy of weights") == WML_OK) return e;
  cpu_entry_destroy(device, e);
  return NULL;
}

/* Copies of the store's weights are the store's, for all its plans; those of a plan's own, its. */
int cpu_copy_weight(wml_plan *plan, int tensor, const dnnl_memory_desc_t *from,
                    const dnnl_memory_desc_t *md, const float *scales, int64_t n_scales) {
  const copy_spec spec = {plan->tensors[tensor].entry, from, md, scales, n_scales};
  cpu_entry **list = tensor < plan->graph.n_tensors ? &plan->store->copies : &plan->own_entries,
            *e = *list;
  while (e && !(e->source == spec.source && dnnl_memory_desc_equal(&e->own, md) &&
                dnnl_memory_desc_equal(&e->plain, from)))
    e = e->next;
  if (!e) {
    e = make_copy(plan, cpu_info(plan, tensor), &spec);
    if (!e) return -1;
    e->next = *list;
    *list = e;
  }
  int copy = cpu_add_temporary(plan, 0, 0);
  if (copy < 0) return -1;
  plan->tensors[copy].info = *cpu_info(plan, tensor);
  plan->tensors[copy].info.name = "";
  plan->tensors[copy].info.role = WML_ROLE_STATE;
  plan->tensors[copy].entry = e;
  return copy;
}

int cpu_narrow_weight(wml_plan *plan, int tensor, const dnnl_memory_desc_t *md) {
  return cpu_copy_weight(plan, tensor, &plan->tensors[tensor].entry->own, md, NULL, 0);
}

wml_result cpu_prepare_copies(wml_plan *plan) {
  for (int i = plan->graph.n_tensors; i < plan->n_tensors; i++) {
    const cpu_entry *e = plan->tensors[i].entry;
    if (!e || !e->source) continue;
    dnnl_status_t s = dnnl_memory_set_data_handle(e->from, e->source->data);
    if (s == dnnl_success) s = dnnl_memory_set_data_handle(e->to, e->data);
    if (s != dnnl_success) return cpu_check(plan->device, s, "memory_set_data_handle");
  }
  return WML_OK;
}

void cpu_refresh_copies(wml_plan *plan) {
  for (int i = plan->graph.n_tensors; i < plan->n_tensors; i++) {
    cpu_entry *e = plan->tensors[i].entry;
    if (!e || !e->source || e->version == plan->store->version) continue;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, e->from}, {DNNL_ARG_TO, e->to}};
    dnnl_primitive_execute(e->reorder, plan->device->stream, 2, args);
    e->version = plan->store->version;
  }
}

/* Blocks of 16 inputs times so many outputs against blocks of 32 inputs, two of which lie side by
 * side for each output: how oneDNN's inner products in bfloat16 take weights. */
static bool is_paired(const dnnl_memory_desc_t *own, const dnnl_memory_desc_t *copy) {
  const dnnl_blocking_desc_t *a = &own->format_desc.blocking, *b = &copy->format_desc.blocking;
  if (own->format_kind != dnnl_blocked || copy->format_kind != dnnl_blocked || own->ndims != 2 ||
      copy->extra.flags != dnnl_memory_extra_flag_none || a->inner_nblks != 2 ||
      b->inner_nblks != 3)
    return false;
  int64_t inputs = a->inner_blks[0], outputs = a->inner_blks[1], rows = own->padded_dims[1];
  return a->inner_idxs[0] == 1 && a->inner_idxs[1] == 0 && b->inner_idxs[0] == 1 &&
         b->inner_idxs[1] == 0 && b->inner_idxs[2] == 1 && b->inner_blks[2] == 2 &&
         b->inner_blks[0] == inputs && b->inner_blks[1] == outputs &&
         rows == copy->padded_dims[1] && own->padded_dims[0] == copy->padded_dims[0] &&
         a->strides[1] == inputs * outputs && b->strides[1] == 2 * inputs * outputs &&
         a->strides[0] == rows * outputs && b->strides[0] == rows * outputs;
}

cpu_entry *cpu_paired_copy(const wml_store *store, const cpu_entry *weight, int64_t *width) {
  for (cpu_entry *e = store->copies; e; e = e->next)
    if (e->source == weight && e->data && is_paired(&weight->own, &e->own)) {
      *width = weight->own.format_desc.blocking.inner_blks[1];
      return e;
    }
  return NULL;
}
