/* One inference: a request of the V2 protocol or of TensorFlow Serving's is read, computed and
 * answered. */
#ifndef SERVER_API_INFERENCE_H
#define SERVER_API_INFERENCE_H

#include "target.h"

enum { INFERENCE_MOST_ROWS = 4096 };

typedef enum inference_protocol { INFERENCE_V2, INFERENCE_TENSORFLOW } inference_protocol;

/* Takes the predictor, which is held, from the caller. on_loop: false is returned where the request
 * is too large for an event loop; the call is as it was then. Else the call is answered, at once or
 * when it has been computed, and true is returned. */
bool inference_run(api_call *call, const target *t, served *s, inference_protocol protocol,
                   bool on_loop);

#endif
