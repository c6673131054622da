/* Operations that move elements: concatenation, boxes, transposition. */
#include "cpu.h"
#include "walk.h"

#include <string.h>

enum { TO, FROM };

typedef struct move_job {
  cpu_walk walk;
  void *to;
  const void *from;
  bool narrow;
} move_job;

/* For each few columns all rows: in a transposition, elements of neighbouring rows lie side by side
 * in what is read. */
#define MOVE(type)                                                                                 \
  for (int64_t c = 0; c < n; c += TILE)                                                            \
    for (int64_t r = 0; r < rows; r++)                                                             \
      for (int64_t i = c; i < n && i < c + TILE; i++)                                              \
        ((type *)j->to)[at[TO] + r * apart[TO] + i * step[TO]] =                                   \
            ((const type *)j->from)[at[FROM] + r * apart[FROM] + i * step[FROM]];

static void move_rows(void *arg, const int64_t *at, int64_t rows, int64_t n) {
  enum { TILE = 16 };
  const move_job *j = arg;
  const cpu_walk *w = &j->walk;
  int64_t size = j->narrow ? 2 : 4;
  int64_t apart[] = {cpu_walk_apart(w, TO), cpu_walk_apart(w, FROM)};
  int64_t step[] = {w->stride[TO][w->rank - 1], w->stride[FROM][w->rank - 1]};
  if (step[TO] == 1 && step[FROM] == 1)
    for (int64_t r = 0; r < rows; r++)
      memcpy((uint8_t *)j->to + (at[TO] + r * apart[TO]) * size,
             (const uint8_t *)j->from + (at[FROM] + r * apart[FROM]) * size, (size_t)(n * size));
  else if (j->narrow) {
    MOVE(uint16_t)
  } else {
    MOVE(uint32_t)
  }
}

static void move(const wml_plan *plan, int to, const wml_strides *to_strides, int from,
                 const wml_strides *from_strides) {
  const wml_strides s[] = {[TO] = *to_strides, [FROM] = *from_strides};
  move_job j = {.walk = cpu_walk_of(s, 2),
                .to = plan->tensors[to].data,
                .from = plan->tensors[from].data,
                .narrow = cpu_is_narrow(plan, to)};
  cpu_walk_run(&j.walk, move_rows, &j);
}

static wml_strides itself(const wml_tensor *t) {
  return wml_strides_broadcast(t, t);
}

static void run_crop(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  int from = node->op.in[0], to = node->op.out[0];
  const wml_tensor *x = cpu_info(plan, from), *y = cpu_info(plan, to);
  wml_strides all = itself(y), box = wml_strides_box(y, x, node->op.u.begin);
  move(plan, to, &all, from, &box);
}

static void put_box(const wml_plan *plan, int from, int to, const int64_t *begin) {
  const wml_tensor *x = cpu_info(plan, from), *y = cpu_info(plan, to);
  wml_strides all = itself(x), box = wml_strides_box(x, y, begin);
  move(plan, to, &box, from, &all);
}

static void clear_range(void *arg, int64_t begin, int64_t end) {
  memset((uint8_t *)arg + begin, 0, (size_t)(end - begin));
}

static void run_pad(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  int to = node->op.out[0];
  cpu_parallel(wml_elements(cpu_info(plan, to)) * cpu_element(plan, to), 1 << 16, clear_range,
               plan->tensors[to].data);
  put_box(plan, node->op.in[0], to, node->op.u.begin);
}

static void run_concat(cpu_step *step, cpu_node *node) {
  int64_t begin[WML_MAX_RANK] = {0};
  for (int i = 0; i < WML_MAX_OPERANDS && node->op.in[i] >= 0; i++) {
    put_box(step->plan, node->op.in[i], node->op.out[0], begin);
    begin[node->op.u.axis] += cpu_info(step->plan, node->op.in[i])->dim[node->op.u.axis];
  }
}

static void run_transpose(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  int from = node->op.in[0], to = node->op.out[0];
  const wml_tensor *x = cpu_info(plan, from), *y = cpu_info(plan, to);
  wml_strides all = itself(y), turned = wml_strides_transposed(y, x, node->op.u.axes);
  move(plan, to, &all, from, &turned);
}

static wml_result plan_with(const wml_plan *plan, cpu_node *node,
                            void (*run)(cpu_step *, cpu_node *)) {
  for (int i = 0; i < WML_MAX_OPERANDS; i++)
    if (!cpu_same_type(plan, node->op.in[i], node->op.out[0])) return WML_UNSUPPORTED;
  node->name = "own";
  node->inline_ = true;
  node->run = run;
  return WML_OK;
}

static wml_result plan_crop(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_crop);
}

static wml_result plan_pad(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_pad);
}

static wml_result plan_concat(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_concat);
}

static wml_result plan_transpose(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_transpose);
}

const cpu_implementation cpu_crop[] = {{plan_crop, true}, {NULL, false}};
const cpu_implementation cpu_pad[] = {{plan_pad, true}, {NULL, false}};
const cpu_implementation cpu_concat[] = {{plan_concat, true}, {NULL, false}};
const cpu_implementation cpu_transpose[] = {{plan_transpose, true}, {NULL, false}};
