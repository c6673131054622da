/* Constraints on weights, applied after the update (Keras 3). A norm is that of the elements along
 * the axes; every other index has one of its own. e = 1e-7. */
#ifndef WML_COMMON_CONSTRAINT_H
#define WML_COMMON_CONSTRAINT_H

#include "kinds.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct wml_constraint {
  wml_constraint_kind kind;
  float min_value, max_value; /* of the norm */
  float rate;                 /* min_max_norm: how far towards the bound; 1: all the way */
  int axes;                   /* bit i: the norm goes along dimension i */
} wml_constraint;

/* What weights of this norm are multiplied by. */
WML_FN float wml_constraint_factor(const wml_constraint *c, double norm) {
  double low = c->kind == WML_MIN_MAX_NORM ? (double)c->min_value : 0.0;
  double rate = c->kind == WML_MIN_MAX_NORM ? (double)c->rate : 1.0, wanted = 1.0;
  if (c->kind != WML_UNIT_NORM)
    wanted = rate * fmin(fmax(norm, low), (double)c->max_value) + (1.0 - rate) * norm;
  return (float)(wanted / (1e-7 + norm));
}

/* How the elements along a dimension lie: index i at the sum over levels of
 * i / divisor % modulus * stride. A row-major one has one level. */
enum { WML_AXIS_LEVELS = 4, WML_CONSTRAINT_AXES = 5 };

typedef struct wml_axis {
  int64_t n;
  bool along; /* the norm goes along it */
  int n_levels;
  struct {
    int64_t divisor, modulus, stride;
  } level[WML_AXIS_LEVELS];
} wml_axis;

typedef struct wml_constrained {
  int rank;
  wml_axis axis[WML_CONSTRAINT_AXES];
} wml_constrained;

WML_FN void wml_axis_add(wml_axis *axis, int64_t divisor, int64_t modulus, int64_t stride) {
  axis->level[axis->n_levels].divisor = divisor;
  axis->level[axis->n_levels].modulus = modulus;
  axis->level[axis->n_levels++].stride = stride;
}

WML_FN int64_t wml_axis_place(const wml_axis *axis, int64_t i) {
  if (axis->n_levels == 1) return i * axis->level[0].stride;
  int64_t place = 0;
  for (int k = 0; k < axis->n_levels; k++)
    place += i / axis->level[k].divisor % axis->level[k].modulus * axis->level[k].stride;
  return place;
}

/* A tensor with these strides. */
WML_FN wml_constrained wml_constrained_strided(const wml_constraint *c, int rank,
                                               const int64_t *dim, const int64_t *stride) {
  wml_constrained t = {.rank = rank};
  for (int i = 0; i < rank; i++) {
    t.axis[i].n = dim[i];
    t.axis[i].along = c->axes >> i & 1;
    wml_axis_add(&t.axis[i], 1, dim[i], stride[i]);
  }
  return t;
}

WML_FN wml_constrained wml_constrained_row_major(const wml_constraint *c, int rank,
                                                 const int64_t *dim) {
  int64_t stride[WML_CONSTRAINT_AXES] = {0}, n = 1;
  for (int i = rank; i-- > 0; n *= dim[i]) stride[i] = n;
  return wml_constrained_strided(c, rank, dim, stride);
}

/* How many elements there are along the axes, or how many norms. */
WML_FN int64_t wml_constrained_count(const wml_constrained *t, bool along) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    if (t->axis[i].along == along) n *= t->axis[i].n;
  return n;
}

/* Where element `at` among those lies, the other indices being 0. */
WML_FN int64_t wml_constrained_place(const wml_constrained *t, bool along, int64_t at) {
  int64_t place = 0;
  for (int i = t->rank; i-- > 0;) {
    if (t->axis[i].along != along) continue;
    place += wml_axis_place(&t->axis[i], at % t->axis[i].n);
    at /= t->axis[i].n;
  }
  return place;
}

/* The factor of the weights of norm number `which`. */
WML_FN float wml_constrained_factor(const wml_constraint *c, const wml_constrained *t,
                                    const float *w, int64_t which) {
  int64_t base = wml_constrained_place(t, false, which), n = wml_constrained_count(t, true);
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++) {
    double x = (double)w[base + wml_constrained_place(t, true, i)];
    sum += x * x;
  }
  return wml_constraint_factor(c, sqrt(sum));
}

#endif
