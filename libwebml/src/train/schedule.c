#include "train/trainer.h"

#include <math.h>

/* step: 0-based. Warm-up scales whatever the schedule says; the cosine runs over what follows it.
 */
double wml_learning_rate(const webml_train_options *o, double base, double factor, int64_t step,
                         int64_t steps_per_epoch) {
  double epoch = (double)step / (double)steps_per_epoch, warm = o->warmup_epochs, rate = base;
  if (o->schedule == WEBML_SCHEDULE_STEP)
    rate = base * pow(o->step_factor, floor(epoch / o->step_epochs));
  if (o->schedule == WEBML_SCHEDULE_COSINE) {
    double length = fmax((double)o->epochs - warm, 1e-9),
           at = fmin(fmax((epoch - warm) / length, 0.0), 1.0);
    rate = o->final_rate + (base - o->final_rate) * 0.5 * (1.0 + cos(3.141592653589793 * at));
  }
  if (epoch < warm) rate *= (double)(step + 1) / (warm * (double)steps_per_epoch);
  return rate * factor;
}
