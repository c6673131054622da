/* Calls that wait for a training session to come to another state. They hold no thread: they lie in
 * a list that a thread of its own goes through while there are any. */
#ifndef SERVER_API_WAITS_H
#define SERVER_API_WAITS_H

#include "api.h"

/* Keeps the call until the session call->ids[0] is in another state than `state`, is deleted, or
 * `seconds` have passed, or the server stops; then the call's route runs once more, with
 * call->waited set. A call whose client has gone is dropped. False: nothing is left to wait for,
 * and the call is still the caller's; true: it is kept, or was answered, since its account has too
 * many such calls (429). */
bool api_wait(api_call *call, const char *state, double seconds);

#endif
