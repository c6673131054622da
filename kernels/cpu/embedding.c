/* Rows of a table by their indices, and the table's gradient. */
#include "cpu.h"

#include <string.h>

typedef struct embedding_job {
  const wml_plan *plan;
  const int32_t *index;
  int64_t count;    /* indices */
  int64_t n, width; /* of the table */
  float *table;     /* or its gradient */
  int y;            /* or dy */
} embedding_job;

static embedding_job job_of(const wml_plan *plan, int index, int table, int y) {
  const wml_tensor *t = cpu_info(plan, table);
  return (embedding_job){.plan = plan,
                         .index = plan->tensors[index].data,
                         .count = wml_elements(cpu_info(plan, index)),
                         .n = t->dim[0],
                         .width = t->dim[1],
                         .table = cpu_f32(plan, table),
                         .y = y};
}

static void gather_range(void *arg, int64_t begin, int64_t end) {
  const embedding_job *j = arg;
  const vec_table *vec = j->plan->device->vec;
  bool narrow = cpu_is_narrow(j->plan, j->y);
  size_t bytes = (size_t)(j->width * cpu_element(j->plan, j->y));
  for (int64_t i = begin; i < end; i++) {
    void *y = cpu_at(j->plan, j->y, i * j->width);
    int64_t row = j->index[i];
    if (row < 0 || row >= j->n)
      memset(y, 0, bytes);
    else if (narrow)
      vec->narrow(j->table + row * j->width, y, j->width);
    else
      memcpy(y, j->table + row * j->width, bytes);
  }
}

static void run_embedding(cpu_step *step, cpu_node *node) {
  embedding_job j = job_of(step->plan, node->op.in[0], node->op.in[1], node->op.out[0]);
  cpu_parallel(j.count, 1 + 4096 / j.width, gather_range, &j);
}

static wml_result plan_embedding(wml_plan *plan, cpu_node *node) {
  node->name = "own";
  node->inline_ = true;
  node->run = run_embedding;
  return cpu_read_plain(plan, &node->op.in[1]);
}

static void clear_range(void *arg, int64_t begin, int64_t end) {
  const embedding_job *j = arg;
  memset(j->table + begin, 0, (size_t)(end - begin) * sizeof *j->table);
}

/* Some columns of the table: each sum in the order of the indices, whoever has which columns. */
static void add_range(void *arg, int64_t begin, int64_t end) {
  const embedding_job *j = arg;
  const float *dy = cpu_f32(j->plan, j->y);
  for (int64_t i = 0; i < j->count; i++) {
    int64_t row = j->index[i];
    if (row < 0 || row >= j->n) continue;
    float *restrict sum = j->table + row * j->width;
    for (int64_t c = begin; c < end; c++) sum[c] += dy[i * j->width + c];
  }
}

static void run_backward(cpu_step *step, cpu_node *node) {
  enum { LINE = 16 }; /* floats of a line of the cache, which one thread writes */
  embedding_job j = job_of(step->plan, node->op.in[0], node->op.out[0], node->op.in[1]);
  cpu_parallel(j.n * j.width, 1 << 14, clear_range, &j);
  cpu_parallel(j.width, LINE, add_range, &j);
}

static wml_result plan_backward(wml_plan *plan, cpu_node *node) {
  if (!cpu_writes_plain(plan, node, node->op.out[0])) return WML_UNSUPPORTED;
  node->name = "own";
  node->run = run_backward;
  return WML_OK;
}

const cpu_implementation cpu_embedding[] = {{plan_embedding, true}, {NULL, false}};
const cpu_implementation cpu_embedding_bwd[] = {{plan_backward, false}, {NULL, false}};
