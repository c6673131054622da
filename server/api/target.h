/* Which weights a model's name means: one's own model first, then public ones; the newest weights,
 * unless a version, which is their id, is named. */
#ifndef SERVER_API_TARGET_H
#define SERVER_API_TARGET_H

#include "api.h"

typedef struct target {
  int64_t weights, session, owner;
  serve_batching batching;
  char version[24];
} target;

/* Of the call's name and first id, by what is known already. Does not block. */
bool target_known(api_call *call, target *t);
/* The same from the store. False: answered. */
bool target_find(api_call *call, target *t);
/* The predictor, held; loads it when that is new. NULL: answered. */
served *target_open(api_call *call, target *t);

#endif
