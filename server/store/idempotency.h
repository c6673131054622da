/* Requests that may come again, by the keys of their clients, with the first answer to each. */
#ifndef SERVER_STORE_IDEMPOTENCY_H
#define SERVER_STORE_IDEMPOTENCY_H

#include "store.h"

typedef enum idempotency_verdict {
  IDEMPOTENCY_NEW,       /* the key is the caller's: idempotency_keep() or _release() ends it */
  IDEMPOTENCY_ANSWERED,  /* the answer is there */
  IDEMPOTENCY_UNDER_WAY, /* the first request has not been answered */
  IDEMPOTENCY_OTHER,     /* the key belongs to another request */
  IDEMPOTENCY_TOO_MANY,  /* the account has `most` keys */
  IDEMPOTENCY_FAILED     /* store_error() */
} idempotency_verdict;

/* A request of an account; texts, and times in Unix seconds. */
typedef struct idempotency_request {
  int64_t user, now, since;  /* since: older keys are forgotten */
  int most;                  /* keys that the account may have */
  const char *key, *request; /* hashes */
} idempotency_request;

/* *answer: status, type, headers, body of IDEMPOTENCY_ANSWERED, the caller's; else NULL. */
idempotency_verdict idempotency_begin(store *s, const idempotency_request *r, json_t **answer);
int64_t idempotency_keep(store *s, int64_t user, const char *key, int64_t status, const char *type,
                         const char *headers, const char *body);
/* The request was not done: it may come again. */
int64_t idempotency_release(store *s, int64_t user, const char *key);

/* Deletes keys that were made before this time. */
int64_t idempotency_purge(store *s, int64_t before);
/* Before the first request: those that were under way when the server ended may come again. */
int64_t idempotency_recover(store *s);

#endif
