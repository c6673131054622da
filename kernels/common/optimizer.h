/* Optimizers, one element at a time (Keras 3). t is the 1-based update, g the gradient after
 * regularisers and clipping, w the weight; the order of the state tensors s0..s2 is given at each.
 */
#ifndef WML_COMMON_OPTIMIZER_H
#define WML_COMMON_OPTIMIZER_H

#include "kinds.h"
#include "loss.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct wml_optimizer {
  wml_optimizer_kind kind;
  float learning_rate; /* of the description; the trainer passes the current one with each step */
  float momentum, rho, beta_1, beta_2, epsilon;
  bool nesterov, centered, amsgrad;
  float initial_accumulator;                             /* adagrad, ftrl */
  float l1, l2, l2_shrinkage, learning_rate_power, beta; /* ftrl */
  float weight_decay;                                    /* 0: none */
  bool use_ema; /* keep a moving average of the weights, in the last state tensor */
  float ema_momentum;
  /* 0: none. Else the mean gradient of so many steps is applied by the last of them; their sum is
   * kept in a state tensor behind all others. Learning rates count steps, everything else counts
   * updates. */
  int accumulation;
  float clipnorm, clipvalue, global_clipnorm; /* 0: none; at most one is set */
} wml_optimizer;

/* How many state tensors the update itself needs; the list's number is the most. */
WML_FN int wml_optimizer_own_slots(const wml_optimizer *o) {
  switch (o->kind) {
  case WML_SGD: return o->momentum != 0.0f ? 1 : 0;
  case WML_RMSPROP: return o->centered ? 3 : (o->momentum != 0.0f ? 2 : 1);
  case WML_ADAM:
  case WML_ADAMW: return o->amsgrad ? 3 : 2;
  case WML_ADAGRAD:
  case WML_LION: return 1;
  default: return 2;
  }
}

/* Where the sum of gradients is: behind the moving average of the weights. */
WML_FN int wml_optimizer_sum_slot(const wml_optimizer *o) {
  return wml_optimizer_own_slots(o) + (o->use_ema ? 1 : 0);
}

WML_FN int wml_optimizer_slots(const wml_optimizer *o) {
  return wml_optimizer_sum_slot(o) + (o->accumulation ? 1 : 0);
}

/* Scalars that depend on the step and not on the element. */
typedef struct wml_optimizer_step {
  bool updates; /* false: its gradients join their sum, and that is all */
  float rate;   /* learning rate */
  float alpha;  /* adam: rate * sqrt(1-b2^t)/(1-b1^t); adamax: rate/(1-b1^t) */
  float decay;  /* 1 - weight_decay * rate */
  float ema;    /* share of the old average: 0 up to the first update, which copies the weights */
  float lamb_m, lamb_v;            /* lamb: 1/(1-b1^t), 1/(1-b2^t) */
  float nadam_g, nadam_m, nadam_v; /* nadam: (1-mu_t)/(1-P), mu_{t+1}/(1-P mu_{t+1}), 1/(1-b2^t) */
} wml_optimizer_step;

/* Initial value of the state: zero but for the accumulators of adagrad and ftrl. */
WML_FN float wml_optimizer_initial(const wml_optimizer *o, int slot) {
  bool accumulates = o->kind == WML_ADAGRAD || o->kind == WML_FTRL;
  return accumulates && slot == 0 ? o->initial_accumulator : 0.0f;
}

WML_FN double wml_nadam_mu(double beta_1, double t) {
  return beta_1 * (1.0 - 0.5 * pow(0.96, t));
}

/* number: of the step, 1-based. Nadam's product of mu is formed anew each time: no state, any step
 * can be first. */
WML_FN wml_optimizer_step wml_optimizer_prepare(const wml_optimizer *o, float rate,
                                                int64_t number) {
  int64_t each = o->accumulation ? o->accumulation : 1, t = (number - 1) / each + 1;
  wml_optimizer_step s = {.updates = number % each == 0,
                          .rate = rate,
                          .alpha = rate,
                          .decay = 1.0f - o->weight_decay * rate};
  double b1 = (double)o->beta_1, b2 = (double)o->beta_2, step = (double)t;
  s.ema = t == 1 ? 0.0f : o->ema_momentum;
  switch (o->kind) {
  case WML_LAMB:
    s.lamb_m = (float)(1.0 / (1.0 - pow(b1, step)));
    s.lamb_v = (float)(1.0 / (1.0 - pow(b2, step)));
    break;
  case WML_ADAM:
  case WML_ADAMW:
    s.alpha = (float)((double)rate * sqrt(1.0 - pow(b2, step)) / (1.0 - pow(b1, step)));
    break;
  case WML_ADAMAX: s.alpha = (float)((double)rate / (1.0 - pow(b1, step))); break;
  case WML_NADAM: {
    double product = 1.0;
    for (int64_t i = 1; i <= t && product > 1e-20; i++) product *= wml_nadam_mu(b1, (double)i);
    double mu = wml_nadam_mu(b1, step), next = wml_nadam_mu(b1, step + 1.0);
    s.nadam_g = (float)((1.0 - mu) / (1.0 - product));
    s.nadam_m = (float)(next / (1.0 - product * next));
    s.nadam_v = (float)(1.0 / (1.0 - pow(b2, step)));
    break;
  }
  default: break;
  }
  return s;
}

/* The same step of a variable whose learning rate is `factor` times as large. */
WML_FN wml_optimizer_step wml_optimizer_scaled(const wml_optimizer *o, wml_optimizer_step s,
                                               float factor) {
  if (factor == 1.0f) return s;
  s.rate *= factor;
  s.alpha *= factor;
  s.decay = 1.0f - o->weight_decay * s.rate;
  return s;
}

WML_FN float wml_optimizer_ftrl(const wml_optimizer *o, float rate, float w, float g, float *n,
                                float *z) {
  float l2 = o->l2 + o->beta / (2.0f * rate), power = -o->learning_rate_power;
  float shrunk = g + 2.0f * o->l2_shrinkage * w, next = *n + g * g;
  float before = powf(*n, power), after = powf(next, power);
  *z += shrunk - (after - before) / rate * w;
  *n = next;
  return fabsf(*z) > o->l1 ? (o->l1 * wml_sign(*z) - *z) / (after / rate + 2.0f * l2) : 0.0f;
}

/* LAMB (You et al. 2020) in two passes: this is the direction of one element, from its m (s0) and
 * v (s1); then w -= rate * |w| / |direction| * direction, the norms of one variable. */
WML_FN float wml_optimizer_lamb(const wml_optimizer *o, const wml_optimizer_step *s, float g,
                                float *s0, float *s1) {
  *s0 += (g - *s0) * (1.0f - o->beta_1);
  *s1 += (g * g - *s1) * (1.0f - o->beta_2);
  return *s0 * s->lamb_m / (sqrtf(*s1 * s->lamb_v) + o->epsilon);
}

/* |w| / |direction|, 1 where one of them is 0. */
WML_FN double wml_optimizer_trust(double weights, double direction) {
  return weights > 0.0 && direction > 0.0 ? weights / direction : 1.0;
}

/* A gradient meets the sum of those before: the mean, of which the sum begins anew, or, in a step
 * that does not update, what it was. */
WML_FN float wml_optimizer_accumulate(const wml_optimizer *o, const wml_optimizer_step *s, float g,
                                      float *sum) {
  float all = g + *sum;
  *sum = s->updates ? 0.0f : all;
  return s->updates ? all / (float)o->accumulation : g;
}

/* The moving average of a weight after it was updated. */
WML_FN float wml_optimizer_average(const wml_optimizer_step *s, float average, float w) {
  return average * s->ema + w * (1.0f - s->ema);
}

/* The new weight; updates the state tensors' elements. Not for lamb. */
WML_FN float wml_optimizer_element(const wml_optimizer *o, const wml_optimizer_step *s, float w,
                                   float g, float *s0, float *s1, float *s2) {
  if (o->weight_decay != 0.0f) w *= s->decay;
  switch (o->kind) {
  case WML_SGD: /* s0: velocity */
    if (o->momentum == 0.0f) return w - s->rate * g;
    *s0 = o->momentum * *s0 - s->rate * g;
    return o->nesterov ? w + o->momentum * *s0 - s->rate * g : w + *s0;
  case WML_RMSPROP: { /* s0: mean of g^2, s1: velocity, s2: mean of g */
    *s0 = o->rho * *s0 + (1.0f - o->rho) * g * g;
    float d = *s0;
    if (o->centered) {
      *s2 = o->rho * *s2 + (1.0f - o->rho) * g;
      d -= *s2 * *s2;
    }
    float step = s->rate * g / sqrtf(d + o->epsilon);
    if (o->momentum == 0.0f) return w - step;
    *s1 = o->momentum * *s1 + step;
    return w - *s1;
  }
  case WML_ADAM:
  case WML_ADAMW: { /* s0: m, s1: v, s2: largest v */
    *s0 += (g - *s0) * (1.0f - o->beta_1);
    *s1 += (g * g - *s1) * (1.0f - o->beta_2);
    float v = *s1;
    if (o->amsgrad) {
      *s2 = *s2 > v ? *s2 : v;
      v = *s2;
    }
    return w - s->alpha * *s0 / (sqrtf(v) + o->epsilon);
  }
  case WML_ADAMAX: /* s0: m, s1: u */
    *s0 += (g - *s0) * (1.0f - o->beta_1);
    *s1 = fmaxf(o->beta_2 * *s1, fabsf(g));
    return w - s->alpha * *s0 / (*s1 + o->epsilon);
  case WML_NADAM: /* s0: m, s1: v */
    *s0 = o->beta_1 * *s0 + (1.0f - o->beta_1) * g;
    *s1 = o->beta_2 * *s1 + (1.0f - o->beta_2) * g * g;
    return w -
           s->rate * (s->nadam_g * g + s->nadam_m * *s0) / (sqrtf(*s1 * s->nadam_v) + o->epsilon);
  case WML_ADAGRAD: /* s0: sum of g^2 */
    *s0 += g * g;
    return w - s->rate * g / sqrtf(*s0 + o->epsilon);
  case WML_ADADELTA: { /* s0: mean of g^2, s1: mean of steps^2 */
    *s0 = o->rho * *s0 + (1.0f - o->rho) * g * g;
    float step = sqrtf(*s1 + o->epsilon) / sqrtf(*s0 + o->epsilon) * g;
    *s1 = o->rho * *s1 + (1.0f - o->rho) * step * step;
    return w - s->rate * step;
  }
  case WML_FTRL: return wml_optimizer_ftrl(o, s->rate, w, g, s0, s1); /* s0: n, s1: z */
  default: {                                                          /* lion, s0: m */
    float direction = o->beta_1 * *s0 + (1.0f - o->beta_1) * g;
    *s0 = o->beta_2 * *s0 + (1.0f - o->beta_2) * g;
    return w - s->rate * wml_sign(direction);
  }
  }
}

#endif
