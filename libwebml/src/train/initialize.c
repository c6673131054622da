/* Keras's initializers on a counter-based generator: element i of a parameter has the same value on
 * every device. */
#include "kernels/common/philox.h"
#include "train/trainer.h"

#include <math.h>
#include <string.h>

typedef struct source {
  uint64_t seed;
  uint32_t lane;
} source;

static double uniform(const source *s, uint64_t i, uint32_t attempt) {
  wml_philox r = wml_philox_at(s->seed, s->lane, attempt, i);
  return ((double)r.word[0] + 0.5) / 4294967296.0;
}

/* Box and Muller, in double: (0, 1) twice gives one normal. */
static double normal(const source *s, uint64_t i, uint32_t attempt) {
  wml_philox r = wml_philox_at(s->seed, s->lane, attempt, i);
  double u = ((double)r.word[0] + 0.5) / 4294967296.0, v = ((double)r.word[1] + 0.5) / 4294967296.0;
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

static double truncated(const source *s, uint64_t i) {
  for (uint32_t attempt = 0;; attempt++) {
    double x = normal(s, i, attempt);
    if (fabs(x) <= 2.0) return x;
  }
}

static void fans(const wml_param *p, double *in, double *out) {
  double field = p->rank == 4 ? (double)(p->dim[0] * p->dim[1]) : 1.0;
  *in = p->rank == 1 ? (double)p->dim[0] : (double)p->dim[p->rank - 2] * field;
  *out = (double)p->dim[p->rank - 1] * (p->rank == 1 ? 1.0 : field);
}

static void variance_scaling(const wml_param *p, const source *s, int64_t n, float *w) {
  const wml_initializer *init = &p->initializer;
  double in, out;
  fans(p, &in, &out);
  double fan = fmax(1.0, init->mode == WML_FAN_IN    ? in
                         : init->mode == WML_FAN_OUT ? out
                                                     : (in + out) / 2.0);
  double variance = (double)init->a / fan, limit = sqrt(3.0 * variance), deviation = sqrt(variance);
  for (int64_t i = 0; i < n; i++) {
    double x;
    if (init->distribution == WML_DIST_UNIFORM)
      x = (2.0 * uniform(s, (uint64_t)i, 0) - 1.0) * limit;
    else if (init->distribution == WML_DIST_TRUNCATED)
      x = truncated(s, (uint64_t)i) * deviation / 0.87962566103423978;
    else
      x = normal(s, (uint64_t)i, 0) * deviation;
    w[i] = (float)x;
  }
}

/* Modified Gram-Schmidt, twice, on the rows of a (small, large) normal matrix; the same up to
 * signs as the Q of Keras's QR, whose signs are made those of a unique factorisation. */
static webml_status orthogonal(const wml_param *p, const source *s, int64_t n, float *w) {
  int64_t columns = p->dim[p->rank - 1], rows = n / columns;
  int64_t small = rows < columns ? rows : columns, large = n / small;
  double *q = wml_alloc((size_t)n * sizeof *q);
  if (!q) return wml_no_memory((size_t)n * sizeof *q, "an orthogonal initializer");
  for (int64_t i = 0; i < n; i++) q[i] = normal(s, (uint64_t)i, 0);
  for (int64_t a = 0; a < small; a++) {
    double *v = q + a * large, norm = 0.0;
    for (int pass = 0; pass < 2; pass++)
      for (int64_t b = 0; b < a; b++) {
        double dot = 0.0, *u = q + b * large;
        for (int64_t k = 0; k < large; k++) dot += v[k] * u[k];
        for (int64_t k = 0; k < large; k++) v[k] -= dot * u[k];
      }
    for (int64_t k = 0; k < large; k++) norm += v[k] * v[k];
    norm = sqrt(norm);
    for (int64_t k = 0; k < large; k++) v[k] /= norm;
  }
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++)
      w[r * columns + c] = (float)((double)p->initializer.a *
                                   (rows < columns ? q[r * large + c] : q[c * large + r]));
  wml_free(q);
  return WEBML_OK;
}

webml_status wml_initialize(const wml_param *p, uint64_t seed, uint32_t which, float *w) {
  const wml_initializer *init = &p->initializer;
  source s = {seed, wml_random_lane(WML_RANDOM_INITIALIZER, which)};
  int64_t n = 1;
  for (int i = 0; i < p->rank; i++) n *= p->dim[i];
  if (p->values) {
    memcpy(w, p->values, (size_t)n * sizeof *w);
    return WEBML_OK;
  }
  switch (init->kind) {
  case WML_INIT_ORTHOGONAL: return orthogonal(p, &s, n, w);
  case WML_INIT_VARIANCE_SCALING: variance_scaling(p, &s, n, w); return WEBML_OK;
  default: break;
  }
  for (int64_t i = 0; i < n; i++) {
    double x = (double)init->a, spread = (double)init->b;
    if (init->kind == WML_INIT_UNIFORM)
      x += (spread - x) * uniform(&s, (uint64_t)i, 0);
    else if (init->kind == WML_INIT_NORMAL)
      x += spread * normal(&s, (uint64_t)i, 0);
    else if (init->kind == WML_INIT_TRUNCATED_NORMAL)
      x += spread * truncated(&s, (uint64_t)i);
    w[i] = (float)x;
  }
  return WEBML_OK;
}
