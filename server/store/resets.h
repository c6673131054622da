/* One-time keys with which a person sets a new password; an account has one at most. */
#ifndef SERVER_STORE_RESETS_H
#define SERVER_STORE_RESETS_H

#include "store.h"

/* The account's password is void from now on, its log-ins end, and keys of before are forgotten. 1,
 * or as store_run(). */
int64_t reset_begin(store *s, int64_t user, const char *hash, int64_t now, int64_t expires);
/* The open account of a key that has not expired; 0: there is none; STORE_FAILED. */
int64_t reset_user(store *s, const char *hash, int64_t now);
/* Uses the key up and sets the password (its hash), or neither: the account, or as reset_user(). */
int64_t reset_use(store *s, const char *hash, const char *password, int64_t now);
/* Deletes keys that have expired. */
int64_t resets_purge(store *s, int64_t now);

#endif
