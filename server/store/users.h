/* Accounts and the one-time keys with which they are made. */
#ifndef SERVER_STORE_USERS_H
#define SERVER_STORE_USERS_H

#include "store.h"

enum {
  USERS_NO_ADMIN = -3, /* the last administrator would be gone */
  USERS_NO_KEY = -4    /* the key is unknown, used or over */
};

/* Rows as clients see them: id, name, role, enabled, waiting, created, version. */
json_t *users_list(store *s);
json_t *user_find(store *s, int64_t id, bool *found);
/* Of an account that is open and has a password, by its name: id, password. */
json_t *user_by_name(store *s, const char *name, bool *found);
/* The hash of the account's password: password. */
json_t *user_password(store *s, int64_t id, bool *found);

/* An open account by a log-in that has not ended: id, name, role, generation. */
json_t *user_of_login(store *s, int64_t id, int64_t login, bool *found);

/* Without a key: an account that waits for an administrator. `most` may wait. Its id; 0: that many
 * wait; STORE_EXISTS: the name, or one that looks like it, is taken. */
int64_t user_ask(store *s, const char *name, const char *password, int64_t now, int most);
/* Uses the key up and makes the account, or neither. */
int64_t user_register(store *s, const char *key_hash, const char *name, const char *password,
                      int64_t now);

/* An account without a password: nobody logs in to it. service: of a program; its role is "user",
 * and is shown as "service". Its id, or STORE_EXISTS as user_ask(). */
int64_t user_add(store *s, const char *name, const char *role, bool service, int64_t now);

/* Some of role and enabled, as store_update(); every log-in of the account ends. */
int64_t user_change(store *s, int64_t id, int64_t version, const json_t *changes);
int64_t user_set_password(store *s, int64_t id, const char *password);
/* The same within the caller's transaction. */
int64_t user_change_password(store *s, int64_t id, const char *password);
/* With all that it owns. */
int64_t user_delete(store *s, int64_t id);
/* Whether an administrator's account is open and has a password; -1: store_error(). */
int users_have_admin(store *s);

/* ---- one-time keys ---- */

/* creator 0: the server itself. */
int64_t key_add(store *s, const char *hash, const char *role, int64_t creator, int64_t now,
                int64_t expires);
/* Those that can still be used: id, role, creator, created, expires. */
json_t *keys_list(store *s, int64_t now);
int64_t key_delete(store *s, int64_t id);
/* Keys for administrators that nobody has used. */
int64_t keys_forget_admins(store *s);

#endif
