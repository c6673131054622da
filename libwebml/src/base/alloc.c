#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint_fast64_t count;
static atomic_int_fast64_t live, live_bytes;
static atomic_int_fast64_t until_failure; /* 0: off; 1: fail now and from now on */

static int must_fail(void) {
  if (atomic_load_explicit(&until_failure, memory_order_relaxed) == 0) return 0;
  int_fast64_t left = atomic_fetch_sub(&until_failure, 1);
  if (left > 1) return 0;
  atomic_store(&until_failure, 1);
  return 1;
}

void *wml_alloc(size_t bytes) {
  void *p = NULL;
  if (bytes > SIZE_MAX / 2 || must_fail() || posix_memalign(&p, 64, bytes ? bytes : 1) != 0)
    return NULL;
  atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&live_bytes, (int64_t)malloc_usable_size(p), memory_order_relaxed);
  return p;
}

void *wml_calloc(size_t n, size_t size) {
  if (size && n > SIZE_MAX / size) return NULL;
  void *p = wml_alloc(n * size);
  if (p) memset(p, 0, n * size);
  return p;
}

void wml_free(void *pointer) {
  if (!pointer) return;
  atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
  atomic_fetch_sub_explicit(&live_bytes, (int64_t)malloc_usable_size(pointer),
                            memory_order_relaxed);
  free(pointer);
}

char *wml_strndup(const char *text, size_t length) {
  char *copy = wml_alloc(length + 1);
  if (!copy) return NULL;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

char *wml_strdup(const char *text) {
  return wml_strndup(text, strlen(text));
}

void *wml_regrow(void *old, size_t keep, size_t bytes) {
  void *p = wml_alloc(bytes);
  if (!p) return NULL;
  if (keep) memcpy(p, old, keep);
  wml_free(old);
  return p;
}

void *wml_realloc(void *old, size_t bytes) {
  size_t had = old ? malloc_usable_size(old) : 0;
  return wml_regrow(old, had < bytes ? had : bytes, bytes);
}

uint64_t wml_alloc_count(void) {
  return atomic_load(&count);
}

int64_t wml_alloc_live(void) {
  return atomic_load(&live);
}

int64_t wml_alloc_bytes(void) {
  return atomic_load(&live_bytes);
}

void wml_alloc_fail_from(int64_t n) {
  atomic_store(&until_failure, n);
}

struct wml_arena_block {
  wml_arena_block *next;
  _Alignas(16) unsigned char bytes[];
};

void *wml_arena_alloc(wml_arena *arena, size_t bytes) {
  if (bytes > SIZE_MAX / 4) return NULL;
  bytes = (bytes + 15) / 16 * 16;
  if (!arena->blocks || arena->size - arena->used < bytes) {
    size_t size = arena->size < 2000 ? 4000 : arena->size * 2; /* few blocks for many names */
    if (size > (1 << 20)) size = 1 << 20;
    if (size < bytes) size = bytes;
    wml_arena_block *block = wml_alloc(sizeof *block + size);
    if (!block) return NULL;
    block->next = arena->blocks;
    *arena = (wml_arena){block, 0, size};
  }
  void *p = arena->blocks->bytes + arena->used;
  arena->used += bytes;
  return memset(p, 0, bytes);
}

char *wml_arena_copy(wml_arena *arena, const char *text, size_t length) {
  char *copy = wml_arena_alloc(arena, length + 1);
  if (copy && length) memcpy(copy, text, length);
  return copy;
}

void wml_arena_adopt(wml_arena *to, wml_arena *from) {
  wml_arena_block **last = &to->blocks;
  while (*last) last = &(*last)->next;
  *last = from->blocks;
  if (last == &to->blocks) to->used = from->used, to->size = from->size;
  *from = (wml_arena){0};
}

void wml_arena_free(wml_arena *arena) {
  for (wml_arena_block *b = arena->blocks, *next; b; b = next) {
    next = b->next;
    wml_free(b);
  }
  *arena = (wml_arena){0};
}
