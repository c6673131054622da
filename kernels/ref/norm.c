/* Normalisation of each sample by itself; formulas in norm.h. */
#include "ref.h"

/* x as [n, positions, groups, width]. */
typedef struct ref_groups {
  const wml_norm *norm;
  int64_t n, positions, groups, width;
} ref_groups;

static ref_groups groups_of(const ref_step *s, const wml_op *op, int x) {
  const wml_tensor *t = &s->graph->tensors[x];
  const wml_norm *norm = &op->u.norm;
  int64_t last = t->dim[t->rank - 1];
  return (ref_groups){norm, wml_elements(t) / last / norm->positions, norm->positions, norm->groups,
                      last / norm->groups};
}

/* The place in x of element k, counted over positions and width, of group g = sample * groups +
 * group; *channel: its place in gamma and beta. */
static int64_t place_of(const ref_groups *v, int64_t g, int64_t k, int64_t *channel) {
  int64_t sample = g / v->groups, position = k / v->width;
  *channel = g % v->groups * v->width + k % v->width;
  return (sample * v->positions + position) * v->groups * v->width + *channel;
}

static double mean_of(const ref_groups *v, const float *x, int64_t g) {
  int64_t count = v->positions * v->width, channel;
  double sum = 0.0;
  if (v->norm->kind != WML_NORM_MEAN_VARIANCE) return 0.0;
  for (int64_t k = 0; k < count; k++) sum += (double)x[place_of(v, g, k, &channel)];
  return sum / (double)count;
}

void ref_norm(ref_step *s, const wml_op *op) {
  ref_groups v = groups_of(s, op, op->in[0]);
  const float *x = ref_f32(s, op->in[0]), *gamma = ref_f32(s, op->in[1]);
  const float *beta = ref_f32(s, op->in[2]);
  float *y = ref_f32(s, op->out[0]), *means = ref_f32(s, op->out[1]);
  float *factors = ref_f32(s, op->out[2]);
  int64_t count = v.positions * v.width, c;
  for (int64_t g = 0; g < v.n * v.groups; g++) {
    double mean = mean_of(&v, x, g), squares = 0.0;
    for (int64_t k = 0; k < count; k++) {
      double d = (double)x[place_of(&v, g, k, &c)] - mean;
      squares += d * d;
    }
    double factor = wml_norm_factor(v.norm, squares, count);
    if (means) means[g] = (float)mean;
    if (factors) factors[g] = (float)factor;
    for (int64_t k = 0; k < count; k++) {
      int64_t i = place_of(&v, g, k, &c);
      double z = ((double)x[i] - mean) * factor;
      y[i] = (float)(z * (gamma ? (double)gamma[c] : 1.0) + (beta ? (double)beta[c] : 0.0));
    }
  }
}

/* What the backward pass reads and writes, for all groups. */
typedef struct ref_norm_bwd_data {
  const float *dy, *x, *gamma, *means, *factors;
  float *dx;
  double *dgamma, *dbeta;
} ref_norm_bwd_data;

static void norm_bwd_group(const ref_groups *v, const ref_norm_bwd_data *d, int64_t g) {
  int64_t count = v->positions * v->width, c;
  double mean = d->means ? (double)d->means[g] : 0.0, factor = (double)d->factors[g];
  double sum = 0.0, dot = 0.0;
  for (int64_t k = 0; k < count; k++) {
    int64_t i = place_of(v, g, k, &c);
    double z = ((double)d->x[i] - mean) * factor, dy = (double)d->dy[i];
    double scaled = dy * (d->gamma ? (double)d->gamma[c] : 1.0);
    sum += scaled;
    dot += scaled * z;
    if (d->dgamma) d->dgamma[c] += dy * z;
    if (d->dbeta) d->dbeta[c] += dy;
  }
  double share = wml_norm_share(v->norm, d->factors[g], count);
  double shift = v->norm->kind == WML_NORM_MEAN_VARIANCE ? sum / (double)count : 0.0;
  for (int64_t k = 0; d->dx && k < count; k++) {
    int64_t i = place_of(v, g, k, &c);
    double z = ((double)d->x[i] - mean) * factor;
    double scaled = (double)d->dy[i] * (d->gamma ? (double)d->gamma[c] : 1.0);
    d->dx[i] = (float)(factor * (scaled - shift - z * dot * share));
  }
}

void ref_norm_bwd(ref_step *s, const wml_op *op) {
  ref_groups v = groups_of(s, op, op->in[1]);
  ref_norm_bwd_data d = {.dy = ref_f32(s, op->in[0]),
                         .x = ref_f32(s, op->in[1]),
                         .gamma = ref_f32(s, op->in[2]),
                         .means = ref_f32(s, op->in[3]),
                         .factors = ref_f32(s, op->in[4]),
                         .dx = ref_f32(s, op->out[0]),
                         .dgamma = op->out[1] < 0 ? NULL : ref_sums(s, op->out[1]),
                         .dbeta = op->out[2] < 0 ? NULL : ref_sums(s, op->out[2])};
  for (int64_t g = 0; g < v.n * v.groups; g++) norm_bwd_group(&v, &d, g);
  if (d.dgamma) ref_store_sums(s, op->out[1]);
  if (d.dbeta) ref_store_sums(s, op->out[2]);
}
