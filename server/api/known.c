/* A small table of what was read from the store, shared by all threads. Every entry has a lock of
 * its own and is overwritten by the next key that falls on it. */
#include "api.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 512 };

typedef struct entry {
  pthread_mutex_t mutex;
  uint64_t version;
  char kind; /* 0: empty */
  size_t key_size;
  char key[API_KNOWN_KEY];
  char value[API_KNOWN_BYTES];
} entry;

struct api_knowledge {
  unsigned char seed[crypto_shorthash_KEYBYTES]; /* so that nobody can aim at an entry */
  entry entries[ENTRIES];
};

/* What a thread has asked for last: threads that ask for the same need not meet. */
enum { RECENT = 16 };
static _Thread_local entry recent[RECENT];

bool api_known_start(api *a) {
  struct api_knowledge *k = calloc(1, sizeof *k);
  if (!k) return false;
  crypto_shorthash_keygen(k->seed);
  for (int i = 0; i < ENTRIES; i++) pthread_mutex_init(&k->entries[i].mutex, NULL);
  a->knowledge = k;
  return true;
}

void api_known_stop(api *a) {
  if (!a->knowledge) return;
  for (int i = 0; i < ENTRIES; i++) pthread_mutex_destroy(&a->knowledge->entries[i].mutex);
  free(a->knowledge);
  a->knowledge = NULL;
}

static size_t place_of(const api *a, char kind, const void *key, size_t n) {
  uint64_t hash;
  crypto_shorthash((unsigned char *)&hash, key, n, a->knowledge->seed);
  return (size_t)((hash + (uint64_t)kind) % ENTRIES);
}

static bool is_it(const api *a, const entry *e, char kind, const void *key, size_t n) {
  return e->kind == kind && e->version == store_version(a->store) && e->key_size == n &&
         sodium_memcmp(e->key, key, n) == 0;
}

bool api_known(const api *a, char kind, const void *key, size_t n, void *value, size_t size) {
  if (n > API_KNOWN_KEY) return false;
  size_t place = place_of(a, kind, key, n);
  entry *own = &recent[place % RECENT], *e = &a->knowledge->entries[place];
  if (!is_it(a, own, kind, key, n)) {
    pthread_mutex_lock(&e->mutex);
    bool known = is_it(a, e, kind, key, n);
    if (known) *own = *e;
    pthread_mutex_unlock(&e->mutex);
    if (!known) return false;
  }
  memcpy(value, own->value, size);
  return true;
}

void api_know(const api *a, char kind, const void *key, size_t n, const void *value, size_t size,
              uint64_t version) {
  if (n > API_KNOWN_KEY || size > API_KNOWN_BYTES) return;
  entry *e = &a->knowledge->entries[place_of(a, kind, key, n)];
  pthread_mutex_lock(&e->mutex);
  e->kind = kind;
  e->version = version;
  e->key_size = n;
  memcpy(e->key, key, n);
  memcpy(e->value, value, size);
  pthread_mutex_unlock(&e->mutex);
}
