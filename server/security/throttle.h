/* Attempts that failed (log-ins, registrations): after a few, one has to wait, each time longer.
 * Per name and address, so that nobody can lock another one out from elsewhere; and per address.
 * Keys are hashed with a secret of the server's, so that nobody can aim at another's entry; what
 * has failed is kept in the store, over restarts. Any thread; blocks for the store. */
#ifndef SERVER_SECURITY_THROTTLE_H
#define SERVER_SECURITY_THROTTLE_H

#include "secrets.h"
#include "store/store.h"

typedef struct throttle throttle;

/* NULL: no memory. */
throttle *throttle_create(store *s, const token_key *key);
void throttle_destroy(throttle *t);

/* Seconds to wait; 0: go on. */
int throttle_wait(throttle *t, const char *name, const char *address);
void throttle_failed(throttle *t, const char *name, const char *address);
void throttle_passed(throttle *t, const char *name, const char *address);
/* What failed long ago is forgotten; now and then. */
void throttle_purge(throttle *t);

#endif
