#include "throttle.h"

#include "store/logins.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FREE_TRIES = 5, FREE_TRIES_OF_ADDRESS = 50, MOST_WAIT = 900, FORGET = 3600 };

struct throttle {
  store *store;
  unsigned char secret[TOKEN_DERIVED];
  int64_t began, clock_began; /* Unix seconds, and those of a clock that nobody sets */
};

static int64_t clock_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_BOOTTIME, &t);
  return (int64_t)t.tv_sec;
}

/* Unix seconds that do not jump when somebody sets the clock. */
static int64_t now_of(const throttle *t) {
  return t->began + clock_seconds() - t->clock_began;
}

throttle *throttle_create(store *s, const token_key *key) {
  throttle *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->store = s;
  token_key_derive(key, "throttle", t->secret);
  t->clock_began = clock_seconds();
  t->began = (int64_t)time(NULL);
  int64_t last = failures_last(s); /* the clock may have been set back meanwhile */
  if (last > t->began) t->began = last;
  return t;
}

void throttle_destroy(throttle *t) {
  if (t) sodium_memzero(t, sizeof *t);
  free(t);
}

/* name "": of the address alone. */
static void key_of(const throttle *t, const char *name, const char *address, char key[33]) {
  char text[200];
  unsigned char hash[16];
  snprintf(text, sizeof text, "%.63s\n%.63s", name, address);
  for (char *c = text; *c; c++)
    if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
  crypto_generichash(hash, sizeof hash, (const unsigned char *)text, strlen(text), t->secret,
                     sizeof t->secret);
  sodium_bin2hex(key, 33, hash, sizeof hash);
}

static void read_failures(const throttle *t, const char *key, int64_t *count, int64_t *last) {
  json_t *row = failure_find(t->store, key);
  *count = store_integer(row, "count");
  *last = store_integer(row, "last");
  json_decref(row);
  if (now_of(t) - *last > FORGET) *count = 0;
}

/* 2 s after the last free try, then twice as long each time. */
static int wait_of(const throttle *t, const char *name, const char *address, int free_tries) {
  char key[33];
  int64_t count, last;
  key_of(t, name, address, key);
  read_failures(t, key, &count, &last);
  int64_t over = count - free_tries;
  if (over < 0) return 0;
  int64_t wait = over > 8 ? MOST_WAIT : (int64_t)2 << over, left = last + wait - now_of(t);
  return left > 0 ? (int)left : 0;
}

int throttle_wait(throttle *t, const char *name, const char *address) {
  int one = wait_of(t, name, address, FREE_TRIES),
      all = wait_of(t, "", address, FREE_TRIES_OF_ADDRESS);
  return one > all ? one : all;
}

static void note(throttle *t, const char *name, const char *address) {
  char key[33];
  int64_t count, last;
  key_of(t, name, address, key);
  read_failures(t, key, &count, &last);
  failure_keep(t->store, key, count + 1, now_of(t));
}

void throttle_failed(throttle *t, const char *name, const char *address) {
  note(t, name, address);
  note(t, "", address);
}

void throttle_passed(throttle *t, const char *name, const char *address) {
  char key[33];
  key_of(t, name, address, key);
  failure_forget(t->store, key);
}

void throttle_purge(throttle *t) {
  failures_purge(t->store, now_of(t) - FORGET);
}
