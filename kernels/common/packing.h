/* Static memory: places buffers with known lifetimes into one arena, so that buffers that do not
 * live at the same time share bytes. Greedy by size, each at the lowest offset that is free. */
#ifndef WML_COMMON_PACKING_H
#define WML_COMMON_PACKING_H

#include "../backend.h"

#include <stddef.h>
#include <string.h>

typedef struct wml_lifetime {
  size_t bytes;    /* 0: not placed */
  int first, last; /* operations between which the buffer lives, both included */
  size_t offset;   /* out */
} wml_lifetime;

enum { WML_PACKING_ALIGNMENT = 64 };

static inline size_t wml_round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

/* n zeroed elements; NULL: the error is set. */
static inline void *wml_take(const wml_host *host, size_t n, size_t size) {
  void *p = host->alloc(n > 0 && size > 0 ? n * size : 1, 64);
  if (p)
    memset(p, 0, n * size);
  else
    host->error("out of memory for a plan");
  return p;
}

/* Lowest offset at which `b` meets none of the placed buffers that live when it does. */
static inline size_t wml_packing_offset(const wml_lifetime *all, const int *placed, int n_placed,
                                        const wml_lifetime *b) {
  size_t offset = 0;
  for (int moved = 1; moved;) {
    moved = 0;
    for (int i = 0; i < n_placed; i++) {
      const wml_lifetime *p = &all[placed[i]];
      if (p->last < b->first || b->last < p->first) continue;
      size_t end = wml_round_up(p->offset + p->bytes, WML_PACKING_ALIGNMENT);
      if (offset < end && p->offset < offset + b->bytes) {
        offset = end;
        moved = 1;
      }
    }
  }
  return offset;
}

/* order: [n] scratch for indices. Returns the arena's bytes. O(n^2) for a plan's few hundred. */
static inline size_t wml_pack(wml_lifetime *all, int n, int *order) {
  int count = 0;
  for (int i = 0; i < n; i++) {
    if (all[i].bytes == 0) continue;
    int at = count++;
    while (at > 0 && all[order[at - 1]].bytes < all[i].bytes) {
      order[at] = order[at - 1];
      at--;
    }
    order[at] = i;
  }
  size_t total = 0;
  for (int i = 0; i < count; i++) {
    wml_lifetime *b = &all[order[i]];
    b->offset = wml_packing_offset(all, order, i, b);
    size_t end = wml_round_up(b->offset + b->bytes, WML_PACKING_ALIGNMENT);
    if (end > total) total = end;
  }
  return total;
}

#endif
