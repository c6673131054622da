/* Log-ins: one row for each browser or script that has logged in, with the renewals that it was
 * given, one after the other. A renewal is good for one use; the one before counts for a short
 * while, since two tabs of a browser may renew at once, and later its reuse is a theft. A log-in by
 * cookie has no renewals: it counts until it has not been used for a while. */
#ifndef SERVER_STORE_LOGINS_H
#define SERVER_STORE_LOGINS_H

#include "store.h"

/* The log-in's id; STORE_FAILED. */
int64_t login_open(store *s, int64_t user, const char *address, const char *agent, int64_t now);
/* id, address, agent, created, used; the one that was used last first. */
json_t *logins_of(store *s, int64_t user);
/* Ends one; 0: it is not the user's. */
int64_t login_end(store *s, int64_t user, int64_t login);
/* Ends all; every token of the account with them. */
int64_t logins_end(store *s, int64_t user);

int64_t renewal_add(store *s, int64_t login, const char *hash, int64_t now, int64_t expires);

typedef enum renewal_verdict {
  RENEWAL_GOOD,
  RENEWAL_UNKNOWN, /* or over */
  RENEWAL_STOLEN,  /* was used before: the log-in has ended with all that belongs to it */
  RENEWAL_FAILED   /* store_error() */
} renewal_verdict;

/* Uses it up. grace: seconds after the first use in which it counts again. */
renewal_verdict renewal_use(store *s, const char *hash, int64_t now, int64_t grace, int64_t *user,
                            int64_t *login);

/* The log-in is one by cookie from here on. */
int64_t login_set_cookie(store *s, int64_t login, const char *hash);
/* login, used, and of its account id, name, role, generation; where it is enabled, and the log-in
 * was used after `since`. */
json_t *login_of_cookie(store *s, const char *hash, int64_t since, bool *found);
/* It is used. */
int64_t login_touch(store *s, int64_t login, int64_t now);

/* Renewals that are over, log-ins without one, and log-ins by cookie that were last used before
 * `since`, are deleted. */
int64_t logins_purge(store *s, int64_t now, int64_t since);

/* ---- log-ins that failed; key: a hash ---- */

/* count, last; NULL: none, or store_error(). */
json_t *failure_find(store *s, const char *key);
int64_t failure_keep(store *s, const char *key, int64_t count, int64_t last);
int64_t failure_forget(store *s, const char *key);
/* When the last one was; 0: there is none. */
int64_t failures_last(store *s);
/* Those before this time. */
int64_t failures_purge(store *s, int64_t before);

#endif
