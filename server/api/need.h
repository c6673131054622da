/* What a training needs, computed before it starts; and whether the limits allow the model. */
#ifndef SERVER_API_NEED_H
#define SERVER_API_NEED_H

#include "api.h"

typedef struct training_need {
  int64_t on_cpu, on_gpu; /* bytes; the GPU's with what CUDA itself takes, estimated */
  int64_t parameters, layers;
} training_need;

/* A model of the caller's, shaped to the data set (0: as it is; then it must not be dynamic). Reads
 * the data set in a process. False: the call was answered. */
bool need_compute(api_call *call, int64_t model, int64_t dataset, int64_t batch,
                  training_need *need);

/* Layers, parameters and size of weights against the settings; administrators have no limits.
 * False: answered. */
bool need_is_allowed(api_call *call, const training_need *need);

#endif
