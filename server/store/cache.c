/* Every entry has a lock of its own and is overwritten by the next key that falls on it. */
#include "cache.h"

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
  char key[CACHE_KEY];
  char value[CACHE_BYTES];
} entry;

struct cache {
  const store *store;
  unsigned char seed[crypto_shorthash_KEYBYTES]; /* so that nobody can aim at an entry */
  entry entries[ENTRIES];
};

/* What a thread has asked for last: threads that ask for the same need not meet. */
enum { RECENT = 16 };
static _Thread_local entry recent[RECENT];

cache *cache_create(const store *s) {
  cache *k = calloc(1, sizeof *k);
  if (!k) return NULL;
  k->store = s;
  crypto_shorthash_keygen(k->seed);
  for (int i = 0; i < ENTRIES; i++) pthread_mutex_init(&k->entries[i].mutex, NULL);
  return k;
}

void cache_destroy(cache *k) {
  if (!k) return;
  for (int i = 0; i < ENTRIES; i++) pthread_mutex_destroy(&k->entries[i].mutex);
  free(k);
}

static size_t place_of(const cache *k, char kind, const void *key, size_t n) {
  uint64_t hash;
  crypto_shorthash((unsigned char *)&hash, key, n, k->seed);
  return (size_t)((hash + (uint64_t)kind) % ENTRIES);
}

static bool is_it(const cache *k, const entry *e, char kind, const void *key, size_t n) {
  return e->kind == kind && e->version == store_version(k->store) && e->key_size == n &&
         sodium_memcmp(e->key, key, n) == 0;
}

bool cache_find(cache *k, char kind, const void *key, size_t n, void *value, size_t size) {
  if (n > CACHE_KEY) return false;
  size_t place = place_of(k, kind, key, n);
  entry *own = &recent[place % RECENT], *e = &k->entries[place];
  if (!is_it(k, own, kind, key, n)) {
    pthread_mutex_lock(&e->mutex);
    bool known = is_it(k, e, kind, key, n);
    if (known) *own = *e;
    pthread_mutex_unlock(&e->mutex);
    if (!known) return false;
  }
  memcpy(value, own->value, size);
  return true;
}

void cache_keep(cache *k, char kind, const void *key, size_t n, const void *value, size_t size,
                uint64_t version) {
  if (n > CACHE_KEY || size > CACHE_BYTES) return;
  entry *e = &k->entries[place_of(k, kind, key, n)];
  pthread_mutex_lock(&e->mutex);
  e->kind = kind;
  e->version = version;
  e->key_size = n;
  memcpy(e->key, key, n);
  memcpy(e->value, value, size);
  pthread_mutex_unlock(&e->mutex);
}
