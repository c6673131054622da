/* The library's one allocator. Every allocation goes through it, so that tests can count them and
 * fail each in turn. */
#ifndef WML_BASE_ALLOC_H
#define WML_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* 64-byte aligned, uninitialised; NULL when memory is short. Sizes of 0 give a valid pointer. */
void *wml_alloc(size_t bytes);
void *wml_calloc(size_t count, size_t size); /* zeroed; NULL also when count * size overflows */
void wml_free(void *pointer);
char *wml_strdup(const char *text);
char *wml_strndup(const char *text, size_t length);
/* A new block of `bytes` with the first `keep` bytes of the old one, which is freed; NULL keeps it.
 */
void *wml_regrow(void *old, size_t keep, size_t bytes);

/* As realloc(); for vendor libraries that take such a function. */
void *wml_realloc(void *old, size_t bytes);

/* Successful allocations so far, over all threads. */
uint64_t wml_alloc_count(void);
/* Blocks that are allocated and not freed. */
int64_t wml_alloc_live(void);
/* Their bytes, as the system rounds them. */
int64_t wml_alloc_bytes(void);
/* For tests: the n-th allocation from now (1-based) and all after it fail; 0: none. */
void wml_alloc_fail_from(int64_t n);

/* Many small objects of one owner, freed together. */
typedef struct wml_arena_block wml_arena_block;
typedef struct wml_arena {
  wml_arena_block *blocks;
  size_t used, size; /* of the newest block */
} wml_arena;

void *wml_arena_alloc(wml_arena *arena, size_t bytes); /* zeroed, 16-byte aligned; NULL */
char *wml_arena_copy(wml_arena *arena, const char *text, size_t length); /* NUL-terminated */
/* What is in `from` lives in `to` from now on. */
void wml_arena_adopt(wml_arena *to, wml_arena *from);
void wml_arena_free(wml_arena *arena);

#endif
