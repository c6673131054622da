/* Products of the matrices in the last two dimensions, by oneDNN, a matrix or a band of its rows at
 * a time. */
#include "cpu.h"

/* A piece of so many operations takes some 20 us. */
enum { LEAST_ROWS = 32, PIECE_FLOPS = 2000000 };

/* c [m, n] = a [m, k] b [k, n], of which a or b may lie transposed. */
typedef struct matmul_shape {
  int64_t matrices, m, n, k;
  bool a_transposed, b_transposed;
  int64_t bands, rows; /* of the result; the last may have fewer rows */
} matmul_shape;

static int64_t bands_of(const wml_device *device, const matmul_shape *s) {
  if (device->finest_pieces) return s->m;
  int64_t most = s->m / LEAST_ROWS;
  double wanted = 2.0 * (double)s->m * (double)s->n * (double)s->k / PIECE_FLOPS;
  return wanted < 1.0 || most < 1 ? 1 : wanted > (double)most ? most : (int64_t)wanted;
}

static matmul_shape shape_of(const wml_plan *plan, const wml_op *op) {
  const wml_tensor *a = cpu_info(plan, op->in[0]), *y = cpu_info(plan, op->out[0]);
  matmul_shape s = {.m = y->dim[y->rank - 2],
                    .n = y->dim[y->rank - 1],
                    .a_transposed = op->u.matmul.transpose_a,
                    .b_transposed = op->u.matmul.transpose_b};
  s.k = a->dim[a->rank - (s.a_transposed ? 2 : 1)];
  s.matrices = wml_elements(y) / (s.m * s.n);
  s.rows = (s.m - 1) / bands_of(plan->device, &s) + 1;
  s.bands = (s.m - 1) / s.rows + 1;
  return s;
}

/* A part of a matrix with `width` columns, or of one with `width` rows that lies transposed. */
static void describe(int64_t rows, int64_t columns, bool transposed, int64_t width,
                     dnnl_data_type_t type, dnnl_memory_desc_t *md) {
  dnnl_dims_t d = {rows, columns}, s = {transposed ? 1 : width, transposed ? width : 1};
  dnnl_memory_desc_init_by_strides(md, 2, d, type, s);
}

enum { AT_A, AT_B, AT_Y };

/* The primitive for bands of so many rows, which is the next kind of piece. */
static wml_result add_kind(wml_plan *plan, cpu_node *node, const matmul_shape *s, int64_t rows) {
  const wml_op *op = &node->op;
  dnnl_memory_desc_t a, b, y;
  describe(rows, s->k, s->a_transposed, s->a_transposed ? s->m : s->k, cpu_type(plan, op->in[0]),
           &a);
  describe(s->k, s->n, s->b_transposed, s->b_transposed ? s->k : s->n, cpu_type(plan, op->in[1]),
           &b);
  describe(rows, s->n, false, s->n, cpu_type(plan, op->out[0]), &y);
  dnnl_matmul_desc_t d;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL;
  wml_result result = cpu_attributes(plan, NULL, &attr);
  dnnl_status_t status = dnnl_matmul_desc_init(&d, &a, &b, NULL, &y);
  if (status == dnnl_success && result == WML_OK)
    status = dnnl_primitive_desc_create(&pd, &d, attr, plan->device->engine, NULL);
  if (result == WML_OK) result = cpu_check(plan->device, status, "matmul");
  const cpu_arg args[] = {{DNNL_ARG_SRC, {op->in[0], AT_A}, &a},
                          {DNNL_ARG_WEIGHTS, {op->in[1], AT_B}, &b},
                          {DNNL_ARG_DST, {op->out[0], AT_Y}, &y},
                          {0, {-1, -1}, NULL}};
  if (result == WML_OK) {
    node->name = cpu_implementation_name(pd);
    result = cpu_add_primitive(plan, node, node->n_primitives, pd, args);
  }
  dnnl_primitive_desc_destroy(pd);
  dnnl_primitive_attr_destroy(attr);
  return result;
}

static void place_pieces(const wml_plan *plan, cpu_node *node, const matmul_shape *s) {
  int64_t size_a = cpu_element(plan, node->op.in[0]), size_b = cpu_element(plan, node->op.in[1]),
          size_y = cpu_element(plan, node->op.out[0]);
  for (int64_t i = 0; i < node->n_pieces; i++) {
    int64_t matrix = i / s->bands, row = i % s->bands * s->rows;
    cpu_piece *p = &node->pieces[i];
    p->kind = row + s->rows > s->m ? 1 : 0;
    p->offset[AT_A] = (matrix * s->m * s->k + row * (s->a_transposed ? 1 : s->k)) * size_a;
    p->offset[AT_B] = matrix * s->k * s->n * size_b;
    p->offset[AT_Y] = (matrix * s->m + row) * s->n * size_y;
  }
}

static wml_result plan_matmul(wml_plan *plan, cpu_node *node) {
  bool alike = cpu_same_type(plan, node->op.in[0], node->op.in[1]);
  bool rounds = !cpu_is_narrow(plan, node->op.in[0]) && cpu_is_narrow(plan, node->op.out[0]);
  if (!alike || rounds) return WML_UNSUPPORTED;
  matmul_shape s = shape_of(plan, &node->op);
  wml_result result = cpu_read_plain(plan, &node->op.in[0]);
  if (result == WML_OK) result = cpu_read_plain(plan, &node->op.in[1]);
  if (result == WML_OK) result = add_kind(plan, node, &s, s.rows);
  if (result == WML_OK && s.m % s.rows != 0) result = add_kind(plan, node, &s, s.m % s.rows);
  if (result == WML_UNSUPPORTED) node->why = "oneDNN has no product of matrices of these shapes";
  if (result == WML_OK) result = cpu_add_pieces(plan, node, s.matrices * s.bands);
  if (result == WML_OK) place_pieces(plan, node, &s);
  node->run = cpu_run_pieces;
  return result;
}

const cpu_implementation cpu_matmul[] = {{plan_matmul, true}, {NULL, false}};
