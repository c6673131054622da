#include "secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { URL_SAFE = sodium_base64_VARIANT_URLSAFE_NO_PADDING, SECRET_BYTES = 32 };

struct token_key {
  unsigned char bytes[crypto_auth_hmacsha256_KEYBYTES];
};

static pthread_mutex_t one_password = PTHREAD_MUTEX_INITIALIZER;

bool secrets_start(void) {
  return sodium_init() >= 0;
}

void secret_make(char text[SECRET_TEXT]) {
  unsigned char bytes[SECRET_BYTES];
  randombytes_buf(bytes, sizeof bytes);
  sodium_bin2base64(text, SECRET_TEXT, bytes, sizeof bytes, URL_SAFE);
}

void secret_hash(const char *text, char hash[SECRET_HASH]) {
  unsigned char bytes[SECRET_BYTES];
  crypto_generichash(bytes, sizeof bytes, (const unsigned char *)text, strlen(text), NULL, 0);
  sodium_bin2hex(hash, SECRET_HASH, bytes, sizeof bytes);
}

/* ---- passwords ---- */

bool password_hash(const char *password, char text[PASSWORD_TEXT]) {
  pthread_mutex_lock(&one_password);
  bool ok = crypto_pwhash_str(text, password, strlen(password), crypto_pwhash_OPSLIMIT_INTERACTIVE,
                              crypto_pwhash_MEMLIMIT_INTERACTIVE) == 0;
  pthread_mutex_unlock(&one_password);
  return ok;
}

bool password_matches(const char *password, const char *text) {
  pthread_mutex_lock(&one_password);
  bool ok = crypto_pwhash_str_verify(text, password, strlen(password)) == 0;
  pthread_mutex_unlock(&one_password);
  return ok;
}

void password_pretend(const char *password) {
  char text[PASSWORD_TEXT];
  password_hash(password, text);
}

/* ---- tokens ---- */

static bool read_key(const char *path, token_key *key) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool ok = fd >= 0 && read(fd, key->bytes, sizeof key->bytes) == sizeof key->bytes;
  if (fd >= 0) close(fd);
  return ok;
}

token_key *token_key_open(const char *path, char *error, size_t size) {
  token_key *key = calloc(1, sizeof *key);
  if (key && read_key(path, key)) return key;
  if (!key || errno != ENOENT) {
    snprintf(error, size, "cannot read the key of tokens, %s: %s", path, strerror(errno));
    free(key);
    return NULL;
  }
  randombytes_buf(key->bytes, sizeof key->bytes);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  bool ok =
      fd >= 0 && write(fd, key->bytes, sizeof key->bytes) == sizeof key->bytes && fsync(fd) == 0;
  if (fd >= 0) close(fd);
  if (ok) return key;
  snprintf(error, size, "cannot write the key of tokens, %s: %s", path, strerror(errno));
  unlink(path);
  free(key);
  return NULL;
}

void token_key_free(token_key *key) {
  if (key) sodium_memzero(key, sizeof *key);
  free(key);
}

void token_key_derive(const token_key *key, const char *purpose, unsigned char out[TOKEN_DERIVED]) {
  crypto_auth_hmacsha256(out, (const unsigned char *)purpose, strlen(purpose), key->bytes);
}

static const char head[] =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."; /* {"alg":"HS256","typ":"JWT"} */

static void sign(const token_key *key, const char *text, size_t size,
                 unsigned char signature[crypto_auth_hmacsha256_BYTES]) {
  crypto_auth_hmacsha256(signature, (const unsigned char *)text, size, key->bytes);
}

bool token_write(const token_key *key, const token *t, char text[TOKEN_TEXT]) {
  char claims[160];
  unsigned char signature[crypto_auth_hmacsha256_BYTES];
  int n = snprintf(claims, sizeof claims,
                   "{\"sub\":\"%lld\",\"sid\":%lld,\"gen\":%lld,\"exp\":%lld}", (long long)t->user,
                   (long long)t->login, (long long)t->generation, (long long)t->expires);
  size_t at = sizeof head - 1;
  memcpy(text, head, at);
  if (n < 0 || !sodium_bin2base64(text + at, TOKEN_TEXT - at - 64, (const unsigned char *)claims,
                                  (size_t)n, URL_SAFE))
    return false;
  at += strlen(text + at);
  sign(key, text, at, signature);
  text[at++] = '.';
  return sodium_bin2base64(text + at, TOKEN_TEXT - at, signature, sizeof signature, URL_SAFE) !=
         NULL;
}

bool token_read(const token_key *key, const char *text, int64_t now, token *t) {
  unsigned char signature[crypto_auth_hmacsha256_BYTES], given[sizeof signature];
  char claims[256];
  size_t n = 0, length = strlen(text);
  const char *dot = strrchr(text, '.');
  /* The head is compared, not read: there is one algorithm. */
  if (length >= TOKEN_TEXT || strncmp(text, head, sizeof head - 1) != 0 || !dot ||
      dot < text + sizeof head - 1)
    return false;
  if (sodium_base642bin(given, sizeof given, dot + 1, strlen(dot + 1), NULL, &n, NULL, URL_SAFE) !=
          0 ||
      n != sizeof given)
    return false;
  sign(key, text, (size_t)(dot - text), signature);
  if (sodium_memcmp(signature, given, sizeof given) != 0) return false;
  const char *payload = text + sizeof head - 1;
  if (sodium_base642bin((unsigned char *)claims, sizeof claims - 1, payload,
                        (size_t)(dot - payload), NULL, &n, NULL, URL_SAFE) != 0)
    return false;
  json_t *json = json_loadb(claims, n, 0, NULL);
  const char *user = json_string_value(json_object_get(json, "sub"));
  t->user = user ? strtoll(user, NULL, 10) : 0;
  t->login = json_integer_value(json_object_get(json, "sid"));
  t->generation = json_integer_value(json_object_get(json, "gen"));
  t->expires = json_integer_value(json_object_get(json, "exp"));
  json_decref(json);
  return t->user > 0 && t->expires > now;
}
