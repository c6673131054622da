/* The operations around the layers: data in, dropout, losses, metrics. */
#include "cpu.h"

#include "../common/dropout.h"
#include "../common/rows.h"

#include <string.h>

typedef struct gather_job {
  const cpu_step *step;
  const cpu_node *node;
  const uint8_t *base;
  int64_t n, cells; /* elements of a row; of them those that are taken */
  bool whole;       /* they become whole numbers */
} gather_job;

static void gather_range(void *arg, int64_t begin, int64_t end) {
  const gather_job *j = arg;
  const wml_plan *plan = j->step->plan;
  const wml_run *run = j->step->run;
  const wml_tensor *t = cpu_info(plan, j->node->op.in[0]);
  const wml_gather *gather = &j->node->op.u.gather;
  int64_t width = wml_row_elements(cpu_info(plan, j->node->op.out[0]));
  size_t bytes = (size_t)j->n * wml_dtype_size(t->dtype);
  int to = j->node->op.out[0];
  bool narrow = cpu_is_narrow(plan, to);
  const vec_table *vec = plan->device->vec;
  for (int64_t i = begin; i < end; i++) {
    int64_t sample = wml_run_row(run, j->step->index * plan->graph.batch + i);
    const uint8_t *row = j->base + (size_t)sample * bytes;
    if (plan->tensors[to].is_bytes) { /* the picture's own */
      memcpy(cpu_at(plan, to, i * width), row, bytes);
      continue;
    }
    if (t->dtype == WML_U8 && !wml_augment_is_on(&gather->augment)) {
      vec->from_u8(row, cpu_at(plan, to, i * width), j->n, gather->scale, narrow);
      continue;
    }
    const float *from = (const float *)(const void *)row + gather->first;
    if (j->whole) {
      int32_t *whole = (int32_t *)plan->tensors[to].data + i * width;
      for (int64_t k = 0; k < j->cells; k++) whole[k] = (int32_t)from[k];
      continue;
    }
    /* narrow: in float32 first, at a place of this range */
    float *pixels = narrow ? cpu_f32(plan, j->node->temp[0]) + begin * width
                           : (float *)cpu_at(plan, to, i * width);
    if (gather->widths)
      wml_expand_row(from, gather->widths, j->cells, pixels);
    else if (t->dtype == WML_U8) {
      wml_warp warp = wml_augment_sample(&gather->augment, run->seed, run->epoch, (uint64_t)sample,
                                         (long)t->dim[1], (long)t->dim[2]);
      vec->warp(&warp, row, t->dim[1], t->dim[2], t->dim[3], gather->scale, pixels);
    } else if (gather->cells)
      memcpy(pixels, from, (size_t)j->cells * sizeof *pixels);
    else
      memcpy(pixels, row, bytes);
    if (narrow) vec->narrow(pixels, cpu_at(plan, to, i * width), width);
  }
}

static void run_gather(cpu_step *step, cpu_node *node) {
  gather_job job = {
      .step = step, .node = node, .n = wml_row_elements(cpu_info(step->plan, node->op.in[0]))};
  job.cells = node->op.u.gather.cells ? node->op.u.gather.cells : job.n;
  job.whole = cpu_info(step->plan, node->op.in[0])->dtype == WML_F32 &&
              cpu_info(step->plan, node->op.out[0])->dtype == WML_I32;
  for (int i = 0; i < step->run->n_feeds; i++)
    if (step->run->feeds[i].tensor == node->op.in[0]) job.base = step->run->feeds[i].base;
  cpu_parallel(step->plan->graph.batch, 1 + 4096 / (job.n + 1), gather_range, &job);
}

typedef struct dropout_job {
  const cpu_step *step;
  const wml_op *op;
} dropout_job;

static void dropout_range(void *arg, int64_t begin, int64_t end) {
  const dropout_job *j = arg;
  const wml_plan *plan = j->step->plan;
  const wml_run *run = j->step->run;
  plan->device->vec->dropout(run->seed, run->step + j->step->index, j->op->u.dropout.stream,
                             j->op->u.dropout.rate, (uint64_t)begin / 4,
                             cpu_at(plan, j->op->in[0], begin), cpu_at(plan, j->op->out[0], begin),
                             end - begin, cpu_is_narrow(plan, j->op->in[0]));
}

static void run_dropout(cpu_step *step, cpu_node *node) {
  dropout_job job = {step, &node->op};
  cpu_parallel(wml_elements(cpu_info(step->plan, node->op.in[0])), 4096, dropout_range, &job);
}

/* ---- one draw for each sample and channel ---- */

typedef struct channels_job {
  const cpu_step *step;
  const wml_op *op;
  float *keeps; /* [samples, channels]: 0 or 1 */
  int64_t positions, channels;
} channels_job;

static void draw_range(void *arg, int64_t begin, int64_t end) {
  const channels_job *j = arg;
  const wml_run *run = j->step->run;
  for (int64_t i = begin; i < end; i++)
    j->keeps[i] = wml_dropout_keeps(run->seed, run->step + j->step->index, j->op->u.dropout.stream,
                                    j->op->u.dropout.rate, (uint64_t)i);
}

/* Rows are positions of all samples. */
static void channels_range(void *arg, int64_t begin, int64_t end) {
  const channels_job *j = arg;
  const wml_plan *plan = j->step->plan;
  int x = j->op->in[0], y = j->op->out[0];
  for (int64_t row = begin, n; row < end; row += n) {
    n = j->positions - row % j->positions;
    if (n > end - row) n = end - row;
    plan->device->vec->elements->masked(
        cpu_at(plan, x, row * j->channels), j->keeps + row / j->positions * j->channels,
        wml_dropout_scale(j->op->u.dropout.rate), cpu_at(plan, y, row * j->channels), n,
        j->channels, cpu_is_narrow(plan, x));
  }
}

static void run_dropout_of_channels(cpu_step *step, cpu_node *node) {
  const wml_tensor *x = cpu_info(step->plan, node->op.in[0]);
  channels_job j = {.step = step, .op = &node->op, .keeps = cpu_f32(step->plan, node->temp[0])};
  j.channels = x->dim[x->rank - 1];
  j.positions = wml_row_elements(x) / j.channels;
  cpu_parallel(x->dim[0] * j.channels, 1024, draw_range, &j);
  cpu_parallel(x->dim[0] * j.positions, 1 + 4096 / j.channels, channels_range, &j);
}

static void run_reshape(cpu_step *step, cpu_node *node) { /* input and output share their bytes */
  (void)step;
  (void)node;
}

typedef struct loss_job {
  const wml_op *op;
  wml_loss loss;
  wml_rows rows;
  int64_t n;
  float *dp;
  double *partial; /* one sum per piece of rows: the same bits for any number of threads */
} loss_job;

enum { LOSS_ROWS = 64 };

static void loss_range(void *arg, int64_t begin, int64_t end) {
  const loss_job *j = arg;
  for (int64_t r = begin; r < end; r += LOSS_ROWS) {
    int64_t last = r + LOSS_ROWS < end ? r + LOSS_ROWS : end;
    j->partial[r / LOSS_ROWS] = wml_rows_loss(j->op, &j->loss, &j->rows, j->n, r, last, j->dp);
  }
}

/* Losses of the whole batch: sums over pieces of rows, then the gradient from all of them. */
typedef struct overlap_job {
  const wml_op *op;
  wml_rows rows;
  float *dp;
  wml_overlap *partial;
  wml_overlap_loss loss;
} overlap_job;

static void overlap_range(void *arg, int64_t begin, int64_t end) {
  const overlap_job *j = arg;
  for (int64_t r = begin; r < end; r += LOSS_ROWS) {
    int64_t last = r + LOSS_ROWS < end ? r + LOSS_ROWS : end;
    j->partial[r / LOSS_ROWS] = wml_rows_overlap(j->op, &j->rows, r, last);
  }
}

static void overlap_gradient_range(void *arg, int64_t begin, int64_t end) {
  const overlap_job *j = arg;
  wml_rows_overlap_gradient(j->op, &j->loss, &j->rows, begin, end, j->dp);
}

static wml_rows rows_of(const cpu_step *step, const cpu_node *node) {
  const wml_plan *plan = step->plan;
  const int *in = node->op.in;
  return wml_rows_of(cpu_info(plan, in[0]), plan->tensors[in[0]].data, cpu_info(plan, in[1]),
                     plan->tensors[in[1]].data, cpu_f32(plan, in[2]));
}

static void add_loss(cpu_step *step, const wml_op *op, double value) {
  step->loss += value * (double)op->u.loss.weight;
  if (op->u.loss.result >= 0)
    step->run->results[op->u.loss.result] += value * (double)step->plan->graph.batch;
}

static void run_loss(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  loss_job j = {.op = &node->op, .loss = node->op.u.loss.loss, .rows = rows_of(step, node)};
  j.n = wml_elements(cpu_info(plan, node->op.in[0])) / j.rows.k;
  j.dp = cpu_f32(plan, node->op.out[0]);
  j.partial = plan->tensors[node->temp[0]].data;
  if (j.loss.kind == WML_HINGE || j.loss.kind == WML_SQUARED_HINGE)
    j.loss.signed_labels = wml_rows_are_binary(&j.rows, j.n);
  cpu_parallel(j.n, LOSS_ROWS, loss_range, &j);
  double sum = 0.0;
  for (int64_t i = 0; i * LOSS_ROWS < j.n; i++) sum += j.partial[i];
  add_loss(step, &node->op, sum);
}

static void run_overlap(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  overlap_job j = {.op = &node->op, .rows = rows_of(step, node)};
  int64_t n = wml_elements(cpu_info(plan, node->op.in[0])) / j.rows.k;
  wml_overlap sum = {0};
  j.dp = cpu_f32(plan, node->op.out[0]);
  j.partial = plan->tensors[node->temp[0]].data;
  cpu_parallel(n, LOSS_ROWS, overlap_range, &j);
  for (int64_t i = 0; i * LOSS_ROWS < n; i++) wml_overlap_add(&sum, &j.partial[i]);
  j.loss = wml_overlap_value(&node->op, &sum, n);
  add_loss(step, &node->op, j.loss.value);
  if (j.dp) cpu_parallel(n, LOSS_ROWS, overlap_gradient_range, &j);
}

static void run_metric(cpu_step *step, cpu_node *node) {
  wml_rows rows = rows_of(step, node);
  wml_rows_metric(&node->op, &rows, wml_elements(cpu_info(step->plan, node->op.in[0])) / rows.k,
                  step->run->results + node->op.u.metric.result);
}

static wml_result plan_gather(wml_plan *plan, cpu_node *node) {
  int out = node->op.out[0];
  if (cpu_is_narrow(plan, out)) {
    node->temp[0] = cpu_add_like(plan, out, cpu_info(plan, out)->dim[0], false);
    if (node->temp[0] < 0) return WML_OUT_OF_MEMORY;
  }
  node->name = "own";
  node->inline_ = true;
  node->run = run_gather;
  return WML_OK;
}

static wml_result plan_dropout(wml_plan *plan, cpu_node *node) {
  if (!cpu_same_type(plan, node->op.in[0], node->op.out[0])) return WML_UNSUPPORTED;
  node->name = "own";
  node->run = run_dropout;
  if (!node->op.u.dropout.per_channel) return WML_OK;
  const wml_tensor *x = cpu_info(plan, node->op.in[0]);
  size_t bytes = (size_t)(x->dim[0] * x->dim[x->rank - 1]) * sizeof(float);
  node->temp[0] = cpu_add_temporary(plan, bytes, (int)(node - plan->nodes));
  node->run = run_dropout_of_channels;
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_reshape(wml_plan *plan, cpu_node *node) {
  (void)plan;
  node->name = "view";
  node->inline_ = true;
  node->run = run_reshape;
  return WML_OK;
}

static wml_result plan_loss(wml_plan *plan, cpu_node *node) {
  const wml_tensor *p = cpu_info(plan, node->op.in[0]);
  int64_t rows = wml_elements(p) / p->dim[p->rank - 1];
  bool of_batch = WML_LOSS_IS_OF_BATCH(node->op.u.loss.loss.kind);
  size_t each = of_batch ? sizeof(wml_overlap) : sizeof(double);
  node->temp[0] =
      cpu_add_temporary(plan, (size_t)(rows / LOSS_ROWS + 1) * each, (int)(node - plan->nodes));
  node->name = "own";
  node->run = of_batch ? run_overlap : run_loss;
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_metric(wml_plan *plan, cpu_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_metric;
  return WML_OK;
}

const cpu_implementation cpu_gather[] = {{plan_gather, true}, {NULL, false}};
const cpu_implementation cpu_dropout[] = {{plan_dropout, true}, {NULL, false}};
const cpu_implementation cpu_reshape[] = {{plan_reshape, true}, {NULL, false}};
const cpu_implementation cpu_loss[] = {{plan_loss, false}, {NULL, false}};
const cpu_implementation cpu_metric[] = {{plan_metric, false}, {NULL, false}};
