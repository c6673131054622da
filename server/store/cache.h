/* What was read from the store, for event loops, which may not read it themselves: a small table
 * shared by all threads. An entry counts until the store changes. */
#ifndef SERVER_STORE_CACHE_H
#define SERVER_STORE_CACHE_H

#include "store.h"

typedef struct cache cache;

cache *cache_create(const store *s);
void cache_destroy(cache *k);

/* Values have at most CACHE_BYTES; longer keys than CACHE_KEY are not kept. */
enum { CACHE_BYTES = 128, CACHE_KEY = 400 };

/* kind: one letter per sort of key. False: not known. */
bool cache_find(cache *k, char kind, const void *key, size_t n, void *value, size_t size);
/* `version`: store_version() from before the reading. */
void cache_keep(cache *k, char kind, const void *key, size_t n, const void *value, size_t size,
                uint64_t version);

#endif
