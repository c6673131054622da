/* API tokens: named secrets with which programs call in an account's name. The store has their
 * hashes only. What a token may do now also depends on its account's row, which is read with it. */
#ifndef SERVER_STORE_TOKENS_H
#define SERVER_STORE_TOKENS_H

#include "store.h"

enum { TOKENS_TOO_MANY = -3 };

/* scopes: names with blanks between them. expires: Unix seconds, or 0: no end. The token's id;
 * STORE_EXISTS: the account has one of this name; TOKENS_TOO_MANY: it has `most`. */
int64_t token_add(store *s, int64_t user, const char *hash, const char *name, const char *scopes,
                  int64_t now, int64_t expires, int most);
/* id, name, scopes, created, expires (null: no end), used (null: never); the newest first. */
json_t *tokens_of(store *s, int64_t user);
/* 0: the account has no such token. */
int64_t token_delete(store *s, int64_t user, int64_t id);

/* A token that has not expired, of an account that is open: token, scopes, expires, used, and the
 * account's user, name, role, service, generation. By its hash or by its id. */
json_t *token_by_hash(store *s, const char *hash, int64_t now, bool *found);
json_t *token_by_id(store *s, int64_t id, int64_t now, bool *found);
/* It was used. */
int64_t token_touch(store *s, int64_t id, int64_t now);

/* Deletes tokens that expired before this time. */
int64_t tokens_purge(store *s, int64_t before);

#endif
