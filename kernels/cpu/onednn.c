/* oneDNN 2.x behind a few functions; its quirks are named here. */
#include "cpu.h"

#include <string.h>

wml_result cpu_check(const wml_device *device, dnnl_status_t status, const char *call) {
  if (status == dnnl_success) return WML_OK;
  if (status == dnnl_unimplemented) return WML_UNSUPPORTED;
  device->host.error("oneDNN: %s failed with status %d%s", call, (int)status,
                     status == dnnl_out_of_memory ? " (out of memory)" : "");
  return status == dnnl_out_of_memory ? WML_OUT_OF_MEMORY : WML_DEVICE_FAILED;
}

void cpu_describe(const wml_plan *plan, int tensor, dnnl_memory_desc_t *md) {
  const wml_tensor *t = cpu_info(plan, tensor);
  dnnl_dims_t d = {0}, s = {0};
  if (t->rank == 4) {
    d[0] = t->dim[0], d[1] = t->dim[3], d[2] = t->dim[1], d[3] = t->dim[2];
    s[1] = 1, s[3] = d[1], s[2] = d[3] * d[1], s[0] = d[2] * d[3] * d[1];
  } else {
    for (int i = 0; i < t->rank; i++) d[i] = t->dim[i];
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) s[i] = stride, stride *= t->dim[i];
  }
  dnnl_memory_desc_init_by_strides(md, t->rank, d, cpu_type(plan, tensor), s);
}

/* What oneDNN agrees to describe and then cannot make is unsupported, too. */
static wml_result create(const wml_device *device, dnnl_primitive_desc_t pd, dnnl_primitive_t *p) {
  dnnl_status_t status = dnnl_primitive_create(p, pd);
  return status == dnnl_runtime_error ? WML_UNSUPPORTED
                                      : cpu_check(device, status, "primitive_create");
}

/* Memories are made without a buffer; cpu_bind_primitives() says where they are. */
static wml_result add_memories(const wml_device *device, cpu_primitive *p, const cpu_arg *a) {
  int k = p->n_args++;
  p->operand[k] = a->operand;
  for (int thread = 0; thread < device->threads; thread++) {
    dnnl_exec_arg_t *arg = &p->args[thread * CPU_MAX_ARGS + k];
    arg->arg = a->arg;
    wml_result result =
        cpu_check(device, dnnl_memory_create(&arg->memory, a->md, device->engine, DNNL_MEMORY_NONE),
                  "memory_create");
    if (result != WML_OK) return result;
  }
  return WML_OK;
}

/* A non-empty scratchpad must be given in user mode, or the primitive writes through a null
 * pointer. */
wml_result cpu_add_primitive(wml_plan *plan, cpu_node *node, int when, dnnl_primitive_desc_t pd,
                             const cpu_arg *args) {
  wml_device *device = plan->device;
  if (node->n_primitives == CPU_MAX_PRIMITIVES) return WML_INVALID;
  cpu_primitive *p = &node->primitive[node->n_primitives];
  memset(p, 0, sizeof *p);
  p->when = when;
  p->args = wml_take(&device->host, (size_t)device->threads * CPU_MAX_ARGS, sizeof *p->args);
  if (!p->args) return WML_OUT_OF_MEMORY;
  node->n_primitives++;
  wml_result result = create(device, pd, &p->primitive);
  for (; result == WML_OK && args->operand.tensor >= 0; args++)
    result = add_memories(device, p, args);
  const dnnl_memory_desc_t *pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  size_t pad_bytes = pad ? dnnl_memory_desc_get_size(pad) : 0;
  if (result != WML_OK || pad_bytes == 0) return result;
  int scratchpad = cpu_add_scratch(plan, pad_bytes, (int)(node - plan->nodes));
  if (scratchpad < 0) return WML_OUT_OF_MEMORY;
  return add_memories(device, p, &(cpu_arg){DNNL_ARG_SCRATCHPAD, {scratchpad, -1}, pad});
}

wml_result cpu_add_reorder(wml_plan *plan, cpu_node *node, int when, cpu_operand from,
                           const dnnl_memory_desc_t *from_md, cpu_operand to,
                           const dnnl_memory_desc_t *to_md) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL;
  wml_result result = cpu_attributes(plan, NULL, &attr);
  if (result == WML_OK)
    result = cpu_check(plan->device,
                       dnnl_reorder_primitive_desc_create(&pd, from_md, plan->device->engine, to_md,
                                                          plan->device->engine, attr),
                       "reorder");
  if (result == WML_OK)
    result = cpu_add_primitive(
        plan, node, when, pd,
        (cpu_arg[]){{DNNL_ARG_FROM, from, from_md}, {DNNL_ARG_TO, to, to_md}, {0, {-1, -1}, NULL}});
  dnnl_primitive_desc_destroy(pd);
  dnnl_primitive_attr_destroy(attr);
  return result;
}

wml_result cpu_add_pieces(wml_plan *plan, cpu_node *node, int64_t n) {
  node->n_pieces = n;
  node->pieces = wml_take(&plan->device->host, (size_t)n, sizeof *node->pieces);
  return node->pieces ? WML_OK : WML_OUT_OF_MEMORY;
}

void cpu_drop_primitives(wml_plan *plan, cpu_node *node, int kept) {
  const wml_device *device = plan->device;
  while (node->n_primitives > kept) {
    cpu_primitive *p = &node->primitive[--node->n_primitives];
    dnnl_primitive_destroy(p->primitive);
    for (int a = 0; a < device->threads * CPU_MAX_ARGS; a++) dnnl_memory_destroy(p->args[a].memory);
    device->host.release(p->args);
  }
}

void cpu_reset_node(wml_plan *plan, cpu_node *node) {
  cpu_drop_primitives(plan, node, 0);
  plan->device->host.release(node->pieces);
  node->n_pieces = 0;
  node->pieces = NULL;
}

static wml_result bind(const wml_plan *plan, const cpu_primitive *p) {
  wml_result result = WML_OK;
  for (int thread = 0; thread < plan->device->threads; thread++)
    for (int a = 0; a < p->n_args && result == WML_OK; a++)
      result = cpu_check(plan->device,
                         dnnl_memory_set_data_handle(p->args[thread * CPU_MAX_ARGS + a].memory,
                                                     cpu_own(plan, p->operand[a].tensor, thread)),
                         "memory_set_data_handle");
  return result;
}

wml_result cpu_bind_primitives(wml_plan *plan) {
  wml_result result = WML_OK;
  for (int k = 0; k < plan->n_nodes; k++)
    for (int i = 0; i < plan->nodes[k].n_primitives && result == WML_OK; i++)
      result = bind(plan, &plan->nodes[k].primitive[i]);
  return result;
}

wml_result cpu_reorder_now(wml_device *device, const dnnl_memory_desc_t *from_md, const void *from,
                           const dnnl_memory_desc_t *to_md, void *to) {
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_t p = NULL;
  dnnl_memory_t a = NULL, b = NULL;
  dnnl_status_t s =
      dnnl_reorder_primitive_desc_create(&pd, from_md, device->engine, to_md, device->engine, NULL);
  if (s == dnnl_success) s = dnnl_primitive_create(&p, pd);
  if (s == dnnl_success)
    s = dnnl_memory_create(&a, from_md, device->engine, (void *)(uintptr_t)from);
  if (s == dnnl_success) s = dnnl_memory_create(&b, to_md, device->engine, to);
  dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, a}, {DNNL_ARG_TO, b}};
  if (s == dnnl_success) s = dnnl_primitive_execute(p, device->stream, 2, args);
  if (s == dnnl_success) s = dnnl_stream_wait(device->stream);
  dnnl_memory_destroy(a);
  dnnl_memory_destroy(b);
  dnnl_primitive_destroy(p);
  dnnl_primitive_desc_destroy(pd);
  return cpu_check(device, s, "reorder of weights");
}

static void execute(wml_plan *plan, const cpu_primitive *p, const cpu_piece *piece, int thread) {
  dnnl_exec_arg_t *args = p->args + thread * CPU_MAX_ARGS;
  for (int i = 0; i < p->n_args; i++) {
    const cpu_operand *o = &p->operand[i];
    if (o->offset >= 0)
      cpu_note(plan, dnnl_memory_set_data_handle(args[i].memory,
                                                 (uint8_t *)cpu_own(plan, o->tensor, thread) +
                                                     piece->offset[o->offset]));
  }
  cpu_note(plan, dnnl_primitive_execute(p->primitive, plan->device->stream, p->n_args, args));
}

void cpu_run_primitives(cpu_step *step, const cpu_node *node, int when, const cpu_piece *piece,
                        int thread) {
  for (int i = 0; i < node->n_primitives; i++)
    if (node->primitive[i].when == when) execute(step->plan, &node->primitive[i], piece, thread);
}

void cpu_run_piece(void *arg, int64_t piece, int thread) {
  const cpu_pieces_job *j = arg;
  const cpu_piece *p = &j->node->pieces[piece];
  cpu_run_primitives(j->step, j->node, p->kind, p, thread);
}

void cpu_run_pieces_by(cpu_step *step, const cpu_node *node, cpu_piece_body body) {
  cpu_pieces_job job = {step, node};
  cpu_run_primitives(step, node, CPU_BEFORE, NULL, 0);
  cpu_for_pieces(node->n_pieces, body, &job);
}

void cpu_run_pieces(cpu_step *step, cpu_node *node) {
  cpu_run_pieces_by(step, node, cpu_run_piece);
  cpu_run_primitives(step, node, CPU_AFTER, NULL, 0);
}

typedef struct parts_job {
  const vec_table *vec;
  const float *parts;
  int64_t n_parts, apart;
  float *sum;
} parts_job;

static void add_range(void *arg, int64_t begin, int64_t end) {
  const parts_job *j = arg;
  j->vec->add_parts(j->parts + begin, j->n_parts, j->apart, j->sum + begin, end - begin);
}

void cpu_add_parts(const wml_plan *plan, const float *parts, int64_t n_parts, int64_t apart,
                   float *sum, int64_t n) {
  parts_job job = {plan->device->vec, parts, n_parts, apart, sum};
  cpu_parallel(n, 4096, add_range, &job);
}

/* The eltwise algorithm with the same function, or undef. oneDNN's relu turns a NaN into 0, so
 * finiteness is tested on gradients, not on activations. */
static dnnl_alg_kind_t eltwise_of(const wml_activation *act, float *alpha) {
  *alpha = act->alpha;
  switch (act->kind) {
  case WML_RELU:
    return act->threshold == 0.0f && isinf(act->max_value) ? dnnl_eltwise_relu
                                                           : dnnl_alg_kind_undef;
  case WML_RELU6: *alpha = 6.0f; return dnnl_eltwise_bounded_relu;
  case WML_LEAKY_RELU: return dnnl_eltwise_relu;
  case WML_ELU: return dnnl_eltwise_elu;
  case WML_GELU: return dnnl_eltwise_gelu_erf;
  case WML_GELU_TANH: return dnnl_eltwise_gelu_tanh;
  case WML_SIGMOID: return dnnl_eltwise_logistic;
  case WML_TANH: return dnnl_eltwise_tanh;
  case WML_EXPONENTIAL: return dnnl_eltwise_exp;
  case WML_SILU: *alpha = 1.0f; return dnnl_eltwise_swish;
  case WML_HARD_SILU: return dnnl_eltwise_hardswish;
  case WML_MISH: return dnnl_eltwise_mish;
  default: return dnnl_alg_kind_undef;
  }
}

bool cpu_post_activation(const wml_activation *act) {
  float alpha;
  return eltwise_of(act, &alpha) != dnnl_alg_kind_undef;
}

dnnl_status_t cpu_join_activation(dnnl_primitive_attr_t attr, const wml_activation *post,
                                  float scale) {
  dnnl_post_ops_t ops = NULL;
  float alpha;
  dnnl_alg_kind_t algorithm = eltwise_of(post, &alpha);
  dnnl_status_t s = dnnl_post_ops_create(&ops);
  if (s == dnnl_success) s = dnnl_post_ops_append_eltwise(ops, scale, algorithm, alpha, 0.0f);
  if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(attr, ops);
  dnnl_post_ops_destroy(ops);
  return s;
}

wml_result cpu_attributes(wml_plan *plan, const wml_activation *post, dnnl_primitive_attr_t *attr) {
  dnnl_status_t s = dnnl_primitive_attr_create(attr);
  if (s == dnnl_success)
    s = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
  if (s == dnnl_success && post && post->kind != WML_LINEAR)
    s = cpu_join_activation(*attr, post, 1.0f);
  return cpu_check(plan->device, s, "primitive_attr");
}

const char *cpu_implementation_name(dnnl_primitive_desc_t pd) {
  const char *name = "oneDNN";
  dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
  return name;
}

bool cpu_has_isa(dnnl_cpu_isa_t isa) {
#if defined(__x86_64__)
  return (dnnl_get_effective_cpu_isa() & isa) == isa;
#else
  (void)isa;
  return false;
#endif
}
