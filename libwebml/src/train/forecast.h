/* How long steps will take, before there are any. */
#ifndef WML_TRAIN_FORECAST_H
#define WML_TRAIN_FORECAST_H

#include "plan/step.h"

/* Work of a kind of operation in one step. */
typedef struct wml_work {
  double convolution, first_convolution, dense; /* floating-point operations */
  double weights;                               /* bytes of weights and optimizer state moved */
  double bytes;                                 /* moved by all other operations */
  double operations;
} wml_work;

void wml_work_of(const wml_graph *graph, wml_work *work);
/* Seconds of a step. */
double wml_forecast(const wml_work *work, const webml_speed *speed);
/* Trainings are measured to take from half the forecast to twice it: the speed is
 * that of a machine with nothing else to do. `webml-bench forecast` checks it. */
static const double wml_forecast_low = 0.5, wml_forecast_high = 2.0;

#endif
