/* Operations on two values, of which one may be broadcast, and their gradients. */
#include "reduction.h"

enum { TOGETHER = 4096 }; /* elements between which an activation is applied: they stay near */

/* ---- forward ---- */

typedef struct binary_job {
  const wml_plan *plan;
  const cpu_node *node;
  cpu_walk walk; /* y, a, b */
  bool narrow;
} binary_job;

static vec_operand operand_of(const wml_plan *plan, const cpu_walk *walk, int array, int tensor,
                              int64_t at) {
  return (vec_operand){cpu_at(plan, tensor, at), cpu_walk_apart(walk, array),
                       walk->stride[array][walk->rank - 1] == 0};
}

static cpu_walk walk_of(const wml_plan *plan, const wml_op *op) {
  const wml_tensor *y = cpu_info(plan, op->out[0]);
  const wml_strides s[] = {wml_strides_broadcast(y, y),
                           wml_strides_broadcast(y, cpu_info(plan, op->in[0])),
                           wml_strides_broadcast(y, cpu_info(plan, op->in[1]))};
  return cpu_walk_of(s, 3);
}

static void binary_rows(void *arg, const int64_t *at, int64_t rows, int64_t n) {
  const binary_job *j = arg;
  const wml_op *op = &j->node->op;
  vec_operand a = operand_of(j->plan, &j->walk, 1, op->in[0], at[1]),
              b = operand_of(j->plan, &j->walk, 2, op->in[1], at[2]);
  vec_result y = {cpu_at(j->plan, op->out[0], at[0]), n, rows, n};
  j->plan->device->vec->elements->binary(op->u.binary, &a, &b, &y, j->narrow);
}

/* Of equal shapes, with an activation behind them. */
static void activated_row(void *arg, const int64_t *at, int64_t rows, int64_t n) {
  const binary_job *j = arg;
  (void)rows;
  for (int64_t i = 0; i < n; i += TOGETHER) {
    int64_t some = n - i < TOGETHER ? n - i : TOGETHER, from[] = {at[0] + i, at[1] + i, at[2] + i};
    void *y = cpu_at(j->plan, j->node->op.out[0], from[0]);
    binary_rows(arg, from, 1, some);
    j->plan->device->vec->activation(&j->node->post, y, y, some, j->narrow);
  }
}

static void run_binary(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  binary_job j = {.plan = plan,
                  .node = node,
                  .walk = walk_of(plan, &node->op),
                  .narrow = cpu_is_narrow(plan, node->op.out[0])};
  cpu_walk_run(&j.walk, node->post.kind == WML_LINEAR ? binary_rows : activated_row, &j);
}

/* Values all of one type; persistent tensors row-major. */
static wml_result plan_binary(wml_plan *plan, cpu_node *node) {
  wml_op *op = &node->op;
  for (int i = 0; i < 2; i++)
    if (!cpu_same_type(plan, op->in[i], op->out[0])) return WML_UNSUPPORTED;
  if (!cpu_writes_plain(plan, node, op->out[0])) return WML_UNSUPPORTED;
  node->name = "own";
  node->inline_ = true;
  node->run = run_binary;
  wml_result result = cpu_read_plain(plan, &op->in[0]);
  return result == WML_OK ? cpu_read_plain(plan, &op->in[1]) : result;
}

/* ---- gradients of one parameter ---- */

static bool is_gradient_of(const wml_plan *plan, int tensor, int parameter) {
  const wml_tensor *t = cpu_info(plan, tensor);
  return t->role == WML_ROLE_GRAD && t->like == parameter;
}

static void run_gradients(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  const cpu_entry *e = plan->tensors[op->out[0]].entry;
  wml_tensor flat = {.rank = 1, .dim = {(int64_t)(dnnl_memory_desc_get_size(&e->own) / 4)}};
  const wml_strides s = wml_strides_broadcast(&flat, &flat), all[] = {s, s, s};
  binary_job j = {.plan = plan, .node = node, .walk = cpu_walk_of(all, 3)};
  cpu_walk_run(&j.walk, binary_rows, &j);
}

/* They lie alike, however that is; what pads them is 0 and stays so. */
static wml_result plan_gradients(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  int parameter = cpu_info(plan, op->out[0])->like;
  if (op->u.binary != WML_BINARY_ADD || parameter < 0 ||
      !is_gradient_of(plan, op->out[0], parameter) || !is_gradient_of(plan, op->in[0], parameter) ||
      !is_gradient_of(plan, op->in[1], parameter))
    return WML_UNSUPPORTED;
  node->name = "own:gradients";
  node->run = run_gradients;
  return WML_OK;
}

/* ---- backward ---- */

enum { DY, A, B, N_OPERANDS };

/* The gradient for one operand; array 0 of the walk is it, the others are dy, a, b. */
typedef struct backward_job {
  const wml_plan *plan;
  const wml_op *op;
  int of;        /* 0: a, 1: b */
  cpu_walk walk; /* where nothing is summed */
  vec_derivative derivative;
} backward_job;

/* ADD and SUBTRACT read no operand: dy stands for those that are absent. */
static int tensor_of(const wml_op *op, int operand) {
  return op->in[operand] < 0 ? op->in[DY] : op->in[operand];
}

static void strides_of(const wml_plan *plan, const wml_op *op, int of, wml_strides *s) {
  const wml_tensor *dy = cpu_info(plan, op->in[DY]);
  s[0] = wml_strides_broadcast(dy, cpu_info(plan, op->out[of]));
  for (int k = 0; k < N_OPERANDS; k++)
    s[1 + k] = wml_strides_broadcast(dy, cpu_info(plan, tensor_of(op, k)));
}

/* Whether the operand was broadcast. */
static bool is_summed(const wml_plan *plan, const wml_op *op, int of) {
  return wml_elements(cpu_info(plan, op->out[of])) != wml_elements(cpu_info(plan, op->in[DY]));
}

static backward_job job_of(const wml_plan *plan, const wml_op *op, int of, const cpu_walk *walk) {
  backward_job j = {.plan = plan, .op = op, .of = of, .walk = *walk};
  j.derivative = (vec_derivative){
      .kind = op->u.binary, .of_b = of == 1, .narrow = cpu_is_narrow(plan, op->in[DY])};
  return j;
}

/* d with its operands at these places of the walk. */
static vec_derivative derivative_at(const backward_job *j, const int64_t *at,
                                    const int64_t *apart) {
  vec_derivative d = j->derivative;
  vec_operand *operand[] = {&d.dy, &d.a, &d.b};
  for (int k = 0; k < N_OPERANDS; k++) {
    *operand[k] = operand_of(j->plan, &j->walk, 1 + k, tensor_of(j->op, k), at[1 + k]);
    operand[k]->apart = apart[1 + k];
  }
  return d;
}

static void backward_rows(void *arg, const int64_t *at, int64_t rows, int64_t n) {
  const backward_job *j = arg;
  int64_t apart[CPU_WALK_ARRAYS];
  for (int k = 0; k < CPU_WALK_ARRAYS; k++) apart[k] = cpu_walk_apart(&j->walk, k);
  vec_derivative d = derivative_at(j, at, apart);
  int out = j->op->out[j->of];
  vec_result dx = {cpu_at(j->plan, out, at[0]), n, rows, n};
  d.narrow_result = cpu_is_narrow(j->plan, out);
  j->plan->device->vec->elements->derivative(&d, &dx);
}

static void add_derivatives(const void *arg, const int64_t *at, const int64_t *apart, int64_t rows,
                            int64_t n, double *value) {
  enum { BUFFER = 2048 };
  const backward_job *j = arg;
  const vec_elements_table *vec = j->plan->device->vec->elements;
  float buffer[BUFFER];
  int64_t most = BUFFER / n, from[CPU_WALK_ARRAYS];
  for (int64_t row = 0; row < rows; row += most) {
    int64_t some = rows - row < most ? rows - row : most;
    for (int k = 0; k < CPU_WALK_ARRAYS; k++) from[k] = at[k] + row * apart[k];
    vec_derivative d = derivative_at(j, from, apart);
    vec->derivative(&d, &(vec_result){buffer, n, some, n});
    vec->sums(buffer, n, some, n, value, false);
  }
}

/* dy itself, of ADD and SUBTRACT. */
static void add_gradients(const void *arg, const int64_t *at, const int64_t *apart, int64_t rows,
                          int64_t n, double *value) {
  const backward_job *j = arg;
  j->plan->device->vec->elements->sums(cpu_at(j->plan, j->op->in[DY], at[1]), apart[1], rows, n,
                                       value, j->derivative.narrow);
}

static void run_for(const wml_plan *plan, const cpu_node *node, int of) {
  const wml_op *op = &node->op;
  wml_strides s[1 + N_OPERANDS];
  strides_of(plan, op, of, s);
  cpu_reduction r = cpu_reduction_of(plan->device, s, 1 + N_OPERANDS);
  backward_job j = job_of(plan, op, of, &r.walk);
  if (!is_summed(plan, op, of)) {
    cpu_walk_run(&j.walk, backward_rows, &j);
    return;
  }
  bool plain = op->u.binary == WML_BINARY_ADD || op->u.binary == WML_BINARY_SUBTRACT;
  cpu_reduced to = {.data = plan->tensors[op->out[of]].data,
                    .narrow = cpu_is_narrow(plan, op->out[of]),
                    .scale = op->u.binary == WML_BINARY_SUBTRACT && of == 1 ? -1.0 : 1.0,
                    .parts = node->temp[of] < 0 ? NULL : plan->tensors[node->temp[of]].data};
  cpu_reduction_run(&r, plain ? add_gradients : add_derivatives, &j, &to);
}

static void run_backward(cpu_step *step, cpu_node *node) {
  for (int of = 0; of < 2; of++)
    if (node->op.out[of] >= 0) run_for(step->plan, node, of);
}

static wml_result plan_for(wml_plan *plan, cpu_node *node, int of) {
  wml_strides s[1 + N_OPERANDS];
  strides_of(plan, &node->op, of, s);
  cpu_reduction r = cpu_reduction_of(plan->device, s, 1 + N_OPERANDS);
  size_t bytes = is_summed(plan, &node->op, of) ? cpu_reduction_bytes(&r) : 0;
  node->temp[of] = bytes ? cpu_add_temporary(plan, bytes, (int)(node - plan->nodes)) : -1;
  return bytes && node->temp[of] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cpu_node *node) {
  wml_op *op = &node->op;
  for (int k = 0; k < N_OPERANDS; k++)
    if (!cpu_same_type(plan, op->in[k], op->in[DY])) return WML_UNSUPPORTED;
  for (int of = 0; of < 2; of++)
    if (!cpu_writes_plain(plan, node, op->out[of])) return WML_UNSUPPORTED;
  node->name = "own";
  node->run = run_backward;
  wml_result result = WML_OK;
  for (int k = 0; k < N_OPERANDS && result == WML_OK; k++)
    result = cpu_read_plain(plan, &op->in[k]);
  for (int of = 0; of < 2 && result == WML_OK; of++)
    if (op->out[of] >= 0) result = plan_for(plan, node, of);
  return result;
}

const cpu_implementation cpu_binary[] = {
    {plan_gradients, false}, {plan_binary, true}, {NULL, false}};
const cpu_implementation cpu_binary_bwd[] = {{plan_backward, true}, {NULL, false}};
