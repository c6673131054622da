/* Passwords, random keys and tokens, all by libsodium. */
#ifndef SERVER_SECURITY_SECRETS_H
#define SERVER_SECURITY_SECRETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  SECRET_TEXT = 44,    /* a random secret: 32 bytes as URL-safe base64, and the NUL */
  SECRET_HASH = 65,    /* its hash in hexadecimal */
  PASSWORD_TEXT = 128, /* a password's hash with its parameters */
  TOKEN_TEXT = 512,
  TOKEN_DERIVED = 32
};

/* Must be called once. False: no random numbers here. */
bool secrets_start(void);
void secret_make(char text[SECRET_TEXT]);
void secret_hash(const char *text, char hash[SECRET_HASH]);

/* Argon2id, 64 MiB and about 0.1 s: one at a time in the whole program, so that log-ins cannot take
 * the machine. Blocks; not on an event loop. False: no memory. */
bool password_hash(const char *password, char text[PASSWORD_TEXT]);
bool password_matches(const char *password, const char *text);
/* As long as password_matches() takes, for names that do not exist. */
void password_pretend(const char *password);

/* JSON Web Tokens, HS256 (RFC 7519). login: the log-in that it was given for. */
typedef struct token {
  int64_t user, login, generation, expires;
} token;

typedef struct token_key token_key;
/* The key of the file, made (mode 0600) where there is none. NULL with a sentence. */
token_key *token_key_open(const char *path, char *error, size_t error_size);
void token_key_free(token_key *key);
/* A secret of its own for another purpose, the same after each start. */
void token_key_derive(const token_key *key, const char *purpose, unsigned char out[TOKEN_DERIVED]);
bool token_write(const token_key *key, const token *token, char text[TOKEN_TEXT]);
/* False: not one of ours, changed, or expired at `now`. */
bool token_read(const token_key *key, const char *text, int64_t now, token *token);

#endif
