/* What a training, or an evaluation with batches of the same size, needs at most, computed before
 * it starts; and whether the limits allow the model. */
#ifndef SERVER_API_NEED_H
#define SERVER_API_NEED_H

#include "api.h"
#include "devices/choose.h"

typedef struct training_need {
  device_need device; /* bytes on the CPU and on a GPU, the latter with what CUDA itself takes */
  bool gpu_estimated; /* no GPU was opened for it */
  int64_t parameters, layers;
} training_need;

/* What a call names them: the library's precisions, NULL at the end. The fields of a call that
 * decide about the need are device, batch_size, precision, validation_split and deterministic. */
extern const char *const need_precisions[];

/* Whether a device that the call asks for exists and computes in its precision: known at once.
 * False: answered, with what would do. */
bool need_is_possible(api_call *call);

/* Of a model of the caller's, shaped to the data set (0: as it is; then it must not be dynamic), by
 * the plans of the devices that the call asks for. Reads the data set in a process, which opens a
 * GPU where it is free; the need on a GPU that is closed, full or somebody else's is estimated.
 * False: the call was answered. */
bool need_compute(api_call *call, int64_t model, int64_t dataset, training_need *need);

/* Layers, parameters and size of weights against the settings; administrators have no limits.
 * False: answered. */
bool need_is_allowed(api_call *call, const training_need *need);

#endif
