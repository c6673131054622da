/* Persistent tensors that own code reads and writes row-major. */
#include "cpu.h"

/* As DENSE and CONV2D describe kernels that lie as they are given. */
static void fix_plain(wml_plan *plan, int tensor) {
  cpu_entry *e = plan->tensors[tensor].entry;
  const wml_tensor *t = cpu_info(plan, tensor);
  if (t->rank == 4) {
    cpu_fix_plain_kernel(plan, tensor, 1);
    return;
  }
  if (t->rank == 2) {
    dnnl_dims_t dims = {t->dim[1], t->dim[0]}, strides = {1, t->dim[1]};
    dnnl_memory_desc_init_by_strides(&e->plain, 2, dims, dnnl_f32, strides);
    e->own = e->plain;
  }
  e->fixed = true;
}

wml_result cpu_read_plain(wml_plan *plan, int *tensor) {
  cpu_entry *e = *tensor < 0 ? NULL : plan->tensors[*tensor].entry;
  if (!e) return WML_OK;
  if (!e->fixed) fix_plain(plan, *tensor);
  if (dnnl_memory_desc_equal(&e->own, &e->plain)) return WML_OK;
  int copy = cpu_copy_weight(plan, *tensor, &e->own, &e->plain, NULL, 0);
  if (copy < 0) return WML_OUT_OF_MEMORY;
  *tensor = copy;
  return WML_OK;
}

bool cpu_writes_plain(const wml_plan *plan, cpu_node *node, int tensor) {
  const cpu_entry *e = tensor < 0 ? NULL : plan->tensors[tensor].entry;
  if (!e || dnnl_memory_desc_equal(&e->own, &e->plain)) return true;
  node->why = "another layer keeps this parameter in a layout of its own";
  return false;
}
