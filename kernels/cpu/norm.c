/* Normalisation by statistics of the sample itself (common/norm.h), by own code. Where a group is a
 * whole row (LayerNormalization and the like over the last axis) each row is read, and written,
 * while it is in the cache (the rows). Otherwise sums per channel over pieces of positions are
 * added in their order, those of a group make its statistics, and each value is combined with
 * factors of its channel (the planes). */
#include "cpu.h"

#include <string.h>

enum { PIECE = 1024, MOST_PARTS = 32, LEAST_ROWS = 64 };

typedef struct shape {
  int64_t samples, positions, groups, width, c, blocks; /* blocks: pieces of a sample */
} shape;

static shape shape_of(const wml_plan *plan, const cpu_node *node, int x) {
  const wml_tensor *t = cpu_info(plan, x);
  const wml_norm *norm = &node->op.u.norm;
  shape s = {.positions = norm->positions, .groups = norm->groups, .c = t->dim[t->rank - 1]};
  s.samples = wml_elements(t) / s.c / s.positions;
  s.width = s.c / s.groups;
  s.blocks = (s.positions + PIECE - 1) / PIECE;
  return s;
}

static bool is_rows(const wml_op *op) {
  return op->u.norm.positions == 1 && op->u.norm.groups == 1;
}

/* ---- rows ---- */

typedef struct rows_job {
  const wml_plan *plan;
  const wml_op *op;
  vec_row_norm norm;
  int64_t rows, n_parts;
  double *sums; /* [n_parts, 2 * c], or NULL */
  float *tiles; /* [n_parts, 2 * c] */
} rows_job;

static rows_job rows_of(const wml_plan *plan, const cpu_node *node, int x, int gamma, int beta) {
  shape s = shape_of(plan, node, x);
  return (rows_job){.plan = plan,
                    .op = &node->op,
                    .norm = {.norm = &node->op.u.norm,
                             .gamma = cpu_f32(plan, gamma),
                             .beta = cpu_f32(plan, beta),
                             .c = s.c,
                             .narrow = cpu_is_narrow(plan, x)},
                    .rows = s.samples};
}

static float *from_row(const wml_plan *plan, int tensor, int64_t row) {
  return tensor < 0 ? NULL : cpu_f32(plan, tensor) + row;
}

static void rows_range(void *arg, int64_t begin, int64_t end) {
  const rows_job *j = arg;
  const wml_op *op = j->op;
  int64_t at = begin * j->norm.c;
  j->plan->device->vec->norms->rows(
      &j->norm, cpu_at(j->plan, op->in[0], at), cpu_at(j->plan, op->out[0], at),
      from_row(j->plan, op->out[1], begin), from_row(j->plan, op->out[2], begin), end - begin);
}

static void run_rows(cpu_step *step, cpu_node *node) {
  rows_job j = rows_of(step->plan, node, node->op.in[0], node->op.in[1], node->op.in[2]);
  cpu_parallel(j.rows, 1 + 4096 / j.norm.c, rows_range, &j);
}

static void rows_part(void *arg, int64_t part, int thread) {
  const rows_job *j = arg;
  const wml_op *op = j->op;
  int64_t begin = j->rows * part / j->n_parts, end = j->rows * (part + 1) / j->n_parts,
          width = 2 * j->norm.c, at = begin * j->norm.c;
  double *sum = j->sums ? j->sums + part * width : NULL;
  (void)thread;
  if (sum) memset(sum, 0, (size_t)width * sizeof *sum);
  j->plan->device->vec->norms->rows_bwd(
      &j->norm, cpu_at(j->plan, op->in[0], at), cpu_at(j->plan, op->in[1], at),
      from_row(j->plan, op->in[3], begin), from_row(j->plan, op->in[4], begin),
      cpu_at(j->plan, op->out[0], at), sum, j->tiles + part * width, end - begin);
}

/* dbeta and dgamma from n sums of [2 * c], in their order. */
static void add_sums(const wml_plan *plan, const wml_op *op, const double *sums, int64_t n,
                     int64_t c) {
  float *dgamma = cpu_f32(plan, op->out[1]), *dbeta = cpu_f32(plan, op->out[2]);
  for (int64_t i = 0; i < 2 * c; i++) {
    float *to = i < c ? dbeta : dgamma;
    double sum = 0.0;
    for (int64_t p = 0; to && p < n; p++) sum += sums[p * 2 * c + i];
    if (to) to[i % c] = (float)sum;
  }
}

static void run_rows_bwd(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  rows_job j = rows_of(plan, node, op->in[1], op->in[2], -1);
  bool sums = op->out[1] >= 0 || op->out[2] >= 0;
  double *data = plan->tensors[node->temp[0]].data;
  j.n_parts = node->n_pieces;
  j.sums = sums ? data : NULL;
  j.tiles = (float *)(data + j.n_parts * 2 * j.norm.c);
  cpu_for_pieces(j.n_parts, rows_part, &j);
  if (sums) add_sums(plan, op, data, j.n_parts, j.norm.c);
}

static wml_result plan_rows_bwd(wml_plan *plan, cpu_node *node) {
  shape s = shape_of(plan, node, node->op.in[1]);
  int64_t parts = s.samples / LEAST_ROWS;
  if (plan->device->finest_pieces) parts = s.samples;
  node->n_pieces = parts < 1 ? 1 : parts > MOST_PARTS ? MOST_PARTS : parts;
  size_t bytes = (size_t)(node->n_pieces * 2 * s.c) * (sizeof(double) + sizeof(float));
  node->temp[0] = cpu_add_temporary(plan, bytes, (int)(node - plan->nodes));
  node->run = run_rows_bwd;
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

/* ---- planes ---- */

/* Arrays per channel of each sample. */
enum { BY_MEAN, BY_VARIANCE, BY_DY, BY_X, BY_ONE, N_BY };

typedef struct planes_job {
  const wml_plan *plan;
  const wml_norm *norm;
  shape s;
  int x, dy, out; /* dy: -1 in the forward pass */
  bool narrow, centred;
  double *sums; /* [samples, blocks, width of the sums] */
  int64_t width;
  float *by; /* [samples, N_BY, c] */
} planes_job;

static planes_job planes_of(const wml_plan *plan, const cpu_node *node, int x, int dy) {
  planes_job j = {.plan = plan,
                  .norm = &node->op.u.norm,
                  .s = shape_of(plan, node, x),
                  .x = x,
                  .dy = dy,
                  .out = node->op.out[0],
                  .narrow = cpu_is_narrow(plan, x),
                  .sums = plan->tensors[node->temp[0]].data,
                  .by = plan->tensors[node->temp[1]].data};
  j.width = dy < 0 ? j.s.c : 2 * j.s.c;
  return j;
}

static float *by(const planes_job *j, int64_t sample, int what) {
  return j->by + (sample * N_BY + what) * j->s.c;
}

/* A piece's first element and positions. */
static int64_t piece_of(const planes_job *j, int64_t piece, int64_t *sample, int64_t *rows) {
  int64_t first = piece % j->s.blocks * PIECE;
  *sample = piece / j->s.blocks;
  *rows = j->s.positions - first < PIECE ? j->s.positions - first : PIECE;
  return (*sample * j->s.positions + first) * j->s.c;
}

/* Going forward: of x, or of (x - mean)^2 when the means are known. */
static void sums_piece(void *arg, int64_t piece, int thread) {
  const planes_job *j = arg;
  const vec_table *vec = j->plan->device->vec;
  double *sum = j->sums + piece * j->width;
  int64_t sample, rows, at = piece_of(j, piece, &sample, &rows);
  const void *x = cpu_at(j->plan, j->x, at);
  vec_norm channels = {.c = j->s.c, .narrow = j->narrow};
  (void)thread;
  memset(sum, 0, (size_t)j->width * sizeof *sum);
  if (j->dy < 0) {
    vec->norm_sums(&channels, x, j->centred ? by(j, sample, BY_MEAN) : NULL, sum, rows);
    return;
  }
  channels.mean = by(j, sample, BY_MEAN);
  channels.var = by(j, sample, BY_VARIANCE);
  vec->norm_bwd_sums(&channels, cpu_at(j->plan, j->dy, at), x, sum, rows);
}

static void combine_piece(void *arg, int64_t piece, int thread) {
  const planes_job *j = arg;
  int64_t sample, rows, at = piece_of(j, piece, &sample, &rows);
  const vec_combine k = {.dy = by(j, sample, BY_DY),
                         .x = by(j, sample, BY_X),
                         .mean = by(j, sample, BY_MEAN),
                         .one = by(j, sample, BY_ONE),
                         .c = j->s.c,
                         .narrow = j->narrow};
  (void)thread;
  j->plan->device->vec->norms->combine(&k, cpu_at(j->plan, j->dy, at), cpu_at(j->plan, j->x, at),
                                       cpu_at(j->plan, j->out, at), rows);
}

static int64_t pieces_of(const planes_job *j) {
  return j->s.samples * j->s.blocks;
}

/* Sums of a sample's channel, from column i of the pieces' sums. */
static double channel_sum(const planes_job *j, int64_t sample, int64_t i) {
  double sum = 0.0;
  for (int64_t b = 0; b < j->s.blocks; b++)
    sum += j->sums[(sample * j->s.blocks + b) * j->width + i];
  return sum;
}

static double group_sum(const planes_job *j, int64_t group) {
  double sum = 0.0;
  for (int64_t i = 0; i < j->s.width; i++)
    sum += channel_sum(j, group / j->s.groups, group % j->s.groups * j->s.width + i);
  return sum;
}

static void fill(const planes_job *j, int64_t group, int what, float value) {
  float *to = by(j, group / j->s.groups, what) + group % j->s.groups * j->s.width;
  for (int64_t i = 0; i < j->s.width; i++) to[i] = value;
}

static void find_means(planes_job *j, float *mean) {
  int64_t groups = j->s.samples * j->s.groups, count = j->s.positions * j->s.width;
  bool has_mean = j->norm->kind == WML_NORM_MEAN_VARIANCE;
  if (has_mean) cpu_for_pieces(pieces_of(j), sums_piece, j);
  for (int64_t g = 0; g < groups; g++) {
    float m = has_mean ? (float)(group_sum(j, g) / (double)count) : 0.0f;
    if (mean) mean[g] = m;
    fill(j, g, BY_MEAN, m);
  }
}

static void find_factors(planes_job *j, const float *gamma, const float *beta, float *factor) {
  int64_t groups = j->s.samples * j->s.groups, count = j->s.positions * j->s.width;
  j->centred = true;
  cpu_for_pieces(pieces_of(j), sums_piece, j);
  for (int64_t g = 0; g < groups; g++) {
    float f = (float)wml_norm_factor(j->norm, group_sum(j, g), count);
    if (factor) factor[g] = f;
    int64_t first = g % j->s.groups * j->s.width;
    float *scale = by(j, g / j->s.groups, BY_X) + first,
          *offset = by(j, g / j->s.groups, BY_ONE) + first;
    for (int64_t i = 0; i < j->s.width; i++) {
      scale[i] = f * (gamma ? gamma[first + i] : 1.0f);
      offset[i] = beta ? beta[first + i] : 0.0f;
    }
  }
}

static void run_planes(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  planes_job j = planes_of(plan, node, op->in[0], -1);
  find_means(&j, cpu_f32(plan, op->out[1]));
  find_factors(&j, cpu_f32(plan, op->in[1]), cpu_f32(plan, op->in[2]), cpu_f32(plan, op->out[2]));
  cpu_for_pieces(pieces_of(&j), combine_piece, &j);
}

/* dx = factor * (g - mean(g) - z * share * sum(g * z)), g = gamma * dy, z = factor * (x - mean) */
static void find_slopes(const planes_job *j, int64_t group, const float *gamma, float factor) {
  int64_t sample = group / j->s.groups, first = group % j->s.groups * j->s.width,
          count = j->s.positions * j->s.width;
  double g = 0.0, gz = 0.0;
  for (int64_t i = first; i < first + j->s.width; i++) {
    double scale = gamma ? (double)gamma[i] : 1.0;
    g += scale * channel_sum(j, sample, i);
    gz += scale * channel_sum(j, sample, j->s.c + i);
  }
  double mean = j->norm->kind == WML_NORM_MEAN_VARIANCE ? g / (double)count : 0.0;
  double share = gz * (double)wml_norm_share(j->norm, factor, count);
  fill(j, group, BY_X, (float)(-share * (double)factor * (double)factor));
  fill(j, group, BY_ONE, (float)(-mean * (double)factor));
  float *scale = by(j, sample, BY_DY);
  for (int64_t i = first; i < first + j->s.width; i++)
    scale[i] = factor * (gamma ? gamma[i] : 1.0f);
}

static void run_planes_bwd(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  planes_job j = planes_of(plan, node, op->in[1], op->in[0]);
  const float *gamma = cpu_f32(plan, op->in[2]), *mean = cpu_f32(plan, op->in[3]),
              *factor = cpu_f32(plan, op->in[4]);
  int64_t groups = j.s.samples * j.s.groups;
  for (int64_t g = 0; g < groups; g++) {
    fill(&j, g, BY_MEAN, mean ? mean[g] : 0.0f);
    fill(&j, g, BY_VARIANCE, 1.0f / (factor[g] * factor[g]));
  }
  cpu_for_pieces(pieces_of(&j), sums_piece, &j);
  add_sums(plan, op, j.sums, pieces_of(&j), j.s.c);
  if (j.out < 0) return;
  for (int64_t g = 0; g < groups; g++) find_slopes(&j, g, gamma, factor[g]);
  cpu_for_pieces(pieces_of(&j), combine_piece, &j);
}

static wml_result plan_planes(wml_plan *plan, cpu_node *node, int x, int64_t columns) {
  shape s = shape_of(plan, node, x);
  int at = (int)(node - plan->nodes);
  node->temp[0] =
      cpu_add_temporary(plan, (size_t)(s.samples * s.blocks * s.c * columns) * sizeof(double), at);
  node->temp[1] = cpu_add_temporary(plan, (size_t)(s.samples * N_BY * s.c) * sizeof(float), at);
  return node->temp[0] < 0 || node->temp[1] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

/* ---- planning ---- */

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  if (!cpu_same_type(plan, node->op.in[0], node->op.out[0])) return WML_UNSUPPORTED;
  node->name = "own";
  node->run = is_rows(&node->op) ? run_rows : run_planes;
  return is_rows(&node->op) ? WML_OK : plan_planes(plan, node, node->op.in[0], 1);
}

static wml_result plan_backward(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  if (!cpu_same_type(plan, op->in[0], op->in[1]) || !cpu_same_type(plan, op->in[0], op->out[0]))
    return WML_UNSUPPORTED;
  node->name = "own";
  if (is_rows(op)) return plan_rows_bwd(plan, node);
  node->run = run_planes_bwd;
  return plan_planes(plan, node, op->in[1], 2);
}

const cpu_implementation cpu_norm[] = {{plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_norm_bwd[] = {{plan_backward, true}, {NULL, false}};
